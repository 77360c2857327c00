//! Loom models of histogram shards: a reader beside an owner, two threads that share a shard, and a
//! merge of two shards beside their owners.

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

#[test]
fn merges_beside_two_owners_never_fall_and_end_with_every_value() {
    model(|| {
        let shards = Arc::new([Shard::new(), Shard::new()]);
        let merged = |shards: &[Shard; 2]| {
            let mut snapshot = HistogramSnapshot::default();
            shards.iter().for_each(|shard| shard.add_to(&mut snapshot));
            snapshot
        };
        let other = Arc::clone(&shards);
        let thread = thread::spawn(move || other[1].record_owned(3));
        shards[0].record_owned(5);
        let first = merged(&shards);
        assert!(first.count() >= 1 && first.sum() >= 5, "its own thread's value: {first:?}");
        let second = merged(&shards);
        assert!(second.count() >= first.count() && second.sum() >= first.sum());
        thread.join().unwrap();
        let last = merged(&shards);
        assert_eq!((last.count(), last.sum()), (2, 8));
    });
}
