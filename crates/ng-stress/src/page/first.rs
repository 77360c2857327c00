//! The first screen: the verdict in words for somebody who was not there, what was measured on what, how to repeat it,
//! the four phases, and ours beside the published figures.

use super::published;
use crate::figures::{NOT_MEASURED, count, grouped, is_measured, ratio};
use crate::html::{Cell, Tone, escape, paragraph, repeat, table, text, verdict as mark};
use crate::progress::human;
use crate::report::Report;
use crate::verdict::{self, Outcome};

/// Its markup.
pub fn screen(report: &Report) -> String {
    let mut out = said(report);
    out.push_str(&paragraph(&measured(report)));
    out.push_str(&repeat(&[checkout(report), report.command.clone()]));
    out.push_str(&phases(report));
    out.push_str(&published::section(report));
    out
}

/// The same for a load that ran in place of the phases.
pub fn scenario(report: &Report) -> String {
    let mut out = said(report);
    out.push_str(&paragraph(&measured(report)));
    out.push_str(&repeat(&[checkout(report), report.command.clone()]));
    out
}

/// The verdict.
fn said(report: &Report) -> String {
    let tone = verdict::tone(report);
    let word = match tone {
        Tone::Good => "It holds.",
        Tone::Bad => "It does not hold.",
        Tone::Open if !report.scenarios.is_empty() => "It holds; no bar judges it.",
        Tone::Open if Outcome::Held.count(report) > 0 => "Not all of it was judged.",
        Tone::Open => "No bar was judged.",
    };
    let mut out = format!(
        "<div class=\"verdict {}\">\n<p class=\"word\">{word} {}.</p>\n",
        tone.class(),
        escape(&verdict::sentence(report))
    );
    for (name, sentences) in [("Shown:", shown(report)), ("Not shown:", not_shown(report))] {
        if !sentences.is_empty() {
            let sentences = escape(&sentences.join(" "));
            out.push_str(&format!("<p><strong>{name}</strong> {sentences}</p>\n"));
        }
    }
    out + "</div>\n"
}

/// What the checks that hold allow to say. A phase with a failed check shows nothing here.
fn shown(report: &Report) -> Vec<String> {
    let held = report.scenarios.values().filter(|load| load.checks.iter().all(|check| check.pass));
    let loads: Vec<String> = held
        .map(|load| format!("All of its checks hold under this load: {}.", load.about))
        .collect();
    if !report.scenarios.is_empty() {
        return loads;
    }
    let phases = &report.phases;
    let tokens = grouped(report.config.tokens);
    let mut said = Vec::new();
    if phases.baseline.is_some() && verdict::holds(report, "baseline") {
        said.push(format!(
            "{tokens} tokens were stored, and each was read back by id and by iteration."
        ));
    }
    if phases.full.is_some() && verdict::holds(report, "full") {
        said.push(
            "The same holds with log, quotas, tracing, metrics and black box on; no create was refused while there \
             was room, and none admitted while there was none."
                .into(),
        );
    }
    if let Some(recovery) = phases.recovery.as_ref().filter(|_| verdict::holds(report, "recovery"))
    {
        said.push(format!(
            "A process killed in mid-write ({}) lost none of {} operations that it had been told are durable.",
            recovery.killed_by,
            grouped(recovery.records_acknowledged_durable)
        ));
    }
    if phases.tracing.is_some() && verdict::holds(report, "tracing") {
        said.push("Every failed and every slow operation was kept as a span.".into());
    }
    said
}

fn not_shown(report: &Report) -> Vec<String> {
    let mut said = vec![
        "Power loss: the log's own tests show that, on a simulated disk.".to_owned(),
        "Other machines: times are of this one, and only ratios inside one run carry over.".into(),
    ];
    let absent: Vec<_> =
        ran(report).iter().filter(|(_, ran)| !ran).map(|(name, _)| *name).collect();
    if !absent.is_empty() && report.scenarios.is_empty() {
        said.push(format!("Phases that did not run: {}.", absent.join(", ")));
    }
    if !report.not_judged.is_empty() {
        said.push(format!("Not judged: {}.", report.not_judged.join("; ")));
    }
    said
}

fn ran(report: &Report) -> [(&'static str, bool); 4] {
    let phases = &report.phases;
    [
        ("baseline", phases.baseline.is_some()),
        ("full", phases.full.is_some()),
        ("recovery", phases.recovery.is_some()),
        ("tracing", phases.tracing.is_some()),
    ]
}

/// What was measured, on what, when.
fn measured(report: &Report) -> String {
    let (machine, config) = (&report.machine, &report.config);
    format!(
        "Measured: {} tokens of 64 bytes a run, {}{}; on {}, {} cores, {:.1} GiB, \
         Linux {}, {}; from {} to {}; neurograph {}.",
        grouped(config.tokens),
        count(config.threads, "creating thread"),
        if report.scenarios.is_empty() {
            format!(", {}", count(config.runs, "interleaved pair"))
        } else {
            String::new()
        },
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / (1_u64 << 30) as f64,
        machine.kernel,
        machine.filesystem,
        report.started,
        report.ended,
        report.version
    )
}

/// What gets the code of this run.
fn checkout(report: &Report) -> String {
    match &report.git {
        Some(commit) => format!("git checkout {commit}"),
        None => "# the commit is not known: this run was outside of git".into(),
    }
}

/// The four phases in a line each.
fn phases(report: &Report) -> String {
    let results = [
        ("the token arena alone", baseline(report)),
        ("log, quotas, tracing, metrics and black box on", full(report)),
        ("a child killed in mid-write, its store opened again", recovery(report)),
        ("spans recorded, and not", tracing(report)),
    ];
    let rows: Vec<Vec<Cell>> = ran(report)
        .into_iter()
        .zip(results)
        .map(|((name, _), (what, result))| {
            let result = result.unwrap_or_else(|| NOT_MEASURED.into());
            vec![text(format!("{name}: {what}")), checks(report, name), text(result)]
        })
        .collect();
    table("The four phases", &["phase", "checks", "result"], &rows)
}

fn baseline(report: &Report) -> Option<String> {
    let b = report.phases.baseline.as_ref()?;
    Some(format!(
        "{} tokens in {}: {} and {:.2} B of memory each",
        grouped(b.tokens),
        human(b.elapsed_ns as f64),
        human(b.ns_per_token),
        b.bytes_per_token
    ))
}

fn full(report: &Report) -> Option<String> {
    let f = report.phases.full.as_ref().filter(|f| is_measured(f.overhead_ratio))?;
    let [low, high] = f.overhead_ratio_spread;
    Some(format!(
        "{:.3} times the arena alone (quartiles {low:.3} to {high:.3}): {:+.2} ns a token; in steady churn {}",
        f.overhead_ratio,
        f.added_ns_per_token,
        ratio(f.steady.overhead_ratio)
    ))
}

fn recovery(report: &Report) -> Option<String> {
    let r = report.phases.recovery.as_ref()?;
    Some(format!(
        "{} of {} acknowledged operations lost, {} invented, {} twice; open again after {}",
        grouped(r.lost_acknowledged),
        grouped(r.records_acknowledged_durable),
        grouped(r.invented),
        grouped(r.duplicates),
        human(r.elapsed_ns as f64)
    ))
}

fn tracing(report: &Report) -> Option<String> {
    let t = report.phases.tracing.as_ref()?;
    Some(format!(
        "a span adds {}; an operation that is not sampled pays {}",
        human(t.body.span_ns),
        human(t.body.unsampled_ns)
    ))
}

/// How many of a phase's checks hold.
fn checks(report: &Report, phase: &str) -> Cell {
    let its = || report.checks.iter().filter(|check| verdict::phase_of(&check.name) == phase);
    let (all, held) = (its().count(), its().filter(|check| check.pass).count());
    match (all, held) {
        (0, _) => mark(Tone::Open, "none"),
        (all, held) if all == held => mark(Tone::Good, &format!("{held} of {all} hold")),
        (all, held) => mark(Tone::Bad, &format!("{} of {all} failed", all - held)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn a_phase_with_a_failed_check_is_said_to_show_nothing() {
        let good = shown(&sample::full()).join(" ");
        assert!(good.contains("lost none of 2,000,000 operations"), "{good}");
        let failed = shown(&sample::failed()).join(" ");
        assert!(!failed.contains("lost none"), "{failed}");
    }

    #[test]
    fn power_loss_and_absent_phases_are_named_as_not_shown() {
        let said = not_shown(&sample::tracing_only()).join(" ");
        assert!(said.contains("Power loss"), "{said}");
        assert!(said.contains("did not run: baseline, full, recovery."), "{said}");
    }

    #[test]
    fn a_run_outside_of_git_says_that_its_commit_is_not_known() {
        let mut report = sample::full();
        report.git = None;
        assert!(screen(&report).contains("># the commit is not known"));
    }
}
