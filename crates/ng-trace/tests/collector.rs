//! What the collector promises whatever the sink does: nothing lost uncounted, nothing twice, nobody waits.

use ng_trace::{
    AttributeValue, Clock, Collector, CollectorConfig, CountingSink, Dose, FinishedSpan,
    FlushError, MemorySink, NameId, Odds, Reason, Sampled, Sink, SinkError, SpanId, SpanRecord,
    Threshold, Ticks, TraceId,
};
use std::{
    collections::{HashMap, HashSet},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const WAIT: Duration = Duration::from_secs(20);
const SMALL_RING_SPANS: u64 = 4096 / 80;

fn small() -> CollectorConfig {
    let mut config = CollectorConfig::default();
    config.ring_bytes = 4096;
    config
}

/// A config whose drain never looks by itself within a test.
fn sleepy() -> CollectorConfig {
    let mut config = small();
    config.drain_interval = Duration::from_secs(10);
    config.idle_interval = Duration::from_secs(10);
    config
}

fn span(number: u64) -> SpanRecord {
    let sampled = Sampled { reason: Reason::Force, odds: Odds::CERTAIN };
    let trace_id = TraceId::new(u128::from(number) + 1).unwrap();
    let span_id = SpanId::new(number + 1).unwrap();
    SpanRecord::new(trace_id, span_id, NameId::UNNAMED, sampled, Ticks::default(), Ticks::default())
}

fn numbers(spans: &[FinishedSpan]) -> Vec<u64> {
    spans.iter().map(|span| span.record.span_id.get() - 1).collect()
}

/// Says how many spans each batch has, then waits until it is let go. Says 0 when it is flushed.
struct GatedSink {
    batches: Sender<usize>,
    gate: Receiver<()>,
}

impl GatedSink {
    fn new() -> (Self, Receiver<usize>, Sender<()>) {
        let (batches, seen) = channel();
        let (open, gate) = channel();
        (Self { batches, gate }, seen, open)
    }
}

impl Sink for GatedSink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let _ = self.batches.send(batch.len());
        let _ = self.gate.recv(); // an error: the test is over, all may pass
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let _ = self.batches.send(0);
        Ok(())
    }
}

#[test]
fn spans_of_several_threads_arrive_once_and_in_each_threads_order() {
    let sink = MemorySink::new();
    let collector = Collector::start(small(), Box::new(sink.clone())).unwrap();
    let offered = 20_000;
    let recorded: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let mut recorder = collector.recorder();
                scope.spawn(move || {
                    let spans = (0..offered).map(|number| span(thread << 32 | number));
                    spans.filter(|span| recorder.record(*span)).count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    collector.flush(WAIT).unwrap();
    let stats = collector.stats();
    assert_eq!(stats.spans_recorded_total, recorded);
    assert_eq!(stats.spans_recorded_total + stats.spans_dropped_total, 4 * offered);
    assert_eq!((stats.spans_exported_total, stats.spans_lost_total), (recorded, 0));
    let mut last = HashMap::new();
    let arrived = numbers(&sink.spans());
    assert_eq!(arrived.len() as u64, recorded);
    for number in arrived {
        let before = last.insert(number >> 32, number);
        assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
    }
}

#[test]
fn a_lone_span_gets_ids_of_its_own_that_agree_with_what_kept_it() {
    let sink = MemorySink::new();
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink.clone())).unwrap();
    let mut recorder = collector.recorder();
    let thresholds = [1.0, 0.25, 1e-6].map(|rate| Threshold::from_rate(rate).unwrap());
    let spans = 3_000;
    for number in 0..spans {
        let sampled = Sampled::by_threshold(Reason::Base, thresholds[number % 3]);
        let lone = SpanRecord::lone(NameId::UNNAMED, sampled, Ticks::default(), Ticks::default());
        assert!(recorder.record(lone.with_attribute(collector.name("number"), number as u64)));
        assert!(recorder.record(span(number as u64))); // its ids are its own
    }
    collector.flush(WAIT).unwrap();
    let (mut traces, mut ids, mut high) = (HashSet::new(), HashSet::new(), 0);
    for pair in sink.spans().chunks(2) {
        let (lone, plain) = (pair[0].record, pair[1].record);
        let (_, number) = pair[0].attributes().next().unwrap();
        let number = number.as_u64().unwrap();
        assert!(lone.threshold() == Some(thresholds[number as usize % 3]) && lone.random_trace_id);
        assert!(thresholds[number as usize % 3].keeps(lone.trace_id.randomness()));
        assert!(traces.insert(lone.trace_id) && ids.insert(lone.span_id), "drawn twice");
        high += usize::from(lone.trace_id.randomness().get() >> 55 == 1);
        assert_eq!((plain.trace_id, plain.span_id), (span(number).trace_id, span(number).span_id));
    }
    assert_eq!(traces.len(), spans);
    // A quarter and a millionth lie in the upper half, and of rate 1 half of them: 4 sigma.
    let off = high as f64 - 2_500.0;
    assert!(off.abs() < 4.0 * 250f64.sqrt(), "{high} of {spans} in the upper half");
}

#[test]
fn a_recorder_that_waits_for_room_loses_nothing() {
    let sink = CountingSink::new();
    let collector = Collector::start(small(), Box::new(sink.clone())).unwrap();
    let mut recorder = collector.recorder();
    let spans = 100_000u64;
    for number in 0..spans {
        while !recorder.record(span(number)) {
            thread::yield_now();
        }
    }
    collector.flush(WAIT).unwrap();
    assert_eq!(sink.spans_total(), spans);
    assert_eq!(sink.span_id_sum(), (1..=spans).sum::<u64>());
    assert_eq!(sink.reversed_total(), 0);
}

#[test]
fn behind_a_stuck_sink_recorders_go_on_and_every_drop_is_counted() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    assert!(recorder.record(span(0)));
    assert_eq!(batches.recv_timeout(WAIT), Ok(1));
    // The sink holds that one now; its ring is empty again.
    let kept = (1..=1000).filter(|number| recorder.record(span(*number))).count() as u64;
    assert_eq!(kept, SMALL_RING_SPANS);
    let stats = collector.stats();
    assert_eq!(stats.spans_recorded_total, 1 + SMALL_RING_SPANS);
    assert_eq!(stats.spans_dropped_total, 1000 - SMALL_RING_SPANS);
    assert_eq!(stats.spans_exported_total, 0);
    drop(open);
    collector.flush(WAIT).unwrap();
    assert_eq!(collector.stats().spans_exported_total, 1 + SMALL_RING_SPANS);
}

#[test]
fn a_flush_behind_a_stuck_sink_times_out_and_succeeds_later() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    collector.recorder().record(span(0));
    batches.recv_timeout(WAIT).unwrap();
    let waited = Duration::from_millis(5);
    assert_eq!(collector.flush(waited), Err(FlushError::TimedOut { waited }));
    open.send(()).unwrap();
    assert_eq!(collector.flush(WAIT), Ok(()));
}

/// A sink that waits in a channel parks the drain's own thread, and so may use up a wake-up that
/// was meant for the drain; shutdown then took as long as the longest interval.
#[test]
fn a_flush_asked_while_the_sink_waits_is_not_forgotten() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(sleepy(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    for number in 0..SMALL_RING_SPANS {
        recorder.record(span(number));
    }
    assert!(batches.recv_timeout(WAIT).unwrap() > 0);
    assert!(collector.flush(Duration::from_millis(20)).is_err());
    drop(open);
    let until_flushed = || batches.recv_timeout(Duration::from_secs(8));
    assert!(std::iter::from_fn(|| until_flushed().ok()).any(|spans| spans == 0));
}

#[test]
fn a_shutdown_behind_a_stuck_sink_gives_up_instead_of_hanging() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    collector.recorder().record(span(0));
    batches.recv_timeout(WAIT).unwrap();
    let waited = Duration::from_millis(5);
    assert_eq!(collector.shutdown(waited), Err(FlushError::TimedOut { waited }));
    drop(open);
}

#[test]
fn spans_of_a_dropped_recorder_are_drained() {
    let sink = MemorySink::new();
    let collector = Collector::start(sleepy(), Box::new(sink.clone())).unwrap();
    for number in 0..3 {
        collector.recorder().record(span(number));
    }
    collector.flush(WAIT).unwrap();
    let mut arrived = numbers(&sink.spans());
    arrived.sort_unstable();
    assert_eq!(arrived, [0, 1, 2]);
    assert_eq!(collector.stats().recorders, 0);
}

#[test]
fn the_memory_of_dropped_recorders_is_used_again_and_totals_never_fall() {
    let collector = Collector::start(small(), Box::new(CountingSink::new())).unwrap();
    let mut recorded = 0;
    for _ in 0..10 {
        let mut recorders: Vec<_> = (0..8).map(|_| collector.recorder()).collect();
        assert_eq!(collector.stats().recorders, 8);
        for recorder in &mut recorders {
            recorder.record(span(recorded));
            recorded += 1;
        }
        drop(recorders);
        collector.flush(WAIT).unwrap();
        assert_eq!(collector.stats().spans_recorded_total, recorded);
        assert_eq!(collector.stats().spans_exported_total, recorded);
        assert!(collector.stats().ring_bytes_max <= 8 * 4096, "one block each at once");
    }
}

#[test]
fn a_span_arrives_without_a_flush() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    recorder.record(span(0));
    assert_eq!(batches.recv_timeout(WAIT), Ok(1));
    drop(open);
}

#[test]
fn a_ring_with_a_quarter_waiting_wakes_a_sleeping_drain() {
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(sleepy(), Box::new(sink)).unwrap();
    collector.flush(WAIT).unwrap(); // it has looked, and sleeps for ten seconds
    assert_eq!(batches.recv_timeout(WAIT), Ok(0));
    let mut recorder = collector.recorder();
    for number in 0..=SMALL_RING_SPANS / 4 {
        recorder.record(span(number));
    }
    let woken = batches.recv_timeout(Duration::from_secs(8));
    assert!(woken.is_ok_and(|spans| spans as u64 >= SMALL_RING_SPANS / 4), "{woken:?}");
    drop(open);
}

/// Panics or fails on chosen batches and passes the others on.
struct BadSink {
    calls: u64,
    good: MemorySink,
}

impl Sink for BadSink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.calls += 1;
        match self.calls {
            1 => panic!("expected in this test: the sink's first batch"),
            2 => Err(SinkError::Export { spans: batch.len(), source: "second batch".into() }),
            _ => self.good.export(batch),
        }
    }

    fn shutdown(&mut self) -> Result<(), SinkError> {
        panic!("expected in this test: the sink's shutdown")
    }
}

#[test]
fn a_panicking_and_a_failing_sink_are_survived_and_what_they_lost_is_counted() {
    let good = MemorySink::new();
    let sink = BadSink { calls: 0, good: good.clone() };
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    for number in 0..3 {
        recorder.record(span(number));
        collector.flush(WAIT).unwrap();
    }
    assert_eq!(numbers(&good.spans()), [2]);
    let stats = collector.stats();
    assert_eq!((stats.sink_panics_total, stats.sink_errors_total), (1, 1));
    assert_eq!((stats.spans_lost_total, stats.spans_exported_total), (2, 1));
    collector.shutdown(WAIT).unwrap();
}

/// Refuses as many spans of each batch as it is told.
struct RefusingSink(usize);

impl Sink for RefusingSink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        Err(SinkError::Export { spans: self.0.min(batch.len()), source: "no room".into() })
    }
}

#[test]
fn every_span_offered_is_exported_lost_dropped_capped_or_in_flight() {
    let conserved = |collector: &Collector| {
        let stats = collector.stats();
        let sum = stats.spans_exported_total
            + stats.spans_lost_total
            + stats.spans_dropped_total
            + stats.spans_capped_total
            + stats.spans_in_flight;
        assert_eq!(stats.spans_offered_total, sum, "{stats:?}");
        stats
    };
    // Behind a stuck sink: one at the sink, a ring full, and the rest dropped.
    let (sink, batches, open) = GatedSink::new();
    let collector = Collector::start(small(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    recorder.record(span(0));
    batches.recv_timeout(WAIT).unwrap();
    (1..=1000).for_each(|number| _ = recorder.record(span(number)));
    let stats = conserved(&collector);
    assert_eq!((stats.spans_offered_total, stats.spans_in_flight), (1001, 1 + SMALL_RING_SPANS));
    collector.set_spans_per_second_max(Some(0));
    drop(open);
    collector.flush(WAIT).unwrap();
    (0..200).for_each(|number| _ = recorder.record(span(number)));
    collector.flush(WAIT).unwrap();
    let stats = conserved(&collector);
    assert!(stats.spans_capped_total > 0 && stats.spans_in_flight == 0, "{stats:?}");
    // And a sink that takes a part of each batch.
    let collector = Collector::start(small(), Box::new(RefusingSink(3))).unwrap();
    let mut recorder = collector.recorder();
    for number in 0..10 {
        recorder.record(span(number));
    }
    collector.flush(WAIT).unwrap();
    let stats = conserved(&collector);
    assert_eq!(stats.spans_in_flight, 0);
    assert_eq!(stats.spans_lost_total, 10.min(3 * stats.batches_total), "{stats:?}");
    assert_eq!(stats.sink_errors_total, stats.batches_total);
    assert_eq!(stats.last_sink_error.unwrap(), "the sink refused 3 spans: no room");
}

#[test]
fn a_shutdown_and_a_drop_drain_what_is_there() {
    for by_drop in [false, true] {
        let sink = MemorySink::new();
        let collector = Collector::start(sleepy(), Box::new(sink.clone())).unwrap();
        let mut recorder = collector.recorder();
        recorder.record(span(4));
        if by_drop {
            drop(collector);
        } else {
            collector.shutdown(WAIT).unwrap();
        }
        assert_eq!(numbers(&sink.spans()), [4]);
        assert!(recorder.record(span(5)), "its ring is still its own");
    }
}

#[test]
fn names_attributes_and_wall_time_reach_the_sink() {
    let sink = MemorySink::new();
    let collector = Collector::start(small(), Box::new(sink.clone())).unwrap();
    let (name, key) = (collector.name("token.create"), collector.name("bytes"));
    assert_eq!(collector.name("token.create"), name);
    let clock = collector.clock();
    let mut recorder = collector.recorder();
    let (disk, slow) = (collector.name("disk"), collector.name("slow"));
    let mut record = span(1).with_attribute(key, 64u64).with_attribute(disk, slow);
    record.name = name;
    record.start = clock.now();
    let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    record.end = clock.now();
    recorder.record(record);
    collector.flush(WAIT).unwrap();
    let spans = sink.take();
    assert_eq!(spans[0].name, "token.create");
    assert_eq!(
        spans[0].attributes().collect::<Vec<_>>(),
        [("bytes", AttributeValue::U64(64)), ("disk", AttributeValue::Text("slow"))]
    );
    assert!(spans[0].start_unix_ns.abs_diff(unix_ns) < 1_000_000_000);
    let lasted_ns = Clock::new().elapsed_ns(record.start, record.end);
    assert_eq!(spans[0].end_unix_ns - spans[0].start_unix_ns, lasted_ns);
}

#[test]
fn names_beyond_the_table_are_called_unnamed_and_counted() {
    let collector = Collector::start(small(), Box::new(MemorySink::new())).unwrap();
    for number in 1..4096 {
        let name = collector.name(Box::leak(format!("name {number}").into_boxed_str()));
        assert_ne!(name, NameId::UNNAMED);
    }
    assert_eq!(collector.name("one too many"), NameId::UNNAMED);
    assert_ne!(collector.name("name 7"), NameId::UNNAMED);
    assert_eq!(collector.stats().names_refused_total, 1);
}

#[test]
fn spans_beyond_the_ceiling_are_dropped_and_counted_apart() {
    let mut config = CollectorConfig::default();
    config.spans_per_second_max = Some(200);
    let sink = CountingSink::new();
    let collector = Collector::start(config, Box::new(sink.clone())).unwrap();
    let mut recorders: Vec<_> = (0..2).map(|_| collector.recorder()).collect();
    let mut offer = |count: u64| {
        let offered = (0..count).flat_map(|n| [(0, n), (1, n)]);
        offered.filter(|(which, n)| recorders[*which].record(span(*n))).count() as u64
    };
    let kept = offer(50_000);
    // One second's worth at once, and what came back while this ran.
    assert!((190..50_000).contains(&kept), "{kept}");
    let stats = collector.stats();
    assert_eq!((stats.spans_recorded_total, stats.spans_dropped_total), (kept, 0));
    assert_eq!(stats.spans_capped_total, 100_000 - kept);
    collector.set_spans_per_second_max(Some(0));
    assert!(offer(1000) <= 2 * 64);
    assert_eq!(offer(1000), 0);
    collector.set_spans_per_second_max(None);
    assert_eq!(offer(1000), 2000);
    collector.flush(WAIT).unwrap();
    assert_eq!(sink.spans_total(), collector.stats().spans_recorded_total);
}

#[test]
#[cfg(target_os = "linux")]
fn the_overhead_of_recording_and_draining_is_in_the_account_with_its_interval() {
    let collector = Collector::start(CollectorConfig::default(), Box::new(CountingSink::new()));
    let collector = collector.unwrap();
    let mut recorder = collector.recorder();
    assert_eq!(collector.measure_overhead(Duration::ZERO), None, "nothing to compare with");
    let spend = |recorder: &mut ng_trace::SpanRecorder| {
        for number in 0..100_000 {
            recorder.record(span(number));
        }
        collector.flush(WAIT).unwrap();
        collector.measure_overhead(Duration::ZERO).unwrap()
    };
    let plain = spend(&mut recorder);
    assert_eq!(collector.overhead(), Some(plain));
    assert!(plain.share > 0.0 && plain.low <= plain.share && plain.share <= plain.high);
    assert!(plain.spans_timed > 0 && plain.span_ns > 0.0 && plain.background_share > 0.0);
    // A drill of 20 µs a span cannot be missed, and is most of what the process does.
    recorder.set_drill(Duration::from_micros(20));
    let drilled = spend(&mut recorder);
    assert!(drilled.span_ns >= 20_000.0, "{drilled:?}");
    assert!(drilled.share > 0.5, "{drilled:?}");
    recorder.set_drill(Duration::ZERO);
    for _ in 0..64 * 64 {
        recorder.record(span(1));
    }
    assert!(spend(&mut recorder).span_ns < 20_000.0);
}

#[test]
fn a_double_dose_records_each_span_once() {
    let sink = CountingSink::new();
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink.clone())).unwrap();
    let mut recorder = collector.recorder();
    for dose in [Dose::Off, Dose::Single, Dose::Double, Dose::Off] {
        recorder.set_dose(dose);
        for number in 0..1000 {
            assert!(recorder.record(span(number)));
        }
    }
    collector.flush(WAIT).unwrap();
    assert_eq!((sink.spans_total(), sink.span_id_sum()), (4000, 4 * (1..=1000).sum::<u64>()));
}
