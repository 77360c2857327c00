//! The report has every key of schema "neurograph-stress/1"; what was not measured is null, never 0.

mod command;

use command::{Place, text};
use serde_json::Value;

/// Every key as the contract lists it; the values only say which kind each has, null any.
const CONTRACT: &str = r#"{
        "schema": "", "version": "", "git": null, "started": "", "seed": 0,
        "machine": {"cpu": "", "cores": 0, "memory_bytes": 0, "kernel": "", "filesystem": "", "thp": ""},
        "config": {"tokens": 0, "threads": 0, "persist": 0, "durability": "", "sample_rate": 0, "runs": 0},
        "phases": {
            "baseline": {"tokens": 0, "elapsed_ns": 0, "ns_per_token": 0, "tokens_per_s": 0,
                "rss_growth_bytes": 0, "rss_peak_bytes": 0, "bytes_per_token": 0,
                "floor_ns_per_token": 0, "times_floor": 0, "tenths_ns_per_token": [], "runs_ns": [],
                "started": "", "ended": ""},
            "full": {"tokens": 0, "elapsed_ns": 0, "ns_per_token": 0, "tokens_per_s": 0,
                "overhead_ratio": 0, "overhead_ratio_spread": [], "pairs": [],
                "wal_records": 0, "wal_bytes": 0, "wal_syncs": 0, "durable_after_ns": 0,
                "quota_checks": 0, "quota_exceeded": 0, "quota_false_refusals": 0,
                "quota_missed_refusals": 0, "cleanups": 0, "evicted": 0, "spans_recorded": 0,
                "spans_dropped": 0, "blackbox_events": 0, "metrics_scrapes": 0, "memory_share": 0,
                "cpu_ns_baseline": 0, "cpu_ns_full": 0, "cpu_ratio": 0, "facade_off_ratio": 0,
                "two_thread_ratio": null,
                "memory": {"arena": 0, "wal": 0, "trace": 0, "metrics": 0, "blackbox": 0, "other": 0},
                "steady": {"seconds": 0, "overhead_ratio": 0, "cpu_ratio": 0, "wal_syncs": 0,
                    "metrics_scrapes": 0, "controller_steps": 0, "spans_dropped": 0},
                "components": {"guardian": 0, "wal": 0, "trace": 0, "metrics": 0, "blackbox": 0}},
            "recovery": {"killed_by": "", "records_acknowledged_durable": 0, "records_recovered": 0,
                "lost_acknowledged": 0, "invented": 0, "duplicates": 0, "crc_failures": 0,
                "elapsed_ns": 0, "records_per_s": 0,
                "published_case": {"records": 0, "elapsed_ns": 0}},
            "tracing": {"operations": 0, "baseline_ns_per_op": 0, "all_sampled_ns_per_op": 0,
                "one_percent_ns_per_op": 0, "span_ns": 0, "unsampled_ns": 0, "ratio_all": 0,
                "ratio_one_percent": 0, "errors_kept": 0, "errors_total": 0, "slow_kept": 0,
                "slow_total": 0, "measured_overhead": null,
                "published_case": {"operations": 0, "span_ns": 0, "ratio_all": 0}}
        },
        "checks": [], "reference": {"full_overhead_ratio": 0}, "bars": []
    }"#;

/// Each key of `contract` is in `found`, and of the same kind; null in the contract allows any.
fn compare(path: &str, contract: &Value, found: &Value) {
    match (contract, found) {
        (Value::Object(keys), Value::Object(found)) => {
            for (key, value) in keys {
                let path = format!("{path}.{key}");
                let found = found.get(key).unwrap_or_else(|| panic!("{path} is missing"));
                compare(&path, value, found);
            }
        }
        (Value::Null, _)
        | (Value::Array(_), Value::Array(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::String(_), Value::String(_)) => {}
        _ => panic!("{path} is {found}, of another kind than {contract}"),
    }
}

fn report(args: &[&str]) -> Value {
    let place = Place::new();
    let output = place.run(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}{}", text(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn a_run_of_all_phases_has_every_key_of_the_contract() {
    let report = report(&["--tokens", "20000", "--runs", "1", "--json", "--enforce"]);
    assert_eq!(report["schema"], "neurograph-stress/1");
    let contract: Value = serde_json::from_str(CONTRACT).expect("JSON");
    compare("report", &contract, &report);
    assert_eq!(report["reference"]["full_overhead_ratio"], 971.0);
    for bar in report["bars"].as_array().expect("bars") {
        assert!(bar["pass"].is_null(), "too few tokens to judge: {bar}");
    }
    for id in ["P2", "P2s", "P2c", "P2t", "P2d", "P8"] {
        let bars = report["bars"].as_array().expect("bars");
        let bar = bars.iter().find(|bar| bar["id"] == id).unwrap_or_else(|| panic!("{id}"));
        assert!(bar.as_object().expect("a bar").contains_key("goal"), "{bar}");
    }
}

#[test]
fn a_phase_that_did_not_run_is_null_and_so_are_its_bars() {
    let report = report(&["--tokens", "20000", "--runs", "1", "--json", "--phase", "baseline"]);
    assert!(report["phases"]["baseline"].is_object());
    for phase in ["full", "recovery", "tracing"] {
        assert!(report["phases"][phase].is_null(), "{phase}");
    }
    for bar in report["bars"].as_array().expect("bars") {
        assert_eq!(bar["value"].is_null(), bar["id"] != "P8", "{bar}");
    }
}

#[test]
fn the_table_begins_with_what_the_suite_proves_and_shows_the_published_figures() {
    let place = Place::new();
    let output = place.run(&["--tokens", "20000", "--runs", "1", "--phase", "baseline"]);
    let stdout = text(&output.stdout);
    let first = stdout.lines().next().expect("a line");
    assert!(first.contains("process kill") && first.contains("power loss"), "{first}");
    for published in ["45 ns", "22.1 M/s", "608 MB", "not judged"] {
        assert!(stdout.contains(published), "{published} in {stdout}");
    }
    assert!(!stdout.contains("FAILED"), "{stdout}");
}
