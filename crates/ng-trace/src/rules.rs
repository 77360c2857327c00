//! The head's rules in their order, as one pure function: of what is in force, what is known of the operation, and what the buckets grant. It reads no clock and counts nothing.

use crate::{
    bucket::Take,
    decision::{Decision, Odds, Parent, Propagate, Reason, SampleContext, Verdict},
    mutants,
    threshold::{Randomness, Threshold},
};

/// What is in force, read once for a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rules {
    pub(crate) enabled: bool,
    /// The rule by which `threshold` keeps: the controller's rate or the configured one.
    pub(crate) reason: Reason,
    /// `None` keeps nothing.
    pub(crate) threshold: Option<Threshold>,
    pub(crate) rate: f64,
    /// What a factor on the rate is held within.
    pub(crate) rate_low: f64,
    pub(crate) rate_high: f64,
}

impl Rules {
    /// The threshold of an operation at `factor` times the rate; `None` keeps nothing.
    pub(crate) fn threshold_at(&self, factor: f64) -> Option<Threshold> {
        if !self.enabled {
            return None;
        }
        if factor == 1.0 {
            return self.threshold;
        }
        // `max` and `min`, not `clamp`: the bounds may change between the loads.
        Threshold::from_rate((self.rate * factor).max(self.rate_low).min(self.rate_high))
    }

    /// The rule by which [`Rules::threshold_at`] keeps.
    pub(crate) fn reason_at(&self, factor: f64) -> Reason {
        if factor == 1.0 { self.reason } else { Reason::Priority }
    }
}

/// What the caller may ask for only so many times a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capped {
    Force,
    Parent,
}

/// How the operations were chosen among which a threshold chooses here.
#[derive(Clone, Copy)]
enum Before {
    /// They were not: the trace begins here, or its caller left it to us.
    All,
    /// By the caller, with this threshold.
    By(Threshold),
    /// By the caller, nobody knows how.
    Unknown,
}

/// Decides about one operation. `randomness` is that of its trace; `take` asks a bucket, at most
/// once each, and only if the rule it stands for comes to apply.
pub(crate) fn head(
    rules: &Rules,
    context: &SampleContext,
    randomness: Randomness,
    mut take: impl FnMut(Capped) -> Take,
) -> Decision {
    if !rules.enabled {
        return Decision {
            verdict: Verdict::Drop,
            reason: Reason::KillSwitch,
            odds: Odds::UNKNOWN,
            threshold: None,
            propagate: Propagate::Untouched,
            randomness,
        };
    }
    if context.force {
        let always = Odds::from_threshold(Threshold::ALWAYS);
        if let Some(odds) = granted(take(Capped::Force), always) {
            return kept(Reason::Force, odds, odds.threshold(), randomness);
        }
    }
    let mut before = Before::All;
    if let Some(parent) = &context.parent {
        if !parent.sampled {
            return not_kept(Reason::ParentUnsampled, None, randomness);
        }
        let threshold = believed(parent, randomness);
        let odds = threshold.map_or(Odds::UNKNOWN, Odds::from_threshold);
        if let Some(odds) = granted(take(Capped::Parent), odds) {
            // What the caller decided stays true of the whole trace, whatever our bucket does.
            return kept(Reason::ParentSampled, odds, threshold, randomness);
        }
        before = threshold.map_or(Before::Unknown, Before::By);
    }
    let (reason, threshold) = match context.usable_custom_rate() {
        Some(rate) => (Reason::CustomRate, Threshold::from_rate(rate)),
        None => {
            let factor = context.priority.factor();
            (rules.reason_at(factor), rules.threshold_at(factor))
        }
    };
    by_threshold(reason, threshold, before, randomness)
}

/// The caller's `th`, unless the trace's own bits contradict it: then its flag stands and the `th` is forgotten.
fn believed(parent: &Parent, randomness: Randomness) -> Option<Threshold> {
    let believe = mutants::on("trace-th-believed-against-the-id");
    parent.threshold.filter(|threshold| believe || threshold.keeps(randomness))
}

/// The odds of what a bucket granted; `None` if it refused. While others are refused, one that is
/// granted was lucky, and no threshold says how.
fn granted(take: Take, certain: Odds) -> Option<Odds> {
    match take {
        Take::Certain => Some(certain),
        Take::Lucky => Some(Odds::UNKNOWN),
        Take::Refused => None,
    }
}

fn by_threshold(
    reason: Reason,
    threshold: Option<Threshold>,
    before: Before,
    randomness: Randomness,
) -> Decision {
    let Some(own) = threshold else {
        return not_kept(reason, None, randomness);
    };
    // A caller that chose more strictly than we do leaves us only what it chose.
    let threshold = match before {
        Before::By(callers) => own.max(callers),
        Before::All | Before::Unknown => own,
    };
    if !threshold.keeps(randomness) {
        return not_kept(reason, Some(threshold), randomness);
    }
    match before {
        Before::All | Before::By(_) => {
            kept(reason, Odds::from_threshold(threshold), Some(threshold), randomness)
        }
        Before::Unknown => {
            let decision = kept(reason, Odds::UNKNOWN, None, randomness);
            Decision { threshold: Some(threshold), ..decision }
        }
    }
}

/// Kept, and `threshold` is what may be told to others.
fn kept(
    reason: Reason,
    odds: Odds,
    threshold: Option<Threshold>,
    randomness: Randomness,
) -> Decision {
    let propagate = Propagate::Sampled { threshold };
    Decision { verdict: Verdict::Keep, reason, odds, threshold, propagate, randomness }
}

pub(crate) fn not_kept(
    reason: Reason,
    threshold: Option<Threshold>,
    randomness: Randomness,
) -> Decision {
    let forget = reason == Reason::ParentUnsampled
        && mutants::on("trace-errors-dropped-with-an-unsampled-parent");
    Decision {
        verdict: if forget { Verdict::Drop } else { Verdict::LocalTail },
        reason,
        odds: Odds::UNKNOWN,
        threshold,
        propagate: Propagate::Unsampled,
        randomness,
    }
}
