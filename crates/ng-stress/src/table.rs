//! The report for people: one table with the published figures in a column, the checks that failed,
//! and the bars.

use std::fmt::Write;
use std::path::Path;

use crate::figures::{grouped, megabytes, ratio};
use crate::page;
use crate::progress::human;
use crate::report::{
    Bar, Baseline, Check, Full, PROVES, Phases, REFERENCE_DID, Recovery, Report, SpanCost, Tracing,
};
use crate::scenarios::Scenario;
use crate::verdict::{self, Outcome};

/// Width of the first column.
const NAME: usize = 46;
/// Width of the second column.
const OURS: usize = 20;

/// The first line, printed before anything is run.
pub fn head() -> String {
    format!("neurograph stress suite {}: {PROVES}.\n", env!("CARGO_PKG_VERSION"))
}

/// Everything after the first line.
pub fn table(report: &Report, out: &Path) -> String {
    let mut rows = Rows(String::new());
    let (machine, config) = (&report.machine, &report.config);
    rows.line(&format!(
        "{} · {} cores · {:.1} GiB · Linux {} · {} · huge pages {}",
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / (1_u64 << 30) as f64,
        machine.kernel,
        machine.filesystem,
        machine.thp
    ));
    let stolen =
        report.stolen_share.map_or("not known".into(), |share| format!("{:.1} %", share * 100.0));
    rows.line(&format!(
        "processor time given to other machines meanwhile {stolen} · smallest step of the clock {} ns",
        machine.clock_step_ns
    ));
    let logged = if config.persist == 1 {
        "each token".into()
    } else {
        format!("each {}th token", config.persist)
    };
    if report.scenarios.is_empty() {
        rows.line(&format!(
        "{} tokens · {} thread(s) · log of {logged}, {} · {} % of creates as spans · {} pairs · seed {}",
        grouped(config.tokens),
        config.threads,
        config.durability,
        config.sample_rate * 100.0,
        config.runs,
        report.seed
    ));
    } else {
        rows.line(&format!(
            "{} tokens · {} thread(s) · {} · seed {}",
            grouped(config.tokens),
            config.threads,
            config.durability,
            report.seed
        ));
    }
    if report.scenarios.is_empty() {
        rows.row("", "here", "published (v0.44.0)");
        rows.line(&format!("  (the published run {REFERENCE_DID})"));
        phases(&mut rows, &report.phases);
        checks(&mut rows, &report.checks);
        bars(&mut rows, report);
    }
    for (name, scenario) in &report.scenarios {
        self::scenario(&mut rows, name, scenario);
    }
    rows.line(&format!("\nverdict: {}", verdict::sentence(report)));
    rows.line(&format!("report: {}", out.join("report.json").display()));
    rows.line(&format!("report: {}", out.join(page::FILE).display()));
    rows.0
}

fn phases(rows: &mut Rows, phases: &Phases) {
    if let Some(baseline) = &phases.baseline {
        self::baseline(rows, baseline);
    }
    if let Some(full) = &phases.full {
        self::full(rows, full);
    }
    if let Some(recovery) = &phases.recovery {
        self::recovery(rows, recovery);
    }
    if let Some(tracing) = &phases.tracing {
        self::tracing(rows, tracing);
    }
}

fn baseline(rows: &mut Rows, b: &Baseline) {
    rows.line("\nbaseline: the arena alone");
    rows.row("time", &human(b.elapsed_ns as f64), "430 ms");
    rows.row("per token", &human(b.ns_per_token), "45 ns (not stored)");
    rows.row("of it, making the token", &human(b.generator_ns_per_token), "");
    rows.row("rate", &format!("{:.1} M/s", b.tokens_per_s / 1e6), "22.1 M/s");
    rows.row("memory growth", &megabytes(b.rss_growth_bytes), "608 MB (computed)");
    rows.row("memory a token", &format!("{:.2} B", b.bytes_per_token), "");
    rows.row("raw fill of huge pages, per token", &human(b.floor_ns_per_token), "");
    rows.row("times the raw fill", &ratio(b.times_floor), "");
    let tenths = b.tenths_ns_per_token.iter().map(|ns| format!("{ns:.1}")).collect::<Vec<_>>();
    rows.row("tenth by tenth, ns a token", &tenths.join(" "), "");
}

fn full(rows: &mut Rows, f: &Full) {
    rows.line("\nfull: log, quotas, spans, scraped metrics, black box");
    rows.row("time", &human(f.elapsed_ns as f64), "417.8 s");
    rows.row("÷ baseline, median of pairs", &ratio(f.overhead_ratio), "971 ×");
    let [low, high] = f.overhead_ratio_spread;
    rows.row("  quartiles", &format!("{low:.3} to {high:.3}"), "");
    let [low, high] = f.wall_ratio_spread;
    let wall = format!("{:.3} ({low:.3} to {high:.3})", f.wall_ratio);
    rows.row("  the machine's pace left in", &wall, "");
    rows.row("  added to one token", &human(f.added_ns_per_token), "");
    rows.row("  processor time ÷ baseline", &ratio(f.cpu_ratio), "");
    rows.row("  last create to all durable", &human(f.durable_after_ns as f64), "");
    let two = f.two_thread_ratio.map_or("not measured".into(), ratio);
    rows.row("creators on all cores ÷ baseline", &two, "");
    // `base` in units of the baseline.
    let adding = |value: f64, base: f64| {
        format!("{} {:+.2} ns", ratio(value), (value - 1.0) * base * f.baseline_ns_per_token)
    };
    rows.row("facade with every part off ÷ baseline", &adding(f.facade_off_ratio, 1.0), "");
    let parts = [
        ("guardian alone ÷ facade off", f.components.guardian, ""),
        ("log alone ÷ facade off", f.components.wal, ""),
        ("tracing alone ÷ facade off", f.components.trace, ""),
        ("scraped metrics alone ÷ facade off", f.components.metrics, "< 1.05 ×"),
        ("black box alone ÷ facade off", f.components.blackbox, ""),
    ];
    for (name, value, published) in parts {
        rows.row(name, &adding(value, f.facade_off_ratio), published);
    }
    let s = &f.steady;
    rows.row(
        &format!("steady churn ({:.1} s) ÷ baseline", s.seconds),
        &ratio(s.overhead_ratio),
        "",
    );
    let [low, high] = s.overhead_ratio_spread;
    rows.row("  quartiles", &format!("{low:.3} to {high:.3}"), "");
    rows.row("  processor time ÷ baseline", &ratio(s.cpu_ratio), "");
    let activity = format!("{} / {} / {}", s.wal_syncs, s.metrics_scrapes, s.controller_steps);
    rows.row("  syncs / scrapes / controller steps", &activity, "");
    rows.row("records / syncs of the log", &format!("{} / {}", f.wal_records, f.wal_syncs), "");
    let quota = format!("{} / {}", grouped(f.quota_checks), f.quota_exceeded);
    rows.row("admissions decided / refused", &quota, "");
    let wrong = format!("{} / {}", f.quota_false_refusals, f.quota_missed_refusals);
    rows.row("false / missed refusals", &wrong, "");
    let spans = format!("{} / {}", f.spans_recorded, f.spans_dropped);
    rows.row("spans recorded / dropped", &spans, "");
    rows.row("black-box events", &f.blackbox_events.to_string(), "");
}

fn recovery(rows: &mut Rows, r: &Recovery) {
    rows.line("\nrecovery: a child killed in mid-write");
    rows.row("acknowledged durable", &grouped(r.records_acknowledged_durable), "");
    rows.row("recovered", &grouped(r.records_recovered), "");
    let wrong = format!("{} / {} / {}", r.lost_acknowledged, r.invented, r.duplicates);
    rows.row("lost / invented / duplicate", &wrong, "");
    rows.row("time", &human(r.elapsed_ns as f64), "");
    rows.row("rate", &format!("{:.2} M records/s", r.records_per_s / 1e6), "0.475 M records/s");
    let published = &r.published_case;
    rows.row(
        &format!("opening with {} records", published.records),
        &human(published.elapsed_ns as f64),
        "2.107 ms",
    );
}

fn tracing(rows: &mut Rows, t: &Tracing) {
    rows.line("\ntracing: a body of about 41 ns");
    span_cost(rows, &t.body, "697 ns", "17 ×");
    let case = &t.published_case;
    rows.row(
        &format!("{} operations, a span adds", grouped(case.operations)),
        &human(case.span_ns),
        "697 ns",
    );
    rows.line("tracing: create on warm memory");
    span_cost(rows, &t.create, "", "");
    let kept =
        format!("{} of {} / {} of {}", t.errors_kept, t.errors_total, t.slow_kept, t.slow_total);
    rows.row("errors / slow operations kept", &kept, "");
    let share = t
        .measured_overhead
        .map_or("not measured".into(), |share| format!("{:.2} %", 100.0 * share));
    rows.row("tracing's share of processor time, by its own account", &share, "");
    rows.row("spans seen by opentelemetry_sdk", &t.otel_spans.to_string(), "");
}

fn span_cost(rows: &mut Rows, cost: &SpanCost, span: &str, all: &str) {
    rows.row("untraced", &human(cost.baseline_ns_per_op), "");
    rows.row("a span adds", &human(cost.span_ns), span);
    rows.row("an operation not sampled pays", &human(cost.unsampled_ns), "");
    rows.row("all sampled ÷ untraced", &ratio(cost.ratio_all), all);
    rows.row("1 % sampled ÷ untraced", &ratio(cost.ratio_one_percent), "");
}

fn scenario(rows: &mut Rows, name: &str, scenario: &Scenario) {
    rows.line(&format!("\n{name}: {} ({:.1} s)", scenario.about, scenario.seconds));
    for (name, value) in &scenario.figures {
        let whole = value.fract() == 0.0;
        let value = if whole { grouped(*value as u64) } else { format!("{value:.3}") };
        rows.row(&name.replace('_', " "), &value, "");
    }
    for (name, slope) in &scenario.slopes {
        let [low, high] = slope.interval;
        let by = format!("{:+.3} a minute ({low:+.3} to {high:+.3})", slope.per_minute);
        rows.row(&format!("{} {:.1}", name.replace('_', " "), slope.mean), &by, "");
    }
    checks(rows, &scenario.checks);
}

fn checks(rows: &mut Rows, checks: &[Check]) {
    let failed: Vec<_> = checks.iter().filter(|check| !check.pass).collect();
    rows.line(&format!("\nchecks: {} of {} hold", checks.len() - failed.len(), checks.len()));
    for check in failed {
        rows.line(&format!("  FAILED {}: {}", check.name, check.detail));
    }
}

fn bars(rows: &mut Rows, report: &Report) {
    rows.line("\nbars (at most; in parentheses the 95 % interval, which has to lie on one side of the bar)");
    for bar in &report.bars {
        let name = format!("{} {}", bar.id, bar.title);
        match bar.value {
            Some(value) => {
                let interval = bar.interval.map(|[low, high]| format!(" ({low:.3} to {high:.3})"));
                let ours = format!("{value:.3}{}", interval.unwrap_or_default());
                rows.row(&name, &ours, &verdict(bar));
            }
            None => rows.row(&name, "not measured", ""),
        }
    }
    for reason in &report.not_judged {
        rows.line(&format!("  not judged: {reason}"));
    }
}

fn verdict(bar: &Bar) -> String {
    let limit = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {value}"))
    };
    let word = match Outcome::of(bar) {
        Outcome::Missed => "MISSED",
        outcome => outcome.word(),
    };
    format!("{word}{}{}", limit("bar", bar.bar), limit("goal", bar.goal))
}

struct Rows(String);

impl Rows {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn row(&mut self, name: &str, ours: &str, published: &str) {
        // Writing to a String cannot fail.
        let _ =
            writeln!(self.0, "{}", format!("  {name:NAME$} {ours:OURS$} {published}").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_whether_it_held_was_missed_or_not_judged() {
        let bar = |pass, bar| Bar {
            id: "P2",
            title: "",
            value: Some(1.2),
            interval: None,
            pairs: None,
            bar,
            goal: None,
            pass,
        };
        assert_eq!(verdict(&bar(Some(true), Some(1.1))), "held, bar 1.1");
        assert_eq!(verdict(&bar(Some(false), Some(1.1))), "MISSED, bar 1.1");
        assert_eq!(verdict(&bar(None, Some(1.1))), "not judged, bar 1.1");
        assert_eq!(verdict(&bar(None, None)), "reported");
    }
}
