//! The groups of the report, in its order: one line each.

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
