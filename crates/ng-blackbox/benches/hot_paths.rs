//! Recording an event: `cargo bench -p ng-blackbox`. Timed is one call: a reading of the clock, a checksum, 64 bytes.
//!
//! - `record` writes through a lane into a mapped file, below TMPDIR.
//! - `record_in_memory` does the same without a file.
//! - `record_shared` writes into the lane that threads without one of their own share, behind a lock.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ng_blackbox::{Event, Kind, Recorder, RecorderConfig, Severity};

/// The first number that is free for kinds of one's own.
const EVENT: Kind = Kind::new(16);

fn record(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (config, names) = (RecorderConfig::default(), [(EVENT, "Measured")]);
    let on_disk = Recorder::open(&dir, config.clone(), &names).expect("a directory");
    let in_memory = Recorder::in_memory(config, &names).expect("memory");
    let mut number = 0;
    let mut event = move || {
        number += 1;
        Event::numbers(EVENT, Severity::INFO, [number, !number, 0, 7])
    };
    let mut group = c.benchmark_group("ng-blackbox");
    group.throughput(Throughput::Elements(1));
    let mut lane = on_disk.lane();
    assert!(!lane.is_shared());
    group.bench_function("record", |b| b.iter(|| lane.record(event())));
    let mut lane = in_memory.lane();
    group.bench_function("record_in_memory", |b| b.iter(|| lane.record(event())));
    group.bench_function("record_shared", |b| b.iter(|| on_disk.record(event())));
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = record
}
criterion_main!(hot_paths);
