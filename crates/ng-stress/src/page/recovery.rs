//! What came back after the kill, how fast, and what was wrong with it.

use super::chart::bars::{Bar, draw};
use super::chart::figure;
use super::not_run;
use crate::figures::grouped;
use crate::html::{number, table, text};
use crate::progress::human;
use crate::report::Report;

/// Its markup.
pub fn section(report: &Report) -> String {
    let Some(r) = &report.phases.recovery else {
        return not_run("recovery");
    };
    let row = |name: &str, figure: String| vec![text(name), number(figure)];
    let rows = [
        row("ended by", r.killed_by.into()),
        row("operations acknowledged as durable", grouped(r.records_acknowledged_durable)),
        row("operations recovered, in their order", grouped(r.operations_recovered)),
        row("records that recovery read", grouped(r.records_recovered)),
        row("tokens alive after it", grouped(r.tokens_recovered)),
        row("acknowledged and lost", grouped(r.lost_acknowledged)),
        row("invented", grouped(r.invented)),
        row("found twice", grouped(r.duplicates)),
        row("records with a wrong checksum", grouped(r.crc_failures)),
        row("bytes of a torn end, cut off", grouped(r.torn_bytes)),
        row("time to open", human(r.elapsed_ns as f64)),
        row("records a second", format!("{:.2} M/s", r.records_per_s / 1e6)),
        row(
            &format!("opening with {} records, median", grouped(r.published_case.records)),
            human(r.published_case.elapsed_ns as f64),
        ),
    ];
    let numbers = table("A child killed in mid-write", &["figure", "value"], &rows);
    let bar = |name: &str, count: u64| Bar {
        name: name.into(),
        value: count as f64,
        shown: grouped(count),
    };
    let drawing = draw(
        "Operations",
        &[
            bar("acknowledged as durable", r.records_acknowledged_durable),
            bar("recovered", r.operations_recovered),
            bar("acknowledged and lost", r.lost_acknowledged),
            bar("invented", r.invented),
            bar("found twice", r.duplicates),
        ],
    );
    let note = format!(
        "Operations. Opened again in {}, {:.2} M records a second.",
        human(r.elapsed_ns as f64),
        r.records_per_s / 1e6
    );
    figure("What came back after SIGKILL", &note, &drawing, &numbers)
}
