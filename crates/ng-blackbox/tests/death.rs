//! A child process records and dies in one of several ways; its file is read by the parent.

use std::{
    io::{self, BufRead, BufReader, Write},
    panic,
    path::{Path, PathBuf},
    process::Child,
    thread,
    time::{Duration, Instant},
};

use ng_blackbox::{
    Event, Fields, Kind, PanicDump, Reader, Recorder, Severity, install_panic_hook,
    install_panic_hook_with_dump,
};

mod rig;

const COUNT: Kind = Kind::new(20);
const RECORDERS: u64 = 2;
const RING: u64 = 4096;

/// The fields of an event can only be right together.
fn counted(thread: u64, n: u64) -> Event {
    Event::numbers(COUNT, Severity::INFO, [thread, n, fingerprint(thread, n), 0])
}

fn fingerprint(thread: u64, n: u64) -> u64 {
    (n ^ thread << 60).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn current(dir: &Path) -> PathBuf {
    dir.join("blackbox-current.ngbb")
}

fn recorder_in(dir: &Path) -> Recorder {
    Recorder::open(dir, rig::config(4, RING as u32), &[(COUNT, "Counted")]).unwrap()
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // The parent may be gone: nobody else would end this process.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// No test of its own: what the children of this file's tests run.
#[test]
fn child() {
    let Some((role, dir)) = rig::my_role() else { return };
    let recorder = recorder_in(&dir);
    match role.as_str() {
        "record until killed" => thread::scope(|scope| {
            for thread in 0..RECORDERS {
                let mut lane = recorder.lane();
                scope.spawn(move || {
                    for n in 1.. {
                        lane.record(counted(thread, n));
                        if n % 1000 == 0 {
                            say(&format!("ack {thread} {n}"));
                        }
                    }
                });
            }
        }),
        "abort" => {
            let mut lane = recorder.lane();
            (1..=100).for_each(|n| lane.record(counted(0, n)));
            std::process::abort();
        }
        "panic" => {
            panic::set_hook(Box::new(|_| say("previous hook")));
            let hook = install_panic_hook(&recorder);
            let boom =
                || panic!("boom at altitude {}, far beyond what fits into one event", 11_000);
            let fly = thread::Builder::new().name("worker-7".into()).spawn(boom).unwrap();
            assert!(fly.join().is_err());
            drop(hook);
            assert!(thread::spawn(|| panic!("unseen")).join().is_err());
            std::process::abort();
        }
        "panic without a file" => {
            let memory = Recorder::in_memory(rig::config(1, 64), &[(COUNT, "Counted")]).unwrap();
            let mut dump = PanicDump::into_dir(&dir);
            dump.keep_files = 1;
            let _hook = install_panic_hook_with_dump(&memory, &dump).unwrap();
            let mut lane = memory.lane();
            (1..=100).for_each(|n| lane.record(counted(0, n)));
            assert!(thread::spawn(|| panic!("first")).join().is_err());
            (101..=300).for_each(|n| lane.record(counted(0, n)));
            assert!(thread::spawn(|| panic!("second")).join().is_err());
            std::process::abort();
        }
        "close" => {}
        "hold the lock" => {
            say("locked");
            // Until the parent kills this process, or dies and closes the pipe.
            let _ = io::stdin().read_line(&mut String::new());
        }
        other => panic!("no such role: {other}"),
    }
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok)
}

#[test]
fn all_that_a_killed_child_had_acknowledged_is_read_back_and_nothing_is_invented() {
    let mut rng = rig::rng();
    let begun = Instant::now();
    let mut cycles = 0;
    // 20 is the point; on a fast machine there is time for more of them.
    while cycles < 20 || (cycles < 60 && begun.elapsed() < Duration::from_secs(6)) {
        kill_once(&mut rng);
        cycles += 1;
    }
}

fn kill_once(rng: &mut fastrand::Rng) {
    let dir = tempfile::tempdir().unwrap();
    let mut child = rig::child("record until killed", dir.path()).spawn().unwrap();
    let mut acknowledged = [0; RECORDERS as usize];
    let mut acks = 0;
    let enough = rng.u32(1..60);
    let spin = rng.u32(0..20_000);
    for line in lines(&mut child) {
        let Some(rest) = line.split("ack ").nth(1) else { continue };
        let (thread, n) = rest.split_once(' ').unwrap();
        let (thread, n): (usize, u64) = (thread.parse().unwrap(), n.parse().unwrap());
        acknowledged[thread] = n;
        acks += 1;
        if acks == enough {
            // Some way into the next thousand. What the pipe still holds counts as well.
            (0..spin).for_each(|_| std::hint::spin_loop());
            child.kill().unwrap();
        }
    }
    assert!(acks >= enough, "the child ended by itself");
    child.wait().unwrap();

    let reader = Reader::open(current(dir.path())).unwrap();
    let summary = reader.summary();
    assert!(!summary.stopped);
    let owned = summary.lanes.iter().filter(|lane| lane.lane >= 3);
    assert!(owned.clone().all(|lane| lane.torn <= 1 && lane.missing == 0), "{summary:?}");
    assert!(owned.clone().all(|lane| lane.recorded.abs_diff(lane.newest_seq) <= 1), "{summary:?}");
    let mut read = [const { Vec::new() }; RECORDERS as usize];
    for event in reader.events().filter(|event| event.lane >= 3) {
        let Fields::Numbers([thread, n, check, 0]) = event.fields else { panic!("{event:?}") };
        assert_eq!((event.kind, event.name), (COUNT, Some("Counted")));
        assert_eq!((check, event.seq), (fingerprint(thread, n), n), "invented: {event:?}");
        read[thread as usize].push(n);
    }
    for (read, acknowledged) in read.iter().zip(acknowledged) {
        let newest = read.last().copied().unwrap_or(0);
        assert!(newest >= acknowledged, "acknowledged {acknowledged}, newest {newest}");
        // The slot being written at the kill held the oldest event.
        let oldest = (newest + 1).saturating_sub(RING - 1).max(1);
        let kept = &read[read.len() - (newest + 1 - oldest) as usize..];
        assert!(kept.iter().copied().eq(oldest..=newest), "a hole below {newest}");
    }

    let next = recorder_in(dir.path());
    assert_eq!(next.stats().previous_torn, summary.torn);
    assert_eq!(next.previous(), Some(dir.path().join("blackbox-1.ngbb").as_path()));
}

#[test]
fn an_aborted_child_leaves_all_it_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("abort", dir.path()).output().unwrap();
    assert!(!output.status.success());
    let reader = Reader::open(current(dir.path())).unwrap();
    let numbers = reader.events().filter(|e| e.kind == COUNT).map(|e| e.seq);
    assert!(numbers.eq(1..=100));
    assert_eq!((reader.summary().torn, reader.summary().stopped), (0, false));
}

#[test]
fn a_panic_in_a_thread_leaves_message_place_and_name_and_the_previous_hook_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("panic", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("previous hook").count(), 2, "{said}");
    let reader = Reader::open(current(dir.path())).unwrap();
    let panics: Vec<_> = reader.events().filter(|event| event.lane == 1).collect();
    let text = |at: usize| {
        let Fields::Text(text) = panics[at].fields else { panic!("{panics:?}") };
        text.to_string()
    };
    assert_eq!(panics.len(), 3, "the second panic came after the guard was dropped");
    assert_eq!(
        (panics[0].kind, text(0).as_str()),
        (Kind::PANICKED, "boom at altitude 11000, far beyo")
    );
    assert_eq!(panics[1].kind, Kind::PANIC_PLACE);
    assert!(text(1).contains("tests/death.rs:"), "{}", text(1));
    assert_eq!((panics[2].kind, text(2).as_str()), (Kind::PANIC_THREAD, "worker-7"));
    assert!(panics.iter().all(|event| event.severity == Severity::FATAL));
    assert_ne!(panics[0].thread, reader.summary().pid, "another thread than the main one");
    assert_eq!(reader.summary().panics, 1);
}

#[test]
fn the_first_panic_dumps_a_recording_that_has_no_file_and_the_first_and_the_last_dumps_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dumps = || -> Vec<PathBuf> {
        let paths = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains("blackbox-panic-")).collect()
    };
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut first = None;
    for run in 1..=4 {
        let mut command = rig::child("panic without a file", dir.path());
        let child = command.spawn().unwrap();
        let pid = child.id();
        assert!(!child.wait_with_output().unwrap().status.success());
        let new: Vec<_> = dumps().into_iter().filter(|dump| !seen.contains(dump)).collect();
        // The first, the one that is kept beside the new one, and that.
        assert_eq!((new.len(), dumps().len()), (1, run.min(3)), "{:?}", dumps());
        assert!(dumps().contains(first.get_or_insert_with(|| new[0].clone())));
        let reader = Reader::open(&new[0]).unwrap();
        assert_eq!((reader.summary().pid, reader.summary().panics), (pid, 1));
        let numbers = reader.events().filter(|e| e.kind == COUNT).map(|e| e.seq);
        assert!(numbers.eq(37..=100), "what led to the first panic");
        seen = dumps();
    }
    let missing = PanicDump::into_dir(dir.path().join("missing"));
    let memory = Recorder::in_memory(rig::config(1, 64), &[]).unwrap();
    assert!(install_panic_hook_with_dump(&memory, &missing).is_err());
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory_until_that_one_dies() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = rig::child("hold the lock", dir.path());
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    assert!(lines(&mut child).any(|line| line.contains("locked")));
    let refused = Recorder::open(dir.path(), rig::config(1, 64), &[]).unwrap_err();
    assert!(
        matches!(&refused, ng_blackbox::OpenError::Locked { holder_pid: Some(p), .. } if *p == pid),
        "{refused:?}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let recorder = Recorder::open(dir.path(), rig::config(1, 64), &[]).unwrap();
    let previous = Reader::open(recorder.previous().unwrap()).unwrap();
    assert_eq!(previous.summary().pid, pid);
}

/// A crash, then a program that is started again and again and dies at once, or is refused something and closes.
#[test]
fn a_row_of_short_runs_does_not_push_out_the_recording_of_the_first_crash() {
    let dir = tempfile::tempdir().unwrap();
    let run = |role: &str| rig::child(role, dir.path()).output().unwrap();
    run("close");
    assert!(!run("panic").status.success());
    for _ in 0..6 {
        assert!(!run("abort").status.success());
    }
    let crash = dir.path().join("blackbox-2.ngbb");
    assert_eq!(Reader::open(&crash).unwrap().summary().panics, 1, "after kills");
    for _ in 0..5 {
        assert!(run("close").status.success());
    }
    assert_eq!(Reader::open(&crash).unwrap().summary().panics, 1, "after clean runs");
    let left = std::fs::read_dir(&dir).unwrap().count();
    // The lock, the current one, three earlier ones, the crash.
    assert_eq!(left, 6, "no more than a bounded number stays");
}
