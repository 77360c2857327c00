//! Each scenario runs by itself, has checks of its own, and leaves the phases and bars null.

mod command;

use command::{Place, text};
use serde_json::Value;

/// As the contract names them; `checks` is how many each has at least.
const SCENARIOS: [(&str, usize); 6] =
    [("two_threads", 20), ("every", 20), ("churn", 10), ("storm", 8), ("pressure", 8), ("soak", 8)];

#[test]
fn each_scenario_holds_its_checks_and_runs_alone() {
    let place = Place::new();
    for (name, least) in SCENARIOS {
        let args =
            ["--tokens", "20000", "--runs", "5", "--json", "--soak", "2000", "--scenario", name];
        let output = place.run(&args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{name}: {stderr}{}", text(&output.stdout));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let scenarios = report["scenarios"].as_object().expect("an object");
        assert_eq!(scenarios.keys().collect::<Vec<_>>(), [name]);
        let checks = scenarios[name]["checks"].as_array().expect("checks");
        assert!(checks.len() >= least, "{name}: {checks:#?}");
        assert!(checks.iter().all(|check| check["pass"] == true), "{name}: {checks:#?}");
        let series = scenarios[name]["series"]["rss_bytes"].as_array().map_or(0, Vec::len);
        assert_eq!(series > 10, name == "soak", "{name}: {series} points of memory over time");
        assert!(report["phases"].as_object().expect("phases").values().all(Value::is_null));
        assert!(report["bars"].as_array().expect("bars").iter().all(|bar| bar["pass"].is_null()));
    }
}

#[test]
fn an_unknown_scenario_and_one_beside_phases_are_wrong_usage() {
    let place = Place::new();
    for args in [
        &["--scenario", "chrn"][..],
        &["--scenario", "churn", "--phase", "full"],
        &["--minutes", "5"],
        &["--scenario", "churn", "--minutes", "5"],
    ] {
        let output = place.run(args);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
}

/// With few tokens the quota refused nobody, and that failed a check.
#[test]
fn a_storm_of_any_size_is_refused_some_creates() {
    let place = Place::new();
    for (tokens, threads) in [("1000", "1"), ("3000", "1"), ("20000", "256")] {
        let args = ["--tokens", tokens, "--threads", threads, "--scenario", "storm"];
        let output = place.run(&args);
        assert_eq!(output.status.code(), Some(0), "{tokens}: {}", text(&output.stdout));
    }
}
