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
    runs: u64,
    kept: u64,
    /// The run that kept most beyond what may stay: what it kept, and what it may.
    worst: Option<[u64; 2]>,
}

impl Leaks {
    fn add(&mut self, timing: &Timing) {
        let [left, may] = [timing.rss.left_bytes(), timing.rss.may_stay_bytes()];
        self.runs += 1;
        self.kept += u64::from(left > may);
        let beyond = |[left, may]: [u64; 2]| i128::from(left) - i128::from(may);
        if self.worst.is_none_or(|worst| beyond([left, may]) > beyond(worst)) {
            self.worst = Some([left, may]);
        }
    }

    fn check(&self, phase: &str, checks: &mut Checks) {
        let [left, may] = self.worst.unwrap_or_default();
        checks.that(
            format!("{phase}: memory is back within 1 % after each drop"),
            self.kept == 0,
            format!(
                "{} of {} runs kept more, expected 0; the worst kept {left} bytes, {may} may stay",
                self.kept, self.runs
            ),
        );
    }
}
