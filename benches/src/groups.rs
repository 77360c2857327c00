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
    use std::{env, fs, path::Path};

    use super::*;
    use crate::row::{Bar, LESS, On, Side, Work};

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

    /// Both ways: a bar without its row is missing there, and a row without its bar is too much. `NG_BLESS=1` writes it.
    #[test]
    fn the_table_of_the_readme_has_every_bar_and_no_other() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = fs::read_to_string(&path).expect("the page of this package");
        let (head, rest) = text.split_once(TABLE_HEAD).expect("the table's first two lines");
        let (_, tail) = rest.split_once("\n\n").expect("an empty line behind the table");
        let groups = all();
        let bars = groups.iter().flat_map(|group| group.bars.iter().map(move |bar| (group, bar)));
        let rows: Vec<_> = bars.map(|(group, bar)| table_row(group.title, bar)).collect();
        let wanted = format!("{head}{TABLE_HEAD}{}\n\n{tail}", rows.join("\n"));
        if env::var("NG_BLESS").is_ok_and(|value| value == "1") {
            fs::write(&path, &wanted).expect("written");
        } else {
            assert!(text == wanted, "NG_BLESS=1 writes the table of {}:\n{wanted}", path.display());
        }
    }

    const TABLE_HEAD: &str = "| id | what | bar | goal |\n|---|---|---:|---:|\n";

    fn table_row(title: &str, bar: &Bar) -> String {
        let Bar { id, over, under, side, bar, goal } = bar;
        let over = if over.contains(LESS) { format!("({over})") } else { (*over).to_owned() };
        // Three digits behind the point are enough for each, and one for most.
        let figure = |figure: f64| ((figure * 1000.0).round() / 1000.0).to_string();
        let goal = goal.map_or("the bar".to_owned(), figure);
        let side = match side {
            Side::AtMost => "at most",
            Side::AtLeast => "at least",
        };
        format!("| `{id}` | {title}: {over} ÷ {under} | {side} {} | {goal} |", figure(*bar))
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
