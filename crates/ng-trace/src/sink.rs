//! Where finished spans go: the trait, and two sinks without dependencies. A sink runs on the drain's thread, so its time is never an operation's.

use crate::{
    error::SinkError,
    mutants,
    span::{AttributeValue, SPAN_ATTRIBUTES_MAX, SpanRecord, StateOf, Status},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    threshold::Threshold,
    tracestate::TraceState,
};

/// A span as a sink gets it: with the text of its names and with wall time.
#[derive(Clone, Debug, PartialEq)]
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
    /// The tracestate that it was recorded [with](crate::SpanRecorder::record_with_state).
    pub trace_state: TraceState,
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

    /// The tracestate to export it with: its own, with the `th` of what kept it, and with none where no
    /// threshold did or the trace's 56 bits (its `rv`, else its id) would contradict it. So a
    /// sampler behind the sink decides alike.
    pub fn exported_state(&self) -> TraceState {
        let mut state = self.trace_state.clone();
        let randomness = state.randomness().unwrap_or_else(|| self.record.trace_id.randomness());
        let known = self.record.state != StateOf::Dropped;
        let believe = mutants::on("trace-th-exported-against-the-id");
        let borne_out = |th: &Threshold| believe || (known && th.keeps(randomness));
        state.set_threshold(self.record.threshold().filter(borne_out));
        state
    }
}

/// Takes finished spans. Called on the drain's thread with no lock held, one call at a time. It
/// may block; meanwhile rings fill and drop. A panic is caught and counted, and the next batch
/// comes nevertheless.
pub trait Sink: Send {
    /// Takes a batch. Spans of one recorder come in the order in which they were recorded. After
    /// an error the spans that it [says were refused](SinkError::Export) are counted as lost and do
    /// not come again.
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
