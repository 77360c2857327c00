//! A full disk and one that turned read-only: refused with the reason, and nothing of earlier runs is lost.
//!
//! They are small file systems of the test's own; where none may be mounted, it says so.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)]

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use ng_blackbox::{Event, Kind, OpenError, Reader, Recorder, Severity};

mod rig;

/// Held by the one test that has a disk: a program that another one starts has, until it runs, what
/// is open here, and no disk turns read-only below an open file.
static TURN: Mutex<()> = Mutex::new(());

/// A mounted file system that goes away with this.
struct Disk<'p> {
    at: &'p Path,
    _turn: MutexGuard<'static, ()>,
}

fn quietly(program: &str, words: &[&str], at: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(words).arg(at).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Disk<'_> {
    /// With room for one recording and a half.
    fn mount(at: &Path) -> Option<Disk<'_>> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let words = ["-t", "tmpfs", "-o", "size=104k", "tmpfs"];
        if quietly("mount", &words, at) {
            return Some(Disk { at, _turn: turn });
        }
        eprintln!("left out: no tmpfs may be mounted here; it runs for root");
        None
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        quietly("umount", &["--lazy"], self.at);
    }
}

fn open(dir: &Path) -> Result<Recorder, OpenError> {
    Recorder::open(dir, rig::config(1, 64), &[])
}

fn refused(dir: &Path) -> (&'static str, io::ErrorKind) {
    match open(dir).unwrap_err() {
        OpenError::Io { step, source, .. } => (step, source.kind()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_refuses_a_recorder_and_leaves_the_last_recording_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(dir.path()) else { return };
    let first = open(dir.path()).unwrap();
    let current = first.path().unwrap();
    let mut lane = first.lane();
    fs::write(dir.path().join("ballast"), vec![1; 200_000]).unwrap_err();
    // The disk is full to the last byte, and the blocks of the recording are its own.
    (0..64).for_each(|n| lane.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [n; 4])));
    drop((lane, first));
    assert_eq!(refused(dir.path()), ("allocate", io::ErrorKind::StorageFull));
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let last = Reader::open(current).unwrap();
    assert_eq!(last.events().filter(|event| event.lane == 3).count(), 64);

    fs::remove_file(dir.path().join("ballast")).unwrap();
    // Still no room for a second one beside the first: reserved is reserved.
    assert_eq!(refused(dir.path()), ("allocate", io::ErrorKind::StorageFull));
}

#[test]
fn a_disk_that_turned_read_only_refuses_a_recorder() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = Disk::mount(dir.path()) else { return };
    drop(open(dir.path()).unwrap());
    assert!(quietly("mount", &["-o", "remount,ro"], dir.path()));
    assert_eq!(refused(dir.path()), ("open", io::ErrorKind::ReadOnlyFilesystem));
    assert!(Reader::open(dir.path().join("blackbox-current.ngbb")).unwrap().summary().stopped);
}
