//! A log's directory is renamed while the log is open, and another log takes its place; or its path was
//! relative, and the process goes elsewhere. Everything goes on landing in the directory that was opened,
//! and the other one is not touched.
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ng_wal::{Directory, Durability, Lsn, Wal};
use support::{config, replay};

const CHILD_DIR: &str = "NG_WAL_MOVED_TEST_DIR";
const RECORDS: u64 = 2_000;

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into(), fs::read(path).unwrap()))
        .collect()
}

fn untouched(dir: &Path, before: &BTreeMap<String, Vec<u8>>) {
    let now = files(dir);
    let differ = |name: &&String| now.get(*name) != before.get(*name);
    let names: Vec<_> = now.keys().chain(before.keys()).filter(differ).collect();
    assert!(names.is_empty(), "another log's files were changed: {names:?}");
}

/// A log of its own at `dir`, closed.
fn other_log(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let (wal, _) = Wal::open(dir, config()).unwrap();
    wal.append(1, b"another store's").unwrap();
    wal.close().unwrap();
    files(dir)
}

fn payload(n: u64) -> [u8; 80] {
    let mut payload = [n as u8; 80];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    payload
}

/// Appends until several segments are full, syncs and retires on the way.
fn fill(wal: &Wal) {
    let rotations = wal.stats().rotations_total;
    for n in wal.last_lsn().get() + 1..=RECORDS {
        wal.append(7, &payload(n)).unwrap();
        if n % 500 == 0 {
            wal.sync().unwrap();
            wal.retire_before(Lsn::new(n / 2)).unwrap();
        }
    }
    wal.append_durable(7, &payload(RECORDS + 1), Durability::Strict).unwrap();
    let stats = wal.stats();
    assert!(stats.rotations_total > rotations + 1 && stats.segments_retired_total > 0, "{stats:?}");
}

/// All that was appended and not retired is in the log at `dir`.
fn all_is_there(dir: &Path) {
    let (wal, recovery) = Wal::open(dir, config()).unwrap();
    assert!(recovery.sealed);
    let records = replay(&recovery);
    assert_eq!(records.last().unwrap().0, RECORDS + 1);
    assert!(records.len() > 100, "{}", records.len());
    for (lsn, _, found) in records {
        assert_eq!(found, payload(lsn));
    }
    wal.close().unwrap();
}

#[test]
fn a_log_whose_directory_is_renamed_stays_in_it_and_leaves_the_one_in_its_place_alone() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (wal, _) = Wal::open(at("log"), config()).unwrap();
    wal.append_durable(7, &payload(1), Durability::Strict).unwrap();
    fs::rename(at("log"), at("moved")).unwrap();
    let other = other_log(&at("log"));
    fill(&wal);
    let last = wal.backup(at("backup")).unwrap();
    wal.close().unwrap();
    untouched(&at("log"), &other);
    all_is_there(&at("moved"));
    let (_, recovery) = Wal::open(at("backup"), config()).unwrap();
    assert_eq!(recovery.last_lsn, last);
}

#[test]
fn a_removed_directory_whose_place_another_log_took_ends_the_log_and_not_the_other() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("log");
    let (wal, _) = Wal::open(&log, config()).unwrap();
    wal.append_durable(7, &payload(1), Durability::Strict).unwrap();
    fs::remove_dir_all(&log).unwrap();
    let other = other_log(&log);
    let failed = (2..=RECORDS).find_map(|n| wal.append(7, &payload(n)).err());
    let closed = wal.close();
    assert!(failed.is_some() || closed.is_err(), "a log without a directory went on");
    untouched(&log, &other);
}

#[test]
fn a_log_opened_in_an_open_directory_is_there_whatever_its_path_is_by_then() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let store = Directory::create(at("store")).unwrap();
    let wal = Arc::new(store.subdirectory("wal").unwrap());
    fs::rename(at("store"), at("moved")).unwrap();
    let other = other_log(&at("store/wal"));
    store.replace("MANIFEST", b"of the moved one").unwrap();
    let (wal, _) = Wal::open_in(wal, config()).unwrap();
    fill(&wal);
    wal.close().unwrap();
    let mut shown = 0;
    let wal = Arc::new(store.open_subdirectory("wal").unwrap());
    let (wal, recovery) =
        Wal::open_in_replaying(wal, config(), |records| shown += records.count() as u64).unwrap();
    assert!(recovery.replayed);
    assert_eq!(shown, recovery.records);
    wal.close().unwrap();
    untouched(&at("store/wal"), &other);
    assert!(!at("store/MANIFEST").exists());
    assert_eq!(fs::read(at("moved/MANIFEST")).unwrap(), b"of the moved one");
    all_is_there(&at("moved/wal"));
}

/// The child: not a test of its own; without the variable it has nothing to do. It changes its
/// directory, which is one for the whole process.
#[test]
fn child_opens_a_relative_path_and_goes_elsewhere() {
    let Ok(place) = std::env::var(CHILD_DIR) else { return };
    std::env::set_current_dir(Path::new(&place).join("first")).unwrap();
    let (wal, _) = Wal::open("log", config()).unwrap();
    wal.append_durable(7, &payload(1), Durability::Strict).unwrap();
    std::env::set_current_dir(Path::new(&place).join("second")).unwrap();
    fill(&wal);
    wal.backup("backup").unwrap();
    wal.close().unwrap();
}

#[test]
fn a_log_with_a_relative_path_stays_where_it_is_when_the_process_goes_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("first")).unwrap();
    fs::create_dir(at("second")).unwrap();
    let other = other_log(&at("second/log"));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_opens_a_relative_path_and_goes_elsewhere", "--nocapture"])
        .env(CHILD_DIR, place.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    untouched(&at("second/log"), &other);
    all_is_there(&at("first/log"));
    all_but_seal_is_there(&at("second/backup"));
}

fn all_but_seal_is_there(dir: &Path) {
    let (_, recovery) = Wal::open(dir, config()).unwrap();
    assert_eq!(recovery.last_lsn.get(), RECORDS + 1);
}
