//! The groups of the report, in its order: one line each.

mod batch;
mod churn;
mod counter;
mod create;
mod create_2t;
mod delete;
mod get;
mod histogram;
mod iterate;
mod log_bytes;
mod record;
mod sample_decision;
mod scrape;
mod span;
mod wal_append;
mod wal_durable;
mod wal_queue;
mod wal_replay;

use crate::row::Group;

/// All groups, ready to be measured.
pub(crate) fn all() -> Vec<Group> {
    vec![
        create::group(),
        create_2t::group(),
        get::group(),
        delete::group(),
        iterate::group(),
        churn::group(),
        batch::group(),
        wal_append::group(),
        wal_durable::one_thread(),
        wal_durable::eight_threads(),
        wal_replay::group(),
        log_bytes::group(),
        wal_queue::group(),
        counter::one_thread(),
        counter::two_threads(),
        histogram::group(),
        scrape::pages(),
        scrape::beside_writers(),
        record::group(),
        sample_decision::group(),
        span::group(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{LESS, On, Work};

    #[test]
    fn every_row_of_every_group_does_what_it_is_timed_for() {
        let work = Work { tokens: 70_000, churn: 20_000, ..Work::small() };
        for group in all() {
            for mut row in group.rows {
                let sample = (row.measure)(&work)
                    .unwrap_or_else(|failure| panic!("{} {}: {failure}", group.id, row.name));
                let least = if group.on == On::Memory { 2_000 } else { 1 };
                assert!(sample.operations >= least, "{} {}", group.id, row.name);
            }
        }
    }

    /// The project's bars and goals, in one place; the groups have them where they are judged.
    #[test]
    fn the_bars_are_those_in_force() {
        let in_force = [
            ("P1", 1.35, Some(1.1)),
            ("P1:ahead", 1.05, Some(0.7)),
            ("P1w", 1.5, Some(1.15)),
            ("P1b:slotmap", 3.0, None),
            ("P1b:slotmap+thp", 1.05, None),
            ("P1b:sharded-slab", 10.0, None),
            ("P3", 0.8, Some(0.9)),
            ("P3f", 0.8, Some(0.95)),
            ("P3b", 2.0, Some(4.0)),
            ("P4:8t:okaywal", 1.3, Some(3.0)),
            ("P4:8t:raft-engine", 1.3, Some(3.0)),
            ("P4:1t:okaywal", 1.0, Some(1.5)),
            ("P4:1t:raft-engine", 1.0, Some(1.5)),
            ("P5", 0.28, Some(0.6)),
            ("P5log", 0.35, Some(0.7)),
            ("P6", 2.0, Some(1.0)),
            ("P6:slow_rule", 3.0, Some(1.0)),
            ("P6s", 2.1, Some(1.1)),
            ("P7", 2.0, Some(1.2)),
            ("P7x", 1.2, Some(1.0)),
            ("P9", 0.65, Some(0.8)),
            ("P10", 73.5 / 64.0, Some(73.0 / 64.0)),
            ("get", 0.8, Some(1.0)),
            ("get:many", 1.3, Some(1.5)),
        ];
        let bars: Vec<_> = all().into_iter().flat_map(|group| group.bars).collect();
        for (id, bar, goal) in in_force {
            let found = bars.iter().find(|found| found.id == id).unwrap_or_else(|| panic!("{id}"));
            assert_eq!((found.bar, found.goal), (bar, goal), "{id}");
        }
    }

    #[test]
    fn each_bar_compares_rows_of_its_group_or_peers() {
        let arenas = ["slotmap", "slotmap+thp", "sharded-slab"];
        let logs = ["okaywal", "raft-engine", "commitlog", "ArrayQueue"];
        let tracers = ["opentelemetry_sdk", "fastrace"];
        let peers = [&arenas[..], &logs, &tracers].concat();
        for group in all() {
            let names = group.bars.iter().flat_map(|bar| [bar.over, bar.under]);
            for name in names.flat_map(|name| name.split(LESS)) {
                let known = group.rows.iter().any(|row| row.name == name);
                assert!(known || peers.contains(&name), "{} {name}", group.id);
            }
        }
    }
}
