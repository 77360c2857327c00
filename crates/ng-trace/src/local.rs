//! One thread's countdown to its next sampled operation. Draws once per sampled operation instead of once per operation; the chosen ones are the same Bernoulli process.
//!
//! The gap is geometric, so it has no memory: it may be cut at any point and drawn again. It is
//! cut at 4096 operations, where the rate in force is looked at again, and whenever the owner asks.
//! The first gap is drawn like any other; a sampled first operation would favour short threads.

use crate::{
    decision::{Reason, Sampled},
    id::{SpanId, TraceId},
    sampler::Sampler,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    threshold::{Randomness, Threshold},
};
use crossbeam_utils::CachePadded;

/// Operations after which the rate in force is looked at again.
const CHUNK_OPS: u32 = 4096;

/// Chooses operations of one thread. `Send`; made by [`Sampler::local`].
///
/// Ask for each operation with [`next`](Self::next) or [`arrive`](Self::arrive). An owner that
/// schedules reads [`gap`](Self::gap) instead, runs that many operations without asking, tells how
/// many with [`advance`](Self::advance), and calls `arrive` for the operation after them. Both
/// choose alike and may be mixed.
#[derive(Debug)]
pub struct LocalSampler {
    /// Operations that may still run without asking.
    left: u32,
    /// What `left` was when it was drawn, less what has been counted since.
    uncounted_from: u32,
    /// Whether the operation after `left` is sampled; if not, it only ends the chunk.
    stop_is_sampled: bool,
    reason: Reason,
    threshold: Option<Threshold>,
    /// -1 / ln(1 - rate): turns an exponential draw into a gap. Infinite if nothing is kept.
    gap_scale: f64,
    rng: fastrand::Rng,
    counts: Arc<CachePadded<LocalCounts>>,
    sampler: Arc<Sampler>,
}

/// Written by the owner alone, read at any time.
#[derive(Debug, Default)]
pub(crate) struct LocalCounts {
    pub(crate) recorded: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

impl LocalCounts {
    /// A plain add: nobody else writes.
    fn add(cell: &AtomicU64, count: u64) {
        cell.store(cell.load(Relaxed) + count, Relaxed);
    }
}

impl LocalSampler {
    pub(crate) fn new(sampler: Arc<Sampler>, rng: fastrand::Rng) -> Self {
        let counts = Arc::new(CachePadded::<LocalCounts>::default());
        sampler.register(Arc::clone(&counts));
        let mut local = Self {
            left: 0,
            uncounted_from: 0,
            stop_is_sampled: false,
            reason: sampler.rate_reason(),
            threshold: None,
            gap_scale: f64::INFINITY,
            rng,
            counts,
            sampler,
        };
        local.draw();
        local
    }

    /// Whether the operation that begins now is sampled. Between stops: one compare and one decrement.
    // Named as the contract has it; an endless answer is no iterator.
    #[allow(clippy::should_implement_trait)]
    #[inline(always)]
    pub fn next(&mut self) -> bool {
        self.arrive().is_some()
    }

    /// The same, with what is to be written into the span.
    #[inline(always)]
    pub fn arrive(&mut self) -> Option<Sampled> {
        if self.left > 0 {
            self.left -= 1;
            return None;
        }
        self.stop()
    }

    /// Operations that may run unsampled before the next look; 0: `arrive` is due for the very next.
    #[inline(always)]
    pub fn gap(&self) -> u32 {
        self.left
    }

    /// `ops` operations were run without asking: at most [`gap`](Self::gap), or they would not
    /// have been free; what exceeds it is not counted.
    #[inline(always)]
    pub fn advance(&mut self, ops: u32) {
        debug_assert!(ops <= self.left, "advanced {ops} of {}", self.left);
        self.left = self.left.saturating_sub(ops);
    }

    /// Obeys a changed rate now instead of at the next stop, and brings the counts up to date.
    /// Cheap; for an owner that was told of a change. Read [`gap`](Self::gap) again afterwards.
    pub fn refresh(&mut self) {
        self.count_run();
        if self.sampler.threshold() != self.threshold {
            self.draw();
        }
    }

    /// A new id for a trace that begins with this sampled operation. It agrees with the threshold
    /// that kept it, so other consistent samplers decide alike.
    pub fn new_trace_id(&mut self, sampled: Sampled) -> TraceId {
        let threshold = sampled.threshold().unwrap_or(Threshold::ALWAYS);
        let randomness = Randomness::draw_kept(&mut self.rng, threshold);
        TraceId::draw(&mut self.rng, randomness)
    }

    /// A new random span id.
    pub fn new_span_id(&mut self) -> SpanId {
        SpanId::draw(&mut self.rng)
    }

    /// The operation at the stop.
    #[cold]
    #[inline(never)]
    fn stop(&mut self) -> Option<Sampled> {
        self.count_run();
        let sampled = match self.threshold {
            Some(threshold) if self.stop_is_sampled => {
                LocalCounts::add(&self.counts.recorded, 1);
                Some(Sampled::by_threshold(self.reason, threshold))
            }
            _ => {
                LocalCounts::add(&self.counts.skipped, 1);
                None
            }
        };
        self.draw();
        sampled
    }

    /// Counts the operations run since the last count.
    fn count_run(&mut self) {
        LocalCounts::add(&self.counts.skipped, u64::from(self.uncounted_from - self.left));
        self.uncounted_from = self.left;
    }

    /// Draws the next stop by the rate in force.
    fn draw(&mut self) {
        let published = self.sampler.threshold();
        if published != self.threshold {
            self.threshold = published;
            self.reason = self.sampler.rate_reason();
            // At rate 1 the logarithm is -∞ and the scale 0.
            self.gap_scale = published.map_or(f64::INFINITY, |t| -(-t.rate()).ln_1p().recip());
        }
        if self.gap_scale == 0.0 {
            // Rate 1: each gap is 0, and needs no logarithm to say so.
            (self.stop_is_sampled, self.left, self.uncounted_from) = (true, 0, 0);
            return;
        }
        // Uniform in (0, 1], in steps of 2^-53: never 0, so the logarithm is finite.
        let uniform = ((self.rng.u64(..) >> 11) + 1) as f64 * (1.0 / (1u64 << 53) as f64);
        let gap = -uniform.ln() * self.gap_scale;
        // Not a number (0 × ∞) compares false, and so ends the chunk as it should.
        self.stop_is_sampled = gap < f64::from(CHUNK_OPS);
        self.left = if self.stop_is_sampled { gap as u32 } else { CHUNK_OPS - 1 };
        self.uncounted_from = self.left;
    }
}

impl Drop for LocalSampler {
    fn drop(&mut self) {
        self.count_run();
        self.sampler.retire(&self.counts);
    }
}

#[cfg(test)]
mod tests;
