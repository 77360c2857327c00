//! Models of recall against create: no slot is lost, none is given to two.

use crate::lease::barrier::Barrier;
use crate::lease::{Lease, Mask};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering::SeqCst};
use loom::thread;

/// Runs an owner who fills up to `SLOTS` slots beside a recaller; each slot must end in one place.
fn each_slot_ends_in_one_place(stop_at: Option<u32>) {
    const SLOTS: u32 = 2;
    loom::model(move || {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(SLOTS));
        let recaller = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.recall(barrier).map_or(Mask::EMPTY, |unused| unused.mask))
        };
        let mut armed = lease.resume(stop_at.unwrap_or(SLOTS));
        let mut filled = Mask::EMPTY;
        for position in 0..SLOTS {
            if !lease.advance(position, barrier) {
                if !lease.owns(position, armed) {
                    break;
                }
                armed = match lease.rung() {
                    true => lease.resume(SLOTS),
                    false => lease.arm(armed, SLOTS, barrier),
                };
            }
            filled.0[0] |= 1 << position;
        }
        let recalled = recaller.join().unwrap();
        let next = filled.count();
        let left = lease.finish(next).mask;
        assert_eq!(filled.0[0] & recalled.0[0], 0, "a slot went to two");
        assert_eq!(
            filled.0[0] | recalled.0[0] | left.0[0],
            Mask::first(SLOTS).0[0],
            "a slot was lost"
        );
        assert_eq!(lease.tally().begun, u64::from(next));
    });
}

#[test]
fn loom_a_recall_beside_creates_loses_no_slot_and_gives_none_to_two() {
    each_slot_ends_in_one_place(None);
}

#[test]
fn loom_a_recall_beside_an_owner_that_stops_and_goes_on_is_not_overrun() {
    each_slot_ends_in_one_place(Some(1));
}

/// Runs an owner who fills or sets aside slots, as many at once as it gets, beside a recaller.
fn each_slot_of_a_run_ends_in_one_place(set_aside: bool) {
    const SLOTS: u32 = 3;
    loom::model(move || {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(SLOTS));
        let recaller = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.recall(barrier).map_or(Mask::EMPTY, |unused| unused.mask))
        };
        lease.resume(SLOTS);
        let end = match set_aside {
            true => lease.take_out(0, SLOTS - 1),
            false => lease.advance_to(0, SLOTS - 1, barrier),
        };
        let filled = Mask::first(SLOTS).below(end);
        let recalled = recaller.join().unwrap();
        let left = lease.finish(end).mask;
        assert_eq!(filled.0[0] & recalled.0[0], 0, "a slot went to two");
        assert_eq!(
            filled.0[0] | recalled.0[0] | left.0[0],
            Mask::first(SLOTS).0[0],
            "a slot was lost"
        );
        assert_eq!(lease.tally().begun, if set_aside { 0 } else { u64::from(end) });
    });
}

#[test]
fn loom_a_recall_beside_a_run_of_creates_loses_no_slot_and_gives_none_to_two() {
    each_slot_of_a_run_ends_in_one_place(false);
}

#[test]
fn loom_a_recall_beside_slots_set_aside_loses_none_and_gives_none_to_two() {
    each_slot_of_a_run_ends_in_one_place(true);
}

#[test]
fn loom_a_hand_back_beside_a_recall_gives_each_slot_back_once_and_the_next_lease_is_whole() {
    loom::model(|| {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(2));
        lease.resume(2);
        let recaller = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || lease.recall(barrier))
        };
        // One slot used if it still is the owner's, the rest handed back, and a lease of another group taken.
        let used = u64::from(lease.advance(0, barrier) || lease.owns(0, 0));
        let handed_back = lease.finish(used as u32);
        lease.start(64, Mask::first(1));
        let armed = lease.resume(1);
        let next = u64::from(lease.advance(0, barrier) || lease.owns(0, armed));
        let rest = lease.finish(next as u32);
        let mut places = [used, next << 1];
        let recalled = recaller.join().unwrap();
        for unused in [Some(handed_back), Some(rest), recalled].into_iter().flatten() {
            let bits = unused.mask.0[0];
            let (index, bits) = if unused.first == 0 { (0, bits) } else { (1, bits << 1) };
            assert_eq!(places[index] & bits, 0, "a slot went to two");
            places[index] |= bits;
        }
        assert_eq!(places, [0b11, 0b10], "a slot was lost");
        assert_eq!(lease.tally().begun, used + next);
        assert_eq!(lease.tally().idle, 0);
    });
}

#[test]
fn loom_a_count_beside_creates_is_exact() {
    loom::model(|| {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(2));
        // What the owner has filled for sure, and what it may have begun.
        let filled = Arc::new(AtomicU64::new(0));
        let mut armed = lease.resume(1);
        let counter = {
            let (lease, filled) = (Arc::clone(&lease), Arc::clone(&filled));
            thread::spawn(move || {
                let leases = [lease];
                let held = Lease::hold_all(&leases, barrier);
                let counted = leases[0].tally_held(&held[0]).begun;
                // Held up: nothing that was not counted gets filled before the guard goes.
                assert!(filled.load(SeqCst) <= counted, "a filled slot was not counted");
                drop(held);
            })
        };
        for position in 0..2 {
            if !lease.advance(position, barrier) {
                assert!(lease.owns(position, armed));
                armed = lease.arm(armed, 2, barrier);
            }
            filled.fetch_add(1, SeqCst);
        }
        counter.join().unwrap();
        assert_eq!(lease.tally().begun, 2);
    });
}

#[test]
fn loom_a_ring_is_not_lost_under_a_limit_that_the_owner_sets_meanwhile() {
    loom::model(|| {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(2));
        let armed = lease.resume(1);
        let ringer = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || Lease::ring_all(&[lease], barrier))
        };
        let armed = lease.arm(armed, 2, barrier);
        ringer.join().unwrap();
        assert!(!lease.advance(0, barrier), "the ring was lost");
        assert!(lease.owns(0, armed) && lease.rung());
        lease.resume(2);
        assert!(lease.advance(0, barrier) && !lease.rung());
    });
}
