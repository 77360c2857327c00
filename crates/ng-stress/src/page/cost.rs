//! Where a nanosecond of a create goes: the arena's own steps, then what each part adds to them, up to everything on.

use super::chart::figure;
use super::chart::steps::{Step, draw};
use super::not_run;
use crate::figures::{NOT_MEASURED, is_measured, ratio, signed};
use crate::html::{Cell, number, paragraph, table, text};
use crate::report::{Baseline, Full, Report};

/// Its markup.
pub fn section(report: &Report) -> String {
    let (baseline, full) = (report.phases.baseline.as_ref(), report.phases.full.as_ref());
    if baseline.is_none() && full.is_none() {
        return not_run("baseline") + &not_run("full");
    }
    let base =
        full.map_or_else(|| baseline.map(|b| b.ns_per_token), |f| Some(f.baseline_ns_per_token));
    let base = base.unwrap_or(f64::NAN);
    let mut steps = arena(baseline, base);
    let sum = match full {
        Some(full) => {
            steps.extend(parts(full, base));
            "full stack"
        }
        None => "arena alone",
    };
    let mut out = String::new();
    if steps.iter().all(|step| is_measured(step.adds)) {
        out.push_str(&picture(&steps, sum));
    } else {
        out.push_str(&paragraph(&format!(
            "The steps: {NOT_MEASURED}, since one of them has no figure."
        )));
    }
    match full {
        Some(full) => out.push_str(&ratios(full)),
        None => out.push_str(&not_run("full")),
    }
    out
}

fn picture(steps: &[Step], sum: &'static str) -> String {
    let total: f64 = steps.iter().map(|step| step.adds).sum();
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for step in steps {
        let share = if total > 0.0 { step.adds / total * 100.0 } else { 0.0 };
        rows.push(vec![
            text(step.name),
            number(signed(step.adds)),
            number(format!("{:.1} %", (share * 10.0).round() / 10.0 + 0.0)),
        ]);
    }
    rows.push(vec![text(sum), number(format!("{total:.2}")), number("100.0 %")]);
    let drawing = draw("Nanoseconds of one create", steps, sum, "ns");
    let numbers = table("Steps of one create", &["step", "ns", "share"], &rows);
    let note = "Nanoseconds. Green is the arena alone, blue is added, amber is less than nothing: noise, or work that parts share.";
    figure("Where a nanosecond of one create goes", note, &drawing, &numbers)
        + &paragraph(
            "Each part was measured alone beside the facade with every part off; “rest” is what all of them together \
             take beyond the sum of that, less where they share work.",
        )
}

/// What the arena alone takes; in one step where its phase did not run.
fn arena(baseline: Option<&Baseline>, base: f64) -> Vec<Step> {
    let step = |name, adds| Step { name, adds, is_base: true };
    let Some(baseline) = baseline else {
        return vec![step("arena alone", base)];
    };
    // In the pairs' own units: the floor is a ratio of the same run, the generator a part of the floor.
    let floor = base / baseline.times_floor;
    let generator = baseline.generator_ns_per_token;
    vec![
        step("making the token", generator),
        step("raw fill of memory", floor - generator),
        step("arena beyond that", base - floor),
    ]
}

fn parts(full: &Full, base: f64) -> Vec<Step> {
    let off = full.facade_off_ratio * base;
    let c = &full.components;
    let alone = [
        ("guardian", c.guardian),
        ("log", c.wal),
        ("tracing", c.trace),
        ("scraped metrics", c.metrics),
        ("black box", c.blackbox),
    ];
    let step = |name, adds| Step { name, adds, is_base: false };
    let mut steps = vec![step("facade, parts off", off - base)];
    steps.extend(alone.map(|(name, ratio)| step(name, (ratio - 1.0) * off)));
    let reached: f64 = base + steps.iter().map(|step| step.adds).sum::<f64>();
    steps.push(step("rest", full.overhead_ratio * base - reached));
    steps
}

/// Every ratio of the full phase, with what it adds to one create.
fn ratios(full: &Full) -> String {
    let base = full.baseline_ns_per_token;
    let off = base * full.facade_off_ratio;
    let spread = |[low, high]: [f64; 2]| {
        if is_measured(low) && is_measured(high) {
            format!("{low:.3} to {high:.3}")
        } else {
            NOT_MEASURED.into()
        }
    };
    let row = |name: &str, value: Option<f64>, beside: Option<f64>, quartiles: String| {
        let value = value.filter(|value| is_measured(*value));
        let adds = value.zip(beside).map(|(value, beside)| (value - 1.0) * beside);
        vec![
            text(name),
            number(value.map_or_else(|| NOT_MEASURED.into(), ratio)),
            number(
                adds.filter(|ns| is_measured(*ns))
                    .map_or("–".into(), |ns| format!("{} ns", signed(ns))),
            ),
            number(quartiles),
        ]
    };
    let (s, c, none) = (&full.steady, &full.components, || "–".to_owned());
    let rows = [
        row(
            "full ÷ baseline, one burst",
            Some(full.overhead_ratio),
            Some(base),
            spread(full.overhead_ratio_spread),
        ),
        row(
            "the same, the machine's pace left in",
            Some(full.wall_ratio),
            Some(base),
            spread(full.wall_ratio_spread),
        ),
        row("the same, processor time", Some(full.cpu_ratio), None, none()),
        row("the same, creators on all cores", full.two_thread_ratio, None, none()),
        row(
            "full ÷ baseline, steady churn",
            Some(s.overhead_ratio),
            None,
            spread(s.overhead_ratio_spread),
        ),
        row("the same, processor time", Some(s.cpu_ratio), None, none()),
        row(
            "facade with every part off ÷ baseline",
            Some(full.facade_off_ratio),
            Some(base),
            none(),
        ),
        row("guardian alone ÷ facade off", Some(c.guardian), Some(off), none()),
        row("log alone ÷ facade off", Some(c.wal), Some(off), none()),
        row("tracing alone ÷ facade off", Some(c.trace), Some(off), none()),
        row("scraped metrics alone ÷ facade off", Some(c.metrics), Some(off), none()),
        row("black box alone ÷ facade off", Some(c.blackbox), Some(off), none()),
    ];
    table(
        "Ratios of the full phase",
        &["ratio", "median", "adds to one create", "quartiles"],
        &rows,
    )
}
