//! Group `span`: what a recorded span costs the thread that makes it, from its start to the ring. The operation itself is
//! nothing. What carries the spans off runs between the timed stretches, so that none is dropped and the other core's
//! work is no part of the figure.
//!
//! `floor:span` are two clock readings and one store of 64 bytes, into memory as large as the ring.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use ng_trace::{
    Clock, Collector, CollectorConfig, CountingSink, LocalSampler, NameId, Sampler, SamplerConfig,
    SpanRecord, SpanRecorder,
};

use crate::{
    peers_trace,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
};

/// Spans between two drains: they fill less than half of the ring.
const STRETCH: u64 = 20_000;
const RING_BYTES: usize = 4 << 20;
/// One token of this many is a span.
const PART: u64 = 10;
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let (mut kept, mut memory) = (None, Vec::new());
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, version, move |work| ours(work, &mut kept)),
        Row::new("floor:span", Kind::Floor, "", move |work| floor(work, &mut memory)),
    ];
    rows.extend(peers_trace::sampled_rows());
    let side = Side::AtMost;
    let bars = vec![
        Bar { id: "P6s", over: "neurograph", under: "floor:span", side, bar: 2.1, goal: Some(1.1) },
        peer_bar("P6s:fastrace", "fastrace"),
        peer_bar("P6s:otel", "opentelemetry_sdk"),
    ];
    Group::in_memory("span", "Record a span, from its start to the ring", rows, bars)
}

/// No bar of numbers.md: a span of ours has fewer fields. That it is cheaper is the least.
fn peer_bar(id: &'static str, over: &'static str) -> Bar {
    Bar { id, over, under: "neurograph", side: Side::AtLeast, bar: 1.0, goal: Some(5.0) }
}

fn stretches(work: &Work) -> u64 {
    (work.tokens / PART / STRETCH).max(1)
}

/// All that a thread needs that records spans.
struct Subject {
    collector: Collector,
    sink: CountingSink,
    name: NameId,
    clock: Clock,
    recorder: SpanRecorder,
    local: LocalSampler,
}

impl Subject {
    fn make() -> Result<Subject, Failure> {
        let refused = |error: &dyn std::fmt::Display| Failure::Environment(error.to_string());
        let mut config = CollectorConfig::default();
        config.ring_bytes = RING_BYTES;
        let sink = CountingSink::new();
        let collector = Collector::start(config, Box::new(sink.clone()));
        let collector = collector.map_err(|error| refused(&error))?;
        let mut config = SamplerConfig::fixed_rate(1.0);
        config.slow_threshold = None;
        let sampler = Sampler::new(config).map_err(|error| refused(&error))?;
        let (name, clock) = (collector.name("bench"), collector.clock());
        let (recorder, local) = (collector.recorder(), Arc::new(sampler).local());
        Ok(Subject { collector, sink, name, clock, recorder, local })
    }

    #[inline(never)]
    fn stretch(&mut self) {
        for _ in 0..STRETCH {
            let Some(sampled) = self.local.arrive() else { continue };
            let start = self.clock.now();
            black_box(());
            let end = self.clock.now();
            let (trace_id, span_id) = (self.local.new_trace_id(sampled), self.local.new_span_id());
            let span = SpanRecord::new(trace_id, span_id, self.name, sampled, start, end);
            self.recorder.record(span);
        }
    }
}

fn ours(work: &Work, kept: &mut Option<Subject>) -> Result<Sample, Failure> {
    let subject = match kept {
        Some(subject) => subject,
        None => kept.insert(Subject::make()?),
    };
    let before = subject.sink.spans_total();
    let mut elapsed = Duration::ZERO;
    for _ in 0..stretches(work) {
        let begin = Instant::now();
        subject.stretch();
        elapsed += begin.elapsed();
        let flushed = subject.collector.flush(DRAINED_WITHIN);
        flushed.map_err(|error| Failure::Check(format!("the spans do not drain: {error}")))?;
    }
    let operations = stretches(work) * STRETCH;
    if subject.sink.spans_total() - before != operations {
        return Err(Failure::Check("neurograph: a recorded span did not reach the sink".into()));
    }
    Ok(Sample { elapsed_ns: elapsed.as_nanos() as u64, operations })
}

/// As much as a cache line, and as a span has.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u64; 8]);

fn floor(work: &Work, memory: &mut Vec<Line>) -> Result<Sample, Failure> {
    memory.resize(RING_BYTES / size_of::<Line>(), Line([0; 8]));
    let clock = Clock::new();
    let (mut elapsed, mut place) = (Duration::ZERO, 0);
    for stretch in 0..stretches(work) {
        let begin = Instant::now();
        place = store_lines(memory, place, &clock, stretch);
        elapsed += begin.elapsed();
    }
    let operations = stretches(work) * STRETCH;
    let last = memory[(place + memory.len() - 1) % memory.len()];
    if last.0[0] != STRETCH - 1 {
        return Err(Failure::Check("floor:span did not store what it timed".into()));
    }
    Ok(Sample { elapsed_ns: elapsed.as_nanos() as u64, operations })
}

#[inline(never)]
fn store_lines(memory: &mut [Line], mut place: usize, clock: &Clock, stretch: u64) -> usize {
    for number in 0..STRETCH {
        let start = clock.now().get();
        black_box(());
        let end = clock.now().get();
        memory[place] = Line([number, stretch, start, end, 4, 5, 6, 7]);
        place = if place + 1 == memory.len() { 0 } else { place + 1 };
    }
    place
}
