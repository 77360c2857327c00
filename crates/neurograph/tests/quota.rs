//! Quotas through the whole store: exact with racing sessions, idle leases recalled, cleanup that frees.

use neurograph::guardian::Evict;
use neurograph::{Config, CreateError, Flags, Persist, Session, Store, Token};
use std::collections::HashMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

fn config(max_tokens: u64) -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = Some(max_tokens);
    config.guardian.enable_aggressive_cleanup = false;
    config.blackbox.panic_hook = false;
    config
}

#[test]
fn racing_sessions_admit_exactly_the_quota_and_refuse_the_rest() {
    for round in 0..20u64 {
        let limit = 5_000 + round * 37;
        let store = Store::in_memory(config(limit)).unwrap();
        let start = Barrier::new(8);
        let admitted: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let mut session = store.session();
                        start.wait();
                        (0..1_000).filter(|&n| session.create(&token(n)).is_ok()).count() as u64
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, limit.min(8_000), "round {round}");
        assert_eq!(store.len(), limit);
        let stats = store.stats();
        assert_eq!(stats.tokens_rejected_total, 8_000 - limit);
        assert_eq!(stats.quota_exceeded_total, 8_000 - limit);
    }
}

/// Creates until the first refusal, which must find all of `limit` in use; returns how many were admitted.
fn race(session: &mut Session, limit: u64, begun: &AtomicU64) -> u64 {
    let mut admitted = 0;
    loop {
        begun.fetch_add(1, SeqCst);
        if session.create(&token(1)).is_err() {
            let others = begun.load(SeqCst) - 1;
            assert!(others >= limit, "refused with {others} of {limit} in use");
            begun.fetch_sub(1, SeqCst);
            return admitted;
        }
        admitted += 1;
    }
}

#[test]
fn no_racing_session_is_refused_while_a_credit_is_free_in_any_of_1000_runs() {
    for run in 0..1_000 {
        let limit = 500 + 7 * run;
        let mut config = Config::bare();
        config.guardian.max_tokens = Some(limit);
        let store = Store::in_memory(config).unwrap();
        // Creates begun and not refused: each credit in use belongs to one of them.
        let (begun, start) = (AtomicU64::new(0), Barrier::new(8));
        let mut sessions: Vec<_> = (0..8).map(|_| store.session()).collect();
        let admitted: u64 = thread::scope(|scope| {
            let (begun, start) = (&begun, &start);
            let racers = sessions.iter_mut().map(|session| {
                scope.spawn(move || {
                    start.wait();
                    race(session, limit, begun)
                })
            });
            let racers: Vec<_> = racers.collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!((admitted, store.len()), (limit, limit), "run {run}");
    }
}

#[test]
fn at_the_quota_one_delete_admits_exactly_one() {
    let store = Store::in_memory(config(3_000)).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..3_000).map(|n| session.create(&token(n)).unwrap()).collect();
    for _ in 0..1_000 {
        let refused = session.create(&token(1));
        assert!(
            matches!(refused, Err(CreateError::QuotaExceeded { limit: 3_000, used: 3_000 })),
            "{refused:?}"
        );
    }
    session.delete(ids[5]).unwrap();
    session.create(&token(1)).unwrap();
    assert!(session.create(&token(1)).is_err());
}

#[test]
fn credits_idle_in_one_session_are_had_by_another() {
    let store = Store::in_memory(config(2_000)).unwrap();
    let mut idle = store.session();
    idle.create(&token(1)).unwrap();
    let mut busy = store.session();
    let created = (0..3_000).filter(|&n| busy.create(&token(n)).is_ok()).count();
    assert_eq!(created, 1_999);
    assert!(idle.create(&token(1)).is_err());
    assert!(store.stats().guardian.recalls_total > 0);
}

#[test]
fn a_lowered_limit_binds_at_once_and_drops_nothing() {
    let store = Store::in_memory(config(10_000)).unwrap();
    let mut session = store.session();
    let ids: Vec<_> = (0..100).map(|n| session.create(&token(n)).unwrap()).collect();
    store.set_limits(Some(100), None);
    assert!(session.create(&token(1)).is_err(), "the session's idle lease was recalled");
    store.set_limits(Some(50), None);
    assert_eq!(store.len(), 100);
    ids[..50].iter().for_each(|&id| session.delete(id).unwrap());
    assert!(session.create(&token(1)).is_err());
    session.delete(ids[50]).unwrap();
    session.create(&token(1)).unwrap();
    store.set_limits(None, None);
    for n in 0..20_000 {
        session.create(&token(n)).unwrap();
    }
}

#[test]
fn a_session_whose_thread_panics_gives_all_its_credits_back() {
    let store = Store::in_memory(config(1_500)).unwrap();
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                let mut session = store.session();
                session.create(&token(1)).unwrap();
                panic!("on purpose");
            })
            .join()
    });
    assert!(outcome.is_err());
    let mut session = store.session();
    let created = (0..2_000).filter(|&n| session.create(&token(n)).is_ok()).count();
    assert_eq!(created, 1_499);
}

#[test]
fn the_memory_quota_refuses_the_chunk_that_does_not_fit() {
    let mut config = config(1_000_000);
    config.trace.installed = false;
    config.blackbox.enabled = false;
    let limit = (4 << 20) + Session::BYTES;
    config.guardian.max_memory_bytes = Some(limit);
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    let created = (0..100_000).take_while(|&n| session.create(&token(n)).is_ok()).count();
    assert_eq!(created, 2 * 32_768);
    let error = session.create(&token(1)).unwrap_err();
    assert!(
        matches!(error, CreateError::MemoryExceeded { limit: l, used, requested } if l == limit && used == limit && requested == 2 << 20),
        "{error}"
    );
}

#[test]
fn at_the_memory_quota_idle_slots_of_one_session_are_had_by_another() {
    let mut config = Config::bare();
    config.guardian.max_memory_bytes = Some((4 << 20) + 2 * Session::BYTES);
    let store = Store::in_memory(config).unwrap();
    let (mut idle, mut busy) = (store.session(), store.session());
    idle.create(&token(1)).unwrap();
    let created = (0..100_000).take_while(|&n| busy.create(&token(n)).is_ok()).count();
    assert_eq!(created, 2 * 32_768 - 1);
    assert!(idle.create(&token(1)).is_err());
}

#[test]
fn with_cleanup_every_create_into_a_full_store_is_admitted_and_the_oldest_go() {
    let mut config = config(20_000);
    config.guardian.enable_aggressive_cleanup = true;
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    let locked = session.create(&token(0).with_flags(Flags::LOCKED)).unwrap();
    let marked = session.create(&token(0).with_flags(Flags::PERSISTENT)).unwrap();
    for n in 1..100_000 {
        session.create(&token(n)).unwrap();
        if n % 1_000 == 0 {
            assert!(store.len() <= 20_000);
        }
    }
    assert!(session.get(locked).is_some() && session.get(marked).is_some());
    let stats = store.stats();
    assert!(stats.guardian.cleanups_total > 0 && stats.tokens_evicted_total >= 80_000 - 20_000);
    let oldest = store
        .iter()
        .filter(|(id, _)| *id != locked && *id != marked)
        .map(|(_, t)| t.timestamp())
        .min();
    assert!(oldest.unwrap() > 70_000, "the youngest stayed: {oldest:?}");
}

#[test]
fn with_cleanup_no_create_of_eight_sessions_is_refused_at_the_quota() {
    let mut config = config(20_000);
    config.guardian.enable_aggressive_cleanup = true;
    let store = Store::in_memory(config).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let mut session = store.session();
                for n in 0..50_000 {
                    session.create(&token(8 * n + thread)).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.tokens_rejected_total, stats.tokens_created_total), (0, 400_000));
    assert!(stats.guardian.tokens_used <= 20_000);
}

#[test]
fn a_cleanup_in_the_background_asks_for_idle_credits_before_it_takes_tokens() {
    let mut config = config(1_000);
    config.guardian.enable_aggressive_cleanup = true;
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    for n in 0..500 {
        session.create(&token(n)).unwrap();
    }
    // What a session holds ahead counts as use, here up to the quota.
    let before = store.stats().pulses_total;
    while store.stats().pulses_total < before + 3 {
        thread::yield_now();
    }
    assert_eq!(store.len(), 500);
    assert!(store.stats().guardian.tokens_used <= 800, "{:?}", store.stats().guardian);
}

#[test]
fn persistent_tokens_are_never_evicted_and_a_store_full_of_them_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(1_000);
    config.guardian.enable_aggressive_cleanup = true;
    config.guardian.evict = Evict::All;
    config.persist = Persist::Flagged;
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    let marked = |n| token(n).with_flags(Flags::PERSISTENT);
    for n in 0..500 {
        session.create(&marked(n)).unwrap();
    }
    for n in 500..5_000 {
        session.create(&token(n)).unwrap();
    }
    let persistent = |store: &Store| {
        let marks = store.iter().filter(|(_, token)| token.flags().contains(Flags::PERSISTENT));
        marks.count()
    };
    assert_eq!(persistent(&store), 500, "the others were enough");
    let admitted = (0..1_000).filter(|&n| session.create(&marked(n)).is_ok()).count();
    assert_eq!((admitted, persistent(&store), store.len()), (500, 1_000, 1_000));
    drop(session);
    store.close().unwrap();
    let store = Store::open(dir.path(), config).unwrap();
    assert_eq!(persistent(&store), 1_000);
}

#[test]
fn evictions_of_logged_tokens_are_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(5_000);
    config.guardian.enable_aggressive_cleanup = true;
    config.guardian.evict = Evict::All;
    config.persist = Persist::All;
    let store = Store::open(dir.path(), config.clone()).unwrap();
    let mut session = store.session();
    for n in 0..20_000 {
        session.create(&token(n)).unwrap();
    }
    assert!(store.stats().tokens_evicted_total > 0);
    // A cleanup may be under way until the close has ended it; reads go on from memory after.
    let seen: Vec<_> = store.iter().map(|(id, _)| id).collect();
    store.close().unwrap();
    let before: HashMap<_, _> =
        seen.into_iter().filter_map(|id| Some((id, session.get(id)?))).collect();
    drop(session);
    // Full as it is, it would go on evicting.
    config.guardian.enable_aggressive_cleanup = false;
    let store = Store::open(dir.path(), config).unwrap();
    let after: HashMap<_, _> = store.iter().collect();
    assert!(after == before, "{} tokens became {}", before.len(), after.len());
}
