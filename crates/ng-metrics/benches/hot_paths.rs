//! Counting and being read: `cargo bench -p ng-metrics`.
//!
//! - `counter` and `histogram` time one call by a thread that has counted before, its look-up of its own cell included.
//! - `counter_contended` times the same while a second thread counts with the same counter all the time.
//! - `scrape` times a page of twenty counters, five histograms with values and a family of ten.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ng_metrics::{Counter, Format, Histogram, Registry};

/// Values of a histogram, used again and again.
const VALUES: usize = 4096;

/// From 64 to 2^36, each power of two as often as the others.
fn values() -> Vec<u64> {
    let octave = |number: usize| 1_u64 << (6 + number * 7 % 30);
    (0..VALUES).map(|number| octave(number) + number as u64).collect()
}

fn counts(c: &mut Criterion) {
    let mut group = c.benchmark_group("ng-metrics");
    group.throughput(Throughput::Elements(1));
    let counter = Counter::new();
    group.bench_function("counter", |b| b.iter(|| black_box(&counter).inc()));
    group.bench_function("counter_contended", |b| {
        let (counter, stop) = (Counter::new(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    counter.inc();
                }
            });
            b.iter(|| black_box(&counter).inc());
            stop.store(true, Relaxed);
        });
    });
    let (histogram, values, mut turn) = (Histogram::new(), values(), 0);
    group.bench_function("histogram", |b| {
        b.iter(|| {
            turn = (turn + 1) % VALUES;
            black_box(&histogram).record(values[turn]);
        });
    });
    group.finish();
}

fn scrape(c: &mut Criterion) {
    let registry = Registry::new("bench").expect("a name");
    for number in 0..20 {
        let name = format!("events_{number}");
        registry.counter(&name, "Events.").expect("a new name").add(number);
    }
    for number in 0..5 {
        let name = format!("wait_{number}_seconds");
        let histogram = registry.histogram_seconds(&name, "Waits.").expect("a new name");
        values().into_iter().for_each(|value| histogram.record(value));
    }
    let family = registry.counter_family("requests", "Requests.", ["method"], 10);
    let family = family.expect("a new name");
    for method in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        family.with(&[method]).inc();
    }
    let page = registry.encode(Format::OpenMetrics);
    let mut group = c.benchmark_group("ng-metrics");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("scrape", |b| b.iter(|| registry.encode(Format::OpenMetrics)));
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = counts, scrape
}
criterion_main!(hot_paths);
