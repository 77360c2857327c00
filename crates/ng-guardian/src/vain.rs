//! Remembers that a cleanup found nothing to evict, until something has changed that could make
//! another one useful. Knows counts, not members.
//!
//! A member comes into being by a credit that was granted before. If a scan met as many members as
//! there are credits out, and no credit moved meanwhile, then no credit is idle or on its way: a new
//! member needs a new grant, and the memory holds until there is one. If not, a member may have come
//! that no later grant would betray; then the memory holds until the next pulse.

use crate::mutants;
use crate::sync::Mutex;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// What was in vain last, and what has changed since.
#[derive(Debug, Default)]
pub(crate) struct VainMemory {
    last: Mutex<Option<Vain>>,
    /// Changes of the settings, and members that the owner said had become evictable.
    changes: AtomicU64,
}

/// A cleanup that found nothing to evict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vain {
    /// [`VainMemory::changes`] before it began.
    pub(crate) changes: u64,
    pub(crate) until: Until,
}

/// How long it holds, if nothing else changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// While this is how many credits were ever used.
    Grant { ever_used: u64 },
    /// While this is the number of pulses.
    Pulse { pulses: u64 },
}

impl VainMemory {
    /// Something changed that may make members evictable.
    pub(crate) fn note_change(&self) {
        self.changes.fetch_add(1, AcqRel);
    }

    /// To be read before a cleanup looks at the settings or at a member.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Acquire)
    }

    pub(crate) fn set(&self, vain: Option<Vain>) {
        let forgotten = mutants::on("guardian-vain-forgotten");
        *self.last.lock() = vain.filter(|_| !forgotten);
    }

    /// Would another cleanup be in vain too? `ever_used` and `pulses` give the present counts.
    pub(crate) fn holds(
        &self,
        ever_used: impl FnOnce() -> u64,
        pulses: impl FnOnce() -> u64,
    ) -> bool {
        let Some(vain) = *self.last.lock() else { return false };
        if vain.changes != self.changes() {
            return mutants::on("guardian-vain-for-ever");
        }
        match vain.until {
            Until::Grant { ever_used: then } => then == ever_used(),
            Until::Pulse { pulses: then } => then == pulses(),
        }
    }
}
