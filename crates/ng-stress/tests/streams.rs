//! A closed pipe ends the program silently and well; a stdout that takes nothing else is one message and exit
//! code 1; and no stream makes it panic.

mod command;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use command::{Place, bare, text};

/// What this program prints where nothing is wrong.
const PRINTING: [&[&str]; 4] = [
    &["--help"],
    &["--version"],
    &["--tokens", "1000", "--runs", "1", "--phase", "baseline"],
    &["--tokens", "1000", "--runs", "1", "--phase", "baseline", "--json"],
];

/// Everything that is written to it is refused with ENOSPC.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full is there").into()
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(mut command: Command, stdout: Stdio) -> Output {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("started");
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_closed_pipe_ends_it_silently_and_well() {
    for args in PRINTING {
        let place = Place::new();
        let output = run(place.command(args), closed());
        assert_eq!(
            (text(&output.stderr).as_str(), output.status.code()),
            ("", Some(0)),
            "{args:?}"
        );
        let left = place.left_behind();
        let in_data = |path: &PathBuf| path.parent() == Some(Path::new("data"));
        assert!(!left.iter().any(in_data), "{args:?}: {left:?}");
    }
}

#[test]
fn a_full_stdout_is_one_message_and_exit_code_1() {
    for args in PRINTING {
        let place = Place::new();
        let output = run(place.command(args), full());
        let stderr = text(&output.stderr);
        let expected = "ng-stress: cannot write to stdout: No space left on device (os error 28)\n";
        assert_eq!((stderr.as_str(), output.status.code()), (expected, Some(1)), "{args:?}");
    }
}

#[test]
fn an_error_that_nobody_can_be_told_of_keeps_its_exit_code() {
    for stderr in [full(), closed()] {
        let mut command = bare(&["--tokens", "1"]);
        let status = command.stdout(Stdio::null()).stderr(stderr).status().expect("started");
        assert_eq!(status.code(), Some(2));
    }
}

/// Where stderr is no terminal there are lines, each with what is being done and how far it is.
#[test]
fn without_a_terminal_a_line_now_and_then_tells_how_far_it_is() {
    let place = Place::new();
    let run =
        ["--tokens", "20000", "--runs", "1", "--phase", "full", "--line-every", "100", "--json"];
    let output = place.run(&run);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok());
    let steady = stderr.lines().filter(|line| line.starts_with("ng-stress: full: steady churn"));
    let steady: Vec<&str> = steady.collect();
    // Its slices take two seconds by their own clock.
    assert!(!steady.is_empty(), "{stderr}");
    assert!(
        steady.iter().all(|line| line.contains(" of 6 (")
            && (line.ends_with(" s)") || line.ends_with(" s left)"))),
        "{stderr}"
    );
}

/// What is made goes where cargo was told to make things.
#[test]
fn reports_and_data_go_to_the_target_directory_that_is_set() {
    let place = Place::new();
    let mut command = bare(&["--tokens", "1000", "--runs", "1", "--phase", "baseline"]);
    let target = place.root().join("elsewhere");
    let output = command.current_dir(place.root()).env("CARGO_TARGET_DIR", &target).output();
    let output = output.expect("started");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let left = place.left_behind();
    assert!(left.iter().all(|path| path.starts_with("elsewhere")), "{left:?}");
    assert!(left.iter().any(|path| path.ends_with("report.json")), "{left:?}");
    assert!(left.contains(&PathBuf::from("elsewhere/stress/data")), "{left:?}");
}
