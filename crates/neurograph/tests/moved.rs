//! A directory that is renamed while its store is open, and another that takes its place: everything goes on in the first,
//! and nothing in the second. Segments used to be made wherever the path led, in another store's directory too.
#![cfg(unix)]

use neurograph::{Config, Durability, Store, Token};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn config() -> Config {
    let mut config = Config::default();
    config.wal.segment_bytes = 1_081_344;
    config.blackbox.panic_hook = false;
    config
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(contents(&entry.path())),
            false => _ = found.insert(entry.path(), fs::read(entry.path()).unwrap()),
        }
    }
    found
}

#[test]
fn a_store_goes_on_in_its_directory_wherever_that_is_moved() {
    let place = tempfile::tempdir().unwrap();
    let (first, other, moved) =
        (place.path().join("store"), place.path().join("other"), place.path().join("moved"));
    let stranger = Store::open(&other, config()).unwrap();
    stranger.session().with(Durability::Strict).create(&token(1)).unwrap();
    stranger.close().unwrap();
    let store = Store::open(&first, config()).unwrap();
    let mut session = store.session();
    session.create(&token(0)).unwrap();
    fs::rename(&first, &moved).unwrap();
    fs::rename(&other, &first).unwrap();
    let before = contents(&first);
    // Several segments further, a sync, the close: all of it in the directory that was opened.
    for n in 1..40_000 {
        session.create(&token(n)).unwrap();
    }
    store.sync().unwrap();
    assert!(store.stats().wal.unwrap().rotations_total >= 2);
    drop(session);
    store.close().unwrap();
    assert!(contents(&first) == before, "the directory that took the place was written to");
    let store = Store::open(&moved, config()).unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.len(), 40_000);
    let stranger = Store::open(&first, config()).unwrap();
    assert_eq!((stranger.len(), stranger.recovery().clean), (1, true));
}
