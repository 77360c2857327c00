//! Facts of the rooms as black-box events: the kinds, and the log's observer.

use crate::inner::Status;
use ng_blackbox::{Event, Kind, Recorder, Severity};
use ng_core::Arena;
use ng_metrics::Histogram;
use ng_wal::{Failure, Synced, WalObserver};
use std::sync::{Arc, OnceLock};

pub(crate) const TOKEN_CREATED: Kind = Kind::new(16);
pub(crate) const QUOTA_EXCEEDED: Kind = Kind::new(18);
pub(crate) const AGGRESSIVE_CLEANUP: Kind = Kind::new(19);
pub(crate) const PANIC_RECOVERED: Kind = Kind::new(20);
pub(crate) const WAL_WRITTEN: Kind = Kind::new(21);
pub(crate) const WAL_FAILED: Kind = Kind::new(22);
pub(crate) const WAL_REPLAYED: Kind = Kind::new(23);
pub(crate) const SAMPLING_CHANGED: Kind = Kind::new(27);
pub(crate) const OVERHEAD_EXCEEDED: Kind = Kind::new(28);
pub(crate) const PRESSURE_CHANGED: Kind = Kind::new(29);
pub(crate) const SYSTEM_STARTED: Kind = Kind::new(30);
pub(crate) const SYSTEM_STOPPED: Kind = Kind::new(31);

/// The kinds and the names under which a reader shows them. Those without a constant above are
/// of what the store does not do yet: their numbers are kept, so that its files mean the same later.
pub(crate) const KINDS: &[(Kind, &str)] = &[
    (TOKEN_CREATED, "TokenCreated"),
    (Kind::new(17), "TokenValidationFailed"),
    (QUOTA_EXCEEDED, "QuotaExceeded"),
    (AGGRESSIVE_CLEANUP, "AggressiveCleanup"),
    (PANIC_RECOVERED, "PanicRecovered"),
    (WAL_WRITTEN, "WalWritten"),
    (WAL_FAILED, "WalFailed"),
    (WAL_REPLAYED, "WalReplayed"),
    (Kind::new(24), "CheckpointDone"),
    (Kind::new(25), "CdnaChanged"),
    (Kind::new(26), "CdnaRejected"),
    (SAMPLING_CHANGED, "SamplingChanged"),
    (OVERHEAD_EXCEEDED, "OverheadExceeded"),
    (PRESSURE_CHANGED, "PressureChanged"),
    (SYSTEM_STARTED, "SystemStarted"),
    (SYSTEM_STOPPED, "SystemStopped"),
];

/// The least number of a kind that is the program's own: those below belong to the store, also in later versions.
pub(crate) const OWN_KIND_LEAST: u16 = 64;

/// Records an event, if there is a recorder.
pub(crate) fn note(recorder: &Option<Arc<Recorder>>, kind: Kind, severity: Severity, n: [u64; 4]) {
    if let Some(recorder) = recorder {
        recorder.record(Event::numbers(kind, severity, n));
    }
}

/// Listens to the log on its threads.
pub(crate) struct LogObserver {
    /// Set when it is there; it is opened after the log.
    pub(crate) blackbox: OnceLock<Arc<Recorder>>,
    pub(crate) status: Arc<Status>,
    pub(crate) arena: OnceLock<Arena>,
    pub(crate) sync_seconds: Histogram,
    pub(crate) batch_records: Histogram,
}

impl LogObserver {
    fn note(&self, kind: Kind, severity: Severity, numbers: [u64; 4]) {
        if let Some(recorder) = self.blackbox.get() {
            recorder.record(Event::numbers(kind, severity, numbers));
        }
    }
}

impl WalObserver for LogObserver {
    fn on_synced(&self, event: &Synced) {
        let ns = event.duration.as_nanos() as u64;
        self.sync_seconds.record(ns);
        self.batch_records.record(event.records);
        let numbers = [event.durable_lsn.get(), event.records, ns, 0];
        self.note(WAL_WRITTEN, Severity::DEBUG, numbers);
    }

    fn on_failed(&self, failure: &Failure) {
        self.status.set_read_only(&failure.to_string());
        // Sessions look up from their leases at the next create and find the store read-only.
        if let Some(arena) = self.arena.get() {
            arena.alert_writers();
        }
        let errno = failure.errno.map_or(0, |errno| errno as u64);
        self.note(WAL_FAILED, Severity::ERROR, [failure.offset, errno, 0, 0]);
    }
}
