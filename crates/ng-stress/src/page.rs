//! The report for a browser: one file beside report.json, made from it alone. The first screen has the verdict, what was
//! measured where, and how to repeat it; then come the figures, each with its drawing, and every check and bar.

mod chart;
mod conditions;
mod cost;
mod first;
mod judged;
mod memory;
mod pairs;
mod published;
mod recovery;
#[cfg(test)]
pub mod sample;
mod scenario;
mod tracing;

use std::path::Path;

use crate::failure::Failure;
use crate::html::{Section, document, paragraph};
use crate::report::Report;

/// Its name in the report's directory.
pub const FILE: &str = "report.html";

/// Writes the page into `out`.
pub fn write(report: &Report, out: &Path) -> Result<(), Failure> {
    let path = out.join(FILE);
    std::fs::write(&path, page(report)).map_err(Failure::io("write", path))
}

/// The whole page.
pub fn page(report: &Report) -> String {
    if let Some((name, scenario)) = report.scenarios.first_key_value() {
        let sections = [
            Section::new("figures", "Figures", scenario::section(scenario)),
            Section::new("checks", "Every check", judged::checks(report)),
            Section::new("conditions", "Machine, settings and method", conditions::section(report)),
        ];
        return document(
            &format!("neurograph stress report: {name}"),
            &first::scenario(report),
            &sections,
        );
    }
    let sections = [
        Section::new("cost", "Where a nanosecond goes", cost::section(report)),
        Section::new("pairs", "How the pairs lie", pairs::section(report)),
        Section::new("recovery", "Recovery of a killed process", recovery::section(report)),
        Section::new("tracing", "Tracing at each sampling rate", tracing::section(report)),
        Section::new("memory", "Tenth by tenth, and memory", memory::section(report)),
        Section::new("bars", "Every bar", judged::bars(report)),
        Section::new("checks", "Every check", judged::checks(report)),
        Section::new("conditions", "Machine, settings and method", conditions::section(report)),
    ];
    document("neurograph stress report", &first::screen(report), &sections)
}

/// In the place of a section whose phase did not run: no empty drawing, no zero.
fn not_run(phase: &str) -> String {
    paragraph(&format!("Not measured: the {phase} phase did not run (--phase {phase})."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::NOT_MEASURED;
    use crate::html::form::faults;

    fn good(report: &Report) -> String {
        let page = page(report);
        assert_eq!(faults(&page), Vec::<String>::new());
        for loader in ["<script", "http", "src=", "@import", "url("] {
            assert!(!page.contains(loader), "{loader}");
        }
        for nonsense in ["NaN", "inf ", "None", "Some(", "179769313"] {
            assert!(!page.contains(nonsense), "{nonsense}");
        }
        page
    }

    fn assert_all(page: &str, wanted: &[&str]) {
        for words in wanted {
            assert!(page.contains(words), "{words:?} is missing");
        }
    }

    #[test]
    fn the_page_of_a_whole_run_has_everything_that_was_measured() {
        let page = good(&sample::full());
        assert_all(
            &page,
            &[
                // The verdict, and how to repeat it.
                "6 of 6 checks hold; 2 of 3 bars held",
                "cargo xtask stress</span>",
                "--tokens 9500000</span>",
                "--seed 1</span>",
                "git checkout 0123456789abcdef",
                "power loss",
                // Ours beside theirs, with what theirs was.
                "971",
                "dropped its tokens as it made them and synced no record",
                "697 ns",
                // Drawings, in words.
                "Nanoseconds of one create: making the token +2.00",
                "full stack 8.40 ns.",
                "Full stack ÷ arena alone: 4 values from",
                "Operations: acknowledged as durable 2,000,000, recovered 2,000,123, acknowledged and lost 0, invented 0, found twice 0.",
                "Body of about 41 ns: no sampler 41.0 ns, one in a million 41.2 ns, 1 % 41.9 ns, all 92.0 ns.",
                "Memory by part: arena 608.2 MB",
                // Checks, bars, machine.
                "full: cleanups in the timed regions",
                "found 0, expected 0",
                "component.wal",
                "has the bar 1.08 in it",
                "Example processor &amp; more",
            ],
        );
        assert!(!page.contains(NOT_MEASURED), "all of it was measured");
        assert_eq!(page.matches("<figure>").count(), 7);
    }

    #[test]
    fn what_did_not_run_is_said_to_be_not_measured_and_never_drawn() {
        let page = good(&sample::tracing_only());
        for phase in ["baseline", "full", "recovery"] {
            let said = format!("Not measured: the {phase} phase did not run");
            assert!(page.contains(&said), "{said}");
        }
        assert!(!page.contains("Not measured: the tracing phase"));
        assert_eq!(page.matches("<figure>").count(), 2, "the two of tracing");
        assert_all(&page, &["was not measured", "697 ns"]);
        assert!(!page.contains("processor time, full ÷ baseline</td><td class=\"n\">0"));
    }

    #[test]
    fn a_load_over_time_is_drawn_where_it_was_measured_and_nowhere_else() {
        use crate::scenarios::Scenario;
        let mut scenario = Scenario { about: "a load", ..Scenario::default() };
        let page_of = |scenario: Scenario| {
            let mut report = sample::full();
            report.scenarios.insert("soak", scenario);
            good(&report)
        };
        scenario.series.insert("rss_bytes", vec![[1.0, 6e8], [2.0, 6.5e8], [9.0, 6.2e8]]);
        scenario.series.insert("held_bytes", vec![[1.0, 6e8]]);
        let page = page_of(scenario);
        let said = "Resident memory over time from 1 to 9 seconds: 600.0 MB at first, 620.0 at last, \
                    between 600.0 and 650.0.";
        assert_all(&page, &[said, ">500</text>", ">8 s</text>"]);
        assert_eq!(page.matches("<figure>").count(), 1, "one sample is no line");
        let page = page_of(Scenario { about: "a load", ..Scenario::default() });
        assert!(!page.contains("<figure>") && !page.contains("pictures\">"));
    }

    #[test]
    fn a_baseline_alone_shows_its_own_steps() {
        let page = good(&sample::baseline_only());
        assert_all(&page, &["making the token +2.00", "arena alone 7.50 ns.", "Tenth by tenth"]);
        assert!(page.contains("Not measured: the full phase did not run"));
    }

    #[test]
    fn failed_checks_and_missed_bars_come_first_and_unfolded() {
        let page = good(&sample::failed());
        assert_all(
            &page,
            &[
                "class=\"verdict bad\"",
                "1 of 6 checks FAILED",
                "1 MISSED",
                "<span class=\"mark bad\">failed</span>",
                "<span class=\"mark bad\">missed</span>",
                "<details open>",
                "found 3, expected 0",
            ],
        );
        assert!(!page.contains("class=\"verdict good\""));
    }

    #[test]
    fn figures_that_came_to_nothing_are_not_measured() {
        let mut report = sample::full();
        let full = report.phases.full.as_mut().expect("there");
        full.overhead_ratio = f64::MAX;
        full.overhead_ratio_spread = [f64::MAX; 2];
        full.added_ns_per_token = f64::INFINITY;
        full.components.wal = f64::NAN;
        full.cpu_ratio = f64::INFINITY;
        full.two_thread_ratio = None;
        full.pairs.truncate(1);
        full.paces.truncate(1);
        let page = good(&report);
        assert_all(&page, &["not measured", "One pair has no distribution"]);
    }

    #[test]
    fn text_from_outside_does_no_harm() {
        let mut report = sample::full();
        report.machine.cpu = "<script>alert(1)</script>".into();
        report.machine.filesystem = "\"><img src=x onerror=alert(2)>".into();
        report.command = "cargo xtask stress --dir '</code><script>'".into();
        report.git = Some("</pre><b>".into());
        report.checks[0].detail = "</table><script>".into();
        report.not_judged = vec!["<i>".into()];
        let page = page(&report);
        assert_eq!(faults(&page), Vec::<String>::new());
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!page.contains("<script") && !page.contains("<img"));
    }

    #[test]
    fn it_is_written_beside_the_report() {
        let out = tempfile::tempdir().expect("a directory");
        write(&sample::full(), out.path()).expect("written");
        let text = std::fs::read_to_string(out.path().join(FILE)).expect("read");
        assert!(text.starts_with("<!doctype html>"));
        assert!(write(&sample::full(), &out.path().join("absent")).is_err());
    }
}
