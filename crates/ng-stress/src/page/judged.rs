//! Every bar with its verdict, and every check with what it compared. What failed comes first and unfolded.

use crate::figures::NOT_MEASURED;
use crate::html::{Cell, Tone, escape, number, paragraph, table, text, verdict as mark};
use crate::report::{Check, Report};
use crate::verdict::{self, Outcome};

/// Every bar.
pub fn bars(report: &Report) -> String {
    let limit = |value: Option<f64>| {
        number(value.map_or_else(|| "–".to_owned(), |value| format!("≤ {value}")))
    };
    let rows: Vec<Vec<Cell>> = report
        .bars
        .iter()
        .map(|bar| {
            let outcome = Outcome::of(bar);
            let tone = match outcome {
                Outcome::Held => Tone::Good,
                Outcome::Missed => Tone::Bad,
                _ => Tone::Open,
            };
            let value =
                bar.value.map_or_else(|| NOT_MEASURED.into(), |value| format!("{value:.3}"));
            let interval = bar
                .interval
                .map_or_else(|| "–".to_owned(), |[low, high]| format!("{low:.3} to {high:.3}"));
            vec![
                text(bar.id),
                text(bar.title),
                number(value),
                number(interval),
                limit(bar.bar),
                limit(bar.goal),
                mark(tone, outcome.word()),
            ]
        })
        .collect();
    let head = ["bar", "what", "value", "95 % interval", "bar", "goal", "verdict"];
    let mut out = paragraph(
        "A bar must not be lost on any kind of processor; a goal is where the project is going.",
    );
    out.push_str(&table("Bars and goals", &head, &rows));
    out.push_str(&doubts(report));
    out
}

/// Why figures were not judged.
fn doubts(report: &Report) -> String {
    if Outcome::NotJudged.count(report) == 0 && report.not_judged.is_empty() {
        return String::new();
    }
    let mut reasons = report.not_judged.clone();
    if reasons.is_empty() {
        let few = "in steady churn a background part had too little to do, or spans were dropped";
        reasons.push(few.into());
    }
    let items: String =
        reasons.iter().map(|reason| format!("<li>{}</li>\n", escape(reason))).collect();
    format!("<h3>Why something was not judged</h3>\n<ul>\n{items}</ul>\n")
}

const PHASES: [&str; 4] = ["baseline", "full", "recovery", "tracing"];

/// Every check.
pub fn checks(report: &Report) -> String {
    let mut out = paragraph(&format!("{}.", capital(&verdict::checks(report))));
    let failed: Vec<&Check> = report.checks.iter().filter(|check| !check.pass).collect();
    if !failed.is_empty() {
        out.push_str(&list("Failed checks", &failed));
    }
    for (name, scenario) in &report.scenarios {
        let its: Vec<&Check> = scenario.checks.iter().collect();
        out.push_str(&list(&format!("Checks of the scenario {name}"), &its));
    }
    for phase in PHASES.iter().filter(|_| report.scenarios.is_empty()).copied() {
        let its: Vec<&Check> =
            report.checks.iter().filter(|check| verdict::phase_of(&check.name) == phase).collect();
        if its.is_empty() {
            out.push_str(&paragraph(&format!("Phase {phase}: nothing was checked.")));
            continue;
        }
        let held = its.iter().filter(|check| check.pass).count();
        let open = if held < its.len() { " open" } else { "" };
        let summary = format!("Phase {phase}: {held} of {} hold", its.len());
        let list = list(&format!("Checks of the {phase} phase"), &its);
        out.push_str(&format!("<details{open}><summary>{summary}</summary>\n{list}\n</details>\n"));
    }
    out
}

fn list(caption: &str, checks: &[&Check]) -> String {
    let rows: Vec<Vec<Cell>> = checks
        .iter()
        .map(|check| {
            let verdict =
                if check.pass { mark(Tone::Good, "holds") } else { mark(Tone::Bad, "failed") };
            vec![text(&check.name), verdict, text(&check.detail)]
        })
        .collect();
    table(caption, &["what must hold", "verdict", "what was compared"], &rows)
}

fn capital(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn a_steady_state_without_enough_to_do_has_its_reason() {
        let mut report = sample::full();
        report.not_judged.clear();
        assert!(bars(&report).contains("too little to do"));
        report.bars.retain(|bar| Outcome::of(bar) != Outcome::NotJudged);
        assert!(!bars(&report).contains("Why something was not judged"));
    }

    #[test]
    fn every_check_is_there_with_what_it_compared() {
        let report = sample::full();
        let page = checks(&report);
        for check in &report.checks {
            assert!(page.contains(&escape(&check.name)), "{}", check.name);
            assert!(page.contains(&escape(&check.detail)), "{}", check.detail);
        }
    }
}
