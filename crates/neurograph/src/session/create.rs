//! A create, from the writer's limit on: what is due there, and the way of a create that is logged.

use super::Session;
use super::spans::{Operation, SessionTracing};
use crate::error::CreateError;
use crate::format;
use crate::mutants;
use crate::observe::{QUOTA_EXCEEDED, TOKEN_CREATED};
use ng_blackbox::{Event, Severity};
use ng_core::{Due, Token, TokenId};
use ng_trace::{Sampled, Ticks};
use ng_wal::{Durability, Lsn};

impl Session {
    /// The create that the writer kept, with its time. All that a sampled one does is in this one
    /// function: a span that is handed to a call goes through memory, in pieces that don't fit.
    #[cold]
    #[inline(never)]
    pub(super) fn create_kept(&mut self) -> Result<TokenId, CreateError> {
        match self.create_at_stop() {
            Some(id) => Ok(id),
            None => self.create_logged_kept(),
        }
    }

    #[inline(never)]
    fn create_logged_kept(&mut self) -> Result<TokenId, CreateError> {
        self.create_logged(&self.writer.kept(), Durability::Relaxed)
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

    /// The way of every create that is logged, which is all of them by default, and of one for which something else than
    /// a stop is due.
    pub(super) fn create_logged(
        &mut self,
        token: &Token,
        level: Durability,
    ) -> Result<TokenId, CreateError> {
        let start = self.now();
        let mut sampled = None;
        let outcome = self.create_at_limit(&self.stamped(token), level, &mut sampled);
        let (id, failed) = match &outcome {
            Ok(id) => (Some(*id), false),
            Err(CreateError::DurabilityUnknown { id, .. }) => (Some(*id), true),
            Err(_) => (None, true),
        };
        // A token whose durability is unknown is there.
        let is_there = id.filter(|_| !mutants::on("store-unknown-counts-as-refused"));
        if let (Err(error), None) = (&outcome, is_there) {
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
                    Due::Bell => {
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
    pub(super) fn heed(&mut self) {
        let Some(tracing) = &mut self.tracing else { return };
        if !tracing.creates.has_news() {
            return;
        }
        self.tell_gap();
        let Some(tracing) = &mut self.tracing else { return };
        tracing.creates.refresh();
        tracing.gap = tracing.creates.gap();
        self.writer.stop_after(u64::from(tracing.gap));
    }

    /// Tells the sampler of the creates since the last stop.
    pub(super) fn tell_gap(&mut self) {
        let Some(tracing) = &mut self.tracing else { return };
        let left = self.writer.left_to_stop();
        tracing.creates.advance(u64::from(tracing.gap).saturating_sub(left) as u32);
    }

    /// After the create at a stop: run to the next.
    #[inline(always)]
    pub(super) fn rearm(&mut self) {
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
    pub(super) fn note_untraced(&mut self, id: TokenId, lsn: Option<Lsn>) {
        if let (None, Some(lane)) = (&self.tracing, &mut self.lane) {
            let numbers = [id.to_u64(), lsn.map_or(0, Lsn::get), 0, 0];
            lane.record(Event::numbers(TOKEN_CREATED, Severity::DEBUG, numbers));
        }
    }

    pub(super) fn note_refusal(&mut self, error: &CreateError) {
        self.inner.rejected.inc();
        if let CreateError::QuotaExceeded { limit, used } = *error {
            self.inner.quota_exceeded.inc();
            if let Some(lane) = &mut self.lane {
                let numbers = [limit, used, 0, 0];
                lane.record(Event::numbers(QUOTA_EXCEEDED, Severity::WARN, numbers));
            }
        }
    }
}
