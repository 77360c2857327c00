//! The handle: what an owner of a log calls. Every method takes `&self`; share it by reference or
//! `Arc`.

use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::disk::shortage::is_want_of_space;
use crate::disk::storage::{Directory, DirectoryLock, LockError, LogIo};
use crate::format::{FRAME_PAYLOAD_BYTES_MAX, record_bytes};
use crate::home::Home;
use crate::observer::{Event, RecoveredEvent};
use crate::operate::backup::backup;
use crate::read::record::Records;
use crate::recovery::{Recovered, Visit, recover};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex};
use crate::write::actor::Actor;
use crate::write::ring::{Class, Entry, INLINE_PAYLOAD_BYTES, Refused};
use crate::write::room_waiters::Need;
use crate::write::shared::Shared;
use crate::{
    AppendError, BackupError, CloseError, Durability, Failure, Full, FullCause, Lsn, OpenError,
    Recovery, RetireError, WaitError, WalConfig, WalStats,
};

/// Whether the log can do its work. Exhaustive: an owner that passed a state over would call a log healthy
/// that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Healthy,
    /// The disk refuses writes for want of space. Nothing is lost; it goes on when space returns.
    DiskFull,
    /// The operating system refuses something else that the log needs to go on, such as a file
    /// descriptor. Nothing is lost; it tries again until it gets it.
    Hindered(Failure),
    /// A sync has been under way for longer than `WalConfig::sync_timeout`: since when. What it covers
    /// may be lost with the power. The log is healthy again when it returns.
    SyncOverdue(Duration),
    /// It failed, for good. What is durable stays so; reopen the log to go on.
    Failed(Failure),
}

/// An open log.
///
/// Dropping it closes it as [`Wal::close`] does, without a report. A forked child has a copy that can't
/// be used: its calls are `Forked`, or `Full` no more than the ring holds before that, and dropping it
/// does nothing, so the parent goes on undisturbed.
pub struct Wal {
    /// In a forked child it is left as it is: its threads are not there, and its locks may be taken for ever.
    actor: ManuallyDrop<Actor>,
    home: Home,
    /// Declared last: let go of only when the threads have ended.
    lock: Mutex<Option<DirectoryLock>>,
}

impl Drop for Wal {
    fn drop(&mut self) {
        if self.home.is_here() {
            // SAFETY: nobody uses the actor after this: the handle is being dropped.
            unsafe { ManuallyDrop::drop(&mut self.actor) };
        }
    }
}

impl std::fmt::Debug for Wal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wal")
            .field("last_lsn", &self.last_lsn())
            .field("durable_lsn", &self.durable_lsn())
            .finish_non_exhaustive()
    }
}

/// The directory, made if it is absent; not for settings that are wrong.
fn made(path: &Path, config: &WalConfig) -> Result<Arc<Directory>, OpenError> {
    config.validate()?;
    let dir = Directory::create(path).map_err(|e| OpenError::io("create", path, e))?;
    Ok(Arc::new(dir))
}

impl Wal {
    /// Payloads up to this many bytes lie in the ring itself: appending one allocates nothing.
    pub const INLINE_PAYLOAD_BYTES: usize = INLINE_PAYLOAD_BYTES;

    /// Records of a batch at most, whatever their size and the ring's.
    const BATCH_RECORDS_MAX: usize = FRAME_PAYLOAD_BYTES_MAX / 8;

    /// Opens the log in `dir`, which is made if absent, and recovers it: an exact prefix of what
    /// was appended, with everything that was durable. On return the end of that prefix is durable
    /// itself. Opening again changes nothing more. A log that has less than two segments' room left
    /// goes on in its last segment, if that is small, written anew: so opening it does not fill it.
    /// On a full disk it opens as far as room can be had, or says at once what is refused; then
    /// [`Reader`](crate::Reader) reads it.
    ///
    /// Errors: see [`OpenError`]; a log that lost durable records is refused and left as it is.
    /// Blocks on the disk: it reads the whole log. Not for directories on NFS, nor for copies of
    /// a directory that was in use. In a forked child the handle does nothing, and says so.
    ///
    /// The path is resolved once: the log stays in the directory that it led to, if that is moved.
    pub fn open(dir: impl AsRef<Path>, config: WalConfig) -> Result<(Wal, Recovery), OpenError> {
        Self::open_dir(made(dir.as_ref(), &config)?, config, None)
    }

    /// [`Wal::open`] in a directory that is open already.
    pub fn open_in(dir: Arc<Directory>, config: WalConfig) -> Result<(Wal, Recovery), OpenError> {
        Self::open_dir(dir, config, None)
    }

    /// [`Wal::open`] that shows the records to `visit` as they are checked, a frame's at a time, the
    /// oldest first: the log is read once, where an open and a replay read it twice.
    ///
    /// What the log keeps is decided when all is read. So what was shown counts only if this returns
    /// without an error and with [`Recovery::replayed`].
    pub fn open_replaying(
        dir: impl AsRef<Path>,
        config: WalConfig,
        mut visit: impl FnMut(Records<'_>),
    ) -> Result<(Wal, Recovery), OpenError> {
        Self::open_dir(made(dir.as_ref(), &config)?, config, Some(&mut visit))
    }

    /// [`Wal::open_replaying`] in a directory that is open already.
    pub fn open_in_replaying(
        dir: Arc<Directory>,
        config: WalConfig,
        mut visit: impl FnMut(Records<'_>),
    ) -> Result<(Wal, Recovery), OpenError> {
        Self::open_dir(dir, config, Some(&mut visit))
    }

    fn open_dir(
        dir: Arc<Directory>,
        config: WalConfig,
        visit: Option<Visit<'_>>,
    ) -> Result<(Wal, Recovery), OpenError> {
        config.validate()?;
        let lock = dir.lock().map_err(|refused| match refused {
            LockError::Held { holder, .. } => {
                OpenError::Locked { dir: dir.path().to_path_buf(), holder }
            }
            LockError::Io { operation, file, source } => OpenError::io(operation, &file, source),
        })?;
        Self::open_over(dir, Some(lock), config, visit)
    }

    /// [`Wal::open`] over another directory than the operating system's: [`sim`](crate::sim). The
    /// caller sees to it that it is open once only.
    #[cfg(feature = "sim")]
    pub fn open_on(io: Arc<dyn LogIo>, config: WalConfig) -> Result<(Wal, Recovery), OpenError> {
        config.validate()?;
        Self::open_over(io, None, config, None)
    }

    /// The same over any storage.
    pub(crate) fn open_over(
        io: Arc<dyn LogIo>,
        lock: Option<DirectoryLock>,
        config: WalConfig,
        visit: Option<Visit<'_>>,
    ) -> Result<(Wal, Recovery), OpenError> {
        let Recovered { recovery, active, older } = recover(io.clone(), &config, visit)?;
        let next_lsn = recovery.last_lsn.next().get();
        let actor = Actor::start(io.clone(), config, active, older, next_lsn)
            .map_err(|e| OpenError::io("start of a thread", io.path(), e))?;
        actor.shared.tell(|| {
            Event::Recovered(RecoveredEvent {
                records: recovery.records,
                last_lsn: recovery.last_lsn,
                torn_bytes: recovery.torn_bytes,
                segments: recovery.segments,
                duration: recovery.elapsed,
            })
        });
        actor.shared.deliver();
        let wal =
            Wal { actor: ManuallyDrop::new(actor), home: Home::here(), lock: Mutex::new(lock) };
        Ok((wal, recovery))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.actor.shared
    }

    /// Appends a record; at level Strict, returns when it is durable.
    ///
    /// Blocks while there is no room, at most `full_timeout`, then `Full`; at Strict also until a
    /// covering sync returned, at most `sync_timeout`, then `DurabilityUnknown`.
    pub fn append(&self, kind: u8, payload: &[u8]) -> Result<Lsn, AppendError> {
        self.append_durable(kind, payload, self.shared().config.durability)
    }

    /// [`Wal::append`] at `level`, or the log's own level if that is higher.
    pub fn append_durable(
        &self,
        kind: u8,
        payload: &[u8],
        level: Durability,
    ) -> Result<Lsn, AppendError> {
        self.home.check()?;
        let lsn = self.until_room(|| self.push(kind, payload, Class::Ordinary))?;
        self.reach(lsn, level)
    }

    /// Appends all records as one batch: after a crash all of them are there, or none.
    ///
    /// Returns the LSN of the last one; they are numbered in a row. Blocks as [`Wal::append`].
    pub fn append_batch(&self, records: &[(u8, &[u8])]) -> Result<Lsn, AppendError> {
        self.home.check()?;
        let lsn = self.until_room(|| self.push_batch(records, Class::Ordinary))?;
        self.reach(lsn, self.shared().config.durability)
    }

    /// Appends a record if there is room now. Never blocks, at any level: it does not wait for
    /// durability ([`Wal::wait_durable`] does). In a forked child it is `Forked` when the child's copy of
    /// the ring is full, at the latest.
    ///
    /// With a payload up to [`Wal::INLINE_PAYLOAD_BYTES`] it also takes no lock and allocates
    /// nothing; one call in two thousand wakes the writer thread.
    #[inline]
    pub fn try_append(&self, kind: u8, payload: &[u8]) -> Result<Lsn, AppendError> {
        self.push(kind, payload, Class::Ordinary).map_err(|refused| self.counted(refused))
    }

    /// [`Wal::try_append`] that may also use the last `reserved_bytes` of a full log: for records
    /// that lead to room, such as deletes.
    #[inline]
    pub fn try_append_reserved(&self, kind: u8, payload: &[u8]) -> Result<Lsn, AppendError> {
        self.push(kind, payload, Class::Reserved).map_err(|refused| self.counted(refused))
    }

    /// [`Wal::try_append`], or [`Wal::try_append_reserved`] with `reserved`, for a caller who waits
    /// after a `Full` and asks again: that is no refusal yet, and [`WalStats::full_total`] counts none.
    /// [`Wal::wait_for_room`] does, when the time to wait is over.
    #[inline]
    pub fn attempt(&self, kind: u8, payload: &[u8], reserved: bool) -> Result<Lsn, AppendError> {
        self.push(kind, payload, if reserved { Class::Reserved } else { Class::Ordinary })
    }

    /// [`Wal::append_batch`] if there is room now. Never blocks.
    ///
    /// A batch must fit one frame (909 records of 64 bytes; less where a segment is smaller than
    /// that) and half the ring, else `TooLarge`. An empty one appends nothing.
    pub fn try_append_batch(&self, records: &[(u8, &[u8])]) -> Result<Lsn, AppendError> {
        self.push_batch(records, Class::Ordinary).map_err(|refused| self.counted(refused))
    }

    /// [`Wal::try_append_batch`] as [`Wal::attempt`] is to [`Wal::try_append`]. Allocates nothing where each
    /// payload has at most [`Wal::INLINE_PAYLOAD_BYTES`].
    pub fn attempt_batch(
        &self,
        records: &[(u8, &[u8])],
        reserved: bool,
    ) -> Result<Lsn, AppendError> {
        self.push_batch(records, if reserved { Class::Reserved } else { Class::Ordinary })
    }

    /// How many records with payloads of so many bytes fit a batch; at least one.
    pub fn batch_records_max(&self, payload_bytes: usize) -> usize {
        let config = &self.shared().config;
        let fit = config.batch_bytes_max() / record_bytes(payload_bytes) as u64;
        self.batch_slots_max().min(fit as usize).max(1)
    }

    fn batch_slots_max(&self) -> usize {
        Self::BATCH_RECORDS_MAX.min(self.shared().ring.capacity() as usize / 2)
    }

    /// Highest durable record, inclusive: it and all before it survive power loss.
    /// [`Lsn::NONE`] while there is none. Never falls.
    pub fn durable_lsn(&self) -> Lsn {
        Lsn::new(self.shared().commit.durable())
    }

    /// Highest record handed out, inclusive; its appender may still be copying it.
    pub fn last_lsn(&self) -> Lsn {
        Lsn::new(self.shared().ring.next_lsn() - 1)
    }

    /// Oldest record kept (or the next to come, in a log without records). In a forked child, where the lock of the
    /// segments may be held for ever, [`Lsn::NONE`].
    pub fn oldest_lsn(&self) -> Lsn {
        if !self.home.is_here() {
            return Lsn::NONE;
        }
        Lsn::new(self.shared().table.oldest_lsn())
    }

    /// Waits until `lsn` is durable, at most `timeout`. Asks for a sync now, whatever the level; if
    /// nobody is at it, this thread writes and syncs itself (then `timeout` does not cut that short).
    pub fn wait_durable(&self, lsn: Lsn, timeout: Duration) -> Result<(), WaitError> {
        self.home.check()?;
        if lsn > self.last_lsn() {
            return Err(WaitError::NotAppended { lsn, last_lsn: self.last_lsn() });
        }
        let (is_free, lead) = (|| self.actor.is_free(), || self.actor.lead(lsn.get()));
        let mut outcome = self.shared().commit.wait(lsn.get(), timeout, is_free, lead);
        if let Err(WaitError::TimedOut { refused, .. }) = &mut outcome {
            *refused = self.shared().obstacles.first().map(Box::new);
        }
        outcome
    }

    /// Makes everything durable that was appended before the call; returns the last of it.
    /// Blocks on the disk, at most `sync_timeout`.
    pub fn sync(&self) -> Result<Lsn, WaitError> {
        let lsn = self.last_lsn();
        self.wait_durable(lsn, self.shared().config.sync_timeout)?;
        Ok(lsn)
    }

    /// Whether the log can do its work. Does not block.
    pub fn health(&self) -> Health {
        // What stands in the way is behind a lock, which in a forked child may be held for ever; and there the log is
        // nobody's business.
        if !self.home.is_here() {
            return Health::Healthy;
        }
        let shared = self.shared();
        if let Some(failure) = shared.commit.failure() {
            return Health::Failed(failure.clone());
        }
        match shared.obstacles.first() {
            Some(failure) if is_want_of_space(&failure.kind.into()) => return Health::DiskFull,
            Some(failure) => return Health::Hindered(failure),
            None => {}
        }
        let begun_at = shared.counters.sync_begun_at.load(Ordering::Relaxed);
        let now = shared.born.elapsed().as_nanos() as u64;
        let took = Duration::from_nanos(now.saturating_sub(begun_at));
        match begun_at > 0 && took > shared.config.sync_timeout {
            true => Health::SyncOverdue(took),
            false => Health::Healthy,
        }
    }

    /// Removes segments that hold only records below `lsn`, oldest first; returns how many.
    ///
    /// The records may stay readable for a while: a segment goes as a whole, the active one never,
    /// and the one before it only when a sync has covered its successor's start. Numbers are not
    /// used again, even if every record is retired. Blocks on the directory's sync.
    ///
    /// Errors: `NotAppended` when `lsn` is beyond the one after [`Wal::last_lsn`]; see [`RetireError`].
    pub fn retire_before(&self, lsn: Lsn) -> Result<u64, RetireError> {
        self.home.check()?;
        self.shared().retire_before(lsn)
    }

    /// Copies the log as it is on stable storage into `dest`, which is made, or is empty; returns the
    /// last record in the copy, [`Wal::durable_lsn`] at some moment of the call.
    ///
    /// The log goes on meanwhile. Complete segments become hard links (copies where that cannot be,
    /// as on another file system), the active one is copied up to its last sync; neither log writes
    /// into a file that the other one has too. Open the copy as any log, in another place or
    /// process: it recovers exactly the records up to the returned one, from [`Wal::oldest_lsn`] on.
    /// Blocks on the disk, and holds up `retire_before`.
    pub fn backup(&self, dest: impl AsRef<Path>) -> Result<Lsn, BackupError> {
        self.home.check()?;
        backup(self.shared(), dest.as_ref())
    }

    /// The log in numbers. Does not block.
    pub fn stats(&self) -> WalStats {
        // For the same reason all are 0.
        if !self.home.is_here() {
            return WalStats::default();
        }
        let shared = self.shared();
        let counters = &shared.counters;
        let read = |cell: &crate::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
        let written = read(&counters.written_records);
        let queued = self.queued();
        let appended = shared.ring.next_lsn().saturating_sub(shared.first_lsn);
        let now = shared.born.elapsed().as_nanos() as u64;
        let age = |at: u64| if at == 0 { 0 } else { now.saturating_sub(at) };
        let syncing = read(&counters.oldest_syncing_at);
        let oldest = if syncing > 0 { syncing } else { read(&counters.oldest_unasked_at) };
        WalStats {
            appends_total: appended,
            written_records_total: written,
            written_bytes_total: read(&counters.written_bytes),
            pad_bytes_total: read(&counters.pad_bytes),
            frames_total: read(&counters.frames),
            syncs_total: read(&counters.syncs),
            sync_ns_total: read(&counters.sync_ns),
            sync_ns_max: read(&counters.sync_ns_max),
            rotations_total: read(&counters.rotations),
            segments_retired_total: read(&counters.segments_retired),
            segments_recycled_total: read(&counters.segments_recycled),
            full_total: read(&counters.full),
            room_waits_total: read(&counters.room_waits),
            disk_full_total: read(&counters.disk_full),
            observer_panics_total: read(&counters.observer_panics),
            last_lsn: self.last_lsn(),
            durable_lsn: self.durable_lsn(),
            queue_records: queued,
            queue_bytes: queued * shared.ring.slot_bytes() + read(&shared.large_bytes),
            segments: shared.table.segments(),
            log_bytes: shared.table.log_bytes(),
            spare_bytes: shared.table.spare_bytes(),
            memory_bytes: shared.ring.memory_bytes() + read(&shared.large_bytes),
            oldest_unsynced_ns: age(oldest),
            claim_gap_ns: age(read(&counters.claim_gap_at)),
            failed: u64::from(shared.commit.failure().is_some()),
        }
    }

    /// Closes the log: takes no more records, writes and syncs all it has, then a seal, so that
    /// the next open knows its end for certain.
    ///
    /// Errors: the log had failed, or failed now; there is no seal then. Blocks on the disk; a
    /// full disk is waited for at most `full_timeout`.
    pub fn close(self) -> Result<(), CloseError> {
        self.shut()
    }

    /// [`Wal::close`] for a log that others still hold: their appends are `Closed` from now on.
    /// A second call returns what the first did. The directory stays locked: see [`Wal::unlock`].
    pub fn shut(&self) -> Result<(), CloseError> {
        self.home.check()?;
        self.actor.stop();
        match self.shared().commit.failure() {
            None => Ok(()),
            Some(failure) => Err(CloseError::Failed {
                durable_lsn: self.durable_lsn(),
                failure: failure.clone(),
            }),
        }
    }

    /// Gives the directory's lock back after [`Wal::shut`], so that the log can be opened again while
    /// others still hold this handle. Before that it does nothing.
    pub fn unlock(&self) {
        if self.home.is_here() && self.actor.has_ended() {
            drop(self.lock.lock().take());
        }
    }

    /// Waits until there may be room for what was refused with `full`, at most until `until`: for
    /// callers of [`Wal::attempt`], who ask again then. Sleeps until the writer has freed the room that
    /// was wanting, whatever filled it, or the log is closed.
    ///
    /// Returns `false` at once if the time is over: then the append is refused, and counted in
    /// [`WalStats::full_total`].
    pub fn wait_for_room(&self, full: &Full, until: Instant) -> bool {
        if !self.home.is_here() {
            return false;
        }
        let waited = self.shared().wait_for_room(full.need, until);
        if !waited {
            self.count_refusal();
        }
        waited
    }

    #[inline]
    fn push(&self, kind: u8, payload: &[u8], class: Class) -> Result<Lsn, AppendError> {
        let shared = self.shared();
        let pushed = if payload.len() <= INLINE_PAYLOAD_BYTES {
            shared.ring.push_inline(kind, payload, class)
        } else {
            self.push_large(kind, payload, class)?
        };
        match pushed {
            Ok(lsn) => {
                if lsn & shared.bell_mask == 0 {
                    shared.wake_writer();
                }
                Ok(Lsn::new(lsn))
            }
            Err(refused) => Err(self.refusal(refused, class, 1, large_bytes(payload))),
        }
    }

    #[cold]
    fn push_large(
        &self,
        kind: u8,
        payload: &[u8],
        class: Class,
    ) -> Result<Result<u64, Refused>, AppendError> {
        let shared = self.shared();
        let limit = u64::from(shared.config.payload_bytes_max);
        let bytes = payload.len() as u64;
        if bytes > limit {
            return Err(AppendError::TooLarge { bytes, limit });
        }
        let reserved = class == Class::Reserved;
        if !self.reserve_large(bytes, reserved) {
            return Ok(Err(Refused::Full));
        }
        let pushed = shared.ring.push_large(kind, Bytes::copy_from_slice(payload), class);
        if pushed.is_err() {
            self.give_back_large(bytes);
        }
        Ok(pushed)
    }

    fn give_back_large(&self, bytes: u64) {
        self.shared().large_bytes.fetch_sub(bytes, Ordering::AcqRel);
        // Somebody may have found just these wanting; in a child nobody waits, and the list's lock may be held for ever.
        if self.home.is_here() {
            self.shared().call_for_room();
        }
    }

    /// Takes `bytes` from the budget of large payloads, if both it and the log have room.
    fn reserve_large(&self, bytes: u64, reserved: bool) -> bool {
        let shared = self.shared();
        let take =
            |used: u64| (bytes <= shared.room_for_large(used, reserved)).then_some(used + bytes);
        shared.large_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    fn push_batch(&self, records: &[(u8, &[u8])], class: Class) -> Result<Lsn, AppendError> {
        let shared = self.shared();
        let encoded: u64 =
            records.iter().map(|(_, payload)| record_bytes(payload.len()) as u64).sum();
        let limit = shared.config.batch_bytes_max();
        if encoded > limit {
            return Err(AppendError::TooLarge { bytes: encoded, limit });
        }
        let most = self.batch_slots_max();
        if records.len() > most {
            // Said in bytes of the ring, the unit of the error.
            let slot = shared.ring.slot_bytes() as usize;
            let (bytes, limit) = ((records.len() * slot) as u64, (most * slot) as u64);
            return Err(AppendError::TooLarge { bytes, limit });
        }
        if records.is_empty() {
            return Ok(self.last_lsn());
        }
        let is_large = |payload: &[u8]| payload.len() > INLINE_PAYLOAD_BYTES;
        let payload_max = u64::from(shared.config.payload_bytes_max);
        let sizes = records.iter().map(|(_, payload)| payload).filter(|payload| is_large(payload));
        if let Some(bytes) = sizes.clone().map(|p| p.len() as u64).find(|n| *n > payload_max) {
            return Err(AppendError::TooLarge { bytes, limit: payload_max });
        }
        let large: u64 = sizes.map(|payload| payload.len() as u64).sum();
        let pushed = if large == 0 {
            let entries = records.iter().map(|(kind, payload)| (*kind, Entry::Inline(payload)));
            shared.ring.push_batch(entries, encoded as u32, class)
        } else if self.reserve_large(large, class == Class::Reserved) {
            let entries: Vec<_> = records
                .iter()
                .map(|(kind, payload)| match is_large(payload) {
                    true => (*kind, Entry::Large(Bytes::copy_from_slice(payload))),
                    false => (*kind, Entry::Inline(payload)),
                })
                .collect();
            let pushed = shared.ring.push_batch(entries.into_iter(), encoded as u32, class);
            if pushed.is_err() {
                self.give_back_large(large);
            }
            pushed
        } else {
            Err(Refused::Full)
        };
        let count = records.len() as u64;
        let lsn = pushed.map_err(|no| self.refusal(no, class, count, large))?;
        if (lsn & shared.bell_mask) < records.len() as u64 {
            shared.wake_writer();
        }
        Ok(Lsn::new(lsn))
    }

    #[cold]
    fn refusal(&self, refused: Refused, class: Class, slots: u64, large_bytes: u64) -> AppendError {
        // In a child the ring fills up, since nobody takes from it.
        if let Err(forked) = self.home.check() {
            return forked.into();
        }
        match (refused, self.shared().commit.settled_failure()) {
            (_, Some(failure)) => AppendError::Failed(failure.clone()),
            (Refused::Closed, None) => AppendError::Closed,
            (Refused::Full, None) => {
                let need = Need { slots, large_bytes, class };
                AppendError::Full(Full { cause: self.full_cause(&need), need })
            }
        }
    }

    /// What has no room for `need`. A log at its limit is full whatever the disk does; an obstacle
    /// fills the ring sooner or later.
    fn full_cause(&self, need: &Need) -> FullCause {
        let shared = self.shared();
        let reserved = need.class == Class::Reserved;
        let log_slots = shared.log_slots[need.class as usize].load(Ordering::Relaxed);
        let large = shared.large_bytes.load(Ordering::Acquire);
        let no_room = log_slots < need.slots
            || need.large_bytes > 0 && !shared.has_log_room(large + need.large_bytes, reserved);
        // What is in the ring takes the rest of the log's room.
        let soon_no_room = log_slots < shared.ring.capacity();
        match shared.obstacles.first() {
            Some(failure) if !no_room => FullCause::Disk { failure: Box::new(failure) },
            None if !no_room && !soon_no_room => FullCause::Ring {
                records: self.queued(),
                slots: shared.ring.capacity(),
                large_bytes: large,
                large_bytes_max: shared.config.large_bytes_max,
            },
            _ => FullCause::Log {
                used: shared.table.log_bytes(),
                limit: shared.config.log_bytes_max,
                kept: shared.kept_bytes(reserved),
                oldest_lsn: self.oldest_lsn(),
            },
        }
    }

    /// Records accepted and not yet handed to the file.
    fn queued(&self) -> u64 {
        let shared = self.shared();
        let appended = shared.ring.next_lsn().saturating_sub(shared.first_lsn);
        appended.saturating_sub(shared.counters.written_records.load(Ordering::Relaxed))
    }

    #[cold]
    fn counted(&self, error: AppendError) -> AppendError {
        if matches!(error, AppendError::Full(_)) {
            self.count_refusal();
        }
        error
    }

    fn count_refusal(&self) {
        self.shared().counters.full.fetch_add(1, Ordering::Relaxed);
    }

    /// Tries until there is room or `full_timeout` is over.
    fn until_room(
        &self,
        mut push: impl FnMut() -> Result<Lsn, AppendError>,
    ) -> Result<Lsn, AppendError> {
        let mut until = None;
        loop {
            let full = match push() {
                Err(AppendError::Full(full)) => full,
                other => return other,
            };
            let until =
                *until.get_or_insert_with(|| Instant::now() + self.shared().config.full_timeout);
            if !self.wait_for_room(&full, until) {
                return Err(full.into());
            }
        }
    }

    /// Brings an appended record to `level`, or the log's own if that is higher: for callers of
    /// [`Wal::try_append`]. Blocks at Strict, at most `sync_timeout`, then `DurabilityUnknown`.
    pub fn reach(&self, lsn: Lsn, level: Durability) -> Result<Lsn, AppendError> {
        let shared = self.shared();
        match level.max(shared.config.durability) {
            Durability::Relaxed => {}
            Durability::Balanced => {
                if shared.config.durability == Durability::Relaxed {
                    shared.commit.ask_soon(lsn.get());
                }
            }
            Durability::Strict => {
                self.wait_durable(lsn, shared.config.sync_timeout).map_err(|cause| match cause {
                    WaitError::Forked { opened_by } => AppendError::Forked { opened_by },
                    cause => AppendError::DurabilityUnknown { lsn, cause },
                })?
            }
        }
        Ok(lsn)
    }
}

/// Bytes of a payload that does not lie in its slot; 0 of one that does.
fn large_bytes(payload: &[u8]) -> u64 {
    if payload.len() > INLINE_PAYLOAD_BYTES { payload.len() as u64 } else { 0 }
}
