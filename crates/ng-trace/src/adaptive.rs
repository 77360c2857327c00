//! The controller: moves the rate so that spans meet their budget. Pure arithmetic; it never sees an id, so the rate cannot depend on one.
//!
//! It steers by one number: the load, spans a second that rate 1 would give. Spans are known when they
//! come; the operations that were not sampled are not, for a countdown tells of them at its stops, so
//! that a steady load looks like silence and bursts. The load is therefore spans ÷ exposure, where
//! exposure is rate × time: right whatever the rate was meanwhile, and known as well as its count of
//! samples says. The memory of both is as long as that count needs: a second at a thousand samples a
//! second, forty seconds at one. A rise or fall that no chance explains replaces it at once, so a load
//! that jumps is obeyed in a step and a steady one is not followed into its noise. Near the budget
//! nothing moves. The rate goes down at once and up at most ×2 a second; but after a fall of the load it
//! goes up at once, as far as the samples that stayed away are evidence, which is some ×15 each other step
//! of 100 ms. All of it is told in time and not in steps, so an owner may step each 100 ms or each second.
//!
//! Between two steps there is the brake, for the rate that was right before a burst is far too high in it.
//! Nobody knows how long a burst will last, so the brake lets it have about a second's budget ahead: the
//! rate is halved again and again while that is spent, so that a short burst gets its spans and a long one
//! is soon at a low rate. Then, and until most of it is repaid, the controller aims at a part of the
//! budget. So bursts that come again and again get the budget on average, and no more.
//!
//! What spans cost has a budget of its own. A reading says what share of the process's time the spans
//! of the last second caused; so each span a second has a price, and the budget affords so many. Cost
//! that spans do not cause is no business of the rate: lowering it would save nothing. Below
//! `min_spans_per_second` nothing of this lowers the rate.

use crate::{config::SamplerConfig, mutants};
use std::time::Duration;

/// Relative distance from the budget within which the rate stays: at least the first, at most the
/// second, and between them what so many standard deviations of the samples counted come to.
const DEAD_BAND: (f64, f64) = (0.12, 0.2);
const DEAD_BAND_SIGMAS: f64 = 4.0;
/// Highest factor of one second up, unless the load fell.
const UP_MAX: f64 = 2.0;
/// A load this many times its average, or its average this many times the load, and not by chance, is
/// believed at once.
const JUMP: f64 = 1.5;
/// Standard deviations that are not chance.
const NOT_CHANCE: f64 = 5.5;
/// The load's memory fades by half in the first time or in that of so many samples, whichever is
/// longer, but never longer than the third. Units: seconds, samples, seconds.
const HALF_LIFE: f64 = 2.0;
const HALF_LIFE_SAMPLES: f64 = 200.0;
const HALF_LIFE_MAX: f64 = 60.0;
/// The same of the shorter memory by which a jump is noticed that no single step shows.
const RECENT: f64 = 0.1;
const RECENT_SAMPLES: f64 = 18.0;
/// Spans that may have been missed: so long as nothing came the load may be this. And samples that may
/// have come by luck: the rate is not lowered for so few, however short the time in which they came.
const UNSEEN: f64 = 0.5;
const LUCK: f64 = 3.0;
/// After a fall the rate rises at once to this part of the budget, by a load that has these samples more
/// than came: a number, and standard deviations of those that came. The rest it climbs, for a rise too
/// far would be followed by a turn.
const FALLEN: f64 = 0.7;
const MISSED: (f64, f64) = (5.0, 3.0);
/// Two turns are this far apart, unless the second is more than noise. Unit: seconds.
const TURN_AFTER: f64 = 5.0;
/// Spans over or under their budget by more than this factor, and by so many standard deviations of
/// the samples counted, are no noise.
const NO_NOISE: f64 = 1.2;
const NO_NOISE_SIGMAS: f64 = 4.0;
/// A step shorter than this, after a change of the rate by more than the factor, has spans of both
/// rates: threads have 100 ms to obey. Unit: seconds.
const MIXED: (f64, f64) = (0.5, 1.5);
/// Spans of trust in "one span each".
const PRIOR_SPANS: f64 = 10.0;
/// A rise and a fall of what spans cost are believed by half in these times. Unit: seconds.
const COST_HALF_LIFE: (f64, f64) = (0.5, 1.0);
/// A reading with so many spans behind it counts half of one with very many.
const COST_SPANS: f64 = 5.0;
/// Before this many samples no brake is pulled, whatever they say of the load.
const BRAKE_SAMPLES: f64 = 16.0;
/// Spans this many times their budget pull it.
const BRAKE: f64 = 2.0;
/// Spans that a burst may have ahead of their budget. Unit: seconds of the budget. A spike gets these and,
/// at `REPAYING`, some hundreds more in its first second; 1,750 of a budget of 1,000 are too many.
const AHEAD_MAX: f64 = 1.2;
/// Until that is spent the brake halves the rate after each such part of a second's budget. With a budget
/// of 1,000 that is 250 spans at rate 0.1 (see `is_eighth_used`) and 160 at each half of it: 1,200 spans
/// are spread over 200,000 operations.
const BRAKE_PART: f64 = 0.16;
const BRAKE_FACTOR: f64 = 2.0;
/// While more than this is spent ahead, the controller aims at a part of the budget. Units: seconds of the
/// budget, and the part.
const AHEAD: f64 = 0.7;
const REPAYING: f64 = 0.25;

/// What happened since the step before, as the owner counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ControlInput {
    /// Spans offered: recorded, dropped by a full ring, and refused by a ceiling.
    pub spans_recorded_delta: u64,
    /// Operations decided about, as far as they are known. The rate does not follow them: a countdown
    /// tells of its operations only at its stops.
    pub ops_delta: u64,
    /// Operations sampled. They say how sure the count of spans is: of spans that come in clumps it is
    /// less so. `None`: as many as the rate would have sampled of `ops_delta`.
    pub sampled_delta: Option<u64>,
    /// Time since the step before.
    pub elapsed: Duration,
    /// How busy the host is; the span budget shrinks by it. Unit: share. Range: 0 (idle) to 1 (at
    /// its limit), held within.
    pub load: f64,
    /// A new reading of the share of the process's time that the spans since the last reading caused,
    /// as [`Overhead::budgeted_share`](crate::Overhead::budgeted_share) gives it. Cost that spans do
    /// not cause is not to be in it. `None`: there is none since the step before.
    pub overhead: Option<f64>,
}

impl ControlInput {
    /// What was counted over `elapsed`, on a host with time to spare.
    pub fn new(spans_recorded_delta: u64, ops_delta: u64, elapsed: Duration) -> Self {
        Self {
            spans_recorded_delta,
            ops_delta,
            sampled_delta: None,
            elapsed,
            load: 0.0,
            overhead: None,
        }
    }

    /// The same with the number of operations sampled.
    pub fn with_sampled(self, sampled: u64) -> Self {
        Self { sampled_delta: Some(sampled), ..self }
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
    /// Spans a second that rate 1 would give.
    pub spans_per_second_at_one: f64,
    /// Spans that a sampled operation leaves.
    pub spans_per_sampled: f64,
    /// Spans a second that it aims at: the configured ones, less what the load signal took.
    pub spans_per_second_budget: f64,
    /// Highest rate that the overhead allows; `None`: it sets no limit.
    pub overhead_limit: Option<f64>,
}

/// What the controller remembers between steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Controller {
    memory: Memory,
    recent: Memory,
    /// Spans a second to aim at, for all but the overhead; `None` before the first step.
    budget: Option<f64>,
    /// The rate that was in force in the step before.
    rate_before: f64,
    /// What was run between the step before and the brake's last pull since then.
    braked: Memory,
    /// Spans that bursts had ahead of their budget, less what has been repaid since.
    ahead: f64,
    /// A jump down was believed, and the rate has not reached what the load affords since.
    fallen: bool,
    /// Whether the last move was up, and how long ago the moves last turned. Unit: seconds.
    upward: bool,
    since_turn: Option<f64>,
    price: Price,
}

/// Counts that fade together.
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    spans: f64,
    sampled: f64,
    /// Rate × seconds.
    exposure: f64,
    ops: f64,
    seconds: f64,
}

/// What a span a second costs, as a share of the process's time.
#[derive(Clone, Copy, Debug, Default)]
struct Price {
    /// `None` before the first reading with spans.
    share: Option<f64>,
    /// Since the last reading.
    spans: f64,
    seconds: f64,
}

impl Controller {
    /// The rate to use from now on, `rate` being the one in force now.
    pub(crate) fn step(&mut self, input: &ControlInput, config: &SamplerConfig, rate: f64) -> f64 {
        let seconds = input.elapsed.as_secs_f64();
        if seconds <= 0.0 || rate <= 0.0 {
            return rate;
        }
        let braked = std::mem::take(&mut self.braked);
        let unbraked_seconds = (seconds - braked.seconds).max(0.0);
        let spans = input.spans_recorded_delta as f64;
        let of_rate = input.ops_delta as f64 * rate;
        let step = Memory {
            spans,
            sampled: input.sampled_delta.map_or(of_rate, |sampled| sampled as f64),
            exposure: braked.exposure + rate * unbraked_seconds,
            ops: input.ops_delta as f64,
            seconds,
        };
        let changed = rate.max(self.rate_before) / rate.min(self.rate_before);
        let mixed = seconds < MIXED.0 && self.rate_before > 0.0 && changed > MIXED.1;
        if !mixed {
            self.learn(&step, rate);
        }
        let rate_before = std::mem::replace(&mut self.rate_before, rate);
        self.price.read(&step, input.overhead);
        let idle = 1.0 - input.load.clamp(0.0, 1.0);
        self.budget = Some(f64::from(config.spans_per_second) * idle);
        self.since_turn = self.since_turn.map(|since| since + seconds);
        if self.ahead > 0.0 {
            self.spend_ahead(spans - braked.spans, unbraked_seconds, config);
        }
        let afforded = rate / self.aim(config);
        let band = if mutants::on("trace-no-dead-band") { 0.0 } else { self.dead_band() };
        // Lowered for what has surely come, raised for what has surely not. Between them the rate is near
        // enough, or nobody knows yet.
        let least = self.memory.load_at_least() * afforded;
        let most = self.memory.load() * afforded;
        let over = match () {
            () if least > 1.0 + band => least,
            () if most < 1.0 - band => most,
            () => {
                self.fallen = false;
                return rate;
            }
        };
        // The step was not learned from, so nothing says yet how far the rise has led.
        let mixed_up = mixed && rate > rate_before && over < 1.0;
        // While a burst may still spend, the brake lowers the rate for it, and more gently.
        let braking = braked.spans > 0.0 && over > 1.0 && !self.is_spent(self.ahead, config);
        if mixed_up || braking || !self.may_move(over) {
            return rate;
        }
        let mut highest = rate * UP_MAX.powf(seconds.min(1.0));
        self.fallen &= over < 1.0;
        if self.fallen && !self.is_ahead(config) && !mutants::on("trace-fallen-load-doubted") {
            highest = highest.max(FALLEN * rate / (self.memory.load_at_most() * afforded));
        }
        (rate / over).min(highest).clamp(config.min_rate, config.max_rate)
    }

    /// Between two steps: the rate that `sampled` operations within `elapsed` since the step or brake
    /// before afford, if it is far below the present one.
    pub(crate) fn brake(
        &mut self,
        sampled: u64,
        elapsed: Duration,
        config: &SamplerConfig,
        rate: f64,
    ) -> Option<f64> {
        let (sampled, seconds) = (sampled as f64, elapsed.as_secs_f64());
        let spans = sampled * self.memory.fan_out();
        let budget = self.target(config);
        if sampled < BRAKE_SAMPLES || spans <= BRAKE * budget * seconds {
            return None;
        }
        let ahead = self.ahead + spans - budget * seconds;
        let spent = self.is_spent(ahead, config) || mutants::on("trace-burst-braked-at-once");
        if !spent && spans < BRAKE_PART * budget {
            return None;
        }
        let exposure = rate * seconds;
        let seen = Memory { spans, sampled, exposure, seconds, ..Memory::default() };
        let gentle = if spent { 0.0 } else { rate / BRAKE_FACTOR };
        let lowered = (REPAYING * budget / seen.load()).max(gentle);
        let lowered = lowered.max(self.floor(config) / seen.load());
        let lowered = lowered.clamp(config.min_rate, config.max_rate);
        if lowered >= rate {
            return None;
        }
        self.spend_ahead(spans, seconds, config);
        // The step to come counts these seconds again.
        (self.memory, self.recent) = (Memory { seconds: 0.0, ..seen }, Memory::default());
        self.braked.add(&seen);
        self.fallen = false;
        (self.upward, self.since_turn) = (false, Some(0.0));
        Some(lowered)
    }

    /// Spans that a sampled operation leaves.
    pub(crate) fn fan_out(&self) -> f64 {
        self.memory.fan_out()
    }

    /// What it believes; `rate` is the one that it set.
    pub(crate) fn state(&self, rate: f64, config: &SamplerConfig) -> ControlState {
        let Memory { ops, seconds, .. } = self.memory;
        let load = self.memory.load();
        let budget = self.budget_or(config);
        let affordable = self.price.affordable(config).filter(|spans| *spans < budget);
        ControlState {
            rate,
            ops_per_second: if seconds > 0.0 { ops / seconds } else { 0.0 },
            spans_per_second_at_one: if load.is_finite() { load } else { 0.0 },
            spans_per_sampled: self.memory.fan_out(),
            spans_per_second_budget: budget,
            overhead_limit: affordable.map(|spans| spans / load),
        }
    }

    /// Spans a second to aim at: a part of what is allowed while a burst is being repaid.
    fn aim(&self, config: &SamplerConfig) -> f64 {
        let share = if self.is_ahead(config) { REPAYING } else { 1.0 };
        (self.target(config) * share).max(self.floor(config))
    }

    /// Spans a second that the budgets allow.
    fn target(&self, config: &SamplerConfig) -> f64 {
        let affordable = self.price.affordable(config).unwrap_or(f64::INFINITY);
        self.budget_or(config).min(affordable).max(self.floor(config))
    }

    fn floor(&self, config: &SamplerConfig) -> f64 {
        let floor = f64::from(config.min_spans_per_second.min(config.spans_per_second));
        if mutants::on("trace-no-floor") { 0.0 } else { floor }
    }

    fn is_ahead(&self, config: &SamplerConfig) -> bool {
        self.ahead > AHEAD * self.target(config)
    }

    fn is_spent(&self, ahead: f64, config: &SamplerConfig) -> bool {
        ahead >= AHEAD_MAX * self.target(config)
    }

    /// Enters spans of the last `seconds`; what the budget has beyond them repays earlier ones.
    fn spend_ahead(&mut self, spans: f64, seconds: f64, config: &SamplerConfig) {
        let budget = self.target(config);
        self.ahead = (self.ahead + spans - budget * seconds).clamp(0.0, AHEAD_MAX * budget);
    }

    /// Before the first step nothing is known of the host.
    fn budget_or(&self, config: &SamplerConfig) -> f64 {
        self.budget.unwrap_or(f64::from(config.spans_per_second))
    }

    fn learn(&mut self, step: &Memory, rate: f64) {
        let before = self.memory;
        // Samples a second, as the rate in force would have them of the load believed so far.
        let samples = before.load() * rate / before.fan_out();
        self.memory.fade(step.seconds, HALF_LIFE.max(HALF_LIFE_SAMPLES / samples));
        self.recent.fade(step.seconds, RECENT.max(RECENT_SAMPLES / samples));
        self.memory.add(step);
        self.recent.add(step);
        if mutants::on("trace-jump-doubted") {
            return;
        }
        // A single step that shows it has nothing of the old load in it. What comes after is compared
        // with what it shows, and so begins anew.
        let jumped = [step, &self.recent].into_iter().find(|seen| seen.is_a_jump_from(&before));
        if let Some(seen) = jumped {
            self.fallen |= seen.load() < before.load();
            (self.memory, self.recent) = (*seen, Memory::default());
        }
    }

    fn dead_band(&self) -> f64 {
        (DEAD_BAND_SIGMAS / self.memory.samples().sqrt()).clamp(DEAD_BAND.0, DEAD_BAND.1)
    }

    /// Whether a move may go where `over`, spans expected over their budget, would have it.
    fn may_move(&mut self, over: f64) -> bool {
        let upward = over < 1.0;
        if self.since_turn.is_some() && upward == self.upward {
            return true;
        }
        // How sure an excess is depends on the samples that came, how sure a lack on those that should have
        // come: no sample in a second that should have had a thousand is no noise.
        let samples = match upward && !mutants::on("trace-silence-is-noise") {
            true => self.memory.samples_or_unseen() / over,
            false => self.memory.samples(),
        };
        let factor = NO_NOISE.max(1.0 + NO_NOISE_SIGMAS / samples.sqrt());
        let noise = (factor.recip()..=factor).contains(&over);
        if noise && self.since_turn.is_some_and(|since| since < TURN_AFTER) {
            return false;
        }
        (self.upward, self.since_turn) = (upward, Some(0.0));
        true
    }
}

impl Memory {
    /// Spans a second that rate 1 would give. Infinite before anything was run.
    fn load(&self) -> f64 {
        (self.spans + UNSEEN) / self.exposure
    }

    /// The same with samples that may have stayed away by chance.
    fn load_at_most(&self) -> f64 {
        (self.spans + self.fan_out() * (MISSED.0 + MISSED.1 * self.samples().sqrt()))
            / self.exposure
    }

    /// The same without samples that may have come by luck. Not a number before anything was run.
    fn load_at_least(&self) -> f64 {
        (self.spans - LUCK * self.fan_out()).max(0.0) / self.exposure
    }

    fn fan_out(&self) -> f64 {
        ((self.spans + PRIOR_SPANS) / (self.sampled + PRIOR_SPANS)).max(1.0)
    }

    /// Samples behind the spans.
    fn samples(&self) -> f64 {
        self.spans / self.fan_out()
    }

    /// The same with what may have been missed.
    fn samples_or_unseen(&self) -> f64 {
        (self.spans + UNSEEN) / self.fan_out()
    }

    /// Whether no chance explains these spans if the load is what `before` says.
    fn is_a_jump_from(&self, before: &Memory) -> bool {
        if before.exposure <= 0.0 {
            return false;
        }
        let clump = before.fan_out();
        let expected = before.load() * self.exposure / clump;
        let samples = self.spans / clump;
        let far = samples > JUMP * expected || samples * JUMP < expected;
        // The likelihood ratio of a Poisson count, which is right in both tails and for few samples.
        let log = if samples > 0.0 { samples * (samples / expected).ln() } else { 0.0 };
        far && 2.0 * (log - (samples - expected)) > NOT_CHANCE * NOT_CHANCE
    }

    fn fade(&mut self, seconds: f64, half_life: f64) {
        // Not a number: nothing was run before.
        let half_life = if half_life < HALF_LIFE_MAX { half_life } else { HALF_LIFE_MAX };
        let kept = faded(seconds, half_life);
        for count in [
            &mut self.spans,
            &mut self.sampled,
            &mut self.exposure,
            &mut self.ops,
            &mut self.seconds,
        ] {
            *count *= kept;
        }
    }

    fn add(&mut self, step: &Memory) {
        self.spans += step.spans;
        self.sampled += step.sampled;
        self.exposure += step.exposure;
        self.ops += step.ops;
        self.seconds += step.seconds;
    }
}

impl Price {
    fn read(&mut self, step: &Memory, reading: Option<f64>) {
        self.spans += step.spans;
        self.seconds += step.seconds;
        let Some(share) = reading else { return };
        let (spans, seconds) = (std::mem::take(&mut self.spans), std::mem::take(&mut self.seconds));
        if spans == 0.0 || (self.share.is_none() && spans < COST_SPANS) {
            return; // too few to say what one costs
        }
        let latest = share * seconds / spans;
        let before = self.share.unwrap_or(latest);
        let half_life = if latest > before { COST_HALF_LIFE.0 } else { COST_HALF_LIFE.1 };
        let weight = (1.0 - faded(seconds, half_life)) * spans / (spans + COST_SPANS);
        self.share = Some(before + (latest - before) * weight);
    }

    /// Spans a second that the budget affords; `None`: nobody knows what they cost.
    fn affordable(&self, config: &SamplerConfig) -> Option<f64> {
        self.share.map(|share| config.overhead_budget / share)
    }
}

/// What is left of one after `seconds`.
fn faded(seconds: f64, half_life: f64) -> f64 {
    0.5f64.powf(seconds / half_life)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
