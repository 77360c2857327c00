//! Sharded counters, gauges and log-linear histograms, exposed as OpenMetrics or Prometheus text.
//!
//! Counting costs one relaxed load and one relaxed store of a cell that only the calling thread
//! writes; the price is paid by the reader, who sums the cells when a page is asked for.
//!
//! Must not know: who counts, what is counted, or how a page travels (no HTTP, no runtime).
//!
//! ```
//! use ng_metrics::{Collect, Format, Registry};
//!
//! # fn main() -> Result<(), ng_metrics::RegisterError> {
//! let registry = Registry::new("shop")?;
//! let orders = registry.counter("orders", "Orders taken.")?;
//! let packing = registry.histogram_seconds("packing_duration_seconds", "Time to pack an order.")?;
//! registry.source(Box::new(|out: &mut Collect<'_>| {
//!     out.gauge("queue_orders", "Orders that wait.", 3.0); // asked for at each scrape
//! }));
//!
//! orders.inc();
//! packing.record(1_500_000); // nanoseconds
//!
//! let page = registry.encode(Format::OpenMetrics);
//! assert!(page.contains("\nshop_orders_total 1\n"));
//! assert!(page.ends_with("# EOF\n"));
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! - [`Counter`], [`UpDownCounter`], [`Gauge`], [`Histogram`]: handles; clones share their cells; also
//!   useful alone.
//! - [`Family`]: metrics told apart by labels, with a bound on their number.
//! - [`TraceRef`] and [`Exemplar`]: for some of the values, the trace in which they were counted.
//! - [`Registry`]: names checked once, pages written as often as asked.
//! - [`Source`] and [`Collect`]: numbers that already exist elsewhere, read only at a scrape.
//! - [`Format`]: the two text forms, and how a scraper's `Accept` header chooses one.

#![deny(unsafe_code)] // but for a thread's own cell, in `shard.rs`
#![deny(missing_docs)]

mod collect;
mod counter;
mod error;
mod exemplar;
mod exposition;
mod family;
mod gauge;
mod histogram;
mod mutants;
mod name;
mod registry;
mod shard;
mod stats;
mod sync;
mod up_down;

#[cfg(all(test, loom))]
mod loom_histogram;
#[cfg(all(test, loom))]
mod loom_shard;

pub use collect::{Collect, Source};
pub use counter::Counter;
pub use error::RegisterError;
pub use exemplar::{Exemplar, TraceRef};
pub use exposition::Format;
pub use family::{CounterFamily, Family, GaugeFamily, HistogramFamily, UpDownCounterFamily};
pub use gauge::Gauge;
pub use histogram::{Histogram, HistogramSnapshot};
pub use registry::Registry;
pub use stats::RegistryStats;
pub use up_down::UpDownCounter;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
