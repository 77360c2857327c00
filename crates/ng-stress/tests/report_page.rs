//! Beside report.json lies a page for people, report.html, that needs nothing else; the table on stdout ends with where
//! they are and a verdict in one sentence.

mod command;

use command::{Place, text};
use serde_json::Value;

#[test]
fn a_run_writes_its_page_and_ends_with_its_verdict_and_where_it_is() {
    let place = Place::new();
    let output = place.run(&["--tokens", "20000", "--runs", "2", "--seed", "7"]);
    let stdout = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}{stdout}", text(&output.stderr));

    let lines: Vec<&str> = stdout.lines().rev().take(3).collect();
    let page_path = lines[0].strip_prefix("report: ").expect("where the page is");
    assert!(page_path.ends_with("/out/report.html"), "{page_path}");
    assert!(lines[1].starts_with("report: ") && lines[1].ends_with("report.json"), "{}", lines[1]);
    let verdict = lines[2].strip_prefix("verdict: ").expect("a verdict");
    for words in ["checks hold; ", "not judged", "full stack ÷ arena alone ", "not power loss"] {
        assert!(verdict.contains(words), "{words} in {verdict}");
    }
    // What is set beside the published ratio says what that was.
    assert!(stdout.contains("dropped its tokens as it made them and synced no record"));

    let page = std::fs::read_to_string(page_path).expect("the page is there");
    let json = std::fs::read_to_string(place.out().join("report.json")).expect("the report");
    let report: Value = serde_json::from_str(&json).expect("JSON");
    assert!(page.contains(verdict), "the page says the same");
    for check in report["checks"].as_array().expect("checks") {
        let name = check["name"].as_str().expect("a name").replace('\'', "&#39;");
        assert!(page.contains(&name), "{name}");
    }
    for bar in report["bars"].as_array().expect("bars") {
        assert!(page.contains(&format!(">{}<", bar["id"].as_str().expect("an id"))), "{bar}");
    }
    assert!(page.contains("--seed 7") && page.contains("--tokens 20000"));
    for loader in ["<script", "src=", "http"] {
        assert!(!page.contains(loader), "{loader}");
    }
}

#[test]
fn a_run_of_one_phase_has_a_page_that_names_what_was_not_measured() {
    let place = Place::new();
    let args = ["--tokens", "20000", "--runs", "1", "--phase", "recovery", "--json"];
    let output = place.run(&args);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Nothing but the document on stdout.
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let command = report["command"].as_str().expect("a command");
    assert!(
        command.starts_with("cargo xtask stress --phase recovery --tokens 20000 "),
        "{command}"
    );
    assert!(command.contains(" --phase recovery "), "{command}");

    let page = std::fs::read_to_string(place.out().join("report.html")).expect("the page");
    for phase in ["baseline", "full", "tracing"] {
        assert!(page.contains(&format!("Not measured: the {phase} phase did not run")), "{phase}");
    }
    assert!(!page.contains("Not measured: the recovery phase"));
    assert_eq!(page.matches("<svg").count(), 1, "a drawing of recovery alone");
}
