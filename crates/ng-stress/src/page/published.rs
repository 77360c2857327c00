//! Ours beside the published figures, each with what the published run did for it. No ratio of theirs stands here
//! without that.

use crate::figures::{NOT_MEASURED, grouped, ratio};
use crate::html::{Cell, escape, number, paragraph, table, text};
use crate::progress::human;
use crate::report::{REFERENCE_DID, Report};

/// Its markup.
pub fn section(report: &Report) -> String {
    let rows: Vec<Vec<Cell>> = rows(report)
        .into_iter()
        .map(|Row { what, here, published, really }| {
            let here = here.unwrap_or_else(|| NOT_MEASURED.into());
            // In one cell, so that no narrow page shows the figure without what was done for it.
            let published = format!("<strong>{}</strong>: {}", escape(&published), escape(really));
            vec![text(what), number(here), Cell::Markup(published)]
        })
        .collect();
    let head = ["figure", "here", "published, and what that run did for it"];
    let mut out = table("Beside the published run (0.44.0)", &head, &rows);
    out.push_str(&paragraph(&format!(
        "The published run {REFERENCE_DID}; here every token is stored and read back, and the log is synced. The two did \
         different work, so no figure here is a speed-up over one of theirs."
    )));
    out
}

struct Row {
    what: String,
    here: Option<String>,
    published: String,
    really: &'static str,
}

const DROPPED: &str = "dropped each token as it was made";
const BOTH: &str = "dropped its tokens and synced no record";

/// A figure of the published run.
fn theirs(report: &Report, name: &str) -> f64 {
    report.reference.get(name).copied().unwrap_or(f64::NAN)
}

fn row(what: &str, here: Option<String>, published: String, really: &'static str) -> Row {
    Row { what: what.into(), here, published, really }
}

fn rows(report: &Report) -> Vec<Row> {
    let mut rows = arena(report);
    rows.extend(full(report));
    rows.extend(recovery(report));
    rows.extend(tracing(report));
    rows
}

/// The time for all tokens: beside theirs only where there are as many.
fn whole(
    report: &Report,
    what: &str,
    ns: Option<u64>,
    name: &str,
    really: &'static str,
) -> Option<Row> {
    (report.config.tokens == PUBLISHED_TOKENS).then(|| {
        let what = format!("{what}, {} tokens", grouped(PUBLISHED_TOKENS));
        row(&what, ns.map(|ns| human(ns as f64)), human(theirs(report, name)), really)
    })
}

fn arena(report: &Report) -> Vec<Row> {
    let baseline = report.phases.baseline.as_ref();
    let time = baseline.map(|b| b.elapsed_ns);
    let per_token = theirs(report, "baseline_bytes") / PUBLISHED_TOKENS as f64;
    let mut rows: Vec<Row> =
        whole(report, "arena alone", time, "baseline_elapsed_ns", DROPPED).into_iter().collect();
    rows.extend([
        row(
            "arena alone, one token",
            baseline.map(|b| human(b.ns_per_token)),
            human(theirs(report, "baseline_ns_per_token")),
            DROPPED,
        ),
        row(
            "arena alone, rate",
            baseline.map(|b| rate(b.tokens_per_s)),
            rate(theirs(report, "baseline_tokens_per_s")),
            DROPPED,
        ),
        row(
            "memory of one token",
            baseline.map(|b| format!("{:.2} B", b.bytes_per_token)),
            format!("{per_token:.2} B"),
            "multiplied the count by 64; here the kernel counts",
        ),
    ]);
    rows
}

fn full(report: &Report) -> Vec<Row> {
    let full = report.phases.full.as_ref();
    let time = full.map(|f| f.elapsed_ns);
    let mut rows: Vec<Row> =
        whole(report, "full stack", time, "full_elapsed_ns", BOTH).into_iter().collect();
    rows.extend([
        row(
            "full stack ÷ arena alone",
            full.map(|f| ratio(f.overhead_ratio)),
            ratio(theirs(report, "full_overhead_ratio")),
            "dropped its tokens and synced no record; read /proc/self/status twice a token",
        ),
        row(
            "scraped metrics alone ÷ facade off",
            full.map(|f| ratio(f.components.metrics)),
            format!("< {}", ratio(theirs(report, "metrics_overhead_ratio"))),
            BOTH,
        ),
    ]);
    rows
}

fn recovery(report: &Report) -> [Row; 2] {
    let recovery = report.phases.recovery.as_ref();
    [
        row(
            "recovery, records a second",
            recovery.map(|r| rate(r.records_per_s)),
            rate(theirs(report, "recovery_records_per_s")),
            "read back 1,000 records of a log that it never synced",
        ),
        row(
            "opening with 1,000 records",
            recovery.map(|r| human(r.published_case.elapsed_ns as f64)),
            human(theirs(report, "recovery_elapsed_ns")),
            "read back a log that it never synced",
        ),
    ]
}

fn tracing(report: &Report) -> [Row; 2] {
    let tracing = report.phases.tracing.as_ref();
    [
        row(
            "a span adds, on a body of about 41 ns",
            tracing.map(|t| human(t.body.span_ns)),
            format!("{:.0} ns", theirs(report, "tracing_span_ns")),
            BOTH,
        ),
        row(
            "all sampled ÷ untraced, same body",
            tracing.map(|t| ratio(t.body.ratio_all)),
            ratio(theirs(report, "tracing_ratio_all")),
            BOTH,
        ),
    ]
}

/// Of the published run.
const PUBLISHED_TOKENS: u64 = 9_500_000;

fn rate(per_second: f64) -> String {
    format!("{:.3} M/s", per_second / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn each_published_figure_says_what_the_published_run_did() {
        let rows = rows(&sample::full());
        assert_eq!(rows.len(), 11);
        for Row { what, here, published, really } in rows {
            assert!(here.is_some(), "{what}");
            assert!(!really.is_empty() && !published.contains("NaN"), "{what}: {published}");
            assert!(published != NOT_MEASURED, "{what}");
        }
    }

    #[test]
    fn a_time_for_all_tokens_is_not_set_beside_one_for_more() {
        let mut report = sample::full();
        report.config.tokens = 200_000;
        assert_eq!(rows(&report).len(), 9);
    }
}
