//! The log's threads and what they share. The writer: ring → frames → file; the flusher only syncs;
//! the janitor prepares the next segment. Who waits for durability may do the first two's work
//! itself (`lead`): then a record is on its way without a change of threads.
//!
//! One sync is in flight at most. It is asked for at a sync point: the block is padded, so it is
//! never written again, and the pad carries what is durable by then. While somebody is in the
//! kernel for it the writer goes on behind that point; so under load each sync takes what came
//! during the one before, with no timer. The first failure of a sync, and any failure that could
//! have lost bytes, is latched and ends all three.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::config::{BETWEEN_BYTES, SLOT_BYTES_MAX};
use crate::disk::names::file_name;
use crate::disk::segment::{ActiveSegment, Sealed};
use crate::disk::storage::{LogFile, LogIo};
use crate::observer::{FullEvent, Outbox, Synced};
use crate::operate::backup::DurablePoint;
use crate::stats::Counters;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, OnceLock, thread};
use crate::write::commit::{Commit, panicked};
use crate::write::janitor::{self, JanitorTask};
use crate::write::obstacles::{Obstacles, Who};
use crate::write::ring::Ring;
use crate::write::room_waiters::{Need, Room, Waiters};
use crate::write::table::Table;
use crate::write::writer::Writer;
use crate::{Failure, Lsn, SegmentId, WalConfig, mutants};

pub(crate) use crate::observer::Event;

/// The ring rings the writer's bell each time this many records were claimed: 256 KiB of slots.
const BELL_RECORDS: u64 = 2048;

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
    pub(crate) obstacles: Obstacles,
    /// Slots that the log's limit left free when last looked at, ordinary and reserved ones.
    pub(crate) log_slots: [AtomicU64; 2],
    pub(crate) born: Instant,
    /// Appenders that wait for room.
    pub(crate) room: Waiters,
    pub(crate) outbox: Outbox,
    writer: OnceLock<thread::Thread>,
    /// The writer thread sleeps until the sync in flight is over.
    pub(crate) writer_waits: AtomicBool,
    pub(crate) flusher: Mutex<FlusherTask>,
    pub(crate) flusher_called: Condvar,
    /// A sync is in flight. Set under the writer's lock; taken back by who did the sync.
    pub(crate) syncing: AtomicBool,
    pub(crate) synced_bytes: AtomicU64,
    pub(crate) durable_point: Mutex<DurablePoint>,
    pub(crate) janitor: Mutex<JanitorTask>,
    pub(crate) janitor_called: Condvar,
}

/// A sync point.
pub(crate) struct SyncPoint {
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) seq: SegmentId,
    pub(crate) end_offset: u64,
    /// Highest LSN the sync covers.
    pub(crate) lsn: u64,
    /// Bytes written since the point before.
    pub(crate) bytes: u64,
    /// Bytes ever written up to it.
    pub(crate) written_bytes: u64,
    /// The segment ends here, in a frame that names the next one.
    pub(crate) rotated: bool,
    /// When the oldest record it covers came, in nanoseconds since the log's birth.
    pub(crate) oldest_at: u64,
}

#[derive(Default)]
pub(crate) struct FlusherTask {
    pub(crate) point: Option<SyncPoint>,
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
            self.room.wake(|_| true);
            self.wake_writer();
            if let Some(failure) = self.commit.failure() {
                self.tell(|| Event::Failed(failure.clone()));
            }
        }
    }

    /// Puts an event into the outbox, if anybody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        self.outbox.put(event);
    }

    /// Tells the observer what is in the outbox. Call it with no lock held.
    pub(crate) fn deliver(&self) {
        let panics = self.outbox.deliver();
        self.counters.observer_panics.fetch_add(panics, Ordering::Relaxed);
    }

    /// Wakes as many waiting appenders as there is room for, in the order of their arrival.
    pub(crate) fn call_for_room(&self) {
        self.room.wake_for_room(self.room_now());
    }

    pub(crate) fn room_now(&self) -> Room {
        let (ordinary, reserved) = self.ring.room();
        let large = self.large_bytes.load(Ordering::Acquire);
        let large_room = |reserved| self.room_for_large(large, reserved);
        Room { slots: [ordinary, reserved], large_bytes: [large_room(false), large_room(true)] }
    }

    /// Waits until there may be room for `need`, or until then; `false` at once if that is over. May
    /// return early. What ends the wait is the writer giving slots back: it does so after each write,
    /// and when woken, as by a retirement.
    pub(crate) fn wait_for_room(&self, need: Need, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.counters.room_waits.fetch_add(1, Ordering::Relaxed);
        let ticket = self.room.enter(need);
        // Once more, now that whoever makes room sees us.
        if !self.room_now().has(&need) && !self.ring.is_closed() {
            self.wake_writer();
            ticket.park(left);
        }
        true
    }

    /// What the operating system refuses, until it is overcome; told once each time it begins.
    pub(crate) fn hinder(&self, who: Who, failure: Failure) {
        self.counters.disk_full.fetch_add(1, Ordering::Relaxed);
        if self.obstacles.meet(who, failure.clone()) {
            self.tell_full(Some(failure));
            self.janitor.lock().tell = true;
            self.janitor_called.notify_one();
        }
    }

    /// Tells that there is no room: on the disk, or below the log's limit.
    pub(crate) fn tell_full(&self, refused: Option<Failure>) {
        let (used_bytes, limit_bytes) = (self.table.log_bytes(), self.config.log_bytes_max);
        let disk_full = refused.is_some();
        self.tell(|| Event::Full(FullEvent { used_bytes, limit_bytes, disk_full, refused }));
    }

    /// How many slots may still be filled before the log's limit, with so many bytes on their way.
    pub(crate) fn slots_of_room(&self, on_their_way: u64, reserved: bool) -> u64 {
        let kept = if reserved { 0 } else { self.config.reserved_bytes };
        let used = self.table.log_bytes() + BETWEEN_BYTES + kept + on_their_way;
        self.config.log_bytes_max.saturating_sub(used) / SLOT_BYTES_MAX
    }

    /// Whether so many bytes may still be added before the log's limit, whatever fills the slots.
    pub(crate) fn has_log_room(&self, large: u64, reserved: bool) -> bool {
        self.log_room(reserved) >= large
    }

    fn log_room(&self, reserved: bool) -> u64 {
        let used = self.table.log_bytes() + self.kept_bytes(reserved);
        self.config.log_bytes_max.saturating_sub(used)
    }

    /// Bytes below the log's limit that are not for records of this class.
    pub(crate) fn kept_bytes(&self, reserved: bool) -> u64 {
        self.config.slack_bytes() + if reserved { 0 } else { self.config.reserved_bytes }
    }

    /// Bytes of large payloads that may be added to those on their way.
    pub(crate) fn room_for_large(&self, on_their_way: u64, reserved: bool) -> u64 {
        let room = self.config.large_bytes_max.min(self.log_room(reserved));
        room.saturating_sub(on_their_way)
    }
}

/// The threads of an open log.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
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
        // The open made its start block durable, and nothing stands after that.
        let durable_point = DurablePoint {
            seq: active.header.seq,
            end_offset: active.end(),
            lsn: next_lsn - 1,
            rotated: false,
        };
        let shared = Arc::new(Shared {
            table: Table::new(older, &active),
            io,
            ring,
            commit: Commit::new(next_lsn - 1),
            counters: Counters::default(),
            bell_mask: bell - 1,
            first_lsn: next_lsn,
            large_bytes: AtomicU64::new(0),
            obstacles: Obstacles::default(),
            log_slots: Default::default(),
            born: Instant::now(),
            room: Waiters::new(),
            outbox: Outbox::new(config.observer.clone()),
            writer: OnceLock::new(),
            writer_waits: AtomicBool::new(false),
            flusher: Mutex::new(FlusherTask::default()),
            flusher_called: Condvar::new(),
            syncing: AtomicBool::new(false),
            synced_bytes: AtomicU64::new(0),
            durable_point: Mutex::new(durable_point),
            janitor: Mutex::new(JanitorTask::default()),
            janitor_called: Condvar::new(),
            config,
        });
        let mut writer = Writer::new(shared.clone(), consumer, active);
        writer.release();
        let writer = Arc::new(Mutex::new(writer));
        let mut actor =
            Self { shared: shared.clone(), writer: writer.clone(), threads: Mutex::default() };
        actor.spawn("ng-wal-flusher", "flusher thread", flush_loop)?;
        actor.spawn("ng-wal-janitor", "janitor thread", janitor::run)?;
        actor.spawn("ng-wal-writer", "writer thread", move |shared| write_loop(shared, &writer))?;
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
                shared.deliver();
                stop_others(&shared);
            }
        })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Is no sync in flight?
    pub(crate) fn is_free(&self) -> bool {
        !self.shared.syncing.load(Ordering::SeqCst)
    }

    /// Brings `lsn` to the disk on this thread, if nobody is at work. Whether that went to its end:
    /// then look; else somebody else is at it, and wakes the waiters.
    pub(crate) fn lead(&self, lsn: u64) -> bool {
        let shared = &*self.shared;
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let led = catch_unwind(AssertUnwindSafe(|| writer.lead(lsn)));
        drop(writer);
        let went = match led {
            Ok(Ok(Some(point))) => {
                if catch_unwind(AssertUnwindSafe(|| flush(shared, &point))).is_err() {
                    shared.fail(panicked("leading a sync"));
                    shared.syncing.store(false, Ordering::SeqCst);
                }
                if shared.writer_waits.load(Ordering::SeqCst) {
                    shared.wake_writer();
                }
                true
            }
            Ok(Ok(None)) => {
                shared.wake_writer();
                false
            }
            Ok(Err(_latched)) => true,
            Err(_) => {
                shared.fail(panicked("leading a write"));
                true
            }
        };
        shared.deliver();
        went
    }

    /// Closes the ring, drains, seals, syncs, and waits for the threads to end.
    pub(crate) fn stop(&self) {
        self.shared.ring.close();
        self.shared.room.wake(|_| true);
        self.shared.wake_writer();
        let mut threads = self.threads.lock();
        if threads.len() < 3 {
            stop_others(&self.shared); // opening failed half way: no writer will do it
        }
        for thread in threads.drain(..) {
            // A panic is caught and latched inside; one in the catching itself is latched here.
            if thread.join().is_err() {
                self.shared.fail(panicked("a thread's end"));
            }
        }
        self.shared.deliver();
    }
}

impl Actor {
    /// Whether [`Actor::stop`] was called and has returned.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.ring.is_closed() && self.threads.lock().is_empty()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_loop(shared: &Shared, writer: &Mutex<Writer>) {
    loop {
        let round = writer.lock().serve();
        shared.deliver();
        // A failure is latched, and told to everybody who asks.
        let Ok(Some(pause)) = round else { break };
        if !shared.syncing.load(Ordering::SeqCst) {
            shared.commit.call_leader(); // who came while the lock was held waits for this
        }
        if let Some(pause) = pause {
            thread::park_timeout(pause);
        }
    }
    stop_others(shared);
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
        shared.wake_writer();
        shared.deliver();
    }
}

/// One sync. What it covers was written before it was asked for, so the mark is safe to raise.
fn flush(shared: &Shared, point: &SyncPoint) {
    let begun = Instant::now();
    if mutants::on("wal-m03-ack-before-sync") {
        shared.commit.raise(point.lsn);
        shared.commit.tell(Duration::ZERO);
    }
    let mut result = point.file.sync_data();
    if result.is_err() && mutants::on("wal-m17-retry-fsync") {
        result = point.file.sync_data();
    }
    let duration = begun.elapsed();
    let durable_before = shared.commit.durable();
    match result {
        Ok(()) => {
            shared.synced_bytes.store(point.written_bytes, Ordering::Release);
            shared.table.note_synced(point.seq.get());
            *shared.durable_point.lock() = DurablePoint {
                seq: point.seq,
                end_offset: point.end_offset,
                lsn: point.lsn,
                rotated: point.rotated,
            };
            let mut lsn = point.lsn;
            if mutants::on("wal-m04-late-mark") {
                lsn = shared.first_lsn - 1 + shared.counters.written_records.load(Ordering::SeqCst);
            }
            shared.commit.raise(lsn);
            let records = point.lsn.saturating_sub(durable_before);
            let (bytes, durable_lsn) = (point.bytes, Lsn::new(point.lsn));
            shared.counters.add_sync(duration);
            shared.tell(|| Event::Synced(Synced { records, bytes, duration, durable_lsn }));
        }
        Err(e) => {
            let name = file_name(point.seq);
            shared.fail(Failure::io("fdatasync", &name, point.end_offset, &e));
        }
    }
    shared.counters.oldest_syncing_at.store(0, Ordering::Relaxed);
    shared.counters.sync_begun_at.store(0, Ordering::Relaxed);
    shared.syncing.store(false, Ordering::SeqCst);
    // The work is free again: those who have what they wait for go, one of the others leads.
    shared.commit.tell(duration);
}

fn stop_others(shared: &Shared) {
    shared.flusher.lock().stop = true;
    shared.flusher_called.notify_all();
    shared.janitor.lock().stop = true;
    shared.janitor_called.notify_all();
}
