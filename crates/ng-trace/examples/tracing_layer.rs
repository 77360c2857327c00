//! `#[instrument]` obeying the sampler, and what its callsites cost: `cargo run --release --features tracing-layer --example tracing_layer`.

use ng_trace::{
    Collector, CollectorConfig, CountingSink, Sampler, SamplerConfig, TracingConfig, tracing_layer,
};
use quietly::quietly;
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    sync::Arc,
    time::Duration,
    time::Instant,
};
use tracing::{instrument, trace_span};
use tracing_subscriber::{layer::SubscriberExt, registry::Registry};

#[path = "console/quietly.rs"]
mod quietly;

#[instrument]
fn operation(number: u64) -> u64 {
    (0..3).map(part).sum::<u64>() + number
}

#[instrument]
fn part(number: u64) -> u64 {
    black_box(number)
}

/// A span that nobody wants.
fn unwanted(number: u64) -> u64 {
    let _span = trace_span!("unwanted", number).entered();
    black_box(number)
}

fn ns_each(count: u64, mut work: impl FnMut(u64) -> u64) -> f64 {
    let started = Instant::now();
    for number in 0..count {
        black_box(work(number));
    }
    started.elapsed().as_nanos() as f64 / count as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    const COUNT: u64 = 10_000_000;
    let without = [ns_each(COUNT, black_box), ns_each(COUNT, unwanted), ns_each(COUNT, operation)];
    writeln!(
        io::stdout(),
        "no subscriber: loop {:.2} ns, unwanted span {:.2} ns, operation of four spans \
        {:.2} ns",
        without[0],
        without[1],
        without[2]
    )?;

    for rate in [0.0, 0.01, 1.0] {
        let sampler = Arc::new(Sampler::new(SamplerConfig::fixed_rate(rate))?);
        let sink = CountingSink::new();
        let collector = Collector::start(CollectorConfig::default(), Box::new(sink.clone()))?;
        let (layer, _roots) =
            tracing_layer(TracingConfig::default(), Arc::clone(&sampler), collector.recorders());
        let (unwanted_ns, operation_ns) =
            tracing::subscriber::with_default(Registry::default().with(layer), || {
                (ns_each(COUNT, unwanted), ns_each(COUNT / 10, operation))
            });
        collector.flush(Duration::from_secs(10))?;
        let (spans, dropped) = (sink.spans_total(), collector.stats().spans_dropped_total);
        writeln!(
            io::stdout(),
            "rate {rate}: unwanted span {unwanted_ns:.2} ns, operation of four spans \
            {operation_ns:.1} ns; {spans} spans, {dropped} dropped"
        )?;
    }
    Ok(())
}
