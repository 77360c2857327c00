//! A counter at the end of its range: a count that fell would be a restart to whoever reads the page.

use std::{sync::Barrier, thread};

use ng_metrics::{Counter, Format, Registry, TraceRef, UpDownCounter};

const ABOVE_ALL: u64 = u64::MAX;

#[test]
fn a_counter_that_is_full_stays_full_and_its_page_never_falls() {
    let registry = Registry::new("").unwrap();
    let counter = registry.counter("bytes", "What was sent.").unwrap();
    counter.add(u64::MAX - 5);
    let shown = || {
        let page = registry.encode(Format::OpenMetrics);
        let line = page.lines().find(|line| line.starts_with("bytes_total ")).unwrap();
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut before = shown();
    for step in 0..20 {
        match step % 4 {
            0 => counter.inc(),
            1 => counter.add(10),
            2 => counter.add(u64::MAX),
            _ => counter.add_traced(1 << 63, TraceRef { trace_id: 1, span_id: 1 }),
        }
        assert!(shown() >= before, "{} after {before}", shown());
        before = shown();
    }
    assert_eq!((before, counter.get()), (ABOVE_ALL, ABOVE_ALL));
}

#[test]
fn threads_that_fill_it_together_fill_it_too() {
    let counter = Counter::new();
    let half = u64::MAX / 2;
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| counter.add(half)).join().unwrap();
        }
    });
    assert_eq!(counter.get(), ABOVE_ALL);
}

/// Beyond 64 threads a cell has several writers.
#[test]
fn a_cell_that_threads_share_stays_full() {
    const THREADS: usize = 70;
    let counter = Counter::new();
    let alive = Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                counter.inc();
                alive.wait();
                counter.add(1 << 62);
                alive.wait();
            });
        }
    });
    assert_eq!(counter.get(), ABOVE_ALL);
}

#[test]
fn up_to_there_each_count_is_exact() {
    let counter = Counter::new();
    let most = u64::MAX - (1 << 62);
    counter.add(most - 3);
    counter.add(2);
    assert_eq!(counter.get(), most - 1);
    // A level still wraps as whole numbers do: what one thread raises another lowers.
    let level = UpDownCounter::new();
    level.add(i64::MIN);
    level.add(i64::MIN);
    level.add(7);
    assert_eq!(level.get(), 7);
}
