//! Which recordings of earlier runs go: never the one that tells how the trouble began.
//!
//! The newest stay. A program that crashes is started again, crashes again, and soon has nothing but short
//! recordings of these starts; so the first of the latest row of runs that ended alike badly stays too.

use std::collections::BTreeSet;

use crate::mutants;

/// What a recording says about its run's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The recorder was dropped in good order.
    pub(crate) stopped: bool,
    /// A thread panicked, whether the process went on or not.
    pub(crate) panicked: bool,
}

/// Indexes of the recordings to be removed, of all those of earlier runs, the oldest first.
///
/// `keep` newest ones stay, and beyond them the first of the latest row of runs that did not stop in good
/// order, and the first of the latest row of runs in which a thread panicked.
pub(crate) fn outdated(endings: &[Ending], keep: usize) -> Vec<usize> {
    let old = endings.len().saturating_sub(keep);
    let mut first = BTreeSet::new();
    if !mutants::on("blackbox-crash-loop-forgets") {
        first.extend(start_of_latest_row(endings, |ending| !ending.stopped));
        first.extend(start_of_latest_row(endings, |ending| ending.panicked));
    }
    (0..old).filter(|index| !first.contains(index)).collect()
}

/// Of those neighbours at the end of which `bad` was last seen, the first.
fn start_of_latest_row(endings: &[Ending], bad: impl Fn(&Ending) -> bool) -> Option<usize> {
    let last = endings.iter().rposition(&bad)?;
    let before = endings[..last].iter().rposition(|ending| !bad(ending));
    Some(before.map_or(0, |before| before + 1))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// `.` stopped, `x` killed, `!` killed by a panic, `?` went on after one and stopped.
    fn kept(runs: &str, keep: usize) -> String {
        let endings: Vec<Ending> = runs
            .chars()
            .map(|run| Ending { stopped: ".?".contains(run), panicked: "!?".contains(run) })
            .collect();
        let gone = outdated(&endings, keep);
        let stays = runs.chars().enumerate().filter(|(index, _)| !gone.contains(index));
        stays.map(|(index, run)| format!("{index}{run}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_newest_stay_and_the_first_of_the_latest_row_of_bad_ends() {
        for (runs, keep, expected) in [
            ("", 3, ""),
            ("..", 3, "0. 1."),
            (".....", 3, "2. 3. 4."),
            (".xxxxxxx", 3, "1x 5x 6x 7x"), // a crash loop
            (".x......", 3, "1x 5. 6. 7."), // a crash, then restarts that went well
            (".xx..x..", 1, "5x 7."),       // the next crash takes the place of the one before
            ("xx!!!!!!", 2, "0x 2! 6! 7!"), // killed at each stop, then a panic at each start
            (".?......", 2, "1? 6. 7."),    // a panic that the process survived
            ("?..xxxxx", 2, "0? 3x 6x 7x"), // at most two beyond those asked for
        ] {
            assert_eq!(kept(runs, keep), expected, "{runs} {keep}");
        }
    }

    #[test]
    fn however_it_went_the_newest_stay_and_at_most_two_more() {
        for runs in 0..4_u32.pow(6) {
            let endings: Vec<Ending> = (0..6)
                .map(|at| runs >> (2 * at) & 3)
                .map(|run| Ending { stopped: run & 1 != 0, panicked: run & 2 != 0 })
                .collect();
            let gone = outdated(&endings, 2);
            assert!((2..=4).contains(&gone.len()), "{endings:?}");
            assert!(gone.iter().all(|index| *index < 4), "{endings:?}");
        }
    }
}
