//! A directory is renamed under its recorder, and another takes its place: files stay with the directory
//! that was opened.
#![cfg(unix)]

use std::{
    fs::{self, File},
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use ng_blackbox::{
    Event, Kind, PanicDump, Reader, Recorder, Severity, install_panic_hook_with_dump,
};

mod rig;

fn names(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory with some runs in it, open; then renamed, with the recordings of others in its place.
fn moved(root: &Path, runs: u64) -> (File, PathBuf, PathBuf) {
    let (here, there) = (root.join("here"), root.join("there"));
    fs::create_dir(&here).unwrap();
    for run in 1..=runs {
        let recorder = Recorder::open(&here, rig::config(1, 64), &[]).unwrap();
        recorder.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [run; 4]));
    }
    let opened = File::open(&here).unwrap();
    fs::rename(&here, &there).unwrap();
    fs::create_dir(&here).unwrap();
    for name in ["blackbox-current.ngbb", "blackbox-1.ngbb", "blackbox-9.ngbb", "blackbox-new.tmp"]
    {
        fs::write(here.join(name), "of another").unwrap();
    }
    (opened, here, there)
}

fn assert_untouched(here: &Path) {
    let theirs =
        ["blackbox-1.ngbb", "blackbox-9.ngbb", "blackbox-current.ngbb", "blackbox-new.tmp"];
    assert_eq!(names(here), theirs);
    for name in theirs {
        assert_eq!(fs::read(here.join(name)).unwrap(), b"of another", "{name}");
    }
}

#[test]
fn a_recorder_in_an_open_directory_rotates_and_removes_there_wherever_its_path_leads() {
    let root = tempfile::tempdir().unwrap();
    let (opened, here, there) = moved(root.path(), 4);
    let recorder = Recorder::create_in(&opened, &here, rig::config(1, 64), &[]).unwrap();
    drop(opened);
    // What it is called, and not where it is.
    assert_eq!(recorder.path(), Some(here.join("blackbox-current.ngbb")));
    assert_eq!(recorder.previous(), Some(here.join("blackbox-4.ngbb").as_path()));
    recorder.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [5; 4]));
    recorder.flush().unwrap();
    assert_eq!(recorder.stats().previous_torn, 0);
    drop(recorder);
    let ours = [
        "blackbox-2.ngbb",
        "blackbox-3.ngbb",
        "blackbox-4.ngbb",
        "blackbox-current.ngbb",
        "blackbox.lock",
    ];
    assert_eq!(names(&there), ours);
    let seen = Reader::open(there.join("blackbox-current.ngbb")).unwrap();
    assert!(seen.summary().stopped);
    assert_untouched(&here);
}

#[test]
fn the_lock_is_the_directorys_and_not_its_paths() {
    let root = tempfile::tempdir().unwrap();
    let (opened, here, there) = moved(root.path(), 1);
    let recorder = Recorder::create_in(&opened, &here, rig::config(1, 64), &[]).unwrap();
    let refused = Recorder::open(&there, rig::config(1, 64), &[]).unwrap_err();
    assert!(matches!(refused, ng_blackbox::OpenError::Locked { .. }), "{refused:?}");
    drop(Recorder::open(&here, rig::config(1, 64), &[]).unwrap());
    drop(recorder);
}

#[test]
fn a_dump_goes_where_its_directory_went() {
    let root = tempfile::tempdir().unwrap();
    let (here, there) = (root.path().join("here"), root.path().join("there"));
    fs::create_dir(&here).unwrap();
    let recorder = Recorder::in_memory(rig::config(1, 64), &[]).unwrap();
    let _hook = install_panic_hook_with_dump(&recorder, &PanicDump::into_dir(&here)).unwrap();
    fs::rename(&here, &there).unwrap();
    fs::create_dir(&here).unwrap();
    catch_unwind(|| panic!("on the road")).unwrap_err();
    assert_eq!((names(&here).len(), names(&there).len()), (0, 1));
    assert_eq!(Reader::open(there.join(&names(&there)[0])).unwrap().summary().panics, 1);
    assert_eq!(recorder.stats().dump_errors_total, 0);
}

/// The working directory belongs to the whole process, so a child changes its own.
#[test]
fn child() {
    let Some((_, dir)) = rig::my_role() else { return };
    std::env::set_current_dir(&dir).unwrap();
    fs::create_dir("relative").unwrap();
    let recorder = Recorder::open("relative", rig::config(1, 64), &[]).unwrap();
    std::env::set_current_dir("/").unwrap();
    assert_eq!(recorder.path(), Some(dir.join("relative/blackbox-current.ngbb")));
    drop(recorder);
    assert!(Reader::open(dir.join("relative/blackbox-current.ngbb")).unwrap().summary().stopped);
}

#[test]
fn a_relative_path_is_resolved_once() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("relative", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {said}", output.status);
    assert_eq!(names(&dir.path().join("relative")).len(), 2);
}
