//! What cannot be run ends with one clear line, the right exit code and nothing left behind.

mod command;

use std::process::Output;

use command::{Place, bare, text};

/// Exit code, and one line on stderr that mentions `words`; nothing on stdout.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn wrong_flags_are_wrong_usage_and_named() {
    for (args, words) in [
        (&["--tokens", "many"][..], &["--tokens", "many"][..]),
        (&["--tokens", "0"], &["--tokens", "1000 to 1000000000"]),
        (&["--tokens", "999"], &["--tokens", "999", "1000"]),
        (&["--phase", "warp"], &["--phase", "warp", "baseline"]),
        (&["--persist", "never"], &["--persist", "every"]),
        (&["--durability", "hope"], &["--durability", "balanced"]),
        (&["--sample-rate", "2"], &["--sample-rate", "0.000001"]),
        (&["--runs", "0"], &["--runs"]),
        (&["--threads", "100000"], &["--threads", "256"]),
        (&["--no-such-flag"], &["--no-such-flag"]),
        (&["stray"], &["stray"]),
    ] {
        let place = Place::new();
        refused(&place.run(args), 2, words);
        assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
    }
}

#[test]
fn more_tokens_than_addresses_lack_them_and_say_how_much() {
    let place = Place::new();
    let run = place.command(&["--tokens", "1_000_000"]);
    let output = place.limited("ulimit -v 600000", &run);
    refused(&output, 3, &["address space", "MiB needed", "MiB left under RLIMIT_AS"]);
    assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
}

#[test]
fn a_file_in_place_of_the_directory_is_wrong_usage() {
    let place = Place::new();
    std::fs::write(place.data(), "a file").expect("written");
    refused(&place.run(&["--tokens", "1000"]), 2, &["--dir", "not a directory"]);
    assert_eq!(place.left_behind(), ["data"].map(std::path::PathBuf::from));
    assert_eq!(std::fs::read_to_string(place.data()).expect("unharmed"), "a file");
}

#[test]
fn a_directory_that_cannot_be_written_is_the_environments_fault() {
    // Also for root, to whom permissions mean nothing: the kernel's own tree takes no directory.
    let place = Place::new();
    let out = place.out();
    let out = out.to_str().expect("text");
    let output = bare(&["--tokens", "1000", "--dir", "/proc/neurograph", "--out", out]).output();
    refused(&output.expect("started"), 3, &["--dir", "/proc/neurograph"]);
    assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
}

#[test]
fn a_report_directory_that_cannot_be_written_is_found_out_before_the_run() {
    let place = Place::new();
    let data = place.data();
    let data = data.to_str().expect("text");
    let output = bare(&["--tokens", "1000", "--dir", data, "--out", "/proc/neurograph"]).output();
    refused(&output.expect("started"), 3, &["--out", "/proc/neurograph"]);
    assert_eq!(place.left_behind(), ["data"].map(std::path::PathBuf::from), "only the empty --dir");
}

#[test]
fn help_is_no_error_and_hides_what_is_internal() {
    let output = bare(&["--help"]).output().expect("started");
    let help = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for flag in [
        "--tokens",
        "--threads",
        "--phase",
        "--persist",
        "--durability",
        "--sample-rate",
        "--runs",
        "--batch",
        "--dir",
        "--out",
        "--json",
        "--enforce",
        "--seed",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(!help.contains("recovery-child"));
}
