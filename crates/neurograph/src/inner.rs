//! What a store's sessions and threads share, and its status. Knows nothing of who holds it.

use crate::durable::log::Log;
use crate::durable::logged::Logged;
use crate::durable::place::Place;
use crate::format;
use crate::mutants;
use crate::session::Session;
use crate::stats::{MemoryShares, RecoveryReport, Stats};
use crate::watch::eviction::EvictionBook;
use ng_blackbox::Recorder;
use ng_core::{Arena, Flags, Token};
use ng_guardian::{Guardian, Holder};
use ng_metrics::{Counter, Histogram, Registry};
use ng_trace::{Collector, NameId, Sampler};
use ng_wal::{Forked, Home};
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::thread::ThreadId;

/// What the sessions share.
pub(crate) struct Inner {
    pub(crate) arena: Arena,
    pub(crate) guardian: Guardian,
    /// The guardian holds it weakly.
    pub(crate) _holder: Arc<dyn Holder>,
    pub(crate) log: Option<Log>,
    pub(crate) logged: Logged,
    /// The directory, where there is a log in it.
    pub(crate) place: Option<Place>,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) blackbox: Option<Arc<Recorder>>,
    pub(crate) blackbox_error: Option<String>,
    pub(crate) create_every: u32,
    pub(crate) _panic_hook: Option<ng_blackbox::PanicHookGuard>,
    pub(crate) registry: Registry,
    pub(crate) create_seconds: Histogram,
    pub(crate) rejected: Counter,
    pub(crate) quota_exceeded: Counter,
    /// Unix seconds, written by the pulse.
    pub(crate) seconds: AtomicU32,
    pub(crate) status: Arc<Status>,
    pub(crate) pulses: AtomicU64,
    pub(crate) panics_recovered: AtomicU64,
    /// Totals as last shown: what is shown never falls.
    pub(crate) created_shown: AtomicU64,
    pub(crate) recovery: RecoveryReport,
    pub(crate) fixed_bytes: FixedBytes,
    /// Taken for a whole cleanup. As any session it holds what it lies in; `close`, which the drop of the
    /// store calls too, lets it go.
    pub(crate) evictor: Mutex<Option<Session>>,
    pub(crate) cleaning: Progress,
    /// The thread that has `evictor`.
    pub(crate) cleaner: Mutex<Option<ThreadId>>,
    pub(crate) evictions: EvictionBook,
    /// Somebody asked for room, or changed the limits. What an open finds above its quota stays until then.
    pub(crate) asked_for_room: AtomicBool,
}

/// How far cleanups have come: who waits for room looks again after each batch, not after the last.
#[derive(Default)]
pub(crate) struct Progress {
    steps: Mutex<u64>,
    made: Condvar,
}

impl Progress {
    pub(crate) fn steps(&self) -> u64 {
        *self.steps.lock()
    }

    pub(crate) fn step(&self) {
        *self.steps.lock() += 1;
        self.made.notify_all();
    }

    /// Returns once there are more steps than `seen`.
    pub(crate) fn wait_past(&self, seen: u64) {
        let mut steps = self.steps.lock();
        while *steps == seen {
            self.made.wait(&mut steps);
        }
    }
}

/// Memory that the store holds from open to close. Unit: bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FixedBytes {
    pub(crate) wal: u64,
    pub(crate) blackbox: u64,
}

/// Sampler, collector, and the names that spans have.
pub(crate) struct Tracing {
    pub(crate) sampler: Arc<Sampler>,
    pub(crate) collector: Collector,
    pub(crate) names: Names,
}

/// Names of spans and of their attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) create: NameId,
    pub(crate) update: NameId,
    pub(crate) delete: NameId,
    pub(crate) token: NameId,
    pub(crate) lsn: NameId,
}

/// Open, read-only, closed, or not this process's; looked at wherever a session asks for something.
pub(crate) struct Status {
    state: AtomicU8,
    home: Home,
    cause: Mutex<String>,
    /// Read while a session takes a lease or gives it back; never with a call that may recall. Written
    /// while the store closes, so that no lease is taken after, and before a recall, so that no credit
    /// is on its way.
    pub(crate) leasing: RwLock<()>,
}

/// What keeps a write from being begun.
pub(crate) enum Barred {
    ReadOnly(String),
    Closed,
    /// The process that opened the store is another one.
    Forked {
        opened_by: u32,
    },
}

const OPEN: u8 = 0;
const READ_ONLY: u8 = 1;
const CLOSED: u8 = 2;

impl Status {
    pub(crate) fn new() -> Status {
        Status {
            state: AtomicU8::new(OPEN),
            home: Home::here(),
            cause: Mutex::default(),
            leasing: RwLock::default(),
        }
    }

    /// Whether this is the process that opened the store. A forked child has no thread of it, and what it
    /// would do to files and shared memory it would do to its parent's.
    pub(crate) fn is_home(&self) -> bool {
        self.home.is_here() || mutants::on("store-forked-child-goes-on")
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<(), Barred> {
        if self.state.load(Acquire) == OPEN && self.is_home() {
            return Ok(());
        }
        self.barred()
    }

    #[cold]
    fn barred(&self) -> Result<(), Barred> {
        if let Err(Forked { opened_by }) = self.home.check() {
            return Err(Barred::Forked { opened_by });
        }
        match self.state.load(Acquire) {
            READ_ONLY => Err(Barred::ReadOnly(self.cause.lock().clone())),
            _ => Err(Barred::Closed),
        }
    }

    /// The first cause stays; a closed store stays closed.
    pub(crate) fn set_read_only(&self, cause: &str) {
        let mut known = self.cause.lock();
        if known.is_empty() {
            *known = cause.to_string();
        }
        let only_open = |state| (state == OPEN).then_some(READ_ONLY);
        // Already read-only or closed is as good.
        let _before = self.state.fetch_update(AcqRel, Acquire, only_open);
    }

    /// `false` if it was closed already.
    pub(crate) fn set_closed(&self) -> bool {
        let _no_lease = self.leasing.write();
        self.state.swap(CLOSED, AcqRel) != CLOSED
    }
}

impl Inner {
    /// Writes of one part of a batch.
    pub(crate) fn batch_max(&self) -> usize {
        const WITHOUT_A_LOG: usize = 1_024;
        let of_log = |log: &Log| log.wal.batch_records_max(format::PUT_BYTES);
        self.log.as_ref().map_or(WITHOUT_A_LOG, of_log)
    }

    pub(crate) fn stats(&self) -> Stats {
        let arena = self.arena.stats();
        let guardian = self.guardian.stats();
        let wal = self.log.as_ref().map(|log| log.wal.stats());
        let sampler = self.tracing.as_ref().map(|tracing| tracing.sampler.stats());
        let spans = self.tracing.as_ref().map(|tracing| tracing.collector.stats());
        let metrics = self.registry.stats();
        let rejected = self.rejected.get();
        let created = self.created_shown.fetch_max(arena.created_total, AcqRel);
        Stats {
            tokens_created_total: created.max(arena.created_total),
            tokens_deleted_total: arena.deleted_total,
            tokens_evicted_total: guardian.evicted_total,
            evictions: self.evictions.evictions(),
            tokens_rejected_total: rejected,
            quota_exceeded_total: self.quota_exceeded.get(),
            tokens_live: arena.live_bytes / 64,
            quota_checks_total: arena.created_total + arena.aborted_total + rejected,
            controller_steps_total: sampler.as_ref().map_or(0, |s| s.controller_steps_total),
            pulses_total: self.pulses.load(Relaxed),
            panics_recovered_total: self.panics_recovered.load(Relaxed)
                + wal.as_ref().map_or(0, |wal| wal.observer_panics_total)
                + spans.as_ref().map_or(0, |spans| spans.sink_panics_total),
            records_replayed: self.recovery.records,
            tokens_recovered: self.recovery.tokens,
            recovery_elapsed: self.recovery.elapsed,
            memory: MemoryShares {
                arena: arena.committed_bytes + arena.overhead_bytes,
                wal: wal.as_ref().map_or(0, |wal| wal.memory_bytes),
                trace: spans.as_ref().map_or(0, |spans| spans.ring_bytes),
                metrics: metrics.last_scrape_bytes,
                blackbox: self.fixed_bytes.blackbox,
            },
            arena,
            guardian,
            wal,
            sampler,
            spans,
            overhead: self.tracing.as_ref().and_then(|tracing| tracing.collector.overhead()),
            blackbox: self.blackbox.as_ref().map(|recorder| recorder.stats()),
            blackbox_error: self.blackbox_error.clone(),
            metrics,
        }
    }

    pub(crate) fn set_seconds(&self, seconds: u32) {
        self.seconds.store(seconds, Release);
    }
}

/// Never evicted, by its marks.
pub(crate) fn is_pinned(token: &Token) -> bool {
    let marks = Flags::PERSISTENT.with(Flags::LOCKED).bits();
    token.flags().bits() & marks != 0 && !mutants::on("store-evicts-pinned")
}
