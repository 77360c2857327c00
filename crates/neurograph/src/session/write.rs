//! A write to a token that is there: update, delete, and cleanup's eviction; and waiting, for room or for the disk.

use super::Session;
use super::spans::Operation;
use crate::durable::logged::Change;
use crate::error::{Stuck, WriteError};
use crate::inner::is_pinned;
use ng_core::{Token, TokenId};
use ng_trace::{Sampled, Ticks};
use ng_wal::{AppendError, Durability, Full, FullCause, Lsn, WaitError};
use std::cell::Cell;
use std::time::Instant;

impl Session {
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

    /// An update or a delete begins: what the sampler says of it.
    #[inline(always)]
    pub(super) fn other_arrives(&mut self) -> Option<Sampled> {
        self.tracing.as_mut().and_then(|tracing| tracing.others.arrive())
    }

    pub(super) fn update_at(
        &mut self,
        id: TokenId,
        token: &Token,
        level: Durability,
    ) -> Result<(), WriteError> {
        let token = self.stamped(token);
        self.write(Operation::Update, id, level, |_| Ok(Change::Put(token)))
    }

    pub(super) fn update_if_at(
        &mut self,
        id: TokenId,
        expected: &Token,
        new: &Token,
        level: Durability,
    ) -> Result<(), WriteError> {
        let new = self.stamped(new);
        self.write(Operation::Update, id, level, |current| {
            if current != expected {
                return Err(WriteError::Conflict { id, current: Box::new(*current) });
            }
            Ok(Change::Put(new))
        })
    }

    pub(super) fn modify_at(
        &mut self,
        id: TokenId,
        mut change: impl FnMut(Token) -> Token,
        level: Durability,
    ) -> Result<Token, WriteError> {
        loop {
            let current = self.get(id).ok_or(WriteError::NotFound { id })?;
            let new = self.stamped(&change(current));
            match self.update_if_at(id, &current, &new, level) {
                Ok(()) => return Ok(new),
                Err(WriteError::Conflict { .. }) => continue,
                Err(error) => return Err(error),
            }
        }
    }

    #[inline]
    pub(super) fn delete_at(&mut self, id: TokenId, level: Durability) -> Result<(), WriteError> {
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

    pub(super) fn write(
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
    pub(super) fn reach(&self, lsn: Lsn, level: Durability) -> Result<(), WaitError> {
        let Some(log) = self.inner.log.as_ref().filter(|_| self.waits) else { return Ok(()) };
        let level = level.max(log.level);
        if level == Durability::Relaxed {
            return Ok(());
        }
        log.reach(lsn, level).inspect_err(|cause| self.heed_wait(cause))
    }

    pub(super) fn heed_wait(&self, cause: &WaitError) {
        if let WaitError::Failed(failure) = cause {
            self.inner.status.set_read_only(&failure.to_string());
            self.inner.arena.alert_writers();
        }
    }

    /// After a refused claim: waits if that can help. A session that never waits does so for the queue
    /// alone, which empties by itself.
    pub(super) fn wait_for_room(
        &self,
        error: AppendError,
        begun: &mut Option<Instant>,
    ) -> Result<(), Box<Stuck>> {
        let begun = *begun.get_or_insert_with(Instant::now);
        let may_wait = |full: &Full| self.waits || matches!(full.cause, FullCause::Ring { .. });
        if let (AppendError::Full(full), Some(log)) = (&error, &self.inner.log)
            && may_wait(full)
        {
            return log
                .wait_for_room(full, begun)
                .map_err(|waited| Stuck::of(error, waited, Some(log)));
        }
        if let AppendError::Failed(failure) = &error {
            self.inner.status.set_read_only(&failure.to_string());
        }
        Err(Stuck::of(error, begun.elapsed(), None))
    }
}
