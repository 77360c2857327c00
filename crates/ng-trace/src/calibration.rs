//! What the account cannot time where it happens: deciding which operation is sampled. Tried once, on a countdown of its own.

use crate::{clock::Clock, config::SamplerConfig, sampler::Sampler, sync::Arc};
use std::hint::black_box;

/// Operations of one try, and tries, of which the quickest counts: others were interrupted.
const OPERATIONS: u32 = 4000;
const TRIES: u32 = 8;
/// One in so many is sampled: as often as a draw is the cost and not the operations between.
const RATE: f64 = 0.1;
/// Steps of an operation's work: some tens of nanoseconds.
const WORK: u32 = 16;

/// What it costs to choose an operation, beyond what one costs that is passed over. Unit: nanoseconds.
pub(crate) fn deciding_ns(clock: &Clock) -> f64 {
    let quickest = |rate: f64| {
        let sampler = Sampler::new(SamplerConfig::fixed_rate(rate)).map(Arc::new).ok()?;
        let mut local = sampler.local();
        let tries = (0..TRIES).map(|_| {
            let start = clock.now();
            for _ in 0..OPERATIONS {
                black_box(local.arrive().is_some());
                work();
            }
            clock.elapsed_ns(start, clock.now())
        });
        tries.min()
    };
    let (Some(all), Some(passed)) = (quickest(RATE), quickest(0.0)) else { return 0.0 };
    all.saturating_sub(passed) as f64 / (f64::from(OPERATIONS) * RATE)
}

/// What an operation does while the processor guesses on: a wrong guess at a sampled one throws it away.
fn work() {
    (0..WORK).fold(1u64, |state, _| black_box(state.wrapping_mul(6_364_136_223_846_793_005)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deciding_costs_something_and_less_than_a_microsecond_where_nobody_interrupts() {
        let clock = Clock::new();
        let least = (0..50).map(|_| deciding_ns(&clock)).fold(f64::INFINITY, f64::min);
        assert!((0.0..1000.0).contains(&least), "{least}");
    }
}
