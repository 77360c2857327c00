//! Measures the rows of a group in interleaved rounds, the order turned round each time, so that what drifts on the
//! machine hits all alike. The first round is thrown away: the host may not have backed the memory before it.

use std::fs::File;

use crate::{
    child::HugeHeap,
    mapping::Mapping,
    progress::Progress,
    report::{GroupReport, RowReport},
    row::{Failure, Group, LESS, On, Row, Work},
};

/// Reading back takes as long as a round, so it follows the first and each of these.
const VERIFY_EVERY: usize = 8;

/// How many rounds a group takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// Of each row that no bar needs; they stop there.
    pub(crate) beside: usize,
    /// Of the rows that a bar needs.
    pub(crate) least: usize,
    /// Of the same, while some bar cannot be told by those before.
    pub(crate) most: usize,
}

pub(crate) fn measure(
    mut group: Group,
    work: &Work,
    rounds: Rounds,
    progress: &Progress,
) -> Result<GroupReport, Failure> {
    let needed: Vec<bool> = group.rows.iter().map(|row| is_needed(&group, row.name)).collect();
    let needs_child = group.rows.iter().any(|row| row.huge_heap);
    let mut child = if needs_child { Some(HugeHeap::start(work)?) } else { None };
    let Group { id, title, unit, on, .. } = group;
    let rows = group.rows.iter().map(|row| summary(row, Vec::new())).collect();
    let bars = std::mem::take(&mut group.bars);
    let mut report = GroupReport { id, title, unit, on, rows, bars, notes: Vec::new(), rounds: 0 };
    // The first is thrown away.
    for round in 0..=rounds.most {
        if round > rounds.least && report.is_told() {
            break;
        }
        let verify = round % VERIFY_EVERY == 0;
        for index in order(round, group.rows.len()) {
            if round > rounds.beside && !needed[index] {
                continue;
            }
            let row = &mut group.rows[index];
            let of = rounds.least.max(round);
            progress.tell(format!("{id}: round {round} of {of}, {}", row.name));
            settle(on, work)?;
            let sample = match child.as_mut().filter(|_| row.huge_heap) {
                Some(child) => child.measure(id, row.name, verify)?,
                None => (row.measure)(&Work { verify, ..*work })?,
            };
            if round > 0 {
                report.rows[index].rounds.push(sample.ns_per_operation());
            }
        }
        report.rounds = round;
    }
    progress.clear();
    let measured = report.rows.into_iter().zip(&group.rows);
    report.rows = measured.map(|(told, row)| summary(row, told.rounds)).collect();
    report.notes = (group.notes)();
    Ok(report)
}

/// Whether a bar needs this row; in a group without bars all rows are alike.
fn is_needed(group: &Group, name: &str) -> bool {
    let mut sides = group.bars.iter().flat_map(|bar| [bar.over, bar.under]);
    sides.any(|side| side.split(LESS).any(|row| row == name))
}

/// Before each row alike: the host backs as much memory as a row takes, in a group on disk for the page cache, and what
/// the row before has left to be written is on the disk.
fn settle(on: On, work: &Work) -> Result<(), Failure> {
    let tokens = match on {
        On::Cells => return Ok(()),
        On::Memory => work.tokens,
        On::Disk => work.records,
    };
    // Memory of the whole guest: it serves the child as well.
    Mapping::back(tokens)
        .map_err(|error| Failure::Environment(format!("cannot map {tokens} tokens: {error}")))?;
    if on == On::Disk {
        let synced = File::open(work.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        synced.map_err(|error| {
            Failure::Environment(format!("cannot sync {}: {error}", work.dir.display()))
        })?;
    }
    Ok(())
}

/// Forwards and backwards in turn.
fn order(round: usize, rows: usize) -> Vec<usize> {
    if round.is_multiple_of(2) { (0..rows).collect() } else { (0..rows).rev().collect() }
}

fn summary(row: &Row, rounds: Vec<f64>) -> RowReport {
    let mut sorted = rounds.clone();
    sorted.sort_by(f64::total_cmp);
    RowReport {
        name: row.name,
        kind: row.kind,
        version: row.version,
        median: quantile(&sorted, 0.5),
        low: quantile(&sorted, 0.1),
        high: quantile(&sorted, 0.9),
        samples: rounds.len(),
        rounds,
    }
}

/// Nearest rank of sorted samples; `None` of none.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = share * sorted.len().saturating_sub(1) as f64;
    sorted.get(rank.round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;
    use crate::row::{Bar, Kind, Sample, Side};

    #[test]
    fn rows_alternate_in_order_and_the_first_round_is_thrown_away() {
        let calls = Rc::new(RefCell::new(String::new()));
        let row = |name: &'static str| {
            let calls = Rc::clone(&calls);
            Row::new(name, Kind::Ours, "", move |_: &Work| {
                calls.borrow_mut().push_str(name);
                // The thrown-away round is the slowest by far.
                let elapsed_ns = if calls.borrow().len() <= 2 { 1_000_000 } else { 20 };
                Ok(Sample { elapsed_ns, operations: 10 })
            })
        };
        let group = Group::in_memory("g", "", vec![row("a"), row("b")], vec![]);
        let work = Work { verify: false, ..Work::small() };
        let rounds = Rounds { beside: 3, least: 3, most: 3 };
        let report = measure(group, &work, rounds, &Progress::start()).unwrap();
        assert_eq!(*calls.borrow(), "abbaabba");
        assert_eq!((report.rows[0].median, report.rows[0].samples), (Some(2.0), 3));
        assert_eq!(report.rows[0].high, Some(2.0));
    }

    #[test]
    fn rows_that_a_bar_needs_go_on_until_it_is_told_and_the_others_stop() {
        let row = |name: &'static str, ns: [u64; 2]| {
            let mut round = 0;
            Row::new(name, Kind::Ours, "", move |_: &Work| {
                round += 1;
                // Unlike in the first rounds, alike later.
                let elapsed_ns = if round <= 6 { ns[round % 2] } else { ns[0] };
                Ok(Sample { elapsed_ns, operations: 1 })
            })
        };
        let measured = |ours: [u64; 2]| {
            let rows = vec![row("ours", ours), row("floor", [100; 2]), row("beside", [1; 2])];
            let (over, under, side) = ("ours", "floor", Side::AtMost);
            let bar = Bar { id: "b", over, under, side, bar: 1.5, goal: None };
            let group = Group::in_memory("g", "", rows, vec![bar]);
            let rounds = Rounds { beside: 2, least: 4, most: 40 };
            let report = measure(group, &Work::small(), rounds, &Progress::start()).unwrap();
            let samples: Vec<_> = report.rows.iter().map(|row| row.samples).collect();
            (report.rounds, samples)
        };
        assert_eq!(measured([120, 120]), (4, vec![4, 4, 2]));
        let (rounds, samples) = measured([120, 180]);
        assert!((5..40).contains(&rounds), "{rounds}");
        assert_eq!(samples, [rounds, rounds, 2]);
    }

    #[test]
    fn quantiles_are_samples_and_none_of_none() {
        let sorted: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!(
            [0.1, 0.5, 0.9].map(|share| quantile(&sorted, share)),
            [Some(1.0), Some(5.0), Some(9.0)]
        );
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_failed_check_ends_the_run() {
        let row = Row::new("a", Kind::Ours, "", |_: &Work| Err(Failure::Check("lost".into())));
        let group = Group::in_memory("g", "", vec![row], vec![]);
        let rounds = Rounds { beside: 1, least: 1, most: 1 };
        assert!(measure(group, &Work::small(), rounds, &Progress::start()).is_err());
    }
}
