//! Where finished spans go: the trait, and two sinks without dependencies. A sink runs on the drain's thread, so its time is never an operation's.

use crate::{
    error::SinkError,
    span::{AttributeValue, SPAN_ATTRIBUTES_MAX, SpanRecord, Status},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A span as a sink gets it: with the text of its names and with wall time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FinishedSpan {
    /// The span as it was recorded.
    pub record: SpanRecord,
    /// Its name.
    pub name: &'static str,
    /// When it began. Unit: nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// When it ended. Unit: nanoseconds since 1970.
    pub end_unix_ns: u64,
    pub(crate) attributes:
        [Option<(&'static str, AttributeValue<&'static str>)>; SPAN_ATTRIBUTES_MAX],
}

impl FinishedSpan {
    /// The attributes set, by name.
    pub fn attributes(
        &self,
    ) -> impl Iterator<Item = (&'static str, AttributeValue<&'static str>)> + use<> {
        self.attributes.into_iter().flatten()
    }
}

/// Takes finished spans. Called on the drain's thread with no lock held, one call at a time. It
/// may block; meanwhile rings fill and drop. A panic is caught and counted, and the next batch
/// comes nevertheless.
pub trait Sink: Send {
    /// Takes a batch. Spans of one recorder come in the order in which they were recorded. After
    /// an error the batch is counted as lost and does not come again.
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError>;

    /// Passes on whatever the sink itself still holds.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// The last call: nothing comes after it.
    fn shutdown(&mut self) -> Result<(), SinkError> {
        self.flush()
    }
}

/// Keeps spans in memory, without bound: for tests. A clone is a handle to the same spans.
#[derive(Clone, Debug, Default)]
pub struct MemorySink {
    spans: Arc<Mutex<Vec<FinishedSpan>>>,
}

impl MemorySink {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The spans so far.
    pub fn spans(&self) -> Vec<FinishedSpan> {
        self.spans.lock().clone()
    }

    /// Takes the spans so far out.
    pub fn take(&self) -> Vec<FinishedSpan> {
        std::mem::take(&mut *self.spans.lock())
    }
}

impl Sink for MemorySink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.spans.lock().extend_from_slice(batch);
        Ok(())
    }
}

/// Counts spans and forgets them: for measurements. A clone is a handle to the same counts.
#[derive(Clone, Debug, Default)]
pub struct CountingSink {
    counts: Arc<SinkCounts>,
}

#[derive(Debug, Default)]
struct SinkCounts {
    spans: AtomicU64,
    errors: AtomicU64,
    reversed: AtomicU64,
    span_id_sum: AtomicU64,
}

impl CountingSink {
    /// All counts zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Spans taken.
    pub fn spans_total(&self) -> u64 {
        self.counts.spans.load(Relaxed)
    }

    /// Spans of failed operations.
    pub fn errors_total(&self) -> u64 {
        self.counts.errors.load(Relaxed)
    }

    /// Spans that ended before they began, as a broken clock would have it.
    pub fn reversed_total(&self) -> u64 {
        self.counts.reversed.load(Relaxed)
    }

    /// Wrapping sum of all span ids: differs if one is lost, doubled or torn.
    pub fn span_id_sum(&self) -> u64 {
        self.counts.span_id_sum.load(Relaxed)
    }
}

impl Sink for CountingSink {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let count =
            |of: fn(&FinishedSpan) -> bool| batch.iter().filter(|span| of(span)).count() as u64;
        let sum = batch.iter().fold(0u64, |sum, span| sum.wrapping_add(span.record.span_id.get()));
        self.counts.spans.fetch_add(batch.len() as u64, Relaxed);
        self.counts.errors.fetch_add(count(|span| span.record.status == Status::Error), Relaxed);
        self.counts.reversed.fetch_add(count(|span| span.record.end < span.record.start), Relaxed);
        self.counts.span_id_sum.fetch_add(sum, Relaxed);
        Ok(())
    }
}
