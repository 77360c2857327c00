//! The durable mark: who raises it, who waits for it, and the failure that freezes it for good.
//!
//! Only the flusher raises the mark, and only after a sync returned that was asked for when the
//! mark's records were already written. The first failure wins; after it the mark never moves.

use std::io;
use std::time::{Duration, Instant};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, OnceLock};
use crate::{Failure, Lsn, WaitError};

/// Durable end, failure, and the waiters for either.
pub(crate) struct Commit {
    durable: AtomicU64,
    /// Highest LSN that somebody waits for: sync as soon as it is written.
    urgent: AtomicU64,
    /// Highest LSN that was raised to Balanced in a Relaxed log.
    soon: AtomicU64,
    failed: OnceLock<Failure>,
    turn: Mutex<()>,
    changed: Condvar,
}

impl Commit {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            urgent: AtomicU64::new(0),
            soon: AtomicU64::new(0),
            failed: OnceLock::new(),
            turn: Mutex::new(()),
            changed: Condvar::new(),
        }
    }

    /// Highest durable LSN; 0 if none is.
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failed.get()
    }

    /// Everything up to `lsn` is on stable storage.
    pub(crate) fn advance(&self, lsn: u64) {
        if self.failed.get().is_some() {
            return;
        }
        self.durable.fetch_max(lsn, Ordering::AcqRel);
        self.wake();
    }

    /// Ends the log; `false` if it had failed before. `close` stops the appends: nobody can learn
    /// of the failure and then append, nor be refused and find no failure.
    pub(crate) fn fail(&self, failure: Failure, close: impl FnOnce()) -> bool {
        let turn = self.turn.lock();
        close();
        let first = self.failed.set(failure).is_ok();
        drop(turn);
        self.changed.notify_all();
        first
    }

    /// The failure, also when it is being latched at this moment.
    pub(crate) fn settled_failure(&self) -> Option<&Failure> {
        drop(self.turn.lock());
        self.failure()
    }

    fn wake(&self) {
        // The empty turn: a waiter that looked before the change is asleep by now.
        drop(self.turn.lock());
        self.changed.notify_all();
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

    /// Waits until `lsn` is durable, the log has failed, or the time is up.
    pub(crate) fn wait(&self, lsn: u64, timeout: Duration) -> Result<(), WaitError> {
        let begun = Instant::now();
        let mut turn = self.turn.lock();
        loop {
            if self.durable() >= lsn {
                return Ok(());
            }
            if let Some(failure) = self.failure() {
                return Err(WaitError::Failed(failure.clone()));
            }
            let waited = begun.elapsed();
            if waited >= timeout {
                return Err(WaitError::TimedOut {
                    lsn: Lsn::new(lsn),
                    durable_lsn: Lsn::new(self.durable()),
                    waited,
                });
            }
            self.changed.wait_for(&mut turn, timeout - waited);
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
        commit.advance(9);
        assert_eq!(commit.durable(), 5);
        assert_eq!(commit.wait(5, Duration::ZERO), Ok(()));
        let error = commit.wait(6, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error, WaitError::Failed(panicked("first")));
    }
}
