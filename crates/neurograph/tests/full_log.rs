//! A log at its limit opens however often it is killed: some sixty unclean restarts used up the reserve that the next one
//! needed for its own record, and the store could not be opened again.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "the child acknowledges through its standard output")]

use neurograph::guardian::Evict;
use neurograph::{Config, CreateError, FullCause, Store, Token, TokenId, WriteError};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD_DIR: &str = "NEUROGRAPH_TEST_CHILD_DIR";
const CHILD_CREATES: &str = "NEUROGRAPH_TEST_CHILD_CREATES";

fn config() -> Config {
    let mut config = Config::default();
    config.wal.segment_bytes = 1_081_344;
    config.wal.log_bytes_max = 9 << 20;
    config.wal.full_timeout = Duration::from_millis(1);
    config.blackbox.enabled = false;
    config
}

/// Runs in the child: opens the store, tries a create where that is asked for, says so, and waits for its end.
#[test]
fn child_that_opens_a_full_store() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Store::open(dir, config()).unwrap();
    if std::env::var_os(CHILD_CREATES).is_some() {
        // Refused, or admitted where the last round's cut left a little room.
        let mut session = store.session();
        let token = Token::builder().timestamp(7).build().unwrap();
        if let Ok(id) = session.create(&token) {
            session.delete(id).unwrap();
        }
        let _durable_or_not = store.sync();
    }
    println!("\nopened {}", store.len());
    loop {
        std::thread::park();
    }
}

/// Opens the store in a process that is then killed; returns the tokens that it found.
fn open_and_kill(dir: &Path, creates: bool) -> Option<u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_that_opens_a_full_store", "--nocapture"]).env(CHILD_DIR, dir);
    if creates {
        command.env(CHILD_CREATES, "1");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let opened = output.find_map(|line| line.strip_prefix("opened ")?.parse().ok());
    child.kill().unwrap();
    output.for_each(drop);
    child.wait().unwrap();
    opened
}

fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    entries.map(|entry| entry.len()).sum()
}

fn fill(dir: &Path) -> Vec<TokenId> {
    let store = Store::open(dir, config()).unwrap();
    let mut session = store.session();
    let token = Token::builder().timestamp(7).build().unwrap();
    let mut ids = Vec::new();
    loop {
        match session.create(&token) {
            Ok(id) => ids.push(id),
            Err(CreateError::LogFull { .. }) if store.stats().wal.unwrap().log_bytes > 5 << 20 => {
                break;
            }
            Err(CreateError::LogFull { .. }) => {} // the disk is slow, that is all
            Err(error) => panic!("{error}"),
        }
    }
    store.sync().unwrap();
    drop(session);
    store.close().unwrap();
    ids
}

#[test]
fn a_full_log_opens_after_any_number_of_kills_and_does_not_grow_by_them() {
    let made = tempfile::tempdir().unwrap();
    let ids = fill(made.path());
    let dir = made.path();
    let mut sizes = Vec::new();
    for round in 0..150 {
        let found = open_and_kill(dir, round % 3 == 0);
        assert_eq!(found, Some(ids.len() as u64), "round {round}");
        sizes.push(bytes(&dir.join("wal")));
    }
    let (early, late) = (sizes[20], sizes[149]);
    assert!(late <= early + (256 << 10), "the log grew from {early} to {late} bytes: {sizes:?}");
    // And it still takes what makes room.
    let store = Store::open(dir, config()).unwrap();
    let mut session = store.session();
    ids.iter().take(100).for_each(|&id| session.delete(id).unwrap());
}

/// Once the reserve for deletes is used up too, each eviction would wait in vain, one after the other.
/// Deletes used the last of the log, a close failed for want of one record, and so did the next one; and a batch
/// of deletes was refused where four thousand single ones still fitted.
#[test]
fn a_log_that_deletes_filled_to_the_end_closes_and_batches_of_them_go_as_far_as_single_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut full = config();
    full.wal.reserved_bytes = 256 << 10;
    full.wal.full_timeout = Duration::from_millis(20);
    let store = Store::open(dir.path(), full.clone()).unwrap();
    let mut session = store.session();
    let token = Token::builder().timestamp(7).build().unwrap();
    let mut ids = Vec::new();
    let is_of_the_log = |cause: &FullCause| matches!(cause, FullCause::Log { .. });
    loop {
        match session.create(&token) {
            Ok(id) => ids.push(id),
            Err(CreateError::LogFull { cause, .. }) if is_of_the_log(&cause) => break,
            Err(CreateError::LogFull { .. }) => {} // the disk is slow, that is all
            Err(error) => panic!("{error}"),
        }
    }
    let mut left = &ids[..];
    loop {
        match session.delete_batch(&left[..5_000]) {
            Ok(()) => left = &left[5_000..],
            Err(error) => {
                left = &left[error.done..];
                match error.source {
                    WriteError::LogFull { cause, .. } if is_of_the_log(&cause) => break,
                    WriteError::LogFull { .. } => {}
                    error => panic!("{error}"),
                }
            }
        }
    }
    assert!(left.len() < ids.len() - 5_000, "the reserve is for deletes");
    let single = session.delete(left[0]);
    assert!(matches!(single, Err(WriteError::LogFull { .. })), "{single:?}");
    drop(session);
    store.close().unwrap();
    for _ in 0..2 {
        let store = Store::open(dir.path(), full.clone()).unwrap();
        assert_eq!(store.len(), left.len() as u64);
        store.close().unwrap();
    }
}

#[test]
fn a_log_without_room_for_a_delete_ends_a_cleanup_at_the_first() {
    let made = tempfile::tempdir().unwrap();
    let ids = fill(made.path());
    let mut evicts_all = config();
    evicts_all.guardian.evict = Evict::All;
    evicts_all.wal.reserved_bytes = 64 << 10;
    let store = Store::open(made.path(), evicts_all).unwrap();
    let mut session = store.session();
    // A smaller reserve than when it was filled: what is between them goes to creates.
    let token = Token::builder().timestamp(7).build().unwrap();
    while session.create(&token).is_ok() {}
    let refused = ids.iter().find_map(|id| session.delete(*id).err());
    assert!(matches!(refused, Some(WriteError::LogFull { .. })), "{refused:?}");
    let figures = || {
        let stats = store.stats();
        let guardian = stats.guardian;
        (stats.wal.unwrap().full_total, guardian.cleanups_total + guardian.cleanups_vain_total)
    };
    let (waits, cleanups) = figures();
    store.set_limits(Some(store.len() / 2), None);
    session.create(&token).unwrap_err();
    let (waits, cleanups) = (figures().0 - waits, figures().1 - cleanups);
    // It was one for each of some 50,000 tokens.
    assert!(waits <= 2 * (cleanups + 2), "{waits} waits, {cleanups} cleanups");
}
