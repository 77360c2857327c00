//! Writing: ring → frames → file, sync points, rotation, seal. The state stands behind one lock.
//!
//! The writer thread holds it while it works and lets go while it sleeps. A waiter that finds it
//! free leads: it drains, writes and pads on its own thread, lets go, and syncs. Only what may take
//! long (a rotation, a full disk) it leaves to the writer thread.

use std::io;
use std::time::{Duration, Instant};

use crate::config::PREFILL_BYTES;
use crate::disk::segment::{self, ActiveSegment, Sealed};
use crate::disk::shortage::is_shortage;
use crate::format::{BLOCK_BYTES, Start};
use crate::observer::{Event, Rotated, Written};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, thread};
use crate::write::obstacles::{Who, pause_after};
use crate::write::ring::{Consumer, INLINE_PAYLOAD_BYTES};
use crate::write::shared::{Prepared, Shared, SyncPoint};
use crate::{Durability, Failure, Lsn, mutants};

/// One write hands over at most about this much; also what a Relaxed log may hold unwritten.
const WRITE_BYTES: usize = 256 << 10;
/// How long a record may lie in the ring of a log in use.
const POLL: Duration = Duration::from_millis(5);
/// The same after a second without records: fewer wake-ups of a machine that has nothing to do.
const POLL_IDLE: Duration = Duration::from_millis(20);
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Longest sleep of one who is woken by what it waits for.
const UNTIL_WOKEN: Duration = Duration::from_secs(1);
/// Quiet time after which what became durable is promised on disk without waiting for a record.
const PROMISE_AFTER: Duration = Duration::from_millis(20);
/// Relaxed: sync after this much, or this long.
const RELAXED_BYTES: u64 = 8 << 20;
const RELAXED_INTERVAL: Duration = Duration::from_secs(1);
/// The next segment may be filled with zeroes when the active one has grown to this.
const FILL_AT_BYTES: u64 = 1 << 20;
/// Frames of a new segment that may gather in memory while the one before is synced.
const HELD_BYTES: usize = 4 << 20;
const ZERO_STEP_BYTES: u64 = 1 << 20;

/// The log has failed; the failure stands in `Commit`.
#[derive(Debug)]
pub(crate) struct Latched;

/// On whose thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Thread,
    Waiter,
}

/// A rotation on its way.
struct Held {
    /// What is to be synced, until somebody is at it.
    point: Option<SyncPoint>,
    event: Rotated,
}

/// The state of writing: whoever holds the lock around it writes.
pub(crate) struct Writer {
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
    /// Records taken and not yet in the file.
    buffered_records: u64,
    /// The segment before this one, until it is synced: so long nothing is written into this one.
    held: Option<Held>,
    /// Record that kept those behind it back at the last look, and since when.
    gap: Option<(u64, Instant)>,
    log_full: bool,
    /// The last write was refused.
    hindered: bool,
    /// The segment after this one was there when the first record of this run came.
    followed: bool,
    prepare_asked: bool,
    fill_asked: bool,
    /// Sealed: nothing may follow.
    ended: bool,
    prefill: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, ring: Consumer, segment: ActiveSegment) -> Self {
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
            buffered_records: 0,
            held: None,
            gap: None,
            log_full: false,
            hindered: false,
            followed: false,
            prepare_asked: false,
            fill_asked: false,
            ended: false,
            prefill: true,
        }
    }

    /// One round of the writer thread. `None` when the log has ended; else how long nothing is to
    /// be done, if so.
    pub(crate) fn serve(&mut self) -> Result<Option<Option<Duration>>, Latched> {
        self.shared.writer_waits.store(false, Ordering::SeqCst);
        self.check_latch()?;
        self.settle_rotation()?;
        let now = Instant::now();
        let took = self.take_in(now, By::Thread)?;
        // The pad goes out in the same write as what it pads.
        let syncs = self.held.is_none() && self.is_due(now) && !self.is_syncing();
        if syncs {
            self.pad();
        }
        self.put_out(By::Thread)?;
        if syncs {
            self.ask_for_sync();
        }
        if took {
            self.busy_at = now;
        } else if self.shared.ring.is_closed() {
            if self.ring.next_lsn() == self.shared.ring.next_lsn() {
                self.seal()?;
                return Ok(None);
            }
        } else {
            self.use_quiet_time(now)?;
        }
        Ok(Some(self.pause(now)))
    }

    /// A waiter's round: what is in the ring, up to `lsn` at least, goes into the file, and then a
    /// sync, which is the caller's to do. `None` when that takes more than a write: then it is the
    /// writer thread's.
    pub(crate) fn lead(&mut self, lsn: u64) -> Result<Option<SyncPoint>, Latched> {
        self.check_latch()?;
        if self.ended || self.held.is_some() || self.is_syncing() {
            return Ok(None);
        }
        let now = Instant::now();
        while self.ring.next_lsn() <= lsn && self.take_in(now, By::Waiter)? {
            self.busy_at = now;
            if self.is_buffer_full() && !self.put_out(By::Waiter)? {
                break;
            }
        }
        if self.ring.next_lsn() <= self.unasked_lsn
            || self.shared.commit.urgent() < self.unasked_lsn
        {
            return Ok(None);
        }
        self.pad();
        Ok(if self.put_out(By::Waiter)? { Some(self.sync_point()) } else { None })
    }

    fn check_latch(&self) -> Result<(), Latched> {
        if mutants::on("wal-m34-drain-after-latch") {
            return Ok(());
        }
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

    fn is_syncing(&self) -> bool {
        self.shared.syncing.load(Ordering::SeqCst)
    }

    /// Moves about `WRITE_BYTES` from the ring into the buffer; whether there was anything.
    fn take_in(&mut self, now: Instant, by: By) -> Result<bool, Latched> {
        let first = self.ring.next_lsn();
        while let Some(head) = self.ring.peek() {
            if self.is_buffer_full() || self.is_far_ahead() {
                break;
            }
            if !self.followed && self.held.is_none() {
                if by == By::Waiter && !self.has_successor() {
                    break;
                }
                self.wait_for_successor()?;
            }
            if !self.segment.fits_frame(head.bytes) {
                self.end_frame();
                if !self.segment.fits_segment(head.bytes) {
                    if by == By::Waiter || self.held.is_some() {
                        break;
                    }
                    self.rotate()?;
                }
                self.segment.begin_frame(self.ring.next_lsn());
            }
            self.take(head.count);
        }
        self.end_frame();
        let took = self.ring.next_lsn() - first;
        self.buffered_records += took;
        self.note_gap(now);
        if took > 0 && self.oldest_unasked.is_none() {
            // Not there at the last look, so it came after it.
            let oldest = self.looked_at.min(now);
            self.oldest_unasked = Some(oldest);
            self.shared.counters.oldest_unasked_at.store(self.ns(oldest), Ordering::Relaxed);
        }
        self.looked_at = now;
        Ok(took > 0)
    }

    /// Writes the buffer, unless the segment before is to be synced first; whether it went.
    fn put_out(&mut self, by: By) -> Result<bool, Latched> {
        let written = self.held.is_some() || self.write(by)?;
        self.release(); // also when nothing was taken: `retire_before` makes room too
        self.fill_next();
        Ok(written)
    }

    /// Takes the next `count` records, which belong together, into the frame being filled.
    fn take(&mut self, count: u64) {
        for i in 0..count {
            if i == count / 2 && i > 0 && mutants::on("wal-m21-split-batch") {
                self.end_frame();
                self.segment.begin_frame(self.ring.next_lsn());
            }
            let (segment, large) = (&mut self.segment, &mut self.taken_large_bytes);
            self.ring.take(|kind, payload| {
                segment.push(kind, payload);
                if payload.len() > INLINE_PAYLOAD_BYTES {
                    *large += payload.len() as u64;
                }
            });
        }
    }

    /// Nanoseconds since the log's birth, never 0.
    fn ns(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.shared.born).as_nanos() as u64).max(1)
    }

    /// Keeps account of a record that was claimed and is not published: it holds up those behind it.
    fn note_gap(&mut self, now: Instant) {
        let next = self.ring.next_lsn();
        let stuck = self.ring.peek().is_none() && next < self.shared.ring.next_lsn();
        self.gap = match self.gap {
            _ if !stuck => None,
            Some((lsn, since)) if lsn == next => Some((lsn, since)),
            _ => Some((next, now)),
        };
        let at = self.gap.map_or(0, |(_, since)| self.ns(since));
        self.shared.counters.claim_gap_at.store(at, Ordering::Relaxed);
    }

    /// Enough for one write; while the segment before is not synced, enough memory.
    fn is_buffer_full(&self) -> bool {
        let most = if self.held.is_some() { HELD_BYTES } else { WRITE_BYTES };
        self.segment.buffered_bytes() >= most
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

    /// Writes what is buffered; whether all of it. A full disk is waited for by the writer thread:
    /// nothing is lost, the ring fills.
    fn write(&mut self, by: By) -> Result<bool, Latched> {
        let bytes = self.segment.buffered_bytes() as u64;
        if bytes == 0 {
            return Ok(true);
        }
        let (begun, mut tries) = (Instant::now(), 0);
        while let Err(e) = self.segment.flush() {
            if !is_shortage(&e) {
                return Err(self.fail("write", &e));
            }
            let failure = Failure::io("write", &self.segment.name, self.segment.written_end(), &e);
            self.hindered = true;
            self.shared.hinder(Who::Writer, failure.clone());
            if by == By::Waiter {
                return Ok(false);
            }
            self.give_up_in_the_end(begun, Some(failure))?;
            thread::park_timeout(pause_after(tries));
            tries += 1;
        }
        if std::mem::take(&mut self.hindered) {
            self.shared.obstacles.overcome(Who::Writer);
        }
        self.written_bytes += bytes;
        let records = std::mem::take(&mut self.buffered_records);
        self.shared.counters.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.shared.counters.written_records.fetch_add(records, Ordering::Relaxed);
        self.shared.table.set_active(self.segment.file_bytes());
        if records > 0 {
            let last_lsn = Lsn::new(self.ring.next_lsn() - 1);
            self.shared.tell(|| Event::Written(Written { records, bytes, last_lsn }));
        }
        Ok(true)
    }

    /// An obstacle is waited for as long as the log is open; when somebody waits for it to close, no
    /// longer than for room.
    fn give_up_in_the_end(&self, begun: Instant, met: Option<Failure>) -> Result<(), Latched> {
        self.check_latch()?;
        let over = begun.elapsed() > self.shared.config.full_timeout;
        match met {
            Some(failure) if self.shared.ring.is_closed() && over => {
                self.shared.fail(failure);
                Err(Latched)
            }
            _ => Ok(()),
        }
    }

    /// Gives taken slots back, as far as the log's limit allows.
    pub(crate) fn release(&mut self) {
        self.shared.large_bytes.fetch_sub(self.taken_large_bytes, Ordering::AcqRel);
        self.taken_large_bytes = 0;
        let large = self.shared.large_bytes.load(Ordering::Acquire);
        let on_their_way = large + self.segment.buffered_bytes() as u64;
        let room = [false, true].map(|class| self.shared.slots_of_room(on_their_way, class));
        self.ring.release(room[0], room[1]);
        for (shown, slots) in self.shared.log_slots.iter().zip(room) {
            shown.store(slots, Ordering::Relaxed);
        }
        self.shared.call_for_room();
        let full = room[0] == 0;
        if full && !self.log_full {
            self.shared.tell_full(None);
        }
        self.log_full = full;
        self.shared.trim_if_scarce();
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

    fn pad(&mut self) {
        let padding = self.segment.pad(self.ring.next_lsn(), self.durable_end());
        self.shared.counters.pad_bytes.fetch_add(padding, Ordering::Relaxed);
    }

    /// A sync point here: everything written so far, which ends with a block.
    fn sync_point_here(&mut self) -> SyncPoint {
        if !mutants::on("wal-m20-no-pad") {
            assert!(self.segment.end().is_multiple_of(BLOCK_BYTES));
        }
        assert!(self.segment.buffered_bytes() == 0);
        self.unasked_lsn = self.ring.next_lsn();
        let bytes = self.written_bytes - self.asked_bytes;
        self.asked_bytes = self.written_bytes;
        self.oldest_unasked = None;
        let oldest_at = self.shared.counters.oldest_unasked_at.swap(0, Ordering::Relaxed);
        SyncPoint {
            file: self.segment.file.clone(),
            seq: self.segment.header.seq,
            end_offset: self.segment.end(),
            lsn: self.ring.next_lsn() - 1,
            bytes,
            written_bytes: self.written_bytes,
            rotated: false,
            oldest_at,
        }
    }

    /// From here on a sync is in flight, until who has the point has done it.
    fn take_off(&self, point: SyncPoint) -> SyncPoint {
        self.shared.counters.oldest_syncing_at.store(point.oldest_at, Ordering::Relaxed);
        let now = self.ns(Instant::now());
        self.shared.counters.sync_begun_at.store(now, Ordering::Relaxed);
        self.shared.syncing.store(true, Ordering::SeqCst);
        self.shared.commit.sync_begins();
        point
    }

    fn sync_point(&mut self) -> SyncPoint {
        let point = self.sync_point_here();
        self.take_off(point)
    }

    fn hand_to_flusher(&self, point: SyncPoint) {
        self.shared.flusher.lock().point = Some(point);
        self.shared.flusher_called.notify_one();
    }

    fn ask_for_sync(&mut self) {
        let point = self.sync_point();
        self.hand_to_flusher(point);
    }

    /// Until no sync is in flight.
    fn wait_for_flusher(&self) -> Result<(), Latched> {
        self.shared.writer_waits.store(true, Ordering::SeqCst);
        while self.is_syncing() && self.shared.commit.failure().is_none() {
            thread::park_timeout(POLL_IDLE);
        }
        self.shared.writer_waits.store(false, Ordering::SeqCst);
        self.check_latch()
    }

    fn has_successor(&self) -> bool {
        self.shared.janitor.lock().ready.is_some()
    }

    /// A log that has grown past a small one lets the next segment be filled.
    fn fill_next(&mut self) {
        if !self.fill_asked && self.segment.end() >= FILL_AT_BYTES {
            self.fill_asked = true;
            self.shared.janitor.lock().fill = true;
            self.shared.janitor_called.notify_one();
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

    /// Until the segment after this one is there. Before that no record goes into this one: an open
    /// must find a file to go on in behind it, also on a full disk.
    fn wait_for_successor(&mut self) -> Result<(), Latched> {
        if !self.prepare_asked {
            self.ask_to_prepare();
        }
        let begun = Instant::now();
        while !self.has_successor() {
            self.give_up_in_the_end(begun, self.shared.obstacles.first())?;
            // The janitor wakes us, and so do a failure and a close.
            let closing = self.shared.ring.is_closed();
            thread::park_timeout(if closing { POLL_IDLE } else { UNTIL_WOKEN });
        }
        self.followed = true;
        Ok(())
    }

    fn take_prepared(&mut self) -> Result<Prepared, Latched> {
        loop {
            self.wait_for_successor()?;
            if let Some(ready) = self.shared.janitor.lock().ready.take() {
                self.prepare_asked = false;
                self.shared.table.set_next(0);
                return Ok(ready);
            }
        }
    }

    /// Completes this segment and begins the next. Its first byte is written only when the sync
    /// that covers all of this one has returned; else the kernel could bring it to the disk first,
    /// and a legal crash would look like a hole. Until then its frames gather in memory, so that
    /// appends go on.
    fn rotate(&mut self) -> Result<(), Latched> {
        // The next one must be durable before the rotate frame names it.
        let Prepared { file, header, .. } = self.take_prepared()?;
        let next_lsn = self.ring.next_lsn();
        let padding = self.segment.rotate(next_lsn, self.durable_end());
        self.write(By::Thread)?;
        let mut point = self.sync_point_here();
        point.rotated = true;
        if mutants::on("wal-m05-sync-wrong-fd") {
            point.file = file.clone();
        }
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
        self.followed = false;
        self.shared.table.set_active(self.segment.file_bytes());
        self.prefill = true;
        let control = padding + self.segment.buffered_bytes() as u64;
        self.shared.counters.pad_bytes.fetch_add(control, Ordering::Relaxed);
        self.held = Some(Held { point: Some(point), event });
        // While the sync runs, so that nobody waits for it afterwards.
        self.ask_to_prepare();
        self.settle_rotation()
    }

    /// Brings the segment before to its sync, and lets this one be written when that has returned.
    fn settle_rotation(&mut self) -> Result<(), Latched> {
        if self.is_syncing() && !mutants::on("wal-m06-rotate-unordered") {
            return Ok(());
        }
        self.check_latch()?;
        let Some(held) = &mut self.held else { return Ok(()) };
        if let Some(point) = held.point.take() {
            let point = self.take_off(point);
            self.hand_to_flusher(point);
            return Ok(());
        }
        self.wait_for_successor()?;
        if let Some(Held { event, .. }) = self.held.take() {
            self.shared.counters.rotations.fetch_add(1, Ordering::Relaxed);
            self.shared.tell(|| Event::Rotated(event));
        }
        Ok(())
    }

    /// Nothing to do: promise what became durable, write zeroes ahead.
    fn use_quiet_time(&mut self, now: Instant) -> Result<(), Latched> {
        if self.held.is_some() {
            return Ok(());
        }
        let quiet = now.duration_since(self.busy_at) >= PROMISE_AFTER
            && self.oldest_unasked.is_none()
            && !self.is_syncing();
        if quiet && self.segment.promised() < self.durable_end() {
            let bytes = self.segment.promise(self.ring.next_lsn(), self.durable_end());
            self.shared.counters.pad_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.write(By::Thread)?;
        }
        // Never from the room of records: zeroes ahead count as used.
        let room = self.shared.has_log_room(PREFILL_BYTES, false);
        if self.prefill && room && self.segment.end() >= ZERO_STEP_BYTES {
            // Zeroes are a help, not a need: where they cannot be written, go without.
            self.prefill = self.segment.prefill(ZERO_STEP_BYTES, PREFILL_BYTES).is_ok();
        }
        Ok(())
    }

    /// How long nothing is to be done; none if there is work already.
    fn pause(&self, now: Instant) -> Option<Duration> {
        let waiting = self.shared.ring.next_lsn() - self.ring.next_lsn();
        let syncing = self.is_syncing();
        if self.held.is_some() && !syncing {
            return None;
        }
        let blocked = syncing && (self.is_far_ahead() || self.held.is_some() && self.is_stuffed());
        let awaited =
            self.shared.commit.urgent() >= self.ring.next_lsn() || self.shared.ring.is_closed();
        if waiting > 0 && !blocked {
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
            let waits = blocked || self.held.is_some();
            self.shared.writer_waits.store(waits, Ordering::SeqCst);
            return self.is_syncing().then_some(POLL); // who syncs wakes us
        }
        if awaited && self.shared.ring.is_closed() {
            return None;
        }
        let idle = now.duration_since(self.busy_at) >= IDLE_AFTER;
        let poll = if idle { POLL_IDLE } else { POLL };
        let until_due = self.sync_deadline().map(|due| due.saturating_duration_since(now));
        Some(until_due.map_or(poll, |due| due.min(poll)))
    }

    /// No more room in memory, or in this segment, while it must not be written.
    fn is_stuffed(&self) -> bool {
        let largest = self.shared.config.largest_frame_bytes() as usize;
        self.is_buffer_full() || !self.segment.fits_segment(largest)
    }

    /// Everything is in the file: sync it, then write and sync the seal.
    fn seal(&mut self) -> Result<(), Latched> {
        self.wait_for_flusher()?;
        while self.held.is_some() {
            self.settle_rotation()?;
            self.wait_for_flusher()?;
        }
        self.write(By::Thread)?;
        let next_lsn = self.ring.next_lsn();
        if self.unasked_lsn < next_lsn {
            self.pad();
            self.write(By::Thread)?;
            self.ask_for_sync();
            self.wait_for_flusher()?;
        }
        // Every record is durable now; the seal says so, in a block of its own.
        let control = self.segment.seal(next_lsn);
        self.shared.counters.pad_bytes.fetch_add(control, Ordering::Relaxed);
        self.write(By::Thread)?;
        self.ended = true;
        if !mutants::on("wal-m32-seal-unsynced") {
            self.ask_for_sync();
            self.wait_for_flusher()?;
        }
        let _ = self.segment.truncate_to_end(); // only gives space back
        Ok(())
    }
}
