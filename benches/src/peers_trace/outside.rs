//! OpenTelemetry's SDK, `tracing` with the OpenTelemetry layer, and fastrace. What they record goes to a processor or
//! reporter that counts and forgets: no exporter is part of any figure.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use opentelemetry::{
    Context,
    trace::{Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tracing_subscriber::layer::SubscriberExt as _;

use super::RARE;
use crate::{
    machine::version_in_lock,
    row::{Failure, Kind, Row, Sample, Work},
    subject::sample,
};

/// A span of theirs takes tens to thousands of nanoseconds: so many tokens are one.
const PART: u64 = 10;
const PART_OF_SLOW: u64 = 50;
/// The fewest that mean anything.
const LEAST: u64 = 5_000;
/// Between two drains of fastrace, whose queues would else spill: see its `collector` module.
const STRETCH: u64 = 2_000;

static COUNTED: AtomicU64 = AtomicU64::new(0);

fn operations(work: &Work, part: u64) -> u64 {
    (work.tokens / part).max(LEAST)
}

/// What became of a loop: all of it counted, or next to nothing.
fn expect(name: &str, counted: u64, operations: u64, sampled: bool) -> Result<(), Failure> {
    let good = if sampled { counted == operations } else { counted <= 20 + operations / 100_000 };
    if good {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} recorded {counted} of {operations} spans")))
}

/// Spans that a sampler keeps next to none of.
pub(crate) fn unsampled_rows() -> Vec<Row> {
    let ratio = || Sampler::TraceIdRatioBased(RARE);
    let parent = || Sampler::ParentBased(Box::new(ratio()));
    vec![
        otel_row("opentelemetry_sdk", ratio(), false),
        otel_row("opentelemetry_sdk:parent_based", parent(), false),
        layer_row("tracing-opentelemetry", ratio(), false),
        fastrace_row("fastrace", false),
    ]
}

/// Spans that are all recorded.
pub(crate) fn sampled_rows() -> Vec<Row> {
    vec![
        otel_row("opentelemetry_sdk", Sampler::AlwaysOn, true),
        layer_row("tracing-opentelemetry", Sampler::AlwaysOn, true),
        fastrace_row("fastrace", true),
    ]
}

#[derive(Debug)]
struct Forget;

impl SpanProcessor for Forget {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        black_box(span);
        COUNTED.fetch_add(1, Relaxed);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn tracer(sampler: Sampler) -> SdkTracer {
    let provider = SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(Forget);
    // The tracer keeps its provider alive.
    provider.build().tracer("bench")
}

fn otel_row(name: &'static str, sampler: Sampler, sampled: bool) -> Row {
    let tracer = tracer(sampler);
    Row::new(name, Kind::Peer, version_in_lock("opentelemetry_sdk"), move |work| {
        let operations = operations(work, PART);
        let before = COUNTED.load(Relaxed);
        let begin = Instant::now();
        for _ in 0..operations {
            drop(black_box(tracer.start("bench"))); // which ends it
        }
        let sample = sample(begin, operations);
        expect(name, COUNTED.load(Relaxed) - before, operations, sampled)?;
        Ok(sample)
    })
}

/// The subscriber is that of the thread, since two cannot both be that of the process; finding it takes a few
/// nanoseconds of more than a thousand.
fn layer_row(name: &'static str, sampler: Sampler, sampled: bool) -> Row {
    let layer = tracing_opentelemetry::layer().with_tracer(tracer(sampler));
    let dispatch = tracing::Dispatch::new(tracing_subscriber::registry().with(layer));
    Row::new(name, Kind::Peer, version_in_lock(name), move |work| {
        let operations = operations(work, PART_OF_SLOW);
        let before = COUNTED.load(Relaxed);
        let sample = tracing::dispatcher::with_default(&dispatch, || {
            let begin = Instant::now();
            for _ in 0..operations {
                let _entered = tracing::info_span!("bench").entered();
                black_box(());
            }
            sample(begin, operations)
        });
        expect(name, COUNTED.load(Relaxed) - before, operations, sampled)?;
        Ok(sample)
    })
}

struct Reporter;

impl fastrace::collector::Reporter for Reporter {
    fn report(&mut self, spans: Vec<fastrace::collector::SpanRecord>) {
        REPORTED.fetch_add(spans.len() as u64, Relaxed);
    }
}

static REPORTED: AtomicU64 = AtomicU64::new(0);
static REPORTER: std::sync::Once = std::sync::Once::new();

/// It has no sampler: who makes a root says whether it is sampled.
fn fastrace_row(name: &'static str, sampled: bool) -> Row {
    use fastrace::prelude::{Span, SpanContext, SpanId, TraceId};
    Row::new(name, Kind::Peer, version_in_lock(name), move |work| {
        let config = fastrace::collector::Config::default();
        REPORTER.call_once(|| fastrace::set_reporter(Reporter, config));
        let operations = operations(work, PART);
        let before = REPORTED.load(Relaxed);
        let mut elapsed = Duration::ZERO;
        let mut done = 0;
        while done < operations {
            let stretch = STRETCH.min(operations - done);
            let begin = Instant::now();
            for number in 0..stretch {
                let trace_id = TraceId(u128::from(done + number + 1));
                let context = SpanContext::new(trace_id, SpanId::default()).sampled(sampled);
                drop(black_box(Span::root("bench", context))); // which ends it
            }
            elapsed += begin.elapsed();
            if sampled {
                fastrace::flush();
            }
            done += stretch;
        }
        fastrace::flush();
        expect(name, REPORTED.load(Relaxed) - before, operations, sampled)?;
        Ok(Sample { elapsed_ns: elapsed.as_nanos() as u64, operations })
    })
}
