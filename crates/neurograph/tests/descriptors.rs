//! A process without a descriptor left is told that one is lacking: it was "can't start the thread neurograph-pulse".
#![cfg(target_os = "linux")]

use neurograph::{Config, Store};
use std::process::Command;

const CHILD: &str = "NEUROGRAPH_TEST_CHILD_WITHOUT_DESCRIPTORS";

#[test]
fn a_store_in_memory_without_a_descriptor_says_what_could_not_be_made() {
    if std::env::var_os(CHILD).is_some() {
        return in_the_child();
    }
    let test = "a_store_in_memory_without_a_descriptor_says_what_could_not_be_made";
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
}

/// A process of its own: others would miss the descriptors.
fn in_the_child() {
    let mut held = Vec::new();
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: it reads the struct, which lives until it returns.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    let refused = Store::in_memory(Config::default()).expect_err("there is no descriptor");
    let cause = std::error::Error::source(&refused).expect("the system's word");
    let cause = cause.downcast_ref::<std::io::Error>().expect("the system's word");
    assert_eq!(cause.raw_os_error(), Some(libc::EMFILE), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("descriptor") && !said.contains("start the thread"), "{said}");
    drop(held);
    Store::in_memory(Config::default()).unwrap();
}
