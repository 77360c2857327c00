//! What one operation takes at each sampling rate that was measured.

use super::chart::{curve, figure};
use super::not_run;
use crate::figures::{NOT_MEASURED, grouped, ratio};
use crate::html::{number, table, text};
use crate::progress::human;
use crate::report::{Report, SpanCost};

/// Its markup.
pub fn section(report: &Report) -> String {
    let Some(t) = &report.phases.tracing else {
        return not_run("tracing");
    };
    let row = |name: &str, figure: String| vec![text(name), number(figure)];
    let kept = |kept, total| format!("{} of {}", grouped(kept), grouped(total));
    let share = t.measured_overhead.map(|share| format!("{:.2} %", share * 100.0));
    let rows = [
        row("failed operations kept as spans", kept(t.errors_kept, t.errors_total)),
        row("slow operations kept as spans", kept(t.slow_kept, t.slow_total)),
        row("spans seen by opentelemetry_sdk", grouped(t.otel_spans)),
        row(
            "tracing's share of processor time, by the store's own account",
            share.unwrap_or_else(|| NOT_MEASURED.into()),
        ),
    ];
    format!(
        "<div class=\"pictures\">\n{}{}</div>\n{}",
        cost("Body of about 41 ns", &t.body),
        cost("Create on warm memory", &t.create),
        table("What tracing kept", &["figure", "value"], &rows)
    )
}

fn cost(operation: &str, cost: &SpanCost) -> String {
    let base = cost.baseline_ns_per_op;
    let at = [
        ("no sampler", base, None),
        ("one in a million", base + cost.unsampled_ns, None),
        ("1 %", cost.one_percent_ns_per_op, Some(cost.ratio_one_percent)),
        ("all", cost.all_sampled_ns_per_op, Some(cost.ratio_all)),
    ];
    let points: Vec<_> =
        at.iter().map(|(name, ns, _)| ((*name).to_owned(), *ns, human(*ns))).collect();
    let mut rows: Vec<_> = at
        .iter()
        .map(|(name, ns, beside)| {
            let beside = beside.map_or("–".into(), ratio);
            vec![text(*name), number(format!("{ns:.2}")), number(beside)]
        })
        .collect();
    let added = |name: &str, ns: f64| vec![text(name), number(format!("{ns:.2}")), number("–")];
    rows.push(added("a span adds", cost.span_ns));
    rows.push(added("not sampled, an operation pays", cost.unsampled_ns));
    let head = ["share of operations recorded", "ns an operation", "÷ untraced"];
    let note = format!(
        "Nanoseconds an operation, by the share recorded as spans; medians of loops of {} operations.",
        grouped(cost.operations)
    );
    let numbers = table(&format!("{operation}, by sampling rate"), &head, &rows);
    figure(operation, &note, &curve::draw(operation, &points), &numbers)
}
