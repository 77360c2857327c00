//! What is recorded is read back: values, order, names, times, counts.

use std::thread;

use ng_blackbox::{Backing, Event, Fields, Kind, Reader, Recorded, Recorder, Severity};

mod rig;

const ENGINE: Kind = Kind::new(16);
const NAMES: [(Kind, &str); 1] = [(ENGINE, "EngineSpeed")];

fn engine(n: u64) -> Event {
    Event::numbers(ENGINE, Severity::INFO, [n, 0, 0, 0])
}

fn first_number(event: &Recorded<'_>) -> u64 {
    let Fields::Numbers([n, ..]) = event.fields else { panic!("no numbers: {event:?}") };
    n
}

fn engine_numbers(reader: &Reader) -> Vec<u64> {
    reader.events().filter(|e| e.kind == ENGINE).map(|e| first_number(&e)).collect()
}

#[test]
fn numbers_and_texts_come_back_with_names_and_severity_from_a_live_file_and_a_closed_one() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir, rig::config(2, 64), &NAMES).unwrap();
    let path = recorder.path().unwrap();
    let mut lane = recorder.lane();
    lane.record(Event::numbers(ENGINE, Severity::WARN, [1, u64::MAX, 3, 4]));
    recorder.record(Event::text(Kind::CUSTOM, Severity::new(9), "Grüße"));
    lane.record(Event::text(Kind::new(999), Severity::DEBUG, ""));

    let check = |reader: &Reader| {
        let seen: Vec<_> = reader.events().filter(|e| e.lane >= 2).collect();
        assert_eq!(seen.len(), 3);
        let [a, b, c] = [seen[0], seen[1], seen[2]];
        assert_eq!((a.kind, a.name, a.severity), (ENGINE, Some("EngineSpeed"), Severity::WARN));
        assert_eq!((a.lane, a.seq, a.fields), (3, 1, Fields::Numbers([1, u64::MAX, 3, 4])));
        assert_eq!((b.lane, b.seq, b.name, b.severity.number()), (2, 1, Some("Custom"), 9));
        let Fields::Text(text) = b.fields else { panic!("a text became numbers") };
        assert_eq!(text.as_str(), "Grüße");
        assert_eq!((c.lane, c.seq, c.name), (3, 2, None));
        assert_eq!(a.thread, rustix::thread::gettid().as_raw_nonzero().get() as u32);
        assert!(a.time_ns <= b.time_ns && b.time_ns <= c.time_ns);
        assert_eq!((reader.summary().torn, reader.summary().missing), (0, 0));
        assert_eq!(reader.summary().pid, std::process::id());
    };
    let live = Reader::open(&path).unwrap();
    check(&live);
    assert!(!live.summary().stopped);
    check(&recorder.snapshot().unwrap());
    drop(lane);
    drop(recorder);
    let closed = Reader::open(&path).unwrap();
    check(&closed);
    assert!(closed.summary().stopped);
}

#[test]
fn a_full_ring_keeps_exactly_its_newest_events() {
    let recorder = Recorder::in_memory(rig::config(1, 64), &NAMES).unwrap();
    let mut lane = recorder.lane();
    for written in 1..=200_u64 {
        lane.record(engine(written));
        let expected: Vec<u64> = (written.saturating_sub(64) + 1..=written).collect();
        assert_eq!(engine_numbers(&recorder.snapshot().unwrap()), expected);
    }
    let stats = recorder.stats();
    assert_eq!((stats.events_total, stats.overwritten_total), (200, 136));
    assert_eq!(stats.backing, Backing::Anonymous);
}

#[test]
fn a_moment_that_was_read_before_stands_as_it_was_in_a_lane_of_ones_own_and_in_the_shared_one() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir, rig::config(1, 64), &NAMES).unwrap();
    let clock = quanta::Clock::new();
    let mut lanes = [recorder.lane(), recorder.lane()];
    assert!(!lanes[0].is_shared() && lanes[1].is_shared());
    for lane in &mut lanes {
        let event = |n| Event::numbers(ENGINE, Severity::INFO, [n; 4]);
        lane.record(event(1));
        let moment = clock.raw();
        lane.record(event(2));
        lane.record_at(event(3), moment);
    }
    let snapshot = recorder.snapshot().unwrap();
    for lane in [2, 3] {
        let mut seen: Vec<_> = snapshot.events().filter(|event| event.lane == lane).collect();
        seen.sort_by_key(|event| event.seq);
        let times: Vec<_> = seen.iter().map(|event| event.time_ns).collect();
        let [first, second, third] = times[..] else { panic!("lane {lane} has {times:?}") };
        assert!(first <= third && third <= second && third > 0, "{times:?}");
    }
}

#[test]
fn each_thread_keeps_its_own_order_and_the_merge_follows_time() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir, rig::config(8, 1024), &NAMES).unwrap();
    thread::scope(|scope| {
        for t in 0..8_u64 {
            let mut lane = recorder.lane();
            let record = move || (0..1000).for_each(|n| lane.record(engine(t << 32 | n)));
            thread::Builder::new().name(format!("engine {t}")).spawn_scoped(scope, record).unwrap();
        }
    });
    let reader = recorder.snapshot().unwrap();
    let mut next = [0; 8];
    let mut latest_ns = 0;
    for event in reader.events().filter(|e| e.kind == ENGINE) {
        let n = first_number(&event);
        let t = (n >> 32) as usize;
        assert_eq!(n & 0xffff_ffff, next[t], "thread {t} is out of order");
        assert_eq!(event.seq, next[t] + 1);
        next[t] += 1;
        assert!(event.time_ns >= latest_ns || latest_ns - event.time_ns < 1_000_000);
        latest_ns = latest_ns.max(event.time_ns);
    }
    assert_eq!(next, [1000; 8]);
    assert_eq!(recorder.stats().events_total, 8000);
    assert_eq!(recorder.stats().lanes_in_use, 0, "all threads have ended");
}

#[test]
fn events_of_two_lanes_come_in_the_order_of_time() {
    let recorder = Recorder::in_memory(rig::config(2, 256), &NAMES).unwrap();
    let mut lanes = [recorder.lane(), recorder.lane()];
    for n in 0..200 {
        lanes[n as usize % 2].record(engine(n));
    }
    let reader = recorder.snapshot().unwrap();
    assert_eq!(engine_numbers(&reader), (0..200).collect::<Vec<_>>());
    assert_eq!(recorder.stats().shared_lanes_total, 0, "both lanes in one ring");
}

#[test]
fn a_lane_given_back_keeps_its_events_and_goes_on_after_them() {
    let recorder = Recorder::in_memory(rig::config(1, 64), &NAMES).unwrap();
    let name_of_lane_3 = || {
        let reader = recorder.snapshot().unwrap();
        let lanes = &reader.summary().lanes;
        lanes.iter().find(|lane| lane.lane == 3).unwrap().thread_name.clone()
    };
    for (name, n) in [("first", 1), ("second", 2)] {
        thread::scope(|scope| {
            let record = || recorder.lane().record(engine(n));
            thread::Builder::new().name(name.into()).spawn_scoped(scope, record).unwrap();
        });
        assert_eq!(name_of_lane_3().as_deref(), Some(name));
    }
    let reader = recorder.snapshot().unwrap();
    assert_eq!(engine_numbers(&reader), [1, 2]);
    assert_eq!(recorder.stats().shared_lanes_total, 0);
}

#[test]
fn threads_beyond_the_last_lane_share_one_and_lose_nothing_uncounted() {
    let recorder = Recorder::in_memory(rig::config(1, 16384), &NAMES).unwrap();
    let own = recorder.lane();
    assert!(!own.is_shared());
    thread::scope(|scope| {
        for t in 0..4_u64 {
            let mut lane = recorder.lane();
            assert!(lane.is_shared());
            scope.spawn(move || (0..3000).for_each(|n| lane.record(engine(t << 32 | n))));
        }
    });
    let stats = recorder.stats();
    assert_eq!((stats.shared_lanes_total, stats.lanes_in_use), (4, 1));
    assert_eq!((stats.events_total, stats.dropped_total), (12_000, 0), "nobody was a lap behind");
    let mut numbers = engine_numbers(&recorder.snapshot().unwrap());
    numbers.sort_unstable();
    let sent: Vec<u64> = (0..4).flat_map(|t| (0..3000).map(move |n| t << 32 | n)).collect();
    assert_eq!(numbers, sent);
}

#[test]
fn a_small_shared_ring_under_many_writers_counts_what_it_drops_and_never_mixes() {
    let recorder = Recorder::in_memory(rig::config(1, 64), &NAMES).unwrap();
    let _own = recorder.lane();
    let hammer = |t: u64| {
        for n in 0..50_000 {
            let check = t << 32 | n;
            recorder.record(Event::numbers(ENGINE, Severity::INFO, [check, !check, check, !check]));
        }
    };
    thread::scope(|scope| {
        (0..4).for_each(|t| drop(scope.spawn(move || hammer(t))));
        for _ in 0..50 {
            for event in recorder.snapshot().unwrap().events().filter(|e| e.kind == ENGINE) {
                let n = first_number(&event);
                assert_eq!(event.fields, Fields::Numbers([n, !n, n, !n]));
            }
        }
    });
    let stats = recorder.stats();
    assert_eq!(stats.events_total + stats.dropped_total, 200_000);
    let summary = recorder.snapshot().unwrap().summary().clone();
    assert_eq!(summary.torn, 0, "nobody is writing any more");
    assert!(summary.missing <= stats.dropped_total, "{summary:?} {stats:?}");
}

#[test]
fn wall_time_follows_the_nearest_anchor() {
    let unix_ns =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let before = unix_ns();
    let recorder = Recorder::in_memory(rig::config(1, 64), &NAMES).unwrap();
    recorder.anchor();
    let mut lane = recorder.lane();
    lane.record(engine(1));
    recorder.anchor();
    lane.record(engine(2));
    let after = unix_ns();
    let reader = recorder.snapshot().unwrap();
    let anchors = reader.events().filter(|e| e.kind == Kind::ANCHOR).count();
    assert_eq!(anchors, 3, "one at open and two asked for");
    // A second: wall clocks are stepped, machines are slow; a wrong unit or sign is far beyond it.
    let slack = 1_000_000_000;
    for event in reader.events() {
        let wall = u128::from(event.wall_unix_ns);
        assert!(wall + slack >= before && wall <= after + slack, "{before} {wall} {after}");
    }
    assert_eq!(recorder.stats().events_total, 2, "anchors are left out");
}

#[test]
fn the_dump_is_one_json_object_a_line_in_the_order_of_time() {
    let recorder = Recorder::in_memory(rig::config(1, 64), &NAMES).unwrap();
    let mut lane = recorder.lane();
    lane.record(Event::numbers(ENGINE, Severity::ERROR, [u64::MAX, 0, 0, 0]));
    lane.record(Event::text(Kind::CUSTOM, Severity::INFO, "a \"quoted\"\nline"));
    let mut dump = Vec::new();
    recorder.snapshot().unwrap().write_jsonl(&mut dump).unwrap();
    let lines: Vec<serde_json::Value> =
        dump.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 4, "start, anchor and two of ours");
    assert_eq!(lines[0]["name"], "RecorderStarted");
    assert_eq!(lines[2]["name"], "EngineSpeed");
    assert_eq!(lines[2]["numbers"][0], u64::MAX);
    assert_eq!(lines[2]["severity"], "error");
    assert_eq!(lines[3]["text"], "a \"quoted\"\nline");
    assert_eq!(lines[3]["kind"], Kind::CUSTOM.number());
    assert!(lines[3]["time_ns"].as_u64() >= lines[2]["time_ns"].as_u64());
    assert_eq!(dump.iter().filter(|b| **b == b'\n').count(), 4);
}
