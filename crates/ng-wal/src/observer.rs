//! How the log tells its owner what happens, as it happens; it never learns who listens.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex};
use crate::{Failure, Lsn, SegmentId};

/// Told of what the log does. Every method defaults to nothing.
///
/// Called one event at a time, in their order, with no lock of the log held, on one of the log's
/// own threads or on that of a caller who waits for durability and did the work itself. Return
/// quickly: a slow observer delays the next sync. Do not call back into a waiting method of the
/// same log: it would wait for its own thread. A panic in an observer is caught and counted, the
/// observer is detached, and the log goes on.
pub trait WalObserver: Send + Sync {
    /// The log was opened and recovered; told before `Wal::open` returns.
    fn on_recovered(&self, _event: &RecoveredEvent) {}
    /// Records were handed to the file: they survive a killed process, and no more yet.
    fn on_written(&self, _event: &Written) {}
    /// One sync returned and made every record up to `event.durable_lsn` durable.
    fn on_synced(&self, _event: &Synced) {}
    /// The log failed for good; nothing after its durable end will become durable.
    fn on_failed(&self, _failure: &Failure) {}
    /// A segment was filled and its successor took over.
    fn on_rotated(&self, _event: &Rotated) {}
    /// The log reached its limit, or the operating system refused space, a quota or a descriptor; told
    /// once each time it begins. A ring that is full for a moment is not told.
    fn on_full(&self, _event: &FullEvent) {}
}

impl fmt::Debug for dyn WalObserver + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalObserver")
    }
}

/// What an open found and kept; `Recovery` has the whole of it.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RecoveredEvent {
    /// Records that can be replayed.
    pub records: u64,
    /// Last record the log ever kept.
    pub last_lsn: Lsn,
    /// Bytes cut off as torn.
    pub torn_bytes: u64,
    /// Segment files found.
    pub segments: u64,
    /// How long it took.
    pub duration: Duration,
}

/// One finished write.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Written {
    /// Records in it.
    pub records: u64,
    /// Bytes of it, frame headers and padding included.
    pub bytes: u64,
    /// Highest record written now.
    pub last_lsn: Lsn,
}

/// One finished sync.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Synced {
    /// Records that became durable by it: the batch that the sync was shared by.
    pub records: u64,
    /// Bytes written since the sync before, padding included.
    pub bytes: u64,
    /// How long the sync itself took.
    pub duration: Duration,
    /// Highest durable record now.
    pub durable_lsn: Lsn,
}

/// One finished rotation.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Rotated {
    /// The segment that is now complete.
    pub sealed: SegmentId,
    /// The segment that takes the records from now on.
    pub active: SegmentId,
    /// Highest record in the completed segment.
    pub last_lsn: Lsn,
}

/// Why there is no room.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct FullEvent {
    /// Bytes of the log on disk.
    pub used_bytes: u64,
    /// The limit in force, `WalConfig::log_bytes_max`.
    pub limit_bytes: u64,
    /// Whether it is the operating system that refuses, and not the log's limit.
    pub disk_full: bool,
    /// What it refuses; it is tried again.
    pub refused: Option<Failure>,
}

/// Something to tell.
pub(crate) enum Event {
    Recovered(RecoveredEvent),
    Written(Written),
    Synced(Synced),
    Rotated(Rotated),
    Full(FullEvent),
    Failed(Failure),
}

/// What is to be told, until no lock is held.
pub(crate) struct Outbox {
    observer: Mutex<Option<Arc<dyn WalObserver>>>,
    attached: AtomicBool,
    events: Mutex<VecDeque<Event>>,
    /// Held by who tells, so that events come one at a time.
    telling: Mutex<()>,
}

impl Outbox {
    pub(crate) fn new(observer: Option<Arc<dyn WalObserver>>) -> Self {
        Self {
            attached: AtomicBool::new(observer.is_some()),
            observer: Mutex::new(observer),
            events: Mutex::default(),
            telling: Mutex::default(),
        }
    }

    pub(crate) fn put(&self, event: impl FnOnce() -> Event) {
        if self.attached.load(Ordering::Relaxed) {
            self.events.lock().push_back(event());
        }
    }

    /// Tells everything there is, unless another thread is at it: that one then tells it. Returns
    /// how often the observer panicked.
    pub(crate) fn deliver(&self) -> u64 {
        let mut panics = 0;
        while self.attached.load(Ordering::Relaxed) && !self.events.lock().is_empty() {
            let Some(_telling) = self.telling.try_lock() else { break };
            let Some(observer) = self.observer.lock().clone() else { break };
            while let Some(event) = self.next_event() {
                if catch_unwind(AssertUnwindSafe(|| event.tell(&*observer))).is_err() {
                    self.attached.store(false, Ordering::Relaxed);
                    *self.observer.lock() = None;
                    self.events.lock().clear();
                    panics += 1;
                    break;
                }
            }
        }
        panics
    }

    fn next_event(&self) -> Option<Event> {
        self.events.lock().pop_front()
    }
}

impl Event {
    fn tell(&self, observer: &dyn WalObserver) {
        match self {
            Self::Recovered(event) => observer.on_recovered(event),
            Self::Written(event) => observer.on_written(event),
            Self::Synced(event) => observer.on_synced(event),
            Self::Rotated(event) => observer.on_rotated(event),
            Self::Full(event) => observer.on_full(event),
            Self::Failed(failure) => observer.on_failed(failure),
        }
    }
}
