//! What OpenTelemetry's SDK receives: the same ids, times, status and attributes as were recorded.
#![cfg(feature = "otel")]

use ng_trace::{
    Collector, CollectorConfig, Odds, Reason, Sampled, SpanId, SpanRecord, Status, Threshold,
    TraceId,
    otel::{OtelProcessorSink, OtelSink},
};
use opentelemetry::{Value, trace::Status as OtelStatus};
use opentelemetry_sdk::{
    Resource,
    trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData},
};
use std::time::{Duration, SystemTime};

const WAIT: Duration = Duration::from_secs(20);

fn head() -> Sampled {
    Sampled::by_threshold(Reason::Base, Threshold::from_rate(0.01).unwrap())
}

fn tail() -> Sampled {
    Sampled { reason: Reason::Error, odds: Odds::CERTAIN }
}

/// One span kept at its head and one kept for its error, through the collector.
fn record_two(collector: &Collector) -> [SpanRecord; 2] {
    let clock = collector.clock();
    let (name, key) = (collector.name("token.create"), collector.name("bytes"));
    let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c).unwrap();
    let id = |number| SpanId::new(number).unwrap();
    let start = clock.now();
    let first = SpanRecord::new(trace_id, id(11), name, head(), start, clock.now())
        .with_parent(id(10))
        .with_status(Status::Ok)
        .with_attribute(key, 64)
        .with_attribute(collector.name("huge"), u64::MAX);
    let second =
        SpanRecord::new(trace_id, id(12), name, tail(), start, start).with_status(Status::Error);
    let mut recorder = collector.recorder();
    assert!(recorder.record(first) && recorder.record(second));
    collector.flush(WAIT).unwrap();
    [first, second]
}

fn attribute(span: &SpanData, key: &str) -> Option<Value> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.clone())
}

#[test]
fn an_exporter_gets_real_spans_with_ids_times_status_and_attributes() {
    let exporter = InMemorySpanExporter::default();
    let resource = Resource::builder_empty().with_service_name("test").build();
    let sink = OtelSink::new(exporter.clone(), &resource);
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let before = SystemTime::now();
    let [recorded, _] = record_two(&collector);
    let spans = exporter.get_finished_spans().unwrap();
    let [first, second] = &spans[..] else { panic!("{} spans", spans.len()) };

    assert_eq!(first.name, "token.create");
    assert_eq!(first.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(first.span_context.span_id().to_string(), "000000000000000b");
    assert_eq!(first.parent_span_id.to_string(), "000000000000000a");
    assert_eq!(first.span_context.trace_flags().to_u8(), 0x03);
    assert_eq!(first.span_context.trace_state().get("ot"), Some("th:fd70a"));
    assert_eq!(first.status, OtelStatus::Ok);
    let slack = Duration::from_secs(1);
    assert!(first.start_time + slack >= before && first.start_time <= SystemTime::now() + slack);
    let lasted = collector.clock().elapsed(recorded.start, recorded.end);
    assert_eq!(first.end_time.duration_since(first.start_time).unwrap(), lasted);
    assert_eq!(attribute(first, "ng.sample.reason"), Some("base".into()));
    let weight = Threshold::from_rate(0.01).unwrap().weight();
    assert_eq!(attribute(first, "ng.sample.weight"), Some(weight.into()));
    assert_eq!(attribute(first, "bytes"), Some(64.into()));
    assert_eq!(attribute(first, "huge"), Some(u64::MAX.to_string().into()));

    assert!(matches!(second.status, OtelStatus::Error { .. }));
    assert_eq!(second.span_context.trace_flags().to_u8(), 0x02, "not sampled at its head");
    assert_eq!(second.span_context.trace_state().get("ot"), None);
    assert_eq!(attribute(second, "ng.sample.reason"), Some("error".into()));
    assert_eq!(attribute(second, "ng.sample.weight"), Some(1.0.into()));
}

#[test]
fn a_processor_gets_every_span_even_those_kept_at_their_end() {
    let exporter = InMemorySpanExporter::default();
    let processor = SimpleSpanProcessor::new(exporter.clone());
    let sink = OtelProcessorSink::new(processor, &Resource::builder_empty().build());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    record_two(&collector);
    let spans = exporter.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|span| span.span_context.is_sampled()));
}

#[test]
fn the_exporter_is_shut_down_with_the_collector() {
    let exporter = InMemorySpanExporter::default();
    let sink = OtelSink::new(exporter.clone(), &Resource::builder_empty().build());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    collector.shutdown(WAIT).unwrap();
    assert!(exporter.is_shutdown_called());
}
