//! What is out and what came back, two counts that only rise; gives back never more than is out.
//!
//! Whoever hands an amount out counts it before the amount leaves its hands. So a count of what came
//! back that exceeds what went out is always a bug of the owner, never a race: the count of what
//! came back is one chain of read-modify-writes, and its reader has seen every hand-out that
//! happened before any of them.

use crate::mutants;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::thread;

/// Amounts handed out and given back.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    out: AtomicU64,
    back: AtomicU64,
    over: AtomicU64,
}

impl Balance {
    /// Counts `amount` as handed out; to be called before its new owner has it.
    pub(crate) fn hand_out(&self, amount: u64) {
        self.out.fetch_add(amount, AcqRel);
    }

    /// Counts `amount` as given back, or as much of it as is out, and passes that to `give`. If that
    /// is not all, a debug build panics after it, unless a panic is under way; other builds count
    /// the rest.
    pub(crate) fn take_back(&self, amount: u64, what: &str, give: impl FnOnce(u64)) {
        let mut back = self.back.load(Acquire);
        let taken = loop {
            let out = self.out.load(Relaxed); // has seen enough: see the head of this file
            let over_admitted = mutants::on("guardian-over-release-admitted");
            let taken = if over_admitted { amount } else { amount.min(out.saturating_sub(back)) };
            match self.back.compare_exchange_weak(back, back + taken, AcqRel, Acquire) {
                Ok(_) => break taken,
                Err(seen) => back = seen,
            }
        };
        give(taken);
        if taken < amount {
            self.note_over(amount - taken, what);
        }
    }

    #[cold]
    fn note_over(&self, over: u64, what: &str) {
        self.over.fetch_add(over, Relaxed);
        if cfg!(debug_assertions) && !thread::panicking() {
            panic!("{over} {what} more were given back than were out");
        }
    }

    /// All that was handed out.
    pub(crate) fn out_total(&self) -> u64 {
        self.out.load(Acquire)
    }

    /// All that came back.
    pub(crate) fn back_total(&self) -> u64 {
        self.back.load(Acquire)
    }

    /// What somebody tried to give back that was not out.
    pub(crate) fn over_total(&self) -> u64 {
        self.over.load(Relaxed)
    }
}
