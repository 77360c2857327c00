//! Memory that no eviction frees: it counts, it is refused where it does not fit, and it evicts nobody.
//!
//! A store with 100,000 tokens and 800 idle sessions, each with a ring of 1 MiB, evicted all its tokens:
//! cleanup worked toward a mark that the rings kept out of reach.

#[path = "population/members.rs"]
mod members;

use members::{Kind, MEMBER_BYTES, Members};
use ng_guardian::{CleanupGoal, GuardianConfig, Level, Limits, Refusal};

/// A guardian with a limit of memory of `members` members, and no other.
fn members(members: u64) -> Members {
    let mut config = GuardianConfig::default();
    config.max_tokens = None;
    config.max_memory_bytes = Some(members * MEMBER_BYTES);
    Members::with(config)
}

fn create(members: &Members, count: usize) {
    (0..count).for_each(|_| members.create(Kind::Plain).expect("room"));
}

/// Ten pulses of a store that cleans up whenever that is due.
fn pulse(members: &Members) -> Level {
    for _ in 0..10 {
        if members.guardian.pulse().cleanup_due {
            members.guardian.cleanup(members, CleanupGoal::LowWater, &|| false);
        }
        if members.guardian.cleanup_before_admission() {
            members.guardian.cleanup(members, CleanupGoal::LowWater, &|| false);
        }
    }
    members.guardian.level()
}

#[test]
fn rings_of_idle_sessions_evict_no_token() {
    let members = Members::with(GuardianConfig::default()); // 1,024,000,000 bytes
    create(&members, 100_000);
    for _ in 0..800 {
        members.guardian.hold_fixed(1 << 20).expect("room");
    }
    // 82 % in use: above the soft threshold, and nothing that eviction could do about it.
    assert_eq!(pulse(&members), Level::Soft);
    assert_eq!((members.len(), members.scans()), (100_000, 0));
    let stats = members.guardian.stats();
    assert_eq!(stats.fixed_bytes, 800 << 20);
    assert_eq!(stats.committed_bytes, (800 << 20) + 100_000 * MEMBER_BYTES);
    assert_eq!(stats.cleanups_skipped_total, 0, "none was even due");
}

#[test]
fn the_fixed_share_takes_its_part_of_the_limit_and_the_mark_is_that_of_the_rest() {
    let members = members(1_000);
    members.guardian.adopt_fixed(500 * MEMBER_BYTES);
    create(&members, 350);
    // 850 of 1,000 in use, and 350 of the 500 that the fixed share leaves: just at their mark of 0.7.
    assert_eq!(pulse(&members), Level::Soft);
    assert_eq!((members.len(), members.scans()), (350, 0));
    create(&members, 1);
    pulse(&members);
    assert_eq!(members.len(), 350, "one beyond the mark");
    let scans = members.scans();
    // 100 more are fixed, and 350 are beyond their mark of 400: they were there first.
    members.guardian.hold_fixed(100 * MEMBER_BYTES).expect("room");
    pulse(&members);
    members.guardian.hold_fixed(50 * MEMBER_BYTES + 1).expect_err("350 members live beside 600");
    members.guardian.hold_fixed(50 * MEMBER_BYTES).expect("room");
    assert_eq!(pulse(&members), Level::Refuse);
    assert_eq!((members.len(), members.scans()), (350, scans));
    // A member that wants room is another matter: what is left is 350.
    members.create(Kind::Plain).expect_err("no room yet");
    pulse(&members);
    assert_eq!(members.len(), 244, "0.7 of 350");
    create(&members, 100);
}

/// Sessions were made until none was admitted, and by then all members were gone.
#[test]
fn a_flood_of_fixed_shares_evicts_nobody_and_is_refused_at_the_limit() {
    let members = members(1_000);
    create(&members, 200);
    while members.guardian.hold_fixed(MEMBER_BYTES).is_ok() {
        pulse(&members);
    }
    assert_eq!((members.len(), members.scans()), (200, 0));
    assert_eq!(members.guardian.stats().fixed_bytes, 800 * MEMBER_BYTES);
    members.guardian.release_fixed(300 * MEMBER_BYTES);
    pulse(&members);
    assert_eq!(members.len(), 200);
    // A lowered limit is asked of all.
    members
        .guardian
        .set_limits(Limits { max_tokens: None, max_memory_bytes: Some(600 * MEMBER_BYTES) });
    pulse(&members);
    assert_eq!(members.len(), 70, "0.7 of what 500 leave of 600");
}

#[test]
fn a_fixed_share_beyond_the_quota_is_refused_where_it_arises_and_changes_nothing() {
    let members = members(10);
    create(&members, 4);
    members.guardian.hold_fixed(6 * MEMBER_BYTES).expect("room");
    let refused = Refusal::MemoryExceeded {
        limit_bytes: 10 * MEMBER_BYTES,
        used_bytes: 10 * MEMBER_BYTES,
        requested_bytes: 1,
    };
    assert_eq!(members.guardian.hold_fixed(1), Err(refused));
    assert_eq!(
        members.create(Kind::Plain),
        Err(Refusal::MemoryExceeded {
            limit_bytes: 10 * MEMBER_BYTES,
            used_bytes: 10 * MEMBER_BYTES,
            requested_bytes: MEMBER_BYTES,
        })
    );
    members.guardian.release_fixed(MEMBER_BYTES);
    assert_eq!(members.guardian.stats().fixed_bytes, 5 * MEMBER_BYTES);
    members.create(Kind::Plain).expect("what was fixed is free");
    assert_eq!(members.guardian.stats().refusals_memory_total, 2);
}

#[test]
fn what_exists_counts_as_fixed_though_it_does_not_fit_and_evicts_nobody() {
    let members = members(1_000);
    create(&members, 900);
    members.guardian.adopt_fixed(2_000 * MEMBER_BYTES);
    assert_eq!(pulse(&members), Level::Refuse);
    assert_eq!(members.len(), 900);
    assert!(members.create(Kind::Plain).is_err());
    let stats = members.guardian.stats();
    assert_eq!((stats.fixed_bytes, stats.memory_usage_percent()), (2_000 * MEMBER_BYTES, 100.0));
    members.guardian.release_fixed(2_000 * MEMBER_BYTES);
    pulse(&members);
    assert_eq!(members.len(), 700);
}

#[test]
fn opening_over_a_lowered_limit_never_evicts_durable_members() {
    let members = members(1_000);
    for _ in 0..500 {
        members.create(Kind::Durable).expect("room");
        members.create(Kind::Plain).expect("room");
    }
    let limits = Limits { max_tokens: Some(100), max_memory_bytes: Some(100 * MEMBER_BYTES) };
    members.guardian.set_limits(limits);
    pulse(&members);
    assert_eq!(members.len(), 500, "the durable ones stay, the others made what room they could");
}
