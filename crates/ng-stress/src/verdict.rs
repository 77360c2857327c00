//! What a run says in one sentence: what holds, what does not, what nobody decided. The table's last lines and the page's
//! first screen say it in the same words.

use crate::figures::{count, is_measured, signed};
use crate::html::Tone;
use crate::report::{Bar, Report};

/// What became of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At most the bar.
    Held,
    /// Above it.
    Missed,
    /// Measured, and not judged.
    NotJudged,
    /// It has no bar.
    Reported,
    /// No figure.
    NotMeasured,
}

impl Outcome {
    /// Of one bar.
    pub fn of(bar: &Bar) -> Self {
        match (bar.value, bar.bar, bar.pass) {
            (None, ..) => Self::NotMeasured,
            (_, _, Some(true)) => Self::Held,
            (_, _, Some(false)) => Self::Missed,
            (_, None, None) => Self::Reported,
            (_, Some(_), None) => Self::NotJudged,
        }
    }

    /// As the page and the table say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::NotJudged => "not judged",
            Self::Reported => "reported",
            Self::NotMeasured => "not measured",
        }
    }

    /// How many of the report's bars came out so.
    pub fn count(self, report: &Report) -> usize {
        report.bars.iter().filter(|bar| Self::of(bar) == self).count()
    }
}

/// Good: all checks hold, and every bar that was measured was judged and held. A run that leaves some open is no proof
/// of them.
pub fn tone(report: &Report) -> Tone {
    if !report.checks_pass() || !report.bars_hold() {
        Tone::Bad
    } else if report.checks.is_empty()
        || Outcome::Held.count(report) == 0
        || Outcome::NotJudged.count(report) > 0
    {
        Tone::Open
    } else {
        Tone::Good
    }
}

/// `All 75 checks hold; 10 of 10 judged bars are held; full ÷ baseline 1.12 …`
pub fn sentence(report: &Report) -> String {
    if !report.scenarios.is_empty() {
        return checks(report);
    }
    let mut parts = vec![checks(report), bars(report)];
    if let Some(full) = report.phases.full.as_ref().filter(|full| is_measured(full.overhead_ratio))
    {
        let added = full.added_ns_per_token;
        let ratio = full.overhead_ratio;
        let is_open = report.bars.iter().any(|bar| bar.id == "P2" && bar.pass.is_none());
        let doubt = if is_open { ", not judged" } else { "" };
        parts.push(format!(
            "full stack ÷ arena alone {ratio:.2} ({} ns a token{doubt})",
            signed(added)
        ));
    }
    parts.push(proof(report));
    parts.join("; ")
}

/// Of the checks.
pub fn checks(report: &Report) -> String {
    let all = report.checks.len();
    let failed = report.checks.iter().filter(|check| !check.pass).count();
    match (all, failed) {
        (0, _) => "nothing was checked".into(),
        (_, 0) => format!("{all} of {all} checks hold"),
        _ => format!("{failed} of {} FAILED", count(all, "check")),
    }
}

/// Of the bars.
pub fn bars(report: &Report) -> String {
    use Outcome::{Held, Missed, NotJudged, NotMeasured};
    let [held, missed, open, absent] =
        [Held, Missed, NotJudged, NotMeasured].map(|outcome| outcome.count(report));
    let mut parts = Vec::new();
    if held + missed > 0 {
        let aloud = if missed > 0 { format!(", {missed} MISSED") } else { String::new() };
        parts.push(format!("{held} of {} held{aloud}", count(held + missed + open, "bar")));
        if open > 0 {
            parts.push(format!("{open} not judged"));
        }
    } else if open > 0 {
        parts.push(format!("{} measured and not judged", count(open, "bar")));
    }
    if absent > 0 {
        let of = if parts.is_empty() { count(absent, "bar") } else { absent.to_string() };
        parts.push(format!("{of} not measured"));
    }
    parts.join(", ")
}

/// What the run proves of a crash.
fn proof(report: &Report) -> String {
    match &report.phases.recovery {
        None => "recovery of a killed process was not measured".into(),
        Some(_) if holds(report, "recovery") => "proves a process kill, not power loss".into(),
        Some(_) => "a process kill is NOT proven, nor is power loss".into(),
    }
}

/// Whether a phase made checks, and all of them hold.
pub fn holds(report: &Report, phase: &str) -> bool {
    let mut its = report.checks.iter().filter(|check| phase_of(&check.name) == phase).peekable();
    its.peek().is_some() && its.all(|check| check.pass)
}

/// The phase that made a check, by the beginning of its name.
pub fn phase_of(check: &str) -> &'static str {
    match check.split(": ").next().unwrap_or_default() {
        "baseline" => "baseline",
        "recovery" => "recovery",
        "tracing" => "tracing",
        // It has several parts, with names of their own.
        _ => "full",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::sample;

    #[test]
    fn a_good_run_says_in_one_sentence_what_it_proves_and_what_not() {
        let report = sample::full();
        assert_eq!(
            sentence(&report),
            "6 of 6 checks hold; 2 of 3 bars held, 1 not judged; full stack ÷ arena alone 1.12 \
             (+0.90 ns a token); proves a process kill, not power loss"
        );
        assert_eq!(tone(&report), Tone::Open, "one bar is open");
        let mut report = report;
        report.bars.retain(|bar| Outcome::of(bar) != Outcome::NotJudged);
        assert_eq!(tone(&report), Tone::Good);
    }

    #[test]
    fn a_ratio_that_nobody_judged_is_said_to_be_so() {
        let mut report = sample::full();
        report.bars[0].pass = None;
        assert!(sentence(&report).contains("1.12 (+0.90 ns a token, not judged)"));
    }

    #[test]
    fn a_failed_check_or_a_missed_bar_is_said_first_and_aloud() {
        let report = sample::failed();
        let said = sentence(&report);
        assert!(said.starts_with("1 of 6 checks FAILED; 1 of 3 bars held, 1 MISSED"), "{said}");
        assert!(said.ends_with("a process kill is NOT proven, nor is power loss"), "{said}");
        assert_eq!(tone(&report), Tone::Bad);
    }

    #[test]
    fn a_run_of_one_phase_claims_nothing_of_the_others() {
        let report = sample::tracing_only();
        assert_eq!(
            sentence(&report),
            "1 of 1 checks hold; 4 bars not measured; recovery of a killed process was not measured"
        );
        assert_eq!(tone(&report), Tone::Open);
    }
}
