//! Permits: all or nothing, back when dropped, and a wait for them that sleeps; what is released too
//! often is found and lets nobody in.

#[path = "holder/sessions.rs"]
mod sessions;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ng_guardian::{Granted, Guardian, GuardianConfig, Limits, Permit, Refusal};
use sessions::Store;

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(3_600);

fn guardian(max_tokens: u64) -> Guardian {
    let mut config = GuardianConfig::default();
    config.max_tokens = Some(max_tokens);
    config.kernel_root = "/nonexistent".into();
    Guardian::new(config).expect("a valid config")
}

fn used(guardian: &Guardian) -> u64 {
    guardian.stats().tokens_used
}

#[test]
fn a_permit_holds_exactly_what_was_asked_for_until_it_is_dropped_also_in_a_panic() {
    let guardian = guardian(3_000);
    let permit = guardian.permit(2_500).expect("more than one lease");
    assert_eq!((permit.credits(), used(&guardian)), (2_500, 2_500));
    let refused = Refusal::TokensExceeded { limit: 3_000, used: 2_500, requested: 501 };
    assert_eq!(guardian.permit(501).err(), Some(refused), "all or none");
    let other = guardian.permit(500).expect("the rest");
    let died = catch_unwind(AssertUnwindSafe(|| {
        let _permit = other;
        std::panic::resume_unwind(Box::new("dies")); // no message on the terminal
    }));
    assert!(died.is_err());
    assert_eq!(used(&guardian), 2_500);
    drop(permit);
    assert_eq!(used(&guardian), 0);
    assert_eq!(guardian.permit(0).expect("nothing always fits").credits(), 0);
    let kept = guardian.permit(7).expect("room").keep();
    assert_eq!((kept.credits, used(&guardian)), (7, 7));
    guardian.release(7);
    let stats = guardian.stats();
    assert_eq!((stats.refusals_tokens_total, stats.over_released_total), (1, 0));
}

#[test]
fn a_permit_finds_what_lies_idle_in_leases_and_in_cells() {
    let store = Store::new(1_000);
    let mut session = store.session();
    session.create().expect("room");
    session.create().expect("room");
    assert!(session.idle() > 100, "the test needs a lease worth recalling");
    session.delete();
    let permit = store.guardian.permit(999).expect("all but one");
    assert!(store.guardian.permit(1).is_err());
    assert!(matches!(session.create(), Err(Refusal::TokensExceeded { .. })));
    drop(permit);
    session.create().expect("room again");
}

/// Both credits of a guardian are taken; a thread waits for one, and `way` brings one.
fn wait_for(way: impl FnOnce(&Guardian)) {
    let guardian = guardian(2);
    let _taken = guardian.reserve(2).expect("room");
    thread::scope(|scope| {
        let (begins, begun) = mpsc::channel();
        let guardian = &guardian;
        let waits = scope.spawn(move || {
            begins.send(()).expect("the test listens");
            guardian.permit_timeout(1, LONG).map(Permit::keep)
        });
        begun.recv().expect("a thread");
        way(guardian);
        assert_eq!(waits.join().expect("no panic"), Ok(Granted { credits: 1 }));
    });
    assert_eq!(guardian.stats().refusals_tokens_total, 0);
}

#[test]
fn a_wait_ends_when_credits_come_back_whatever_way_they_come() {
    wait_for(|guardian| guardian.release(1));
    wait_for(|guardian| guardian.release_unused(2));
    wait_for(|guardian| {
        let raised = Limits { max_tokens: Some(3), max_memory_bytes: None };
        guardian.set_limits(raised);
    });
    wait_for(|guardian| {
        let mut cell = guardian.cell();
        cell.release_one();
        drop(cell); // which harvests it
    });
    wait_for(|guardian| {
        let mut cell = guardian.cell();
        cell.release_one();
        guardian.pulse();
        std::mem::forget(cell);
    });
}

#[test]
fn a_release_into_a_cell_is_found_though_it_tells_nobody() {
    let guardian = guardian(1);
    let _taken = guardian.reserve(1).expect("room");
    let mut cell = guardian.cell();
    cell.release_one();
    assert!(guardian.permit_timeout(1, Duration::ZERO).is_ok());
    let _taken = guardian.reserve(1).expect("room");
    thread::scope(|scope| {
        let waits = scope.spawn(|| guardian.permit_timeout(1, LONG).map(drop));
        cell.release_one();
        assert_eq!(waits.join().expect("no panic"), Ok(()));
    });
}

#[test]
fn a_wait_that_ends_without_credits_is_one_refusal() {
    let guardian = guardian(1);
    let _held = guardian.permit(1).expect("room");
    let refused = Refusal::TokensExceeded { limit: 1, used: 1, requested: 1 };
    assert_eq!(guardian.permit_timeout(1, Duration::ZERO).err(), Some(refused));
    let _cell = guardian.cell(); // so that it looks more than once
    assert_eq!(guardian.permit_timeout(1, Duration::from_millis(50)).err(), Some(refused));
    assert_eq!(guardian.stats().refusals_tokens_total, 2);
    assert!(guardian.permit_timeout(0, Duration::ZERO).is_ok());
}

#[test]
fn threads_that_wait_for_each_others_permits_all_get_theirs_and_never_too_many_at_once() {
    let guardian = guardian(5);
    let in_use = AtomicU32::new(0);
    thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (guardian, in_use) = (&guardian, &in_use);
            scope.spawn(move || {
                for round in 0..500 {
                    let credits = 1 + (thread + round) % 5;
                    let permit = guardian.permit_timeout(credits, LONG).expect("they come back");
                    let now = in_use.fetch_add(credits, SeqCst) + credits;
                    assert!(now <= 5, "{now} of 5 in use");
                    in_use.fetch_sub(credits, SeqCst);
                    drop(permit);
                }
            });
        }
    });
    let stats = guardian.stats();
    assert_eq!((stats.tokens_used, stats.refusals_tokens_total), (0, 0));
    assert_eq!(stats.granted_total, stats.released_total);
}

/// Runs what releases too much: a debug build must panic and say what, any other go on.
fn over(run: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(run)).err();
    assert_eq!(panic.is_some(), cfg!(debug_assertions));
    if let Some(panic) = panic {
        let said = panic.downcast_ref::<String>().expect("a message");
        assert!(said.ends_with("more were given back than were out"), "{said}");
    }
}

#[test]
fn what_is_released_too_often_is_counted_and_admits_nobody() {
    let guardian = guardian(10);
    let mut cell = guardian.cell();
    let _four = guardian.reserve(4).expect("room");
    over(|| guardian.release(7));
    assert_eq!((used(&guardian), guardian.stats().over_released_total), (0, 3));
    let _four = guardian.reserve(4).expect("room");
    cell.release(6);
    over(|| _ = guardian.stats()); // where cells are harvested
    let stats = guardian.stats();
    assert_eq!((stats.tokens_used, stats.over_released_total), (0, 5));
    assert_eq!(stats.granted_total, stats.released_total);
    let admitted = (0..100).filter(|_| guardian.reserve(1).is_ok()).count();
    assert_eq!(admitted, 10, "the limit holds whatever is released");
}

#[test]
fn bytes_given_back_too_often_are_counted_and_admit_nobody() {
    let mut config = GuardianConfig::default();
    config.max_memory_bytes = Some(100);
    config.kernel_root = "/nonexistent".into();
    let guardian = Guardian::new(config).expect("a valid config");
    guardian.commit(10).expect("room");
    guardian.hold_fixed(20).expect("room");
    over(|| guardian.release_fixed(25));
    assert_eq!(guardian.stats().committed_bytes, 10, "not one byte of what is not fixed");
    over(|| guardian.uncommit(u64::MAX));
    let stats = guardian.stats();
    assert_eq!((stats.committed_bytes, stats.fixed_bytes), (0, 0));
    assert_eq!(stats.over_uncommitted_bytes_total, 5 + (u64::MAX - 10));
    assert!(guardian.commit(101).is_err());
    guardian.commit(100).expect("room");
}
