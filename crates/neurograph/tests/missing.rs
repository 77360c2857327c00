//! A log of which something was taken away is refused, whatever it is, and a refused directory is left as it was:
//! also the flight recorder's files, which may hold the recording of a crash.
#![cfg(unix)]

use neurograph::{Config, Durability, Flags, OpenError, Persist, Store, Token, TokenId};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Segments as short as the largest record lets them be, so that a few thousand tokens fill several.
fn config() -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(1_000_000);
    config.wal.segment_bytes = 1_081_344;
    config.blackbox.panic_hook = false;
    config
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

/// A store of so many tokens, closed; the last segment holds some of them.
fn closed_store(dir: &Path, tokens: u32) -> Vec<TokenId> {
    let store = Store::open(dir, config()).unwrap();
    let mut session = store.session();
    let ids = (0..tokens).map(|n| session.create(&token(n)).unwrap()).collect();
    drop(session);
    store.close().unwrap();
    ids
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    found.sort();
    found
}

/// Every file below `dir` with what it holds, but for lock files, whose text names their last holder.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(dir) else { return found };
    for entry in entries.map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else if !entry.file_name().to_string_lossy().to_lowercase().contains("lock") {
            found.insert(entry.path(), fs::read(entry.path()).unwrap_or_default());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = fs::copy(entry.path(), to).unwrap(),
        }
    }
}

/// Opens in vain six times, more often than old recordings are kept; returns what the last refusal says.
fn refused(dir: &Path, config: &Config, what: &str) -> String {
    let before = contents(dir);
    let mut said = String::new();
    for _ in 0..6 {
        let error =
            Store::open(dir, config.clone()).err().unwrap_or_else(|| panic!("{what}: opened"));
        said = format!("{error}");
        let after = contents(dir);
        let changed: Vec<_> =
            before.keys().chain(after.keys()).filter(|k| before.get(*k) != after.get(*k)).collect();
        assert!(changed.is_empty(), "{what}: a refusal changed {changed:?}");
    }
    assert!(said.contains("nothing was changed"), "{what}: {said}");
    said
}

#[test]
fn a_closed_store_without_any_one_of_its_segments_or_its_tail_is_refused() {
    let made = tempfile::tempdir().unwrap();
    closed_store(made.path(), 40_000);
    let all = segments(made.path());
    // The last one is prepared and empty, as each open leaves one behind the one in use.
    assert!(all.len() >= 4, "{all:?}");
    for gone in 0..all.len() - 1 {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        fs::remove_file(&segments(dir.path())[gone]).unwrap();
        refused(dir.path(), &config(), &format!("without segment {gone}"));
    }
    // From each segment on, to the end.
    for first in 0..all.len() - 1 {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        for gone in &segments(dir.path())[first..] {
            fs::remove_file(gone).unwrap();
        }
        refused(dir.path(), &config(), &format!("without segments from {first} on"));
    }
    // The tail of the last one in use, seal and all, at each block.
    let last = &all[all.len() - 2];
    let length = fs::metadata(last).unwrap().len();
    for blocks in [1, 2, 3, 5, length / 4096 - 2] {
        let dir = tempfile::tempdir().unwrap();
        copy(made.path(), dir.path());
        let cut = dir.path().join("wal").join(last.file_name().unwrap());
        fs::OpenOptions::new()
            .write(true)
            .open(cut)
            .unwrap()
            .set_len(length - blocks * 4096)
            .unwrap();
        if blocks == 1 {
            // The seal alone, behind the last record: nothing is lost, and it reads as a crash.
            let store = Store::open(dir.path(), config()).unwrap();
            assert_eq!((store.len(), store.recovery().clean), (40_000, false));
            continue;
        }
        let what = format!("{blocks} blocks cut off the end");
        let said = refused(dir.path(), &config(), &what);
        assert!(said.contains("wal"), "{said}");
    }
    // Nothing of that is wrong with the store itself.
    assert_eq!(Store::open(made.path(), config()).unwrap().len(), 40_000);
}

#[test]
fn a_store_whose_log_is_a_volume_that_was_not_mounted_is_refused() {
    for empty in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        closed_store(dir.path(), 10);
        fs::remove_dir_all(dir.path().join("wal")).unwrap();
        if empty {
            fs::create_dir(dir.path().join("wal")).unwrap();
        }
        let said = refused(dir.path(), &config(), "without its log");
        assert!(said.contains("missing"), "{said}");
        let left = fs::read_dir(dir.path().join("wal")).ok().map(Iterator::count);
        assert_eq!(left, empty.then_some(0), "a refusal made a directory, or something in it");
    }
}

#[test]
fn an_older_copy_of_the_log_under_a_newer_store_is_refused() {
    let (dir, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed_store(dir.path(), 100);
    copy(&dir.path().join("wal"), &old.path().join("wal"));
    let store = Store::open(dir.path(), config()).unwrap();
    store.session().with(Durability::Strict).create(&token(7)).unwrap();
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join("wal")).unwrap();
    copy(&old.path().join("wal"), &dir.path().join("wal"));
    refused(dir.path(), &config(), "an older log");
}

/// 0.1.0 wrote its manifest after its log: what it left in between is a store without a token.
#[test]
fn a_log_without_a_manifest_is_refused_if_it_ever_held_a_token() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path(), 0);
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    assert!(Store::open(dir.path(), config()).unwrap().is_empty());
    closed_store(dir.path(), 1);
    fs::remove_file(dir.path().join("MANIFEST")).unwrap();
    let said = refused(dir.path(), &config(), "without a manifest");
    assert!(said.contains("MANIFEST") && said.contains("a log with tokens"), "{said}");
}

#[test]
fn a_manifest_that_is_no_file_is_refused_and_nothing_waits_for_it() {
    for kind in ["fifo", "directory", "too long", "damaged"] {
        let dir = tempfile::tempdir().unwrap();
        closed_store(dir.path(), 3);
        let manifest = dir.path().join("MANIFEST");
        let text = fs::read(&manifest).unwrap();
        fs::remove_file(&manifest).unwrap();
        match kind {
            "fifo" => {
                let made = std::process::Command::new("mkfifo").arg(&manifest).status().unwrap();
                assert!(made.success());
            }
            "directory" => fs::create_dir(&manifest).unwrap(),
            "too long" => fs::write(&manifest, vec![b'#'; 1 << 20]).unwrap(),
            _ => fs::write(&manifest, &text[..text.len() - 1]).unwrap(),
        }
        let before = contents(&dir.path().join("wal"));
        let error = Store::open(dir.path(), config()).unwrap_err();
        assert!(error.to_string().contains("MANIFEST"), "{kind}: {error}");
        assert_eq!(contents(&dir.path().join("wal")), before, "{kind}");
    }
}

#[test]
fn a_store_with_a_log_is_not_opened_without_it() {
    let dir = tempfile::tempdir().unwrap();
    closed_store(dir.path(), 3);
    let mut off = config();
    off.wal.enabled = false;
    let said = refused(dir.path(), &off, "with the log switched off");
    assert!(said.contains("wal.enabled"), "{said}");
    assert!(matches!(Store::open(dir.path(), off), Err(OpenError::LogSwitchedOff { .. })));
}

/// A token created under `all` and deleted after reopening with `flagged` was back at the next open: its delete
/// had not been logged.
#[test]
fn a_store_keeps_to_the_tokens_that_it_was_created_to_log() {
    let with = |persist| {
        let mut config = config();
        config.persist = persist;
        config
    };
    for (created, asked) in [(Persist::All, Persist::Flagged), (Persist::Flagged, Persist::All)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), with(created)).unwrap();
        let kept = token(1).with_flags(Flags::PERSISTENT);
        store.session().create(&kept).unwrap();
        store.close().unwrap();
        let said = refused(dir.path(), &with(asked), "with another persist");
        assert!(said.contains(&format!("persist = {created}")), "{said}");
        let error = Store::open(dir.path(), with(asked)).unwrap_err();
        assert!(
            matches!(error, OpenError::Persist { created_with, .. } if created_with == created)
        );
        assert_eq!(Store::open(dir.path(), with(created)).unwrap().len(), 1);
    }
}
