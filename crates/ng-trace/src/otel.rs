//! Sinks that hand real spans to OpenTelemetry's SDK, and the sampler as the SDK asks for one. Blocks the drain while the exporter works; exporters that need a runtime must bring their own.
//!
//! A span kept only at its end (error, slow) carries a sampled flag of 0, as it was sent on: an
//! exporter gets it like that. A processor would throw it away, so there the flag is set.

use crate::{
    decision::{Parent, Propagate, SampleContext, Verdict},
    error::SinkError,
    id,
    sampler::Sampler,
    sink::{FinishedSpan, Sink},
    span::{AttributeValue, Status},
    sync::Arc,
    threshold::{Randomness, Threshold},
};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue, SpanId, TraceFlags, TraceId,
    trace::{Link, SpanContext, SpanKind, Status as OtelStatus, TraceContextExt, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{
        SamplingDecision, SamplingResult, ShouldSample, SpanData, SpanEvents, SpanExporter,
        SpanLinks, SpanProcessor,
    },
};
use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Most spans that one call of an exporter gets: OpenTelemetry's own default.
pub(crate) const EXPORT_SPANS_MAX: usize = 512;
/// Bit of the trace flags that says "the trace id is random" (W3C Trace Context level 2).
const FLAG_RANDOM: u8 = 0x02;

/// Longest value of the tracestate's `ot` member; what would be longer is not set.
const OT_BYTES_MAX: usize = 256;

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

    /// One call of the exporter, with at most 512 spans.
    pub(crate) fn export_part(&mut self, part: &[FinishedSpan]) -> Result<(), OTelSdkError> {
        let spans = part.iter().map(|span| span_data(span, &self.scope, false)).collect();
        futures_executor::block_on(self.exporter.export(spans))
    }
}

impl<E: SpanExporter> Sink for OtelSink<E> {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let mut left = batch.len();
        for part in batch.chunks(EXPORT_SPANS_MAX) {
            // What an earlier call took is not lost by this one.
            let refused =
                |source: OTelSdkError| SinkError::Export { spans: left, source: source.into() };
            self.export_part(part).map_err(refused)?;
            left -= part.len();
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

/// The sampler for spans that OpenTelemetry's SDK makes: give it to `with_sampler`, on its own and
/// not within the SDK's `ParentBased`, which would lose its `th`.
///
/// A span below another one of this process follows it. A root is decided by the id which the SDK
/// gave it, and one that goes on with a caller's trace as [`Sampler::decide`] does. What is not
/// kept costs no allocation. Errors and slow spans cannot be kept at their end here: the SDK has
/// forgotten them by then.
#[derive(Clone, Debug)]
pub struct OtelSampler(Arc<Sampler>);

impl OtelSampler {
    /// Asks this sampler.
    pub fn new(sampler: Arc<Sampler>) -> Self {
        Self(sampler)
    }
}

impl ShouldSample for OtelSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        _name: &str,
        _span_kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let parent = parent_context
            .filter(|context| context.has_active_span())
            .map(|context| context.span().span_context().clone())
            .filter(SpanContext::is_valid);
        if let Some(local) = parent.as_ref().filter(|parent| !parent.is_remote()) {
            return sampling_result(local.is_sampled(), local.trace_state().clone(), Vec::new());
        }
        // Zero is refused by the SDK's own generator; another one's zero is as good as any id.
        let value =
            trace_id.to_bytes().iter().fold(0, |value, byte| value << 8 | u128::from(*byte));
        let own = id::TraceId::new(value);
        let Some(own) = own else {
            return sampling_result(false, TraceState::default(), Vec::new());
        };
        let state = parent.as_ref().map(|parent| parent.trace_state().clone()).unwrap_or_default();
        let context = match &parent {
            None => SampleContext::root(),
            Some(remote) => SampleContext::child_of(caller(own, remote)),
        };
        let decision = self.0.decide_trace(&context, own);
        let state = match decision.propagate {
            Propagate::Untouched => state,
            Propagate::Sampled { threshold } => with_threshold(state, threshold),
            Propagate::Unsampled => with_threshold(state, None),
        };
        if decision.verdict != Verdict::Keep {
            return sampling_result(false, state, Vec::new());
        }
        let reason = KeyValue::new(REASON_ATTRIBUTE, decision.reason.as_str());
        let weight = decision.odds.weight().map(|weight| KeyValue::new(WEIGHT_ATTRIBUTE, weight));
        sampling_result(true, state, std::iter::once(reason).chain(weight).collect())
    }
}

fn sampling_result(
    kept: bool,
    trace_state: TraceState,
    attributes: Vec<KeyValue>,
) -> SamplingResult {
    let decision = if kept { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop };
    SamplingResult { decision, attributes, trace_state }
}

/// A caller in another process, with the `th` and `rv` of its tracestate if they are valid.
fn caller(trace_id: id::TraceId, remote: &SpanContext) -> Parent {
    let mut parent = Parent::new(trace_id, remote.is_sampled());
    parent.random = remote.trace_flags().to_u8() & FLAG_RANDOM != 0;
    let ot = remote.trace_state().get("ot").unwrap_or_default();
    for (key, value) in ot.split(';').filter_map(|pair| pair.split_once(':')) {
        match key {
            "th" => parent.threshold = value.parse().ok(),
            "rv" => parent.explicit_randomness = randomness(value),
            _ => {}
        }
    }
    parent
}

/// The value of an `rv`: exactly 14 lower-case hexadecimal digits.
fn randomness(text: &str) -> Option<Randomness> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let valid = text.len() == 14 && text.bytes().all(lower_hex);
    let value = valid.then(|| u64::from_str_radix(text, 16).ok())??;
    Some(Randomness::from_low_bits(value))
}

/// The same tracestate with this `th`, or without one; all else of `ot` stays.
fn with_threshold(state: TraceState, threshold: Option<Threshold>) -> TraceState {
    let ot = state.get("ot").unwrap_or_default();
    let others = ot.split(';').filter(|pair| !pair.is_empty() && !pair.starts_with("th:"));
    let th = threshold.map(|threshold| format!("th:{threshold}"));
    let wanted = th.as_deref().into_iter().chain(others).collect::<Vec<_>>().join(";");
    if wanted == ot {
        return state;
    }
    // The key is valid, and so is the value unless the caller's own was not: then it goes.
    let changed = match wanted.as_str() {
        "" => state.delete("ot"),
        wanted if wanted.len() <= OT_BYTES_MAX => state.insert("ot", wanted.to_owned()),
        _ => return state,
    };
    changed.unwrap_or_default()
}

fn flush_error(source: OTelSdkError) -> SinkError {
    SinkError::Flush { source: source.into() }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("ng-trace").with_version(env!("CARGO_PKG_VERSION")).build()
}

fn span_data(span: &FinishedSpan, scope: &InstrumentationScope, always_sampled: bool) -> SpanData {
    let record = &span.record;
    let sampled = always_sampled || record.sampled_flag;
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
        parent_span_is_remote: record.parent_is_remote,
        span_kind: match record.kind {
            crate::SpanKind::Internal => SpanKind::Internal,
            crate::SpanKind::Server => SpanKind::Server,
            crate::SpanKind::Client => SpanKind::Client,
            crate::SpanKind::Producer => SpanKind::Producer,
            crate::SpanKind::Consumer => SpanKind::Consumer,
        },
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

/// What the span is [exported with](FinishedSpan::exported_state), but for members that
/// OpenTelemetry's type refuses: it has level 1's keys.
fn trace_state(span: &FinishedSpan) -> TraceState {
    let state = span.exported_state();
    if let Ok(whole) = state.as_str().parse() {
        return whole;
    }
    let takes = |member: &(&str, &str)| TraceState::from_key_value([*member]).is_ok();
    TraceState::from_key_value(state.members().filter(takes)).unwrap_or_default()
}

fn attributes(span: &FinishedSpan) -> Vec<KeyValue> {
    let own = span.attributes().map(|(key, value)| match value {
        // OpenTelemetry's integers are signed. Its specification ("Mapping Arbitrary Data to OTLP
        // AnyValue") has what does not fit as decimal digits, and `AttributeValue::U64` says so.
        AttributeValue::U64(value) => i64::try_from(value).map_or_else(
            |_| KeyValue::new(key, value.to_string()),
            |value| KeyValue::new(key, value),
        ),
        AttributeValue::I64(value) => KeyValue::new(key, value),
        AttributeValue::F64(value) => KeyValue::new(key, value),
        AttributeValue::Bool(value) => KeyValue::new(key, value),
        AttributeValue::Text(value) => KeyValue::new(key, value),
    });
    let reason = KeyValue::new(REASON_ATTRIBUTE, span.record.reason.as_str());
    let weight = span.record.weight().map(|weight| KeyValue::new(WEIGHT_ATTRIBUTE, weight));
    std::iter::once(reason).chain(weight).chain(own).collect()
}

fn system_time(unix_ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(unix_ns)
}
