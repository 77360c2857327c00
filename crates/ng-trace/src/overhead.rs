//! What tracing costs: an account of its parts, and a rare experiment that checks it. Pure arithmetic; the collector gathers the numbers.
//!
//! The account is (A + B) / C over the time since the last look. A, which spans cause: spans recorded ×
//! what one costs, of which a share is timed; all that waking the drain took; and what the drain and
//! its sink do for each span. B, which they do not: what the drain's rounds cost whether they find
//! spans or not. C: CPU time of the process, not wall time, or an idle process would seem to cost
//! nothing. A lower rate saves of A alone, so that is what the controller hears of. What an unsampled
//! operation costs is not in it; nor are cache misses that a span causes elsewhere. Those the
//! experiment sees: it records twice in some blocks of work and once in others, so nothing is lost
//! and no probability changes, and takes the difference.

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
/// To the controller a process that uses less than this of one core counts as if it used that: nobody
/// misses a hundredth of the little that it leaves idle, but a rate would be lowered for it.
const QUIET: f64 = 0.1;
/// Of the drain's rounds, one so many rounds ago counts half.
const ROUNDS_HALF_LIFE: f64 = 64.0;
/// A round without spans costs at most this, and this for each ring that it looks into: waking a
/// thread takes microseconds, on a virtual machine whose host is busy a hundred of them. Unit: nanoseconds.
const IDLE_ROUND_MAX: (f64, f64) = (250_000.0, 100.0);
/// Spans by which rounds must differ, squared, before their difference says what a span costs.
const ROUNDS_DIFFER: f64 = 0.05;
/// What a span costs its thread, over what the account has timed of it: at least and at most. Timing
/// does not see the line that another core has to give back before a span is written to it, nor what
/// the operation around it loses. Compared with whole programs, with and without tracing, the account
/// was right where all operations were sampled, and saw a third where one in ten was.
const KNOWN_WITHIN: (f64, f64) = (0.5, 4.0);
/// Pairs of blocks that an experiment remembers.
const PAIRS_MAX: usize = 4096;

/// What the numbers were since the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) spans: u64,
    /// Costs of single spans, as timed. Unit: nanoseconds.
    pub(crate) span_costs_ns: Vec<f64>,
    /// What one span costs beside that: its two clock readings, and deciding. Unit: nanoseconds.
    pub(crate) beside_ns: f64,
    /// Factor that an experiment found.
    pub(crate) correction: f64,
    pub(crate) waking_ns: f64,
    /// The drain's, its sink's included: all of it, and the part that spans caused.
    pub(crate) drain_ns: f64,
    pub(crate) drain_spans_ns: f64,
    /// Other threads', which spans caused.
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
    /// Lower end of the interval in which it is: where the 95 % interval of the timed samples begins,
    /// and half of that, for what timing overlaps with.
    pub low: f64,
    /// Upper end of that interval: where the samples' interval ends, and four times that, for what
    /// timing does not see. An [experiment](OverheadExperiment) says more.
    pub high: f64,
    /// The part of `share` that spans caused, and a lower rate would save.
    pub span_share: f64,
    /// The part of `share` that is there at any rate: the drain's rounds.
    pub fixed_share: f64,
    /// CPU time that the process used. Unit: cores.
    pub process_cores: f64,
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
        let fixed_ns = (self.drain_ns - self.drain_spans_ns).max(0.0);
        let share_of = |ns: f64| (ns / self.process_ns).clamp(0.0, 1.0);
        let caused_ns = |push_ns: f64, factor: f64| {
            let drain_ns = match mutants::on("trace-overhead-without-the-drain") {
                true => 0.0,
                false => self.drain_spans_ns + self.background_ns,
            };
            self.spans as f64 * per_span(push_ns) * factor + self.waking_ns + drain_ns
        };
        let share = |push_ns: f64, factor: f64| share_of(caused_ns(push_ns, factor) + fixed_ns);
        Some(Overhead {
            share: share(push.mean, 1.0),
            low: share(push.mean - push.margin, KNOWN_WITHIN.0),
            high: share(push.mean + push.margin, KNOWN_WITHIN.1),
            span_share: share_of(caused_ns(push.mean, 1.0)),
            fixed_share: share_of(fixed_ns),
            process_cores: self.process_ns / self.elapsed_ns.max(1.0),
            span_ns: per_span(push.mean),
            spans_timed: self.span_costs_ns.len(),
            background_share: share_of(self.drain_ns + self.background_ns),
        })
    }
}

impl Overhead {
    /// What the controller is to be told in [`ControlInput::overhead`](crate::ControlInput): the
    /// share that spans caused, of the CPU time that the process used, or of a tenth of a core if
    /// it used less.
    pub fn budgeted_share(&self) -> f64 {
        if mutants::on("trace-controller-hears-of-fixed-cost") {
            return self.share;
        }
        self.span_share * (self.process_cores / QUIET).min(1.0)
    }
}

/// What the drain's rounds cost: so much each, and so much for each span. By least squares over the
/// rounds of late, since a round that finds no span may never come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoundCost {
    rounds: f64,
    spans: f64,
    ns: f64,
    spans_squared: f64,
    spans_ns: f64,
}

impl RoundCost {
    /// One round of the drain through so many rings; returns the part of its cost that spans caused.
    pub(crate) fn note(&mut self, spans: u64, rings: usize, ns: u64) -> f64 {
        let (spans, ns) = (spans as f64, ns as f64);
        let kept = 0.5f64.powf(1.0 / ROUNDS_HALF_LIFE);
        for sum in [
            &mut self.rounds,
            &mut self.spans,
            &mut self.ns,
            &mut self.spans_squared,
            &mut self.spans_ns,
        ] {
            *sum *= kept;
        }
        self.rounds += 1.0;
        self.spans += spans;
        self.ns += ns;
        self.spans_squared += spans * spans;
        self.spans_ns += spans * ns;
        (self.span_ns(rings) * spans).min(ns)
    }

    fn span_ns(&self, rings: usize) -> f64 {
        if self.spans <= 0.0 {
            return 0.0;
        }
        let (spans, ns) = (self.spans / self.rounds, self.ns / self.rounds);
        let variance = (self.spans_squared / self.rounds - spans * spans).max(0.0);
        let slope = (self.spans_ns / self.rounds - spans * ns) / (variance + ROUNDS_DIFFER);
        let idle_max_ns = IDLE_ROUND_MAX.0 + IDLE_ROUND_MAX.1 * rings as f64;
        slope.clamp(((ns - idle_max_ns) / spans).max(0.0), ns / spans)
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
        (spent.drain_ns, spent.drain_spans_ns, spent.background_ns) = (12e6, 9e6, 3e6);
        let overhead = spent.overhead().unwrap();
        assert!((overhead.share - 0.05).abs() < 1e-9, "{overhead:?}");
        assert!((overhead.span_share - 0.047).abs() < 1e-9, "{overhead:?}");
        assert!((overhead.fixed_share - 0.003).abs() < 1e-9, "{overhead:?}");
        assert!((overhead.background_share - 0.015).abs() < 1e-9);
        assert_eq!(overhead.span_ns, 30.0);
        // The spans' 30 ms may be 15 or 120; what CPU clocks told is not doubted.
        assert!((overhead.low - 0.035).abs() < 1e-9 && (overhead.high - 0.14).abs() < 1e-9);
        spent.correction = 2.0;
        assert!((spent.overhead().unwrap().share - 0.08).abs() < 1e-9);
    }

    #[test]
    fn what_the_controller_hears_of_leaves_out_what_is_there_at_any_rate() {
        let mut spent = second(1000, vec![1000.0; 64]);
        (spent.drain_ns, spent.drain_spans_ns) = (200e6, 9e6);
        spent.elapsed_ns = 1e9;
        let overhead = spent.overhead().unwrap();
        assert!((overhead.budgeted_share() - 0.01).abs() < 1e-9, "{overhead:?}");
        assert!((overhead.share - 0.201).abs() < 1e-9, "{overhead:?}");
        // A process that uses a twentieth of a core counts as one that uses a tenth.
        spent.process_ns = 5e7;
        let quiet = spent.overhead().unwrap();
        assert!((quiet.process_cores - 0.05).abs() < 1e-9);
        assert!(
            (quiet.span_share - 0.2).abs() < 1e-9 && (quiet.budgeted_share() - 0.1).abs() < 1e-9
        );
    }

    /// Rounds of the drain whose number of spans is about Poisson; returns the share that spans are
    /// said to have caused, over the share that they did.
    fn rounds_told(rng: &mut fastrand::Rng, mean: f64, round_ns: f64, span_ns: f64) -> f64 {
        let mut cost = RoundCost::default();
        let (mut told, mut truth) = (0.0, 0.0);
        for _ in 0..4000 {
            let spans = (mean + mean.sqrt() * noise(rng)).round().max(0.0);
            let ns = (round_ns + spans * span_ns) * (1.0 + 0.1 * noise(rng));
            told += cost.note(spans as u64, 1, ns.max(0.0) as u64);
            truth += spans * span_ns;
        }
        told / truth
    }

    #[test]
    fn what_a_round_costs_at_any_rate_is_told_from_what_its_spans_cost() {
        let mut rng = fastrand::Rng::with_seed(seed());
        for (mean, round_ns, span_ns) in [
            (1.0, 9000.0, 3000.0),
            (10.0, 9000.0, 1000.0),
            (10.0, 0.0, 1000.0),
            (1000.0, 9000.0, 300.0),
            (10_000.0, 9000.0, 300.0),
            (1.0, 9000.0, 200_000.0), // a request for each
        ] {
            let told = rounds_told(&mut rng, mean, round_ns, span_ns);
            assert!((0.7..1.3).contains(&told), "{told:.2} of {span_ns} ns, {mean} spans a round");
        }
        // Nothing but rounds, all alike: what cannot be told apart is not put on the spans.
        let mut cost = RoundCost::default();
        let told: f64 = (0..1000).map(|_| cost.note(1, 1, 9000)).sum();
        assert!(told < 1.0, "{told}");
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
    fn the_95_percent_interval_of_the_samples_holds_the_truth_about_that_often() {
        let mut rng = fastrand::Rng::with_seed(seed());
        let runs = 1000;
        let held = (0..runs).filter(|_| {
            let mut costs: Vec<f64> = (0..64).map(|_| 100.0 + 20.0 * noise(&mut rng)).collect();
            let found = Estimate::of(&mut costs);
            (found.mean - found.margin..=found.mean + found.margin).contains(&100.0)
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
