//! One thread's countdown to its next sampled operation. Draws once per sampled operation instead of once per operation; the chosen ones are the same Bernoulli process.
//!
//! The gap is geometric, so it has no memory: it may be cut at any point and drawn again. It is
//! cut at 4096 operations, so that the counts stay fresh, and whenever the bell rings, which it
//! does at each change of what is in force: the next operation, however late, draws by the new
//! rate. Only the bell makes it look: an operation that looked because it was chosen would drop by
//! the new rate what stands for all those before it, which the old one passed over unheard; the
//! weights would add up to too little. Nor may the time that a draw takes tell what it was. What is
//! left is the processor's own, which takes nanoseconds longer for a chosen operation, so that a
//! change overtakes it more often: at a million and a half changes a second half an operation's weight
//! was lost with each. The first gap is drawn like any other; a sampled first operation would favour
//! short threads.
//!
//! Operations of different rates share one countdown by thinning: it runs at the highest rate,
//! and at a stop the trace's randomness is drawn among those which that rate keeps. The operation
//! is sampled if its own threshold keeps it too, so that threshold is what its `th` may say.

use crate::{
    bell::{Bell, RUNG},
    decision::{Priority, Reason, Sampled},
    id::{SpanId, TraceId},
    mutants,
    rules::Rules,
    sampler::Sampler,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    threshold::{Randomness, Threshold},
};
use crossbeam_utils::CachePadded;

/// Operations after which a countdown that found nothing counts them and draws again.
const CHUNK_OPS: u64 = 4096;

/// Gaps drawn at a time: one after the other, a logarithm need not wait for the one before it.
const DRAWS: usize = 32;

/// Chooses operations of one thread. `Send`; made by [`Sampler::local`].
///
/// Ask for each operation with [`next`](Self::next) or [`arrive`](Self::arrive). An owner that
/// schedules reads [`gap`](Self::gap) instead, runs that many operations without asking, tells how
/// many with [`advance`](Self::advance), and calls `arrive` for the operation after them; if the
/// rate may change meanwhile, [`refresh`](Self::refresh) when told of it, and
/// [`arrive_as_drawn`](Self::arrive_as_drawn). Both choose alike and may be mixed.
#[derive(Debug)]
pub struct LocalSampler {
    /// Number of the operation that comes next, from 1. Apart from the rest, of which only cold
    /// calls take the address: so a loop can hold this in a register.
    position: u64,
    shared: Arc<CachePadded<LocalShared>>,
    countdown: Countdown,
}

/// What the cold paths work on.
#[derive(Debug)]
struct Countdown {
    /// The operation at which the run ends.
    stop: u64,
    /// Whether that one is chosen; if not, it only ends the chunk.
    stop_is_chosen: bool,
    /// Operations below this one are counted.
    counted_to: u64,
    /// Highest factor on the rate that an operation may come with.
    factor_max: f64,
    /// What was in force when the stop was drawn.
    rules: Rules,
    /// Of the highest factor.
    threshold: Option<Threshold>,
    /// -1 / ln(1 - rate): turns an exponential draw into a gap. Infinite if nothing is kept.
    gap_scale: f64,
    /// At rate 1, what each operation of factor 1 gets: there is nothing to draw or to arm.
    each: Option<Sampled>,
    /// Gaps to come, before the scale makes them ones of a rate; only those below `drawn` are left.
    draws: [f64; DRAWS],
    drawn: usize,
    rng: fastrand::Rng,
    shared: Arc<CachePadded<LocalShared>>,
    sampler: Arc<Sampler>,
}

/// What others see of a countdown. The counts are written by the owner alone.
#[derive(Debug)]
pub(crate) struct LocalShared {
    pub(crate) bell: Bell,
    pub(crate) recorded: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

impl LocalShared {
    /// A plain add: nobody else writes.
    fn add(cell: &AtomicU64, count: u64) {
        cell.store(cell.load(Relaxed) + count, Relaxed);
    }
}

impl LocalSampler {
    pub(crate) fn new(sampler: Arc<Sampler>, rng: fastrand::Rng, factor_max: f64) -> Self {
        let shared = Arc::new(CachePadded::new(LocalShared {
            bell: Bell::new(),
            recorded: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        }));
        sampler.register(Arc::clone(&shared));
        let mut countdown = Countdown {
            stop: 0,
            stop_is_chosen: false,
            counted_to: 1,
            factor_max,
            rules: sampler.rules(),
            threshold: None,
            gap_scale: f64::INFINITY,
            each: None,
            draws: [0.0; DRAWS],
            drawn: 0,
            rng,
            shared: Arc::clone(&shared),
            sampler,
        };
        countdown.look();
        countdown.draw(1);
        countdown.arm(1);
        if mutants::on("trace-first-operation-sampled") {
            (countdown.stop, countdown.stop_is_chosen) = (1, true);
            let _ = shared.bell.arm(1);
        }
        Self { position: 1, shared, countdown }
    }

    /// Whether the operation that begins now is sampled. Between stops: one load, one compare, one
    /// increment.
    // Named as the contract has it; an endless answer is no iterator.
    #[allow(clippy::should_implement_trait)]
    #[inline(always)]
    pub fn next(&mut self) -> bool {
        self.arrive().is_some()
    }

    /// The same, with what is to be written into the span.
    #[inline(always)]
    pub fn arrive(&mut self) -> Option<Sampled> {
        self.arrive_at(1.0)
    }

    /// The same for an operation that its caller gave a priority, if the countdown was made by
    /// [`Sampler::local_with_priorities`]; without, a high one counts as normal.
    #[inline(always)]
    pub fn arrive_with(&mut self, priority: Priority) -> Option<Sampled> {
        self.arrive_at(priority.factor())
    }

    /// The same for an operation whose rate is `factor` times the rate in force, held within
    /// `min_rate` and `max_rate` as priorities are, and by the highest factor that this countdown
    /// was [made for](Sampler::local_up_to).
    #[inline(always)]
    pub fn arrive_at(&mut self, factor: f64) -> Option<Sampled> {
        let position = self.position;
        self.position = position + 1;
        let limit = self.shared.bell.limit();
        if position < limit {
            return None;
        }
        if limit != RUNG
            && factor == 1.0
            && let Some(each) = self.countdown.take_each(position)
        {
            return Some(each);
        }
        self.countdown.at_limit(position, limit == RUNG, factor)
    }

    /// [`arrive`](Self::arrive) for an owner that ran through a whole gap without asking, and whom
    /// nobody told of a change: the operation after the gap is decided as it was drawn, and whatever
    /// changed meanwhile binds from the next one on.
    ///
    /// `arrive` obeys a change at once. But an owner that hears of changes only where its gaps end
    /// would drop by the new rate what stands for a gap run at the old one, and its weights would
    /// add up to too little. One that is told of changes calls [`refresh`](Self::refresh) where it
    /// stands then, and obeys from there on.
    #[inline]
    pub fn arrive_as_drawn(&mut self) -> Option<Sampled> {
        let position = self.position;
        self.position = position + 1;
        if let Some(each) = self.countdown.take_each(position) {
            return Some(each);
        }
        // No new limit: the one reached already has `arrive` look and set one, should it be asked next.
        self.countdown.decide(position, false, 1.0)
    }

    /// Operations that may run unsampled before the next look; 0: `arrive` is due for the very next.
    #[inline(always)]
    pub fn gap(&self) -> u32 {
        if self.has_news() { 0 } else { (self.countdown.stop - self.position) as u32 }
    }

    /// `ops` operations were run without asking: at most what [`gap`](Self::gap) allowed, or they
    /// would not have been free; what exceeds it is not counted.
    #[inline(always)]
    pub fn advance(&mut self, ops: u32) {
        let left = self.countdown.stop - self.position;
        debug_assert!(u64::from(ops) <= left, "advanced {ops} of {left}");
        self.position += u64::from(ops).min(left);
    }

    /// Whether something has changed that this countdown has not obeyed yet.
    pub fn has_news(&self) -> bool {
        self.shared.bell.limit() == RUNG
    }

    /// Obeys a changed rate now instead of at the next operation, and brings the counts up to date.
    /// Cheap; for an owner that schedules and was told of a change. Read [`gap`](Self::gap) again
    /// afterwards.
    pub fn refresh(&mut self) {
        let countdown = &mut self.countdown;
        countdown.count_run(self.position);
        if countdown.look() {
            countdown.draw(self.position);
        }
        countdown.arm(self.position);
    }

    /// A new id for a trace that begins with this sampled operation. It agrees with the decision:
    /// other consistent samplers with the threshold that kept it decide alike. For one that the
    /// head did not keep, and its end does, see
    /// [`new_unsampled_trace_id`](Self::new_unsampled_trace_id).
    #[inline]
    pub fn new_trace_id(&mut self, sampled: Sampled) -> TraceId {
        self.countdown.new_trace_id(sampled.threshold().unwrap_or(Threshold::ALWAYS))
    }

    /// A new id for a trace that begins with an operation which was not sampled at its head. It
    /// agrees with that: consistent samplers with the threshold in force would not keep it. With
    /// the other kind together the ids are uniform, so both may claim to be random.
    pub fn new_unsampled_trace_id(&mut self) -> TraceId {
        let rng = &mut self.countdown.rng;
        let randomness = match self.countdown.rules.threshold {
            Some(threshold) => Randomness::draw_not_kept(rng, threshold),
            None => Randomness::draw(rng),
        };
        TraceId::draw(rng, randomness)
    }

    /// A new random span id.
    #[inline]
    pub fn new_span_id(&mut self) -> SpanId {
        SpanId::draw(&mut self.countdown.rng)
    }
}

impl Countdown {
    /// The operation at the limit: the run ends there, or the bell rang.
    #[cold]
    #[inline(never)]
    fn at_limit(&mut self, position: u64, rung: bool, factor: f64) -> Option<Sampled> {
        let sampled = self.decide(position, rung, factor);
        // At rate 1 no run needs a limit of its own: the one just reached ends them all. At others
        // an empty run is not spared its own: it would be overtaken by fewer changes than longer ones.
        if rung || self.gap_scale != 0.0 {
            self.arm(position + 1);
        }
        sampled
    }

    /// The same without a limit for the run that begins behind it.
    #[inline(always)]
    fn decide(&mut self, position: u64, rung: bool, factor: f64) -> Option<Sampled> {
        self.count_run(position);
        self.counted_to = position + 1;
        let heard = rung || mutants::on("trace-change-heard-at-stops");
        if heard && self.look() && !mutants::on("trace-redraw-forgotten") {
            // Nothing of the old run stands any more, this very operation included.
            self.draw(position);
        }
        let mut sampled = None;
        if position >= self.stop {
            if self.stop_is_chosen {
                sampled = self.thin(factor);
                if self.rules.reason == Reason::Adaptive {
                    sampled = sampled.and_then(|sampled| self.sampler.admit(sampled));
                }
            }
            self.draw(position + 1);
        }
        let count = if sampled.is_some() { &self.shared.recorded } else { &self.shared.skipped };
        LocalShared::add(count, 1);
        sampled
    }

    /// What each operation gets, if all get the same; this one is counted then.
    #[inline(always)]
    fn take_each(&mut self, position: u64) -> Option<Sampled> {
        let each = self.each?;
        (self.stop, self.counted_to) = (position + 1, position + 1);
        LocalShared::add(&self.shared.recorded, 1);
        Some(each)
    }

    /// Whether an operation of this factor, chosen at the highest, is sampled by its own.
    #[inline]
    fn thin(&mut self, factor: f64) -> Option<Sampled> {
        let highest = self.threshold?;
        // What is not a number is not less.
        let factor = if factor < self.factor_max { factor } else { self.factor_max };
        let reason = self.rules.reason_at(factor);
        if factor == self.factor_max {
            return Some(Sampled::by_threshold(reason, highest));
        }
        let own = self.rules.threshold_at(factor)?.max(highest);
        let kept = own.keeps(Randomness::draw_kept(&mut self.rng, highest));
        let told = if mutants::on("trace-weight-of-wrong-threshold") { highest } else { own };
        kept.then(|| Sampled::by_threshold(reason, told))
    }

    #[inline]
    fn new_trace_id(&mut self, threshold: Threshold) -> TraceId {
        let randomness = Randomness::draw_kept(&mut self.rng, threshold);
        TraceId::draw(&mut self.rng, randomness)
    }

    /// Counts the operations run before `position`: none of them was sampled.
    fn count_run(&mut self, position: u64) {
        LocalShared::add(&self.shared.skipped, position - self.counted_to);
        self.counted_to = position;
    }

    #[cold]
    #[inline(never)]
    fn finish(&mut self, position: u64) {
        self.count_run(position);
        self.sampler.retire(&self.shared);
    }

    /// Looks at what is in force. `true`: it is not what it was, and the stop has to be drawn again.
    fn look(&mut self) -> bool {
        let rules = self.sampler.rules();
        if rules == self.rules && self.stop != 0 {
            return false;
        }
        self.rules = rules;
        self.threshold = rules.threshold_at(self.factor_max);
        // At rate 1 the logarithm is -∞ and the scale 0.
        self.gap_scale = self.threshold.map_or(f64::INFINITY, |t| -(-t.rate()).ln_1p().recip());
        // Not under a ceiling, which asks for each.
        let strict = rules.reason != Reason::Adaptive;
        let alike = self.gap_scale == 0.0 && self.factor_max == 1.0 && strict;
        self.each = if alike { self.thin(1.0) } else { None };
        true
    }

    /// Lets the owner run to its stop. Draws again, from `next` on, if it rang meanwhile.
    fn arm(&mut self, next: u64) {
        while self.shared.bell.arm(self.stop) {
            if self.look() {
                self.draw(next);
            }
        }
    }

    /// Draws the next stop, from operation `next` on, by what was last looked at.
    #[inline]
    fn draw(&mut self, next: u64) {
        if self.gap_scale == 0.0 {
            // Rate 1: each gap is 0, and needs no logarithm to say so.
            (self.stop_is_chosen, self.stop) = (true, next);
            return;
        }
        if self.drawn == 0 {
            self.draw_ahead();
        }
        self.drawn -= 1;
        let gap = self.draws[self.drawn] * self.gap_scale;
        // Not a number (0 × ∞) compares false, and so ends the chunk as it should.
        self.stop_is_chosen = gap < CHUNK_OPS as f64;
        self.stop = next + if self.stop_is_chosen { gap as u64 } else { CHUNK_OPS - 1 };
    }

    #[cold]
    #[inline(never)]
    fn draw_ahead(&mut self) {
        self.draws = std::array::from_fn(|_| exponential(&mut self.rng));
        self.drawn = DRAWS;
    }
}

/// A draw from the exponential distribution of mean 1, never negative, in the same time whatever
/// it is.
///
/// A change overtakes the more runs that are being drawn the longer that takes, and the weights
/// would miss those. `ln` takes a longer way for what is near 1, which would be the short gaps: so
/// it is asked for half of it.
#[inline]
fn exponential(rng: &mut fastrand::Rng) -> f64 {
    // Uniform in (0, 1/2], in steps of 2^-54: never 0, so the logarithm is finite.
    let half = ((rng.u64(..) >> 11) + 1) as f64 * (0.5 / (1u64 << 53) as f64);
    (-half.ln() - std::f64::consts::LN_2).max(0.0)
}

impl Drop for LocalSampler {
    #[inline] // or its call would hold the position in memory
    fn drop(&mut self) {
        self.countdown.finish(self.position);
    }
}

#[cfg(test)]
mod tests;
