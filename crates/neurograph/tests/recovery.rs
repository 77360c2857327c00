//! What a store gives back after it was closed, dropped, or its log cut.
#![allow(clippy::print_stdout, reason = "a random test tells its seed")]

use neurograph::{Config, Flags, OpenError, Persist, Store, Token, TokenId, WriteError};
use std::collections::{HashMap, HashSet};
use std::path::Path;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).weight(0.5).build().unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(100_000);
    config.blackbox.panic_hook = false;
    config
}

fn all(store: &Store) -> HashMap<TokenId, Token> {
    store.iter().collect()
}

#[test]
fn what_was_written_is_there_after_a_close_under_the_same_ids() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..5_000).map(|n| session.create(&token(n)).unwrap()).collect();
    for (n, &id) in ids.iter().enumerate() {
        match n % 5 {
            0 => session.delete(id).unwrap(),
            1 => session.update(id, &token(n as u32 + 1_000_000)).unwrap(),
            _ => {}
        }
    }
    let before = all(&store);
    drop(session);
    store.close().unwrap();

    let store = Store::open(dir.path(), config()).unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.recovery().tokens, 4_000);
    assert_eq!(all(&store), before);
    let mut session = store.session();
    assert!(matches!(session.delete(ids[0]), Err(WriteError::NotFound { .. })));
    let fresh: HashSet<_> = (0..5_000).map(|n| session.create(&token(n)).unwrap()).collect();
    assert!(ids.iter().all(|id| !fresh.contains(id)), "an id came again");
}

#[test]
fn a_store_that_was_not_closed_recovers_what_was_synced_and_never_reuses_an_id() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut used = HashSet::new();
    let mut expected = HashMap::new();
    for round in 0..5u32 {
        let store = Store::open(dir.path(), config()).unwrap();
        assert!(!store.recovery().clean || round == 0);
        assert_eq!(all(&store), expected, "round {round}");
        let mut session = store.session();
        for n in 0..2_000 {
            let id = session.create(&token(n)).unwrap();
            assert!(used.insert(id), "round {round}: id {id} came again");
            if n % 3 == 0 {
                session.delete(id).unwrap();
            }
        }
        store.sync().unwrap();
        expected = all(&store);
        // A crash: the files as they are now, without close.
        let _left_over = std::fs::remove_dir_all(copy.path());
        copy_tree(dir.path(), copy.path());
        drop(session);
        drop(store);
        std::fs::remove_dir_all(dir.path()).unwrap();
        copy_tree(copy.path(), dir.path());
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_store_that_logs_flagged_tokens_forgets_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.persist = Persist::Flagged;
    let marked = |n| token(n).with_flags(Flags::PERSISTENT);
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    let kept = session.create(&marked(1)).unwrap();
    let plain = session.create(&token(2)).unwrap();
    let becomes_marked = session.create(&token(3)).unwrap();
    session.update(becomes_marked, &marked(4)).unwrap();
    let loses_mark = session.create(&marked(5)).unwrap();
    session.update(loses_mark, &token(6)).unwrap();
    let deleted = session.create(&marked(7)).unwrap();
    session.delete(deleted).unwrap();
    assert_eq!(store.stats().wal.unwrap().appends_total, 1 + 6, "a ceiling and six operations");
    drop(session);
    store.close().unwrap();

    let store = Store::open(dir.path(), config).unwrap();
    let expected = HashMap::from([(kept, marked(1)), (becomes_marked, marked(4))]);
    assert_eq!(all(&store), expected);
    assert_eq!(store.session().get(plain), None);
}

#[test]
fn ids_of_tokens_that_a_crash_forgot_are_never_given_out_again() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let mut config = config();
    config.persist = Persist::Flagged;
    let mut used = HashSet::new();
    for round in 0..4 {
        let store = Store::open(dir.path(), config.clone()).unwrap();
        assert!(store.is_empty());
        let mut session = store.session();
        // Nothing of this is logged; the same few slots are used over and over.
        for n in 0..3_000 {
            let id = session.create(&token(n)).unwrap();
            assert!(used.insert(id), "round {round}: id {id} came again");
            session.delete(id).unwrap();
        }
        let crash = copy.path().join(round.to_string());
        copy_tree(dir.path(), &crash);
        drop(session);
        drop(store);
        std::fs::remove_dir_all(dir.path()).unwrap();
        copy_tree(&crash, dir.path());
    }
}

#[test]
fn random_operations_across_many_restarts_agree_with_a_model() {
    let seed = std::env::var("NG_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut model: HashMap<TokenId, Token> = HashMap::new();
    let mut gone: HashSet<TokenId> = HashSet::new();
    for _ in 0..12 {
        let store = Store::open(dir.path(), config()).unwrap();
        assert_eq!(all(&store), model);
        let mut session = store.session();
        for n in 0..rng.u32(..600) {
            let some =
                (!model.is_empty()).then(|| *model.keys().nth(rng.usize(..model.len())).unwrap());
            match (rng.u32(..10), some) {
                (0..5, _) | (_, None) => {
                    let id = session.create(&token(n)).unwrap();
                    assert!(!gone.contains(&id) && model.insert(id, token(n)).is_none());
                }
                (5..7, Some(id)) => {
                    session.update(id, &token(n)).unwrap();
                    model.insert(id, token(n));
                }
                (7, Some(id)) => {
                    let new = session.modify(id, |t| t.with_timestamp(t.timestamp() + 1)).unwrap();
                    model.insert(id, new);
                }
                (_, Some(id)) => {
                    session.delete(id).unwrap();
                    model.remove(&id);
                    gone.insert(id);
                }
            }
        }
        assert_eq!(store.len(), model.len() as u64);
        drop(session);
        // Sometimes by close, sometimes by drop: both seal.
        if rng.bool() {
            store.close().unwrap();
        }
    }
}

#[test]
fn opening_and_closing_without_a_write_adds_nothing_to_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    store.session().create(&token(1)).unwrap();
    store.close().unwrap();
    let mut last = None;
    for _ in 0..3 {
        let store = Store::open(dir.path(), config()).unwrap();
        assert!(store.recovery().clean);
        let lsn = store.last_lsn();
        assert_eq!(*last.get_or_insert(lsn), lsn);
        store.close().unwrap();
    }
}

#[test]
fn a_second_open_of_a_store_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let error = Store::open(dir.path(), config()).unwrap_err();
    assert!(matches!(error, OpenError::Log(neurograph::wal::OpenError::Locked { .. })), "{error}");
    drop(store);
    Store::open(dir.path(), config()).unwrap();
}

#[test]
fn a_store_over_its_quota_opens_refuses_creates_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..1_000).map(|n| session.create(&token(n)).unwrap()).collect();
    drop(session);
    store.close().unwrap();
    let mut smaller = config();
    smaller.guardian.max_tokens = Some(10);
    smaller.guardian.enable_aggressive_cleanup = false;
    let store = Store::open(dir.path(), smaller).unwrap();
    assert!(store.recovery().over_quota);
    assert_eq!(store.len(), 1_000);
    let mut session = store.session();
    assert!(session.create(&token(1)).is_err());
    ids[..990].iter().for_each(|&id| session.delete(id).unwrap());
    assert!(session.create(&token(1)).is_err());
    session.delete(ids[990]).unwrap();
    session.create(&token(1)).unwrap();
    assert!(session.create(&token(1)).is_err());
}

#[cfg(unix)]
#[test]
fn a_store_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("store");
    let store = Store::open(&dir, config()).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(dir.join("wal")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    assert_eq!(mode(&dir.join("MANIFEST")), 0o600);
    drop(store);
}

#[test]
fn a_directory_that_can_not_be_one_is_refused_by_name() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "hello").unwrap();
    let error = Store::open(&file, config()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "hello");
}
