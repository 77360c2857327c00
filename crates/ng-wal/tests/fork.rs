//! A process with an open log forks. The child's copy of the handle does nothing to the log that the
//! parent has open, and says so. The example `fork_child` does it, in a process of its own: a test's
//! process has threads of which it knows nothing.
#![cfg(unix)]

use std::path::PathBuf;
use std::process::Command;

/// Examples are built before tests are run, and stand beside them.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/fork_child")
}

#[test]
fn a_forked_child_neither_unlocks_nor_writes_its_parents_log_and_is_told() {
    let example = example();
    let path = example.display();
    assert!(example.exists(), "no {path}: cargo build -p ng-wal --examples, or run all tests");
    let output = Command::new(example).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(String::from_utf8_lossy(&output.stdout).contains("forks"), "it did nothing: {said}");
}
