//! Loom models of one histogram shard: a reader beside its owner, and two threads that share it.

use crate::HistogramSnapshot;
use crate::histogram::Shard;
use crate::sync::{Arc, thread};

/// A read of all 497 buckets is a long path, but few of its steps meet another thread's.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 10_000;
    builder.check(body);
}

fn read(shard: &Shard) -> HistogramSnapshot {
    let mut snapshot = HistogramSnapshot::default();
    shard.add_to(&mut snapshot);
    snapshot
}

#[test]
fn a_value_that_is_counted_is_also_in_the_sum() {
    model(|| {
        let shard = Arc::new(Shard::new());
        let read_by_other = Arc::clone(&shard);
        let reader = thread::spawn(move || {
            let seen = read(&read_by_other);
            assert!(seen.sum() >= 5 * u128::from(seen.count()), "{seen:?}");
        });
        shard.record_owned(5);
        reader.join().unwrap();
    });
}

#[test]
fn threads_that_share_a_shard_lose_no_value() {
    model(|| {
        let shard = Arc::new(Shard::new());
        let shared = Arc::clone(&shard);
        let other = thread::spawn(move || shared.record_shared(5));
        shard.record_shared(5);
        let seen = read(&shard);
        assert!(seen.sum() >= 5 * u128::from(seen.count()), "{seen:?}");
        other.join().unwrap();
        let seen = read(&shard);
        assert_eq!((seen.count(), seen.sum()), (2, 10));
    });
}
