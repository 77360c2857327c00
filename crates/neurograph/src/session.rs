//! A session: one thread's way to write. It runs towards one limit; all that is due is done there.
//!
//! A create that is not logged is the arena's hot path and one test of the token's flags. At the
//! writer's limit the session looks what is due: a new lease (quota, memory, ids), the next sampled
//! create, or a bell (the store closed or failed, settings changed).
//!
//! A logged operation takes the token's writing bit, decides under it, tries to claim a record, writes
//! the words, clears the bit. So the log's order is the token's order. If the log has no room, the bit
//! is given back first and the wait is outside.

use crate::durable::log::{Log, Logged};
use crate::error::{CreateError, WriteError};
use crate::format;
use crate::inner::{Barred, Inner, Names};
use crate::life::cleanup::is_pinned;
use crate::observe::{QUOTA_EXCEEDED, TOKEN_CREATED};
use ng_blackbox::{Event, Lane, Severity};
use ng_core::{Due, LEASE_SLOTS_MAX, Token, TokenId, Writer};
use ng_guardian::{Refusal, ReleaseCell};
use ng_trace::{
    Clock, LocalSampler, NameId, Sampled, Sampler, SpanRecord, SpanRecorder, Status, Ticks,
};
use ng_wal::{AppendError, Durability, Lsn, WaitError};
use parking_lot::RwLockReadGuard;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// One thread's way to write to a store, and to read its tokens.
///
/// Holds up to 1,024 slots and their credits ahead; dropping it gives them back, also when its thread
/// panics. It outlives its [`Store`](crate::Store): writes are then `Closed`, reads go on from memory.
pub struct Session {
    writer: Writer,
    cell: ReleaseCell,
    tracing: Option<SessionTracing>,
    lane: Option<Lane>,
    /// Creates between two that the flight recorder is told of, where no sampler chooses them.
    untraced_gap: u64,
    last_lsn: Lsn,
    logged: Logged,
    inner: Arc<Inner>,
}

struct SessionTracing {
    /// Creates: its gaps are the writer's stops.
    creates: LocalSampler,
    /// The gap that the writer runs through.
    gap: u32,
    /// Updates and deletes.
    others: LocalSampler,
    recorder: SpanRecorder,
    sampler: Arc<Sampler>,
    clock: Clock,
    names: Names,
}

/// What a write makes of the token it found.
enum Change {
    Put(Token),
    Delete,
}

/// Which span an operation gets.
#[derive(Clone, Copy)]
enum Operation {
    Create,
    Update,
    Delete,
}

/// How long an operation took, and when it ended.
struct Took {
    ns: u64,
    end: Ticks,
}

/// A session's writes at a higher level of durability; see [`Session::with`].
pub struct Raised<'s> {
    session: &'s mut Session,
    level: Durability,
}

impl Session {
    /// Memory that a session takes when it is made, its share of its store's tables included; the ring of
    /// its spans comes with the first of them. Unit: bytes.
    pub const BYTES: u64 = 6144;

    /// The caller has taken [`Session::BYTES`] from the memory quota; the drop gives them back.
    pub(crate) fn new(inner: Arc<Inner>) -> Session {
        let mut writer = inner.arena.writer();
        let tracing = inner.tracing.as_ref().map(|tracing| {
            let creates = tracing.sampler.local();
            writer.stop_after(u64::from(creates.gap()));
            SessionTracing {
                gap: creates.gap(),
                creates,
                others: tracing.sampler.local(),
                recorder: tracing.collector.recorder(),
                sampler: Arc::clone(&tracing.sampler),
                clock: tracing.collector.clock(),
                names: tracing.names,
            }
        });
        let lane = inner.blackbox.as_ref().map(|recorder| recorder.lane());
        let untraced_gap = match (&tracing, &lane, inner.create_every.checked_sub(1)) {
            (None, Some(_), Some(gap)) => u64::from(gap),
            _ => u64::MAX,
        };
        if tracing.is_none() {
            writer.stop_after(untraced_gap);
        }
        let cell = inner.guardian.cell();
        let logged = inner.logged;
        Session { writer, cell, tracing, lane, untraced_gap, last_lsn: Lsn::NONE, logged, inner }
    }

    /// Stores a token. A timestamp of 0 becomes the present second.
    ///
    /// Not logged: never blocks but for memory, once in 32,768 creates, and for a cleanup at the
    /// quota. Logged: waits at most `wal.full_timeout` for room, then `LogFull`; at Strict until it is
    /// durable, at most `wal.sync_timeout`, then `DurabilityUnknown`.
    // `always`: all but the arena's few instructions is in a function of its own, and a call that
    // carries 64 bytes through memory would cost more than what it calls; that function finds the
    // token with the writer, for the same reason.
    #[inline(always)]
    pub fn create(&mut self, token: &Token) -> Result<TokenId, CreateError> {
        let stamped = self.stamped(token);
        let quick = !self.logged.is_stamped(&stamped);
        if let Some(id) = self.writer.create_or_keep(&stamped, quick) {
            return Ok(id);
        }
        self.create_kept()
    }

    /// The token, or `None` if `id` names no live one. Waits only while one write of this very token
    /// is in progress.
    #[inline]
    pub fn get(&self, id: TokenId) -> Option<Token> {
        self.inner.arena.get(id)
    }

    /// Appends what [`Session::get`] gives for each id.
    pub fn get_many(&self, ids: &[TokenId], out: &mut Vec<Option<Token>>) {
        self.inner.arena.get_many(ids, out);
    }

    /// Replaces the token at `id`. A timestamp of 0 becomes the present second.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn update(&mut self, id: TokenId, token: &Token) -> Result<(), WriteError> {
        self.update_at(id, token, Durability::Relaxed)
    }

    /// Replaces the token at `id` if it is `expected`; else `Conflict` with what it is.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn update_if(
        &mut self,
        id: TokenId,
        expected: &Token,
        new: &Token,
    ) -> Result<(), WriteError> {
        let new = self.stamped(new);
        self.write(Operation::Update, id, Durability::Relaxed, |current| {
            if current != expected {
                return Err(WriteError::Conflict { id, current: Box::new(*current) });
            }
            Ok(Change::Put(new))
        })
    }

    /// Replaces the token at `id` by what `change` makes of it. Runs `change` on a copy, and again
    /// if somebody else wrote meanwhile. Returns the new token.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn modify(
        &mut self,
        id: TokenId,
        mut change: impl FnMut(Token) -> Token,
    ) -> Result<Token, WriteError> {
        loop {
            let current = self.get(id).ok_or(WriteError::NotFound { id })?;
            let new = self.stamped(&change(current));
            match self.update_if(id, &current, &new) {
                Ok(()) => return Ok(new),
                Err(WriteError::Conflict { .. }) => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the token at `id`.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn delete(&mut self, id: TokenId) -> Result<(), WriteError> {
        self.delete_at(id, Durability::Relaxed)
    }

    /// The next write at `level`, or at the store's own if that is higher.
    pub fn with(&mut self, level: Durability) -> Raised<'_> {
        Raised { session: self, level }
    }

    /// Record of this session's last logged operation; [`Lsn::NONE`] without one.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// Removes the token at `id` if it still is as `wanted` says; returns what it was. Used by cleanup.
    pub(crate) fn evict(
        &mut self,
        id: TokenId,
        wanted: impl Fn(&Token) -> bool,
    ) -> Result<Option<Token>, WriteError> {
        let gone = Cell::new(None);
        let evicted = self.write(Operation::Delete, id, Durability::Relaxed, |current| {
            if !wanted(current) {
                return Err(WriteError::Conflict { id, current: Box::new(*current) });
            }
            gone.set(Some(*current));
            Ok(Change::Delete)
        });
        match evicted {
            Ok(()) => Ok(gone.get()),
            Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[inline(always)]
    fn stamped(&self, token: &Token) -> Token {
        let seconds = match token.timestamp() {
            0 => self.inner.seconds.load(Relaxed),
            set => set,
        };
        token.with_timestamp(seconds)
    }

    /// An update or a delete begins: what the sampler says of it.
    #[inline(always)]
    fn other_arrives(&mut self) -> Option<Sampled> {
        self.tracing.as_mut().and_then(|tracing| tracing.others.arrive())
    }

    fn now(&self) -> Option<Ticks> {
        self.tracing.as_ref().map(|tracing| tracing.clock.now())
    }

    /// The create that the writer kept, with its time. All that a sampled one does is in this one
    /// function: a span that is handed to a call goes through memory, in pieces that don't fit.
    #[cold]
    #[inline(never)]
    fn create_kept(&mut self) -> Result<TokenId, CreateError> {
        match self.create_at_stop() {
            Some(id) => Ok(id),
            None => self.create_kept_slowly(),
        }
    }

    #[inline(never)]
    fn create_kept_slowly(&mut self) -> Result<TokenId, CreateError> {
        self.create_slowly(&self.writer.kept(), Durability::Relaxed)
    }

    /// The create at a stop, if nothing else is due: the sampler's, or the flight recorder's where
    /// nothing is traced. The token goes straight from where it is kept to its slot.
    #[inline(always)]
    fn create_at_stop(&mut self) -> Option<TokenId> {
        // Asked again: to hand the answer on would cost every create a register.
        if self.logged.is_flagged(self.writer.kept_flags()) {
            return None;
        }
        let start = self.now();
        if self.inner.status.check().is_err() || self.writer.due() != Due::Stop {
            return None;
        }
        let sampled = self.tracing.as_mut().and_then(SessionTracing::arrive);
        let id = self.writer.create_kept_due();
        self.rearm();
        match start {
            Some(start) => self.record_create(start, sampled, Some(id), false),
            None => self.note_untraced(id, None),
        }
        Some(id)
    }

    fn create_slowly(&mut self, token: &Token, level: Durability) -> Result<TokenId, CreateError> {
        let start = self.now();
        let mut sampled = None;
        let outcome = self.create_at_limit(&self.stamped(token), level, &mut sampled);
        let (id, failed) = match &outcome {
            Ok(id) => (Some(*id), false),
            Err(CreateError::DurabilityUnknown { id, .. }) => (Some(*id), true),
            Err(_) => (None, true),
        };
        if let Err(error) = &outcome {
            self.note_refusal(error);
        }
        if let Some(start) = start {
            self.record_create(start, sampled, id, failed);
        }
        outcome
    }

    /// Records a create's span if a rule keeps it, and tells the histogram and the flight recorder of
    /// one that was drawn.
    #[inline(always)]
    fn record_create(
        &mut self,
        start: Ticks,
        sampled: Option<Sampled>,
        id: Option<TokenId>,
        failed: bool,
    ) {
        let took = self.record(Operation::Create, start, sampled, id, failed);
        if let (Some(took), Some(_), Some(id)) = (took, sampled, id) {
            self.inner.create_seconds.record(took.ns);
            if let Some(lane) = &mut self.lane {
                let numbers = [id.to_u64(), self.last_lsn.get(), took.ns, 0];
                let event = Event::numbers(TOKEN_CREATED, Severity::DEBUG, numbers);
                lane.record_at(event, took.end.get());
            }
        }
    }

    fn create_at_limit(
        &mut self,
        token: &Token,
        level: Durability,
        sampled: &mut Option<Sampled>,
    ) -> Result<TokenId, CreateError> {
        self.inner.status.check()?;
        let logged = self.logged.is(token);
        let mut begun = None;
        loop {
            let mut at_stop = false;
            let pending = if let Some(pending) = self.writer.begin() {
                pending
            } else {
                match self.writer.due() {
                    Due::Stop => {
                        at_stop = true;
                        *sampled = self.tracing.as_mut().and_then(SessionTracing::arrive);
                        self.writer.begin_due()
                    }
                    Due::Lease => {
                        self.refill()?;
                        self.heed();
                        continue;
                    }
                    _ => {
                        self.inner.status.check()?;
                        self.writer.resume();
                        self.heed();
                        continue;
                    }
                }
            };
            let id = pending.id();
            let record = match (&self.inner.log, logged) {
                (Some(log), true) => {
                    Some(log.wal.attempt(format::PUT, &format::put(id, token), false))
                }
                _ => None,
            };
            match record.transpose() {
                Ok(lsn) => {
                    pending.commit(token);
                    if at_stop {
                        self.rearm();
                        self.note_untraced(id, lsn);
                    }
                    let Some(lsn) = lsn else { return Ok(id) };
                    self.last_lsn = lsn;
                    return match self.reach(lsn, level) {
                        Ok(()) => Ok(id),
                        Err(cause) => Err(CreateError::DurabilityUnknown { id, lsn, cause }),
                    };
                }
                Err(error) => {
                    // The bit and the slot go back first; readers never wait for the disk.
                    drop(pending);
                    self.cell.release_one();
                    if at_stop {
                        self.rearm();
                    }
                    self.wait_for_room(error, &mut begun).map_err(CreateError::from)?;
                }
            }
        }
    }

    /// Obeys the sampler from the next create on, if its settings have changed.
    fn heed(&mut self) {
        let Some(tracing) = &mut self.tracing else { return };
        if !tracing.creates.has_news() {
            return;
        }
        let left = self.writer.left_to_stop();
        tracing.creates.advance(u64::from(tracing.gap).saturating_sub(left) as u32);
        tracing.creates.refresh();
        tracing.gap = tracing.creates.gap();
        self.writer.stop_after(u64::from(tracing.gap));
    }

    /// After the create at a stop: run to the next.
    #[inline(always)]
    fn rearm(&mut self) {
        let gap = self.tracing.as_mut().map_or(self.untraced_gap, |tracing| {
            if tracing.creates.has_news() {
                tracing.creates.refresh();
            }
            tracing.gap = tracing.creates.gap();
            u64::from(tracing.gap)
        });
        self.writer.stop_after(gap);
    }

    /// Without tracing nothing is timed.
    fn note_untraced(&mut self, id: TokenId, lsn: Option<Lsn>) {
        if let (None, Some(lane)) = (&self.tracing, &mut self.lane) {
            let numbers = [id.to_u64(), lsn.map_or(0, Lsn::get), 0, 0];
            lane.record(Event::numbers(TOKEN_CREATED, Severity::DEBUG, numbers));
        }
    }

    /// New slots, with their credits, memory and ids.
    fn refill(&mut self) -> Result<(), CreateError> {
        let inner = Arc::clone(&self.inner);
        if inner.is_cleaning_here() {
            // Else it would take what was just made free, and wait for the cleanup that waits for it.
            return Err(CreateError::Evicting);
        }
        let stop = || inner.status.check().is_err();
        let mut cleanups_in_vain = 0;
        inner.asked_for_room.store(true, Relaxed);
        let mut ceiling_raised = false;
        if inner.guardian.cleanup_before_admission() {
            inner.clean_up(&stop);
        }
        loop {
            let seen = inner.cleaning.steps();
            let refused = match inner.reserve() {
                Ok((leasing, credits)) => match self.writer.lease(credits) {
                    Ok(slots) => {
                        inner.guardian.release_unused(u64::from(credits.saturating_sub(slots)));
                        return Ok(());
                    }
                    Err(error) => {
                        inner.guardian.release_unused(u64::from(credits));
                        drop(leasing);
                        match error {
                            ng_core::CreateError::Generation { needed, .. } if !ceiling_raised => {
                                // At most one wait: the next announcement covers a whole step.
                                ceiling_raised = true;
                                self.raise_ceiling(needed)?;
                                continue;
                            }
                            // Slots that lie idle in others' leases need no new memory.
                            _ if inner.guardian.recall_idle() > 0 => continue,
                            ng_core::CreateError::Memory { bytes, .. } => {
                                inner.memory_refusal(bytes)
                            }
                            _ => CreateError::ArenaFull {
                                slots: inner.arena.stats().reserved_bytes / 64,
                            },
                        }
                    }
                },
                Err(
                    refused @ (CreateError::ReadOnly { .. }
                    | CreateError::Closed
                    | CreateError::Forked { .. }),
                ) => return Err(refused),
                Err(refused) => refused,
            };
            if !inner.guardian.config().enable_aggressive_cleanup {
                return Err(refused);
            }
            match inner.clean_up(&stop) {
                None => inner.cleaning.wait_past(seen),
                Some(report) if report.evicted > 0 => cleanups_in_vain = 0,
                Some(report) if report.skipped => return Err(refused),
                // One that found nothing to do may have begun when another had made room.
                Some(_) => cleanups_in_vain += 1,
            }
            if cleanups_in_vain == 2 {
                return Err(refused);
            }
        }
    }

    fn raise_ceiling(&mut self, needed: u32) -> Result<(), CreateError> {
        let Some(log) = &self.inner.log else { return Ok(()) };
        match log.raise_ceiling(&self.inner.arena, needed) {
            Ok(()) => Ok(()),
            Err(AppendError::DurabilityUnknown {
                lsn,
                cause: cause @ WaitError::TimedOut { .. },
            }) => Err(CreateError::IdsNotDurable { lsn, cause }),
            Err(error) => {
                let waited = Duration::ZERO;
                Err(Stuck::of(error, waited, Some(log)).into())
            }
        }
    }

    fn update_at(
        &mut self,
        id: TokenId,
        token: &Token,
        level: Durability,
    ) -> Result<(), WriteError> {
        let token = self.stamped(token);
        self.write(Operation::Update, id, level, |_| Ok(Change::Put(token)))
    }

    #[inline]
    fn delete_at(&mut self, id: TokenId, level: Durability) -> Result<(), WriteError> {
        let sampled = self.other_arrives();
        // Most are neither sampled nor logged, and then nothing of the token has to be known.
        if let (None, Some(logged), Ok(())) =
            (sampled, self.logged.flags(), self.inner.status.check())
            && let Ok(true) = self.writer.delete_unless(id, logged)
        {
            self.cell.release_one();
            return Ok(());
        }
        self.write_arrived(Operation::Delete, id, level, sampled, |_| Ok(Change::Delete))
    }

    fn write(
        &mut self,
        operation: Operation,
        id: TokenId,
        level: Durability,
        decide: impl Fn(&Token) -> Result<Change, WriteError>,
    ) -> Result<(), WriteError> {
        let sampled = self.other_arrives();
        self.write_arrived(operation, id, level, sampled, decide)
    }

    /// A write that the sampler has said its word on.
    fn write_arrived(
        &mut self,
        operation: Operation,
        id: TokenId,
        level: Durability,
        sampled: Option<Sampled>,
        decide: impl Fn(&Token) -> Result<Change, WriteError>,
    ) -> Result<(), WriteError> {
        let mut start = if sampled.is_some() { self.now() } else { None };
        let outcome = self.write_under_bit(id, level, &mut start, decide);
        let failed = !matches!(outcome, Ok(()) | Err(WriteError::Conflict { .. }));
        // An error is recorded even where nobody thought of timing the operation.
        if let Some(start) = start.or_else(|| failed.then(|| self.now()).flatten()) {
            self.record(operation, start, sampled, Some(id), failed);
        }
        outcome
    }

    fn write_under_bit(
        &mut self,
        id: TokenId,
        level: Durability,
        start: &mut Option<Ticks>,
        decide: impl Fn(&Token) -> Result<Change, WriteError>,
    ) -> Result<(), WriteError> {
        self.inner.status.check()?;
        let mut begun = None;
        loop {
            let edit = self.writer.edit(id).map_err(|_| WriteError::NotFound { id })?;
            let current = edit.current();
            let change = decide(&current)?;
            // Only what is logged can be slow, and is timed, from the first try on.
            let entry = self.logged.entry(&current, &change);
            if start.is_none() && entry.is_some() {
                *start = self.tracing.as_ref().map(|tracing| tracing.clock.now());
            }
            let log = self.inner.log.as_ref();
            let record = log.zip(entry).map(|(log, entry)| entry.append_to(log, id));
            match record.transpose() {
                Ok(lsn) => {
                    match change {
                        Change::Put(token) => {
                            edit.commit(&token);
                            if is_pinned(&current) && !is_pinned(&token) {
                                self.inner.guardian.note_evictable();
                            }
                        }
                        Change::Delete => {
                            edit.delete();
                            self.cell.release_one();
                        }
                    }
                    let Some(lsn) = lsn else { return Ok(()) };
                    self.last_lsn = lsn;
                    return match self.reach(lsn, level) {
                        Ok(()) => Ok(()),
                        Err(cause) => Err(WriteError::DurabilityUnknown { id, lsn, cause }),
                    };
                }
                Err(error) => {
                    drop(edit);
                    self.wait_for_room(error, &mut begun).map_err(WriteError::from)?;
                }
            }
        }
    }

    /// Waits for the level that was asked for. Only a log that has failed makes the store read-only; one
    /// that is slow does not.
    fn reach(&self, lsn: Lsn, level: Durability) -> Result<(), WaitError> {
        let Some(log) = &self.inner.log else { return Ok(()) };
        let level = level.max(log.level);
        if level == Durability::Relaxed {
            return Ok(());
        }
        log.reach(lsn, level).inspect_err(|cause| self.heed_wait(cause))
    }

    fn heed_wait(&self, cause: &WaitError) {
        if let WaitError::Failed(failure) = cause {
            self.inner.status.set_read_only(&failure.to_string());
            self.inner.arena.ring();
        }
    }

    /// After a refused claim: waits if that can help.
    fn wait_for_room(
        &self,
        error: AppendError,
        begun: &mut Option<Instant>,
    ) -> Result<(), Box<Stuck>> {
        let begun = *begun.get_or_insert_with(Instant::now);
        if let (AppendError::Full(full), Some(log)) = (&error, &self.inner.log) {
            return log
                .wait_for_room(full, begun)
                .map_err(|waited| Stuck::of(error, waited, Some(log)));
        }
        if let AppendError::Failed(failure) = &error {
            self.inner.status.set_read_only(&failure.to_string());
        }
        Err(Stuck::of(error, begun.elapsed(), None))
    }

    fn note_refusal(&mut self, error: &CreateError) {
        self.inner.rejected.inc();
        if let CreateError::QuotaExceeded { limit, used } = *error {
            self.inner.quota_exceeded.inc();
            if let Some(lane) = &mut self.lane {
                let numbers = [limit, used, 0, 0];
                lane.record(Event::numbers(QUOTA_EXCEEDED, Severity::WARN, numbers));
            }
        }
    }

    /// Records the operation's span if a rule keeps it. Returns how long it took.
    #[inline(always)]
    fn record(
        &mut self,
        operation: Operation,
        start: Ticks,
        sampled: Option<Sampled>,
        id: Option<TokenId>,
        failed: bool,
    ) -> Option<Took> {
        let lsn = self.last_lsn.get();
        let tracing = self.tracing.as_mut()?;
        let end = tracing.clock.now();
        let tail = tracing.sampler.decide_end_between(failed, start, end, sampled.is_some());
        let name = match operation {
            Operation::Create => tracing.names.create,
            Operation::Update => tracing.names.update,
            Operation::Delete => tracing.names.delete,
        };
        let span = match (tail, sampled) {
            (None, Some(kept)) => Some(SpanRecord::lone(name, kept, start, end)),
            (Some(kept), head) => Some(tracing.tail_span(name, kept, head, start, end)),
            (None, None) => None,
        };
        if let Some(span) = span {
            let status = if failed { Status::Error } else { Status::Ok };
            let span = span
                .with_status(status)
                .with_sampled_flag(sampled.is_some())
                .with_attribute(tracing.names.token, id.map_or(0, |id| id.to_u64().cast_signed()))
                .with_attribute(tracing.names.lsn, lsn);
            // A full ring drops the span and counts it.
            tracing.recorder.record(span);
        }
        Some(Took { ns: tracing.clock.elapsed_ns(start, end), end })
    }
}

impl SessionTracing {
    /// The create at the stop: the gap before it was run, and it may be sampled.
    #[inline(always)]
    fn arrive(&mut self) -> Option<Sampled> {
        self.creates.advance(self.gap);
        // Told of a change, the session had moved its stop.
        self.creates.arrive_as_drawn()
    }

    /// A span that its end kept. Its ids go by what the head said: then the ids of all spans agree with
    /// that, whatever the end keeps.
    #[cold]
    fn tail_span(
        &mut self,
        name: NameId,
        kept: Sampled,
        head: Option<Sampled>,
        start: Ticks,
        end: Ticks,
    ) -> SpanRecord {
        let trace_id = match head {
            Some(head) => self.creates.new_trace_id(head),
            None => self.creates.new_unsampled_trace_id(),
        };
        SpanRecord::new(trace_id, self.creates.new_span_id(), name, kept, start, end)
    }
}

impl Raised<'_> {
    /// As [`Session::create`].
    pub fn create(self, token: &Token) -> Result<TokenId, CreateError> {
        self.session.create_slowly(token, self.level)
    }

    /// As [`Session::update`].
    pub fn update(self, id: TokenId, token: &Token) -> Result<(), WriteError> {
        self.session.update_at(id, token, self.level)
    }

    /// As [`Session::delete`].
    pub fn delete(self, id: TokenId) -> Result<(), WriteError> {
        self.session.delete_at(id, self.level)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.inner.status.is_home() {
            // The last handle of a store would close it, and all that the parent shares with this process.
            return std::mem::forget(Arc::clone(&self.inner));
        }
        let leasing = self.inner.status.leasing.read();
        let unused = self.writer.hand_back();
        self.inner.guardian.release_unused(u64::from(unused));
        drop(leasing);
        self.inner.guardian.release_fixed(Session::BYTES);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("last_lsn", &self.last_lsn).finish_non_exhaustive()
    }
}

/// What the log is told of a change.
enum Entry<'c> {
    Put(&'c Token),
    Delete,
}

impl Logged {
    /// By what the token is and will be. `None`: nothing.
    fn entry<'c>(self, current: &Token, change: &'c Change) -> Option<Entry<'c>> {
        match change {
            Change::Put(token) if self.is(token) => Some(Entry::Put(token)),
            // Gone, or no longer one that survives a restart: either way the log forgets it.
            _ if self.is(current) => Some(Entry::Delete),
            _ => None,
        }
    }
}

impl Entry<'_> {
    fn append_to(self, log: &Log, id: TokenId) -> Result<Lsn, AppendError> {
        match self {
            Entry::Put(token) => log.wal.attempt(format::PUT, &format::put(id, token), false),
            Entry::Delete => log.wal.attempt(format::DELETE, &format::delete(id), true),
        }
    }
}

impl Inner {
    /// Credits for a lease. No recall misses them while the guard is held, and a store that closes
    /// waits for it: hold it until they are in the lease or released.
    fn reserve(&self) -> Result<(RwLockReadGuard<'_, ()>, u32), CreateError> {
        let leasing = self.status.leasing.read();
        self.status.check()?;
        if let Some(granted) = self.guardian.try_reserve(LEASE_SLOTS_MAX) {
            return Ok((leasing, granted.credits));
        }
        drop(leasing); // the guardian asks the leases, and that waits for this lock
        let granted = self.guardian.reserve(1)?;
        let leasing = self.status.leasing.read();
        if let Err(barred) = self.status.check() {
            self.guardian.release_unused(u64::from(granted.credits));
            return Err(barred.into());
        }
        Ok((leasing, granted.credits))
    }

    /// The guardian's word on memory that it refused a moment ago.
    fn memory_refusal(&self, bytes: u64) -> CreateError {
        let stats = self.guardian.stats();
        CreateError::MemoryExceeded {
            limit: stats.max_memory_bytes.unwrap_or(u64::MAX),
            used: stats.committed_bytes,
            requested: bytes,
        }
    }
}

/// Why no record could be claimed.
struct Stuck {
    error: AppendError,
    waited: Duration,
    /// Bytes of the log, and their limit.
    used: u64,
    limit: u64,
}

impl Stuck {
    fn of(error: AppendError, waited: Duration, log: Option<&Log>) -> Box<Stuck> {
        let (used, limit) = log.map_or((0, 0), Log::used_and_limit);
        Box::new(Stuck { error, waited, used, limit })
    }
}

impl From<Box<Stuck>> for CreateError {
    fn from(stuck: Box<Stuck>) -> CreateError {
        match stuck.error {
            AppendError::Full(full) => CreateError::LogFull {
                cause: Box::new(full.cause),
                used: stuck.used,
                limit: stuck.limit,
                waited: stuck.waited,
            },
            AppendError::Closed => CreateError::Closed,
            AppendError::Forked { opened_by } => CreateError::Forked { opened_by },
            other => CreateError::ReadOnly { cause: other.to_string() },
        }
    }
}

impl From<Box<Stuck>> for WriteError {
    fn from(stuck: Box<Stuck>) -> WriteError {
        match stuck.error {
            AppendError::Full(full) => WriteError::LogFull {
                cause: Box::new(full.cause),
                used: stuck.used,
                limit: stuck.limit,
                waited: stuck.waited,
            },
            AppendError::Closed => WriteError::Closed,
            AppendError::Forked { opened_by } => WriteError::Forked { opened_by },
            other => WriteError::ReadOnly { cause: other.to_string() },
        }
    }
}

impl From<Barred> for CreateError {
    fn from(barred: Barred) -> CreateError {
        match barred {
            Barred::ReadOnly(cause) => CreateError::ReadOnly { cause },
            Barred::Closed => CreateError::Closed,
            Barred::Forked { opened_by } => CreateError::Forked { opened_by },
        }
    }
}

impl From<Barred> for WriteError {
    fn from(barred: Barred) -> WriteError {
        match barred {
            Barred::ReadOnly(cause) => WriteError::ReadOnly { cause },
            Barred::Closed => WriteError::Closed,
            Barred::Forked { opened_by } => WriteError::Forked { opened_by },
        }
    }
}

impl From<Refusal> for CreateError {
    fn from(refusal: Refusal) -> CreateError {
        match refusal {
            Refusal::TokensExceeded { limit, used, .. } => {
                CreateError::QuotaExceeded { limit, used }
            }
            Refusal::MemoryExceeded { limit_bytes, used_bytes, requested_bytes } => {
                CreateError::MemoryExceeded {
                    limit: limit_bytes,
                    used: used_bytes,
                    requested: requested_bytes,
                }
            }
            other => CreateError::Pressure(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::{MemorySink, SamplerConfig};
    use crate::{Config, Health, Store, Token};
    use ng_wal::{Lsn, WaitError};
    use std::time::Duration;

    /// It made the store read-only for good.
    #[test]
    fn a_wait_that_was_too_short_for_the_disk_leaves_the_store_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Config::default()).unwrap();
        let mut session = store.session();
        let (lsn, durable_lsn) = (Lsn::new(9), Lsn::new(8));
        let waited = Duration::from_secs(1);
        session.heed_wait(&WaitError::TimedOut { lsn, durable_lsn, waited, refused: None });
        assert_eq!(store.health(), Health::Healthy);
        session.create(&Token::builder().build().unwrap()).unwrap();
    }

    /// As the pulse does it.
    fn sample_at(store: &Store, rate: f64) {
        let tracing = store.inner.tracing.as_ref().unwrap();
        tracing.sampler.reconfigure(SamplerConfig::fixed_rate(rate)).unwrap();
        store.inner.arena.ring();
    }

    /// Weights of the spans would add up to too little if a session heard of a change where its gap
    /// ends, and it would obey thousands of creates late.
    #[test]
    fn a_session_obeys_a_changed_rate_at_its_next_create_wherever_it_stands() {
        let mut config = Config::default();
        config.trace.sampler = SamplerConfig::fixed_rate(1e-6);
        let store = Store::builder(config).sink(Box::new(MemorySink::new())).in_memory().unwrap();
        let mut session = store.session();
        let token = Token::builder().build().unwrap();
        // Leases have 1,024 slots; a gap that finds nothing ends after 4,096.
        for creates in [0, 1, 1_022, 1_023, 1_024, 4_095, 4_096, 5_000] {
            sample_at(&store, 1e-6);
            (0..creates).for_each(|_| _ = session.create(&token).unwrap());
            let sampled = || store.stats().sampler.unwrap().samples_recorded_total;
            let before = sampled();
            sample_at(&store, 1.0);
            session.create(&token).unwrap();
            session.create(&token).unwrap();
            assert_eq!(sampled() - before, 2, "after {creates} creates");
            sample_at(&store, 0.0);
            session.create(&token).unwrap();
            assert_eq!(sampled() - before, 2, "and off again after {creates}");
        }
    }
}
