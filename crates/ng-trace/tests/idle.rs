//! What a recorder costs that records nothing, or nothing any more: no memory for spans, and less than 1 KiB in all.
//!
//! The story: each recorder took its ring of 1 MiB when it was made. A store with 770 idle sessions
//! held 770 MiB that no eviction could free, and evicted every token in trying to.

use ng_trace::{
    Collector, CollectorConfig, CountingSink, MemoryBudget, NameId, Odds, Reason, Recorders,
    Sampled, SpanId, SpanRecord, SpanRecorder, Ticks, TraceId,
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

const WAIT: Duration = Duration::from_secs(20);
const BLOCK_BYTES: u64 = 4096;
/// Rounds after which nothing is kept that nobody needs.
const ROUNDS: u32 = 32;

/// One test after the other: one of them watches the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn span(number: u64) -> SpanRecord {
    let sampled = Sampled { reason: Reason::Force, odds: Odds::CERTAIN };
    let trace_id = TraceId::new(u128::from(number) + 1).unwrap();
    let span_id = SpanId::new(number + 1).unwrap();
    SpanRecord::new(trace_id, span_id, NameId::UNNAMED, sampled, Ticks::default(), Ticks::default())
}

fn collector(sink: &CountingSink) -> Collector {
    Collector::start(CollectorConfig::default(), Box::new(sink.clone())).unwrap()
}

/// Each flush is at least one round of the drain: no test has to wait for time to pass.
fn idle_rounds(collector: &Collector) {
    (0..ROUNDS).for_each(|_| collector.flush(WAIT).unwrap());
}

#[test]
fn idle_recorders_hold_no_memory_for_spans() {
    let _alone = alone();
    let collector = collector(&CountingSink::new());
    let few: Vec<_> = (0..20).map(|_| collector.recorder()).collect();
    assert_eq!(collector.stats().ring_bytes, 0);
    let many: Vec<_> = (0..10_000).map(|_| collector.recorder()).collect();
    let stats = collector.stats();
    assert_eq!((stats.recorders, stats.ring_bytes, stats.ring_bytes_max), (10_020, 0, 0));
    drop((few, many));
    collector.flush(WAIT).unwrap();
    assert_eq!(collector.stats().recorders, 0);
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_idle_recorders_are_less_than_1_kib_each_in_the_process() {
    let _alone = alone();
    let collector = collector(&CountingSink::new());
    let before = resident_bytes();
    let recorders: Vec<_> = (0..10_000).map(|_| collector.recorder()).collect();
    let each = resident_bytes().saturating_sub(before) / recorders.len() as u64;
    let own = size_of::<SpanRecorder>();
    assert!(each < 1024, "{each} bytes a recorder, {own} of them its own");
}

#[test]
fn the_first_span_takes_one_small_block_and_a_burst_grows_to_the_limit() {
    let _alone = alone();
    let sink = CountingSink::new();
    let mut config = CollectorConfig::default();
    // Nobody drains before it is told to.
    (config.drain_interval, config.idle_interval) = (WAIT / 2, WAIT / 2);
    config.ring_bytes = 64 << 10;
    let collector = Collector::start(config, Box::new(sink.clone())).unwrap();
    collector.flush(WAIT).unwrap();
    let mut recorder = collector.recorder();
    assert!(recorder.record(span(0)));
    assert_eq!(collector.stats().ring_bytes, BLOCK_BYTES);
    let offered = 100_000;
    let kept = (1..=offered).filter(|number| recorder.record(span(*number))).count() as u64;
    collector.flush(WAIT).unwrap();
    let stats = collector.stats();
    assert!(kept >= (64 << 10) / 80 - 1, "all that fit: {kept}");
    assert_eq!(stats.spans_recorded_total, 1 + kept);
    assert_eq!(stats.spans_dropped_total, offered - kept);
    assert_eq!((sink.spans_total(), sink.reversed_total()), (1 + kept, 0));
    // The ring's own, and blocks that are on their way: a recorder waits for none that the drain is just
    // giving back. All the spans offered would be 125 rings.
    assert!(stats.ring_bytes_max <= 2 * (64 << 10), "{}", stats.ring_bytes_max);
}

#[test]
fn a_burst_that_the_ring_has_room_for_loses_nothing() {
    let _alone = alone();
    let sink = CountingSink::new();
    let mut config = CollectorConfig::default();
    config.ring_bytes = 4 << 20;
    let capacity = (4 << 20) / 80;
    let collector = Collector::start(config, Box::new(sink.clone())).unwrap();
    let mut recorder = collector.recorder();
    for number in 0..100_000 {
        if number % capacity == 0 {
            collector.flush(WAIT).unwrap();
        }
        assert!(recorder.record(span(number)), "span {number}");
    }
    collector.flush(WAIT).unwrap();
    assert_eq!((sink.spans_total(), sink.reversed_total()), (100_000, 0));
    assert_eq!(sink.span_id_sum(), (1..=100_000).sum::<u64>());
}

#[test]
fn memory_goes_back_though_the_recorder_lives_and_never_runs_again() {
    let _alone = alone();
    let sink = CountingSink::new();
    let collector = collector(&sink);
    let mut recorder = collector.recorder();
    let kept = (0..10_000).filter(|number| recorder.record(span(*number))).count() as u64;
    assert!(collector.stats().ring_bytes_max > 0);
    idle_rounds(&collector);
    let stats = collector.stats();
    assert_eq!((stats.ring_bytes, stats.recorders), (0, 1));
    assert_eq!((stats.spans_exported_total, kept), (kept, 10_000));
    assert!(recorder.record(span(7)), "its next span is recorded");
    collector.flush(WAIT).unwrap();
    assert_eq!(sink.spans_total(), kept + 1);
}

/// Allows so many bytes at once, and notices if more comes back than went out.
#[derive(Clone, Debug, Default)]
struct Budget(Arc<BudgetState>);

#[derive(Debug, Default)]
struct BudgetState {
    allowed: AtomicU64,
    out: AtomicU64,
    taken_total: AtomicU64,
    refused_total: AtomicU64,
    too_much_came_back: AtomicBool,
}

impl Budget {
    fn of(bytes: u64) -> Self {
        let budget = Self::default();
        budget.0.allowed.store(bytes, SeqCst);
        budget
    }

    fn out(&self) -> u64 {
        assert!(!self.0.too_much_came_back.load(SeqCst), "given back twice");
        self.0.out.load(SeqCst)
    }
}

impl MemoryBudget for Budget {
    fn take(&self, bytes: u64) -> bool {
        let allowed = self.0.allowed.load(SeqCst);
        let more = |out: u64| Some(out + bytes).filter(|sum| *sum <= allowed);
        let taken = self.0.out.fetch_update(SeqCst, SeqCst, more).is_ok();
        let total = if taken { &self.0.taken_total } else { &self.0.refused_total };
        total.fetch_add(bytes, SeqCst);
        taken
    }

    fn give_back(&self, bytes: u64) {
        if self.0.out.fetch_update(SeqCst, SeqCst, |out| out.checked_sub(bytes)).is_err() {
            self.0.too_much_came_back.store(true, SeqCst);
        }
    }
}

fn within(budget: &Budget, sink: &CountingSink) -> Collector {
    let config = CollectorConfig::default();
    Collector::start_within(config, Box::new(sink.clone()), Box::new(budget.clone())).unwrap()
}

#[test]
fn what_the_budget_refuses_is_dropped_and_counted_and_a_smaller_ring_goes_on() {
    let _alone = alone();
    let (budget, sink) = (Budget::of(0), CountingSink::new());
    let collector = within(&budget, &sink);
    let mut recorder = collector.recorder();
    assert!(!(0..10).any(|number| recorder.record(span(number))));
    let stats = collector.stats();
    assert_eq!((stats.spans_refused_total, stats.spans_dropped_total), (10, 10));
    assert_eq!((stats.spans_recorded_total, stats.ring_bytes), (0, 0));
    budget.0.allowed.store(2 * BLOCK_BYTES + 7, SeqCst);
    let mut stored = 0;
    for _ in 0..20 {
        stored += (0..500).filter(|number| recorder.record(span(*number))).count() as u64;
        collector.flush(WAIT).unwrap();
    }
    let stats = collector.stats();
    assert_eq!(stats.ring_bytes_max, 2 * BLOCK_BYTES);
    assert_eq!(stats.spans_recorded_total, stored);
    assert!(stored >= 20 * 51, "{stored} in blocks that were there");
    assert_eq!(stats.spans_recorded_total + stats.spans_dropped_total, 10 + 20 * 500);
    assert_eq!(stats.spans_dropped_total, stats.spans_refused_total, "its ring was never full");
    assert_eq!(sink.spans_total(), stored);
}

/// Spans that a recorder kept between its making and its end.
fn one_life(recorders: &Recorders) -> u64 {
    let mut recorder = recorders.recorder();
    (0..5_000).filter(|number| recorder.record(span(*number))).count() as u64
}

#[test]
fn every_byte_is_given_back_once_whoever_goes_first() {
    let _alone = alone();
    for collector_first in [false, true] {
        let (budget, sink) = (Budget::of(u64::MAX), CountingSink::new());
        let collector = within(&budget, &sink);
        let recorders = collector.recorders();
        let kept: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10).map(|_| one_life(&recorders)).sum::<u64>()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u64>()
        });
        let mut last = collector.recorder();
        assert!((0..200).all(|number| last.record(span(number))));
        assert_eq!(collector.stats().spans_recorded_total, kept + 200);
        if collector_first {
            collector.shutdown(WAIT).unwrap();
            assert_eq!(sink.spans_total(), kept + 200);
            assert_eq!(budget.out(), 0, "nothing waits, so nothing is held");
            assert!((0..200).all(|number| last.record(span(number))));
            assert_eq!(budget.out(), 4 * BLOCK_BYTES, "they stay in their ring");
            drop(last);
        } else {
            drop(last);
            idle_rounds(&collector);
            assert_eq!((collector.stats().ring_bytes, budget.out()), (0, 0));
            drop(collector);
        }
        drop(recorders);
        assert_eq!(budget.out(), 0);
        assert!(budget.0.taken_total.load(SeqCst) > 0);
    }
}

#[test]
fn ten_thousand_recorders_with_a_span_each_lose_none_and_leave_nothing() {
    let _alone = alone();
    let (budget, sink) = (Budget::of(u64::MAX), CountingSink::new());
    let collector = within(&budget, &sink);
    let mut recorders: Vec<_> = (0..10_000).map(|_| collector.recorder()).collect();
    for round in 1..=3 {
        let stored =
            recorders.iter_mut().filter_map(|recorder| recorder.record(span(1)).then_some(()));
        assert_eq!(stored.count(), 10_000);
        collector.flush(WAIT).unwrap();
        assert_eq!(sink.spans_total(), round * 10_000);
    }
    idle_rounds(&collector);
    assert_eq!((collector.stats().ring_bytes, budget.out()), (0, 0));
    assert_eq!(collector.stats().recorders, 10_000);
}

/// A flush covers what was recorded before it, also by a thread that goes on recording while the
/// drain looks.
#[test]
fn a_flush_finds_the_spans_of_a_thread_that_is_pushing() {
    let _alone = alone();
    let sink = CountingSink::new();
    let collector = collector(&sink);
    let mut recorder = collector.recorder();
    let (recorded, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                if recorder.record(span(1)) {
                    recorded.fetch_add(1, SeqCst);
                }
            }
        });
        for _ in 0..300 {
            let before = recorded.load(SeqCst);
            collector.flush(WAIT).unwrap();
            let arrived = sink.spans_total();
            assert!(arrived >= before, "{arrived} of {before}");
        }
        stop.store(true, SeqCst);
    });
}
