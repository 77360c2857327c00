//! A store that is closed, failed or full: typed refusals, reads from memory, nothing lost.

use neurograph::{
    Config, CreateError, Durability, FullCause, Health, Store, SyncError, Token, WriteError,
};
use std::time::Duration;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(100_000);
    config.blackbox.panic_hook = false;
    config
}

#[test]
fn sessions_of_a_closed_store_read_on_and_refuse_to_write() {
    for in_memory in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let store = match in_memory {
            true => Store::in_memory(config()).unwrap(),
            false => Store::open(dir.path(), config()).unwrap(),
        };
        let mut session = store.session();
        let id = session.create(&token(1)).unwrap();
        store.close().unwrap();
        assert_eq!(session.get(id), Some(token(1)));
        assert!(matches!(session.create(&token(2)), Err(CreateError::Closed)));
        assert!(matches!(session.update(id, &token(2)), Err(WriteError::Closed)));
        assert!(matches!(session.delete(id), Err(WriteError::Closed)));
        assert_eq!(session.get(id), Some(token(1)));
    }
}

#[test]
fn a_store_in_memory_says_that_nothing_of_it_is_durable() {
    let store = Store::in_memory(config()).unwrap();
    store.session().create(&token(1)).unwrap();
    assert!(matches!(store.sync(), Err(SyncError::NoLog)));
    assert_eq!(store.health(), Health::Healthy);
}

#[test]
fn each_level_can_be_waited_for_and_one_call_can_ask_for_more() {
    for level in [Durability::Relaxed, Durability::Balanced, Durability::Strict] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.wal.durability = level;
        let store = Store::open(dir.path(), config).unwrap();
        let mut session = store.session();
        let id = session.create(&token(1)).unwrap();
        store.wait_durable(session.last_lsn(), Duration::from_secs(30)).unwrap();
        session.with(Durability::Strict).update(id, &token(2)).unwrap();
        let wal = store.stats().wal.unwrap();
        assert!(wal.durable_lsn >= session.last_lsn(), "{level:?}");
        session.with(Durability::Strict).delete(id).unwrap();
        session.with(Durability::Strict).create(&token(3)).unwrap();
        assert!(store.stats().wal.unwrap().durable_lsn >= session.last_lsn(), "{level:?}");
    }
}

#[test]
fn a_full_log_refuses_with_figures_changes_nothing_and_still_takes_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.wal.segment_bytes = 2 << 20;
    config.wal.log_bytes_max = 16 << 20;
    config.wal.full_timeout = Duration::from_millis(200);
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..100).map(|n| session.create(&token(n)).unwrap()).collect();
    // A disk that stalls for longer than the timeout refuses too: that is not what is tested.
    let (used, limit, waited) = (0..)
        .find_map(|n| match session.update(ids[n % ids.len()], &token(n as u32)) {
            Err(WriteError::LogFull { cause, used, limit, waited })
                if matches!(*cause, FullCause::Log { .. }) =>
            {
                Some((used, limit, waited))
            }
            Ok(()) | Err(WriteError::LogFull { .. }) => None,
            Err(other) => panic!("{other}"),
        })
        .expect("the log is bounded");
    assert!(used <= limit, "{used} of {limit}");
    assert!(waited >= config.wal.full_timeout);
    let (before, len) = (session.get(ids[0]), store.len());
    // Six threads that waited at once span on a core each, and counted 316,217 refusals.
    let wal = || store.stats().wal.unwrap();
    let before_waits = wal();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let mut session = store.session();
            scope.spawn(move || {
                let refused = session.create(&token(1)).unwrap_err();
                let text = refused.to_string();
                assert!(matches!(refused, CreateError::LogFull { .. }), "{text}");
                assert!(text.contains("the log is full") && !text.contains("retire"), "{text}");
                assert!(text.starts_with("nothing changed: "), "{text}");
                assert!(text.ends_with("; open the store again with a larger wal.log_bytes_max"));
            });
        }
    });
    assert_eq!(wal().full_total - before_waits.full_total, 6, "refusals");
    let waits = wal().room_waits_total - before_waits.room_waits_total;
    assert!(waits <= 6 * 4, "{waits} sleeps for six refusals");
    let refused = session.update(ids[0], &token(77));
    assert!(matches!(refused, Err(WriteError::LogFull { .. })), "{refused:?}");
    assert_eq!((session.get(ids[0]), store.len()), (before, len), "a refusal changed something");
    for &id in &ids[..50] {
        // Here too a disk may stall for longer than the timeout; a reserve that is not given never ends that.
        let deleted = (0..100).find_map(|_| match session.delete(id) {
            Err(WriteError::LogFull { .. }) => None,
            other => Some(other),
        });
        deleted.expect("the log's last reserve takes deletes").unwrap();
    }
    assert_eq!(store.health(), Health::Healthy);
    drop(session);
    let used = store.stats().guardian.tokens_used;
    assert_eq!(used, store.len(), "a refused create kept its credit");
    let expected: std::collections::HashMap<_, _> = store.iter().collect();
    drop(store);
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let found: std::collections::HashMap<_, _> = store.iter().collect();
    assert!(
        found == expected,
        "the store came back with {} of {} tokens",
        found.len(),
        expected.len()
    );
    // What the message advises.
    drop(store);
    config.wal.log_bytes_max *= 2;
    let store = Store::open(dir.path(), config).unwrap();
    store.session().create(&token(1)).unwrap();
}

/// The close failed with "no storage space" where it only had to wait for the next segment's file.
#[test]
fn a_store_that_never_waits_for_room_is_closed_all_the_same() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.wal.full_timeout = Duration::ZERO;
        let store = Store::open(dir.path(), config.clone()).unwrap();
        let created = store.session().create(&token(1));
        store.close().unwrap_or_else(|e| panic!("round {round}: {e}"));
        let store = Store::open(dir.path(), config).unwrap();
        assert_eq!(store.len(), u64::from(created.is_ok()), "round {round}");
        store.close().unwrap_or_else(|e| panic!("round {round}, empty: {e}"));
    }
}
