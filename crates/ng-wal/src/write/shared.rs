//! What appenders, waiters and the three threads share, and what these hand to each other.

use std::time::Instant;

use crate::config::{BETWEEN_BYTES, SLOT_BYTES_MAX};
use crate::disk::segment::{ActiveSegment, Sealed};
use crate::disk::storage::{LogFile, LogIo};
use crate::format::SegmentHeader;
use crate::observer::{Event, FullEvent, Outbox};
use crate::stats::Counters;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Arc, Condvar, Mutex, OnceLock, thread};
use crate::write::commit::Commit;
use crate::write::obstacles::{Obstacles, Who};
use crate::write::ring::Ring;
use crate::write::room_waiters::{Need, Room, Waiters};
use crate::write::table::Table;
use crate::{Failure, SegmentId, WalConfig};

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

impl Shared {
    /// Of a log whose first record will be `next_lsn`.
    pub(super) fn new(
        io: Arc<dyn LogIo>,
        config: WalConfig,
        ring: Arc<Ring>,
        older: Vec<Sealed>,
        active: &ActiveSegment,
        next_lsn: u64,
    ) -> Self {
        let bell = BELL_RECORDS.min(u64::from(config.ring_slots) / 4).max(1);
        // The open made its start block durable, and nothing stands after that.
        let durable_point = DurablePoint {
            seq: active.header.seq,
            end_offset: active.end(),
            lsn: next_lsn - 1,
            rotated: false,
        };
        Self {
            table: Table::new(older, active),
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
        }
    }

    /// The thread that [`Shared::wake_writer`] wakes.
    pub(super) fn set_writer(&self, thread: thread::Thread) {
        let _ = self.writer.set(thread); // there is one
    }

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

/// Where the last finished sync left the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurablePoint {
    pub(crate) seq: SegmentId,
    /// End of what is durable of that segment.
    pub(crate) end_offset: u64,
    /// Highest durable record.
    pub(crate) lsn: u64,
    /// The segment's last frame names its successor.
    pub(crate) rotated: bool,
}

#[derive(Default)]
pub(crate) struct FlusherTask {
    pub(crate) point: Option<SyncPoint>,
    pub(super) stop: bool,
}

/// A segment that waits to become active.
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) header: SegmentHeader,
    pub(super) file_bytes: u64,
    /// Zeroes may still be written ahead into it.
    pub(super) fill: bool,
}

/// What the janitor is asked for.
#[derive(Default)]
pub(crate) struct JanitorTask {
    pub(crate) prepare: Option<SegmentHeader>,
    pub(crate) ready: Option<Prepared>,
    /// The log is large enough for zeroes ahead.
    pub(crate) fill: bool,
    /// Room is scarce: give spares back.
    pub(crate) trim: bool,
    /// The writer has met an obstacle, and cannot tell the observer as long as it has its lock.
    pub(crate) tell: bool,
    pub(crate) stop: bool,
}
