//! The report as one HTML page that loads nothing: what was measured on what, the verdict, how to repeat it, then a table
//! a group, with each row's median and spread drawn as inline SVG. Style and skeleton are those of the suite's page.

use super::{BarReport, GroupReport, Report, RowReport, Settings, figure};
use crate::html::{self, Cell, Section, Tone, escape, number, paragraph, table, text};
use crate::row::Kind;

/// Width of a bar's drawing, in its own units.
const WIDTH: f64 = 352.0;

pub(super) fn page(report: &Report) -> String {
    let mut sections: Vec<Section> = vec![Section::new("bars", "Bars", bars(report))];
    for group in &report.groups {
        let title = format!("{} ({}, less is better)", group.title, group.unit);
        sections.push(Section::new(format!("group-{}", group.id), title, rows(group)));
    }
    html::document("neurograph bench report", &lead(report), &sections)
}

fn lead(report: &Report) -> String {
    let (tone, words) = verdict(&report.bars);
    let mut out = format!(
        "<div class=\"verdict {}\">\n<p class=\"word\">{}</p>\n</div>\n",
        tone.class(),
        escape(&words)
    );
    for fact in report.facts() {
        out.push_str(&paragraph(&fact));
    }
    out.push_str(&paragraph(
        "Bars show the median, the thin line the 10th to the 90th percentile. Only ratios inside one run carry over to another.",
    ));
    out.push_str(&html::repeat(&repeat(report)));
    out
}

/// The commands that measure the same again.
fn repeat(report: &Report) -> Vec<String> {
    let Settings { tokens, records, seed, quick } = report.config;
    let quick = if quick { " --quick" } else { "" };
    let only = match report.groups.as_slice() {
        [one] => format!(" --group {}", one.id),
        _ => String::new(),
    };
    let measure = format!(
        "cargo xtask bench-report --tokens {tokens} --records {records} --seed {seed}{quick}{only}"
    );
    let checkout = report.git.as_ref().map(|commit| format!("git checkout {commit}"));
    checkout.into_iter().chain([measure]).collect()
}

/// How many bars are met, in a sentence.
fn verdict(bars: &[BarReport]) -> (Tone, String) {
    let count = |pass| bars.iter().filter(|bar| bar.pass == pass).count();
    let [met, missed, open] = [Some(true), Some(false), None].map(count);
    let tone = match (met, missed) {
        (_, 1..) => Tone::Bad,
        (1.., 0) => Tone::Good,
        (0, 0) => Tone::Open,
    };
    (tone, format!("{met} of {} bars met, {missed} missed, {open} not judged.", bars.len()))
}

fn rows(group: &GroupReport) -> String {
    let widest = group.rows.iter().filter_map(|row| row.high).fold(0.0, f64::max);
    let rows: Vec<Vec<Cell>> = group
        .rows
        .iter()
        .map(|row| {
            let [median, low, high] =
                [row.median, row.low, row.high].map(|value| number(figure(value)));
            let class = class(row.kind);
            let name = format!("<span class=\"{class}\">{}</span>", escape(row.name));
            vec![
                Cell::Markup(name),
                text(row.version),
                median,
                low,
                high,
                Cell::Markup(draw(row, widest)),
            ]
        })
        .collect();
    let head = ["row", "version", "median", "p10", "p90", "drawn"];
    let mut out = table(&format!("{}, {}", group.title, group.unit), &head, &rows);
    for prose in group.faster().iter().chain(&group.notes) {
        out.push_str(&paragraph(prose));
    }
    out
}

/// One row's bar on the scale of the widest; nothing where nothing was measured. Its row has the figures.
fn draw(row: &RowReport, widest: f64) -> String {
    let (Some(median), Some(low), Some(high)) = (row.median, row.low, row.high) else {
        return String::new();
    };
    let [median, low, high] =
        [median, low, high].map(|value| value / widest.max(f64::MIN_POSITIVE) * WIDTH);
    let class = class(row.kind);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} 16\" aria-hidden=\"true\">\
         <rect class=\"f-{class}\" y=\"3\" width=\"{median:.1}\" height=\"10\" rx=\"2\"/>\
         <path class=\"middle\" d=\"M{low:.1} 8H{high:.1}\"/></svg>"
    )
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Ours => "ours",
        Kind::Peer => "peer",
        Kind::Floor => "floor",
    }
}

fn bars(report: &Report) -> String {
    let rows: Vec<Vec<Cell>> = report
        .bars
        .iter()
        .map(|bar| {
            let tone = match bar.pass {
                Some(true) => Tone::Good,
                Some(false) => Tone::Bad,
                None => Tone::Open,
            };
            vec![
                text(bar.id),
                text(bar.ratio()),
                number(bar.measured()),
                number(bar.limit()),
                number(bar.goal()),
                html::verdict(tone, bar.verdict()),
                text(bar.changed()),
            ]
        })
        .collect();
    table(
        "Ratios of medians of this run",
        &["bar", "ratio of medians", "value (95 % interval)", "bar", "goal", "verdict", "before"],
        &rows,
    ) + &html::paragraph(&report.comparison())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_bar_is_the_verdict_and_none_judged_is_none() {
        let bar = |pass| BarReport {
            id: "P1",
            group: "create",
            over: "ours",
            under: "floor",
            side: crate::row::Side::AtMost,
            value: Some(1.0),
            interval: None,
            bar: 1.5,
            goal: None,
            pass,
            not_judged: None,
            change: None,
            trend: Vec::new(),
        };
        let tone =
            |passes: &[Option<bool>]| verdict(&passes.iter().copied().map(bar).collect::<Vec<_>>());
        assert_eq!(tone(&[Some(true), Some(false), None]).0, Tone::Bad);
        let (good, words) = tone(&[Some(true), None]);
        assert_eq!(
            (good, words.as_str()),
            (Tone::Good, "1 of 2 bars met, 0 missed, 1 not judged.")
        );
        assert_eq!(tone(&[None]).0, Tone::Open);
        assert_eq!(tone(&[]).0, Tone::Open);
    }
}
