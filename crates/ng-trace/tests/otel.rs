//! What OpenTelemetry's SDK receives: the same ids, times, status and attributes as were recorded.
#![cfg(feature = "otel")]

use ng_trace::{
    Collector, CollectorConfig, Odds, Reason, Sampled, Sampler, SamplerConfig, SpanId, SpanRecord,
    Status, Threshold, TraceContext, TraceId,
    otel::{OtelProcessorSink, OtelSampler, OtelSink},
};
use opentelemetry::{
    Context, SpanId as OtelSpanId, TraceFlags, TraceId as OtelTraceId, Value,
    trace::{Span, SpanContext, Status as OtelStatus, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    trace::{InMemorySpanExporter, SdkTracerProvider, SimpleSpanProcessor, SpanData},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

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
    let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_84ff_eb21_1c80_319c).unwrap();
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
    assert_eq!(first.span_context.trace_id().to_string(), "0af7651916cd43dd84ffeb211c80319c");
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

/// The attribute `huge` as OpenTelemetry gets it when its value is this.
fn huge_as_exported(value: u64) -> Value {
    let exporter = InMemorySpanExporter::default();
    let sink = OtelSink::new(exporter.clone(), &Resource::builder_empty().build());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let now = collector.clock().now();
    let (trace_id, id) = (TraceId::new(1).unwrap(), SpanId::new(1).unwrap());
    let span = SpanRecord::new(trace_id, id, collector.name("x"), tail(), now, now);
    collector.recorder().record(span.with_attribute(collector.name("huge"), value));
    collector.flush(WAIT).unwrap();
    attribute(&exporter.get_finished_spans().unwrap()[0], "huge").unwrap()
}

/// OpenTelemetry has no unsigned integers; what its specification says of larger ones is the rule.
#[test]
fn a_number_is_an_integer_up_to_the_largest_signed_one_and_its_digits_beyond() {
    assert_eq!(huge_as_exported(0), Value::I64(0));
    assert_eq!(huge_as_exported(i64::MAX as u64), Value::I64(i64::MAX));
    assert_eq!(huge_as_exported(1 << 63), "9223372036854775808".into());
    assert_eq!(huge_as_exported(u64::MAX), "18446744073709551615".into());
}

/// A caller's `ot=th:8;rv:…` was exported as `ot=th:8`, which its trace id contradicts, and its
/// vendors' members were lost. What is exported here is read again as a sampler behind it would.
#[test]
fn what_a_caller_sent_is_exported_so_that_a_sampler_behind_it_decides_alike() {
    let exporter = InMemorySpanExporter::default();
    let sink = OtelSink::new(exporter.clone(), &Resource::builder_empty().build());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let (mut recorder, now) = (collector.recorder(), collector.clock().now());
    let sampler = sampler(0.5);
    let id = SpanId::new(7).unwrap();
    // R of this id is zero: no threshold keeps it but th:0.
    let traceparent = "00-0af7651916cd43dd8400000000000000-b7ad6b7169203331-03";
    for (tracestate, exported) in [
        ("ot=th:8;rv:90000000000000,v=1,w=2", "ot=th:8;rv:90000000000000,v=1,w=2"),
        ("v=1,ot=th:8;rv:90000000000000;x:y", "v=1,ot=th:8;rv:90000000000000;x:y"),
        ("v=1,ot=th:8", "v=1"),
        ("v=1,ot=th:8;rv:10000000000000", "ot=rv:10000000000000,v=1"),
        ("v=1", "v=1"),
        ("", ""),
        // What OpenTelemetry's type refuses does not take the others with it.
        ("a@b@c=1,ot=th:0;rv:00000000000001", "ot=th:0;rv:00000000000001"),
    ] {
        let read =
            |state: &str| TraceContext::read([traceparent.as_bytes()], [state.as_bytes()]).unwrap();
        let caller = read(tracestate);
        let decision = sampler.decide(&caller.sample_context());
        let told = caller.child(&decision, id);
        let sampled = decision.sampled().unwrap();
        let name = collector.name("child");
        let span = SpanRecord::new(caller.parent.trace_id, id, name, sampled, now, now)
            .with_remote_parent(caller.parent.parent_id);
        assert!(recorder.record_with_state(span, &told.state));
        collector.flush(WAIT).unwrap();
        let spans = exporter.get_finished_spans().unwrap();
        exporter.reset();
        let header = spans[0].span_context.trace_state().header();
        assert_eq!(header, exported, "{tracestate}");
        let again = read(&header);
        assert_eq!(again.state.randomness(), caller.state.randomness());
        let behind = sampler.decide(&again.sample_context());
        assert_eq!(
            (behind.verdict, behind.odds),
            (decision.verdict, decision.odds),
            "{tracestate}"
        );
    }
}

/// Recorded without its tracestate a span has no `rv`, and a `th` that its id contradicts is none.
#[test]
fn a_th_that_the_trace_id_contradicts_is_not_exported() {
    let exporter = InMemorySpanExporter::default();
    let sink = OtelSink::new(exporter.clone(), &Resource::builder_empty().build());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let now = collector.clock().now();
    let id = SpanId::new(7).unwrap();
    for (trace_id, ot) in [(1, None), (u128::MAX, Some("th:fd70a"))] {
        let trace_id = TraceId::new(trace_id).unwrap();
        let span = SpanRecord::new(trace_id, id, collector.name("x"), head(), now, now);
        collector.recorder().record(span);
        collector.flush(WAIT).unwrap();
        let spans = exporter.get_finished_spans().unwrap();
        exporter.reset();
        assert_eq!(spans[0].span_context.trace_state().get("ot"), ot);
        assert!(attribute(&spans[0], "ng.sample.weight").is_some());
    }
}

/// A provider with the sampler, and where its spans go.
fn provider(sampler: &Arc<Sampler>) -> (SdkTracerProvider, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(OtelSampler::new(Arc::clone(sampler)))
        .with_simple_exporter(exporter.clone())
        .build();
    (provider, exporter)
}

/// A caller in another process.
fn remote(trace_id: u128, flags: u8, state: &str) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        OtelTraceId::from(trace_id),
        OtelSpanId::from(7u64),
        TraceFlags::new(flags),
        true,
        state.parse().unwrap(),
    ))
}

fn sampler(rate: f64) -> Arc<Sampler> {
    Arc::new(Sampler::new(SamplerConfig::fixed_rate(rate)).unwrap())
}

#[test]
fn the_sdk_keeps_roots_by_their_ids_and_says_th_reason_and_weight() {
    let sampler = sampler(0.25);
    let (provider, exporter) = provider(&sampler);
    let tracer = provider.tracer("test");
    for _ in 0..2000 {
        let root = tracer.start("root");
        let below = Context::new().with_span(root);
        tracer.start_with_context("below", &below).end();
    }
    let spans = exporter.get_finished_spans().unwrap();
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "root").collect();
    // 4 sigma of 2000 draws at a quarter.
    assert!((423..=577).contains(&roots.len()), "{}", roots.len());
    assert_eq!(spans.len(), 2 * roots.len(), "what is below a root follows it");
    for span in &spans {
        assert_eq!(span.span_context.trace_state().get("ot"), Some("th:c"));
        let id = u128::from_be_bytes(span.span_context.trace_id().to_bytes());
        assert!(TraceId::new(id).unwrap().randomness().get() >= 0xc0_0000_0000_0000);
    }
    assert_eq!(attribute(roots[0], "ng.sample.reason"), Some("base".into()));
    assert_eq!(attribute(roots[0], "ng.sample.weight"), Some(4.0.into()));
    assert_eq!(sampler.stats().samples_total, 2000);
}

#[test]
fn the_sdk_follows_a_caller_and_keeps_what_its_tracestate_says_besides() {
    let sampler = sampler(0.01);
    let (provider, exporter) = provider(&sampler);
    let tracer = provider.tracer("test");
    let id = 0x0af7_6519_16cd_43dd_84f0_0000_0000_0000; // R = f00…
    for (flags, state, ot) in [
        (3, "ot=th:c;xy:1,vendor=v", Some(Some("th:c;xy:1"))),
        (3, "ot=th:fa;rv:fb000000000000", Some(Some("th:fa;rv:fb000000000000"))),
        // The id contradicts it, or it is no `th`: the flag stands, the `th` goes.
        (3, "ot=th:f1;xy:1", Some(Some("xy:1"))),
        (3, "ot=th:zz", Some(None)),
        (1, "vendor=v", Some(None)),
        (2, "ot=th:c", None),
    ] {
        tracer.start_with_context("child", &remote(id, flags, state)).end();
        let spans = exporter.get_finished_spans().unwrap();
        exporter.reset();
        let found = spans.first().map(|span| span.span_context.trace_state().get("ot"));
        assert_eq!(found, ot, "{flags} {state}");
        if let Some(span) = spans.first() {
            assert_eq!(attribute(span, "ng.sample.reason"), Some("parent_sampled".into()));
            let vendor = span.span_context.trace_state().get("vendor");
            assert_eq!(vendor.is_some(), state.contains("vendor"));
        }
    }
    let dropped = tracer.start_with_context("child", &remote(id, 2, "ot=th:c;rv:fb000000000000"));
    let state = dropped.span_context().trace_state();
    assert_eq!(state.get("ot"), Some("rv:fb000000000000"), "th goes, rv stays");
    sampler.set_enabled(false);
    let untouched = tracer.start_with_context("child", &remote(id, 3, "ot=th:c"));
    assert!(!untouched.span_context().is_sampled());
    assert_eq!(untouched.span_context().trace_state().get("ot"), Some("th:c"));
}
