//! Cleanup evicts only what would not survive a restart anyway, unless `guardian.evict = "all"`; never what is
//! PERSISTENT or LOCKED; never at an open. Whatever it evicts is told.
#![cfg(unix)]

use neurograph::guardian::Evict;
use neurograph::{
    Config, CreateError, Durability, EvictionReason, Flags, Persist, SessionError, Store, Token,
    TokenId,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

/// Defaults, so aggressive cleanup on, with this quota.
fn config(max_tokens: u64) -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(max_tokens);
    config.blackbox.panic_hook = false;
    config
}

/// As often as the store looks after itself in a second.
fn wait_for_pulses(store: &Store, pulses: u64) {
    let seen = store.stats().pulses_total;
    while store.stats().pulses_total < seen + pulses {
        std::thread::yield_now();
    }
}

/// 1,101 creates were acknowledged at Strict with a quota of 1,000, and 801 tokens were alive.
#[test]
fn a_store_whose_tokens_are_all_logged_refuses_at_its_quota_and_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config(1_000)).unwrap();
    let mut session = store.session();
    let mut acknowledged = Vec::new();
    for n in 0..1_101 {
        match session.with(Durability::Strict).create(&token(n)) {
            Ok(id) => acknowledged.push((id, token(n))),
            Err(CreateError::QuotaExceeded { limit: 1_000, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(acknowledged.len(), 1_000);
    wait_for_pulses(&store, 10);
    let is_there = |store: &Store| {
        let found: HashMap<_, _> = store.iter().collect();
        assert_eq!(found, acknowledged.iter().copied().collect());
    };
    is_there(&store);
    assert_eq!(store.stats().tokens_evicted_total, 0);
    drop(session);
    store.close().unwrap();
    is_there(&Store::open(dir.path(), config(1_000)).unwrap());
}

/// A store of 10,000 opened once with a smaller quota had 6,300 a second later, without a call.
#[test]
fn an_open_with_a_smaller_quota_evicts_nothing_and_refuses_until_there_is_room() {
    for evict in [Evict::Unlogged, Evict::All] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), config(10_000)).unwrap();
        let mut session = store.session();
        let ids: Vec<_> = (0..10_000).map(|n| session.create(&token(n)).unwrap()).collect();
        drop(session);
        store.close().unwrap();
        let mut smaller = config(7_000);
        smaller.guardian.evict = evict;
        let store = Store::open(dir.path(), smaller).unwrap();
        assert!(store.recovery().over_quota);
        wait_for_pulses(&store, 10);
        assert_eq!(store.len(), 10_000, "{evict:?}: an open evicts nothing");
        let mut session = store.session();
        let created = session.create(&token(1));
        if evict == Evict::All {
            created.unwrap();
            continue;
        }
        assert!(matches!(created, Err(CreateError::QuotaExceeded { limit: 7_000, .. })));
        assert_eq!(store.len(), 10_000);
        ids[..3_001].iter().for_each(|&id| session.delete(id).unwrap());
        session.create(&token(1)).unwrap();
        assert_eq!(store.len(), 7_000);
    }
}

/// `set_limits(Some(100), None)` left 70 tokens of a store whose tokens are all logged.
#[test]
fn a_lowered_limit_evicts_no_logged_token() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config(1_000)).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..1_000).map(|n| session.create(&token(n)).unwrap()).collect();
    store.set_limits(Some(100), None);
    assert!(matches!(session.create(&token(1)), Err(CreateError::QuotaExceeded { .. })));
    wait_for_pulses(&store, 10);
    assert_eq!(store.len(), 1_000);
    ids[..950].iter().for_each(|&id| session.delete(id).unwrap());
    assert_eq!((0..60).filter(|&n| session.create(&token(n)).is_ok()).count(), 50);
}

type Told = Arc<Mutex<Vec<(TokenId, Token, EvictionReason)>>>;

/// A store in which only marked tokens are logged, whose evictions are collected.
fn observed_store(config: Config, dir: &std::path::Path) -> (Store, Told) {
    let told = Told::default();
    let tell = Arc::clone(&told);
    let builder = Store::builder(config)
        .on_evicted(move |id, token, reason| tell.lock().unwrap().push((id, token, reason)));
    (builder.open(dir).unwrap(), told)
}

#[test]
fn every_eviction_is_told_and_counted_by_reason_and_none_is_of_a_marked_token() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(1_000);
    config.persist = Persist::Flagged;
    let (store, told) = observed_store(config, dir.path());
    let mut session = store.session();
    let mut made = HashMap::new();
    for n in 0..5_000 {
        let flags = match n % 20 {
            0 => Flags::PERSISTENT,
            1 => Flags::LOCKED,
            _ => Flags::ACTIVE,
        };
        // The marked tokens fill the quota in the end; until then each create finds room.
        if let Ok(id) = session.create(&token(n).with_flags(flags)) {
            made.insert(id, token(n).with_flags(flags));
        }
    }
    let told = std::mem::take(&mut *told.lock().unwrap());
    let alive: HashMap<_, _> = store.iter().collect();
    assert!(!told.is_empty());
    for (id, token, reason) in &told {
        assert_eq!(made.remove(id), Some(*token), "told once, and as it was");
        assert_eq!(*reason, EvictionReason::TokenQuota);
        assert_eq!(token.flags(), Flags::ACTIVE, "{id}");
    }
    assert_eq!(alive, made, "what was not told to be evicted is there");
    let stats = store.stats();
    assert_eq!(stats.tokens_evicted_total, told.len() as u64);
    assert_eq!(stats.evictions.token_quota, told.len() as u64);
    let page = store.metrics_text();
    let line = format!("neurograph_evictions_total{{reason=\"token_quota\"}} {}\n", told.len());
    assert!(page.contains(&line), "{page}");
}

#[test]
fn with_evict_all_logged_tokens_go_too_but_none_that_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(1_000);
    config.guardian.evict = Evict::All;
    let (store, told) = observed_store(config.clone(), dir.path());
    let mut session = store.session();
    for n in 0..300 {
        session.create(&token(n).with_flags(Flags::PERSISTENT)).unwrap();
    }
    (300..5_000).for_each(|n| _ = session.create(&token(n)).unwrap());
    assert!(!told.lock().unwrap().is_empty());
    drop(session);
    store.close().unwrap();
    let store = Store::open(dir.path(), config).unwrap();
    let marked = store.iter().filter(|(_, token)| token.flags().contains(Flags::PERSISTENT));
    assert_eq!(marked.count(), 300);
    let gone: Vec<_> = told.lock().unwrap().iter().map(|(id, ..)| *id).collect();
    assert!(gone.iter().all(|&id| store.session().get(id).is_none()), "an evicted token came back");
}

/// The observer of an eviction creates a token: the create finds nobody else to wait for.
#[test]
fn an_observer_that_creates_or_panics_hangs_nothing() {
    let store: Arc<OnceLock<Store>> = Arc::default();
    let refused = Arc::new(AtomicU64::new(0));
    let (seen, count) = (Arc::clone(&store), Arc::clone(&refused));
    let builder = Store::builder(config(1_000)).on_evicted(move |_, token, _| {
        let Some(store) = seen.get() else { return };
        assert_ne!(token.timestamp(), 1_500, "told of the one that makes it panic");
        if matches!(store.session().create(&token), Err(CreateError::Evicting)) {
            count.fetch_add(1, Relaxed);
        }
    });
    assert!(store.set(builder.in_memory().unwrap()).is_ok());
    let store = store.get().unwrap();
    let mut session = store.session();
    let created = (0..5_000).filter(|&n| session.create(&token(n)).is_ok()).count();
    assert_eq!(created, 5_000);
    assert_eq!(store.stats().panics_recovered_total, 1);
    // Told of the tokens before the one that made it panic, oldest first.
    assert!(refused.load(Relaxed) >= 1_000, "{refused:?}");
}

/// 100,000 tokens and 770 idle sessions: within 1.5 s no token was left, since each session's ring of spans
/// counted as memory that evictions should free.
#[test]
fn memory_that_no_eviction_frees_evicts_no_token() {
    let store = Store::in_memory(Config::default()).unwrap();
    let mut session = store.session();
    (0..100_000).for_each(|n| _ = session.create(&token(n)).unwrap());
    let idle: Vec<_> = (0..10_000).map(|_| store.session()).collect();
    wait_for_pulses(&store, 10);
    assert_eq!(store.len(), 100_000);
    let stats = store.stats();
    assert_eq!(stats.tokens_evicted_total, 0);
    assert!(stats.guardian.fixed_bytes >= 10_000 * neurograph::Session::BYTES);
    drop(idle);
    let left = store.stats().guardian.fixed_bytes;
    assert!(left < stats.guardian.fixed_bytes - 9_999 * neurograph::Session::BYTES, "{left}");
}

/// Fixed memory takes two thirds of this quota, idle sessions most of it. Beside so many, the tokens were evicted for a mark of the whole.
#[test]
fn idle_sessions_that_take_most_of_the_memory_quota_evict_no_token() {
    let mut config = config(100_000);
    config.guardian.max_memory_bytes = Some(24 << 20);
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    (0..60_000).for_each(|n| _ = session.create(&token(n)).unwrap());
    let mut idle = Vec::new();
    while store.stats().guardian.memory_usage_percent() < 85.0 {
        idle.push(store.try_session().unwrap());
    }
    wait_for_pulses(&store, 10);
    assert_eq!((store.len(), store.stats().tokens_evicted_total), (60_000, 0));
    drop(idle);
}

/// 2,677 sessions took 24 MiB, and by then all unlogged tokens were gone.
#[test]
fn sessions_without_end_are_refused_at_the_memory_quota_and_evict_no_token() {
    let mut config = config(100_000);
    config.guardian.max_memory_bytes = Some(24 << 20);
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    (0..1_000).for_each(|n| _ = session.create(&token(n)).unwrap());
    let mut idle = Vec::new();
    while let Ok(session) = store.try_session() {
        idle.push(session);
        if idle.len() % 100 == 0 {
            wait_for_pulses(&store, 1);
        }
    }
    assert!(idle.len() > 1_500, "{}", idle.len());
    wait_for_pulses(&store, 5);
    assert_eq!((store.len(), store.stats().tokens_evicted_total), (1_000, 0));
    drop(idle);
    wait_for_pulses(&store, 5);
    assert_eq!(store.len(), 1_000);
}

#[test]
fn a_session_beyond_the_memory_quota_is_refused_by_its_fallible_twin() {
    let mut config = config(1_000);
    config.guardian.max_memory_bytes = Some(16 << 20);
    let store = Store::in_memory(config).unwrap();
    let mut sessions = Vec::new();
    let refused = loop {
        match store.try_session() {
            Ok(session) => sessions.push(session),
            Err(refused) => break refused,
        }
    };
    assert!(sessions.len() as u64 <= (16 << 20) / neurograph::Session::BYTES);
    let SessionError::MemoryExceeded { limit, used, requested } = refused else {
        panic!("{refused}");
    };
    assert_eq!((limit, requested), (16 << 20, neurograph::Session::BYTES));
    assert!(used + requested > limit);
    sessions.pop();
    assert!(store.try_session().is_ok(), "what a session held came back with its drop");
}

/// With 850 of 1,000 places taken for good, ordinary tokens died within 0.3 s, ten at a time, for a mark that they could
/// not reach.
#[test]
fn few_ordinary_tokens_beside_many_that_stay_live_until_the_quota_needs_their_places() {
    let store = Store::in_memory(config(1_000)).unwrap();
    let mut session = store.session();
    let stays =
        Token::builder().flags(Flags::ACTIVE.with(Flags::PERSISTENT)).timestamp(1).build().unwrap();
    for _ in 0..850 {
        session.create(&stays).unwrap();
    }
    let ordinary: Vec<_> = (0..100).map(|n| session.create(&token(n + 10)).unwrap()).collect();
    wait_for_pulses(&store, 10);
    let alive = |session: &neurograph::Session| {
        ordinary.iter().filter(|id| session.get(**id).is_some()).count()
    };
    assert_eq!(alive(&session), 100, "{:?}", store.stats().guardian);
    // The quota is used up: the oldest of them make room, and not all.
    (0..100).for_each(|n| _ = session.create(&token(n + 1_000)).unwrap());
    assert!((1..100).contains(&alive(&session)), "{}", alive(&session));
    assert!(store.len() >= 850 + 100);
}

/// Its tokens are there, and it counted as a refused create.
#[test]
fn a_token_whose_durability_is_unknown_is_no_refused_create() {
    let dir = tempfile::tempdir().unwrap();
    let mut impatient = config(10_000_000);
    impatient.wal.sync_timeout = std::time::Duration::from_millis(1);
    let store = Store::open(dir.path(), impatient).unwrap();
    let [there, unknown, refused] = [0; 3].map(AtomicU64::new);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Much to write before each sync; who waits for one that another began is told the time.
                let (mut session, tokens) = (store.session(), vec![token(7); 800]);
                for _ in 0..2_000 {
                    let mut ids = Vec::new();
                    if session.create_batch(&tokens, &mut ids).is_err() {
                        refused.fetch_add(1, Relaxed);
                    }
                    there.fetch_add(ids.len() as u64, Relaxed);
                    match session.with(Durability::Strict).create(&token(8)) {
                        Ok(_) => {}
                        Err(CreateError::DurabilityUnknown { .. }) => {
                            _ = unknown.fetch_add(1, Relaxed)
                        }
                        Err(_) => {
                            refused.fetch_add(1, Relaxed);
                            continue;
                        }
                    }
                    there.fetch_add(1, Relaxed);
                    if unknown.load(Relaxed) > 0 {
                        return;
                    }
                }
            });
        }
    });
    assert!(unknown.into_inner() > 0, "no sync took a millisecond");
    let stats = store.stats();
    assert_eq!(stats.tokens_created_total, there.into_inner());
    assert_eq!(stats.tokens_rejected_total, refused.into_inner());
}

/// It hung for ever: closing waits for the cleanup that the call is part of.
#[test]
fn a_store_that_its_observer_closes_refuses_that_and_hangs_nothing() {
    let place: Arc<Mutex<Option<Store>>> = Arc::default();
    let said = Arc::new(OnceLock::new());
    let observe = {
        let (place, said) = (Arc::clone(&place), Arc::clone(&said));
        move |_, _, _| {
            let store = place.lock().unwrap().take();
            if let Some(store) = store {
                said.set(store.close()).unwrap();
            }
        }
    };
    let store = Store::builder(config(1_000)).on_evicted(observe).in_memory().unwrap();
    let mut session = store.session();
    *place.lock().unwrap() = Some(store);
    for n in 0..2_000 {
        session.create(&token(n)).unwrap();
    }
    assert!(matches!(said.get(), Some(Err(neurograph::CloseError::Evicting))), "{said:?}");
}
