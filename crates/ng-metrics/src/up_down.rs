//! A number that rises and falls by steps, counted by many threads without contention.

use std::fmt;

use crate::shard::Column;

/// A level that many threads raise and lower, sharded by thread. Clones share it.
///
/// What one thread raises another may lower; only the sum means anything. It costs what a
/// [`Counter`](crate::Counter) costs. A [`Gauge`](crate::Gauge) is for levels that are set.
///
/// ```
/// let open = ng_metrics::UpDownCounter::new();
/// open.inc();
/// open.add(3);
/// open.dec();
/// assert_eq!(open.get(), 3);
/// ```
#[derive(Clone)]
pub struct UpDownCounter {
    column: Column,
}

impl UpDownCounter {
    /// One at 0 that no registry knows.
    pub fn new() -> Self {
        Self::of(Column::new())
    }

    pub(crate) fn of(column: Column) -> Self {
        Self { column }
    }

    /// Raises it by one. Never blocks; a thread's first call takes its slot.
    #[inline]
    pub fn inc(&self) {
        self.column.add(1);
    }

    /// Lowers it by one. Never blocks.
    #[inline]
    pub fn dec(&self) {
        self.column.add(1u64.wrapping_neg());
    }

    /// Raises it by `n`, or lowers it by a negative `n`. Never blocks.
    #[inline]
    pub fn add(&self, n: i64) {
        self.column.add(n.cast_unsigned());
    }

    /// The sum over all threads; wraps as an `i64` does.
    ///
    /// Not a snapshot: while one thread raises and another lowers, either half may be missing, so
    /// that a level which is never below 0 may be read as slightly less. At rest it is exact.
    pub fn get(&self) -> i64 {
        self.column.level()
    }
}

impl Default for UpDownCounter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for UpDownCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpDownCounter").field(&self.get()).finish()
    }
}
