//! A closed pipe ends the program silently and well; a stdout that takes nothing else is one message and exit code 1;
//! and what it makes lies where cargo was told to make things.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Output, Stdio},
};

/// One small group.
const SMALL: &[&str] = &["--quick", "--tokens", "1000", "--records", "10000", "--group", "counter"];

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full is there").into()
}

fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn run(dir: &Path, args: &[&str], stdout: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_benches"));
    command.args(args).current_dir(dir).env("CARGO_TARGET_DIR", "made");
    let child = command.stdout(stdout).stderr(Stdio::piped()).spawn().expect("started");
    child.wait_with_output().expect("it ends")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_closed_pipe_is_silent_and_good_and_a_full_one_is_one_message_and_exit_code_1() {
    let with_json = [SMALL, &["--json"]].concat();
    for args in [&["--help"][..], &["--version"], SMALL, &with_json] {
        let dir = tempfile::tempdir().expect("a directory");
        let output = run(dir.path(), args, closed());
        assert_eq!(
            (text(&output.stderr).as_str(), output.status.code()),
            ("", Some(0)),
            "{args:?}"
        );
        let output = run(dir.path(), args, full());
        let said = "bench-report: cannot write to stdout: No space left on device (os error 28)\n";
        let found = (text(&output.stderr), output.status.code());
        assert_eq!(found, (said.to_owned(), Some(1)), "{args:?}");
    }
}

#[test]
fn reports_go_to_the_target_directory_that_is_set() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = run(dir.path(), SMALL, Stdio::piped());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let entries = |path: &Path| -> Vec<String> {
        let entries = fs::read_dir(path).expect("a directory");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("text")).collect()
    };
    assert_eq!(entries(dir.path()), ["made"]);
    let made = dir.path().join("made/bench-report");
    let reports = entries(&made);
    assert_eq!(reports.len(), 2, "a report and the folder for data: {reports:?}");
    assert!(reports.iter().any(|name| made.join(name).join("report.json").exists()));
}

#[test]
fn what_cannot_be_used_is_told_in_one_line_with_its_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("written");
    for (args, code, word) in [
        (["--tokens", "999"], 2, "--tokens"),
        (["--dir", "file/below"], 2, "file/below"),
        (["--dir", "/proc/neurograph"], 3, "/proc/neurograph"),
    ] {
        let output = run(dir.path(), &args, Stdio::piped());
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert!(line.lines().count() == 1 && line.contains(word), "{line}");
        assert_eq!(text(&output.stdout), "");
    }
}
