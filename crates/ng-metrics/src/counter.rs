//! A number that only rises, counted by many threads without contention.
//!
//! Wraps at 2^64, as any `u64`; at a billion a second that takes 584 years.

use std::fmt;

use crate::shard::Column;

/// A monotone count, sharded by thread. Clones share the count.
///
/// Counts of threads that have ended stay in it. Used alone it takes 8 KiB; counters that a
/// [`Registry`](crate::Registry) made share those with up to 15 others.
///
/// ```
/// let hits = ng_metrics::Counter::new();
/// hits.inc();
/// hits.add(2);
/// assert_eq!(hits.get(), 3);
/// ```
#[derive(Clone)]
pub struct Counter {
    column: Column,
}

impl Counter {
    /// A counter at 0 that no registry knows.
    pub fn new() -> Self {
        Self::of(Column::new())
    }

    pub(crate) fn of(column: Column) -> Self {
        Self { column }
    }

    /// Adds one. Never blocks; a thread's first call takes its slot.
    #[inline]
    pub fn inc(&self) {
        self.column.add(1);
    }

    /// Adds `n`. Never blocks.
    #[inline]
    pub fn add(&self, n: u64) {
        self.column.add(n);
    }

    /// The sum over all threads. Includes everything that happened before the call; of what is
    /// counted meanwhile, some. Never lower than what the same thread read before.
    pub fn get(&self) -> u64 {
        self.column.sum()
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}
