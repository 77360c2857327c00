//! Measures the rows of a group in interleaved rounds, the order turned round each time, so that what drifts on the
//! machine hits all alike. The first round is thrown away: the host may not have backed the memory before it.

use std::fs::File;

use crate::{
    child::HugeHeap,
    mapping::Mapping,
    progress::Progress,
    report::{GroupReport, RowReport},
    row::{Failure, Group, On, Row, Work},
};

/// Reading back takes as long as a round, so it follows the first, this many others, and the last.
const VERIFY_EVERY: usize = 8;

pub(crate) fn measure(
    mut group: Group,
    work: &Work,
    rounds: usize,
    progress: &Progress,
) -> Result<GroupReport, Failure> {
    let mut samples: Vec<Vec<f64>> = group.rows.iter().map(|_| Vec::new()).collect();
    let needs_child = group.rows.iter().any(|row| row.huge_heap);
    let mut child = if needs_child { Some(HugeHeap::start(work)?) } else { None };
    for round in 0..=rounds {
        let verify = round % VERIFY_EVERY == 0 || round == rounds;
        for index in order(round, group.rows.len()) {
            let row = &mut group.rows[index];
            progress.tell(format!("{}: round {round} of {rounds}, {}", group.id, row.name));
            settle(group.on, work)?;
            let row = &mut group.rows[index];
            let sample = match child.as_mut().filter(|_| row.huge_heap) {
                Some(child) => child.measure(group.id, row.name, verify)?,
                None => (row.measure)(&Work { verify, ..*work })?,
            };
            if round > 0 {
                samples[index].push(sample.ns_per_operation());
            }
        }
    }
    progress.clear();
    let rows = group.rows.iter().zip(samples).map(|(row, samples)| summary(row, samples)).collect();
    let Group { id, title, unit, on, bars, notes, .. } = group;
    Ok(GroupReport { id, title, unit, on, rows, bars, notes: notes() })
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

fn summary(row: &Row, mut samples: Vec<f64>) -> RowReport {
    samples.sort_by(f64::total_cmp);
    RowReport {
        name: row.name,
        kind: row.kind,
        version: row.version,
        median: quantile(&samples, 0.5),
        low: quantile(&samples, 0.1),
        high: quantile(&samples, 0.9),
        samples: samples.len(),
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
    use crate::row::{Kind, Sample};

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
        let report = measure(group, &work, 3, &Progress::start()).unwrap();
        assert_eq!(*calls.borrow(), "abbaabba");
        assert_eq!((report.rows[0].median, report.rows[0].samples), (Some(2.0), 3));
        assert_eq!(report.rows[0].high, Some(2.0));
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
        assert!(measure(group, &Work::small(), 1, &Progress::start()).is_err());
    }
}
