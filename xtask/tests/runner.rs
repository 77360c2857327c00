//! The runner as its users meet it: wrong flags are refused and help is given without a build, a build tells how far it
//! is, an interrupt is told, and no stream makes it panic.
#![cfg(unix)]

use std::{
    fs::{self, File, Permissions},
    io::{BufRead, BufReader, PipeWriter},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).stdin(Stdio::null());
    command
}

/// A build can't be started with it: whoever tries ends with exit code 3.
const NO_CARGO: (&str, &str) = ("CARGO", "/no/such/cargo");

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full is there").into()
}

fn closed() -> PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

fn run(mut command: Command, stdout: impl Into<Stdio>) -> Output {
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("started");
    child.wait_with_output().expect("it ends")
}

/// What prints without a build; `tidy` in both of its forms.
const PRINTING: [&[&str]; 7] = [
    &[],
    &["--help"],
    &["tidy", "--help"],
    &["tidy"],
    &["tidy", "--json"],
    &["stress", "--help"],
    &["bench-report", "--help"],
];

#[test]
fn a_closed_pipe_ends_it_silently_and_well() {
    for args in PRINTING {
        let output = run(xtask(args), closed());
        assert_eq!(
            (text(&output.stderr).as_str(), output.status.code()),
            ("", Some(0)),
            "{args:?}"
        );
    }
}

#[test]
fn a_full_stdout_is_one_message_and_exit_code_1() {
    for args in PRINTING {
        let output = run(xtask(args), full());
        let expected = "xtask: cannot write to stdout: No space left on device (os error 28)\n";
        let found = (text(&output.stderr), output.status.code());
        assert_eq!(found, (expected.to_owned(), Some(1)), "{args:?}");
    }
}

#[test]
fn an_error_that_nobody_can_be_told_of_keeps_its_exit_code() {
    for stderr in [full(), closed().into()] {
        let mut command = xtask(&["torture", "--only", "nothing"]);
        let status = command.stdout(Stdio::null()).stderr(stderr).status().expect("started");
        assert_eq!(status.code(), Some(2));
    }
}

#[test]
fn wrong_flags_of_the_programs_are_refused_before_the_build() {
    for (args, words) in [
        (["stress", "--threads", "257"], ["--threads", "1 to 256"]),
        (["stress", "--no-such-flag", ""], ["--no-such-flag", "--help"]),
        (["bench-report", "--tokens", "999"], ["--tokens", "1000..=1000000000"]),
        (["bench-report", "--group", "nothing"], ["--group", "wal_replay"]),
    ] {
        let output = xtask(&args).envs([NO_CARGO]).output().expect("started");
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        for word in words {
            assert!(line.contains(word), "{word} in {line}");
        }
        assert_eq!(text(&output.stdout), "");
    }
    let right = xtask(&["stress", "--threads", "256"]).envs([NO_CARGO]).output();
    assert_eq!(right.expect("started").status.code(), Some(3), "this one would have built");
}

#[test]
fn help_with_the_limits_of_each_flag_needs_no_build() {
    for (args, limits) in [
        (["stress", "--help"], ["1000 to 1000000000", "1 to 256", "1 to 10000", "0.000001 to 1"]),
        (
            ["bench-report", "--help"],
            ["1000 to 1000000000", "10000 to 100000000", "1000 to 10000000000", "wal_durable_8t"],
        ),
    ] {
        let output = xtask(&args).envs([NO_CARGO]).output().expect("started");
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for limit in limits {
            assert!(help.contains(limit), "{limit} in {help}");
        }
    }
}

/// In place of cargo: says what a build says, and goes on until its stdin ends.
fn stand_in(dir: &TempDir) -> String {
    let path = dir.path().join("cargo");
    let script = "#!/bin/sh\necho '   Compiling one v1.0.0' >&2\necho 'warning: told' >&2\ncat\n";
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    path.to_str().expect("text").to_owned()
}

#[test]
fn a_build_off_a_terminal_tells_how_far_it_is_and_an_interrupt_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = xtask(&["stress", "--tokens", "1000"]);
    command.env("CARGO", stand_in(&dir)).env("NG_LINE_EVERY_MS", "20");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("started");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut wait_for = |words: &str| {
        let found = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with(words));
        found.unwrap_or_else(|| panic!("no line begins with {words:?}"))
    };
    // What the compiler says is passed on, what cargo says of its crates is counted.
    assert_eq!(wait_for("warning"), "warning: told");
    let line = wait_for("xtask: building ng-stress in release mode: 1 crates compiled (");
    assert!(line.ends_with(" s)"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert_eq!(wait_for("xtask: interrupted"), "xtask: interrupted");
    // Its stand-in for cargo ends with this pipe, and the build with that: so it is kept to the end.
    let build = child.stdin.take();
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    drop(build);
    assert!(Path::new(dir.path()).exists());
}
