//! The controller: moves the rate so that spans meet their budget. Pure arithmetic; it never sees an id, so the rate cannot depend on one.
//!
//! It does not steer by the spans it got, which follow the rate and would chase their own tail. It
//! estimates the load, operations a second × spans each sampled one leaves, and computes the rate
//! which that load affords. A rise of the load replaces the average at once; a fall is believed
//! by halves. Near the budget nothing moves; up goes at most ×2 a second, down at once. All of it
//! is told in time and not in steps, so an owner may step each 100 ms or each second.
//!
//! What tracing costs has a budget of its own: over it the rate is halved each second, and comes
//! back by a tenth a second after five calm ones.

use crate::{config::SamplerConfig, mutants};
use std::time::Duration;

/// Relative distance from the budget within which the rate stays; more if the spans counted are
/// so few that their own noise is larger, and never more than the second.
const DEAD_BAND: (f64, f64) = (0.12, 0.2);
/// Highest factor of one second up.
const UP_MAX: f64 = 2.0;
/// Load this many times its average, and not by chance, is a burst and is believed at once.
const BURST: f64 = 1.5;
/// Standard deviations of a Poisson count that are not chance.
const NOT_CHANCE: f64 = 4.0;
/// A fall of the load is believed by half in this time. Unit: seconds.
const FALL_HALF_LIFE: f64 = 0.5;
/// Two turns are this far apart, unless the second is more than noise. Unit: seconds.
const TURN_AFTER: f64 = 5.0;
/// Spans over their budget by more than the first factor, or under the second, are no noise.
const NO_NOISE: (f64, f64) = (1.2, 0.5);
/// A step shorter than this, after a change of the rate by more than the factor, says nothing of
/// the fan-out: threads have 100 ms to obey. Unit: seconds.
const MIXED: (f64, f64) = (0.5, 1.5);
/// The counts behind the fan-out fade by half in this time. Unit: seconds.
const FAN_OUT_HALF_LIFE: f64 = 1.5;
/// Spans of trust in "one span each": those that stay, for an operation that is seldom sampled, and
/// those that a new controller begins with, so that it does not move by the noise of its first counts.
const PRIOR_SPANS: f64 = 10.0;
const FIRST_SPANS: f64 = 300.0;
/// Above this share of the overhead budget the rate does not rise.
const OVERHEAD_NEAR: f64 = 0.7;
/// Factor of one second over the overhead budget.
const OVERHEAD_DOWN: f64 = 0.5;
/// Factor of one second well below it, after these calm seconds.
const OVERHEAD_UP: f64 = 1.1;
const OVERHEAD_CALM: f64 = 5.0;

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
    /// A new reading of the share of the process's time that tracing took, as
    /// [`Collector::measure_overhead`](crate::Collector::measure_overhead) gives it. `None`:
    /// there is none since the step before.
    pub overhead: Option<f64>,
}

impl ControlInput {
    /// What was counted over `elapsed`, on a host with time to spare.
    pub fn new(spans_recorded_delta: u64, ops_delta: u64, elapsed: Duration) -> Self {
        Self { spans_recorded_delta, ops_delta, elapsed, load: 0.0, overhead: None }
    }

    /// The same with a reading of the overhead, if there is a new one.
    pub fn with_overhead(self, overhead: Option<f64>) -> Self {
        Self { overhead, ..self }
    }

    /// The same on a host this busy.
    pub fn with_load(self, load: f64) -> Self {
        Self { load, ..self }
    }
}

/// What the controller believes, for whoever watches it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ControlState {
    /// The rate it set last. Unit: share.
    pub rate: f64,
    /// Operations a second, averaged.
    pub ops_per_second: f64,
    /// Spans that a sampled operation leaves.
    pub spans_per_sampled: f64,
    /// Spans a second that it aims at: the configured ones, less what the load signal took.
    pub spans_per_second_budget: f64,
    /// Highest rate that the overhead allows; `None`: it sets no limit.
    pub overhead_limit: Option<f64>,
}

/// What the controller remembers between steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controller {
    /// Average of operations per second; `None` before the first.
    ops_per_second: Option<f64>,
    /// Spans of the last seconds, fading.
    spans: f64,
    /// Sampled operations of the same seconds, fading alike.
    sampled: f64,
    budget: f64,
    /// The rate that was in force in the step before.
    rate_before: f64,
    /// Whether the last move was up, and how long ago the moves last turned. Unit: seconds.
    upward: bool,
    since_turn: Option<f64>,
    overhead: OverheadLimit,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            ops_per_second: None,
            spans: FIRST_SPANS,
            sampled: FIRST_SPANS,
            budget: 0.0,
            rate_before: 0.0,
            upward: false,
            since_turn: None,
            overhead: OverheadLimit::default(),
        }
    }
}

/// Highest rate that the overhead allows.
#[derive(Clone, Copy, Debug, Default)]
struct OverheadLimit {
    rate: Option<f64>,
    /// Time since the last reading, and time for which readings were calm. Unit: seconds.
    since_reading: f64,
    calm: f64,
    /// Time since it began to rise, while it rises or holds what it rose to. Unit: seconds.
    since_rise: Option<f64>,
}

impl Controller {
    /// The rate to use from now on, `rate` being the one in force since the step before.
    pub(crate) fn step(&mut self, input: &ControlInput, config: &SamplerConfig, rate: f64) -> f64 {
        let seconds = input.elapsed.as_secs_f64();
        if seconds <= 0.0 || rate <= 0.0 {
            return rate;
        }
        self.overhead.step(input.overhead, seconds, config, rate);
        self.budget = f64::from(config.spans_per_second) * (1.0 - input.load.clamp(0.0, 1.0));
        // No operation: nothing was learned of the load.
        let mut wanted = match input.ops_delta {
            0 => rate,
            ops => self.rate_for_budget(ops as f64, input, seconds, rate),
        };
        self.rate_before = rate;
        if let Some(limit) = self.overhead.rate {
            wanted = wanted.min(limit);
        }
        wanted.clamp(config.min_rate, config.max_rate)
    }

    /// What it believes; `rate` is the one that it set.
    pub(crate) fn state(&self, rate: f64) -> ControlState {
        ControlState {
            rate,
            ops_per_second: self.ops_per_second.unwrap_or(0.0),
            spans_per_sampled: self.fan_out(),
            spans_per_second_budget: self.budget,
            overhead_limit: self.overhead.rate,
        }
    }

    fn rate_for_budget(&mut self, ops: f64, input: &ControlInput, seconds: f64, rate: f64) -> f64 {
        let average = self.average(ops, seconds);
        let fades = faded(seconds, FAN_OUT_HALF_LIFE);
        let mixed = seconds < MIXED.0 && rate * MIXED.1 < self.rate_before;
        if !mixed {
            self.spans = self.spans * fades + input.spans_recorded_delta as f64;
            self.sampled = self.sampled * fades + ops * rate;
        }
        let load = average * self.fan_out();
        let band = (3.0 / self.spans.sqrt()).clamp(DEAD_BAND.0, DEAD_BAND.1);
        let over = load * rate / self.budget;
        self.since_turn = self.since_turn.map(|since| since + seconds);
        let near = (over - 1.0).abs() <= band && !mutants::on("trace-no-dead-band");
        if near || !self.may_move(over) {
            return rate;
        }
        (self.budget / load).min(rate * UP_MAX.powf(seconds.min(1.0)))
    }

    /// Whether a move may go where `over`, spans expected over their budget, would have it.
    fn may_move(&mut self, over: f64) -> bool {
        let upward = over < 1.0;
        if self.since_turn.is_some() && upward == self.upward {
            return true;
        }
        let noise = (NO_NOISE.1..=NO_NOISE.0).contains(&over);
        if noise && self.since_turn.is_some_and(|since| since < TURN_AFTER) {
            return false;
        }
        (self.upward, self.since_turn) = (upward, Some(0.0));
        true
    }

    /// Operations a second, with what the last step counted.
    fn average(&mut self, ops: f64, seconds: f64) -> f64 {
        let latest = ops / seconds;
        let average = match self.ops_per_second {
            Some(average) => {
                let expected = average * seconds;
                let doubted = mutants::on("trace-burst-doubted");
                let burst = !doubted
                    && ops > BURST * expected
                    && ops > expected + NOT_CHANCE * expected.sqrt();
                // On a logarithmic scale: a fall to a tenth is nine tenths believed in four halves.
                let kept = faded(seconds, FALL_HALF_LIFE);
                if burst { latest } else { average.powf(kept) * latest.powf(1.0 - kept) }
            }
            None => latest,
        };
        self.ops_per_second = Some(average);
        average
    }

    fn fan_out(&self) -> f64 {
        (self.spans + PRIOR_SPANS) / (self.sampled + PRIOR_SPANS)
    }
}

impl OverheadLimit {
    fn step(&mut self, reading: Option<f64>, seconds: f64, config: &SamplerConfig, rate: f64) {
        self.since_reading += seconds;
        let Some(share) = reading else { return };
        // An owner that comes late still moves one second's worth.
        let since = std::mem::take(&mut self.since_reading).min(1.0);
        self.since_rise = self.since_rise.map(|time| time + since);
        let rose_just_now = self.since_rise.is_some_and(|time| time < TURN_AFTER);
        if share > config.overhead_budget && share < 2.0 * config.overhead_budget && rose_just_now {
            // A little over, right after it was well below: more likely noise than a reason to turn.
            self.calm = 0.0;
        } else if share > config.overhead_budget {
            self.calm = 0.0;
            self.since_rise = None;
            let lowered = rate.min(self.rate.unwrap_or(rate)) * OVERHEAD_DOWN.powf(since);
            self.rate = Some(lowered.max(config.min_rate));
        } else if share > OVERHEAD_NEAR * config.overhead_budget {
            self.calm = 0.0;
            // Not up from here, whatever the spans' budget would allow.
            self.rate = Some(self.rate.unwrap_or(rate).min(rate.max(config.min_rate)));
        } else {
            self.calm += since;
            if self.calm >= OVERHEAD_CALM {
                let raised = self.rate.map(|limit| limit * OVERHEAD_UP.powf(since));
                self.rate = raised.filter(|limit| *limit < config.max_rate);
                self.since_rise.get_or_insert(0.0);
            }
        }
    }
}

/// What is left of one after `seconds`.
fn faded(seconds: f64, half_life: f64) -> f64 {
    0.5f64.powf(seconds / half_life)
}

#[cfg(test)]
mod tests;
