//! What a session costs that does nothing, by the kernel's figures. Alone in its file: another test's memory would count too.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "the figure is what the test is for")]

use neurograph::{Config, Session, Store};

/// Resident pages of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn ten_thousand_idle_sessions_take_no_more_than_is_counted_for_them() {
    let store = Store::in_memory(Config::default()).unwrap();
    let few: Vec<_> = (0..100).map(|_| store.session()).collect();
    let before = resident();
    let idle: Vec<_> = (0..10_000).map(|_| store.session()).collect();
    let each = (resident() - before) / 10_000;
    println!("an idle session takes {each} bytes; {} are counted", Session::BYTES);
    assert!(each <= Session::BYTES, "{each} bytes a session, counted are {}", Session::BYTES);
    drop((few, idle));
}
