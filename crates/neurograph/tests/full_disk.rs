//! A disk that is full when a killed store is opened: it opens, its tokens are read, and its creates say what is wanting.
//! It used to wait for half a minute and then refuse, with an error that did not name the disk.
//!
//! The disk is a small file system of the test's own; where none may be mounted, it says so.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a child acknowledges; a skip says so"
)]

use neurograph::{Config, CreateError, Durability, Health, Store, Token};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD_DIR: &str = "NEUROGRAPH_TEST_CHILD_DIR";

fn config() -> Config {
    let mut config = Config::default();
    config.wal.segment_bytes = 1_081_344;
    config.wal.full_timeout = Duration::from_millis(50);
    config.blackbox.panic_hook = false;
    config
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

/// A mounted file system that goes away with this.
struct Disk<'p>(&'p Path);

impl Disk<'_> {
    fn mount(at: &Path) -> Option<Disk<'_>> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Disk(at));
        }
        eprintln!("left out: no tmpfs may be mounted here; it runs for root");
        None
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

/// Runs in the child: creates at Strict until it is killed.
#[test]
fn child_that_creates_on_a_small_disk() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Store::open(dir, config()).unwrap();
    let mut session = store.session();
    let mut out = std::io::stdout();
    for n in 0.. {
        session.with(Durability::Strict).create(&token(n)).unwrap();
        writeln!(out, "\nack {}", n + 1).unwrap();
    }
}

fn create_and_kill(dir: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_creates_on_a_small_disk", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(n) = line.strip_prefix("ack ").and_then(|n| n.parse().ok()) {
            acknowledged = n;
        }
        if acknowledged == 300 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    acknowledged
}

/// An error with its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Writes until not a byte more fits.
fn fill(disk: &Path) {
    let mut ballast = fs::File::create(disk.join("ballast")).unwrap();
    let mut piece = 1 << 20;
    while piece > 0 {
        match ballast.write(&vec![1; piece]) {
            Ok(n) if n > 0 => {}
            _ => piece /= 2,
        }
    }
}

#[test]
fn a_killed_store_opens_on_a_full_disk_and_goes_on_when_there_is_room() {
    let disk = tempfile::tempdir().unwrap();
    let Some(_mounted) = Disk::mount(disk.path()) else { return };
    let dir = disk.path().join("store");
    let acknowledged = create_and_kill(&dir);
    fill(disk.path());
    for round in 0..3 {
        let store = Store::open(&dir, config()).unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(store.len() >= acknowledged, "{} of {acknowledged}", store.len());
        let mut session = store.session();
        let (id, found) = store.iter().next().unwrap();
        assert_eq!(session.get(id), Some(found));
        // What the log has prepared still takes some; then the disk is named.
        let refused = (0..2_000_000).find_map(|n| session.create(&token(n)).err()).unwrap();
        let said = error_chain(&refused);
        assert!(said.contains("space"), "round {round}: {said}");
        assert!(
            matches!(refused, CreateError::LogFull { .. } | CreateError::IdsNotDurable { .. }),
            "round {round}: {said}"
        );
        assert_eq!(store.health(), Health::DiskFull);
        drop(session);
        // No room for a seal: it says so, and what was durable is there.
        let _closed = store.close();
    }
    fs::remove_file(disk.path().join("ballast")).unwrap();
    let store = Store::open(&dir, config()).unwrap();
    assert!(store.len() >= acknowledged);
    let mut session = store.session();
    let id = session.with(Durability::Strict).create(&token(7)).unwrap();
    drop(session);
    store.close().unwrap();
    assert_eq!(Store::open(&dir, config()).unwrap().session().get(id), Some(token(7)));
}
