//! How others get the drain's attention: tickets of flushes, the order to stop, and the call itself. Apart from the drain, so that loom can walk through it.

use crate::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};

#[derive(Debug)]
pub(crate) struct Summons {
    /// Tickets handed out.
    asked: AtomicU64,
    stop: AtomicBool,
    /// Somebody wants the drain to look now. Not left to the thread's parking token alone: a sink
    /// that waits for something may park on this thread too, and use the token up.
    due: AtomicBool,
}

/// What the drain is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// To end after this round.
    pub(crate) stop: bool,
    /// Highest ticket handed out.
    pub(crate) ticket: u64,
}

impl Summons {
    pub(crate) fn new() -> Self {
        Self { asked: AtomicU64::new(0), stop: AtomicBool::new(false), due: AtomicBool::new(false) }
    }

    /// A ticket for all that was recorded before this. [`call`](Self::call) afterwards.
    pub(crate) fn ask(&self) -> u64 {
        self.asked.fetch_add(1, AcqRel) + 1
    }

    /// The order to stop. [`call`](Self::call) afterwards.
    pub(crate) fn order_stop(&self) {
        self.stop.store(true, Release);
    }

    /// Has the drain look now; `unpark` unparks its thread.
    pub(crate) fn call(&self, unpark: impl FnOnce()) {
        self.due.store(true, Release);
        unpark();
    }

    /// To be read before the rings are, so that what was recorded before the asking is seen.
    pub(crate) fn asked(&self) -> Asked {
        Asked { stop: self.stop.load(Acquire), ticket: self.asked.load(Acquire) }
    }

    /// Whether the drain may park: nobody has called since it asked this last. A call after this
    /// comes with a token that nobody can use up any more.
    pub(crate) fn may_park(&self) -> bool {
        !self.due.swap(false, AcqRel)
    }
}
