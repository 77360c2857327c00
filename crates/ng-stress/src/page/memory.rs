//! The baseline tenth by tenth, and who holds the memory at the end of a full run.

use super::chart::bars::{Bar, draw};
use super::chart::{columns, figure};
use super::not_run;
use crate::figures::{grouped, megabytes};
use crate::html::{number, table, text};
use crate::report::{Baseline, Memory, Report};

/// Its markup.
pub fn section(report: &Report) -> String {
    let phases = &report.phases;
    let tenths = phases.baseline.as_ref().map(tenths);
    let memory = phases.full.as_ref().map(|full| memory(&full.memory, full.memory_share));
    let absent = [("baseline", tenths.is_none()), ("full", memory.is_none())];
    let drawn: String = [tenths, memory].into_iter().flatten().collect();
    let mut out = match drawn.is_empty() {
        true => String::new(),
        false => format!("<div class=\"pictures\">\n{drawn}</div>\n"),
    };
    for (phase, _) in absent.iter().filter(|(_, is_absent)| *is_absent) {
        out.push_str(&not_run(phase));
    }
    out
}

fn tenths(baseline: &Baseline) -> String {
    let tenths = &baseline.tenths_ns_per_token;
    let rows: Vec<_> = tenths
        .iter()
        .enumerate()
        .map(|(tenth, ns)| vec![text((tenth + 1).to_string()), number(format!("{ns:.2}"))])
        .collect();
    figure(
        "Arena alone, tenth by tenth of the tokens",
        "Nanoseconds a token, medians of the runs: equal columns mean that a fuller arena is no slower.",
        &columns::draw("Tenth by tenth", tenths, "ns a token"),
        &table("Nanoseconds a token", &["tenth", "ns"], &rows),
    )
}

/// Small parts too are more than 0.0 MB.
fn size(bytes: u64) -> String {
    if bytes < 1_000_000 { format!("{:.1} kB", bytes as f64 / 1e3) } else { megabytes(bytes) }
}

fn memory(memory: &Memory, share: f64) -> String {
    let Memory { arena, wal, trace, metrics, blackbox, other } = memory;
    let parts = [
        ("arena", *arena),
        ("log", *wal),
        ("tracing", *trace),
        ("metrics", *metrics),
        ("black box", *blackbox),
        ("other, as the kernel counts", *other),
    ];
    let bar = |(name, bytes): (&str, u64)| Bar {
        name: name.into(),
        value: bytes as f64,
        shown: size(bytes),
    };
    let rows: Vec<_> =
        parts.iter().map(|(name, bytes)| vec![text(*name), number(grouped(*bytes))]).collect();
    figure(
        "Memory by part, at the end of a full run",
        &format!("Megabytes. The store holds {:.1} % of its memory quota.", share * 100.0),
        &draw("Memory by part", &parts.map(bar)),
        &table("Bytes by part", &["part", "bytes"], &rows),
    )
}
