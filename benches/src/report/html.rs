//! The report as one HTML page that loads nothing: tables, with each row's median and spread drawn as inline SVG.

use std::fmt::Write;

use super::{GroupReport, Report, RowReport, figure};
use crate::row::Kind;

const STYLE: &str = "
:root { color-scheme: light dark; --ours: #2563eb; --peer: #9a9aa5; --floor: #16a34a; --line: #8884; --bad: #dc2626; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; } p { margin: .3rem 0; opacity: .8; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }
.n { text-align: right; } svg { display: block; width: 22rem; height: 16px; } .ours { font-weight: 600; }
.missed { color: var(--bad); font-weight: 600; }
";
/// Width of a bar's drawing, in its own units.
const WIDTH: f64 = 352.0;

pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    let out = &mut page;
    put(out, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    put(
        out,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>neurograph bench report</title>",
    );
    put(out, &format!("<style>{STYLE}</style></head><body><h1>neurograph bench report</h1>"));
    for fact in report.facts() {
        put(out, &format!("<p>{}</p>", escape(&fact)));
    }
    put(
        out,
        "<p>Bars show the median, the thin line the 10th to the 90th percentile. Only ratios inside one run carry over to another.</p>",
    );
    for group in &report.groups {
        put(out, &table(group));
    }
    put(out, &bars(report));
    put(out, "</body></html>");
    page
}

fn table(group: &GroupReport) -> String {
    let mut out = format!(
        "<h2>{} <small>({}, less is better)</small></h2><table>",
        escape(group.title),
        group.unit
    );
    put(
        &mut out,
        "<tr><th>row<th>version<th class=n>median<th class=n>p10<th class=n>p90<th></tr>",
    );
    let widest = group.rows.iter().filter_map(|row| row.high).fold(0.0, f64::max);
    for row in &group.rows {
        let [median, low, high] = [row.median, row.low, row.high].map(figure);
        let (name, version) = (escape(row.name), escape(row.version));
        let class = class(row.kind);
        let figures = format!("<td class=n>{median}<td class=n>{low}<td class=n>{high}");
        let drawn = draw(row, widest);
        put(
            &mut out,
            &format!("<tr class={class}><td>{name}<td>{version}{figures}<td>{drawn}</tr>"),
        );
    }
    out.push_str("</table>");
    for prose in group.faster().iter().chain(&group.notes) {
        put(&mut out, &format!("<p>{}</p>", escape(prose)));
    }
    out
}

/// One row's bar on the scale of the widest; nothing where nothing was measured.
fn draw(row: &RowReport, widest: f64) -> String {
    let (Some(median), Some(low), Some(high)) = (row.median, row.low, row.high) else {
        return String::new();
    };
    let [median, low, high] =
        [median, low, high].map(|value| value / widest.max(f64::MIN_POSITIVE) * WIDTH);
    let class = class(row.kind);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} 16\" role=\"img\" aria-hidden=\"true\">\
         <rect y=\"3\" width=\"{median:.1}\" height=\"10\" rx=\"2\" fill=\"var(--{class})\"/>\
         <path d=\"M{low:.1} 8H{high:.1}\" stroke=\"currentColor\"/></svg>"
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
    let mut out = String::from(
        "<h2>Bars</h2><table><tr><th>bar<th>ratio of medians<th class=n>value (95 % interval)<th class=n>bar<th class=n>goal<th><th>before</tr>",
    );
    for bar in &report.bars {
        let ratio = escape(&bar.ratio());
        let (verdict, value, limit) = (bar.verdict(), bar.measured(), bar.limit());
        let figures = format!("<td class=n>{value}<td class=n>{limit}<td class=n>{}", bar.goal());
        let class = if bar.pass == Some(false) { "missed" } else { "rest" };
        put(
            &mut out,
            &format!(
                "<tr><td>{}<td>{ratio}{figures}<td class={class}>{verdict}<td>{}</tr>",
                escape(bar.id),
                bar.changed()
            ),
        );
    }
    out.push_str("</table>");
    put(&mut out, &format!("<p>{}</p>", escape(&report.comparison())));
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes every write");
}
