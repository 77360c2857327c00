//! What tracing costs an operation: `cargo bench -p ng-trace`. The operation itself is nothing.
//!
//! - `decision_unsampled` times the countdown's answer to an operation that is not sampled.
//! - `sampled_span` times a decision, two readings of the clock, two ids and the way into the thread's ring. Between
//!   stretches, untimed, the ring is drained, so that no span is dropped.
//! - `traceparent_parse` times one header, well formed.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ng_trace::{
    Collector, CollectorConfig, CountingSink, LocalSampler, Sampler, SamplerConfig, SpanRecord,
    TraceParent,
};

/// Spans between two drains: they fill less than a quarter of the ring, so none is waited for.
const STRETCH: u64 = 10_000;
const RING_BYTES: usize = 4 << 20;
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
const HEADER: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn local(rate: f64) -> LocalSampler {
    let mut config = SamplerConfig::fixed_rate(rate);
    config.slow_threshold = None;
    Arc::new(Sampler::new(config).expect("a rate from 0 to 1")).local()
}

fn decision(c: &mut Criterion) {
    let mut group = c.benchmark_group("ng-trace");
    group.throughput(Throughput::Elements(1));
    let mut rare = local(1e-9);
    group.bench_function("decision_unsampled", |b| b.iter(|| rare.arrive().is_some()));
    group.throughput(Throughput::Bytes(HEADER.len() as u64));
    group.bench_function("traceparent_parse", |b| {
        b.iter(|| TraceParent::parse(black_box(HEADER)).expect("a header"));
    });
    group.finish();
}

fn span(c: &mut Criterion) {
    let mut config = CollectorConfig::default();
    config.ring_bytes = RING_BYTES;
    let sink = CountingSink::new();
    let collector = Collector::start(config, Box::new(sink.clone())).expect("a thread");
    let (name, clock) = (collector.name("bench"), collector.clock());
    let (mut recorder, mut local) = (collector.recorder(), local(1.0));
    let mut recorded = 0;
    let mut group = c.benchmark_group("ng-trace");
    group.throughput(Throughput::Elements(STRETCH));
    group.bench_function("sampled_span", |b| {
        b.iter_custom(|stretches| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..stretches {
                let begin = Instant::now();
                for _ in 0..STRETCH {
                    let Some(sampled) = local.arrive() else { continue };
                    let start = clock.now();
                    black_box(());
                    let end = clock.now();
                    let ids = (local.new_trace_id(sampled), local.new_span_id());
                    recorder.record(SpanRecord::new(ids.0, ids.1, name, sampled, start, end));
                }
                elapsed += begin.elapsed();
                recorded += STRETCH;
                collector.flush(DRAINED_WITHIN).expect("the sink only counts");
            }
            elapsed
        });
    });
    assert_eq!(sink.spans_total(), recorded, "a span was dropped");
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = decision, span
}
criterion_main!(hot_paths);
