//! The one limit that a countdown runs towards, and the way for others to end the run at once.
//!
//! The owner compares its position with the limit, a plain load of a line that nobody else writes
//! until something changes. Whoever changes what is in force rings: it lowers the limit to zero.
//! A ring between the owner's look at what is in force and its new limit would be lost under that
//! limit; so the limit is swapped in, and the owner told what it replaced.

use crate::{
    mutants,
    sync::atomic::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed, Release},
    },
};

/// The limit once it rang. Below every position that has not been reached.
pub(crate) const RUNG: u64 = 0;

#[derive(Debug)]
pub(crate) struct Bell(AtomicU64);

impl Bell {
    /// Rung, so that the first look is the owner's first act.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(RUNG))
    }

    /// Position up to which the owner may run without looking at what is in force.
    #[inline(always)]
    pub(crate) fn limit(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Something has changed: the owner's next operation looks. What was stored before is visible
    /// to that look.
    pub(crate) fn ring(&self) {
        // A swap, so that it is ordered after the limit that it replaces: a plain store would be too,
        // but for a model that takes the order of stores from what happens before what.
        self.0.swap(RUNG, AcqRel);
    }

    /// Sets the limit, which is above zero. `true`: it rang since the last call, so what the owner
    /// saw in force may be over; it has to look, and call this, again.
    #[must_use]
    pub(crate) fn arm(&self, limit: u64) -> bool {
        if mutants::on("trace-bell-lost") {
            self.0.store(limit, Release);
            return false;
        }
        // Acquire pairs with the ring's Release; on RUNG the next look sees what rang.
        self.0.swap(limit, AcqRel) == RUNG
    }
}
