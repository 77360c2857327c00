//! One limit as one word: what is left of it. Never decides who gets it.
//!
//! The word holds *limit − use*, not the use. So the limit is part of what a taker compares and
//! swaps: a swap that succeeds was right under the limit of that very instant, also when the
//! limit was changed between the taker's load and its swap. Lowering a limit is a subtraction,
//! and below the present use it leaves a negative number, which admits nobody.
//!
//! Closing is a subtraction too: of [`CLOSED`], which makes any word negative. While closed,
//! nobody takes but the one who closed it; everybody can still give.

use crate::mutants;
use crate::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Stands for "no limit", and caps all limits and single amounts, so that sums stay in an `i64`.
pub(crate) const NO_LIMIT: u64 = 1 << 60;

/// Larger than any word can be, so that a closed word is negative whatever it held.
const CLOSED: i64 = 1 << 62;

const _: () = {
    assert!(CLOSED > 2 * NO_LIMIT as i64); // closed and open words never share a value
    assert!(i64::MAX - CLOSED >= 2 * NO_LIMIT as i64); // a closed word in deep deficit still fits
};

/// What a word would be if it were not closed.
fn opened(left: i64) -> i64 {
    if left < -CLOSED / 2 { left + CLOSED } else { left }
}

fn signed(amount: u64) -> i64 {
    amount.min(NO_LIMIT) as i64 // lossless: at most 2^60
}

/// A limit and what is left of it.
#[derive(Debug)]
pub(crate) struct Quota {
    left: AtomicI64,
    limit: AtomicU64,
}

impl Quota {
    pub(crate) fn new(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(NO_LIMIT).min(NO_LIMIT);
        Self { left: AtomicI64::new(signed(limit)), limit: AtomicU64::new(limit) }
    }

    /// Takes what `choose` makes of a positive rest (1 up to that rest), or nothing.
    pub(crate) fn take(&self, choose: impl Fn(u64) -> u64) -> Option<u64> {
        let mut left = self.left.load(Relaxed);
        while left > 0 {
            let amount = choose(left as u64);
            debug_assert!(amount >= 1 && amount <= left as u64);
            // Acquire: what a releaser did before it released happened before this admission.
            match self.left.compare_exchange_weak(left, left - signed(amount), AcqRel, Relaxed) {
                Ok(_) => return Some(amount),
                Err(seen) => left = seen,
            }
        }
        None
    }

    /// Takes exactly `amount`, or nothing and says what was left.
    pub(crate) fn take_exact(&self, amount: u64) -> Result<(), i64> {
        let mut left = self.left.load(Relaxed);
        loop {
            if amount >= NO_LIMIT || left < signed(amount) {
                return Err(left);
            }
            match self.left.compare_exchange_weak(left, left - signed(amount), AcqRel, Relaxed) {
                Ok(_) => return Ok(()),
                Err(seen) => left = seen,
            }
        }
    }

    /// Counts `amount` as taken whether or not it fits: it exists already. Returns what was counted:
    /// less only where a use of 2^60 more than there is room for would not fit the word.
    pub(crate) fn adopt(&self, amount: u64) -> u64 {
        let mut left = self.left.load(Relaxed);
        loop {
            let room = (opened(left) + signed(NO_LIMIT)).max(0);
            let counted = signed(amount);
            let counted =
                if mutants::on("guardian-adopt-overflows") { counted } else { counted.min(room) };
            match self.left.compare_exchange_weak(left, left - counted, AcqRel, Relaxed) {
                Ok(_) => return counted as u64,
                Err(seen) => left = seen,
            }
        }
    }

    /// Gives back what was taken or adopted: never more than twice `NO_LIMIT`.
    pub(crate) fn give(&self, amount: u64) {
        if amount > 0 {
            self.left.fetch_add(amount.min(2 * NO_LIMIT) as i64, AcqRel);
        }
    }

    /// Changes the limit; callers keep changes of one quota apart by a lock.
    pub(crate) fn set_limit(&self, limit: Option<u64>) {
        let new = limit.unwrap_or(NO_LIMIT).min(NO_LIMIT);
        let old = self.limit.load(Relaxed);
        self.limit.store(new, Release);
        if !mutants::on("guardian-limit-change-missed") {
            self.left.fetch_add(signed(new) - signed(old), AcqRel);
        }
    }

    /// The limit, `NO_LIMIT` if there is none.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Acquire)
    }

    /// The limit as its owner set it.
    pub(crate) fn limit_if_any(&self) -> Option<u64> {
        Some(self.limit()).filter(|&limit| limit < NO_LIMIT)
    }

    /// What is taken; exact while nothing changes, never an underflow.
    pub(crate) fn used(&self) -> u64 {
        let left = opened(self.left.load(Acquire));
        (signed(self.limit()) - left).max(0) as u64
    }

    /// Closes the quota to all but the holder of the returned guard, whose drop opens it, also
    /// in a panic. Callers hold a lock: two guards at a time would overflow the word.
    pub(crate) fn close(&self) -> Closed<'_> {
        if !mutants::on("guardian-pool-not-closed") {
            self.left.fetch_sub(CLOSED, AcqRel);
        }
        Closed(self)
    }
}

/// A closed quota.
#[derive(Debug)]
pub(crate) struct Closed<'a>(&'a Quota);

impl Closed<'_> {
    /// Takes `amount`, at least 1, if there is that much.
    pub(crate) fn take(&self, amount: u64) -> bool {
        // No race: while closed nobody else takes, so the rest can only grow after this look.
        let one_over = i64::from(mutants::on("guardian-one-over"));
        let closed_by = if mutants::on("guardian-pool-not-closed") { 0 } else { CLOSED };
        let found = self.0.left.load(Acquire) + closed_by + one_over >= signed(amount);
        if found {
            self.0.left.fetch_sub(signed(amount), AcqRel);
        }
        found
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        if !mutants::on("guardian-pool-not-closed") {
            self.0.left.fetch_add(CLOSED, AcqRel);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn taking_stops_exactly_at_the_limit() {
        let quota = Quota::new(Some(5));
        assert_eq!(quota.take(|left| left.min(3)), Some(3));
        assert_eq!(quota.take(|left| left.min(3)), Some(2));
        assert_eq!(quota.take(|left| left.min(3)), None);
        assert_eq!(quota.used(), 5);
        quota.give(1);
        assert_eq!(quota.take_exact(2), Err(1));
        assert_eq!(quota.take_exact(1), Ok(()));
    }

    #[test]
    fn a_limit_below_the_use_admits_nobody_until_the_use_is_under_it() {
        let quota = Quota::new(Some(10));
        assert_eq!(quota.take_exact(8), Ok(()));
        quota.set_limit(Some(5));
        assert_eq!((quota.used(), quota.limit()), (8, 5));
        quota.give(3);
        assert_eq!(quota.take_exact(1), Err(0));
        quota.give(1);
        assert_eq!(quota.take_exact(1), Ok(()));
        quota.set_limit(None);
        assert_eq!((quota.used(), quota.limit_if_any()), (5, None));
        assert_eq!(quota.take_exact(1 << 40), Ok(()));
    }

    #[test]
    fn closed_admits_only_the_closer_and_still_takes_back() {
        let quota = Quota::new(Some(1));
        let closed = quota.close();
        assert_eq!(quota.take(|left| left), None);
        assert_eq!(quota.used(), 0);
        assert!(!closed.take(2));
        assert!(closed.take(1));
        assert!(!closed.take(1));
        assert_eq!(quota.used(), 1);
        quota.give(1);
        drop(closed);
        assert_eq!(quota.take(|left| left), Some(1));
    }

    #[test]
    fn absurd_amounts_and_limits_do_not_overflow() {
        let quota = Quota::new(Some(u64::MAX));
        assert_eq!(quota.limit_if_any(), None);
        assert!(quota.take_exact(u64::MAX).is_err());
        quota.set_limit(Some(0));
        assert!(quota.take_exact(1).is_err());
        assert_eq!(quota.take_exact(0), Ok(()));
        let closed = quota.close();
        assert!(!closed.take(1));
    }

    #[test]
    fn whatever_is_adopted_fits_the_word_open_and_closed_and_comes_back_whole() {
        for limit in [None, Some(0), Some(u64::MAX), Some(1 << 60), Some(5_000_000_000)] {
            let quota = Quota::new(limit);
            let mut counted: u64 = (0..20).map(|_| quota.adopt(u64::MAX)).sum();
            quota.set_limit(Some(0));
            let closed = quota.close();
            counted += quota.adopt(u64::MAX);
            assert!(!closed.take(1));
            assert_eq!(quota.used(), counted, "closed, {limit:?}");
            drop(closed);
            assert_eq!(quota.used(), counted, "open, {limit:?}");
            assert!(quota.take(|left| left).is_none());
            quota.give(counted);
            assert_eq!(quota.used(), 0);
            quota.set_limit(Some(1));
            assert_eq!(quota.take(|left| left), Some(1));
        }
    }
}
