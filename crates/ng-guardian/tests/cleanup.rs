//! A guardian and a population together: cleanup is due when it should be, goes down to the
//! low-water mark and no further, and believes only what was really freed.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use ng_guardian::{
    Candidate, CleanupGoal, CleanupKey, CleanupPolicy, Cut, Evict, Evicted, Guardian,
    GuardianConfig, Holder, Level, Limits, Population, Position, ReleaseCell,
};

const MEMBER_BYTES: u64 = 64;
/// Members to a chunk of memory, which goes back when the last of them is gone.
const CHUNK_MEMBERS: usize = 10;
const CHUNK_BYTES: u64 = MEMBER_BYTES * CHUNK_MEMBERS as u64;

/// A small store: each member has a credit, each chunk is committed.
struct Store {
    guardian: Guardian,
    cell: RefCell<ReleaseCell>,
    members: RefCell<Vec<Option<Candidate>>>,
}

impl Store {
    /// `members` full chunks, with keys by `key_of(index)`; a limit of `limit` credits.
    fn full(limit: u64, members: usize, key_of: impl Fn(usize) -> u32) -> Self {
        let mut config = GuardianConfig::default();
        config.max_tokens = Some(limit);
        config.kernel_root = "/nonexistent".into();
        config.cleanup_batch = 7;
        let guardian = Guardian::new(config).expect("a valid config");
        let mut made = 0;
        while made < members {
            made += guardian.reserve((members - made) as u32).expect("room").credits as usize;
        }
        for _ in 0..members.div_ceil(CHUNK_MEMBERS) {
            guardian.commit(CHUNK_BYTES).expect("room");
        }
        let member = |index| {
            let key = CleanupKey::from_u32(key_of(index));
            Some(Candidate { key, durable: false, pinned: false })
        };
        Self {
            cell: RefCell::new(guardian.cell()),
            members: RefCell::new((0..members).map(member).collect()),
            guardian,
        }
    }

    fn live_keys(&self) -> Vec<u32> {
        let members = self.members.borrow();
        let mut keys: Vec<u32> = members.iter().flatten().map(|member| member.key.get()).collect();
        keys.sort_unstable();
        keys
    }

    fn used(&self) -> u64 {
        self.guardian.stats().tokens_used
    }

    fn clean_to_low_water(&self) -> ng_guardian::CleanupReport {
        self.guardian.cleanup(self, CleanupGoal::LowWater, &|| false)
    }
}

impl Population for Store {
    fn member_bytes(&self) -> u64 {
        MEMBER_BYTES
    }

    fn scan(&self, policy: CleanupPolicy, visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {
        assert_eq!(policy, CleanupPolicy::Oldest);
        let _ = self.members.borrow().iter().flatten().try_for_each(|member| visit(*member));
    }

    fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted {
        let mut members = self.members.borrow_mut();
        let mut evicted = Evicted::default();
        for index in from.0 as usize..members.len() {
            if evicted.count == u64::from(max) {
                evicted.next = Some(Position(index as u64));
                break;
            }
            if members[index].take_if(|member| cut.takes(member)).is_some() {
                self.cell.borrow_mut().release_one();
                evicted.count += 1;
                let chunk = index / CHUNK_MEMBERS * CHUNK_MEMBERS;
                if members[chunk..][..CHUNK_MEMBERS].iter().all(Option::is_none) {
                    self.guardian.uncommit(CHUNK_BYTES);
                    evicted.bytes_freed += CHUNK_BYTES;
                }
            }
        }
        evicted
    }
}

#[test]
fn cleanup_evicts_the_oldest_down_to_the_low_water_mark_and_no_further() {
    // The oldest are spread over all chunks.
    let store = Store::full(1_000, 900, |index| (index * 7 % 900) as u32);
    let report = store.guardian.pulse();
    assert_eq!((report.level, report.cleanup_due), (Level::Hard, true));

    let report = store.clean_to_low_water();
    assert_eq!((report.considered, report.evicted, report.cancelled), (900, 200, false));
    assert!(report.batches >= 200 / 7);
    assert_eq!(store.live_keys(), (200..900).collect::<Vec<u32>>());
    assert_eq!(store.used(), 700);

    let pulse = store.guardian.pulse();
    assert_eq!((pulse.level, pulse.cleanup_due), (Level::Normal, false));
    assert_eq!(store.clean_to_low_water().evicted, 0);
    let stats = store.guardian.stats();
    assert_eq!((stats.cleanups_total, stats.evicted_total), (1, 200));
}

#[test]
fn what_the_population_freed_is_reported_and_the_rest_is_fragmentation() {
    // The oldest are neighbours: their chunks empty.
    let store = Store::full(1_000, 1_000, |index| index as u32);
    let report = store.clean_to_low_water();
    assert_eq!((report.evicted, report.bytes_freed), (300, 300 * MEMBER_BYTES));
    let stats = store.guardian.stats();
    assert_eq!(stats.fragmented_bytes, 0);
    assert_eq!(stats.committed_bytes, 700 * MEMBER_BYTES);
    assert_eq!(stats.cleanup_freed_bytes_total, 300 * MEMBER_BYTES);

    // The oldest are one in three everywhere: no chunk empties.
    let store = Store::full(1_000, 1_000, |index| (index % 3) as u32);
    let report = store.clean_to_low_water();
    assert_eq!((report.evicted, report.bytes_freed), (300, 0));
    let stats = store.guardian.stats();
    assert_eq!(stats.fragmented_bytes, 300 * MEMBER_BYTES);
    assert_eq!(stats.committed_bytes, 1_000 * MEMBER_BYTES);
}

#[test]
fn memory_over_its_mark_does_not_evict_again_for_what_lies_free_in_chunks() {
    let store = Store::full(1_000_000, 1_000, |index| (index % 3) as u32);
    let max_memory_bytes = Some(1_000 * MEMBER_BYTES);
    store.guardian.set_limits(Limits { max_tokens: None, max_memory_bytes });
    assert!(store.guardian.pulse().cleanup_due);
    assert_eq!(store.clean_to_low_water().evicted, 300);
    // The level stays, for the chunks are still there; but new members fit into them.
    let pulse = store.guardian.pulse();
    assert_eq!((pulse.level, pulse.cleanup_due), (Level::Refuse, false));
    assert_eq!(store.clean_to_low_water().evicted, 0);
    // Whoever asks for more says that they are full again, also if it is refused.
    store.guardian.commit(CHUNK_BYTES).expect_err("the limit is what is committed");
    assert!(store.guardian.pulse().cleanup_due);
    assert_eq!(store.clean_to_low_water().evicted, 300);
    store.guardian.set_limits(Limits { max_tokens: None, max_memory_bytes });
    store.guardian.uncommit(CHUNK_BYTES);
    assert!(!store.guardian.pulse().cleanup_due);
    store.guardian.commit(CHUNK_BYTES).expect("room");
    assert!(store.guardian.pulse().cleanup_due);
}

#[test]
fn an_amount_is_evicted_whatever_the_level_and_a_cancelled_cleanup_says_so() {
    let store = Store::full(1_000, 100, |index| index as u32);
    assert_eq!(store.guardian.level(), Level::Normal);
    let goal = CleanupGoal::Amount { credits: 10, bytes: 0 };
    assert_eq!(store.guardian.cleanup(&store, goal, &|| false).evicted, 10);
    let report = store.guardian.cleanup(&store, goal, &|| true);
    assert_eq!((report.evicted, report.cancelled), (0, true));
    assert_eq!(store.live_keys(), (10..100).collect::<Vec<u32>>());
}

#[test]
fn protected_members_survive_a_cleanup_that_cannot_reach_its_goal() {
    let store = Store::full(100, 100, |index| index as u32);
    for (index, member) in store.members.borrow_mut().iter_mut().flatten().enumerate() {
        member.durable = index % 2 == 0;
        member.pinned = index % 4 == 0;
    }
    let goal = CleanupGoal::Amount { credits: 100, bytes: 0 };
    let report = store.guardian.cleanup(&store, goal, &|| false);
    assert_eq!((report.considered, report.evicted), (50, 50));

    let mut config = store.guardian.config();
    config.evict = Evict::All;
    store.guardian.reconfigure(config).expect("a valid config");
    assert_eq!(store.guardian.cleanup(&store, goal, &|| false).evicted, 25);
    assert_eq!(store.live_keys(), (0..100).step_by(4).collect::<Vec<u32>>());
    assert_eq!(store.used(), 25);
}

#[test]
fn cleanup_is_never_due_when_it_is_switched_off() {
    let store = Store::full(1_000, 1_000, |index| index as u32);
    let mut config = store.guardian.config();
    config.enable_aggressive_cleanup = false;
    store.guardian.reconfigure(config).expect("a valid config");
    let pulse = store.guardian.pulse();
    assert_eq!((pulse.level, pulse.cleanup_due), (Level::Refuse, false));
}

#[test]
fn memory_that_only_idle_leases_kept_goes_back_at_the_end_of_a_cleanup() {
    /// A store all of whose memory is pinned while a session's lease has credits.
    struct Pinned {
        store: Store,
        lease: Arc<Lease>,
    }
    #[derive(Default)]
    struct Lease(AtomicU64);
    impl Holder for Lease {
        fn recall_idle(&self) -> u64 {
            self.0.swap(0, SeqCst)
        }
    }
    impl Population for Pinned {
        fn member_bytes(&self) -> u64 {
            MEMBER_BYTES
        }
        fn scan(&self, policy: CleanupPolicy, visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {
            self.store.scan(policy, visit);
        }
        fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted {
            self.store.evict(cut, from, max)
        }
        fn give_back(&self) -> u64 {
            let bytes = if self.lease.0.load(SeqCst) == 0 { 3 * CHUNK_BYTES } else { 0 };
            self.store.guardian.uncommit(bytes);
            bytes
        }
    }
    // The oldest are spread over all chunks, so that evicting them empties none.
    let store = Store::full(1_000, 900, |index| (index % 9) as u32);
    let lease = Arc::new(Lease::default());
    let idle = store.guardian.reserve(50).expect("room").credits;
    lease.0.store(u64::from(idle), SeqCst);
    let holder: Arc<dyn Holder> = lease.clone();
    store.guardian.set_holder(&holder);
    let pinned = Pinned { store, lease };
    let goal = CleanupGoal::Amount { credits: 100, bytes: 0 };
    let report = pinned.store.guardian.cleanup(&pinned, goal, &|| false);
    assert_eq!((report.evicted, report.bytes_freed), (100, 3 * CHUNK_BYTES));
    let stats = pinned.store.guardian.stats();
    assert_eq!((stats.tokens_used, stats.recalled_credits_total), (800, u64::from(idle)));
    assert_eq!(stats.fragmented_bytes, 100 * MEMBER_BYTES - 3 * CHUNK_BYTES);
}
