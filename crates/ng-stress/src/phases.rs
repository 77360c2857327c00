//! The four phases, and the order in which the two sides of a pair take their turns.

pub mod baseline;
pub mod full;
pub mod recovery;
pub mod steady;
pub mod tracing;

use crate::failure::Failure;
use crate::lab::Checks;
use crate::runs::Timing;
use crate::statistics::relative_spread;

/// Runs both sides of pair number `turn`; each comes first in every other pair, so that neither
/// always finds the memory that the other has just given back.
fn alternate<A, B>(
    turn: usize,
    first: impl FnOnce() -> Result<A, Failure>,
    second: impl FnOnce() -> Result<B, Failure>,
) -> Result<(A, B), Failure> {
    if turn.is_multiple_of(2) {
        let a = first()?;
        Ok((a, second()?))
    } else {
        let b = second()?;
        Ok((first()?, b))
    }
}

/// Distance of the quartiles of the pairs' ratios, above which a machine is too noisy to judge by.
/// The median of 31 pairs is then off by a sixth of it.
const NOISE_MAX: f64 = 0.10;

/// Why these pairs are too noisy, if they are.
fn too_noisy(what: &str, ratios: &[f64]) -> Option<String> {
    let spread = relative_spread(ratios).filter(|spread| *spread > NOISE_MAX)?;
    let percent = spread * 100.0;
    Some(format!("the machine is too noisy: the quartiles of {what} lie {percent:.0} % apart"))
}

/// Memory that was not given back, over all runs of one kind.
#[derive(Debug, Default)]
struct Leaks {
    worst_bytes: u64,
    runs: u64,
    kept: u64,
}

impl Leaks {
    fn add(&mut self, timing: &Timing) {
        self.runs += 1;
        self.kept += u64::from(!timing.rss.came_back());
        self.worst_bytes = self.worst_bytes.max(timing.rss.left_bytes());
    }

    fn check(&self, phase: &str, checks: &mut Checks) {
        checks.that(
            format!("{phase}: memory is back within 1 % after each drop"),
            self.kept == 0,
            format!(
                "{} of {} runs kept more; most kept {} bytes",
                self.kept, self.runs, self.worst_bytes
            ),
        );
    }
}
