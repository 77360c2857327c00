//! Names registered once, pages written as often as asked.
//!
//! Registering and reading take a lock; counting never does. Nothing is ever unregistered: a
//! series that vanishes from pages is worse than one that stands still.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::collect::{Page, Samples, Scale};
use crate::family::SeriesTable;
use crate::shard::{ColumnSupply, SLOTS};
use crate::sync::{Arc, Mutex};
use crate::{Collect, Counter, CounterFamily, Format, Gauge, Histogram};
use crate::{RegisterError, RegistryStats, Source, exposition, name};

/// Metrics under one prefix. Clones share the registry.
///
/// A name is given as it stands on the page, without the prefix, and for counters without
/// `_total`. A name that ends in `_seconds` or `_bytes` declares that unit to OpenMetrics. Names
/// match `[a-z_][a-z0-9_]*`; help is one line, not empty.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    prefix: String,
    table: Mutex<Table>,
    /// The fields that scrapes fill; `stats` adds the rest.
    scrapes: Mutex<RegistryStats>,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    names: HashSet<String>,
    sources: Vec<Arc<dyn Source>>,
    supply: ColumnSupply,
}

struct Entry {
    name: String,
    help: String,
    metric: Metric,
}

enum Metric {
    Counter(Counter),
    CounterFamily(Arc<SeriesTable>),
    Gauge(Gauge),
    Histogram(Histogram, Scale),
    Info(Vec<(String, String)>),
}

impl Metric {
    fn read(&self) -> Samples {
        match self {
            Self::Counter(counter) => Samples::Counter(vec![(Vec::new(), counter.get())]),
            Self::CounterFamily(series) => Samples::Counter(series.read()),
            Self::Gauge(gauge) => Samples::Gauge(vec![(Vec::new(), gauge.get())]),
            Self::Histogram(histogram, scale) => Samples::Histogram(histogram.snapshot(), *scale),
            Self::Info(labels) => Samples::Info(labels.clone()),
        }
    }
}

impl Registry {
    /// An empty registry; each name on its pages starts with `prefix` and `_`, or, if `prefix` is
    /// empty, stands alone.
    ///
    /// Errors: a prefix that does not match `[a-z_][a-z0-9_]*`, or ends in `_`.
    pub fn new(prefix: &str) -> Result<Self, RegisterError> {
        name::check_prefix(prefix)?;
        let inner =
            Inner { prefix: prefix.to_owned(), table: Mutex::default(), scrapes: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Registers a counter; the page adds `_total` to its name.
    ///
    /// Errors, here and below: a name, help or label that breaks a rule, or a name that is taken.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, RegisterError> {
        self.register(name, help, |supply| {
            let counter = Counter::of(supply.next());
            Ok((Metric::Counter(counter.clone()), counter))
        })
    }

    /// Registers counters told apart by the labels `label_names`, at most `max_series` (1 to
    /// 10,000) of them; more share one series whose label values are all `"overflow"`.
    pub fn counter_family<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
    ) -> Result<CounterFamily<N>, RegisterError> {
        self.register(name, help, |_| {
            name::check_labels(name, &label_names)?;
            let series = Arc::new(SeriesTable::new(name, &label_names, max_series)?);
            Ok((Metric::CounterFamily(Arc::clone(&series)), CounterFamily::of(series)))
        })
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, RegisterError> {
        self.register(name, help, |_| {
            let gauge = Gauge::new();
            Ok((Metric::Gauge(gauge.clone()), gauge))
        })
    }

    /// Registers a histogram that is exported in the unit of its values, with `le` 1, 4, … 2^30:
    /// for sizes and numbers of things.
    pub fn histogram(&self, name: &str, help: &str) -> Result<Histogram, RegisterError> {
        self.register_histogram(name, help, Scale::Units)
    }

    /// Registers a histogram that records nanoseconds and is exported in seconds, with `le` from
    /// 64 ns to 69 s in steps of four. The name must end in `_seconds`.
    pub fn histogram_seconds(&self, name: &str, help: &str) -> Result<Histogram, RegisterError> {
        name::check_seconds(name)?;
        self.register_histogram(name, help, Scale::NanosecondsToSeconds)
    }

    fn register_histogram(
        &self,
        name: &str,
        help: &str,
        scale: Scale,
    ) -> Result<Histogram, RegisterError> {
        self.register(name, help, |_| {
            let histogram = Histogram::new();
            Ok((Metric::Histogram(histogram.clone(), scale), histogram))
        })
    }

    /// Registers text that does not change, as labels of a series that is always 1; the page adds
    /// `_info` to its name.
    pub fn info(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<(), RegisterError> {
        self.register(name, help, |_| match Samples::info(name, labels)? {
            Samples::Info(labels) => Ok((Metric::Info(labels), ())),
            _ => unreachable!("Samples::info makes no other kind"),
        })
    }

    /// Adds a source, asked at each scrape, after the registered metrics and the earlier sources.
    ///
    /// The registry keeps it for good: a source that holds its registry's owner should hold it
    /// weakly.
    pub fn source(&self, source: Box<dyn Source>) {
        self.inner.table.lock().sources.push(Arc::from(source));
    }

    /// Writes a page. Counting goes on meanwhile; no counter on a later page is lower.
    pub fn encode(&self, format: Format) -> String {
        let started = Instant::now();
        let mut page = Page::default();
        let sources = self.read_registered(&mut page);
        for source in &sources {
            let mut out = Collect::new(&mut page);
            if catch_unwind(AssertUnwindSafe(|| source.collect(&mut out))).is_err() {
                page.error("a source panicked; the panic's own message tells where".to_owned());
            }
        }
        let (errors, last_error) = (page.errors, page.last_error.take());
        let expected_bytes = self.inner.scrapes.lock().last_scrape_bytes as usize;
        let text = exposition::write(&self.inner.prefix, page, format, expected_bytes);

        let mut stats = self.inner.scrapes.lock();
        stats.scrapes_total += 1;
        stats.scrape_errors_total += errors;
        stats.last_scrape_error = last_error.or(stats.last_scrape_error.take());
        stats.last_scrape_bytes = text.len() as u64;
        stats.last_scrape_duration_ns =
            u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        text
    }

    /// Figures about this registry and its scrapes.
    pub fn stats(&self) -> RegistryStats {
        let mut stats = self.inner.scrapes.lock().clone();
        let table = self.inner.table.lock();
        stats.families = table.entries.len() as u64;
        stats.sources = table.sources.len() as u64;
        stats.label_overflows_total = table
            .entries
            .iter()
            .map(|entry| match &entry.metric {
                Metric::CounterFamily(series) => series.overflows_total(),
                _ => 0,
            })
            .sum();
        stats.shared_slot_threads_total = SLOTS.shared_threads_total();
        stats
    }

    /// Checks, makes and keeps one metric; returns its handle.
    fn register<T>(
        &self,
        name: &str,
        help: &str,
        make: impl FnOnce(&mut ColumnSupply) -> Result<(Metric, T), RegisterError>,
    ) -> Result<T, RegisterError> {
        name::check_family(name, help)?;
        let mut table = self.inner.table.lock();
        if table.names.contains(name) {
            return Err(RegisterError::Duplicate { name: name.to_owned() });
        }
        let (metric, handle) = make(&mut table.supply)?;
        table.names.insert(name.to_owned());
        table.entries.push(Entry { name: name.to_owned(), help: help.to_owned(), metric });
        Ok(handle)
    }

    /// Puts the registered metrics on the page, and returns the sources: they are called without
    /// the lock, so that they may use the registry.
    fn read_registered(&self, page: &mut Page) -> Vec<Arc<dyn Source>> {
        let table = self.inner.table.lock();
        for entry in &table.entries {
            page.add(&entry.name, &entry.help, entry.metric.read());
        }
        table.sources.clone()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("prefix", &self.inner.prefix)
            .field("stats", &self.stats())
            .finish()
    }
}
