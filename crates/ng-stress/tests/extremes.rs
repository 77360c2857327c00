//! Every value that a flag accepts gives a run whose checks hold, at the ends of its range and in pairs;
//! every other is refused at once, with the limit.

mod command;

use command::{Place, text};
use serde_json::Value;

/// Runs the program with these flags, and lists the checks that do not hold.
fn failed_checks(args: &[&str]) -> Vec<String> {
    let place = Place::new();
    let mut all = vec!["--json", "--runs", "1"];
    all.extend(args);
    let output = place.run(&all);
    let stderr = text(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{args:?}: no report ({error}): {stderr}"));
    let checks = report["checks"].as_array().expect("checks");
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| check["pass"] != true)
        .map(|check| format!("{}: {}", check["name"], check["detail"]))
        .collect();
    let code = if failed.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    failed
}

fn all_hold(cases: &[&[&str]]) {
    let failed: Vec<String> = cases
        .iter()
        .flat_map(|args| {
            let failed = failed_checks(args).into_iter();
            failed.map(move |check| format!("{args:?}: {check}"))
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The first of them is what a user tried.
#[test]
fn more_threads_than_the_quota_has_leases_refuse_nothing() {
    all_hold(&[
        &["--phase", "baseline,full", "--tokens", "100000", "--threads", "48"],
        // Each thread fills pages between its creates: more of them take half a minute in the full phase.
        &["--phase", "full", "--tokens", "1000", "--threads", "64", "--sample-rate", "1"],
        &["--phase", "baseline", "--tokens", "1000", "--threads", "256", "--batch", "1"],
    ]);
}

/// The log gets one record, or every one; the sampler chooses none or all.
#[test]
fn parts_that_have_nothing_to_do_or_everything_are_judged_by_what_they_had() {
    const MOST: &str = "18446744073709551615";
    let size = ["--phase", "baseline,full", "--tokens", "1000"];
    let one_record = ["--persist", MOST, "--durability", "strict"];
    let none_chosen = ["--sample-rate", "0.000001", "--seed", MOST, "--batch", MOST];
    let every_record = ["--persist", "every", "--durability", "strict"];
    let all_chosen = ["--sample-rate", "1", "--seed", "0"];
    let relaxed = ["--persist", "9223372036854775809", "--durability", "relaxed"];
    let threads = ["--threads", "3"];
    all_hold(&[
        &[&size[..], &one_record, &none_chosen].concat(),
        &[&size[..], &every_record, &all_chosen].concat(),
        &[&size[..], &relaxed, &all_chosen, &threads].concat(),
        &[&size[..], &every_record[..2], &none_chosen, &threads].concat(),
    ]);
}

#[test]
fn what_no_run_can_do_is_refused_at_once_with_the_limit() {
    for (args, limit) in [
        (["--tokens", "1"], "1000"),
        (["--tokens", "999"], "1000"),
        (["--tokens", "1000000001"], "1000000000"),
        (["--tokens", "18446744073709551615"], "1000000000"),
        (["--tokens", "18446744073709551616"], "1000000000"),
        (["--threads", "0"], "256"),
        (["--threads", "257"], "256"),
        (["--persist", "0"], "1 to 18446744073709551615"),
        (["--batch", "0"], "1 to 18446744073709551615"),
        (["--runs", "0"], "10000"),
        (["--runs", "10001"], "10000"),
        (["--sample-rate", "0"], "0.000001"),
        (["--sample-rate", "0.000000001"], "0.000001"),
        (["--sample-rate", "1.1"], "0.000001"),
        (["--seed", "-1"], "0 to 18446744073709551615"),
        (["--seed", "18446744073709551616"], "0 to 18446744073709551615"),
    ] {
        let place = Place::new();
        let output = place.run(&args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        for word in [args[0], args[1], limit] {
            assert!(stderr.contains(word), "{args:?}: {word} in {stderr}");
        }
        assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
    }
}

#[test]
fn the_limits_of_each_flag_stand_in_its_help() {
    let output = command::bare(&["--help"]).output().expect("started");
    let help = text(&output.stdout);
    for (flag, limits) in [
        ("--tokens", "1000 to 1000000000"),
        ("--threads", "1 to 256"),
        ("--persist", "1 to 18446744073709551615"),
        ("--sample-rate", "0.000001 to 1"),
        ("--runs", "1 to 10000"),
        ("--batch", "1 to 18446744073709551615"),
        ("--seed", "0 to 18446744073709551615"),
    ] {
        let from = help.find(&format!("{flag} ")).unwrap_or_else(|| panic!("{flag} in {help}"));
        let own = &help[from..];
        let own = own[2..].find("\n      --").map_or(own, |end| &own[..end + 2]);
        assert!(own.contains(limits), "{flag}: {limits} in {own}");
    }
}
