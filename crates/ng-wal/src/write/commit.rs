//! The durable mark: who raises it, who waits for it, and the failure that freezes it for good.
//!
//! Only a sync that returned raises the mark, and only up to what was written before the sync
//! began. The first failure wins; after it the mark never moves.
//!
//! A waiter that finds nobody at work leads: it brings its record to the disk itself. Who has to
//! let go of the work calls the next one (`call_leader`), so there is always somebody on the way.
//!
//! Those whom a sync lets go mostly come back with their next record at once. Were the first of
//! them to lead, it would sync alone, and two halves would take turns for ever, each paying a whole
//! sync. So the one leads who completes the *crowd*: as many as waited when the last sync returned.
//! The first to come waits for that, for half a sync at most, and then leads with who is there;
//! after that the crowd is not waited for a while, longer each time in a row.

use std::io;
use std::time::{Duration, Instant};

use crate::sync::OnceLock;
use crate::sync::modelled::Mutex;
use crate::sync::modelled::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::write::sync_waiters::SyncWaiters;
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
    waiters: SyncWaiters,
    crowd: Crowd,
}

/// Who is waited for before a leader begins. The counts are hints, each right by itself.
struct Crowd {
    /// So many.
    size: AtomicUsize,
    /// So long, in nanoseconds.
    patience_ns: AtomicU64,
    /// Somebody waits for the rest, and leads if they don't come.
    gathering: AtomicBool,
    /// How often in a row they did not, and how many syncs follow without a crowd.
    missed: AtomicU32,
    rest: AtomicU32,
}

/// Syncs that follow each other without a crowd: at most two to the power of this.
const MISSED_MAX: u32 = 6;

impl Crowd {
    /// A sync returned, for which so many waited.
    fn after_sync(&self, waited: usize, took: Duration) {
        let rest = self.rest.load(Ordering::Relaxed);
        self.rest.store(rest.saturating_sub(1), Ordering::Relaxed);
        self.size.store(if rest > 0 { 0 } else { waited }, Ordering::Relaxed);
        self.patience_ns.store(took.as_nanos() as u64 / 2, Ordering::Relaxed);
    }

    fn patience(&self) -> Duration {
        Duration::from_nanos(self.patience_ns.load(Ordering::Relaxed))
    }

    /// Whether it is for the caller to lead if the others don't come.
    fn begin_gathering(&self) -> bool {
        !self.gathering.swap(true, Ordering::Relaxed)
    }

    /// Somebody leads; the crowd, if there was one, did or did not come together.
    fn led(&self, complete: bool) {
        self.gathering.store(false, Ordering::Relaxed);
        let missed = self.missed.load(Ordering::Relaxed);
        if !complete {
            self.rest.store(1 << missed, Ordering::Relaxed);
            self.missed.store((missed + 1).min(MISSED_MAX), Ordering::Relaxed);
        } else if self.size.load(Ordering::Relaxed) > 0 {
            self.missed.store(0, Ordering::Relaxed);
        }
    }
}

impl Commit {
    pub(crate) fn new(durable: u64) -> Self {
        Self {
            durable: AtomicU64::new(durable),
            urgent: AtomicU64::new(0),
            soon: AtomicU64::new(0),
            failed: OnceLock::new(),
            latch: Mutex::new(()),
            waiters: SyncWaiters::new(),
            crowd: Crowd {
                size: AtomicUsize::new(0),
                patience_ns: AtomicU64::new(0),
                gathering: AtomicBool::new(false),
                missed: AtomicU32::new(0),
                rest: AtomicU32::new(0),
            },
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

    /// A sync is in flight: call it when the work is taken.
    pub(crate) fn sync_begins(&self) {
        self.waiters.sync_begins();
    }

    /// Wakes the waiters that came before the sync began, and one of those who came later, to lead.
    /// Call it when the work may be taken up again, after a sync that took so long.
    pub(crate) fn tell(&self, took: Duration) {
        // Who enters from here on sees for itself that nobody is at work.
        self.waiters.sync_ended(|waited| self.crowd.after_sync(waited, took));
    }

    /// Somebody let go of the work without a sync: wakes one waiter, if there is any.
    pub(crate) fn call_leader(&self) {
        self.waiters.call_one();
    }

    /// Ends the log; `false` if it had failed before. `close` stops the appends: nobody can learn
    /// of the failure and then append, nor be refused and find no failure.
    pub(crate) fn fail(&self, failure: Failure, close: impl FnOnce()) -> bool {
        let latch = self.latch.lock();
        close();
        let first = self.failed.set(failure).is_ok();
        drop(latch);
        self.waiters.call_all();
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

    /// Waits until `lsn` is durable, the log has failed, or the time is up. `is_free` says whether
    /// nobody is at work. `lead` tries to do the work on this thread; it says whether that went to
    /// its end, else somebody else is at it.
    pub(crate) fn wait(
        &self,
        lsn: u64,
        timeout: Duration,
        is_free: impl Fn() -> bool,
        mut lead: impl FnMut() -> bool,
    ) -> Result<(), WaitError> {
        if let Some(outcome) = self.outcome(lsn) {
            return outcome;
        }
        self.ask(lsn);
        let begun = Instant::now();
        let mut ticket = self.waiters.enter();
        // Until when this thread waits for the crowd, from the wait's beginning on.
        let mut gathers: Option<Duration> = None;
        let outcome = loop {
            if let Some(outcome) = self.outcome(lsn) {
                break outcome;
            }
            let waited = begun.elapsed();
            if waited >= timeout {
                let durable_lsn = Lsn::new(self.durable());
                let lsn = Lsn::new(lsn);
                break Err(WaitError::TimedOut { lsn, durable_lsn, waited, refused: None });
            }
            let mut pause = timeout - waited;
            if is_free() {
                let complete = self.waiters.count() >= self.crowd.size.load(Ordering::Relaxed);
                if complete || gathers.is_some_and(|until| waited >= until) {
                    gathers = None;
                    self.crowd.led(complete);
                    if lead() {
                        continue;
                    }
                } else if gathers.is_some() || self.crowd.begin_gathering() {
                    let until = *gathers.get_or_insert(waited + self.crowd.patience());
                    if until <= waited {
                        continue;
                    }
                    pause = pause.min(until - waited);
                }
            }
            ticket.park(pause);
            // Served, most of them: then it goes from where it waited.
            if let Some(outcome) = self.outcome(lsn) {
                break outcome;
            }
            ticket.renew();
        };
        // Before the ticket goes, with which the call may go to another.
        if gathers.is_some() {
            self.crowd.gathering.store(false, Ordering::Relaxed);
        }
        drop(ticket);
        outcome
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
    use crate::sync::{Mutex, thread};

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn who_completes_the_crowd_leads_and_who_came_first_waits_for_that() {
        let (commit, leaders) = (Commit::new(0), Mutex::new(Vec::new()));
        commit.crowd.after_sync(2, 2 * MINUTE);
        let wait = |lsn| {
            let lead = || {
                leaders.lock().push(lsn);
                commit.sync_begins();
                commit.raise(2);
                commit.tell(Duration::ZERO);
                true
            };
            commit.wait(lsn, MINUTE, || true, lead)
        };
        thread::scope(|scope| {
            let first = scope.spawn(|| wait(1));
            while !commit.crowd.gathering.load(Ordering::Relaxed) && !first.is_finished() {
                thread::yield_now();
            }
            assert_eq!(wait(2), Ok(()));
            assert_eq!(first.join().unwrap(), Ok(()));
        });
        assert_eq!(*leaders.lock(), [2]);
    }

    #[test]
    fn a_crowd_that_does_not_come_is_waited_for_ever_more_rarely() {
        let commit = Commit::new(0);
        let mut waited_for = Vec::new();
        for lsn in 1..=12 {
            commit.crowd.after_sync(2, Duration::from_nanos(2));
            waited_for.push(commit.crowd.size.load(Ordering::Relaxed) > 0);
            let lead = || {
                commit.raise(lsn);
                true
            };
            assert_eq!(commit.wait(lsn, MINUTE, || true, lead), Ok(()));
        }
        let expected = [1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0].map(|yes| yes == 1);
        assert_eq!(waited_for, expected);
        // It comes again.
        commit.crowd.size.store(1, Ordering::Relaxed);
        assert_eq!(
            commit.wait(
                99,
                MINUTE,
                || true,
                || {
                    commit.raise(99);
                    true
                }
            ),
            Ok(())
        );
        assert_eq!(commit.crowd.missed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_failure_freezes_the_mark_and_the_first_one_stays() {
        let commit = Commit::new(5);
        assert!(commit.fail(panicked("first"), || ()));
        assert!(!commit.fail(panicked("second"), || ()));
        commit.raise(9);
        assert_eq!(commit.durable(), 5);
        assert_eq!(commit.wait(5, Duration::ZERO, || true, || false), Ok(()));
        let error = commit.wait(6, Duration::from_secs(60), || true, || false).unwrap_err();
        assert_eq!(error, WaitError::Failed(panicked("first")));
    }
}
