//! Every u64 is a limit: 0 refuses all, 2^60 and more are none, and nothing overflows in between.

use ng_guardian::{Candidate, Population, Position, Refusal};
use ng_guardian::{
    CleanupGoal, CleanupPolicy, Cut, Evicted, Guardian, GuardianConfig, Level, Limits,
};
use std::ops::ControlFlow;

struct Nobody;

impl Population for Nobody {
    fn member_bytes(&self) -> u64 {
        u64::MAX
    }
    fn scan(&self, _: CleanupPolicy, _: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {}
    fn evict(&self, _: Cut, _: Position, _: u32) -> Evicted {
        Evicted { count: u64::MAX, bytes_freed: u64::MAX, next: None }
    }
}

const LIMITS: [u64; 8] =
    [0, 1, 5_000_000_000, (1 << 60) - 1, 1 << 60, 1 << 63, u64::MAX - 1, u64::MAX];

fn guardian(limit: u64) -> Guardian {
    let mut config = GuardianConfig::default();
    config.max_tokens = Some(limit);
    config.max_memory_bytes = Some(limit);
    config.kernel_root = "/nonexistent".into();
    Guardian::new(config).expect("every limit is valid")
}

/// All that takes an amount, with every amount.
fn exercise(guardian: &Guardian) {
    for amount in LIMITS {
        let few = amount.min(u64::from(u32::MAX)) as u32;
        if let Ok(granted) = guardian.reserve(few) {
            guardian.release(u64::from(granted.credits));
        }
        drop(guardian.permit(few));
        if guardian.commit(amount).is_ok() {
            guardian.uncommit(amount);
        }
        if guardian.hold_fixed(amount).is_ok() {
            guardian.release_fixed(amount);
        }
        let goal = CleanupGoal::Amount { credits: amount, bytes: amount };
        guardian.cleanup(&Nobody, goal, &|| false);
        guardian.cleanup(&Nobody, CleanupGoal::LowWater, &|| false);
        guardian.pulse();
        guardian.cleanup_before_admission();
        let percent = guardian.stats().memory_usage_percent();
        assert!((0.0..=100.0).contains(&percent), "{percent}");
    }
}

#[test]
fn the_limits_that_are_documented_can_be_set_and_mean_what_they_say() {
    let refused = Refusal::TokensExceeded { limit: 0, used: 0, requested: 1 };
    let zero = guardian(0);
    assert_eq!(zero.reserve(1), Err(refused));
    assert_eq!(zero.permit(1).err(), Some(refused));
    assert!(matches!(zero.commit(1), Err(Refusal::MemoryExceeded { limit_bytes: 0, .. })));
    assert_eq!(zero.pulse().level, Level::Refuse);
    assert_eq!((zero.stats().max_tokens, zero.stats().memory_usage_percent()), (Some(0), 100.0));

    let large = guardian(5_000_000_000);
    let _kept = large.permit(u32::MAX).expect("room").keep();
    let rest = 5_000_000_000 - u64::from(u32::MAX);
    assert!(large.permit(rest as u32 + 1).is_err());
    assert_eq!(large.permit(rest as u32).expect("exactly the rest").credits(), rest as u32);
    assert_eq!(large.stats().max_tokens, Some(5_000_000_000));

    for none in [1 << 60, u64::MAX] {
        let guardian = guardian(none);
        assert_eq!((guardian.stats().max_tokens, guardian.stats().max_memory_bytes), (None, None));
        let _kept = guardian.permit(u32::MAX).expect("room").keep();
        guardian.commit(1 << 50).expect("room");
        assert_eq!(guardian.pulse().level, Level::Normal);
        assert_eq!(guardian.stats().memory_usage_percent(), 0.0);
    }
}

#[test]
fn no_limit_and_no_amount_overflows_also_not_over_what_was_adopted() {
    for limit in LIMITS {
        let guardian = guardian(limit);
        exercise(&guardian);
        for later in LIMITS {
            guardian.set_limits(Limits { max_tokens: Some(later), max_memory_bytes: Some(later) });
            exercise(&guardian);
            guardian.adopt(later, later);
            guardian.adopt_fixed(later);
            exercise(&guardian);
            let stats = guardian.stats();
            assert_eq!(stats.granted_total - stats.released_total, stats.tokens_used);
            assert!(stats.fixed_bytes <= stats.committed_bytes);
            assert!(stats.fragmented_bytes <= stats.committed_bytes - stats.fixed_bytes);
        }
        let stats = guardian.stats();
        guardian.release(stats.tokens_used);
        guardian.release_fixed(stats.fixed_bytes);
        guardian.uncommit(stats.committed_bytes - stats.fixed_bytes);
        let stats = guardian.stats();
        assert_eq!((stats.tokens_used, stats.committed_bytes, stats.fixed_bytes), (0, 0, 0));
        assert_eq!((stats.over_released_total, stats.over_uncommitted_bytes_total), (0, 0));
    }
}
