//! The log in numbers: plain values, read field by field, so sums may miss what is in flight.

use std::time::Duration;

use crate::Lsn;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What the log did since it was opened. Names in `_total` only grow; the others are levels.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct WalStats {
    /// Records accepted.
    pub appends_total: u64,
    /// Records handed to the file.
    pub written_records_total: u64,
    /// Bytes handed to files: records, frame headers, padding, control frames.
    pub written_bytes_total: u64,
    /// Bytes of padding and control frames among them.
    pub pad_bytes_total: u64,
    /// Frames with records.
    pub frames_total: u64,
    /// Syncs that returned.
    pub syncs_total: u64,
    /// Time spent in them. Unit: nanoseconds.
    pub sync_ns_total: u64,
    /// The longest of them. Unit: nanoseconds.
    pub sync_ns_max: u64,
    /// Segments completed.
    pub rotations_total: u64,
    /// Segments removed by `retire_before`.
    pub segments_retired_total: u64,
    /// Segments whose file had served before.
    pub segments_recycled_total: u64,
    /// Appends refused with `Full`: those that may not wait, and those whose time to wait was over.
    pub full_total: u64,
    /// Times that an append began to wait for room. One that was woken and found the room gone
    /// begins again.
    pub room_waits_total: u64,
    /// Steps that the operating system refused for want of space, a quota or a descriptor, and that
    /// were tried again.
    pub disk_full_total: u64,
    /// Panics of the observer (at most 1: it is detached).
    pub observer_panics_total: u64,
    /// Highest record accepted.
    pub last_lsn: Lsn,
    /// Highest durable record.
    pub durable_lsn: Lsn,
    /// Records accepted and not yet handed to the file.
    pub queue_records: u64,
    /// Memory that they take: a slot of 128 bytes each, and the payloads too large for one. Unit:
    /// bytes.
    pub queue_bytes: u64,
    /// Segment files of the log, the active one included.
    pub segments: u64,
    /// Bytes of the log on disk: its segments, the prepared one and what is written ahead included.
    pub log_bytes: u64,
    /// Bytes of retired files that wait to serve again, on top of `log_bytes`.
    pub spare_bytes: u64,
    /// Bytes of memory the log holds for its ring.
    pub memory_bytes: u64,
    /// Age of the oldest record that the writer took and no finished sync covers; 0 if there is
    /// none. Unit: nanoseconds.
    pub oldest_unsynced_ns: u64,
    /// How long a record that was claimed and is not yet complete, its appender having lost its
    /// processor, has held up those behind it, as far as the writer saw; 0 if none does. Unit:
    /// nanoseconds.
    pub claim_gap_ns: u64,
    /// 1 after a sticky failure, else 0.
    pub failed: u64,
}

/// The cells behind [`WalStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) written_records: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) pad_bytes: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) sync_ns: AtomicU64,
    pub(crate) sync_ns_max: AtomicU64,
    pub(crate) rotations: AtomicU64,
    pub(crate) segments_retired: AtomicU64,
    pub(crate) segments_recycled: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) room_waits: AtomicU64,
    pub(crate) disk_full: AtomicU64,
    pub(crate) observer_panics: AtomicU64,
    /// Nanoseconds since the log's birth at which the oldest record came that no sync was asked
    /// for; 0 = none.
    pub(crate) oldest_unasked_at: AtomicU64,
    /// The same of the sync in flight.
    pub(crate) oldest_syncing_at: AtomicU64,
    /// When the sync in flight began, in the same unit; 0 = there is none.
    pub(crate) sync_begun_at: AtomicU64,
    /// The same of a record that holds up others.
    pub(crate) claim_gap_at: AtomicU64,
}

impl Counters {
    pub(crate) fn add_sync(&self, duration: Duration) {
        let ns = duration.as_nanos() as u64;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_ns.fetch_add(ns, Ordering::Relaxed);
        self.sync_ns_max.fetch_max(ns, Ordering::Relaxed);
    }
}
