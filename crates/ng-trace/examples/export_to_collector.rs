//! Sends the spans of a loop to an OpenTelemetry collector, whether one is there or not: `cargo run --release --features otlp --example export_to_collector [http://127.0.0.1:4318/v1/traces]`.

use ng_trace::{
    Collector, CollectorConfig, Sampler, SamplerConfig, SpanRecord, Status,
    otlp::{OtlpConfig, otlp_sink},
};
use opentelemetry_sdk::Resource;
use quietly::quietly;
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

#[path = "console/quietly.rs"]
mod quietly;

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut otlp = OtlpConfig::default();
    otlp.timeout = Duration::from_secs(2);
    if let Some(endpoint) = std::env::args().nth(1) {
        otlp.endpoint = endpoint;
    }
    let resource = Resource::builder().with_service_name("export_to_collector").build();
    let sampler = Arc::new(Sampler::new(SamplerConfig::fixed_rate(0.001))?);
    let collector =
        Collector::start(CollectorConfig::default(), Box::new(otlp_sink(&otlp, &resource)?))?;
    let (name, squares, clock) =
        (collector.name("sum"), collector.name("squares"), collector.clock());
    let (mut sample, mut recorder) = (sampler.local(), collector.recorder());

    let sum_of_squares = |count: u64| black_box((0..count).map(|n| n * n).sum::<u64>());
    for operation in 0..1_000_000u64 {
        let count = operation % 50;
        let Some(sampled) = sample.arrive() else {
            sum_of_squares(count);
            continue;
        };
        let start = clock.now();
        sum_of_squares(count);
        let (trace_id, span_id) = (sample.new_trace_id(sampled), sample.new_span_id());
        let span = SpanRecord::new(trace_id, span_id, name, sampled, start, clock.now());
        recorder.record(span.with_attribute(squares, count).with_status(Status::Ok));
    }

    collector.flush(Duration::from_secs(30))?;
    let stats = collector.stats();
    writeln!(
        io::stdout(),
        "{} spans recorded, {} dropped",
        stats.spans_recorded_total,
        stats.spans_dropped_total
    )?;
    writeln!(
        io::stdout(),
        "{} taken by {}, {} lost",
        stats.spans_exported_total,
        otlp.endpoint,
        stats.spans_lost_total
    )?;
    Ok(())
}
