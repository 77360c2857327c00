//! A number that only rises, counted by many threads without contention.
//!
//! It never falls, not even at the end of its range: there it stays at `u64::MAX`.

use std::fmt;

use crate::shard::Column;
use crate::{Exemplar, TraceRef};

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

    /// Adds `n`. Never blocks. A count that would come near the end of its range, 3 × 2^62 by one thread,
    /// or 2^64 − 1 by all, is `u64::MAX` from then on.
    #[inline]
    pub fn add(&self, n: u64) {
        self.column.raise(n);
    }

    /// Adds `n`, and keeps `trace` as the exemplar of it: for sampled operations, since it reads a
    /// clock and takes a lock. Where that is taken the exemplar is left out; it never waits.
    pub fn add_traced(&self, n: u64, trace: TraceRef) {
        self.column.raise(n);
        self.column.keep(n, trace);
    }

    /// The sum over all threads. Includes everything that happened before the call; of what is
    /// counted meanwhile, some. Never lower than what the same thread read before.
    pub fn get(&self) -> u64 {
        self.column.total()
    }

    /// The newest exemplar, if there is one.
    pub fn exemplar(&self) -> Option<Exemplar> {
        self.column.exemplar()
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
