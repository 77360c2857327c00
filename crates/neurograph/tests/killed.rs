//! A process killed in mid-write: what it had been told is durable is there, nothing is invented, no id comes twice.
#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "the child acknowledges through its standard output")]

use neurograph::wal::Reader;
use neurograph::{Config, Durability, Store, Token, TokenId};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD_DIR: &str = "NEUROGRAPH_TEST_CHILD_DIR";

fn config() -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(1_000_000);
    config.blackbox.panic_hook = false;
    config
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).domain((n % 16) as u8).build().unwrap()
}

/// Operation `n` of the endless stream, on what the operations before it have made.
enum Operation {
    Create(u32),
    Update(usize, u32),
    Delete(usize),
}

fn operation(n: u32, alive: usize) -> Operation {
    match n % 7 {
        3 if alive > 0 => Operation::Update(n as usize * 31 % alive, n),
        5 if alive > 20 => Operation::Delete(n as usize * 17 % alive),
        _ => Operation::Create(n),
    }
}

/// Runs in the child: the stream, with an acknowledgement whenever a part of it is durable.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let store = Store::open(dir, config()).unwrap();
    let mut session = store.session();
    let mut alive = Vec::new();
    let mut out = std::io::stdout();
    for n in 0u32.. {
        let strict = n % 997 == 0;
        let level = if strict { Durability::Strict } else { Durability::Relaxed };
        match operation(n, alive.len()) {
            Operation::Create(n) => alive.push(session.with(level).create(&token(n)).unwrap()),
            Operation::Update(at, n) => session.with(level).update(alive[at], &token(n)).unwrap(),
            Operation::Delete(at) => session.with(level).delete(alive.swap_remove(at)).unwrap(),
        }
        if n % 200 == 199 {
            store.wait_durable(session.last_lsn(), Duration::from_secs(30)).unwrap();
        }
        if strict || n % 200 == 199 {
            writeln!(out, "\nack {}", n + 1).unwrap();
        }
    }
}

/// Runs a child until it has acknowledged `acks` times, kills it, returns the last acknowledged count.
fn kill_after(dir: &Path, acks: usize) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (mut seen, mut last) = (0, 0);
    for line in output.lines() {
        let line = line.unwrap();
        // What the child had been told before it died counts, also what is read after the kill. The
        // last line may be cut.
        let Some(number) = line.strip_prefix("ack ") else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        last = last.max(number);
        seen += 1;
        if seen == acks {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

/// What the first `count` operations leave, by token instead of by id.
fn model(count: u32) -> Vec<u32> {
    let mut alive = Vec::new();
    for n in 0..count {
        match operation(n, alive.len()) {
            Operation::Create(n) => alive.push(n),
            Operation::Update(at, n) => alive[at] = n,
            Operation::Delete(at) => {
                alive.swap_remove(at);
            }
        }
    }
    alive.sort_unstable();
    alive
}

#[test]
fn whatever_a_killed_child_was_told_is_durable_is_there_and_nothing_else() {
    let seed = std::env::var("NG_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let acknowledged = kill_after(dir.path(), rng.usize(1..120));
        // Kinds 1 and 2 are the operations on tokens.
        let store = Store::open(dir.path(), config()).unwrap();
        assert!(!store.recovery().clean, "a killed store is not clean");
        let mut ids = HashSet::new();
        let records: Vec<_> = Reader::open(dir.path().join("wal"))
            .unwrap()
            .map(|record| record.unwrap())
            .filter(|record| record.kind <= 2)
            .inspect(|record| {
                let raw = u64::from_le_bytes(record.payload[..8].try_into().unwrap());
                ids.insert(TokenId::from_u64(raw).unwrap());
            })
            .collect();
        let recovered = records.len() as u32;
        assert!(recovered >= acknowledged, "{acknowledged} acknowledged, {recovered} recovered");
        let mut found: Vec<u32> = store.iter().map(|(_, t)| t.timestamp() - 1).collect();
        found.sort_unstable();
        assert_eq!(found, model(recovered), "not the state after {recovered} operations");
        for (_, found) in store.iter() {
            assert_eq!(found, token(found.timestamp() - 1), "a token that nobody made");
        }
        let mut session = store.session();
        for n in 0..2_000 {
            let id = session.create(&token(n)).unwrap();
            assert!(!ids.contains(&id), "id {id} was given out before the kill");
        }
        let before: HashMap<_, _> = store.iter().collect();
        drop(session);
        store.close().unwrap();
        let store = Store::open(dir.path(), config()).unwrap();
        assert!(store.iter().collect::<HashMap<_, _>>() == before);
    }
}
