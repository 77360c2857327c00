//! The log's threads. The writer owns the active segment: ring → frames → file; the flusher only
//! syncs; the janitor prepares the next segment. Nobody else touches the active file.
//!
//! One sync is in flight at most. The writer asks for it at a sync point: the block is padded, so
//! it is never written again, and the pad carries what is durable by then. While the flusher is in
//! the kernel the writer goes on behind that point; so under load each sync takes what came during
//! the one before, with no timer. The first failure of a sync, and any failure that could have lost
//! bytes, is latched and ends all three.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::commit::{Commit, panicked};
use crate::config::PREFILL_BYTES;
use crate::format::{BLOCK_BYTES, Start};
use crate::janitor::{self, DISK_FULL_PAUSE, JanitorTask, Prepared};
use crate::observer::{FullEvent, Rotated, Synced};
use crate::recovery::Sealed;
use crate::ring::{Consumer, INLINE_PAYLOAD_BYTES, Ring};
use crate::segment::{self, ActiveSegment, file_name};
use crate::stats::Counters;
use crate::storage::{LogFile, LogIo, is_retryable_write};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, OnceLock, thread};
use crate::table::Table;
use crate::{Durability, Failure, Lsn, SegmentId, WalConfig, WalObserver};

/// One write hands over at most about this much; also what a Relaxed log may hold unwritten.
const WRITE_BYTES: usize = 256 << 10;
/// How long a record may lie in the ring of a log in use.
const POLL: Duration = Duration::from_millis(5);
/// The same after a second without records: fewer wake-ups of a machine that has nothing to do.
const POLL_IDLE: Duration = Duration::from_millis(20);
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Quiet time after which what became durable is promised on disk without waiting for a record.
const PROMISE_AFTER: Duration = Duration::from_millis(20);
/// Relaxed: sync after this much, or this long.
const RELAXED_BYTES: u64 = 8 << 20;
const RELAXED_INTERVAL: Duration = Duration::from_secs(1);
/// The ring rings the writer's bell each time this many records were claimed: 256 KiB of slots.
const BELL_RECORDS: u64 = 2048;
/// The next segment is prepared when the active one has grown to this, or to a quarter of its size.
const PREPARE_AT_BYTES: u64 = 1 << 20;
const ZERO_STEP_BYTES: usize = 1 << 20;

/// The log has failed; the failure stands in `Commit`.
#[derive(Debug)]
struct Latched;

/// What appenders, waiters and the three threads share.
pub(crate) struct Shared {
    pub(crate) io: Arc<dyn LogIo>,
    pub(crate) config: WalConfig,
    pub(crate) ring: Arc<Ring>,
    pub(crate) commit: Commit,
    pub(crate) counters: Counters,
    pub(crate) table: Table,
    pub(crate) bell_mask: u64,
    /// First LSN this handle could give out.
    pub(crate) first_lsn: u64,
    /// Bytes of large payloads claimed and not written yet.
    pub(crate) large_bytes: AtomicU64,
    /// The last write met a full disk.
    pub(crate) disk_full: AtomicBool,
    pub(crate) born: Instant,
    room: Mutex<()>,
    room_made: Condvar,
    room_waiters: AtomicU64,
    observer: Mutex<Option<Arc<dyn WalObserver>>>,
    writer: OnceLock<thread::Thread>,
    flusher: Mutex<FlusherTask>,
    flusher_called: Condvar,
    syncing: AtomicBool,
    synced_bytes: AtomicU64,
    pub(crate) janitor: Mutex<JanitorTask>,
    pub(crate) janitor_called: Condvar,
}

/// A sync point.
struct SyncPoint {
    file: Arc<dyn LogFile>,
    seq: SegmentId,
    end_offset: u64,
    /// Highest LSN the sync covers.
    lsn: u64,
    /// Bytes ever written up to it.
    written_bytes: u64,
}

#[derive(Default)]
struct FlusherTask {
    point: Option<SyncPoint>,
    stop: bool,
}

impl Shared {
    pub(crate) fn wake_writer(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Latches a failure: no LSN follows, all waiters learn the cause.
    pub(crate) fn fail(&self, failure: Failure) {
        let close = || {
            self.ring.close();
        };
        if self.commit.fail(failure, close) {
            self.make_room_known();
            self.wake_writer();
            if let Some(failure) = self.commit.failure() {
                self.observe(|observer| observer.on_failed(failure));
            }
        }
    }

    fn observe(&self, tell: impl FnOnce(&dyn WalObserver)) {
        let Some(observer) = self.observer.lock().clone() else { return };
        if catch_unwind(AssertUnwindSafe(|| tell(&*observer))).is_err() {
            *self.observer.lock() = None;
            self.counters.observer_panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn make_room_known(&self) {
        if self.room_waiters.load(Ordering::Acquire) > 0 {
            drop(self.room.lock());
            self.room_made.notify_all();
        }
    }

    /// Waits until there may be room, or for `at_most`. May return early.
    pub(crate) fn wait_for_room(&self, at_most: Duration) {
        self.room_waiters.fetch_add(1, Ordering::AcqRel);
        self.wake_writer();
        let mut room = self.room.lock();
        // Room made between the caller's look and this wait is not signalled again: look often.
        self.room_made.wait_for(&mut room, at_most.min(Duration::from_millis(1)));
        drop(room);
        self.room_waiters.fetch_sub(1, Ordering::AcqRel);
    }

    /// Bytes that an ordinary record may still add before the log's limit.
    pub(crate) fn has_log_room(&self, large: u64, reserved: bool) -> bool {
        let kept = if reserved { 0 } else { self.config.reserved_bytes };
        let used = self.table.log_bytes() + self.config.slack_bytes() + kept + large;
        used <= self.config.log_bytes_max
    }
}

/// The threads of an open log.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Actor {
    pub(crate) fn start(
        io: Arc<dyn LogIo>,
        config: WalConfig,
        active: ActiveSegment,
        older: Vec<Sealed>,
        next_lsn: u64,
    ) -> io::Result<Self> {
        let (ring, consumer) = Ring::new(config.ring_slots as usize, next_lsn);
        let bell = BELL_RECORDS.min(u64::from(config.ring_slots) / 4).max(1);
        let shared = Arc::new(Shared {
            table: Table::new(older, &active),
            io,
            ring,
            commit: Commit::new(next_lsn - 1),
            counters: Counters::default(),
            bell_mask: bell - 1,
            first_lsn: next_lsn,
            large_bytes: AtomicU64::new(0),
            disk_full: AtomicBool::new(false),
            born: Instant::now(),
            room: Mutex::new(()),
            room_made: Condvar::new(),
            room_waiters: AtomicU64::new(0),
            observer: Mutex::new(config.observer.clone()),
            writer: OnceLock::new(),
            flusher: Mutex::new(FlusherTask::default()),
            flusher_called: Condvar::new(),
            syncing: AtomicBool::new(false),
            synced_bytes: AtomicU64::new(0),
            janitor: Mutex::new(JanitorTask::default()),
            janitor_called: Condvar::new(),
            config,
        });
        let mut writer = Writer::new(shared.clone(), consumer, active);
        writer.release();
        let mut actor = Self { shared: shared.clone(), threads: Mutex::new(Vec::new()) };
        actor.spawn("ng-wal-flusher", "flusher thread", flush_loop)?;
        actor.spawn("ng-wal-janitor", "janitor thread", janitor::run)?;
        actor.spawn("ng-wal-writer", "writer thread", move |_| writer.run())?;
        // The writer is the last one spawned.
        if let Some(thread) = actor.threads.lock().last() {
            let _ = shared.writer.set(thread.thread().clone());
        }
        Ok(actor)
    }

    fn spawn(
        &mut self,
        name: &str,
        what: &'static str,
        body: impl FnOnce(&Shared) + Send + 'static,
    ) -> io::Result<()> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| body(&shared))).is_err() {
                shared.fail(panicked(what));
                stop_others(&shared);
            }
        })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Closes the ring, drains, seals, syncs, and waits for the threads to end.
    pub(crate) fn stop(&self) {
        self.shared.ring.close();
        self.shared.wake_writer();
        let mut threads = self.threads.lock();
        if threads.len() < 3 {
            stop_others(&self.shared); // opening failed half way: no writer will do it
        }
        for thread in threads.drain(..) {
            let _ = thread.join(); // a panic was caught and latched inside
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn stop_others(shared: &Shared) {
    shared.flusher.lock().stop = true;
    shared.flusher_called.notify_all();
    shared.janitor.lock().stop = true;
    shared.janitor_called.notify_all();
}

fn flush_loop(shared: &Shared) {
    loop {
        let mut task = shared.flusher.lock();
        let point = loop {
            if let Some(point) = task.point.take() {
                break point;
            }
            if task.stop {
                return;
            }
            shared.flusher_called.wait(&mut task);
        };
        drop(task);
        flush(shared, &point);
    }
}

/// One sync. What it covers was written before it was asked for, so the mark is safe to raise.
fn flush(shared: &Shared, point: &SyncPoint) {
    let begun = Instant::now();
    match point.file.sync_data() {
        Ok(()) => {
            let duration = begun.elapsed();
            let ns = duration.as_nanos() as u64;
            let records = point.lsn.saturating_sub(shared.commit.durable());
            shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
            shared.counters.sync_ns.fetch_add(ns, Ordering::Relaxed);
            shared.counters.sync_ns_max.fetch_max(ns, Ordering::Relaxed);
            shared.synced_bytes.store(point.written_bytes, Ordering::Release);
            shared.table.note_synced(point.seq.get());
            shared.commit.advance(point.lsn);
            shared.syncing.store(false, Ordering::Release);
            shared.wake_writer();
            let durable_lsn = Lsn::new(point.lsn);
            shared.observe(|o| o.on_synced(&Synced { records, duration, durable_lsn }));
        }
        Err(e) => {
            let name = file_name(point.seq);
            shared.fail(Failure::io("fdatasync", &name, point.end_offset, &e));
            shared.syncing.store(false, Ordering::Release);
            shared.wake_writer();
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    ring: Consumer,
    segment: ActiveSegment,
    /// Bytes put into files so far, control frames included.
    written_bytes: u64,
    /// First LSN that no sync was asked for.
    unasked_lsn: u64,
    /// `written_bytes` at the last sync point.
    asked_bytes: u64,
    /// When the oldest record after the last sync point may have come, at the earliest.
    oldest_unasked: Option<Instant>,
    /// Last look at the ring, and last look that found something.
    looked_at: Instant,
    busy_at: Instant,
    /// Large payloads taken since the last release.
    taken_large_bytes: u64,
    log_full: bool,
    prepare_asked: bool,
    zeroes: Vec<u8>,
    prefill: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>, ring: Consumer, segment: ActiveSegment) -> Self {
        let now = Instant::now();
        Self {
            unasked_lsn: ring.next_lsn(),
            shared,
            ring,
            segment,
            written_bytes: 0,
            asked_bytes: 0,
            oldest_unasked: None,
            looked_at: now,
            busy_at: now,
            taken_large_bytes: 0,
            log_full: false,
            prepare_asked: false,
            zeroes: Vec::new(),
            prefill: true,
        }
    }

    fn run(mut self) {
        let _ = self.serve(); // a failure is latched, and told to everybody who asks
        stop_others(&self.shared);
    }

    fn serve(&mut self) -> Result<(), Latched> {
        loop {
            self.check_latch()?;
            let now = Instant::now();
            let took = self.drain(now)?;
            self.looked_at = now;
            self.ask_for_sync_if_due(now)?;
            if took {
                self.busy_at = now;
            } else if self.shared.ring.is_closed() {
                if self.ring.next_lsn() == self.shared.ring.next_lsn() {
                    return self.seal();
                }
            } else {
                self.use_quiet_time(now)?;
            }
            if let Some(pause) = self.pause(now) {
                thread::park_timeout(pause);
            }
        }
    }

    fn check_latch(&self) -> Result<(), Latched> {
        if self.shared.commit.failure().is_some() { Err(Latched) } else { Ok(()) }
    }

    fn fail(&self, operation: &'static str, error: &io::Error) -> Latched {
        let failure = Failure::io(operation, &self.segment.name, self.segment.end(), error);
        self.shared.fail(failure);
        Latched
    }

    fn durable_end(&self) -> u64 {
        self.shared.commit.durable() + 1
    }

    /// Moves about `WRITE_BYTES` from the ring into the file; whether there was anything.
    fn drain(&mut self, now: Instant) -> Result<bool, Latched> {
        let first = self.ring.next_lsn();
        while let Some(head) = self.ring.peek() {
            if self.segment.buffered_bytes() >= WRITE_BYTES || self.is_far_ahead() {
                break;
            }
            if !self.segment.fits_frame(head.bytes) {
                self.end_frame();
                if !self.segment.fits_segment(head.bytes) {
                    self.rotate()?;
                }
                self.segment.begin_frame(self.ring.next_lsn());
            }
            for _ in 0..head.count {
                let (segment, large) = (&mut self.segment, &mut self.taken_large_bytes);
                self.ring.take(|kind, payload| {
                    segment.push(kind, payload);
                    if payload.len() > INLINE_PAYLOAD_BYTES {
                        *large += payload.len() as u64;
                    }
                });
            }
        }
        let took = self.ring.next_lsn() - first;
        if took == 0 {
            self.release(); // room may have come from elsewhere: `retire_before`
            return Ok(false);
        }
        self.end_frame();
        self.write()?;
        if self.oldest_unasked.is_none() {
            // Not there at the last look, so it came after it.
            self.oldest_unasked = Some(self.looked_at.min(now));
            let at = self.looked_at.saturating_duration_since(self.shared.born).as_nanos() as u64;
            self.shared.counters.oldest_unsynced_at.store(at.max(1), Ordering::Relaxed);
        }
        self.shared.counters.written_records.fetch_add(took, Ordering::Relaxed);
        self.release();
        self.prepare_next();
        Ok(true)
    }

    /// As far beyond the last finished sync as is allowed?
    fn is_far_ahead(&self) -> bool {
        let unsynced = self.written_bytes - self.shared.synced_bytes.load(Ordering::Acquire);
        let buffered = self.segment.buffered_bytes() as u64;
        unsynced + buffered + self.shared.config.largest_frame_bytes()
            > self.shared.config.max_ahead_bytes
    }

    fn end_frame(&mut self) {
        if self.segment.end_frame(self.durable_end()) {
            self.shared.counters.frames.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is buffered. A full disk is waited for: nothing is lost, the ring fills.
    fn write(&mut self) -> Result<(), Latched> {
        let bytes = self.segment.buffered_bytes() as u64;
        let begun = Instant::now();
        while let Err(e) = self.segment.flush() {
            if !is_retryable_write(&e) {
                return Err(self.fail("write", &e));
            }
            self.note_disk_full();
            self.pause_for_space(begun, &e)?;
        }
        self.shared.disk_full.store(false, Ordering::Release);
        self.written_bytes += bytes;
        self.shared.counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.table.set_active(self.segment.file_bytes());
        Ok(())
    }

    fn note_disk_full(&self) {
        self.shared.counters.disk_full.fetch_add(1, Ordering::Relaxed);
        if !self.shared.disk_full.swap(true, Ordering::AcqRel) {
            self.tell_full(true);
        }
    }

    fn tell_full(&self, disk_full: bool) {
        let used_bytes = self.shared.table.log_bytes();
        let limit_bytes = self.shared.config.log_bytes_max;
        self.shared.observe(|o| o.on_full(&FullEvent { used_bytes, limit_bytes, disk_full }));
    }

    /// A pause, unless somebody waits for the log to close: then a full disk is final in the end.
    fn pause_for_space(&self, begun: Instant, error: &io::Error) -> Result<(), Latched> {
        self.check_latch()?;
        if self.shared.ring.is_closed() && begun.elapsed() > self.shared.config.full_timeout {
            return Err(self.fail("write", error));
        }
        thread::park_timeout(DISK_FULL_PAUSE);
        Ok(())
    }

    /// Gives taken slots back, as far as the log's limit allows.
    fn release(&mut self) {
        self.shared.large_bytes.fetch_sub(self.taken_large_bytes, Ordering::AcqRel);
        self.taken_large_bytes = 0;
        let large = self.shared.large_bytes.load(Ordering::Acquire);
        let ordinary = self.shared.has_log_room(large, false);
        self.ring.release(ordinary, self.shared.has_log_room(large, true));
        if !ordinary && !self.log_full {
            self.tell_full(false);
        }
        self.log_full = !ordinary;
        self.shared.trim_if_scarce();
        self.shared.make_room_known();
    }

    fn is_due(&self, now: Instant) -> bool {
        let next = self.ring.next_lsn();
        if next <= self.unasked_lsn {
            return false;
        }
        let config = &self.shared.config;
        let (records, bytes) = (next - self.unasked_lsn, self.written_bytes - self.asked_bytes);
        let strict = config.durability == Durability::Strict
            || self.shared.commit.urgent() >= self.unasked_lsn;
        let balanced = config.durability == Durability::Balanced
            || self.shared.commit.soon() >= self.unasked_lsn;
        strict
            || self.shared.ring.is_closed()
            || balanced && records >= config.sync_records
            || bytes >= RELAXED_BYTES.min(config.max_ahead_bytes / 2)
            || self.sync_deadline().is_some_and(|deadline| now >= deadline)
    }

    fn sync_deadline(&self) -> Option<Instant> {
        let relaxed = self.shared.config.durability == Durability::Relaxed
            && self.shared.commit.soon() < self.unasked_lsn;
        let interval = if relaxed { RELAXED_INTERVAL } else { self.shared.config.sync_interval };
        self.oldest_unasked.map(|oldest| oldest + interval)
    }

    fn ask_for_sync_if_due(&mut self, now: Instant) -> Result<(), Latched> {
        if !self.is_due(now) || self.shared.syncing.load(Ordering::Acquire) {
            return Ok(());
        }
        let padding = self.segment.pad(self.ring.next_lsn(), self.durable_end());
        self.shared.counters.pad_bytes.fetch_add(padding, Ordering::Relaxed);
        self.write()?;
        self.ask_for_sync();
        Ok(())
    }

    /// Hands the flusher a sync point: everything written so far, which ends with a block.
    fn ask_for_sync(&mut self) {
        assert!(self.segment.end().is_multiple_of(BLOCK_BYTES));
        assert!(self.segment.buffered_bytes() == 0);
        self.unasked_lsn = self.ring.next_lsn();
        self.asked_bytes = self.written_bytes;
        self.oldest_unasked = None;
        self.shared.counters.oldest_unsynced_at.store(0, Ordering::Relaxed);
        self.shared.syncing.store(true, Ordering::Release);
        self.shared.flusher.lock().point = Some(SyncPoint {
            file: self.segment.file.clone(),
            seq: self.segment.header.seq,
            end_offset: self.segment.end(),
            lsn: self.ring.next_lsn() - 1,
            written_bytes: self.written_bytes,
        });
        self.shared.flusher_called.notify_one();
    }

    /// Until no sync is in flight.
    fn wait_for_flusher(&self) -> Result<(), Latched> {
        while self.shared.syncing.load(Ordering::Acquire) {
            thread::park_timeout(POLL_IDLE);
        }
        self.check_latch()
    }

    fn prepare_next(&mut self) {
        let at = PREPARE_AT_BYTES.min(self.segment.header.segment_bytes / 4);
        if !self.prepare_asked && self.segment.end() >= at {
            self.ask_to_prepare();
        }
    }

    fn ask_to_prepare(&mut self) {
        let config = &self.shared.config;
        let header = segment::new_header(
            self.segment.header.seq.next(),
            self.segment.header.store_uuid,
            config.segment_bytes,
            config.max_ahead_bytes,
        );
        self.shared.janitor.lock().prepare = Some(header);
        self.shared.janitor_called.notify_one();
        self.prepare_asked = true;
    }

    fn wait_for_prepared(&mut self) -> Result<Prepared, Latched> {
        if !self.prepare_asked {
            self.ask_to_prepare();
        }
        let begun = Instant::now();
        loop {
            if let Some(ready) = self.shared.janitor.lock().ready.take() {
                self.prepare_asked = false;
                self.shared.table.set_next(0);
                return Ok(ready);
            }
            self.pause_for_space(begun, &io::ErrorKind::StorageFull.into())?;
        }
    }

    /// Completes this segment and begins the next. Its first byte is written only when the sync
    /// that covers all of this one has returned; else the kernel could bring it to the disk first,
    /// and a legal crash would look like a hole.
    fn rotate(&mut self) -> Result<(), Latched> {
        // The next one must be durable before the rotate frame names it.
        let Prepared { file, header, .. } = self.wait_for_prepared()?;
        let next_lsn = self.ring.next_lsn();
        self.wait_for_flusher()?;
        let padding = self.segment.rotate(next_lsn, self.durable_end());
        self.write()?;
        self.ask_for_sync();
        self.wait_for_flusher()?;
        let start = Start {
            prev_seq: self.segment.header.seq,
            prev_end_lsn: next_lsn,
            prev_chain: self.segment.chain(),
        };
        let next = ActiveSegment::fresh(file, header, &start);
        let sealed = Sealed {
            seq: self.segment.header.seq,
            first_lsn: self.segment.first_lsn,
            end_lsn: next_lsn,
            bytes: self.segment.file_bytes(),
        };
        let event =
            Rotated { sealed: sealed.seq, active: header.seq, last_lsn: Lsn::new(next_lsn - 1) };
        self.shared.table.add(sealed);
        self.segment = next;
        self.shared.table.set_active(self.segment.file_bytes());
        self.prefill = true;
        let control = padding + self.segment.buffered_bytes() as u64;
        self.shared.counters.pad_bytes.fetch_add(control, Ordering::Relaxed);
        self.shared.counters.rotations.fetch_add(1, Ordering::Relaxed);
        self.shared.observe(|observer| observer.on_rotated(&event));
        Ok(())
    }

    /// Nothing to do: promise what became durable, write zeroes ahead.
    fn use_quiet_time(&mut self, now: Instant) -> Result<(), Latched> {
        let quiet = now.duration_since(self.busy_at) >= PROMISE_AFTER
            && self.oldest_unasked.is_none()
            && !self.shared.syncing.load(Ordering::Acquire);
        if quiet && self.segment.promised() < self.durable_end() {
            let bytes = self.segment.promise(self.ring.next_lsn(), self.durable_end());
            self.shared.counters.pad_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.write()?;
        }
        if self.prefill && self.segment.end() >= ZERO_STEP_BYTES as u64 {
            self.zeroes.resize(ZERO_STEP_BYTES, 0);
            // Zeroes are a help, not a need: where they cannot be written, go without.
            self.prefill = self.segment.prefill(&self.zeroes, PREFILL_BYTES).is_ok();
        }
        Ok(())
    }

    /// How long nothing is to be done; none if there is work already.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let waiting = self.shared.ring.next_lsn() - self.ring.next_lsn();
        let syncing = self.shared.syncing.load(Ordering::Acquire);
        let awaited =
            self.shared.commit.urgent() >= self.ring.next_lsn() || self.shared.ring.is_closed();
        if waiting > 0 && !(syncing && self.is_far_ahead()) {
            if waiting > self.shared.bell_mask {
                // Enough for full frames, or an appender that lost its processor: let it run.
                thread::yield_now();
                return None;
            }
            if awaited {
                return Some(Duration::from_micros(50));
            }
        }
        if syncing {
            return Some(POLL); // the flusher wakes us
        }
        if awaited && self.shared.ring.is_closed() {
            return None;
        }
        let idle = now.duration_since(self.busy_at) >= IDLE_AFTER;
        let poll = if idle { POLL_IDLE } else { POLL };
        let until_due = self.sync_deadline().map(|due| due.saturating_duration_since(now));
        Some(until_due.map_or(poll, |due| due.min(poll)))
    }

    /// Everything is in the file: sync it, then write and sync the seal.
    fn seal(&mut self) -> Result<(), Latched> {
        self.wait_for_flusher()?;
        let next_lsn = self.ring.next_lsn();
        if self.unasked_lsn < next_lsn {
            self.segment.pad(next_lsn, self.durable_end());
            self.write()?;
            self.ask_for_sync();
            self.wait_for_flusher()?;
        }
        // Every record is durable now; the seal says so, in a block of its own.
        let control = self.segment.seal(next_lsn);
        self.shared.counters.pad_bytes.fetch_add(control, Ordering::Relaxed);
        self.write()?;
        self.ask_for_sync();
        self.wait_for_flusher()?;
        let _ = self.segment.truncate_to_end(); // only gives space back
        Ok(())
    }
}
