//! Injects a known cost into the record path and prints what the account and the experiment make of it: `cargo run --release --example overhead`.

use ng_trace::{
    Collector, CollectorConfig, CountingSink, OverheadExperiment, Sampled, SpanId, SpanRecord,
    SpanRecorder, Status, Threshold, Ticks, TraceId,
};
use quietly::quietly;
use std::{
    error::Error,
    hint::black_box,
    io::{self, Write},
    time::{Duration, Instant},
};

#[path = "console/quietly.rs"]
mod quietly;

const SPANS: u64 = 400_000;

fn work(state: u64) -> u64 {
    (0..200).fold(state, |state, _| black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1))
}

fn span(number: u64) -> SpanRecord {
    let sampled = Sampled::by_threshold(ng_trace::Reason::Base, Threshold::ALWAYS);
    let trace_id = TraceId::new(u128::from(number) + 1).expect("it is not zero");
    let span_id = SpanId::new(number + 1).expect("it is not zero");
    let now = Ticks::default();
    SpanRecord::new(trace_id, span_id, ng_trace::NameId::UNNAMED, sampled, now, now)
        .with_status(Status::Ok)
}

fn operations(recorder: &mut SpanRecorder, count: u64) {
    for number in 0..count {
        black_box(work(number));
        recorder.record(span(number));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    writeln!(
        io::stdout(),
        "cost injected  account: ns a span, of it beyond none  off by  share of the process"
    )?;
    let mut without_ns = 0.0;
    for spin_ns in [0u64, 200, 500, 1000, 5000] {
        let mut config = CollectorConfig::default();
        config.ring_bytes = 4 << 20;
        let collector = Collector::start(config, Box::new(CountingSink::new()))?;
        let mut recorder = collector.recorder();
        recorder.set_drill(Duration::from_nanos(spin_ns));
        operations(&mut recorder, SPANS / 4);
        collector.measure_overhead(Duration::ZERO); // from here on
        operations(&mut recorder, SPANS);
        let Some(found) = collector.measure_overhead(Duration::ZERO) else {
            writeln!(io::stdout(), "this system does not tell CPU times")?;
            return Ok(());
        };
        if spin_ns == 0 {
            without_ns = found.span_ns;
        }
        let beyond = found.span_ns - without_ns;
        let off = if spin_ns == 0 { 0.0 } else { 100.0 * (beyond / spin_ns as f64 - 1.0) };
        writeln!(
            io::stdout(),
            "{spin_ns:>10} ns  {:>20.0}  {beyond:>16.0}  {off:>+6.1} %  {:.4} ({:.4} to {:.4})",
            found.span_ns,
            found.share,
            found.low,
            found.high
        )?;
    }

    let mut config = CollectorConfig::default();
    config.ring_bytes = 4 << 20;
    let collector = Collector::start(config, Box::new(CountingSink::new()))?;
    let mut recorder = collector.recorder();
    let mut experiment = OverheadExperiment::new(1);
    for _ in 0..2000 {
        recorder.set_dose(experiment.dose());
        let started = Instant::now();
        operations(&mut recorder, 1000);
        experiment.block_ended(1000, started.elapsed());
    }
    if let Some(found) = experiment.estimate() {
        writeln!(
            io::stdout(),
            "experiment: recording twice costs {:.1} ns a span ({:.1} to {:.1}, {} pairs), detected: {}",
            found.span_ns,
            found.low_ns,
            found.high_ns,
            found.pairs,
            found.is_detected()
        )?;
        writeln!(
            io::stdout(),
            "the account's factor is now {:.2}",
            collector.correct_overhead(&found)
        )?;
    }
    Ok(())
}
