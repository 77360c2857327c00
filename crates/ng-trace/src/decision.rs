//! The words of a decision: what is known of an operation, and what was made of it. Plain values; the rules are in `rules.rs`.

use crate::{
    id::TraceId,
    threshold::{Randomness, Threshold},
};
use std::time::Duration;

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Reason {
    /// The sampler is switched off.
    KillSwitch,
    /// The caller asked for it.
    Force,
    /// The caller's trace is sampled.
    ParentSampled,
    /// The caller's trace is not sampled.
    ParentUnsampled,
    /// The caller gave a rate of its own.
    CustomRate,
    /// The operation failed.
    Error,
    /// The operation took longer than the threshold.
    Slow,
    /// The rate, raised or lowered by the caller's priority.
    Priority,
    /// The rate that the controller set.
    Adaptive,
    /// The configured rate.
    Base,
}

impl Reason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();
    const ALL: [Self; 10] = [
        Self::KillSwitch,
        Self::Force,
        Self::ParentSampled,
        Self::ParentUnsampled,
        Self::CustomRate,
        Self::Error,
        Self::Slow,
        Self::Priority,
        Self::Adaptive,
        Self::Base,
    ];

    /// The name used in attributes, such as `parent_sampled`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Force => "force",
            Self::ParentSampled => "parent_sampled",
            Self::ParentUnsampled => "parent_unsampled",
            Self::CustomRate => "custom_rate",
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Priority => "priority",
            Self::Adaptive => "adaptive",
            Self::Base => "base",
        }
    }

    /// Whether this rule looks at the end of an operation and not at its head.
    pub const fn is_tail(self) -> bool {
        matches!(self, Self::Error | Self::Slow)
    }

    pub(crate) fn from_u8(value: u8) -> Self {
        Self::ALL.get(usize::from(value)).copied().unwrap_or(Self::Base)
    }
}

/// With which certainty an operation like this one is kept: what its weight follows from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Odds(u64);

impl Odds {
    /// Each one like it is kept: weight 1, but decided by no threshold, so no `th`.
    pub const CERTAIN: Self = Self(1 << 56);
    /// It is not known how many like it were not kept; leave it out of estimates.
    pub const UNKNOWN: Self = Self(2 << 56);
    /// Bits used, from the lowest.
    pub(crate) const BITS: u32 = 58;

    /// Kept because the trace's randomness is at least `threshold`.
    pub const fn from_threshold(threshold: Threshold) -> Self {
        Self(threshold.get())
    }

    /// The threshold that decided, if one did: what `th` may say.
    pub const fn threshold(self) -> Option<Threshold> {
        Threshold::new(self.0)
    }

    /// How many operations this one stands for; `None` if that is not known.
    pub fn weight(self) -> Option<f64> {
        match self {
            Self::CERTAIN => Some(1.0),
            _ => self.threshold().map(Threshold::weight),
        }
    }

    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// An operation that is to be recorded: by which rule, and with which odds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sampled {
    /// The rule that kept it.
    pub reason: Reason,
    /// What its weight follows from.
    pub odds: Odds,
}

impl Sampled {
    /// Kept by a threshold, under this rule.
    pub const fn by_threshold(reason: Reason, threshold: Threshold) -> Self {
        Self { reason, odds: Odds::from_threshold(threshold) }
    }

    /// The threshold that decided, if one did.
    pub const fn threshold(self) -> Option<Threshold> {
        self.odds.threshold()
    }

    /// How many operations this one stands for; `None` if that is not known.
    pub fn weight(self) -> Option<f64> {
        self.odds.weight()
    }
}

/// The caller's place in a trace, as its headers tell. They are untrusted: see the buckets in
/// [`SamplerConfig`](crate::SamplerConfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parent {
    /// The trace to go on with.
    pub trace_id: TraceId,
    /// The caller's sampled flag.
    pub sampled: bool,
    /// The caller's random flag: its trace id is known to be random. Without it the id is presumed
    /// to be so, as OpenTelemetry has it, and that is counted.
    pub random: bool,
    /// The caller's `th`, if it sent a valid one.
    pub threshold: Option<Threshold>,
    /// The caller's `rv`, if it sent a valid one; otherwise the trace id decides.
    pub explicit_randomness: Option<Randomness>,
}

impl Parent {
    /// A caller without tracestate, whose trace id is random.
    pub const fn new(trace_id: TraceId, sampled: bool) -> Self {
        Self { trace_id, sampled, random: true, threshold: None, explicit_randomness: None }
    }

    /// The 56 bits that decide about this trace.
    pub fn randomness(&self) -> Randomness {
        self.explicit_randomness.unwrap_or_else(|| self.trace_id.randomness())
    }
}

/// How much the caller cares: ×10, ×1, ×0.1 of the rate, then held within the configured bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Ten times the rate.
    High,
    /// The rate.
    #[default]
    Normal,
    /// A tenth of the rate.
    Low,
}

impl Priority {
    /// What the rate is multiplied by.
    pub const fn factor(self) -> f64 {
        match self {
            Self::High => 10.0,
            Self::Normal => 1.0,
            Self::Low => 0.1,
        }
    }
}

/// What is known of an operation when it begins. Take the default and assign.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SampleContext {
    /// The caller asks for this operation to be kept.
    pub force: bool,
    /// The caller's trace; `None`: a trace begins here.
    pub parent: Option<Parent>,
    /// A rate for this operation. Unit: share. Range: 0 to 1, anything else is ignored and counted.
    pub custom_rate: Option<f64>,
    /// Raises or lowers the rate.
    pub priority: Priority,
}

impl SampleContext {
    /// An operation that begins a trace, with nothing special about it.
    pub fn root() -> Self {
        Self::default()
    }

    /// An operation that goes on with its caller's trace.
    pub fn child_of(parent: Parent) -> Self {
        Self { parent: Some(parent), ..Self::default() }
    }

    /// Asks for it to be kept.
    pub fn forced(self) -> Self {
        Self { force: true, ..self }
    }

    /// Gives it a rate of its own.
    pub fn with_custom_rate(self, rate: f64) -> Self {
        Self { custom_rate: Some(rate), ..self }
    }

    /// The custom rate, if it is a share.
    pub(crate) fn usable_custom_rate(&self) -> Option<f64> {
        self.custom_rate.filter(|rate| (0.0..=1.0).contains(rate))
    }

    /// Gives it a priority.
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }
}

/// What is to be done with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Record it.
    Keep,
    /// Do nothing more: the sampler is off.
    Drop,
    /// Not kept at its head. If it fails or is slow, [`decide_end`](crate::Sampler::decide_end)
    /// may still keep it, here only.
    LocalTail,
}

/// What to tell those whom the operation calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagate {
    /// Hand the caller's headers on as they are.
    Untouched,
    /// Sampled flag 1; `th` as given, or removed.
    Sampled {
        /// The `th` to send.
        threshold: Option<Threshold>,
    },
    /// Sampled flag 0, `th` removed, `rv` kept.
    Unsampled,
}

/// A head decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// What is to be done.
    pub verdict: Verdict,
    /// The rule that decided.
    pub reason: Reason,
    /// With which odds one like it is kept. [`Odds::UNKNOWN`] if this one is not.
    pub odds: Odds,
    /// The threshold that the trace's randomness was compared with, kept or not; `None` if none
    /// was, or if the rate is 0.
    pub threshold: Option<Threshold>,
    /// What to tell those whom the operation calls.
    pub propagate: Propagate,
    /// The 56 bits that were compared with the threshold. A trace that begins here must carry
    /// them in its id: see [`Decision::new_trace_id`].
    pub randomness: Randomness,
}

impl Decision {
    /// What to write into the span; `None` if it is not kept.
    pub fn sampled(&self) -> Option<Sampled> {
        let sampled = Sampled { reason: self.reason, odds: self.odds };
        (self.verdict == Verdict::Keep).then_some(sampled)
    }

    /// A new id for a trace that begins here, which agrees with this decision: any other
    /// consistent sampler with the same threshold would decide alike.
    pub fn new_trace_id(&self) -> TraceId {
        TraceId::draw(&mut fastrand::Rng::new(), self.randomness)
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// It failed.
    pub error: bool,
    /// How long it took.
    pub duration: Duration,
    /// It was kept at its head already.
    pub head_kept: bool,
}

impl Outcome {
    /// The end of an operation that was not kept at its head.
    pub const fn new(error: bool, duration: Duration) -> Self {
        Self { error, duration, head_kept: false }
    }

    /// The same end of an operation that was kept at its head.
    pub const fn of_kept(self) -> Self {
        Self { head_kept: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_its_number_and_has_its_own_name() {
        let mut names = std::collections::HashSet::new();
        for reason in Reason::ALL {
            assert_eq!(Reason::from_u8(reason as u8), reason);
            assert!(names.insert(reason.as_str()));
        }
    }

    #[test]
    fn only_a_threshold_gives_th_and_only_unknown_odds_have_no_weight() {
        let tenth = Threshold::from_rate(0.1).unwrap();
        let odds = Odds::from_threshold(tenth);
        assert_eq!((odds.threshold(), odds.weight()), (Some(tenth), Some(tenth.weight())));
        assert_eq!((Odds::CERTAIN.threshold(), Odds::CERTAIN.weight()), (None, Some(1.0)));
        assert_eq!((Odds::UNKNOWN.threshold(), Odds::UNKNOWN.weight()), (None, None));
        assert!(Odds::UNKNOWN.to_bits() >> Odds::BITS == 0);
    }
}
