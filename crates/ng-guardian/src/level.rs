//! Shares to levels, with hysteresis; pure, one ladder for each cause.

use crate::mutants;

/// How near to refusing the guardian is. A signal: it counts all that is in use, also what no eviction
/// frees, and so may stay high. Whether a cleanup is begun is asked apart: see
/// [`PulseReport::cleanup_due`](crate::PulseReport::cleanup_due).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Below the soft threshold.
    #[default]
    Normal,
    /// From the soft threshold on: a signal; cleanup in the background is due.
    Soft,
    /// From half way between the soft threshold and the limit on: clean up before admitting, where
    /// [`cleanup_before_admission`](crate::Guardian::cleanup_before_admission) says that it may help.
    Hard,
    /// At the limit: requests are refused.
    Refuse,
}

/// What a level comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Credits out against `max_tokens`.
    Tokens,
    /// Bytes committed against `max_memory_bytes`.
    Memory,
    /// Resident bytes of the process.
    Process,
    /// The cgroup's use against its limit.
    Cgroup,
    /// Time lost waiting for memory.
    Stall,
}

/// One change of level, for the owner to make an event of.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelChange {
    /// The level before.
    pub from: Level,
    /// The level from now on.
    pub to: Level,
    /// What decided it: on a rise what rose, on a fall what is still highest.
    pub reason: Cause,
    /// The share of that cause's limit in use; may exceed 1.
    pub share: f64,
    /// That use. Unit: credits for `Tokens`, hundredths of a percent for `Stall`, else bytes.
    pub used: u64,
    /// The limit it is held against. Unit: as of `used`.
    pub limit: u64,
}

/// How far a share has to fall below the mark at which a level was entered to leave it.
const HYSTERESIS: f64 = 0.05;

const RISING: [Level; 3] = [Level::Soft, Level::Hard, Level::Refuse];

impl Level {
    /// The share at which this level is entered.
    fn entered_at(self, threshold: f64) -> f64 {
        match self {
            Level::Normal => 0.0,
            Level::Soft => threshold,
            Level::Hard => f64::midpoint(threshold, 1.0),
            Level::Refuse => 1.0,
        }
    }

    /// The level after this one, given a new share.
    pub(crate) fn next(self, share: f64, threshold: f64) -> Level {
        let holds = |level: &Level| {
            let leaving = *level <= self && !mutants::on("guardian-no-hysteresis");
            let margin = if leaving { HYSTERESIS } else { 0.0 };
            share >= level.entered_at(threshold) - margin
        };
        RISING.into_iter().rev().find(holds).unwrap_or(Level::Normal)
    }

    pub(crate) fn from_u8(value: u8) -> Level {
        match value {
            1 => Level::Soft,
            2 => Level::Hard,
            3 => Level::Refuse,
            _ => Level::Normal,
        }
    }
}

/// The causes and where each stands.
#[derive(Debug, Default)]
pub(crate) struct Ladders([Level; 5]);

/// Where the ladders stand: the highest, with its cause and share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) level: Level,
    pub(crate) cause: Cause,
    pub(crate) share: f64,
    pub(crate) used: u64,
    pub(crate) limit: u64,
}

/// One cause's use of its limit; `most` caps its level, for causes that refuse nothing by themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input {
    pub(crate) cause: Cause,
    pub(crate) used: u64,
    /// Without one the cause has no level.
    pub(crate) limit: Option<u64>,
    pub(crate) most: Level,
}

impl Input {
    /// Use divided by limit; 1 for a limit of 0, 0 without a limit.
    fn share(&self) -> f64 {
        match self.limit {
            None => 0.0,
            Some(0) => 1.0,
            Some(limit) => self.used as f64 / limit as f64,
        }
    }
}

impl Ladders {
    /// Moves each ladder; a cause without an input falls to normal.
    pub(crate) fn step(&mut self, inputs: &[Input], threshold: f64) -> Standing {
        let before = std::mem::take(&mut self.0);
        let mut highest = Standing {
            level: Level::Normal,
            cause: Cause::Tokens,
            share: f64::NEG_INFINITY,
            used: 0,
            limit: 0,
        };
        for input in inputs {
            let share = input.share();
            let rung = before[input.cause as usize].next(share, threshold).min(input.most);
            self.0[input.cause as usize] = rung;
            if (rung, share) > (highest.level, highest.share) {
                let Input { cause, used, .. } = *input;
                let limit = input.limit.unwrap_or(u64::MAX);
                highest = Standing { level: rung, cause, share, used, limit };
            }
        }
        highest
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use Level::*;

    #[test]
    fn levels_rise_at_their_marks_and_fall_five_points_below() {
        // Threshold 0.8: soft at 0.8, hard at 0.9, refuse at 1.0.
        let table = [
            (Normal, 0.79, Normal),
            (Normal, 0.80, Soft),
            (Normal, 0.95, Hard),
            (Normal, 1.00, Refuse),
            (Soft, 0.76, Soft),
            (Soft, 0.74, Normal),
            (Soft, 0.89, Soft),
            (Soft, 0.90, Hard),
            (Hard, 0.86, Hard),
            (Hard, 0.84, Soft),
            (Hard, 0.10, Normal),
            (Refuse, 0.96, Refuse),
            (Refuse, 0.94, Hard),
            (Refuse, 0.86, Hard),
            (Refuse, 0.76, Soft),
            (Soft, 7.5, Refuse),
        ];
        for (from, share, to) in table {
            assert_eq!(from.next(share, 0.8), to, "from {from:?} at {share}");
        }
    }

    #[test]
    fn a_share_that_swings_within_the_margin_changes_the_level_once() {
        let (mut level, mut changes) = (Normal, 0);
        for step in 0..100 {
            let next = level.next(if step % 2 == 0 { 0.81 } else { 0.77 }, 0.8);
            changes += u32::from(next != level);
            level = next;
        }
        assert_eq!((level, changes), (Soft, 1));
    }

    #[test]
    fn the_highest_cause_decides_and_a_capped_cause_never_refuses() {
        let mut ladders = Ladders::default();
        let input = |cause, used, most| Input { cause, used, limit: Some(100), most };
        let both = [input(Cause::Tokens, 85, Refuse), input(Cause::Cgroup, 150, Hard)];
        let standing = ladders.step(&both, 0.8);
        assert_eq!((standing.level, standing.cause), (Hard, Cause::Cgroup));
        assert_eq!((standing.used, standing.limit, standing.share), (150, 100, 1.5));
        // The cgroup's figure is gone: only the tokens' own ladder is left.
        let standing = ladders.step(&both[..1], 0.8);
        assert_eq!((standing.level, standing.cause), (Soft, Cause::Tokens));
        let standing = ladders.step(&[input(Cause::Tokens, 100, Refuse)], 0.8);
        assert_eq!(standing.level, Refuse);
    }

    #[test]
    fn without_a_limit_there_is_no_level_and_a_limit_of_nothing_refuses() {
        let of = |used, limit| Input { cause: Cause::Memory, used, limit, most: Refuse };
        let level = |input| Ladders::default().step(&[input], 0.8).level;
        assert_eq!(level(of(u64::MAX, None)), Normal);
        assert_eq!(level(of(0, Some(0))), Refuse);
        assert_eq!(level(of(0, Some(1))), Normal);
    }
}
