//! What tracing costs: an account of its parts, and a rare experiment that checks it. Pure arithmetic; the collector gathers the numbers.
//!
//! The account is (A + B) / C over the time since the last look. A: spans recorded × what one
//! costs, of which a share is timed, and all that waking the drain took. B: CPU time of the
//! background threads, exporting included. C: CPU time of the process, not wall time, or an idle
//! process would seem to cost nothing. What an unsampled operation costs is not in it; nor are
//! cache misses that a span causes elsewhere. Those the experiment sees: it records twice in some
//! blocks of work and once in others, so nothing is lost and no probability changes, and
//! takes the difference.

use crate::mutants;
use std::time::Duration;

/// Share cut off at each end of sorted samples before their mean is taken.
const TRIM: f64 = 0.2;
/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.96;
/// Samples further from the median than this many median deviations are no samples: the thread
/// was interrupted or moved to another core.
const OUTLIER: f64 = 5.0;
/// The experiment may correct the account by no more than these factors.
const CORRECTION: std::ops::RangeInclusive<f64> = 0.5..=5.0;
/// A process that used less of one core than this is idle: the few wake-ups of a drain would look like
/// a large share of next to nothing.
const IDLE: f64 = 0.02;
/// Pairs of blocks that an experiment remembers.
const PAIRS_MAX: usize = 4096;

/// What the numbers were since the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) spans: u64,
    /// Costs of single spans, as timed. Unit: nanoseconds.
    pub(crate) span_costs_ns: Vec<f64>,
    /// What one span costs beside that: its two clock readings. Unit: nanoseconds.
    pub(crate) beside_ns: f64,
    /// Factor that an experiment found.
    pub(crate) correction: f64,
    pub(crate) waking_ns: f64,
    pub(crate) background_ns: f64,
    pub(crate) process_ns: f64,
    pub(crate) elapsed_ns: f64,
}

/// What tracing cost lately, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Overhead {
    /// Share of the process's CPU time that went into tracing.
    pub share: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
    /// What one recorded span costs its thread, two clock readings included. Unit: nanoseconds.
    pub span_ns: f64,
    /// Timed spans behind `span_ns`.
    pub spans_timed: usize,
    /// The part of `share` that background threads took.
    pub background_share: f64,
}

impl Spent {
    /// `None` if the process was idle, or its CPU time is not known.
    pub(crate) fn overhead(&self) -> Option<Overhead> {
        if self.process_ns <= IDLE * self.elapsed_ns {
            return None;
        }
        let push = Estimate::of(&mut self.span_costs_ns.clone());
        let per_span = |push_ns: f64| (push_ns.max(0.0) + self.beside_ns) * self.correction;
        let share = |push_ns: f64| {
            let mut all =
                self.spans as f64 * per_span(push_ns) + self.waking_ns + self.background_ns;
            if mutants::on("trace-overhead-without-the-drain") {
                all -= self.background_ns;
            }
            (all / self.process_ns).clamp(0.0, 1.0)
        };
        Some(Overhead {
            share: share(push.mean),
            low: share(push.mean - push.margin),
            high: share(push.mean + push.margin),
            span_ns: per_span(push.mean),
            spans_timed: self.span_costs_ns.len(),
            background_share: (self.background_ns / self.process_ns).clamp(0.0, 1.0),
        })
    }
}

/// A mean that a few wild samples cannot move, and half the width of its 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Estimate {
    mean: f64,
    margin: f64,
    samples: usize,
}

impl Estimate {
    /// The 20 % trimmed mean, with the deviation of the winsorized samples.
    fn of(samples: &mut [f64]) -> Self {
        if samples.is_empty() {
            return Self::default();
        }
        samples.sort_by(f64::total_cmp);
        let count = samples.len();
        let cut = (count as f64 * TRIM) as usize;
        let kept = &samples[cut..count - cut];
        let mean = kept.iter().sum::<f64>() / kept.len() as f64;
        let (low, high) = (samples[cut], samples[count - cut - 1]);
        let winsorized = || samples.iter().map(|sample| sample.clamp(low, high));
        let center = winsorized().sum::<f64>() / count as f64;
        let squares = winsorized().map(|sample| (sample - center).powi(2)).sum::<f64>();
        let deviation = (squares / (count as f64 - 1.0).max(1.0)).sqrt();
        let margin = Z * deviation / ((1.0 - 2.0 * TRIM) * (count as f64).sqrt());
        Self { mean, margin, samples: count }
    }
}

/// How often a recorder records each span, for an [`OverheadExperiment`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dose {
    /// No experiment: once, on the short path.
    #[default]
    Off,
    /// Once, on the path that the experiment compares.
    Single,
    /// Twice: the second one, with two clock readings of its own, into a scratch place.
    Double,
}

/// Finds what a span costs by recording twice in some blocks of work and once in others.
///
/// Ask for the [`dose`](Self::dose) of a block of about a millisecond, give it to
/// [`SpanRecorder::set_dose`](crate::SpanRecorder::set_dose), do the work, and report the block
/// with [`block_ended`](Self::block_ended). Blocks come in pairs of both doses in random order,
/// so that a drift of the load does not look like a cost.
#[derive(Clone, Debug)]
pub struct OverheadExperiment {
    rng: fastrand::Rng,
    /// Of the pair under way: the doses in their order, and the first one's cost if it has ended.
    doses: [Dose; 2],
    first_ns: Option<f64>,
    differences_ns: Vec<f64>,
    /// Where the next difference goes when all places are taken.
    oldest: usize,
}

/// What an [`OverheadExperiment`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpanCost {
    /// What one span costs. Unit: nanoseconds.
    pub span_ns: f64,
    /// Lower end of its 95 % interval. At or below zero: too small to be seen with these pairs.
    pub low_ns: f64,
    /// Upper end of its 95 % interval.
    pub high_ns: f64,
    /// Pairs of blocks behind it.
    pub pairs: usize,
}

impl SpanCost {
    /// Whether the cost is above zero with 95 % confidence.
    pub fn is_detected(&self) -> bool {
        self.low_ns > 0.0
    }
}

impl OverheadExperiment {
    /// A new one; the seed decides the order of the doses.
    pub fn new(seed: u64) -> Self {
        let mut experiment = Self {
            rng: fastrand::Rng::with_seed(seed),
            doses: [Dose::Single, Dose::Double],
            first_ns: None,
            differences_ns: Vec::new(),
            oldest: 0,
        };
        experiment.shuffle();
        experiment
    }

    /// The dose of the block that begins now.
    pub fn dose(&self) -> Dose {
        self.doses[usize::from(self.first_ns.is_some())]
    }

    /// A block of the current [`dose`](Self::dose) has ended: so many spans in so much time. A
    /// block without spans is as if it had not been.
    pub fn block_ended(&mut self, spans: u64, elapsed: Duration) {
        if spans == 0 {
            return;
        }
        let per_span_ns = elapsed.as_nanos() as f64 / spans as f64;
        let Some(first_ns) = self.first_ns.take() else {
            self.first_ns = Some(per_span_ns);
            return;
        };
        let difference_ns = match self.doses[1] {
            Dose::Double => per_span_ns - first_ns,
            _ => first_ns - per_span_ns,
        };
        if self.differences_ns.len() < PAIRS_MAX {
            self.differences_ns.push(difference_ns);
        } else {
            self.differences_ns[self.oldest] = difference_ns;
            self.oldest = (self.oldest + 1) % PAIRS_MAX;
        }
        self.shuffle();
    }

    /// What was found so far; `None` before the tenth pair.
    pub fn estimate(&self) -> Option<SpanCost> {
        let mut kept = self.differences_ns.clone();
        if kept.len() < 10 {
            return None;
        }
        let center = median(&mut kept);
        let mut off: Vec<f64> = kept.iter().map(|sample| (sample - center).abs()).collect();
        let allowed = OUTLIER * median(&mut off);
        kept.retain(|sample| (sample - center).abs() <= allowed);
        let estimate = Estimate::of(&mut kept);
        Some(SpanCost {
            span_ns: estimate.mean,
            low_ns: estimate.mean - estimate.margin,
            high_ns: estimate.mean + estimate.margin,
            pairs: estimate.samples,
        })
    }

    fn shuffle(&mut self) {
        if self.rng.bool() {
            self.doses.reverse();
        }
    }
}

/// The factor by which the account is to be corrected: `found` over what it says itself, within
/// half and five times. `None` if nothing was detected.
pub(crate) fn correction(found: &SpanCost, account_ns: f64) -> Option<f64> {
    let factor = found.span_ns / account_ns;
    let usable = found.is_detected() && account_ns > 0.0 && factor.is_finite();
    usable.then(|| factor.clamp(*CORRECTION.start(), *CORRECTION.end()))
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::print_stderr)] // the seed of a run that failed
    fn seed() -> u64 {
        let given = std::env::var("NG_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("NG_SEED={seed}");
        seed
    }

    /// About normal, with mean 0 and deviation 1.
    fn noise(rng: &mut fastrand::Rng) -> f64 {
        (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0
    }

    /// One second of a process that used all of one core.
    fn second(spans: u64, span_costs_ns: Vec<f64>) -> Spent {
        Spent { spans, span_costs_ns, correction: 1.0, process_ns: 1e9, ..Spent::default() }
    }

    #[test]
    fn a_known_cost_in_the_record_path_is_estimated_within_a_fifth() {
        let mut rng = fastrand::Rng::with_seed(seed());
        for spin_ns in [20.0, 200.0, 2000.0] {
            // One in ten is an interrupt: not by chance, for too many of them are no longer trimmed.
            let mut sample = |n| match n % 10 {
                0 => spin_ns * 50.0,
                _ => spin_ns * (1.0 + 0.3 * noise(&mut rng)),
            };
            let costs = (0..64).map(&mut sample).collect();
            let overhead = second(10_000, costs).overhead().unwrap();
            let truth = 10_000.0 * spin_ns / 1e9;
            assert!((overhead.share / truth - 1.0).abs() < 0.2, "{overhead:?}, not {truth}");
            assert!(overhead.low < overhead.share && overhead.share < overhead.high);
        }
    }

    #[test]
    fn background_threads_waking_and_clock_readings_are_in_the_account() {
        let mut spent = second(1_000_000, vec![10.0; 64]);
        spent.beside_ns = 20.0;
        spent.waking_ns = 5e6;
        spent.background_ns = 15e6;
        let overhead = spent.overhead().unwrap();
        assert!((overhead.share - 0.05).abs() < 1e-9, "{overhead:?}");
        assert!((overhead.background_share - 0.015).abs() < 1e-9);
        assert_eq!((overhead.span_ns, overhead.low, overhead.high), (30.0, 0.05, 0.05));
        spent.correction = 2.0;
        assert!((spent.overhead().unwrap().share - 0.08).abs() < 1e-9);
    }

    #[test]
    fn an_idle_process_has_no_overhead_and_none_exceeds_the_whole() {
        let mut spent = second(1_000_000, vec![5000.0; 64]);
        spent.elapsed_ns = 1e9;
        assert_eq!(spent.overhead().unwrap().share, 1.0);
        for process_ns in [0.0, 1e7] {
            spent.process_ns = process_ns;
            assert_eq!(spent.overhead(), None);
        }
    }

    #[test]
    fn the_95_percent_interval_holds_the_truth_about_that_often() {
        let mut rng = fastrand::Rng::with_seed(seed());
        let runs = 1000;
        let held = (0..runs).filter(|_| {
            let costs = (0..64).map(|_| 100.0 + 20.0 * noise(&mut rng)).collect();
            let overhead = second(1_000_000, costs).overhead().unwrap();
            (overhead.low..=overhead.high).contains(&0.1)
        });
        let held = held.count();
        // 4 sigma around 950 is 27; the interval is an approximation, so a little more.
        assert!((900..=990).contains(&held), "{held} of {runs}");
    }

    /// Pairs of blocks of 5000 spans whose work drifts and jumps; some are disturbed.
    fn run(span_ns: f64, pairs: usize, rng: &mut fastrand::Rng) -> OverheadExperiment {
        let mut experiment = OverheadExperiment::new(rng.u64(..));
        for block in 0..2 * pairs {
            let work_ns = 200.0 + 0.05 * block as f64;
            let recorded = if experiment.dose() == Dose::Double { 2.0 } else { 1.0 };
            let mut per_span = work_ns + span_ns * recorded + 0.05 * work_ns * noise(rng);
            if rng.u8(..20) == 0 {
                per_span += 3000.0;
            }
            experiment.block_ended(5000, Duration::from_nanos((per_span * 5000.0) as u64));
        }
        experiment
    }

    #[test]
    fn the_experiment_finds_a_known_cost_under_drift_and_disturbance() {
        let mut rng = fastrand::Rng::with_seed(seed());
        for span_ns in [30.0, 100.0, 1000.0] {
            let found = run(span_ns, 800, &mut rng).estimate().unwrap();
            assert!(found.is_detected(), "{found:?}");
            assert!((found.span_ns / span_ns - 1.0).abs() < 0.2, "{found:?}, not {span_ns}");
        }
    }

    #[test]
    fn a_cost_of_nothing_is_seldom_detected() {
        let mut rng = fastrand::Rng::with_seed(seed());
        let detected =
            (0..100).filter(|_| run(0.0, 100, &mut rng).estimate().unwrap().is_detected()).count();
        assert!(detected <= 15, "{detected} of 100");
    }

    #[test]
    fn both_doses_come_in_each_pair_and_either_first() {
        let mut experiment = OverheadExperiment::new(seed());
        let mut double_first = 0;
        for _ in 0..200 {
            let first = experiment.dose();
            experiment.block_ended(0, Duration::from_secs(1)); // as if it had not been
            experiment.block_ended(10, Duration::from_nanos(100));
            assert_ne!(experiment.dose(), first);
            experiment.block_ended(10, Duration::from_nanos(100));
            double_first += usize::from(first == Dose::Double);
        }
        assert!((60..=140).contains(&double_first), "{double_first} of 200");
        assert_eq!(experiment.estimate().unwrap().span_ns, 0.0);
    }

    #[test]
    fn the_account_is_corrected_within_bounds_and_only_by_what_was_detected() {
        let found = |span_ns: f64, low_ns: f64| SpanCost {
            span_ns,
            low_ns,
            high_ns: span_ns + 1.0,
            pairs: 100,
        };
        assert_eq!(correction(&found(60.0, 50.0), 40.0), Some(1.5));
        assert_eq!(correction(&found(1000.0, 900.0), 40.0), Some(5.0));
        assert_eq!(correction(&found(1.0, 0.5), 40.0), Some(0.5));
        assert_eq!(correction(&found(1.0, -0.5), 40.0), None);
        assert_eq!(correction(&found(1.0, 0.5), 0.0), None);
    }
}
