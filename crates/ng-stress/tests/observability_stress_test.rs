//! The published command: the four phases on stored tokens, asserted and not only printed.
#![allow(clippy::print_stdout, reason = "run with --nocapture, it shows the checks and bars")]

mod command;

use command::{Place, text};
use serde_json::Value;

/// The published size where the build is fast enough for it; NG_STRESS_TOKENS says otherwise.
fn tokens() -> u64 {
    match std::env::var("NG_STRESS_TOKENS") {
        Ok(tokens) => tokens.replace('_', "").parse().expect("NG_STRESS_TOKENS is a number"),
        Err(_) if cfg!(debug_assertions) => 100_000,
        Err(_) => 9_500_000,
    }
}

fn seed() -> u64 {
    let seed = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("NG_SEED={seed}");
    seed
}

#[test]
fn stress_test_full_observability_stack() {
    let (tokens, seed) = (tokens(), seed());
    // The published size takes the published number of pairs.
    let runs = if tokens >= 9_500_000 { "31" } else { "3" };
    let place = Place::new();
    let args =
        ["--json", "--tokens", &tokens.to_string(), "--seed", &seed.to_string(), "--runs", runs];
    let output = place.run(&args);
    let stderr = text(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("stdout is one JSON document: {e}; stderr: {stderr}"));
    for check in report["checks"].as_array().expect("checks") {
        println!("{} {}: {}", check["pass"], check["name"], check["detail"]);
    }
    for bar in report["bars"].as_array().expect("bars") {
        println!(
            "bar {}: {} (at most {}, pass {})",
            bar["id"], bar["value"], bar["bar"], bar["pass"]
        );
    }
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    for line in stderr.lines() {
        assert!(
            line.starts_with("ng-stress: ")
                && (line.ends_with(" s)") || line.ends_with(" s left)")),
            "no line of progress: {line}"
        );
    }

    let failed: Vec<&Value> =
        all(&report["checks"]).filter(|check| check["pass"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(all(&report["checks"]).count() > 40);

    let full = &report["phases"]["full"];
    assert_eq!(report["phases"]["baseline"]["tokens"], tokens);
    assert_eq!(full["tokens"], tokens);
    assert_eq!(full["wal_records"], tokens.div_ceil(1000));
    // The tokens, 1,000 at the quota, 1,000 after a delete of which one is admitted.
    assert_eq!(full["quota_checks"], tokens + 2000);
    assert_eq!(full["quota_exceeded"], 1999);
    assert_eq!(full["quota_false_refusals"], 0);
    assert_eq!(full["quota_missed_refusals"], 0);
    assert_eq!(full["spans_dropped"], 0);
    let recovery = &report["phases"]["recovery"];
    assert_eq!(recovery["killed_by"], "SIGKILL");
    for none in ["lost_acknowledged", "invented", "duplicates", "crc_failures"] {
        assert_eq!(recovery[none], 0, "{none}");
    }
    assert!(recovery["records_acknowledged_durable"].as_u64() > Some(0));
    let tracing = &report["phases"]["tracing"];
    assert_eq!(tracing["errors_kept"], tracing["errors_total"]);
    assert_eq!(tracing["slow_kept"], tracing["slow_total"]);

    let written = std::fs::read(place.out().join("report.json")).expect("a report file");
    assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), report);
    let left = place.left_behind();
    assert_eq!(
        left,
        ["data", "out", "out/report.html", "out/report.json"].map(std::path::PathBuf::from)
    );
}

fn all(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().expect("a list").iter()
}
