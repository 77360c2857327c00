//! What the machine lacks is found before the run: exit code 3, what is needed and what is there, and nothing
//! left behind. And each error of the system is told with its cause.

mod command;

use std::process::Output;

use command::{Place, text};

/// Exit code 3, and one line on stderr with these words.
fn lacks(place: &Place, output: &Output, words: &[&str]) {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{line}");
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert_eq!(text(&output.stdout), "");
    assert!(place.left_behind().is_empty(), "{:?}", place.left_behind());
}

#[test]
fn too_little_of_what_a_process_may_have_is_told_before_the_run() {
    for (limit, words) in [
        ("ulimit -v 1000000", &["address space", "MiB needed", "MiB left under RLIMIT_AS"][..]),
        ("ulimit -n 16", &["file descriptors", "20 more needed", "RLIMIT_NOFILE is 16"]),
        ("ulimit -f 1000", &["file sizes", "64 MiB needed", "RLIMIT_FSIZE is 1 MiB"]),
    ] {
        let place = Place::new();
        let run = place.command(&["--tokens", "1000", "--runs", "1"]);
        lacks(&place, &place.limited(limit, &run), words);
    }
}

#[test]
fn a_phase_without_a_log_needs_no_large_files() {
    let place = Place::new();
    let run = place.command(&["--tokens", "1000", "--runs", "1", "--phase", "baseline"]);
    let output = place.limited("ulimit -f 1000", &run);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// What preflight finds enough is enough: with little more the same run goes through.
#[test]
fn what_is_found_enough_is_enough() {
    for limit in ["ulimit -n 28", "ulimit -f 140000"] {
        let place = Place::new();
        let run = place.command(&["--tokens", "1000", "--runs", "1", "--json"]);
        let output = place.limited(limit, &run);
        assert_eq!(output.status.code(), Some(0), "{limit}: {}", text(&output.stderr));
    }
    let place = Place::new();
    let flags = ["--tokens", "1000", "--runs", "1", "--phase", "baseline,full", "--threads", "9"];
    let run = place.command(&flags);
    let output = place.limited("ulimit -v 700000", &run);
    let needed = text(&output.stderr);
    let mib = |words: &str| -> u64 {
        let at = needed.find(words).unwrap_or_else(|| panic!("{words} in {needed}"));
        let before = needed[..at].trim_end();
        before.rsplit(' ').next().expect("a number").parse().expect("a number")
    };
    // The program and what it holds by now are not in the figure.
    let enough = (mib("MiB needed") + 64) * 1024;
    let output = place.limited(&format!("ulimit -v {enough}"), &run);
    assert_eq!(output.status.code(), Some(0), "{enough} KiB: {}", text(&output.stderr));
}
