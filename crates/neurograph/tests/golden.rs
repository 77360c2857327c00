//! Directories that earlier versions left: this build opens each of them and finds exactly what was there.
//!
//! A folder `tests/golden/<version>-<how it ended>` holds a store directory and `expected.toml`: how many tokens the build
//! that wrote it recovered, and a digest over their ids and words. To add the folders of a new version, run
//! `NG_GOLDEN_MAKE=1 cargo test -p neurograph --test golden` with the build of that version, before its format changes.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "the child acknowledges through its standard output")]

use neurograph::{
    Config, CreateError, Durability, Flags, Persist, Session, Store, Token, TokenId, WriteError,
};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CHILD_DIR: &str = "NEUROGRAPH_TEST_CHILD_DIR";
const CHILD_KIND: &str = "NEUROGRAPH_TEST_CHILD_KIND";
const KINDS: [&str; 4] = ["closed", "killed", "full", "flagged"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Small files: the shortest segment that holds the largest record, and a log of a few of them.
fn config(kind: &str) -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(1_000_000);
    config.wal.segment_bytes = 1_081_344;
    config.wal.log_bytes_max = 9 << 20;
    config.blackbox.recorder.lanes = 1;
    config.blackbox.recorder.events_per_lane = 64;
    config.blackbox.panic_hook = false;
    if kind == "flagged" {
        config.persist = Persist::Flagged;
    }
    config
}

fn token(n: u32) -> Token {
    let flags = if n.is_multiple_of(3) { Flags::PERSISTENT } else { Flags::ACTIVE };
    Token::builder()
        .timestamp(1_000_000 + n)
        .weight(n as f32 / 4096.0 % 1.0)
        .flags(flags)
        .domain((n % 16) as u8)
        .build()
        .unwrap()
}

/// Creates, updates and deletes, so that slots are used again.
fn work(session: &mut Session, operations: u32, mut acknowledge: impl FnMut(u32)) {
    let mut alive: Vec<TokenId> = Vec::new();
    for n in 0..operations {
        let strict = session.with(Durability::Strict);
        match n % 5 {
            3 => strict.update(alive[n as usize * 7 % alive.len()], &token(n)).unwrap(),
            4 => strict.delete(alive.swap_remove(n as usize * 11 % alive.len())).unwrap(),
            _ => alive.push(strict.create(&token(n)).unwrap()),
        }
        acknowledge(n);
    }
}

fn work_until_full(session: &mut Session) {
    let token = token(3);
    loop {
        match session.create(&token) {
            Ok(_) => {}
            Err(CreateError::LogFull { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs in the child: makes the store of one kind, and for those that end in a kill waits for it.
#[test]
fn child_that_makes_a_golden_store() {
    let (Ok(dir), Ok(kind)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_KIND)) else { return };
    let store = Store::open(dir, config(&kind)).unwrap();
    let mut session = store.session();
    let mut out = std::io::stdout();
    match kind.as_str() {
        "killed" => work(&mut session, u32::MAX, |n| writeln!(out, "\nack {n}").unwrap()),
        "full" => {
            work_until_full(&mut session);
            store.sync().unwrap();
            writeln!(out, "\nack 500").unwrap();
            loop {
                std::thread::park();
            }
        }
        _ => {
            work(&mut session, 400, |_| {});
            drop(session);
            store.close().unwrap();
        }
    }
}

/// Runs a child of this kind in `dir` until it ends, or kills it after the acknowledgement of operation 500.
fn make(dir: &Path, kind: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_makes_a_golden_store", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_KIND, kind)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    for line in output.lines() {
        if line.unwrap() == "ack 500" {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// FNV-1a over the live tokens with their ids, in slot order.
fn digest(store: &Store) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (id, token) in store.iter() {
        for word in [id.to_u64()].into_iter().chain(token.to_words()) {
            for byte in word.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    hash
}

/// What a build finds in a store, as `expected.toml` has it.
fn found(store: &Store) -> String {
    let (tokens, last_lsn) = (store.len(), store.recovery().last_lsn);
    format!("tokens = {tokens}\nlast_lsn = {last_lsn}\ndigest = \"{:016x}\"\n", digest(store))
}

#[test]
fn golden_stores_are_made_where_that_is_asked_for() {
    if std::env::var_os("NG_GOLDEN_MAKE").is_none() {
        return;
    }
    for kind in KINDS {
        let place = golden().join(format!("{}-{kind}", env!("CARGO_PKG_VERSION")));
        assert!(!place.exists(), "golden folders are only added: {place:?} is there");
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), kind);
        copy(dir.path(), &place.join("store"));
        // Opened only now: the folder holds what the child left.
        let store = Store::open(dir.path(), config(kind)).unwrap();
        fs::write(place.join("expected.toml"), found(&store)).unwrap();
    }
}

#[test]
fn a_store_that_an_earlier_version_left_opens_with_exactly_its_tokens() {
    let mut seen = 0;
    for entry in fs::read_dir(golden()).unwrap() {
        let place = entry.unwrap().path();
        let name = place.file_name().unwrap().to_string_lossy().into_owned();
        let (_, kind) = name.rsplit_once('-').unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy(&place.join("store"), dir.path());
        let store = Store::open(dir.path(), config(kind)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let expected = fs::read_to_string(place.join("expected.toml")).unwrap();
        assert_eq!(found(&store), expected, "{name}");
        assert_eq!(store.recovery().clean, matches!(kind, "closed" | "flagged"), "{name}");
        takes_work_again(store, kind);
        // And what this build wrote behind it is there too.
        let again = Store::open(dir.path(), config(kind)).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(again.recovery().clean, "{name}");
        seen += 1;
    }
    assert!(seen >= KINDS.len(), "only {seen} golden folders");
}

#[test]
fn a_store_of_0_1_0_whose_log_is_gone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden().join("0.1.0-closed/store"), dir.path());
    fs::remove_dir_all(dir.path().join("wal")).unwrap();
    let error = Store::open(dir.path(), config("closed")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    fs::create_dir(dir.path().join("wal")).unwrap();
    let error = Store::open(dir.path(), config("closed")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

/// A full log takes deletes alone; every other store takes a create.
fn takes_work_again(store: Store, kind: &str) {
    let mut session = store.session();
    let (id, _) = store.iter().next().unwrap();
    if kind == "full" {
        work_until_full(&mut session);
        session.delete(id).unwrap();
        assert!(matches!(session.delete(id), Err(WriteError::NotFound { .. })));
    } else {
        let created = session.create(&token(3)).unwrap();
        assert_eq!(session.get(created), Some(token(3)));
    }
    drop(session);
    store.close().unwrap();
}
