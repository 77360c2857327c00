//! Sinks that hand real spans to OpenTelemetry's SDK: the only file that knows its types. Blocks the drain while the exporter works; exporters that need a runtime must bring their own.
//!
//! A span kept only at its end (error, slow) carries a sampled flag of 0, as it was sent on: an
//! exporter gets it like that. A processor would throw it away, so there the flag is set.

use crate::{
    error::SinkError,
    sink::{FinishedSpan, Sink},
    span::Status,
};
use opentelemetry::{
    InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{SpanContext, SpanKind, Status as OtelStatus, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor},
};
use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Most spans that one call of an exporter gets: OpenTelemetry's own default.
const EXPORT_SPANS_MAX: usize = 512;
/// Bit of the trace flags that says "the trace id is random" (W3C Trace Context level 2).
const FLAG_RANDOM: u8 = 0x02;

/// Attribute with the rule that kept the span, such as `error`.
pub const REASON_ATTRIBUTE: &str = "ng.sample.reason";
/// Attribute with the number of operations that the span stands for; missing if not known.
pub const WEIGHT_ATTRIBUTE: &str = "ng.sample.weight";

/// Hands spans to a `SpanExporter`, in batches of at most 512.
#[derive(Debug)]
pub struct OtelSink<E> {
    exporter: E,
    scope: InstrumentationScope,
}

impl<E: SpanExporter> OtelSink<E> {
    /// Tells the exporter whose spans these are, which it needs to know before the first.
    pub fn new(mut exporter: E, resource: &Resource) -> Self {
        exporter.set_resource(resource);
        Self { exporter, scope: scope() }
    }

    /// Names the library that the spans come from. Default: `ng-trace`.
    pub fn with_scope(self, scope: InstrumentationScope) -> Self {
        Self { scope, ..self }
    }
}

impl<E: SpanExporter> Sink for OtelSink<E> {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        for part in batch.chunks(EXPORT_SPANS_MAX) {
            let spans = part.iter().map(|span| span_data(span, &self.scope, false)).collect();
            futures_executor::block_on(self.exporter.export(spans)).map_err(|source| {
                SinkError::Export { spans: batch.len(), source: source.into() }
            })?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.exporter.force_flush().map_err(flush_error)
    }

    fn shutdown(&mut self) -> Result<(), SinkError> {
        self.exporter.shutdown().map_err(flush_error)
    }
}

/// Hands spans to a `SpanProcessor` by its `on_end`. Its `on_start` is never called: these spans
/// are over before they are known.
#[derive(Debug)]
pub struct OtelProcessorSink<P> {
    processor: P,
    scope: InstrumentationScope,
}

impl<P: SpanProcessor> OtelProcessorSink<P> {
    /// Tells the processor whose spans these are, which it needs to know before the first.
    pub fn new(mut processor: P, resource: &Resource) -> Self {
        processor.set_resource(resource);
        Self { processor, scope: scope() }
    }

    /// Names the library that the spans come from. Default: `ng-trace`.
    pub fn with_scope(self, scope: InstrumentationScope) -> Self {
        Self { scope, ..self }
    }
}

impl<P: SpanProcessor> Sink for OtelProcessorSink<P> {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        for span in batch {
            self.processor.on_end(span_data(span, &self.scope, true));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.processor.force_flush().map_err(flush_error)
    }

    fn shutdown(&mut self) -> Result<(), SinkError> {
        self.processor.shutdown().map_err(flush_error)
    }
}

fn flush_error(source: OTelSdkError) -> SinkError {
    SinkError::Flush { source: source.into() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("ng-trace").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn span_data(span: &FinishedSpan, scope: &InstrumentationScope, always_sampled: bool) -> SpanData {
    let record = &span.record;
    let sampled = always_sampled || !record.reason.is_tail();
    let flags = TraceFlags::new(if record.random_trace_id { FLAG_RANDOM } else { 0 });
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(record.trace_id.get()),
            SpanId::from(record.span_id.get()),
            flags.with_sampled(sampled),
            false,
            trace_state(span),
        ),
        parent_span_id: record.parent.map_or(SpanId::INVALID, |parent| SpanId::from(parent.get())),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(span.name),
        start_time: system_time(span.start_unix_ns),
        end_time: system_time(span.end_unix_ns),
        attributes: attributes(span),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match record.status {
            Status::Unset => OtelStatus::Unset,
            Status::Ok => OtelStatus::Ok,
            Status::Error => OtelStatus::error(""),
        },
        instrumentation_scope: scope.clone(),
    }
}

/// `ot=th:…` where a threshold kept the span, nothing where none did.
fn trace_state(span: &FinishedSpan) -> TraceState {
    let th = span.record.threshold().map(|threshold| ("ot", format!("th:{threshold}")));
    TraceState::from_key_value(th).unwrap_or_default()
}

fn attributes(span: &FinishedSpan) -> Vec<KeyValue> {
    let own = span.attributes().map(|(key, value)| {
        // OpenTelemetry's integers are signed; what does not fit stays readable as text.
        i64::try_from(value).map_or_else(
            |_| KeyValue::new(key, value.to_string()),
            |value| KeyValue::new(key, value),
        )
    });
    let reason = KeyValue::new(REASON_ATTRIBUTE, span.record.reason.as_str());
    let weight = span.record.weight().map(|weight| KeyValue::new(WEIGHT_ATTRIBUTE, weight));
    std::iter::once(reason).chain(weight).chain(own).collect()
}

fn system_time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}
