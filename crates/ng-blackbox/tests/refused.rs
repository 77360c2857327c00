//! An open that is refused half way changes nothing: no file is renamed, removed or left behind.
#![cfg(target_os = "linux")]

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use ng_blackbox::{OpenError, Recorder};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

mod rig;

const LARGE_BYTES: u64 = 256 << 20;

/// Each file's name, number and length: what is renamed or made anew shows.
fn files(dir: &Path) -> Vec<(String, u64, u64)> {
    let list = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = list
        .map(|entry| (entry.file_name(), fs::metadata(entry.path()).unwrap()))
        .map(|(name, data)| (name.into_string().unwrap(), data.ino(), data.len()))
        .collect();
    files.sort();
    files
}

/// No test of its own: what the child of this file's test runs.
#[test]
fn child() {
    let Some((_, dir)) = rig::my_role() else { return };
    let before = files(&dir);
    // Room for what a process needs, and not for the mapping. Larger pages than these only make less room.
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let room = pages * 4096 + LARGE_BYTES / 2;
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(room), maximum }).unwrap();
    for _ in 0..5 {
        let refused = Recorder::open(&dir, rig::config(4, 1 << 20), &[]).unwrap_err();
        assert!(
            matches!(&refused, OpenError::Map { bytes, .. } if *bytes > LARGE_BYTES),
            "{refused:?}"
        );
    }
    assert_eq!(files(&dir), before);
}

#[test]
fn an_open_whose_mapping_is_refused_leaves_each_file_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        drop(Recorder::open(&dir, rig::config(1, 64), &[]).unwrap());
    }
    let before = files(dir.path());
    assert_eq!(before.len(), 5, "the lock, the current one and three before it");
    let output = rig::child("refused", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {said}", output.status);
    assert_eq!(files(dir.path()), before);
}
