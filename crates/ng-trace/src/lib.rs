//! Sampling that costs nothing until it records, and a per-thread span ring with a drain.
//!
//! A [`Sampler`] decides; a [`LocalSampler`] does so for a loop by counting down to the next
//! sampled operation; a [`TraceContext`] reads and writes the headers of a trace; a [`SpanRecorder`] puts finished spans into a ring of its thread; a
//! [`Collector`] carries them to a [`Sink`] on a thread of its own. Each is useful without the
//! others.
//!
//! Must not know: tokens, logs, metric names, any other `ng-*` crate; and other people's exporters,
//! HTTP and `tracing`, but for the one file behind each of the features `otel`, `otlp` and
//! `tracing-layer`.
//!
//! ```
//! use ng_trace::{Collector, CollectorConfig, MemorySink, Sampler, SamplerConfig, SpanRecord};
//! use std::{sync::Arc, time::Duration};
//!
//! let sampler = Arc::new(Sampler::new(SamplerConfig::fixed_rate(0.01))?);
//! let sink = MemorySink::new();
//! let collector = Collector::start(CollectorConfig::default(), Box::new(sink.clone()))?;
//! let (name, clock) = (collector.name("work"), collector.clock());
//!
//! let (mut sample, mut recorder) = (sampler.local(), collector.recorder());
//! let mut kept = 0;
//! for _ in 0..10_000 {
//!     let Some(sampled) = sample.arrive() else {
//!         continue; // the work, unsampled
//!     };
//!     let start = clock.now();
//!     // the work, sampled
//!     let (trace_id, span_id) = (sample.new_trace_id(sampled), sample.new_span_id());
//!     recorder.record(SpanRecord::new(trace_id, span_id, name, sampled, start, clock.now()));
//!     kept += 1;
//! }
//! collector.flush(Duration::from_secs(5))?;
//! assert_eq!(sink.spans().len(), kept);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![cfg_attr(all(test, loom), allow(dead_code, unused_imports))] // only the ring runs under loom

#[cfg(not(all(test, loom)))]
mod adaptive;
mod bell;
mod block;
#[cfg(not(all(test, loom)))]
mod bucket;
#[cfg(not(all(test, loom)))]
mod calibration;
#[cfg(not(all(test, loom)))]
mod ceiling;
mod clock;
#[cfg(not(all(test, loom)))]
mod collector;
mod config;
#[cfg(not(all(test, loom)))]
mod context;
#[cfg(not(all(test, loom)))]
mod cpu;
mod decision;
mod error;
mod id;
#[cfg(all(feature = "json", not(all(test, loom))))]
mod json;
#[cfg(all(feature = "tracing-layer", not(all(test, loom))))]
mod layer;
#[cfg(not(all(test, loom)))]
mod local;
#[cfg(all(test, loom))]
mod loom_bell;
#[cfg(all(test, loom))]
mod loom_ring;
#[cfg(all(test, loom))]
mod loom_summons;
mod mutants;
#[cfg(all(feature = "otel", not(all(test, loom))))]
pub mod otel;
#[cfg(all(feature = "otlp", not(all(test, loom))))]
pub mod otlp;
#[cfg(not(all(test, loom)))]
mod overhead;
#[cfg(not(all(test, loom)))]
mod pool;
mod ring;
#[cfg(not(all(test, loom)))]
mod rules;
#[cfg(not(all(test, loom)))]
mod sampler;
#[cfg(not(all(test, loom)))]
mod sink;
mod slot;
mod span;
#[cfg(not(all(test, loom)))]
mod states;
mod stats;
mod summons;
mod sync;
mod threshold;
mod traceparent;
mod tracestate;

#[cfg(all(feature = "json", not(all(test, loom))))]
pub use crate::json::JsonLinesSink;
#[cfg(all(feature = "tracing-layer", not(all(test, loom))))]
pub use crate::layer::{
    SampleFilter, SpanLayer, TracingConfig, TracingLayer, TracingRoots, tracing_layer,
};
#[cfg(not(all(test, loom)))]
pub use crate::{
    adaptive::{ControlInput, ControlState},
    collector::{Collector, Recorders, SpanRecorder},
    context::TraceContext,
    local::LocalSampler,
    overhead::{Dose, Overhead, OverheadExperiment, SpanCost},
    sampler::Sampler,
    sink::{CountingSink, FinishedSpan, MemorySink, Sink},
};
pub use crate::{
    block::MemoryBudget,
    clock::{Clock, Ticks},
    config::{CollectorConfig, SamplerConfig},
    decision::{
        Decision, Odds, Outcome, Parent, Priority, Propagate, Reason, SampleContext, Sampled,
        Verdict,
    },
    error::{
        ConfigError, FlushError, ParseIdError, ParseThresholdError, ParseTraceParentError,
        SinkError, StartError, TraceStateError,
    },
    id::{SpanId, TraceId},
    span::{AttributeValue, NameId, SPAN_ATTRIBUTES_MAX, SpanKind, SpanRecord, Status},
    stats::{CollectorStats, SamplerStats},
    threshold::{Randomness, Threshold},
    traceparent::TraceParent,
    tracestate::TraceState,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
