//! How the log tells its owner what happens, as it happens; it never learns who listens.

use std::fmt;
use std::time::Duration;

use crate::{Failure, Lsn, SegmentId};

/// Told of what the log does. Every method defaults to nothing.
///
/// Called on the log's own threads, never on an appender's, with no lock of the log held. Return quickly: a slow observer delays the next sync. Do not call back into a waiting
/// method of the same log: it would wait for its own thread. A panic in an observer is caught and
/// counted, the observer is detached, and the log goes on.
pub trait WalObserver: Send + Sync {
    /// One sync returned and made every record up to `event.durable_lsn` durable.
    fn on_synced(&self, _event: &Synced) {}
    /// The log failed for good; nothing after its durable end will become durable.
    fn on_failed(&self, _failure: &Failure) {}
    /// A segment was filled and its successor took over.
    fn on_rotated(&self, _event: &Rotated) {}
    /// The log reached its limit, or the disk refused a write for want of space; told once each
    /// time it begins. A ring that is full for a moment is not told: `WalStats::full_total`.
    fn on_full(&self, _event: &FullEvent) {}
}

impl fmt::Debug for dyn WalObserver + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WalObserver")
    }
}

/// One finished sync.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Synced {
    /// Records that became durable by it.
    pub records: u64,
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
    /// Whether the disk itself refused a write.
    pub disk_full: bool,
}
