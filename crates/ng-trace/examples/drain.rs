//! How many spans a second one drain carries: a thread records as fast as it can, waiting when its ring is full, and the rate at which spans arrive is printed. `cargo run --release --all-features --example drain`.

use ng_trace::{
    Collector, CollectorConfig, CountingSink, NameId, Reason, Sampled, Sink, SpanId, SpanRecord,
    Threshold, Ticks, TraceId,
};
use quietly::quietly;
use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
    time::Instant,
};

#[path = "console/quietly.rs"]
mod quietly;

const SPANS: u64 = 5_000_000;

fn measure(what: &str, sink: Box<dyn Sink>, spans: u64) -> Result<(), Box<dyn Error>> {
    let mut config = CollectorConfig::default();
    config.ring_bytes = 4 << 20;
    let collector = Collector::start(config, sink)?;
    let mut recorder = collector.recorder();
    let sampled = Sampled::by_threshold(Reason::Base, Threshold::ALWAYS);
    let started = Instant::now();
    for number in 1..=spans {
        let trace_id = TraceId::new(u128::from(number)).ok_or("zero")?;
        let span_id = SpanId::new(number).ok_or("zero")?;
        let now = Ticks::default();
        let span = SpanRecord::new(trace_id, span_id, NameId::UNNAMED, sampled, now, now);
        while !recorder.record(span) {
            std::thread::yield_now();
        }
    }
    collector.flush(Duration::from_secs(60))?;
    let elapsed = started.elapsed();
    let exported = collector.stats().spans_exported_total;
    let per_second = exported as f64 / elapsed.as_secs_f64() / 1e6;
    writeln!(
        io::stdout(),
        "{what}: {exported} spans in {elapsed:.2?}, {per_second:.2} million a second"
    )?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    for _ in 0..3 {
        measure("counted", Box::new(CountingSink::new()), SPANS)?;
    }
    #[cfg(feature = "json")]
    measure("as JSON lines", Box::new(ng_trace::JsonLinesSink::new(std::io::sink())), SPANS / 5)?;
    Ok(())
}
