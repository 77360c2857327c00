//! Plain figures about a store and its recovery.

use crate::watch::eviction::Evictions;
use ng_wal::Lsn;
use std::time::Duration;

/// A store in numbers. Read part by part: sums may miss what is in flight. `_total` only grows.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Tokens created in this run.
    pub tokens_created_total: u64,
    /// Tokens deleted in this run, evicted ones included.
    pub tokens_deleted_total: u64,
    /// Tokens that cleanup evicted.
    pub tokens_evicted_total: u64,
    /// The same by reason.
    pub evictions: Evictions,
    /// Creates refused.
    pub tokens_rejected_total: u64,
    /// Creates refused because the quota of tokens was used up.
    pub quota_exceeded_total: u64,
    /// Tokens alive.
    pub tokens_live: u64,
    /// Admissions decided: slots filled, and refusals.
    pub quota_checks_total: u64,
    /// Steps of the sampler's controller.
    pub controller_steps_total: u64,
    /// Times the store looked after itself.
    pub pulses_total: u64,
    /// Panics of observers, sinks and the pulse that were caught.
    pub panics_recovered_total: u64,
    /// Log records replayed when the store was opened.
    pub records_replayed: u64,
    /// Tokens alive after recovery.
    pub tokens_recovered: u64,
    /// Time that recovery took.
    pub recovery_elapsed: Duration,
    /// Memory by part.
    pub memory: MemoryShares,
    /// The arena's own figures.
    pub arena: ng_core::ArenaStats,
    /// The guardian's own figures.
    pub guardian: ng_guardian::GuardianStats,
    /// The log's own figures, if there is one.
    pub wal: Option<ng_wal::WalStats>,
    /// The sampler's own figures, if there is one.
    pub sampler: Option<ng_trace::SamplerStats>,
    /// The span collector's own figures, if there is one.
    pub spans: Option<ng_trace::CollectorStats>,
    /// What tracing costs by its own account, taken once a second; `None` before its second look, and
    /// without tracing.
    pub overhead: Option<ng_trace::Overhead>,
    /// The flight recorder's own figures, if there is one.
    pub blackbox: Option<ng_blackbox::BlackboxStats>,
    /// Why the flight recorder is not on the disk, lacks a copy at a panic, or its guard, though these
    /// were asked for. The store works without.
    pub blackbox_error: Option<String>,
    /// The metrics registry's own figures.
    pub metrics: ng_metrics::RegistryStats,
}

/// Memory that the store holds, by part. Unit: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryShares {
    /// Chunks of tokens, their headers and bitmaps.
    pub arena: u64,
    /// The log's ring and what waits in it.
    pub wal: u64,
    /// Span rings.
    pub trace: u64,
    /// The text of the last metrics page, which is freed after its use; cells are not counted.
    pub metrics: u64,
    /// The flight recorder's mapping.
    pub blackbox: u64,
}

/// What opening a store found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Records replayed.
    pub records: u64,
    /// Tokens alive afterwards.
    pub tokens: u64,
    /// Last record of the log.
    pub last_lsn: Lsn,
    /// Bytes beyond the last whole record that were cut off as torn.
    pub torn_bytes: u64,
    /// First record that the checkpoint may lack; `None`: there was no checkpoint.
    pub checkpoint_begin_lsn: Option<Lsn>,
    /// Last record that the checkpoint may hold; `None`: there was no checkpoint.
    pub checkpoint_end_lsn: Option<Lsn>,
    /// The store had been closed, not killed.
    pub clean: bool,
    /// More tokens are alive than the quota admits: creates are refused until it fits again.
    pub over_quota: bool,
    /// No token created from now on has a generation below this.
    pub generation_floor: u32,
    /// How long reading, checking and rebuilding took.
    pub elapsed: Duration,
}

/// Whether a store can do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It can.
    Healthy,
    /// The disk is full: logged operations wait for room.
    DiskFull,
    /// The log is refused something else that it needs to go on, such as a file descriptor, and tries
    /// again until it gets it: logged operations wait for room.
    LogHindered {
        /// What is refused.
        cause: String,
    },
    /// A sync of the log takes longer than `wal.sync_timeout`. It recovers when the sync returns.
    SyncOverdue {
        /// How long it has been under way.
        since: Duration,
    },
    /// The log failed for good; reads go on from memory.
    ReadOnly {
        /// Why.
        cause: String,
    },
    /// It was closed.
    Closed,
    /// This process is a forked child of the one that opened it.
    Forked {
        /// The process that opened it.
        opened_by: u32,
    },
}
