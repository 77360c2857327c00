//! How `u64` values (mostly nanoseconds) are distributed: log-linear buckets, sharded by thread.
//!
//! Each power of two is cut into 8 equal buckets, so a bucket is at most 12.5 % wide, small values
//! are exact, and the index needs no loop and no float. Buckets are open below and closed above,
//! (lower, upper], as Prometheus' `le` and OpenTelemetry's histograms are: so a power of two is a
//! bucket's upper bound, and a page's coarser buckets are exact sums of these.
//!
//! Limit: 4 KB for each thread slot that ever recorded, hence at most 260 KB a histogram, and 4 KB
//! more if it ever was given an exemplar.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use crate::exemplar::Exemplars;
use crate::shard::{self, ROWS, SHARED_SLOT};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, OnceLock};
use crate::{Exemplar, TraceRef, mutants};

/// Every power of two has `2^GROUPING_POWER` buckets; relative error is `2^-GROUPING_POWER`.
const GROUPING_POWER: u32 = 3;
/// 0 has a bucket of its own; above, 8 for the linear start and 8 for each of 61 powers of two.
const BUCKETS: usize = 1 + (1 << GROUPING_POWER) * (u64::BITS - GROUPING_POWER + 1) as usize;

const _: () = {
    assert!(BUCKETS == 497);
    assert!(bucket_index(0) == 0);
    assert!(bucket_index(u64::MAX) == BUCKETS - 1);
    // Made on a stack, before it goes to its place.
    assert!(size_of::<Cells>() <= 2048 && align_of::<Cells>() <= 64);
    // A power of two closes its bucket; pages rely on it.
    assert!(bucket_index(1 << 20) + 1 == bucket_index((1 << 20) + 1));
};

/// Places for exemplars: one for each power of two, which closes it as it closes its bucket.
const POWERS: usize = u64::BITS as usize + 1;

/// The lowest exponent `e` with `value <= 2^e`.
const fn power_index(value: u64) -> usize {
    match value.checked_sub(1) {
        Some(below) => (u64::BITS - below.leading_zeros()) as usize,
        None => 0,
    }
}

/// Which bucket holds `value`.
#[inline(always)]
const fn bucket_index(value: u64) -> usize {
    // Shifted by one, because buckets are closed above: 2^k shall be the last of its bucket.
    let Some(below) = value.checked_sub(1) else { return 0 };
    let power = u64::BITS - 1 - (below | 1 << GROUPING_POWER).leading_zeros();
    let shift = power - GROUPING_POWER;
    // Below 16 the shift is 0, and each value has a bucket of its own.
    1 + ((shift as usize) << GROUPING_POWER) + (below >> shift) as usize
}

/// Lowest and highest value of a bucket.
fn bucket_bounds(index: usize) -> RangeInclusive<u64> {
    let Some(index) = index.checked_sub(1) else { return 0..=0 };
    let within = index % (1 << GROUPING_POWER);
    let (leading, shift) = match index >> GROUPING_POWER {
        0 => (within, 0),
        group => (within + (1 << GROUPING_POWER), group - 1),
    };
    let below = (leading as u64) << shift;
    // Saturates in the last bucket only, which would end at 2^64.
    below + 1..=below.saturating_add(1 << shift)
}

/// Unused cells on both sides, so that no line pair has cells of two shards: as far apart as in `shard.rs`.
/// An aligned type would do it too, and be 4 KiB on somebody's stack while it is made.
const MARGIN: usize = 128 / size_of::<u64>();
/// A margin, the counts, their sum, a margin.
const CELLS: usize = MARGIN + BUCKETS + 1 + MARGIN;

/// One thread slot's cells.
pub(crate) struct Shard {
    cells: Box<[AtomicU64; CELLS]>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        let cells: Box<[AtomicU64]> = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        let Ok(cells) = cells.try_into() else { unreachable!("as many cells as were asked for") };
        Self { cells }
    }

    #[inline(always)]
    fn count(&self, value: u64) -> &AtomicU64 {
        &self.cells[MARGIN + bucket_index(value)]
    }

    fn counts(&self) -> &[AtomicU64] {
        &self.cells[MARGIN..MARGIN + BUCKETS]
    }

    /// Saturates, so that it never falls.
    #[inline(always)]
    fn sum(&self) -> &AtomicU64 {
        &self.cells[MARGIN + BUCKETS]
    }

    // Both ways of recording: the sum before the count, and the count with Release, so that a
    // reader who sees a value counted finds it in the sum.

    /// For the thread that owns this shard's slot.
    #[inline(always)]
    pub(crate) fn record_owned(&self, value: u64) {
        let count = self.count(value);
        if mutants::on("metrics-count-before-sum") {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
        let sum = self.sum().load(Ordering::Relaxed).saturating_add(value);
        self.sum().store(sum, Ordering::Relaxed);
        if !mutants::on("metrics-count-before-sum") {
            count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
    }

    /// For threads that share this shard.
    pub(crate) fn record_shared(&self, value: u64) {
        if mutants::on("metrics-shared-shard-as-owned") {
            return self.record_owned(value);
        }
        let mut sum = self.sum().load(Ordering::Relaxed);
        while let Err(seen) = self.sum().compare_exchange_weak(
            sum,
            sum.saturating_add(value),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            sum = seen;
        }
        self.count(value).fetch_add(1, Ordering::Release);
    }

    /// Adds what this shard holds: the counts before the sum, the reverse of recording.
    pub(crate) fn add_to(&self, snapshot: &mut HistogramSnapshot) {
        for (total, count) in snapshot.counts.iter_mut().zip(self.counts()) {
            *total = total.saturating_add(count.load(Ordering::Acquire));
        }
        snapshot.sum += u128::from(self.sum().load(Ordering::Relaxed));
    }
}

/// A distribution of `u64` values, sharded by thread. Clones share it.
///
/// Values are whole numbers of the smallest unit that matters: nanoseconds for durations (see
/// [`Registry::histogram_seconds`](crate::Registry::histogram_seconds)). Values up to 16 are kept
/// exactly, greater ones within 12.5 %. What threads recorded stays when they end.
///
/// ```
/// let latency = ng_metrics::Histogram::new();
/// for ns in [900, 1_000, 1_100, 50_000] {
///     latency.record(ns);
/// }
/// let seen = latency.snapshot();
/// assert_eq!((seen.count(), seen.sum()), (4, 53_000));
/// assert_eq!(seen.quantile(0.5), Some(1_024)); // 1,000 lies in 961..=1,024
/// ```
#[derive(Clone)]
pub struct Histogram {
    cells: Arc<Cells>,
}

struct Cells {
    /// Made at a slot's first value: most slots never record.
    shards: [OnceLock<Shard>; ROWS],
    exemplars: Exemplars<POWERS>,
}

impl Histogram {
    /// An empty histogram that no registry knows.
    pub fn new() -> Self {
        let shards = std::array::from_fn(|_| OnceLock::new());
        Self { cells: Arc::new(Cells { shards, exemplars: Exemplars::new() }) }
    }

    /// Counts `value`. Never blocks, but a thread's first call on a histogram may allocate 4 KB.
    #[inline]
    pub fn record(&self, value: u64) {
        match shard::exclusive_slot().and_then(|slot| self.cells.shards[slot].get()) {
            Some(shard) => shard.record_owned(value),
            None => self.record_cold(value),
        }
    }

    #[cold]
    #[inline(never)]
    fn record_cold(&self, value: u64) {
        let slot = shard::claim();
        let shard = self.cells.shards[slot].get_or_init(Shard::new);
        match slot {
            SHARED_SLOT => shard.record_shared(value),
            _ => shard.record_owned(value),
        }
    }

    /// Counts `value`, and keeps `trace` as the exemplar of its bucket: for sampled operations,
    /// since it reads a clock and takes a lock. Where that is taken the exemplar is left out; it
    /// never waits.
    pub fn record_traced(&self, value: u64, trace: TraceRef) {
        self.record(value);
        self.cells.exemplars.keep(power_index(value), value, trace);
    }

    /// Everything recorded so far, over all threads.
    ///
    /// Its count is the sum of its buckets. Its sum holds at least every value counted; values
    /// recorded at this very moment may be in the sum and not yet in the count.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut snapshot = HistogramSnapshot::default();
        let merged = match mutants::on("metrics-merge-forgets-a-shard") {
            true => SHARED_SLOT,
            false => ROWS,
        };
        for shard in self.cells.shards[..merged].iter().filter_map(OnceLock::get) {
            shard.add_to(&mut snapshot);
        }
        // Last, so that what an exemplar tells of is counted.
        snapshot.exemplars = self.cells.exemplars.read();
        snapshot
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot();
        f.debug_struct("Histogram")
            .field("count", &snapshot.count())
            .field("sum", &snapshot.sum())
            .finish()
    }
}

/// A histogram's buckets, sum and exemplars at one time: plain data, which can be merged.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Box<[u64; BUCKETS]>,
    sum: u128,
    exemplars: Option<Box<[Option<Exemplar>]>>,
}

impl HistogramSnapshot {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Sum of the values, not rounded to buckets. Each thread slot's part stops at `u64::MAX`.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// An upper bound of the `q`-quantile, at most 12.5 % too high; `None` if there are no values.
    /// `q` is held within 0 to 1; 0 gives the lowest value's bound, 1 the highest's.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((q.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        let mut highest = None;
        for (bounds, count) in self.buckets() {
            seen = seen.saturating_add(count);
            highest = Some(*bounds.end());
            if seen >= rank {
                break;
            }
        }
        highest
    }

    /// The buckets that hold something, in rising order: lowest and highest value, and the count.
    pub fn buckets(&self) -> impl Iterator<Item = (RangeInclusive<u64>, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(index, count)| (bucket_bounds(index), *count))
    }

    /// Adds what `other` holds, as if one histogram had recorded both.
    pub fn merge(&mut self, other: &Self) {
        for (total, count) in self.counts.iter_mut().zip(other.counts.iter()) {
            *total = total.saturating_add(*count);
        }
        if !mutants::on("metrics-merge-forgets-the-sum") {
            self.sum = self.sum.saturating_add(other.sum);
        }
        let theirs = other.exemplars.iter().flat_map(|places| places.iter().enumerate());
        for (place, exemplar) in theirs.filter_map(|(place, kept)| Some((place, (*kept)?))) {
            let none = || vec![None; POWERS].into_boxed_slice();
            let ours = &mut self.exemplars.get_or_insert_with(none)[place];
            if ours.is_none_or(|ours| ours.at < exemplar.at) {
                *ours = Some(exemplar);
            }
        }
    }

    /// The newest exemplar of each power of two that has one, in rising order of their values.
    pub fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter().flat_map(|places| places.iter().flatten())
    }

    /// The newest exemplar of a value within the same bounds as `count_between` counts.
    pub(crate) fn exemplar_between(
        &self,
        above: Option<u32>,
        upto: Option<u32>,
    ) -> Option<&Exemplar> {
        let places = self.exemplars.as_deref()?;
        let after = |exponent: u32| match mutants::on("metrics-exemplar-in-the-next-bucket") {
            true => exponent as usize,
            false => exponent as usize + 1,
        };
        let range = Range { start: above.map_or(0, after), end: upto.map_or(POWERS, after) };
        places[range].iter().flatten().max_by_key(|exemplar| exemplar.at)
    }

    /// How many values lie in (2^`exponents.start`, 2^`exponents.end`]; exact, since powers of two
    /// are bucket borders. An absent start means from 0 on, an absent end all the rest.
    pub(crate) fn count_between(&self, above: Option<u32>, upto: Option<u32>) -> u64 {
        let after = |exponent: u32| match mutants::on("metrics-bucket-open-above") {
            true => bucket_index(1 << exponent),
            false => bucket_index(1 << exponent) + 1,
        };
        let range = Range { start: above.map_or(0, after), end: upto.map_or(BUCKETS, after) };
        self.counts[range].iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]), sum: 0, exemplars: None }
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistogramSnapshot")
            .field("count", &self.count())
            .field("sum", &self.sum)
            .field("buckets", &self.buckets().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // under loom only the models run
mod tests {
    use super::*;

    #[test]
    fn buckets_tile_all_of_u64_without_gap_or_overlap() {
        assert_eq!(bucket_bounds(0), 0..=0);
        for index in 1..BUCKETS {
            let (before, bounds) = (bucket_bounds(index - 1), bucket_bounds(index));
            assert_eq!(bounds.start() - 1, *before.end(), "bucket {index}");
            assert_eq!(bucket_index(*bounds.start()), index);
            assert_eq!(bucket_index(*bounds.end()), index);
        }
        assert_eq!(*bucket_bounds(BUCKETS - 1).end(), u64::MAX);
    }

    #[test]
    fn every_power_of_two_closes_its_bucket_and_its_place_for_an_exemplar() {
        for exponent in 0..u64::BITS {
            let power = 1u64 << exponent;
            assert_eq!(*bucket_bounds(bucket_index(power)).end(), power);
            assert_eq!(power_index(power), exponent as usize);
            assert_eq!(power_index(power + 1), exponent as usize + 1);
        }
        assert_eq!((power_index(0), power_index(u64::MAX)), (0, POWERS - 1));
    }
}
