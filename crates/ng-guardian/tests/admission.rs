//! Admission is exact: never one over the limit, never one under it, whatever idle sessions hold.

#[path = "holder/sessions.rs"]
mod sessions;

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;

use ng_guardian::{Guardian, GuardianConfig, Limits, Refusal};
use sessions::Store;

#[test]
fn eight_racing_threads_are_admitted_exactly_the_limit_in_each_of_1000_runs() {
    for run in 0..1_000 {
        let limit = 500 + 7 * run;
        let store = Store::new(limit);
        let (in_use, start) = (AtomicU64::new(0), Barrier::new(8));
        // Sessions outlive the race, so that what a loser left idle must be recalled.
        let mut sessions: Vec<_> = (0..8).map(|_| store.session()).collect();
        let admitted: u64 = thread::scope(|scope| {
            let racers = sessions.iter_mut().map(|session| {
                let (in_use, start) = (&in_use, &start);
                scope.spawn(move || {
                    start.wait();
                    let mut admitted = 0;
                    while session.create().is_ok() {
                        admitted += 1;
                        assert!(in_use.fetch_add(1, SeqCst) < limit, "one over the limit");
                    }
                    admitted
                })
            });
            let racers: Vec<_> = racers.collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).sum()
        });
        assert_eq!(admitted, limit, "run {run}");
        assert_eq!(store.guardian.stats().tokens_used, limit);
    }
}

#[test]
fn an_idle_lease_is_recalled_for_who_needs_it() {
    let store = Store::new(1_000);
    let (mut hoarder, mut other) = (store.session(), store.session());
    hoarder.create().expect("room");
    assert!(hoarder.idle() > 100, "the test needs a lease worth recalling");
    for _ in 1..1_000 {
        other.create().expect("999 credits are not in use");
    }
    let full = Refusal::TokensExceeded { limit: 1_000, used: 1_000, requested: 1 };
    assert_eq!(other.create(), Err(full));
    assert_eq!(hoarder.create(), Err(full));
    let stats = store.guardian.stats();
    assert_eq!(stats.refusals_tokens_total, 2);
    assert!(stats.recalled_credits_total > 0);
    assert_eq!(stats.granted_total - stats.released_total, stats.tokens_used);
}

#[test]
fn an_owner_may_recall_by_itself_and_the_credits_are_free_at_once() {
    let store = Store::new(1_000);
    let (mut hoarder, _other) = (store.session(), store.session());
    hoarder.create().expect("room");
    let idle = hoarder.idle();
    assert_eq!(store.guardian.recall_idle(), idle);
    assert_eq!(hoarder.idle(), 0);
    assert_eq!(store.guardian.stats().tokens_used, 1);
    assert_eq!(store.guardian.recall_idle(), 0);
}

#[test]
fn one_delete_at_the_limit_admits_exactly_one() {
    let store = Store::new(100);
    let (mut first, mut second) = (store.session(), store.session());
    for _ in 0..100 {
        first.create().expect("room");
    }
    for _ in 0..50 {
        assert!(second.create().is_err());
        first.delete();
        assert!(second.create().is_ok());
        assert!(second.create().is_err());
    }
}

#[test]
fn a_thread_that_panics_gives_back_what_it_did_not_use() {
    let store = Store::new(1_000);
    let dying = store.clone();
    let died = thread::spawn(move || {
        let mut session = dying.session();
        for _ in 0..10 {
            session.create().expect("room");
        }
        session.delete();
        std::panic::resume_unwind(Box::new("dies")); // no message on the terminal
    });
    assert!(died.join().is_err());
    let stats = store.guardian.stats();
    assert_eq!((stats.tokens_used, stats.holders), (9, 0));
    let mut session = store.session();
    assert_eq!((0..).take_while(|_| session.create().is_ok()).count(), 991);
}

#[test]
fn a_lowered_limit_binds_idle_sessions_and_admits_again_once_the_use_is_under_it() {
    let store = Store::new(1_000);
    let mut session = store.session();
    for _ in 0..10 {
        session.create().expect("room");
    }
    assert!(session.idle() > 0);
    store.guardian.set_limits(Limits { max_tokens: Some(8), max_memory_bytes: None });
    assert_eq!(session.idle(), 0);
    assert_eq!(store.guardian.stats().tokens_used, 10);
    let refused = Refusal::TokensExceeded { limit: 8, used: 10, requested: 1 };
    assert_eq!(session.create(), Err(refused));
    session.delete();
    session.delete();
    assert!(session.create().is_err());
    session.delete();
    assert!(session.create().is_ok());
    store.guardian.set_limits(Limits { max_tokens: None, max_memory_bytes: None });
    assert!((0..10_000).all(|_| session.create().is_ok()));
    assert_eq!(store.guardian.stats().max_tokens, None);
}

#[test]
fn what_existed_before_counts_though_it_does_not_fit_and_blocks_until_it_does() {
    let store = Store::new(10);
    store.guardian.adopt(12, 2_000_000_000);
    let mut session = store.session();
    let refused = Refusal::TokensExceeded { limit: 10, used: 12, requested: 1 };
    assert_eq!(session.create(), Err(refused));
    assert!(matches!(store.guardian.commit(1), Err(Refusal::MemoryExceeded { .. })));
    for _ in 0..2 {
        session.delete();
        assert!(session.create().is_err());
    }
    session.delete();
    assert!(session.create().is_ok());
    store.guardian.uncommit(1_000_000_000);
    assert_eq!(store.guardian.commit(24_000_000), Ok(()));
    let stats = store.guardian.stats();
    assert_eq!((stats.tokens_used, stats.granted_total, stats.released_total), (10, 13, 3));
    assert_eq!(stats.committed_bytes, 1_024_000_000);
}

#[test]
fn commits_are_exact_under_a_race_and_refused_by_their_own_error() {
    const CHUNK: u64 = 2 << 20;
    let mut config = GuardianConfig::default();
    config.max_memory_bytes = Some(100 * CHUNK + 1);
    let guardian = Arc::new(Guardian::new(config).expect("a valid config"));
    let committed: u64 = thread::scope(|scope| {
        let race = || (0..).take_while(|_| guardian.commit(CHUNK).is_ok()).count() as u64;
        let racers: Vec<_> = (0..4).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).sum()
    });
    assert_eq!(committed, 100);
    let refused = Refusal::MemoryExceeded {
        limit_bytes: 100 * CHUNK + 1,
        used_bytes: 100 * CHUNK,
        requested_bytes: CHUNK,
    };
    assert_eq!(guardian.commit(CHUNK), Err(refused));
    assert_eq!(guardian.commit(1), Ok(()));
    guardian.uncommit(CHUNK);
    assert_eq!(guardian.commit(CHUNK), Ok(()));
    guardian.set_limits(Limits { max_tokens: None, max_memory_bytes: Some(CHUNK) });
    assert!(guardian.commit(1).is_err());
    let stats = guardian.stats();
    assert_eq!((stats.committed_bytes, stats.max_memory_bytes), (100 * CHUNK + 1, Some(CHUNK)));
    assert_eq!(stats.refusals_memory_total, 4 + 1 + 1);
    assert_eq!(stats.refusals_tokens_total, 0);
}
