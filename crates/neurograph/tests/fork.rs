//! A forked child that drops a store it inherited unlocked its parent's: two processes wrote one log, and 1 of 51
//! acknowledged creates survived. Now a child's calls are errors, and its drops touch nothing that it shares.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "the child acknowledges through its standard output")]

use neurograph::{
    CloseError, Config, CreateError, Durability, Health, OpenError, SessionError, Store, SyncError,
    Token, WriteError,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD_DIR: &str = "NEUROGRAPH_TEST_CHILD_DIR";

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

/// What the forked child does with what it inherited. Panics are its failure.
fn use_inherited(store: Store, mut session: neurograph::Session) {
    let level = Durability::Strict;
    let created = session.with(level).create(&token(1));
    assert!(matches!(created, Err(CreateError::Forked { .. })), "{created:?}");
    let created = session.create(&token(1));
    assert!(matches!(created, Err(CreateError::Forked { .. })), "{created:?}");
    let (id, _) = store.iter().next().expect("memory is there to be read");
    assert!(matches!(session.delete(id), Err(WriteError::Forked { .. })));
    assert!(matches!(store.sync(), Err(SyncError::Forked { .. })));
    assert!(matches!(store.try_session(), Err(SessionError::Forked { .. })));
    assert!(matches!(store.health(), Health::Forked { .. }));
    // Behind locks that a thread of the parent may have held.
    assert_eq!(store.stats().tokens_live, 0);
    assert_eq!(store.metrics_text(), "# EOF\n");
    if let Some(recorder) = store.blackbox() {
        let text = neurograph::blackbox::Event::text(
            neurograph::blackbox::Kind::new(40),
            neurograph::blackbox::Severity::INFO,
            "of a child",
        );
        recorder.record(text);
    }
    drop(session);
    assert!(matches!(store.close(), Err(CloseError::Forked { .. })));
}

/// Runs in a process of its own, which forks.
#[test]
fn child_that_forks() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Store::open(dir, Config::default()).unwrap();
    let mut session = store.session();
    for n in 0..10 {
        session.with(Durability::Strict).create(&token(n)).unwrap();
    }
    // SAFETY: the child calls what a program would that does not know better; it ends without unwinding
    // into the test's harness.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            use_inherited(store, session);
        }));
        // SAFETY: ends this process, and nothing else of it.
        unsafe { libc::_exit(i32::from(used.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `pid` is our child, `status` is ours.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    println!("\nforked {status}");
    std::io::stdout().flush().unwrap();
    // The test looks whether the lock still holds, then lets us go on.
    std::io::stdin().read_exact(&mut [0]).unwrap();
    for n in 10..61 {
        session.with(Durability::Strict).create(&token(n)).unwrap();
    }
    drop(session);
    store.close().unwrap();
}

fn start(dir: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_forks", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_forked_child_can_neither_use_nor_unlock_the_store_of_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start(dir.path());
    let mut output =
        BufReader::new(process.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let forked = output.find(|line| line.starts_with("forked "));
    assert_eq!(forked.as_deref(), Some("forked 0"), "the child ended well");
    match Store::open(dir.path(), Config::default()) {
        Err(OpenError::Log(neurograph::wal::OpenError::Locked { holder, .. })) => {
            assert!(holder.contains(&process.id().to_string()), "{holder}");
        }
        other => panic!("{other:?}"),
    }
    process.stdin.take().unwrap().write_all(b"\n").unwrap();
    output.for_each(drop);
    assert!(process.wait().unwrap().success());
    let store = Store::open(dir.path(), Config::default()).unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.len(), 61);
}
