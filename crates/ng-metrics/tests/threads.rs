//! Threads that come and go: nothing they counted is lost, and their slots are used again.
//!
//! Slots belong to the process. This file never has more than 64 threads alive that count, so it
//! may claim that none had to share; `overflow.rs` is the other process.

use std::cell::RefCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ng_metrics::{Counter, Format, Histogram, Registry};

/// Ends the counting threads of a scope, also when an assertion has failed: red, not hung.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn shared_threads() -> u64 {
    Registry::new("").unwrap().stats().shared_slot_threads_total
}

#[test]
fn counts_of_200_ended_threads_stay_and_their_slots_are_used_again() {
    let counter = Counter::new();
    let histogram = Histogram::new();
    for round in 0..25u64 {
        thread::scope(|scope| {
            for i in 0..8u64 {
                let (counter, histogram) = (&counter, &histogram);
                scope.spawn(move || {
                    for _ in 0..100 {
                        counter.add(round * 8 + i);
                        histogram.record(round * 8 + i);
                    }
                });
            }
        });
    }
    assert_eq!(counter.get(), 100 * (199 * 200 / 2));
    let seen = histogram.snapshot();
    assert_eq!((seen.count(), seen.sum()), (200 * 100, 100 * (199 * 200 / 2)));
    assert_eq!(shared_threads(), 0, "200 threads, eight at a time, need no more than 64 slots");
}

#[test]
fn no_increment_is_lost_when_a_slot_passes_from_thread_to_thread() {
    let counter = Counter::new();
    // One short life after the other, two at a time, so that slots change hands while both count.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..500 {
                    thread::scope(|inner| {
                        inner.spawn(|| (0..20).for_each(|_| counter.inc()));
                    });
                }
            });
        }
    });
    assert_eq!(counter.get(), 2 * 500 * 20);
}

#[test]
fn a_count_made_by_a_threads_last_destructor_is_kept() {
    struct CountsWhenDropped(Counter);
    impl Drop for CountsWhenDropped {
        fn drop(&mut self) {
            self.0.add(1_000);
        }
    }
    thread_local!(static LATE: RefCell<Option<CountsWhenDropped>> = const { RefCell::new(None) });

    let counter = Counter::new();
    for count_first in [true, false] {
        let mine = counter.clone();
        let run = move || {
            // Destructors run in the order of registration on some platforms and in reverse on
            // others: both orders of "slot taken" and "destructor registered" are tried.
            if count_first {
                mine.inc();
            }
            LATE.with_borrow_mut(|late| *late = Some(CountsWhenDropped(mine.clone())));
            if !count_first {
                mine.inc();
            }
        };
        thread::spawn(run).join().unwrap();
    }
    assert_eq!(counter.get(), 2 * 1_001);
}

#[test]
fn totals_never_fall_on_pages_written_while_threads_count_and_end() {
    let registry = Registry::new("t").unwrap();
    let counter = registry.counter("ops", "Operations.").unwrap();
    let histogram = registry.histogram("sizes", "Sizes.").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    thread::scope(|inner| {
                        inner.spawn(|| {
                            for _ in 0..2_000 {
                                counter.inc();
                                histogram.record(7);
                            }
                        });
                    });
                }
            });
        }
        let mut last = (0, 0);
        let mut pages = 0;
        // Until enough has been seen, not for a time: at least 50 pages and 100,000 operations.
        while pages < 50 || last.0 < 100_000 {
            let page = registry.encode(Format::OpenMetrics);
            let value = |series: &str| -> u64 {
                let line = page.lines().find(|line| line.starts_with(series)).expect(series);
                line.rsplit_once(' ').unwrap().1.parse().unwrap()
            };
            let now = (value("t_ops_total "), value("t_sizes_count "));
            assert!(now.0 >= last.0 && now.1 >= last.1, "{last:?}, then {now:?}");
            assert_eq!(now.1, value("t_sizes_bucket{le=\"+Inf\"} "));
            last = now;
            pages += 1;
        }
    });
    assert_eq!(counter.get(), histogram.snapshot().count());
}

#[test]
fn a_value_that_is_counted_is_also_in_the_sum() {
    const VALUE: u64 = 1_000_003;
    let histogram = Histogram::new();
    let stop = AtomicBool::new(false);
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| {
            start.wait();
            while !stop.load(Ordering::Relaxed) {
                histogram.record(VALUE);
            }
        });
        start.wait();
        // Until the writer has been seen to move on 200 times, however slowly it is scheduled.
        let (mut last, mut moves) = (0, 0);
        while moves < 200 {
            let seen = histogram.snapshot();
            let counted = u128::from(seen.count()) * u128::from(VALUE);
            assert!(seen.sum() >= counted, "{} < {counted}", seen.sum());
            assert!(seen.count() >= last);
            moves += u32::from(seen.count() > last);
            last = seen.count();
        }
    });
    let seen = histogram.snapshot();
    assert_eq!(seen.sum(), u128::from(seen.count()) * u128::from(VALUE));
}
