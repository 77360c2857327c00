//! What is in force, the buckets and the counts around the rules, and the one handle by which it all changes while running. It holds no span and knows no header text; what a thread reads here are relaxed loads.
//!
//! After a change is published every countdown's bell is rung, so that its next operation looks at
//! it. A countdown then draws again, which is exact because a geometric gap has no memory.

use crate::{
    adaptive::{ControlInput, ControlState, Controller},
    bucket::{Take, TokenBucket},
    clock::{Clock, Ticks},
    config::SamplerConfig,
    decision::{
        Decision, Odds, Outcome, Parent, Priority, Propagate, Reason, SampleContext, Sampled,
        Verdict,
    },
    error::ConfigError,
    id::TraceId,
    local::{LocalSampler, LocalShared},
    mutants,
    rules::{self, Capped, Rules},
    stats::SamplerStats,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    threshold::{Randomness, Threshold},
};
use crossbeam_utils::CachePadded;
use std::time::Duration;

/// Published instead of a threshold when nothing is kept: no threshold is as high.
const NEVER: u64 = 1 << 56;
/// Ticks over which the clock is asked for nanoseconds, to turn a slow threshold into ticks.
const TICKS_MEASURED: u64 = 1 << 40;

/// Decides which operations are recorded. Shared by all threads in an [`Arc`]; changed while running.
///
/// Order, first that applies: kill switch → force → the caller's sampled flag → custom rate →
/// priority × rate → the controller's rate → base rate. What the head did not keep may still be
/// kept at its end: errors, then slow operations.
#[derive(Debug)]
pub struct Sampler {
    published: CachePadded<Published>,
    counts: CachePadded<Counts>,
    force: TokenBucket,
    parent: TokenBucket,
    error: TokenBucket,
    slow: TokenBucket,
    /// The ceiling above what the controller aims at.
    head: TokenBucket,
    clock: Clock,
    control: Mutex<Control>,
    locals: Mutex<Locals>,
}

/// What operations read.
#[derive(Debug)]
struct Published {
    enabled: AtomicBool,
    adaptive: AtomicBool,
    /// [`Threshold`] in force, or [`NEVER`].
    threshold: AtomicU64,
    /// Rate in force and its bounds, as bits of an `f64`.
    rate: AtomicU64,
    rate_low: AtomicU64,
    rate_high: AtomicU64,
    /// `u64::MAX`: no such rule.
    slow_ns: AtomicU64,
    /// The same as ticks of the clock, a little low: what is below it is not slow.
    slow_ticks: AtomicU64,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: AtomicU64,
    skipped: AtomicU64,
    forced: AtomicU64,
    parent_sampled: AtomicU64,
    parent_unsampled: AtomicU64,
    parent_not_random: AtomicU64,
    custom_rate_ignored: AtomicU64,
    error_operations: AtomicU64,
    error_kept: AtomicU64,
    slow_operations: AtomicU64,
    slow_kept: AtomicU64,
    controller_steps: AtomicU64,
    brakes: AtomicU64,
    rate_changes: AtomicU64,
}

#[derive(Debug)]
struct Control {
    config: SamplerConfig,
    controller: Controller,
    rate: f64,
    /// When the owner stepped, or the brake was pulled, last; `None` before the first step. And how
    /// many operations had been sampled then.
    stepped_at_ns: Option<u64>,
    sampled_then: u64,
}

impl Control {
    /// Operations a second that the ceiling lets the rate keep. Twice the budget, so that a rate which
    /// meets it on average is never near; and some more, for small budgets come in lumps.
    fn ceiling(&self) -> u32 {
        let operations = 2.0 * f64::from(self.config.spans_per_second) / self.controller.fan_out();
        (operations + 16.0) as u32
    }
}

/// Countdowns alive, and what those gone have counted: both under one lock, so no total falls.
#[derive(Debug, Default)]
struct Locals {
    live: Vec<Arc<CachePadded<LocalShared>>>,
    retired_recorded: u64,
    retired_skipped: u64,
}

impl Sampler {
    /// A sampler with these settings.
    pub fn new(config: SamplerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let sampler = Self {
            published: CachePadded::new(Published {
                enabled: AtomicBool::new(false),
                adaptive: AtomicBool::new(false),
                threshold: AtomicU64::new(NEVER),
                rate: AtomicU64::new(0),
                rate_low: AtomicU64::new(0),
                rate_high: AtomicU64::new(0),
                slow_ns: AtomicU64::new(u64::MAX),
                slow_ticks: AtomicU64::new(u64::MAX),
            }),
            counts: CachePadded::default(),
            force: TokenBucket::new(config.force_per_second),
            parent: TokenBucket::new(config.parent_per_second),
            error: TokenBucket::new(config.error_per_second),
            slow: TokenBucket::new(config.slow_per_second),
            head: TokenBucket::new(0),
            clock: Clock::new(),
            control: Mutex::new(Control {
                controller: Controller::default(),
                rate: config.base_rate,
                config,
                stepped_at_ns: None,
                sampled_then: 0,
            }),
            locals: Mutex::default(),
        };
        sampler.publish(&sampler.control.lock());
        sampler.counts.rate_changes.store(0, Relaxed); // the first rate changed nothing
        Ok(sampler)
    }

    /// Replaces all settings at once; on an error the old ones stay. A new `base_rate` begins
    /// there; otherwise the controller goes on from its own.
    ///
    /// Obeyed by every operation that begins afterwards, on each thread: those decided by
    /// [`Sampler::decide`] and those that ask a [`LocalSampler`]. An owner that runs through a
    /// [`gap`](LocalSampler::gap) without asking is to be told, and then
    /// [refreshes](LocalSampler::refresh).
    pub fn reconfigure(&self, config: SamplerConfig) -> Result<(), ConfigError> {
        self.replace(&mut self.control.lock(), config)
    }

    /// Changes some settings, the others staying as they are then: as [`Sampler::reconfigure`],
    /// but no change made meanwhile by somebody else is undone.
    ///
    /// ```
    /// # let sampler = ng_trace::Sampler::new(ng_trace::SamplerConfig::default())?;
    /// sampler.update(|config| config.error_per_second = 500)?;
    /// # Ok::<(), ng_trace::ConfigError>(())
    /// ```
    pub fn update(&self, change: impl FnOnce(&mut SamplerConfig)) -> Result<(), ConfigError> {
        let mut control = self.control.lock();
        let mut config = control.config.clone();
        change(&mut config);
        self.replace(&mut control, config)
    }

    fn replace(&self, control: &mut Control, config: SamplerConfig) -> Result<(), ConfigError> {
        config.validate()?;
        if !config.adaptive || config.base_rate != control.config.base_rate {
            control.rate = config.base_rate;
        } else {
            control.rate = control.rate.clamp(config.min_rate, config.max_rate);
        }
        self.force.set_per_second(config.force_per_second);
        self.parent.set_per_second(config.parent_per_second);
        self.error.set_per_second(config.error_per_second);
        self.slow.set_per_second(config.slow_per_second);
        control.config = config;
        self.publish(control);
        Ok(())
    }

    /// The settings in force.
    pub fn config(&self) -> SamplerConfig {
        self.control.lock().config.clone()
    }

    /// The kill switch. Obeyed as said for [`Sampler::reconfigure`].
    pub fn set_enabled(&self, enabled: bool) {
        let mut control = self.control.lock();
        control.config.enabled = enabled;
        self.publish(&control);
    }

    /// Share of operations kept when nothing else decides; 0 while switched off.
    pub fn rate(&self) -> f64 {
        f64::from_bits(self.published.rate.load(Relaxed))
    }

    /// Decides about one operation at its head. Never blocks, never fails.
    ///
    /// A loop of many operations is cheaper with [`Sampler::local`].
    pub fn decide(&self, context: &SampleContext) -> Decision {
        let randomness = match &context.parent {
            Some(parent) => parent.randomness(),
            None => Randomness::draw(&mut fastrand::Rng::new()),
        };
        self.decide_by(context, randomness)
    }

    /// The same for an operation whose trace has an id already that was made here, as some
    /// libraries make them first: that id decides.
    pub fn decide_trace(&self, context: &SampleContext, trace_id: TraceId) -> Decision {
        let parent = context.parent.as_ref();
        self.decide_by(context, parent.map_or(trace_id.randomness(), Parent::randomness))
    }

    fn decide_by(&self, context: &SampleContext, randomness: Randomness) -> Decision {
        let decision = self.decide_at(context, randomness, || self.clock.monotonic_ns());
        let decision = self.admit_decided(decision);
        let counter = match decision.verdict {
            Verdict::Keep => &self.counts.recorded,
            Verdict::Drop | Verdict::LocalTail => &self.counts.skipped,
        };
        counter.fetch_add(1, Relaxed);
        decision
    }

    /// Decides about one operation at its end: `Some` says that it is to be recorded with these
    /// odds, in place of those of its head if it was kept there. Never blocks, never fails.
    ///
    /// An operation that succeeded and was not slow costs two relaxed loads.
    #[inline]
    pub fn decide_end(&self, outcome: &Outcome) -> Option<Sampled> {
        let slow_ns = self.published.slow_ns.load(Relaxed);
        let slow = slow_ns != u64::MAX && outcome.duration.as_nanos() >= u128::from(slow_ns);
        if !(outcome.error || slow) || !self.published.enabled.load(Relaxed) {
            return None;
        }
        self.decide_tail(outcome, slow, self.clock.monotonic_ns())
    }

    /// The same for an operation timed by a [`Clock`], which costs less: while it neither failed
    /// nor was slow, a subtraction and a relaxed load.
    #[inline]
    pub fn decide_end_between(
        &self,
        error: bool,
        start: Ticks,
        end: Ticks,
        head_kept: bool,
    ) -> Option<Sampled> {
        let ticks = end.get().saturating_sub(start.get());
        if ticks < self.published.slow_ticks.load(Relaxed) && !error {
            return None;
        }
        self.decide_end_at(error, start, end, head_kept)
    }

    #[cold]
    #[inline(never)]
    fn decide_end_at(
        &self,
        error: bool,
        start: Ticks,
        end: Ticks,
        head_kept: bool,
    ) -> Option<Sampled> {
        let duration = self.clock.elapsed(start, end);
        self.decide_end(&Outcome { error, duration, head_kept })
    }

    /// A countdown for one thread: the cheap way to sample a loop.
    pub fn local(self: &Arc<Self>) -> LocalSampler {
        self.local_up_to(1.0)
    }

    /// A countdown for operations of different rates: each [says](LocalSampler::arrive_at) its
    /// factor on the rate in force, up to `factor_max`. It stops as often as the highest rate asks
    /// for. Not a number, or less than 1, counts as 1.
    pub fn local_up_to(self: &Arc<Self>, factor_max: f64) -> LocalSampler {
        LocalSampler::new(Arc::clone(self), fastrand::Rng::new(), factor_max.max(1.0))
    }

    /// A countdown for operations that come [with priorities](LocalSampler::arrive_with).
    pub fn local_with_priorities(self: &Arc<Self>) -> LocalSampler {
        self.local_up_to(Priority::High.factor())
    }

    /// As [`Sampler::local`], choosing the same operations again for the same seed and rates.
    pub fn local_with_seed(self: &Arc<Self>, seed: u64) -> LocalSampler {
        LocalSampler::new(Arc::clone(self), fastrand::Rng::with_seed(seed), 1.0)
    }

    /// One step of the controller; the owner calls it each 100 ms to 1 s. Returns the rate from
    /// now on. Without `adaptive`, or while switched off, it changes nothing.
    pub fn control_step(&self, input: &ControlInput) -> f64 {
        let mut control = self.control.lock();
        if control.config.adaptive && control.config.enabled {
            self.counts.controller_steps.fetch_add(1, Relaxed);
            self.mark(&mut control, self.clock.monotonic_ns());
            let Control { config, controller, rate, .. } = &mut *control;
            let before = std::mem::replace(rate, controller.step(input, config, *rate));
            self.head.set_per_second(control.ceiling());
            // A ring that says nothing new would still stop every countdown.
            if control.rate != before {
                self.publish(&control);
            }
        }
        self.rate()
    }

    /// What the controller believes.
    pub fn control_state(&self) -> ControlState {
        let control = self.control.lock();
        control.controller.state(control.rate, &control.config)
    }

    /// What happened so far.
    pub fn stats(&self) -> SamplerStats {
        let counts = &self.counts;
        let locals = self.locals.lock();
        let sum =
            |of: fn(&LocalShared) -> u64| locals.live.iter().map(|shared| of(shared)).sum::<u64>();
        let recorded = self.sampled_by(&locals);
        let skipped = counts.skipped.load(Relaxed)
            + locals.retired_skipped
            + sum(|local| local.skipped.load(Relaxed));
        SamplerStats {
            samples_total: recorded + skipped,
            samples_recorded_total: recorded,
            samples_skipped_total: skipped,
            samples_capped_total: self.head.refused_total(),
            forced_total: counts.forced.load(Relaxed),
            force_capped_total: self.force.refused_total(),
            parent_sampled_total: counts.parent_sampled.load(Relaxed),
            parent_unsampled_total: counts.parent_unsampled.load(Relaxed),
            parent_capped_total: self.parent.refused_total(),
            parent_not_random_total: counts.parent_not_random.load(Relaxed),
            custom_rate_ignored_total: counts.custom_rate_ignored.load(Relaxed),
            error_operations_total: counts.error_operations.load(Relaxed),
            error_kept_total: counts.error_kept.load(Relaxed),
            error_capped_total: self.error.refused_total(),
            slow_operations_total: counts.slow_operations.load(Relaxed),
            slow_kept_total: counts.slow_kept.load(Relaxed),
            slow_capped_total: self.slow.refused_total(),
            controller_steps_total: counts.controller_steps.load(Relaxed),
            brakes_total: counts.brakes.load(Relaxed),
            rate_changes_total: counts.rate_changes.load(Relaxed),
            rate: self.rate(),
            local_samplers: locals.live.len() as u64,
        }
    }

    /// Lets the ceiling have its say about an operation that the controller's rate keeps; `None`: it
    /// is refused, and counted.
    #[cold]
    pub(crate) fn admit(&self, sampled: Sampled) -> Option<Sampled> {
        if self.head.is_bottomless() {
            return Some(sampled);
        }
        let now_ns = self.clock.monotonic_ns();
        let odds = match self.head.take(now_ns) {
            Take::Certain => Some(sampled.odds),
            // Others like it were refused, and no threshold says how many.
            Take::Lucky if mutants::on("trace-ceiling-keeps-the-weight") => Some(sampled.odds),
            Take::Lucky => Some(Odds::UNKNOWN),
            Take::Refused => None,
        };
        if self.head.is_eighth_used(now_ns) && !mutants::on("trace-no-brake") {
            self.brake(now_ns);
        }
        odds.map(|odds| Sampled { odds, ..sampled })
    }

    fn admit_decided(&self, decision: Decision) -> Decision {
        let by_rate = matches!(decision.reason, Reason::Adaptive | Reason::Priority);
        if decision.verdict != Verdict::Keep || !by_rate || !self.published.adaptive.load(Relaxed) {
            return decision;
        }
        let sampled = Sampled { reason: decision.reason, odds: decision.odds };
        match self.admit(sampled) {
            Some(admitted) if admitted == sampled => decision,
            Some(admitted) => {
                let propagate = Propagate::Sampled { threshold: None };
                Decision { odds: admitted.odds, propagate, ..decision }
            }
            None => rules::not_kept(decision.reason, decision.threshold, decision.randomness),
        }
    }

    /// A quarter of a second's spans were used up faster than they came back: the load has risen far, and
    /// the owner's next step may be long. Lowering the rate now has the weights of all that follows say so;
    /// what the ceiling refuses could not. On a thread that samples, so it does not wait.
    #[cold]
    fn brake(&self, now_ns: u64) {
        let Some(mut control) = self.control.try_lock() else { return };
        // An owner that never steps would never raise it again.
        let Some(stepped_at_ns) = control.stepped_at_ns else { return };
        let sampled = self.sampled_by(&self.locals.lock()).saturating_sub(control.sampled_then);
        let elapsed = Duration::from_nanos(now_ns.saturating_sub(stepped_at_ns));
        let Control { config, controller, rate, .. } = &mut *control;
        let Some(lowered) = controller.brake(sampled, elapsed, config, *rate) else { return };
        *rate = lowered;
        self.counts.brakes.fetch_add(1, Relaxed);
        self.mark(&mut control, now_ns);
        self.publish(&control);
    }

    /// From here on the brake counts.
    fn mark(&self, control: &mut Control, now_ns: u64) {
        control.stepped_at_ns = Some(now_ns);
        control.sampled_then = self.sampled_by(&self.locals.lock());
    }

    /// Operations kept at their head so far.
    fn sampled_by(&self, locals: &Locals) -> u64 {
        let live: u64 = locals.live.iter().map(|local| local.recorded.load(Relaxed)).sum();
        self.counts.recorded.load(Relaxed) + locals.retired_recorded + live
    }

    /// Whether the kill switch is off.
    #[cfg(feature = "tracing-layer")]
    pub(crate) fn is_enabled(&self) -> bool {
        self.published.enabled.load(Relaxed)
    }

    /// The threshold in force; `None` keeps nothing.
    #[inline]
    pub fn threshold(&self) -> Option<Threshold> {
        Threshold::new(self.published.threshold.load(Relaxed))
    }

    /// What is in force.
    pub(crate) fn rules(&self) -> Rules {
        let published = &self.published;
        let number = |bits: &AtomicU64| f64::from_bits(bits.load(Relaxed));
        Rules {
            enabled: published.enabled.load(Relaxed),
            reason: match published.adaptive.load(Relaxed) {
                true => Reason::Adaptive,
                false => Reason::Base,
            },
            threshold: self.threshold(),
            rate: number(&published.rate),
            rate_low: number(&published.rate_low),
            rate_high: number(&published.rate_high),
        }
    }

    pub(crate) fn register(&self, shared: Arc<CachePadded<LocalShared>>) {
        self.locals.lock().live.push(shared);
    }

    pub(crate) fn retire(&self, shared: &Arc<CachePadded<LocalShared>>) {
        let mut locals = self.locals.lock();
        locals.live.retain(|live| !Arc::ptr_eq(live, shared));
        locals.retired_recorded += shared.recorded.load(Relaxed);
        locals.retired_skipped += shared.skipped.load(Relaxed);
    }

    fn publish(&self, control: &Control) {
        self.put_into_force(control);
        self.ring();
    }

    /// Who decides singly obeys at once, a countdown when its bell rings.
    fn put_into_force(&self, control: &Control) {
        self.head.set_per_second(control.ceiling());
        let Control { config, rate, .. } = control;
        let published = &self.published;
        let rate = if config.enabled { *rate } else { 0.0 };
        let (low, high) = config.bounds();
        let threshold = Threshold::from_rate(rate).map_or(NEVER, Threshold::get);
        published.enabled.store(config.enabled, Relaxed);
        published.adaptive.store(config.adaptive, Relaxed);
        published.rate_low.store(low.to_bits(), Relaxed);
        published.rate_high.store(high.to_bits(), Relaxed);
        published.rate.store(rate.to_bits(), Relaxed);
        let slow_ns = config.slow_threshold.and_then(|slow| u64::try_from(slow.as_nanos()).ok());
        let slow_ns = slow_ns.unwrap_or(u64::MAX);
        published.slow_ns.store(slow_ns, Relaxed);
        published.slow_ticks.store(self.ticks_below(slow_ns), Relaxed);
        if published.threshold.swap(threshold, Relaxed) != threshold {
            self.counts.rate_changes.fetch_add(1, Relaxed);
        }
    }

    fn ring(&self) {
        for local in &self.locals.lock().live {
            local.bell.ring();
        }
    }

    /// Ticks that surely take less than `ns`; `u64::MAX` for that.
    fn ticks_below(&self, ns: u64) -> u64 {
        let start = Ticks::from_raw(0);
        let measured_ns = self.clock.elapsed_ns(start, Ticks::from_raw(TICKS_MEASURED)).max(1);
        let ticks = ns as f64 * (TICKS_MEASURED as f64 / measured_ns as f64);
        // Two parts in a million are more than the clock's own arithmetic rounds away.
        if ns == u64::MAX { ns } else { (ticks * (1.0 - 2e-6)) as u64 }
    }

    /// Decides, and counts by which rule.
    fn decide_at(
        &self,
        context: &SampleContext,
        randomness: Randomness,
        now_ns: impl Fn() -> u64,
    ) -> Decision {
        let rules = self.rules();
        let decision = rules::head(&rules, context, randomness, |capped| match capped {
            Capped::Force => self.force.take(now_ns()),
            Capped::Parent => self.parent.take(now_ns()),
        });
        let counts = &self.counts;
        let counter = match decision.reason {
            Reason::Force => Some(&counts.forced),
            Reason::ParentSampled => Some(&counts.parent_sampled),
            Reason::ParentUnsampled => Some(&counts.parent_unsampled),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Relaxed);
        }
        if rules.enabled && context.custom_rate.is_some() && context.usable_custom_rate().is_none()
        {
            counts.custom_rate_ignored.fetch_add(1, Relaxed);
        }
        if rules.enabled && context.parent.is_some_and(|parent| !parent.random) {
            counts.parent_not_random.fetch_add(1, Relaxed);
        }
        decision
    }

    #[cold]
    fn decide_tail(&self, outcome: &Outcome, slow: bool, now_ns: u64) -> Option<Sampled> {
        let counts = &self.counts;
        if outcome.error {
            counts.error_operations.fetch_add(1, Relaxed);
        }
        if slow {
            counts.slow_operations.fetch_add(1, Relaxed);
        }
        let error = || keep_tail(Reason::Error, &self.error, &counts.error_kept, outcome, now_ns);
        let slow_one = || keep_tail(Reason::Slow, &self.slow, &counts.slow_kept, outcome, now_ns);
        outcome.error.then(error).flatten().or_else(|| slow.then(slow_one).flatten())
    }
}

/// One that the head kept takes no token: it is recorded anyway. But while none of its kind is
/// refused it would have been kept for certain, and so stands for itself alone.
fn keep_tail(
    reason: Reason,
    bucket: &TokenBucket,
    kept: &AtomicU64,
    outcome: &Outcome,
    now_ns: u64,
) -> Option<Sampled> {
    if outcome.head_kept {
        return (!bucket.refuses(now_ns)).then_some(Sampled { reason, odds: Odds::CERTAIN });
    }
    let odds = match bucket.take(now_ns) {
        Take::Certain => Odds::CERTAIN,
        Take::Lucky => Odds::UNKNOWN,
        Take::Refused => return None,
    };
    kept.fetch_add(1, Relaxed);
    Some(Sampled { reason, odds })
}

#[cfg(test)]
mod tests;
