//! Admission: `cargo bench -p ng-guardian`. The quota is far away, so nothing is refused and nobody waits.
//!
//! - `reserve_release` times one credit taken from the guardian and given back through a cell.
//! - `lease` times what a session does once in 1,024 creates: 1,024 credits taken and given back.
//! - `permit` times a permit of one credit, from being asked for to its drop.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ng_guardian::{Guardian, GuardianConfig};

const LEASE: u32 = 1024;

fn admission(c: &mut Criterion) {
    let mut config = GuardianConfig::default();
    config.max_tokens = Some(1_000_000);
    let guardian = Guardian::new(config).expect("valid settings");
    let mut cell = guardian.cell();
    let mut group = c.benchmark_group("ng-guardian");
    group.throughput(Throughput::Elements(1));
    group.bench_function("reserve_release", |b| {
        b.iter(|| {
            let granted = guardian.reserve(1).expect("the quota is far");
            cell.release(u64::from(granted.credits));
        });
    });
    group.bench_function("permit", |b| {
        b.iter(|| drop(guardian.permit(1).expect("the quota is far")));
    });
    group.bench_function("lease", |b| {
        b.iter(|| {
            let granted = guardian.reserve(LEASE).expect("the quota is far");
            guardian.release_unused(u64::from(granted.credits));
        });
    });
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = admission
}
criterion_main!(hot_paths);
