//! Credits: reserved from a pool, released to it directly or through cells, recalled from idle
//! leases; never one over the limit and never a false refusal. Knows amounts, not what they are
//! for.
//!
//! At each instant a credit is in one of four places: in the *pool*, *idle* in a holder's lease,
//! in a release *cell* and not yet harvested, or *taken*. Two promises:
//!
//! 1. **Never one over.** The pool is one word with the limit in it (see `quota.rs`); every
//!    credit outside the pool came out of it by a successful swap, or existed before the first
//!    reservation and was adopted.
//! 2. **No false refusal.** A reservation is refused only if at some instant between its call and
//!    its return every credit was taken.
//!
//! The fast path is one swap on the pool. When the pool looks empty, the slow path, under one
//! mutex: harvest the cells, which is cheap, and look again. Then *close* the pool, so that
//! nobody can take from it past us; ask the holder for its idle credits; **after that** harvest
//! all cells once more; if the pool has a credit now, take it; if it has none and the holder
//! had none, refuse.
//!
//! Why that proves promise 2: call *t* the instant at which the last recall returned, having found
//! nothing. Each lease was found empty at some instant before *t*, and a lease gains credits only
//! from the pool, which is closed: so at *t* all leases are empty. All that lay in cells at *t* is
//! in the pool by the time we look at it, by our harvest or by the drop of a cell, both after
//! *t*. Nobody but us takes from a closed pool and no limit moves (same mutex), so the pool
//! holds at least what lay in pool and cells at *t*. If it has none, then at *t* none was
//! anywhere: every credit was taken. Recall before harvest matters: the other way round, a credit
//! released after the harvest by a session whose lease is recalled later would be missed.
//!
//! The slow path grants one credit, never more: credits on their way from a grant into a lease are
//! in nobody's sight and count as taken, and one credit asked for one use is no loss.

use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;

use crate::balance::Balance;
use crate::error::Refusal;
use crate::mutants;
use crate::quota::{Closed, Quota};
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Arc, Mutex, Weak};
use crate::waiters::Waiters;

/// Gives idle credits back when asked: implemented by whoever hands out leases.
///
/// A credit of the holder is at each instant idle in a lease that [`recall_idle`] sees, in use, or
/// given back. To leave no gap, fill and empty a lease under the lock that `recall_idle` takes for
/// it: [`try_reserve`](crate::Guardian::try_reserve) never blocks and may be called under it.
/// Credits granted but not yet in a lease count as taken.
///
/// [`recall_idle`]: Holder::recall_idle
pub trait Holder: Send + Sync {
    /// Takes idle (granted, unused) credits back from leases, and returns how many; the guardian
    /// adds them to its pool, so they must not be released as well. 0 says that each lease was
    /// looked at during this call and had none; a holder may return a part, and is asked again.
    ///
    /// Called on any thread that reserves, cleans up or changes limits, with the guardian's slow lock
    /// held:
    /// must not call `reserve`, `recall_idle`, `cleanup`, `set_limits`, `reconfigure` or
    /// `set_holder`. `try_reserve`, `release` and dropping a [`ReleaseCell`] are allowed.
    fn recall_idle(&self) -> u64;
}

/// Credits granted by a reservation; the caller now owes them back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "granted credits count as used until they are released"]
pub struct Granted {
    /// How many, at least 1 unless 0 were asked for.
    pub credits: u32,
}

/// The pool had too few when it was looked at.
struct Full {
    limit: u64,
    used: u64,
}

/// What one cell has released since it was made; rises only.
type Released = Arc<CachePadded<AtomicU64>>;

#[derive(Debug)]
struct Harvest {
    released: Released,
    harvested: u64,
}

/// The pool and all that feeds it.
pub(crate) struct Ledger {
    pool: CachePadded<Quota>,
    counts: CachePadded<Counts>,
    /// Holds the slow path and changes of the limit apart.
    slow: Mutex<()>,
    cells: Mutex<Vec<Harvest>>,
    holders: AtomicU32,
    lease_credits_max: AtomicU32,
    holder: Mutex<Option<Weak<dyn Holder>>>,
    waiters: Waiters,
}

/// Monotone counts, on a line of their own.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Credits granted and released.
    pub(crate) balance: Balance,
    pub(crate) refusals: AtomicU64,
    pub(crate) recalls: AtomicU64,
    pub(crate) recalled_credits: AtomicU64,
    /// Released without ever having been in use.
    unused: AtomicU64,
}

/// Where a wait looks again though nobody woke it: cells tell nobody of a release. 10 ms: well below
/// what a person notices, and far above what a look costs.
const LOOK_INTO_CELLS: Duration = Duration::from_millis(10);

impl Ledger {
    pub(crate) fn new(max_tokens: Option<u64>, lease_credits_max: u32) -> Self {
        Self {
            pool: CachePadded::new(Quota::new(max_tokens)),
            counts: CachePadded::default(),
            slow: Mutex::new(()),
            cells: Mutex::new(Vec::new()),
            holders: AtomicU32::new(0),
            lease_credits_max: AtomicU32::new(lease_credits_max),
            holder: Mutex::new(None),
            waiters: Waiters::default(),
        }
    }

    pub(crate) fn pool(&self) -> &Quota {
        &self.pool
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    pub(crate) fn holders(&self) -> u32 {
        self.holders.load(Relaxed)
    }

    pub(crate) fn set_lease_credits_max(&self, credits: u32) {
        self.lease_credits_max.store(credits, Relaxed);
    }

    pub(crate) fn set_holder(&self, holder: &Arc<dyn Holder>) {
        let _slow = self.slow.lock(); // a sweep under way ends with the holder it began with
        *self.holder.lock() = Some(Arc::downgrade(holder));
    }

    /// Upgraded before the slow lock is taken and dropped after it, because the last `Arc` of a
    /// holder may run its destructor.
    fn holder(&self) -> Option<Arc<dyn Holder>> {
        self.holder.lock().as_ref().and_then(Weak::upgrade)
    }

    pub(crate) fn try_reserve(&self, want: u32) -> Option<Granted> {
        if want == 0 {
            return Some(Granted { credits: 0 });
        }
        let most = want.min(self.lease_credits_max.load(Relaxed));
        let holders = u64::from(self.holders.load(Relaxed));
        let fair = |left: u64| if holders <= 1 { left } else { (left / (2 * holders)).max(1) };
        let credits = self.pool.take(|left| fair(left).min(u64::from(most)))? as u32;
        self.counts.balance.hand_out(u64::from(credits));
        Some(Granted { credits })
    }

    pub(crate) fn reserve(&self, want: u32) -> Result<Granted, Refusal> {
        match self.try_reserve(want) {
            Some(granted) => Ok(granted),
            None => {
                // One, never more: see the head of this file.
                self.take_slowly(1).map_err(|full| self.refused(full, want))?;
                Ok(Granted { credits: 1 })
            }
        }
    }

    /// All of `want` or none.
    pub(crate) fn reserve_exact(&self, want: u32) -> Result<(), Refusal> {
        self.take_exact(want).map_err(|full| self.refused(full, want))
    }

    /// As `reserve_exact`, and waits for credits until `deadline`; `None` is without an end.
    pub(crate) fn reserve_exact_until(
        &self,
        want: u32,
        deadline: Option<Instant>,
    ) -> Result<(), Refusal> {
        let nap = || if self.holders() > 0 { LOOK_INTO_CELLS } else { Duration::MAX };
        let mut last = None;
        let taken = self.waiters.wait_until(deadline, nap, || match self.take_exact(want) {
            Ok(()) => Some(()),
            Err(full) => {
                last = Some(full);
                None
            }
        });
        match (taken, last) {
            (None, Some(full)) => Err(self.refused(full, want)),
            _ => Ok(()),
        }
    }

    fn take_exact(&self, want: u32) -> Result<(), Full> {
        if want == 0 {
            return Ok(());
        }
        if self.pool.take_exact(u64::from(want)).is_err() {
            return self.take_slowly(want);
        }
        self.counts.balance.hand_out(u64::from(want));
        Ok(())
    }

    #[cold]
    fn refused(&self, full: Full, want: u32) -> Refusal {
        self.counts.refusals.fetch_add(1, Relaxed);
        let Full { limit, used } = full;
        Refusal::TokensExceeded { limit, used, requested: u64::from(want) }
    }

    /// Takes `amount` if at some instant of this call that much is free, or was idle.
    #[cold]
    fn take_slowly(&self, amount: u32) -> Result<(), Full> {
        let holder = self.holder();
        let _slow = self.slow.lock();
        // Most often somebody deleted meanwhile, and no lease has to be disturbed.
        self.harvest();
        let pool = self.pool.close();
        while !pool.take(u64::from(amount)) {
            if mutants::on("guardian-harvest-before-recall") {
                self.harvest();
            }
            let recalled = match holder.as_deref() {
                Some(holder) if !mutants::on("guardian-recall-ignored") => self.recall(holder),
                _ => 0,
            };
            if !mutants::on("guardian-harvest-before-recall") {
                self.harvest(); // after the recall: see the head of this file
            }
            if recalled == 0 {
                if pool.take(u64::from(amount)) {
                    break;
                }
                return Err(Full { limit: self.pool.limit(), used: self.pool.used() });
            }
        }
        self.counts.balance.hand_out(u64::from(amount));
        Ok(())
    }

    pub(crate) fn adopt(&self, credits: u64) {
        self.counts.balance.hand_out(self.pool.adopt(credits));
    }

    pub(crate) fn release(&self, credits: u64) {
        if credits == 0 {
            return;
        }
        self.counts.balance.take_back(credits, "credits", |credits| {
            self.pool.give(credits);
            self.waiters.wake();
        });
    }

    /// Gives back what was granted and never used.
    pub(crate) fn release_unused(&self, credits: u64) {
        // Before they are back: until then they count as ever used, which is the safe side.
        self.counts.unused.fetch_add(credits, AcqRel);
        self.release(credits);
    }

    /// An upper bound of the members that were ever made with a credit, now or in future, without
    /// a further grant. Exact while no credit is idle or on its way. What comes back between the
    /// reads can only make it larger than it was at the first of them.
    pub(crate) fn ever_used(&self) -> u64 {
        let counts = &*self.counts;
        let unused = counts.unused.load(Acquire) + counts.recalled_credits.load(Acquire);
        counts.balance.out_total().wrapping_sub(unused)
    }

    /// Changes the limit. When it returns, every credit that lay idle in a lease under a higher
    /// limit is back in the pool, so that the new one binds at once.
    pub(crate) fn set_limit(&self, max_tokens: Option<u64>) {
        let holder = self.holder();
        let _slow = self.slow.lock();
        let before = self.pool.limit();
        let pool: Closed<'_> = self.pool.close();
        self.pool.set_limit(max_tokens);
        let lowered = self.pool.limit() < before;
        if let Some(holder) = holder.as_deref()
            && lowered
            && !mutants::on("guardian-lowered-without-recall")
        {
            while self.recall(holder) > 0 {}
            self.harvest();
        }
        drop(pool);
        self.waiters.wake();
    }

    /// Asks the holder once for all that lies idle; returns how many credits came back.
    pub(crate) fn recall_idle(&self) -> u64 {
        let holder = self.holder();
        // Under the slow lock, so that no credit is out of a lease and not yet in the pool when
        // somebody else finds the leases empty.
        let beside = mutants::on("guardian-own-recall-unlocked");
        let _slow = (!beside).then(|| self.slow.lock());
        holder.as_deref().map_or(0, |holder| self.recall(holder))
    }

    fn recall(&self, holder: &dyn Holder) -> u64 {
        let credits = holder.recall_idle();
        self.counts.recalls.fetch_add(1, Relaxed);
        self.counts.recalled_credits.fetch_add(credits, AcqRel);
        self.release(credits);
        credits
    }

    /// Moves what the cells have released into the pool.
    pub(crate) fn harvest(&self) {
        let mut cells = self.cells.lock();
        let credits = cells.iter_mut().map(Harvest::take).sum();
        // Under the lock, so that no credit is out of the cells and not yet in the pool when
        // another harvest has found the cells empty.
        if credits > 0 {
            self.release(credits);
        }
    }

    pub(crate) fn cell(self: &Arc<Self>) -> ReleaseCell {
        let released = Released::default();
        let mut cells = self.cells.lock();
        cells.push(Harvest { released: Arc::clone(&released), harvested: 0 });
        self.holders.fetch_add(1, Relaxed);
        ReleaseCell { ledger: Arc::clone(self), released, total: 0, abandoned: false }
    }

    fn drop_cell(&self, released: &Released) {
        let mut cells = self.cells.lock();
        if let Some(index) = cells.iter().position(|cell| Arc::ptr_eq(&cell.released, released)) {
            let credits = cells.swap_remove(index).take();
            self.holders.fetch_sub(1, Relaxed);
            if !mutants::on("guardian-cell-dropped-unharvested") {
                self.release(credits);
            }
        }
    }
}

impl Harvest {
    fn take(&mut self) -> u64 {
        // Acquire: what the cell's owner did before it released is seen by who is admitted next.
        let released = self.released.load(Acquire);
        let fresh = released.wrapping_sub(self.harvested);
        if !mutants::on("guardian-credit-returned-twice") {
            self.harvested = released;
        }
        fresh
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Gives credits back without touching anything shared: one store to a cache line of its own.
///
/// One for each holder session; the number of cells is the number of holders among which the
/// guardian shares what is left. The guardian harvests cells when its pool looks empty and at
/// each pulse. Dropping a cell, also in a panic, harvests it.
#[derive(Debug)]
pub struct ReleaseCell {
    ledger: Arc<Ledger>,
    released: Released,
    /// The value in `released`, of which this is the only writer.
    total: u64,
    abandoned: bool,
}

impl ReleaseCell {
    /// Makes its drop leave everything as it is: for a forked child, where a lock that a thread of the
    /// parent held stays locked.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Gives one credit back.
    #[inline]
    pub fn release_one(&mut self) {
        self.release(1);
    }

    /// Gives `credits` back. That more come back than were granted is found when they are
    /// harvested: see [`Guardian::release`](crate::Guardian::release).
    #[inline]
    pub fn release(&mut self, credits: u64) {
        self.total = self.total.wrapping_add(credits);
        // Release, not an atomic add: one writer. A plain store on x86-64.
        self.released.store(self.total, Release);
    }
}

impl Drop for ReleaseCell {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        self.ledger.drop_cell(&self.released);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn grants_shrink_near_the_limit_and_one_holder_may_take_all() {
        let ledger = Arc::new(Ledger::new(Some(1_000), 1_024));
        let _one = ledger.cell();
        assert_eq!(ledger.reserve(5_000).unwrap().credits, 1_000);
        ledger.release(1_000);

        let _two = ledger.cell();
        assert_eq!(ledger.reserve(5_000).unwrap().credits, 250);
        assert_eq!(ledger.reserve(5_000).unwrap().credits, 187);
        ledger.release(437);
        ledger.set_lease_credits_max(64);
        assert_eq!(ledger.reserve(5_000).unwrap().credits, 64);
        assert_eq!(ledger.reserve(3).unwrap().credits, 3);
        assert_eq!(ledger.reserve(0).unwrap().credits, 0);
        assert_eq!(ledger.pool().used(), 67);
    }

    #[test]
    fn a_release_in_a_cell_is_found_before_a_refusal_and_admits_exactly_one() {
        let ledger = Arc::new(Ledger::new(Some(2), 1_024));
        let mut cell = ledger.cell();
        assert_eq!(ledger.reserve(2).unwrap().credits, 2);
        let refused = Refusal::TokensExceeded { limit: 2, used: 2, requested: 1 };
        assert_eq!(ledger.reserve(1), Err(refused));
        cell.release_one();
        assert_eq!(ledger.reserve(1), Ok(Granted { credits: 1 }));
        assert_eq!(ledger.reserve(1), Err(refused));
        assert_eq!(ledger.counts().refusals.load(Relaxed), 2);
    }

    #[test]
    fn a_dropped_cell_gives_back_what_it_released_and_leaves() {
        let ledger = Arc::new(Ledger::new(Some(3), 1_024));
        let mut cell = ledger.cell();
        assert_eq!(ledger.reserve(3).unwrap().credits, 3);
        cell.release(2);
        assert_eq!((ledger.pool().used(), ledger.holders()), (3, 1));
        drop(cell);
        assert_eq!((ledger.pool().used(), ledger.holders()), (1, 0));
    }

    /// Gives its credits back one a call, to show that a part is enough.
    struct Reluctant(Mutex<u64>);
    impl Holder for Reluctant {
        fn recall_idle(&self) -> u64 {
            let mut idle = self.0.lock();
            let one = (*idle).min(1);
            *idle -= one;
            one
        }
    }

    #[test]
    fn lowering_the_limit_recalls_every_idle_credit_before_it_returns() {
        let ledger = Arc::new(Ledger::new(Some(10), 1_024));
        let granted = ledger.reserve(8).unwrap().credits;
        let holder = Arc::new(Reluctant(Mutex::new(u64::from(granted) - 3))); // 3 are in use
        ledger.set_holder(&(Arc::clone(&holder) as Arc<dyn Holder>));
        ledger.set_limit(Some(3));
        assert_eq!(*holder.0.lock(), 0);
        assert_eq!(ledger.pool().used(), 3);
        assert!(ledger.reserve(1).is_err());
        ledger.set_limit(Some(4));
        assert_eq!(ledger.reserve(7).unwrap().credits, 1);
    }

    #[test]
    fn a_holder_that_is_gone_or_panics_leaves_the_pool_open() {
        struct Panics;
        impl Holder for Panics {
            fn recall_idle(&self) -> u64 {
                panic!("a holder's bug");
            }
        }
        let ledger = Arc::new(Ledger::new(Some(1), 1_024));
        let _ = ledger.reserve(1).unwrap();
        let holder: Arc<dyn Holder> = Arc::new(Panics);
        ledger.set_holder(&holder);
        let reserve = std::panic::AssertUnwindSafe(|| ledger.reserve(1));
        assert!(std::panic::catch_unwind(reserve).is_err());
        ledger.release(1);
        assert!(ledger.try_reserve(1).is_some());
        drop(holder);
        assert!(ledger.reserve(1).is_err());
    }
}
