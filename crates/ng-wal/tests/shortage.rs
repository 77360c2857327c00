//! What a real system refuses for a while: descriptors, and room on a disk. The log waits for it, says
//! so, and goes on; and it opens, or says at once why not.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ng_wal::{AppendError, Durability, FullCause, Health, OpenError, Reader, Wal, WalConfig};
use support::{config, replay};

const FEW_DESCRIPTORS: &str = "NG_WAL_FEW_DESCRIPTORS_DIR";
const FULL_DISK: &str = "NG_WAL_FULL_DISK_DIR";
const LONG: Duration = Duration::from_secs(60);

fn impatient() -> WalConfig {
    let mut config = config();
    config.full_timeout = Duration::from_millis(50);
    config
}

/// This program again, with only that test, and `dir` for it, under `limit`.
fn child(test: &str, variable: &str, dir: &Path, limit: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    command.env(variable, dir);
    command
}

/// Appends until the log refuses; `between` runs before each append.
fn until_full(wal: &Wal, mut between: impl FnMut()) -> FullCause {
    loop {
        between();
        match wal.append(1, &[7; 700]) {
            Ok(_) => {}
            Err(AppendError::Full(full)) => return full.cause,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The child: not a test of its own; without the variable it has nothing to do.
#[test]
fn child_runs_out_of_descriptors_at_a_rotation() {
    let Ok(dir) = std::env::var(FEW_DESCRIPTORS) else { return };
    let (wal, _) = Wal::open(dir, impatient()).unwrap();
    wal.append_durable(1, b"first", Durability::Strict).unwrap();
    // Before each append again: what the log's threads had open for a moment must not come back to them.
    let mut taken = Vec::new();
    let cause = until_full(&wal, || {
        taken.extend((0..).map_while(|_| File::open("/dev/null").ok()));
    });
    let FullCause::Disk { failure } = cause else { panic!("{cause}") };
    assert_eq!(failure.errno, Some(24), "{failure}");
    assert!(matches!(wal.health(), Health::Hindered(_)), "{:?}", wal.health());
    taken.clear();
    let begun = Instant::now();
    while wal.append(1, &[7; 700]).is_err() || wal.health() != Health::Healthy {
        assert!(begun.elapsed() < LONG, "{:?}", wal.health());
    }
    let last = wal.append_durable(1, b"last", Durability::Strict).unwrap();
    wal.close().unwrap();
    eprintln!("went on to {last}");
}

#[test]
fn a_process_without_descriptors_waits_at_a_rotation_and_goes_on_when_it_has_some() {
    let dir = tempfile::tempdir().unwrap();
    let test = "child_runs_out_of_descriptors_at_a_rotation";
    let output = child(test, FEW_DESCRIPTORS, dir.path(), "ulimit -n 32").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let last = said.split("went on to ").nth(1).and_then(|text| text.trim().parse::<u64>().ok());
    let (_wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert!(recovery.sealed);
    assert_eq!(Some(recovery.last_lsn.get()), last, "{said}");
    assert_eq!(replay(&recovery).len() as u64, recovery.records);
}

/// A mounted file system that goes away with this.
struct Disk<'p>(&'p Path);

fn quietly(program: &str, words: &[&str], at: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(words).arg(at).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Disk<'_> {
    fn mount(at: &Path) -> Option<Disk<'_>> {
        if quietly("mount", &["-t", "tmpfs", "-o", "size=1m", "tmpfs"], at) {
            return Some(Disk(at));
        }
        eprintln!("left out: no tmpfs may be mounted here; it runs for root");
        None
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        quietly("umount", &["--lazy"], self.0);
    }
}

/// The child: as above.
#[test]
fn child_fills_a_disk_until_it_is_killed() {
    let Ok(dir) = std::env::var(FULL_DISK) else { return };
    let (wal, _) = Wal::open(dir, impatient()).unwrap();
    loop {
        let cause = until_full(&wal, || {});
        if let FullCause::Disk { .. } = cause {
            writeln!(std::io::stdout(), "durable {}", wal.durable_lsn()).unwrap();
        }
    }
}

#[test]
fn a_log_on_a_full_disk_opens_after_a_kill_or_says_at_once_that_the_disk_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(dir.path()) else { return };
    let log = dir.path().join("log");
    for round in 0..3 {
        let mut child = child("child_fills_a_disk_until_it_is_killed", FULL_DISK, &log, ":")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut told = lines.map_while(Result::ok).filter_map(|line| {
            line.rsplit_once("durable ").and_then(|(_, lsn)| lsn.trim().parse::<u64>().ok())
        });
        let durable = told.next().expect("the child met a full disk");
        child.kill().unwrap();
        child.wait().unwrap();
        // To the last byte.
        let ballast = dir.path().join("ballast");
        fs::write(&ballast, vec![1; 1 << 20]).unwrap_err();

        let read: Vec<_> = Reader::open(&log).unwrap().map(|record| record.unwrap()).collect();
        let last = read.last().map_or(0, |record| record.lsn.get());
        assert!(last >= durable, "round {round}: {last} of {durable}");
        match Wal::open(&log, impatient()) {
            Ok((wal, recovery)) => {
                assert!(recovery.last_lsn.get() >= durable, "round {round}");
                assert_eq!(replay(&recovery).len(), read.len());
                drop(wal);
            }
            Err(OpenError::Io { path, source, .. }) => {
                assert_eq!(source.kind(), ErrorKind::StorageFull, "{}", path.display());
                assert!(path.starts_with(&log) && path != log, "{}", path.display());
            }
            Err(other) => panic!("round {round}: {other}"),
        }
        fs::remove_file(&ballast).unwrap();
        let (wal, recovery) = Wal::open(&log, impatient()).unwrap();
        assert!(recovery.last_lsn.get() >= durable, "round {round}");
        // The log itself has taken all there was.
        assert!(wal.retire_before(wal.durable_lsn()).unwrap() > 0);
        wal.append_durable(1, b"goes on", Durability::Strict).unwrap();
        wal.close().unwrap();
    }
}
