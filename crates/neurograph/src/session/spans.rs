//! What a session samples, times and records.

use super::Session;
use crate::inner::Names;
use ng_core::TokenId;
use ng_trace::{
    Clock, LocalSampler, NameId, Sampled, Sampler, SpanRecord, SpanRecorder, Status, Ticks,
};
use std::sync::Arc;

pub(super) struct SessionTracing {
    /// Creates: its gaps are the writer's stops.
    pub(super) creates: LocalSampler,
    /// The gap that the writer runs through.
    pub(super) gap: u32,
    /// Updates and deletes.
    pub(super) others: LocalSampler,
    pub(super) recorder: SpanRecorder,
    pub(super) sampler: Arc<Sampler>,
    pub(super) clock: Clock,
    pub(super) names: Names,
}

/// Which span an operation gets.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
}

/// How long an operation took, and when it ended.
pub(super) struct Took {
    pub(super) ns: u64,
    pub(super) end: Ticks,
}

impl Session {
    pub(super) fn now(&self) -> Option<Ticks> {
        self.tracing.as_ref().map(|tracing| tracing.clock.now())
    }

    /// Records the operation's span if a rule keeps it. Returns how long it took.
    #[inline(always)]
    pub(super) fn record(
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
    pub(super) fn arrive(&mut self) -> Option<Sampled> {
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
