//! More counting threads than slots: they share one cell, and every count is still exact.

use std::sync::Barrier;
use std::thread;

use ng_metrics::{Counter, Histogram, Registry};

#[test]
fn counts_beyond_64_threads_are_exact_and_reported() {
    const THREADS: u64 = 100;
    const EACH: u64 = 20_000;
    let counter = Counter::new();
    let histogram = Histogram::new();
    let all_have_counted = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for i in 0..THREADS {
            let (counter, histogram, barrier) = (&counter, &histogram, &all_have_counted);
            scope.spawn(move || {
                counter.inc();
                barrier.wait(); // all 100 alive, each with a slot or without
                for _ in 0..EACH {
                    counter.inc();
                    histogram.record(i + 1);
                }
                barrier.wait();
            });
        }
    });
    assert_eq!(counter.get(), THREADS * (EACH + 1));
    let seen = histogram.snapshot();
    assert_eq!(seen.count(), THREADS * EACH);
    assert_eq!(seen.sum(), u128::from(EACH * (THREADS * (THREADS + 1) / 2)));

    let shared = Registry::new("").unwrap().stats().shared_slot_threads_total;
    assert_eq!(shared, THREADS - 64);

    // They have ended: their slots are free again, and the next thread owns one.
    thread::spawn(move || counter.inc()).join().unwrap();
    assert_eq!(Registry::new("").unwrap().stats().shared_slot_threads_total, shared);
}
