//! The durable mark: who raises it, who waits for it, and the failure that freezes it for good.
//!
//! Only a sync that returned raises the mark, and only up to what was written before the sync
//! began. The first failure wins; after it the mark never moves.
//!
//! A waiter that finds nobody at work leads: it brings its record to the disk itself. Who has to
//! let go of the work calls the next one (`call_leader`), so there is always somebody on the way.

use std::io;
use std::time::{Duration, Instant};

use crate::sync::OnceLock;
use crate::sync::modelled::Mutex;
use crate::sync::modelled::atomic::{AtomicU64, Ordering};
use crate::waiters::Waiters;
use crate::{Failure, Lsn, WaitError, mutants};

/// Durable end, failure, and the waiters for either.
pub(crate) struct Commit {
    durable: AtomicU64,
    /// Highest LSN that somebody waits for: sync as soon as it is written.
    urgent: AtomicU64,
    /// Highest LSN that was raised to Balanced in a Relaxed log.
    soon: AtomicU64,
    failed: OnceLock<Failure>,
    /// Held while the failure is latched.
    latch: Mutex<()>,
    waiters: Waiters,
}

impl Commit {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            urgent: AtomicU64::new(0),
            soon: AtomicU64::new(0),
            failed: OnceLock::new(),
            latch: Mutex::new(()),
            waiters: Waiters::new(),
        }
    }

    /// Highest durable LSN; 0 if none is.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        if mutants::on("wal-m18-unlatch") {
            return None;
        }
        self.failed.get()
    }

    /// Everything up to `lsn` is on stable storage. The waiters learn of it by `tell`.
    pub(crate) fn raise(&self, lsn: u64) {
        let _latch = self.latch.lock();
        if self.failure().is_none() {
            self.durable.fetch_max(lsn, Ordering::AcqRel);
        }
    }

    /// Wakes the waiters that the mark has reached, then one that it has not, to lead. Call it when
    /// the work may be taken up again.
    pub(crate) fn tell(&self) {
        let durable = self.durable();
        self.waiters.wake(|lsn| lsn <= durable);
        self.waiters.nudge();
    }

    /// Somebody let go of the work without a sync: wakes one waiter, if there is any.
    pub(crate) fn call_leader(&self) {
        self.waiters.nudge();
    }

    /// Ends the log; `false` if it had failed before. `close` stops the appends: nobody can learn
    /// of the failure and then append, nor be refused and find no failure.
    pub(crate) fn fail(&self, failure: Failure, close: impl FnOnce()) -> bool {
        let latch = self.latch.lock();
        close();
        let first = self.failed.set(failure).is_ok();
        drop(latch);
        self.waiters.wake(|_| true);
        first
    }

    /// The failure, also when it is being latched at this moment.
    pub(crate) fn settled_failure(&self) -> Option<&Failure> {
        drop(self.latch.lock());
        self.failure()
    }

    pub(crate) fn ask(&self, lsn: u64) {
        self.urgent.fetch_max(lsn, Ordering::AcqRel);
    }

    pub(crate) fn ask_soon(&self, lsn: u64) {
        self.soon.fetch_max(lsn, Ordering::AcqRel);
    }

    pub(crate) fn urgent(&self) -> u64 {
        self.urgent.load(Ordering::Acquire)
    }

    pub(crate) fn soon(&self) -> u64 {
        self.soon.load(Ordering::Acquire)
    }

    /// What is known of `lsn`, without waiting.
    fn outcome(&self, lsn: u64) -> Option<Result<(), WaitError>> {
        if self.durable() >= lsn {
            return Some(Ok(()));
        }
        self.failure().map(|failure| Err(WaitError::Failed(failure.clone())))
    }

    /// Waits until `lsn` is durable, the log has failed, or the time is up. `lead` tries to do the
    /// work on this thread; it says whether that went to its end, else somebody else is at it.
    pub(crate) fn wait(
        &self,
        lsn: u64,
        timeout: Duration,
        mut lead: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        if let Some(outcome) = self.outcome(lsn) {
            return outcome;
        }
        self.ask(lsn);
        let begun = Instant::now();
        while !timeout.is_zero() && lead() {
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
        }
        let ticket = self.waiters.enter(lsn);
        loop {
            if let Some(outcome) = self.outcome(lsn) {
                return outcome;
            }
            let waited = begun.elapsed();
            if waited >= timeout {
                drop(ticket);
                self.call_leader(); // the call may have been for us
                return Err(WaitError::TimedOut {
                    lsn: Lsn::new(lsn),
                    durable_lsn: Lsn::new(self.durable()),
                    waited,
                });
            }
            if !lead() {
                ticket.park(timeout - waited);
            }
        }
    }
}

/// The failure of a thread of ours that ended in a panic.
pub(crate) fn panicked(operation: &'static str) -> Failure {
    Failure {
        operation,
        file: "the log".into(),
        offset: 0,
        errno: None,
        kind: io::ErrorKind::Other,
        message: "the thread panicked; this is a bug in ng-wal".into(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_failure_freezes_the_mark_and_the_first_one_stays() {
        let commit = Commit::new(5);
        assert!(commit.fail(panicked("first"), || ()));
        assert!(!commit.fail(panicked("second"), || ()));
        commit.raise(9);
        assert_eq!(commit.durable(), 5);
        assert_eq!(commit.wait(5, Duration::ZERO, || false), Ok(()));
        let error = commit.wait(6, Duration::from_secs(60), || false).unwrap_err();
        assert_eq!(error, WaitError::Failed(panicked("first")));
    }
}
