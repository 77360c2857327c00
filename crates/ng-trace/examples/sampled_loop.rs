//! Ten million operations, one in a hundred recorded as a span: `cargo run --release --example sampled_loop`.

use ng_trace::{Collector, CollectorConfig, CountingSink, Sampler, SamplerConfig, SpanRecord};
use quietly::quietly;
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    sync::Arc,
    time::Duration,
    time::Instant,
};

#[path = "console/quietly.rs"]
mod quietly;

const OPERATIONS: u64 = 10_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let sampler = Arc::new(Sampler::new(SamplerConfig::fixed_rate(0.01))?);
    let sink = CountingSink::new();
    let mut config = CollectorConfig::default();
    config.ring_bytes = 4 << 20; // two million spans a second: 25 ms of room for a late drain
    let collector = Collector::start(config, Box::new(sink.clone()))?;
    let (name, clock) = (collector.name("operation"), collector.clock());
    let (mut sample, mut recorder) = (sampler.local(), collector.recorder());

    let started = Instant::now();
    let (mut kept, mut state) = (0u64, 1u64);
    let mut operation = || state = black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
    for _ in 0..OPERATIONS {
        let Some(sampled) = sample.arrive() else {
            operation();
            continue;
        };
        let start = clock.now();
        operation();
        let (trace_id, span_id) = (sample.new_trace_id(sampled), sample.new_span_id());
        recorder.record(SpanRecord::new(trace_id, span_id, name, sampled, start, clock.now()));
        kept += 1;
    }
    let elapsed = started.elapsed();

    drop(sample);
    collector.flush(Duration::from_secs(10))?;
    let (sampled, stats) = (sampler.stats(), collector.stats());
    writeln!(io::stdout(), "{} operations in {elapsed:?}, {kept} kept", sampled.samples_total)?;
    writeln!(
        io::stdout(),
        "{} spans drained, {} dropped",
        sink.spans_total(),
        stats.spans_dropped_total
    )?;
    Ok(())
}
