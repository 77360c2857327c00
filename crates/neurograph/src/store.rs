//! The store: the handle users hold, and how it is opened.

use crate::config::Config;
use crate::durable::log::Log;
use crate::error::{CloseError, OpenError, SessionError, SyncError};
use crate::inner::{Barred, Inner};
use crate::life::pulse::Pulse;
use crate::session::Session;
use crate::stats::{Health, RecoveryReport, Stats};
use crate::watch::eviction::{EvictionReason, Observer};
use ng_core::{Iter, Token, TokenId};
use ng_guardian::Refusal;
use ng_metrics::{Format, Registry};
use ng_trace::Sink;
use ng_wal::Lsn;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A store of tokens: bounded, crash-safe, observed. See the crate's front page.
///
/// Dropping it closes it as [`Store::close`] does, without a report; its sessions then refuse to write.
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    pub(crate) pulse: Pulse,
}

/// Opens a store with a place for its spans to go.
pub struct StoreBuilder {
    pub(crate) config: Config,
    pub(crate) sink: Option<Box<dyn Sink>>,
    pub(crate) on_evicted: Option<Observer>,
}

impl StoreBuilder {
    /// Spans go to `sink`, on the collector's thread. Without one they are counted and dropped.
    #[must_use]
    pub fn sink(mut self, sink: Box<dyn Sink>) -> StoreBuilder {
        self.sink = Some(sink);
        self
    }

    /// `tell` hears of each token that cleanup evicts, after it is gone, with what it held and why.
    ///
    /// Called on the thread that cleans up: the store's own, or that of a session whose create found no
    /// room, which waits for it. So it should return quickly. It may read the store; a create of its own is
    /// refused as [`CreateError::Evicting`](crate::CreateError::Evicting) once its session needs more
    /// room, and to close the store there as [`CloseError::Evicting`]. A panic in it is caught and counted, and it is not called again.
    #[must_use]
    pub fn on_evicted(
        mut self,
        tell: impl Fn(TokenId, Token, EvictionReason) + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.on_evicted = Some(Box::new(tell));
        self
    }

    /// As [`Store::open`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store, OpenError> {
        crate::life::open::open(self, Some(dir.as_ref()))
    }

    /// As [`Store::in_memory`].
    pub fn in_memory(self) -> Result<Store, OpenError> {
        crate::life::open::open(self, None)
    }
}

impl Store {
    /// Opens the store in `dir`, which is made if absent, and recovers what was durable there: an
    /// exact prefix of the logged operations, all that was acknowledged included.
    ///
    /// With `persist = All`, the default, every token survives a restart; with `Flagged`, those with
    /// the PERSISTENT flag, and the others are gone. A store keeps the `persist` that it was created with.
    /// At the default level, Balanced, a create returns before it is durable: [`Store::sync`] or
    /// [`Store::wait_durable`] wait for that.
    ///
    /// A store at its quota refuses creates. Cleanup, on by default, makes room only by evicting tokens that
    /// would not survive a restart anyway: with `persist = All` there are none. `guardian.evict = "all"`
    /// lets it evict logged tokens too. Tokens marked PERSISTENT or LOCKED are never evicted, and opening
    /// evicts nothing, however small the quota. [`StoreBuilder::on_evicted`] tells of each eviction.
    ///
    /// Opening installs a panic hook, which records panics of the whole process and calls the hook that was
    /// there before, and on Linux a handler for SIGBUS, which saves the process if the flight recorder's file
    /// is cut by somebody else and passes on every other SIGBUS; `blackbox.panic_hook = false` and
    /// `blackbox.bus_guard = false` leave them out.
    ///
    /// Blocks on the disk: it reads the whole log. Errors: see [`OpenError`]; a directory that another
    /// process has open, a log that lost durable records or is of a newer build is refused unchanged.
    /// The directory may be renamed while the store is open. Not for NFS or copies of a directory in use. In
    /// a forked child every logged write is an error, a create that is not logged goes at most to the end of a
    /// lease in the child's own copy, and dropping the store does nothing.
    pub fn open(dir: impl AsRef<Path>, config: Config) -> Result<Store, OpenError> {
        Store::builder(config).open(dir)
    }

    /// A store without a directory: no log, and a flight recorder in memory.
    ///
    /// At its quota it does not refuse creates: with cleanup on, as it is by default, it evicts the oldest
    /// tokens from `guardian.memory_threshold` of the quota on, those just created among them, since none
    /// would survive a restart. `guardian.enable_aggressive_cleanup = false` makes it refuse.
    ///
    /// Errors: a bad setting, or the system refuses memory or threads.
    pub fn in_memory(config: Config) -> Result<Store, OpenError> {
        Store::builder(config).in_memory()
    }

    /// To open with more than a config.
    pub fn builder(config: Config) -> StoreBuilder {
        StoreBuilder { config, sink: None, on_evicted: None }
    }

    /// What opening found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.inner.recovery
    }

    /// A session for one thread. It takes at most [`Session::BYTES`] until its first span, so ten thousand idle ones
    /// are no burden; they count towards the memory quota, also where they do not fit it:
    /// [`Store::try_session`] refuses then. In a forked child every logged write of it is refused, and making it may wait for
    /// ever for a lock of the parent's: [`Store::try_session`] refuses there too.
    pub fn session(&self) -> Session {
        self.inner.guardian.adopt_fixed(Session::BYTES);
        Session::new(Arc::clone(&self.inner))
    }

    /// A session, if the memory quota has room for it.
    ///
    /// Errors: it has not; nothing was taken.
    pub fn try_session(&self) -> Result<Session, SessionError> {
        if let Err(Barred::Forked { opened_by }) = self.inner.status.check() {
            return Err(SessionError::Forked { opened_by });
        }
        self.inner.guardian.hold_fixed(Session::BYTES).map_err(|refusal| match refusal {
            Refusal::MemoryExceeded { limit_bytes, used_bytes, requested_bytes } => {
                SessionError::MemoryExceeded {
                    limit: limit_bytes,
                    used: used_bytes,
                    requested: requested_bytes,
                }
            }
            other => SessionError::Pressure(other),
        })?;
        Ok(Session::new(Arc::clone(&self.inner)))
    }

    /// Tokens of one [`Session::create_batch`] that are all there after a crash, or none of them: as many as a
    /// frame of the log holds, 818 unless its segments or its ring are small. Without a log it says nothing.
    pub fn batch_max(&self) -> usize {
        self.inner.batch_max()
    }

    /// Last record that any session logged; [`Lsn::NONE`] without one.
    pub fn last_lsn(&self) -> Lsn {
        self.inner.log.as_ref().map_or(Lsn::NONE, |log| log.wal.last_lsn())
    }

    /// Waits until record `lsn` is on stable storage. Blocks at most `timeout`.
    pub fn wait_durable(&self, lsn: Lsn, timeout: Duration) -> Result<(), SyncError> {
        Ok(self.synced_log()?.wal.wait_durable(lsn, timeout)?)
    }

    /// Returns when all that was logged before the call is on stable storage. Blocks at most
    /// `wal.sync_timeout`. Returns the last such record.
    pub fn sync(&self) -> Result<Lsn, SyncError> {
        Ok(self.synced_log()?.wal.sync()?)
    }

    fn synced_log(&self) -> Result<&Log, SyncError> {
        if let Err(Barred::Forked { opened_by }) = self.inner.status.check() {
            return Err(SyncError::Forked { opened_by });
        }
        self.inner.log.as_ref().ok_or(SyncError::NoLog)
    }

    /// All live tokens in the order of their slots, beside writers: see [`ng_core::Arena::iter`]. Goes
    /// on in a closed store.
    pub fn iter(&self) -> Iter {
        self.inner.arena.iter()
    }

    /// Tokens alive; may miss what is in flight.
    pub fn len(&self) -> u64 {
        self.inner.arena.len()
    }

    /// Is no token alive?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The store in numbers. Takes tens of microseconds. In a forked child all are 0: their locks may be held by threads
    /// that stayed with the parent.
    pub fn stats(&self) -> Stats {
        if !self.inner.status.is_home() {
            return Stats::default();
        }
        self.inner.stats()
    }

    /// All metrics as OpenMetrics text; in a forked child an empty page.
    pub fn metrics_text(&self) -> String {
        if !self.inner.status.is_home() {
            return "# EOF\n".to_owned();
        }
        self.inner.registry.encode(Format::OpenMetrics)
    }

    /// The registry behind [`Store::metrics_text`], for other formats and for metrics of your own.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Whether the store can do its work.
    pub fn health(&self) -> Health {
        match self.inner.status.check() {
            Err(Barred::Closed) => Health::Closed,
            Err(Barred::Forked { opened_by }) => Health::Forked { opened_by },
            Err(Barred::ReadOnly(cause)) => Health::ReadOnly { cause },
            Ok(()) => match self.inner.log.as_ref().map(|log| log.wal.health()) {
                Some(ng_wal::Health::DiskFull) => Health::DiskFull,
                Some(ng_wal::Health::Hindered(failure)) => {
                    Health::LogHindered { cause: failure.to_string() }
                }
                Some(ng_wal::Health::SyncOverdue(since)) => Health::SyncOverdue { since },
                Some(ng_wal::Health::Failed(failure)) => {
                    Health::ReadOnly { cause: failure.to_string() }
                }
                Some(ng_wal::Health::Healthy) | None => Health::Healthy,
            },
        }
    }

    /// Changes the quotas. They bind when this returns. `None` is no limit. The quota of memory is asked
    /// where memory is taken, 2 MiB at a time: creates go on in the chunks that are there.
    ///
    /// A store that holds more than a lowered limit refuses creates until there is room. Where cleanup is
    /// on, it evicts what `guardian.evict` lets it: by default no token that would survive a restart.
    pub fn set_limits(&self, max_tokens: Option<u64>, max_memory_bytes: Option<u64>) {
        let mut limits = self.inner.guardian.config().limits();
        (limits.max_tokens, limits.max_memory_bytes) = (max_tokens, max_memory_bytes);
        self.inner.asked_for_room.store(true, Relaxed);
        self.inner.guardian.set_limits(limits);
    }

    /// Switches cleanup on or off, as `guardian.enable_aggressive_cleanup` does when the store is opened. A
    /// cleanup under way goes on to its end.
    pub fn set_aggressive_cleanup(&self, enabled: bool) {
        let mut config = self.inner.guardian.config();
        config.enable_aggressive_cleanup = enabled;
        // The other settings are in force, so they are valid, and this one has no range.
        let changed = self.inner.guardian.reconfigure(config);
        debug_assert!(changed.is_ok(), "settings in force are valid: {changed:?}");
    }

    /// Waits until the spans recorded so far have reached the sink. Blocks at most `timeout`.
    pub fn flush_spans(&self, timeout: Duration) -> Result<(), ng_trace::FlushError> {
        match &self.inner.tracing {
            Some(tracing) => tracing.collector.flush(timeout),
            None => Ok(()),
        }
    }

    /// The flight recorder, for events of one's own and for a look at what it holds; `None` without one.
    pub fn blackbox(&self) -> Option<&ng_blackbox::Recorder> {
        self.inner.blackbox.as_deref()
    }

    /// Where the flight recorder writes; `None` without one or in memory.
    pub fn blackbox_path(&self) -> Option<std::path::PathBuf> {
        self.inner.blackbox.as_ref().and_then(|recorder| recorder.path())
    }

    /// Closes the store: sessions refuse to write from now on, the log is synced and sealed, spans
    /// are drained. Blocks on the disk.
    ///
    /// Errors: what could not be done; all the rest is done.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.shut()
    }

    pub(crate) fn shut(&mut self) -> Result<(), CloseError> {
        if let Err(Barred::Forked { opened_by }) = self.inner.status.check() {
            // Threads and locks stayed with the parent, and files are shared with it: nothing is dropped.
            self.pulse.abandon();
            std::mem::forget(Arc::clone(&self.inner));
            return Err(CloseError::Forked { opened_by });
        }
        if self.inner.is_cleaning_here() {
            // The cleanup waits for this call, and closing for the cleanup.
            self.pulse.abandon();
            return Err(CloseError::Evicting);
        }
        self.pulse.stop();
        self.inner.close()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Without an owner to tell; `close` is there for those who want to know.
        let _unreported = self.shut();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("len", &self.len()).finish_non_exhaustive()
    }
}
