//! The four phases, and the order in which the two sides of a pair take their turns.

pub mod baseline;
pub mod full;
pub mod recovery;
pub mod steady;
pub mod tracing;

use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::runs::Timing;

/// Runs both sides of pair number `turn`. Which comes first is drawn for every other pair and turned round for the next,
/// so that neither always finds the memory that the other has just given back, nor keeps step with something else.
fn in_turn<A, B>(
    lab: &Lab<'_>,
    turn: usize,
    first: impl FnOnce() -> Result<A, Failure>,
    second: impl FnOnce() -> Result<B, Failure>,
) -> Result<(A, B), Failure> {
    if is_first_first(lab.plan.seed, turn) {
        let a = first()?;
        Ok((a, second()?))
    } else {
        let b = second()?;
        Ok((first()?, b))
    }
}

fn is_first_first(seed: u64, turn: usize) -> bool {
    let drawn = fastrand::Rng::with_seed(seed ^ (turn / 2) as u64).bool();
    drawn ^ !turn.is_multiple_of(2)
}

/// On a noisy machine a run takes up to so many times the pairs that were asked for.
const PAIRS_BEYOND: usize = 2;

/// Whether `done` pairs are enough: those asked for, and more while a bar cannot be told by them, up to a bound.
fn enough(lab: &Lab<'_>, done: usize, asked: usize, is_told: impl FnOnce() -> bool) -> bool {
    done >= asked && (!lab.plan.is_judged() || done >= PAIRS_BEYOND * asked || is_told())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_come_first_equally_often_and_in_no_fixed_order() {
        let order: Vec<bool> = (0..64).map(|turn| is_first_first(1, turn)).collect();
        assert_eq!(order.iter().filter(|first| **first).count(), 32);
        assert!(order.chunks(2).any(|pair| pair[0]) && order.chunks(2).any(|pair| pair[1]));
    }
}
