//! The head and tail decision, first rule that applies. It holds no span and knows no header text; everything a thread reads here is one relaxed load.
//!
//! What is in force is published as one number, the threshold. A countdown compares it with its
//! own and draws again if they differ, which is exact because a geometric gap has no memory; so no
//! version and no lock is needed for a change to be obeyed.

use crate::{
    adaptive::{ControlInput, Controller},
    bucket::{Take, TokenBucket},
    clock::Clock,
    config::SamplerConfig,
    decision::{
        Decision, Odds, Outcome, Parent, Priority, Propagate, Reason, SampleContext, Sampled,
        Verdict,
    },
    error::ConfigError,
    local::{LocalCounts, LocalSampler},
    stats::SamplerStats,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    threshold::{Randomness, Threshold},
};
use crossbeam_utils::CachePadded;

/// Published instead of a threshold when nothing is kept: no threshold is as high.
const NEVER: u64 = 1 << 56;
/// Factor of a high priority, and divisor of a low one.
const PRIORITY_STEP: f64 = 10.0;

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
}

#[derive(Debug, Default)]
struct Counts {
    recorded: AtomicU64,
    skipped: AtomicU64,
    forced: AtomicU64,
    parent_sampled: AtomicU64,
    parent_unsampled: AtomicU64,
    custom_rate_ignored: AtomicU64,
    error_operations: AtomicU64,
    error_kept: AtomicU64,
    slow_operations: AtomicU64,
    slow_kept: AtomicU64,
    controller_steps: AtomicU64,
    rate_changes: AtomicU64,
}

#[derive(Debug)]
struct Control {
    config: SamplerConfig,
    controller: Controller,
    rate: f64,
}

/// Countdowns alive, and what those gone have counted: both under one lock, so no total falls.
#[derive(Debug, Default)]
struct Locals {
    live: Vec<Arc<CachePadded<LocalCounts>>>,
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
            }),
            counts: CachePadded::default(),
            force: TokenBucket::new(config.force_per_second),
            parent: TokenBucket::new(config.parent_per_second),
            error: TokenBucket::new(config.error_per_second),
            slow: TokenBucket::new(config.slow_per_second),
            clock: Clock::new(),
            control: Mutex::new(Control {
                controller: Controller::default(),
                rate: config.base_rate,
                config,
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
    /// Operations decided by [`Sampler::decide`] obey at once; a countdown obeys at its next stop
    /// or [`refresh`](LocalSampler::refresh), at most 4096 operations later.
    pub fn reconfigure(&self, config: SamplerConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let mut control = self.control.lock();
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
        self.publish(&control);
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
        let decision = self.decide_at(context, randomness, || self.clock.monotonic_ns());
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

    /// A countdown for one thread: the cheap way to sample a loop.
    pub fn local(self: &Arc<Self>) -> LocalSampler {
        LocalSampler::new(Arc::clone(self), fastrand::Rng::new())
    }

    /// The same, choosing the same operations again for the same seed and rates.
    pub fn local_with_seed(self: &Arc<Self>, seed: u64) -> LocalSampler {
        LocalSampler::new(Arc::clone(self), fastrand::Rng::with_seed(seed))
    }

    /// One step of the controller; the owner calls it each 100 ms to 1 s. Returns the rate from
    /// now on. Without `adaptive`, or while switched off, it changes nothing.
    pub fn control_step(&self, input: &ControlInput) -> f64 {
        let mut control = self.control.lock();
        if control.config.adaptive && control.config.enabled {
            self.counts.controller_steps.fetch_add(1, Relaxed);
            let Control { config, controller, rate } = &mut *control;
            *rate = controller.step(input, config, *rate);
            self.publish(&control);
        }
        self.rate()
    }

    /// What happened so far.
    pub fn stats(&self) -> SamplerStats {
        let counts = &self.counts;
        let locals = self.locals.lock();
        let sum =
            |of: fn(&LocalCounts) -> u64| locals.live.iter().map(|counts| of(counts)).sum::<u64>();
        let recorded = counts.recorded.load(Relaxed)
            + locals.retired_recorded
            + sum(|local| local.recorded.load(Relaxed));
        let skipped = counts.skipped.load(Relaxed)
            + locals.retired_skipped
            + sum(|local| local.skipped.load(Relaxed));
        SamplerStats {
            samples_total: recorded + skipped,
            samples_recorded_total: recorded,
            samples_skipped_total: skipped,
            forced_total: counts.forced.load(Relaxed),
            force_capped_total: self.force.refused_total(),
            parent_sampled_total: counts.parent_sampled.load(Relaxed),
            parent_unsampled_total: counts.parent_unsampled.load(Relaxed),
            parent_capped_total: self.parent.refused_total(),
            custom_rate_ignored_total: counts.custom_rate_ignored.load(Relaxed),
            error_operations_total: counts.error_operations.load(Relaxed),
            error_kept_total: counts.error_kept.load(Relaxed),
            error_capped_total: self.error.refused_total(),
            slow_operations_total: counts.slow_operations.load(Relaxed),
            slow_kept_total: counts.slow_kept.load(Relaxed),
            slow_capped_total: self.slow.refused_total(),
            controller_steps_total: counts.controller_steps.load(Relaxed),
            rate_changes_total: counts.rate_changes.load(Relaxed),
            rate: self.rate(),
            local_samplers: locals.live.len() as u64,
        }
    }

    /// The threshold in force; `None` keeps nothing.
    #[inline]
    pub fn threshold(&self) -> Option<Threshold> {
        Threshold::new(self.published.threshold.load(Relaxed))
    }

    /// The rule under which [`Sampler::threshold`] keeps.
    pub(crate) fn rate_reason(&self) -> Reason {
        if self.published.adaptive.load(Relaxed) { Reason::Adaptive } else { Reason::Base }
    }

    pub(crate) fn register(&self, counts: Arc<CachePadded<LocalCounts>>) {
        self.locals.lock().live.push(counts);
    }

    pub(crate) fn retire(&self, counts: &Arc<CachePadded<LocalCounts>>) {
        let mut locals = self.locals.lock();
        locals.live.retain(|live| !Arc::ptr_eq(live, counts));
        locals.retired_recorded += counts.recorded.load(Relaxed);
        locals.retired_skipped += counts.skipped.load(Relaxed);
    }

    fn publish(&self, control: &Control) {
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
        published.slow_ns.store(slow_ns.unwrap_or(u64::MAX), Relaxed);
        if published.threshold.swap(threshold, Relaxed) != threshold {
            self.counts.rate_changes.fetch_add(1, Relaxed);
        }
    }

    /// The head's rules in their order.
    fn decide_at(
        &self,
        context: &SampleContext,
        randomness: Randomness,
        now_ns: impl Fn() -> u64,
    ) -> Decision {
        if !self.published.enabled.load(Relaxed) {
            return Decision {
                verdict: Verdict::Drop,
                reason: Reason::KillSwitch,
                odds: Odds::UNKNOWN,
                propagate: Propagate::Untouched,
                randomness,
            };
        }
        if context.force
            && let Some(decision) = self.decide_forced(randomness, now_ns())
        {
            return decision;
        }
        if let Some(parent) = &context.parent
            && let Some(decision) = self.decide_by_parent(parent, randomness, &now_ns)
        {
            return decision;
        }
        if let Some(rate) = context.custom_rate {
            if (0.0..=1.0).contains(&rate) {
                return by_threshold(Reason::CustomRate, Threshold::from_rate(rate), randomness);
            }
            self.counts.custom_rate_ignored.fetch_add(1, Relaxed);
        }
        match context.priority {
            Priority::Normal => by_threshold(self.rate_reason(), self.threshold(), randomness),
            Priority::High => self.decide_by_priority(PRIORITY_STEP, randomness),
            Priority::Low => self.decide_by_priority(PRIORITY_STEP.recip(), randomness),
        }
    }

    fn decide_forced(&self, randomness: Randomness, now_ns: u64) -> Option<Decision> {
        let odds = match self.force.take(now_ns) {
            Take::Certain => Odds::from_threshold(Threshold::ALWAYS),
            Take::Lucky => Odds::UNKNOWN,
            Take::Refused => return None,
        };
        self.counts.forced.fetch_add(1, Relaxed);
        let propagate = Propagate::Sampled { threshold: odds.threshold() };
        Some(Decision {
            verdict: Verdict::Keep,
            reason: Reason::Force,
            odds,
            propagate,
            randomness,
        })
    }

    fn decide_by_parent(
        &self,
        parent: &Parent,
        randomness: Randomness,
        now_ns: impl Fn() -> u64,
    ) -> Option<Decision> {
        if !parent.sampled {
            self.counts.parent_unsampled.fetch_add(1, Relaxed);
            return Some(not_kept(Reason::ParentUnsampled, randomness));
        }
        // A `th` that the trace's own bits contradict is a lie: keep the flag, forget the `th`.
        let threshold = parent.threshold.filter(|threshold| threshold.keeps(randomness));
        let odds = match (self.parent.take(now_ns()), threshold) {
            (Take::Refused, _) => return None,
            (Take::Certain, Some(threshold)) => Odds::from_threshold(threshold),
            (Take::Certain, None) | (Take::Lucky, _) => Odds::UNKNOWN,
        };
        self.counts.parent_sampled.fetch_add(1, Relaxed);
        let propagate = Propagate::Sampled { threshold };
        let reason = Reason::ParentSampled;
        Some(Decision { verdict: Verdict::Keep, reason, odds, propagate, randomness })
    }

    fn decide_by_priority(&self, factor: f64, randomness: Randomness) -> Decision {
        let published = &self.published;
        let rate = self.rate() * factor;
        let low = f64::from_bits(published.rate_low.load(Relaxed));
        let high = f64::from_bits(published.rate_high.load(Relaxed));
        // `max` and `min`, not `clamp`: the bounds may change between the loads.
        let rate = rate.max(low).min(high);
        by_threshold(Reason::Priority, Threshold::from_rate(rate), randomness)
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

fn by_threshold(reason: Reason, threshold: Option<Threshold>, randomness: Randomness) -> Decision {
    match threshold {
        Some(threshold) if threshold.keeps(randomness) => Decision {
            verdict: Verdict::Keep,
            reason,
            odds: Odds::from_threshold(threshold),
            propagate: Propagate::Sampled { threshold: Some(threshold) },
            randomness,
        },
        _ => not_kept(reason, randomness),
    }
}

fn not_kept(reason: Reason, randomness: Randomness) -> Decision {
    let verdict = Verdict::LocalTail;
    Decision { verdict, reason, odds: Odds::UNKNOWN, propagate: Propagate::Unsampled, randomness }
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
