//! Many writes in one call: one claim of the log for as many of them as a frame holds.
//!
//! A batch goes in *parts*. Of each part the log gets one batch of records, so after a crash all of the
//! part is there or nothing of it; in memory too it is done or refused as a whole. As for a single write
//! the writing bits are held around the claim, and nothing is waited for meanwhile: creates have their
//! slots before, and a bit that somebody has already, the batch itself for an id named twice, ends the
//! part. So two batches in opposite order can't wait for each other.
//!
//! A batch is durable when its last record is: one wait, at the end.

use super::Session;
use super::spans::{Operation, SessionTracing};
use crate::durable::log::Log;
use crate::durable::logged::Change;
use crate::error::{CreateBatchError, CreateError, WriteBatchError, WriteError};
use crate::format;
use crate::inner::is_pinned;
use crate::mutants;
use crate::observe::TOKEN_CREATED;
use ng_blackbox::{Event, Severity};
use ng_core::{Due, Token, TokenId};
use ng_trace::{Sampled, Ticks};
use ng_wal::{AppendError, Durability, FullCause, Lsn};
use std::sync::atomic::Ordering::Relaxed;

/// A write of a part that the sampler chose, or the flight recorder where nothing is traced.
struct Chosen {
    /// Its place in the part.
    place: usize,
    sampled: Option<Sampled>,
}

/// What was written of a batch of updates or deletes in one part.
struct Part {
    written: usize,
    /// The last record, if anything of it is logged.
    lsn: Option<Lsn>,
    /// The id after it is stale, and ends the batch.
    stale: Option<TokenId>,
}

impl Session {
    pub(super) fn create_batch_at(
        &mut self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
        level: Durability,
    ) -> Result<(), CreateBatchError> {
        let before = ids.len();
        ids.reserve(tokens.len());
        let is_logged = self.inner.log.is_some() && tokens.iter().any(|t| self.logged.is(t));
        let outcome = match is_logged {
            true => self.create_parts(tokens, ids, level),
            false => self.create_unlogged(tokens, ids),
        };
        outcome.map_err(|source| CreateBatchError { created: ids.len() - before, source })
    }

    /// The arena's hot path in a loop. Where something is due, a single create does it.
    fn create_unlogged(
        &mut self,
        mut tokens: &[Token],
        ids: &mut Vec<TokenId>,
    ) -> Result<(), CreateError> {
        while let Some(first) = tokens.first() {
            let seconds = self.inner.seconds.load(Relaxed);
            let stamped = tokens.iter().map(|token| stamp(token, seconds));
            let mut created = self.writer.create_run(stamped, ids);
            if created == 0 {
                ids.push(self.create(first)?);
                created = 1;
            }
            tokens = &tokens[created..];
        }
        Ok(())
    }

    fn create_parts(
        &mut self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
        level: Durability,
    ) -> Result<(), CreateError> {
        let (mut last, mut outcome) = (None, Ok(()));
        for part in tokens.chunks(self.inner.batch_max()) {
            match self.create_part(part, ids) {
                Ok(lsn) => last = lsn.or(last),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // What was created before a refusal is durable as any other.
        match (last, ids.last()) {
            (Some(lsn), Some(&id)) => outcome.and(
                self.reach(lsn, level).map_err(|cause| CreateError::DurabilityUnknown {
                    id,
                    lsn,
                    cause,
                }),
            ),
            _ => outcome,
        }
    }

    /// Creates all of them or none. Returns the last record, if one of them is logged.
    fn create_part(
        &mut self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
    ) -> Result<Option<Lsn>, CreateError> {
        let (start, mut chosen, before) = (self.now(), Vec::new(), ids.len());
        let outcome = self.create_part_at(tokens, ids, &mut chosen);
        if let Err(error) = &outcome {
            if !mutants::on("store-refused-batch-keeps-its-slots") {
                let unused = self.writer.give_back_set_aside();
                self.cell.release(u64::from(unused));
            }
            self.note_refusal(error);
        }
        if let Ok(Some(lsn)) = outcome {
            self.last_lsn = lsn;
        }
        self.tell_of_part(Operation::Create, start, &chosen, &ids[before..], outcome.is_err());
        outcome
    }

    fn create_part_at(
        &mut self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
        chosen: &mut Vec<Chosen>,
    ) -> Result<Option<Lsn>, CreateError> {
        self.inner.status.check()?;
        self.set_slots_aside(tokens.len(), chosen)?;
        // All that allocates comes before the first bit is set.
        let seconds = self.inner.seconds.load(Relaxed);
        let payloads: Vec<_> = (self.writer.ids_set_aside().zip(tokens))
            .filter(|(_, token)| self.logged.is(token))
            .map(|(id, token)| format::put(id, &stamp(token, seconds)))
            .collect();
        let records: Vec<(u8, &[u8])> =
            payloads.iter().map(|payload| (format::PUT, &payload[..])).collect();
        let new_ids: Vec<TokenId> = self.writer.ids_set_aside().collect();
        let mut begun = None;
        loop {
            let pending = self.writer.begin_set_aside();
            let log = self.inner.log.as_ref().filter(|_| !records.is_empty());
            let claim = |log: &Log| match mutants::on("store-batch-in-two-claims") {
                true => (records.chunks(records.len().div_ceil(2)))
                    .try_fold(Lsn::NONE, |_, half| log.wal.attempt_batch(half, false)),
                false => log.wal.attempt_batch(&records, false),
            };
            match log.map(claim).transpose() {
                Ok(lsn) => {
                    pending.commit(tokens.iter().map(|token| stamp(token, seconds)));
                    ids.extend_from_slice(&new_ids);
                    return Ok(lsn);
                }
                Err(error) => {
                    // Readers and checkpoints never wait for the disk; the slots stay where they are.
                    drop(pending);
                    self.wait_for_room(error, &mut begun)?;
                }
            }
        }
    }

    /// Slots for a part, with all that is due on the way to them.
    fn set_slots_aside(
        &mut self,
        count: usize,
        chosen: &mut Vec<Chosen>,
    ) -> Result<(), CreateError> {
        loop {
            let place = self.writer.count_set_aside();
            if place == count {
                return Ok(());
            }
            if self.writer.set_aside(count - place) > 0 {
                continue;
            }
            match self.writer.due() {
                Due::Stop if self.writer.set_aside_due() => {
                    let sampled = self.tracing.as_mut().and_then(SessionTracing::arrive);
                    chosen.push(Chosen { place, sampled });
                    self.rearm();
                }
                Due::Stop => {} // it was taken back a moment ago
                Due::Lease => {
                    self.refill()?;
                    self.heed();
                }
                Due::Bell => {
                    self.inner.status.check()?;
                    self.writer.resume();
                    self.heed();
                }
            }
        }
    }

    pub(super) fn update_batch_at(
        &mut self,
        updates: &[(TokenId, Token)],
        level: Durability,
    ) -> Result<(), WriteBatchError> {
        let seconds = self.inner.seconds.load(Relaxed);
        let update = |place: usize| {
            let (id, token) = &updates[place];
            (*id, Change::Put(stamp(token, seconds)))
        };
        self.write_batch(Operation::Update, updates.len(), update, level)
    }

    pub(super) fn delete_batch_at(
        &mut self,
        ids: &[TokenId],
        level: Durability,
    ) -> Result<(), WriteBatchError> {
        let delete = |place: usize| (ids[place], Change::Delete);
        self.write_batch(Operation::Delete, ids.len(), delete, level)
    }

    fn write_batch(
        &mut self,
        operation: Operation,
        count: usize,
        write: impl Fn(usize) -> (TokenId, Change),
        level: Durability,
    ) -> Result<(), WriteBatchError> {
        let (mut done, mut last, mut outcome) = (0, None, Ok(()));
        while done < count && outcome.is_ok() {
            let start = self.now();
            match self.write_part(count - done, |place| write(done + place)) {
                Ok(part) => {
                    last = part.lsn.or(last);
                    self.last_lsn = part.lsn.unwrap_or(self.last_lsn);
                    self.tell_of_writes(operation, start, done..done + part.written, &write);
                    done += part.written;
                    outcome = part.stale.map_or(Ok(()), |id| Err(WriteError::NotFound { id }));
                }
                Err(error) => outcome = Err(error),
            }
            if outcome.is_err() {
                let id = write(done).0;
                let sampled = self.other_arrives();
                let chosen = [Chosen { place: 0, sampled }];
                self.tell_of_part(operation, start, &chosen, &[id], true);
            }
        }
        if let Some(lsn) = last
            && let Err(cause) = self.reach(lsn, level)
        {
            let id = write(done.saturating_sub(1)).0;
            outcome = Err(WriteError::DurabilityUnknown { id, lsn, cause });
        }
        outcome.map_err(|source| WriteBatchError { done, source })
    }

    /// Writes the first of up to `count` tokens, as many as can be held at once. An error: none.
    fn write_part(
        &mut self,
        count: usize,
        write: impl Fn(usize) -> (TokenId, Change),
    ) -> Result<Part, WriteError> {
        self.inner.status.check()?;
        let mut most = count.min(self.inner.batch_max());
        let mut begun = None;
        loop {
            // All that allocates comes before the first bit is taken.
            let mut payloads = Vec::with_capacity(most);
            let mut records: Vec<(u8, &[u8])> = Vec::with_capacity(most);
            let mut edits = self.writer.edits(most);
            let (mut stale, mut deleted, mut released_pin) = (None, 0, false);
            while edits.len() < most {
                let (id, change) = write(edits.len());
                match edits.add(id) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => {
                        stale = Some(id);
                        break;
                    }
                }
                let Some(current) = edits.last() else { break };
                payloads.extend(self.logged.entry(&current, &change).map(|e| e.encode(id)));
                match change {
                    Change::Put(token) => released_pin |= is_pinned(&current) && !is_pinned(&token),
                    Change::Delete => deleted += 1,
                }
            }
            records.extend(payloads.iter().map(format::Encoded::as_record));
            let leads_to_room = records.iter().all(|(kind, _)| *kind == format::DELETE);
            let log = self.inner.log.as_ref().filter(|_| !records.is_empty());
            match log.map(|log| log.wal.attempt_batch(&records, leads_to_room)).transpose() {
                Ok(lsn) => {
                    let written = edits.len();
                    for place in 0..written {
                        match write(place).1 {
                            Change::Put(token) => edits.replace_next(&token),
                            Change::Delete => edits.delete_next(),
                        }
                    }
                    drop(edits);
                    self.cell.release(deleted);
                    if released_pin {
                        self.inner.guardian.note_evictable();
                    }
                    return Ok(Part { written, lsn, stale });
                }
                Err(error) => {
                    drop(edits);
                    // In what is left of the log's limit fewer of them may fit.
                    match is_at_the_limit(&error) && most > 1 {
                        true => most /= 2,
                        false => self.wait_for_room(error, &mut begun)?,
                    }
                }
            }
        }
    }

    /// What the sampler says of the writes of a part, and spans of those it chose.
    fn tell_of_writes(
        &mut self,
        operation: Operation,
        start: Option<Ticks>,
        places: std::ops::Range<usize>,
        write: impl Fn(usize) -> (TokenId, Change),
    ) {
        if self.tracing.is_none() {
            return;
        }
        let ids: Vec<TokenId> = places.map(|place| write(place).0).collect();
        let chosen: Vec<Chosen> = (0..ids.len())
            .filter_map(|place| {
                let sampled = self.other_arrives();
                sampled.is_some().then_some(Chosen { place, sampled })
            })
            .collect();
        self.tell_of_part(operation, start, &chosen, &ids, false);
    }

    /// Spans of the chosen writes, each from the part's begin to its end. Where none was chosen, a part
    /// that failed or was slow has one nevertheless.
    fn tell_of_part(
        &mut self,
        operation: Operation,
        start: Option<Ticks>,
        chosen: &[Chosen],
        ids: &[TokenId],
        failed: bool,
    ) {
        let Some(start) = start else {
            for id in chosen.iter().filter_map(|chosen| ids.get(chosen.place)) {
                self.note_untraced(*id, Some(self.last_lsn));
            }
            return;
        };
        if chosen.iter().all(|chosen| chosen.sampled.is_none()) {
            self.record(operation, start, None, ids.first().copied(), failed);
            return;
        }
        for Chosen { place, sampled } in chosen {
            let id = ids.get(*place).copied();
            let took = self.record(operation, start, *sampled, id, failed);
            if let (Operation::Create, Some(took), Some(_), Some(id)) =
                (operation, took, sampled, id)
                && let Some(lane) = &mut self.lane
            {
                let numbers = [id.to_u64(), self.last_lsn.get(), took.ns, 0];
                let event = Event::numbers(TOKEN_CREATED, Severity::DEBUG, numbers);
                lane.record_at(event, took.end.get());
            }
        }
    }
}

fn is_at_the_limit(error: &AppendError) -> bool {
    matches!(error, AppendError::Full(full) if matches!(full.cause, FullCause::Log { .. }))
}

fn stamp(token: &Token, seconds: u32) -> Token {
    match token.timestamp() {
        0 => token.with_timestamp(seconds),
        _ => *token,
    }
}
