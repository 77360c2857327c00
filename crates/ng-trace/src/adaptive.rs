//! The controller: moves the rate so that spans meet their budget. Pure arithmetic; it never sees an id, so the rate cannot depend on one.
//!
//! It does not steer by the spans it got, which follow the rate and would chase their own tail. It
//! estimates the load, operations a second × spans each sampled one leaves, and computes the rate
//! which that load affords. A rise of the load replaces the average at once; a fall is believed
//! by halves. Within ±20 % of the budget nothing moves, up goes at most ×2 a step, down at once.

use crate::config::SamplerConfig;
use std::time::Duration;

/// Relative distance from the budget within which the rate stays.
const DEAD_BAND: f64 = 0.2;
/// Highest factor of one step up.
const STEP_UP_MAX: f64 = 2.0;
/// Load this many times its average is a burst, and is believed at once.
const BURST: f64 = 2.0;
/// What the counts behind the fan-out keep from step to step: a memory of about five steps.
const MEMORY: f64 = 0.8;
/// Spans of trust in "one span each" before the counts outweigh it: 10 have ±30 % of noise.
const PRIOR_SPANS: f64 = 10.0;
/// Above this share of the overhead budget the rate does not rise.
const OVERHEAD_NEAR: f64 = 0.7;

/// What happened since the step before, as the owner counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ControlInput {
    /// Spans recorded, and those that a full ring dropped.
    pub spans_recorded_delta: u64,
    /// Operations decided about.
    pub ops_delta: u64,
    /// Time since the step before.
    pub elapsed: Duration,
    /// How busy the host is; the span budget shrinks by it. Unit: share. Range: 0 (idle) to 1 (at
    /// its limit), held within.
    pub load: f64,
    /// Share of the process's time that tracing took, if the owner knows it.
    pub overhead: Option<f64>,
}

impl ControlInput {
    /// What was counted over `elapsed`, on a host with time to spare.
    pub fn new(spans_recorded_delta: u64, ops_delta: u64, elapsed: Duration) -> Self {
        Self { spans_recorded_delta, ops_delta, elapsed, load: 0.0, overhead: None }
    }
}

/// What the controller remembers between steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Controller {
    /// Average of operations per second; `None` before the first.
    ops_per_second: Option<f64>,
    /// Spans of the last steps, fading.
    spans: f64,
    /// Sampled operations of the same steps, fading alike.
    sampled: f64,
}

impl Controller {
    /// The rate to use from now on, `rate` being the one in force since the step before.
    pub(crate) fn step(&mut self, input: &ControlInput, config: &SamplerConfig, rate: f64) -> f64 {
        let seconds = input.elapsed.as_secs_f64();
        // Nothing happened: nothing was learned.
        if seconds <= 0.0 || rate <= 0.0 || input.ops_delta == 0 {
            return rate;
        }
        let load = self.spans_per_second_at_rate_one(input, seconds, rate);
        let budget = f64::from(config.spans_per_second) * (1.0 - input.load.clamp(0.0, 1.0));
        let expected = load * rate;
        let mut wanted = match expected {
            _ if (expected - budget).abs() <= DEAD_BAND * budget => rate,
            _ => (budget / load).min(rate * STEP_UP_MAX),
        };
        if let Some(overhead) = input.overhead {
            if overhead > config.overhead_budget {
                wanted = wanted.min(rate / 2.0);
            } else if overhead > OVERHEAD_NEAR * config.overhead_budget {
                wanted = wanted.min(rate);
            }
        }
        wanted.clamp(config.min_rate, config.max_rate)
    }

    fn spans_per_second_at_rate_one(
        &mut self,
        input: &ControlInput,
        seconds: f64,
        rate: f64,
    ) -> f64 {
        let ops = input.ops_delta as f64;
        let latest = ops / seconds;
        // Halfway on a logarithmic scale: a fall to a tenth is nine tenths believed in four steps.
        let average = match self.ops_per_second {
            Some(average) if latest <= average * BURST => (average * latest).sqrt(),
            _ => latest,
        };
        self.ops_per_second = Some(average);
        self.spans = self.spans * MEMORY + input.spans_recorded_delta as f64;
        self.sampled = self.sampled * MEMORY + ops * rate;
        let spans_each = (self.spans + PRIOR_SPANS) / (self.sampled + PRIOR_SPANS);
        average * spans_each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run {
        config: SamplerConfig,
        controller: Controller,
        rate: f64,
        rng: fastrand::Rng,
        rates: Vec<f64>,
    }

    impl Run {
        fn new() -> Self {
            let config = SamplerConfig::default();
            let rate = config.base_rate;
            let rng = fastrand::Rng::with_seed(5);
            Self { config, controller: Controller::default(), rate, rng, rates: vec![rate] }
        }

        /// Steps of 200 ms with this many operations a second; spans are noisy as real ones are.
        fn steps(&mut self, steps: usize, ops_per_second: f64, spans_each: f64) {
            for _ in 0..steps {
                let ops = ops_per_second / 5.0;
                let mean = ops * self.rate * spans_each;
                let noise = (0..12).map(|_| self.rng.f64()).sum::<f64>() - 6.0;
                let spans = (mean + noise * mean.sqrt()).round().max(0.0) as u64;
                let input = ControlInput::new(spans, ops as u64, Duration::from_millis(200));
                self.rate = self.controller.step(&input, &self.config, self.rate);
                self.rates.push(self.rate);
            }
        }

        fn assert_within_budget(&self, ops_per_second: f64, spans_each: f64) {
            let spans_per_second = ops_per_second * self.rate * spans_each;
            let budget = f64::from(self.config.spans_per_second);
            let off = spans_per_second / budget - 1.0;
            assert!(off.abs() <= 0.2, "{spans_per_second} spans/s at rate {}", self.rate);
        }

        fn assert_steady(&self) {
            let moves: Vec<f64> = self.rates.windows(2).map(|pair| pair[1] - pair[0]).collect();
            for window in moves.windows(5) {
                let signs: Vec<f64> =
                    window.iter().filter(|m| **m != 0.0).map(|m| m.signum()).collect();
                let turns = signs.windows(2).filter(|pair| pair[0] != pair[1]).count();
                assert!(turns <= 1, "rate swings: {:?}", self.rates);
            }
        }
    }

    #[test]
    fn load_times_ten_and_back_returns_to_the_budget_without_swinging() {
        let mut run = Run::new();
        for ops_per_second in [1e5, 1e6, 1e7, 1e6, 1e5] {
            run.steps(25, ops_per_second, 1.0);
            run.assert_within_budget(ops_per_second, 1.0);
        }
        run.assert_steady();
    }

    #[test]
    fn a_burst_is_cut_in_one_step_and_silence_changes_nothing() {
        let mut run = Run::new();
        run.steps(25, 1e5, 1.0);
        run.steps(1, 1e8, 1.0);
        run.assert_within_budget(1e8, 1.0);
        let before = run.rate;
        run.steps(100, 0.0, 1.0);
        assert_eq!(run.rate, before);
    }

    #[test]
    fn operations_with_several_spans_share_the_same_budget() {
        let mut run = Run::new();
        run.steps(40, 1e6, 8.0);
        run.assert_within_budget(1e6, 8.0);
        run.assert_steady();
    }

    #[test]
    fn few_operations_get_the_highest_rate_and_a_flood_the_lowest() {
        let mut run = Run::new();
        run.steps(25, 50.0, 1.0);
        assert_eq!(run.rate, run.config.max_rate);
        run.steps(25, 1e11, 1.0);
        assert_eq!(run.rate, run.config.min_rate);
    }

    #[test]
    fn threads_that_obey_one_step_late_do_not_make_it_swing() {
        let mut run = Run::new();
        let mut late = run.rate;
        for ops_per_second in [1e5, 1e6, 1e7, 1e6] {
            for _ in 0..25 {
                let ops = ops_per_second / 5.0;
                let spans = (ops * late) as u64;
                late = run.rate;
                let input = ControlInput::new(spans, ops as u64, Duration::from_millis(200));
                run.rate = run.controller.step(&input, &run.config, run.rate);
                run.rates.push(run.rate);
            }
            run.assert_within_budget(ops_per_second, 1.0);
        }
        run.assert_steady();
    }

    #[test]
    fn one_step_up_at_most_doubles() {
        let mut run = Run::new();
        run.steps(60, 1e7, 1.0);
        run.steps(40, 1e3, 1.0);
        for pair in run.rates.windows(2) {
            assert!(pair[1] <= pair[0] * 2.0 + f64::EPSILON, "{} to {}", pair[0], pair[1]);
        }
        assert_eq!(run.rate, run.config.max_rate);
    }

    #[test]
    fn a_busy_host_and_too_much_overhead_lower_the_rate() {
        let mut run = Run::new();
        run.steps(25, 1e6, 1.0);
        let mut input = ControlInput::new(200, 200_000, Duration::from_millis(200));
        let at_rest = run.controller.step(&input, &run.config, run.rate);
        input.load = 0.5;
        let busy = run.controller.step(&input, &run.config, run.rate);
        assert!(busy < 0.6 * at_rest, "{busy} after {at_rest}");
        input.load = 0.0;
        input.overhead = Some(0.02);
        let costly = run.controller.step(&input, &run.config, run.rate);
        assert!(costly <= run.rate / 2.0);
    }
}
