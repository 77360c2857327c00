//! What can't help is not done again: a cleanup that found nothing to evict is skipped until something
//! has changed that could make another one useful.
//!
//! A store of a million pinned tokens at its quota paid two whole scans for each refused create.

#[path = "population/members.rs"]
mod members;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use members::{Kind, Members};
use ng_guardian::{CleanupGoal, Evict, Guardian, Holder, Level, Limits};

const LIMIT: u64 = 1_000;

/// What a store does that is full: asks for a credit, cleans up, gives up if that was of no use.
fn refused_create(members: &Members) {
    assert!(members.guardian.reserve(1).is_err());
    assert_eq!(clean(members), 0);
}

fn clean(members: &Members) -> u64 {
    members.guardian.cleanup(members, CleanupGoal::LowWater, &|| false).evicted
}

/// Real, vain and skipped cleanups.
fn cleanups(guardian: &Guardian) -> [u64; 3] {
    let stats = guardian.stats();
    [stats.cleanups_total, stats.cleanups_vain_total, stats.cleanups_skipped_total]
}

#[test]
fn refusals_at_a_quota_full_of_pinned_members_scan_them_once() {
    let members = Members::full(LIMIT, Kind::Pinned);
    for _ in 0..1_000 {
        refused_create(&members);
    }
    assert_eq!(members.scans(), 1);
    assert_eq!(cleanups(&members.guardian), [0, 1, 999]);
    for _ in 0..10 {
        let pulse = members.guardian.pulse();
        assert_eq!((pulse.level, pulse.cleanup_due), (Level::Refuse, false));
        assert!(!members.guardian.cleanup_before_admission());
    }
    let goal = CleanupGoal::Amount { credits: 1, bytes: 1 };
    let report = members.guardian.cleanup(&members, goal, &|| false);
    assert_eq!((report.skipped, report.scans, report.evicted), (true, 0, 0));
    assert_eq!(members.scans(), 1);
}

#[test]
fn durable_members_over_a_lowered_limit_are_looked_at_once_and_stay() {
    let members = Members::full(LIMIT, Kind::Durable);
    members.guardian.set_limits(Limits { max_tokens: Some(10), max_memory_bytes: Some(1) });
    for _ in 0..10 {
        if members.guardian.pulse().cleanup_due {
            clean(&members);
        }
        refused_create(&members);
    }
    assert_eq!((members.len(), members.scans()), (LIMIT as usize, 1));
    // Only with that setting, which is a change of the settings.
    let mut config = members.guardian.config();
    config.evict = Evict::All;
    members.guardian.reconfigure(config).expect("a valid config");
    assert!(members.guardian.pulse().cleanup_due);
    assert_eq!(clean(&members), LIMIT, "the limit of memory is next to nothing");
}

#[test]
fn a_member_that_comes_by_a_grant_is_found_and_one_that_goes_makes_nobody_look() {
    let members = Members::full(LIMIT, Kind::Pinned);
    refused_create(&members);
    members.delete(0);
    assert_eq!(clean(&members), 0);
    assert_eq!(members.scans(), 1, "a member less is no reason to look");
    members.create(Kind::Plain).expect("room");
    assert!(members.guardian.pulse().cleanup_due);
    assert_eq!(clean(&members), 1);
    assert_eq!(members.scans(), 2);
    members.create(Kind::Pinned).expect("room");
    refused_create(&members);
    refused_create(&members);
    assert_eq!(members.scans(), 3);
    assert_eq!(cleanups(&members.guardian), [1, 2, 2]);
}

#[test]
fn a_member_that_became_evictable_is_found_once_the_owner_says_so() {
    let members = Members::full(LIMIT, Kind::Pinned);
    refused_create(&members);
    members.set_kind(7, Kind::Plain);
    assert_eq!((clean(&members), members.scans()), (0, 1), "nobody said anything");
    members.guardian.note_evictable();
    assert!(members.guardian.pulse().cleanup_due);
    assert_eq!(clean(&members), 1);
    assert_eq!(members.len(), LIMIT as usize - 1);
}

#[test]
fn credits_that_were_granted_and_never_used_are_no_reason_to_look_again() {
    let members = Members::full(LIMIT, Kind::Pinned);
    members.delete(0);
    members.delete(1);
    let lease = Arc::new(Lease::default());
    let holder: Arc<dyn Holder> = lease.clone();
    members.guardian.set_holder(&holder);
    assert_eq!((clean(&members), members.scans()), (0, 1));
    for _ in 0..10 {
        // As where memory is refused after the credits were granted.
        let granted = u64::from(members.guardian.reserve(2).expect("two are free").credits);
        members.guardian.release_unused(granted);
        // As of a session that took a lease and does nothing.
        let granted = u64::from(members.guardian.reserve(2).expect("two are free").credits);
        lease.0.store(granted, SeqCst);
        assert_eq!(clean(&members), 0);
        assert_eq!(lease.0.load(SeqCst), 0, "asked back before anybody would be evicted");
    }
    assert_eq!(members.scans(), 1);
}

#[derive(Default)]
struct Lease(AtomicU64);

impl Holder for Lease {
    fn recall_idle(&self) -> u64 {
        self.0.swap(0, SeqCst)
    }
}

#[test]
fn while_a_credit_is_on_its_way_a_vain_cleanup_counts_until_the_next_pulse_only() {
    let members = Members::full(LIMIT, Kind::Pinned);
    members.delete(0);
    // Granted, and not yet a member when the cleanup looks.
    let granted = members.guardian.reserve(1).expect("one is free");
    for _ in 0..3 {
        assert_eq!(clean(&members), 0);
    }
    assert_eq!(members.scans(), 1);
    members.make(granted, Kind::Plain);
    assert_eq!(clean(&members), 0, "not before the next pulse");
    assert!(members.guardian.pulse().cleanup_due);
    assert_eq!(clean(&members), 1, "it is not missed for ever");
}

#[test]
fn a_population_without_anything_to_evict_is_not_scanned_at_all() {
    let members = Members::full(LIMIT, Kind::Durable);
    members.say_all_are_durable();
    for _ in 0..10 {
        refused_create(&members);
        members.guardian.pulse();
    }
    assert_eq!((members.scans(), cleanups(&members.guardian)), (0, [0, 0, 10]));
    let mut config = members.guardian.config();
    config.evict = Evict::All;
    members.guardian.reconfigure(config).expect("a valid config");
    assert_eq!(clean(&members), LIMIT * 3 / 10);
}

#[test]
fn a_cleanup_that_others_made_needless_is_not_taken_for_a_vain_one() {
    let members = Members::full(LIMIT, Kind::Plain);
    let stopped = members.guardian.cleanup(&members, CleanupGoal::LowWater, &|| true);
    assert_eq!((stopped.cancelled, stopped.evicted), (true, 0));
    assert_eq!(clean(&members), LIMIT * 3 / 10);
    assert_eq!(clean(&members), 0);
    assert_eq!(cleanups(&members.guardian)[0], 1);
    assert!(!members.guardian.cleanup(&members, CleanupGoal::LowWater, &|| false).skipped);
}

#[test]
fn near_the_limit_writers_clean_up_once_a_pulse_also_where_too_few_could_go() {
    let members = Members::full(LIMIT, Kind::Pinned);
    (0..60).for_each(|index| members.set_kind(index, Kind::Plain));
    members.guardian.pulse();
    assert!(members.guardian.cleanup_before_admission());
    // Three in ten of them, as of all where all may go: the mark of the whole would take them all.
    assert_eq!(clean(&members), 18);
    assert!(!members.guardian.cleanup_before_admission(), "it was not in vain, and once is enough");
    assert!(members.guardian.pulse().level >= Level::Hard);
    assert!(members.guardian.cleanup_before_admission());
}
