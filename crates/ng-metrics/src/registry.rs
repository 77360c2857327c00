//! Names registered once, pages written as often as asked.
//!
//! Registering and reading take a lock; counting never does. Nothing is ever unregistered: a
//! series that vanishes from pages is worse than one that stands still.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Instant, SystemTime};

use crate::collect::{Labels, Page, Sample, Samples, Scale};
use crate::exposition::{self, Extras};
use crate::family::{Family, Series, SeriesTable};
use crate::name::Names;
use crate::shard::{ColumnSupply, SLOTS};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Mutex};
use crate::{Collect, Counter, CounterFamily, Format, Gauge, GaugeFamily, Histogram};
use crate::{HistogramFamily, HistogramSnapshot, UpDownCounter, UpDownCounterFamily};
use crate::{RegisterError, RegistryStats, Source, mutants, name};

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
    shows_created: AtomicBool,
}

#[derive(Default)]
struct Table {
    entries: Vec<Entry>,
    /// Shared with the pages that are being written.
    names: Arc<Names>,
    sources: Vec<Arc<dyn Source>>,
    supply: ColumnSupply,
}

struct Entry {
    name: String,
    help: String,
    metric: Metric,
    created: SystemTime,
}

enum Metric {
    Counter(Counter),
    CounterFamily(Arc<SeriesTable<Counter>>),
    UpDown(UpDownCounter),
    UpDownFamily(Arc<SeriesTable<UpDownCounter>>),
    Gauge(Gauge),
    GaugeFamily(Arc<SeriesTable<Gauge>>),
    Histogram(Histogram, Scale),
    HistogramFamily(Arc<SeriesTable<Histogram>>, Scale),
    Info(Labels),
}

impl Metric {
    /// The kind of its samples, and the samples.
    fn read(&self, created: SystemTime) -> Samples {
        match self {
            Self::Counter(one) => Samples::Counter(vec![counted(one, created)]),
            Self::CounterFamily(many) => {
                Samples::Counter(labelled(many, |s| counted(&s.metric, s.created)))
            }
            Self::UpDown(one) => Samples::Gauge(vec![Sample::bare(one.get() as f64)]),
            Self::UpDownFamily(many) => {
                Samples::Gauge(labelled(many, |s| Sample::bare(s.metric.get() as f64)))
            }
            Self::Gauge(one) => Samples::Gauge(vec![Sample::bare(one.get())]),
            Self::GaugeFamily(many) => {
                Samples::Gauge(labelled(many, |s| Sample::bare(s.metric.get())))
            }
            Self::Histogram(one, scale) => {
                Samples::Histogram(vec![distribution(one, created)], *scale)
            }
            Self::HistogramFamily(many, scale) => {
                Samples::Histogram(labelled(many, |s| distribution(&s.metric, s.created)), *scale)
            }
            Self::Info(labels) => Samples::Info(labels.clone()),
        }
    }

    fn counts(&self) -> bool {
        match self {
            Self::Counter(_)
            | Self::CounterFamily(_)
            | Self::Histogram(..)
            | Self::HistogramFamily(..) => true,
            Self::UpDown(_)
            | Self::UpDownFamily(_)
            | Self::Gauge(_)
            | Self::GaugeFamily(_)
            | Self::Info(_) => false,
        }
    }

    fn overflows_total(&self) -> u64 {
        match self {
            Self::CounterFamily(many) => many.overflows_total(),
            Self::UpDownFamily(many) => many.overflows_total(),
            Self::GaugeFamily(many) => many.overflows_total(),
            Self::HistogramFamily(many, _) => many.overflows_total(),
            _ => 0,
        }
    }
}

fn counted(counter: &Counter, created: SystemTime) -> Sample<u64> {
    // The exemplar first: what it tells of is then in the count.
    let exemplar = counter.exemplar();
    Sample { created: Some(created), exemplar, ..Sample::bare(counter.get()) }
}

fn distribution(histogram: &Histogram, created: SystemTime) -> Sample<HistogramSnapshot> {
    Sample { created: Some(created), ..Sample::bare(histogram.snapshot()) }
}

/// One sample of each series of a family.
fn labelled<M: Clone, T>(
    family: &SeriesTable<M>,
    read: impl Fn(&Series<M>) -> Sample<T>,
) -> Vec<Sample<T>> {
    let series = family.all();
    series.iter().map(|s| Sample { labels: Some(Arc::clone(&s.labels)), ..read(s) }).collect()
}

impl Registry {
    /// An empty registry; each name on its pages starts with `prefix` and `_`, or, if `prefix` is
    /// empty, stands alone.
    ///
    /// Errors: a prefix that does not match `[a-z_][a-z0-9_]*`, or ends in `_`.
    pub fn new(prefix: &str) -> Result<Self, RegisterError> {
        name::check_prefix(prefix)?;
        let inner = Inner {
            prefix: prefix.to_owned(),
            table: Mutex::default(),
            scrapes: Mutex::default(),
            shows_created: AtomicBool::new(true),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says whether OpenMetrics pages have `_created` samples: since when each counter and each
    /// histogram has counted. The standard wants them, and a server that knows of them sees restarts
    /// by them; to another each is one more series. Default: they have.
    pub fn show_created(&self, shown: bool) {
        self.inner.shows_created.store(shown, Ordering::Relaxed);
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
        let make = |supply: &mut ColumnSupply| Counter::of(supply.next());
        self.register_family(name, help, label_names, max_series, make, Metric::CounterFamily)
    }

    /// Registers an up-down counter, which is a gauge on the page.
    pub fn up_down_counter(&self, name: &str, help: &str) -> Result<UpDownCounter, RegisterError> {
        self.register(name, help, |supply| {
            let level = UpDownCounter::of(supply.next());
            Ok((Metric::UpDown(level.clone()), level))
        })
    }

    /// Registers up-down counters told apart by labels, bounded as counters are.
    pub fn up_down_counter_family<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
    ) -> Result<UpDownCounterFamily<N>, RegisterError> {
        let make = |supply: &mut ColumnSupply| UpDownCounter::of(supply.next());
        self.register_family(name, help, label_names, max_series, make, Metric::UpDownFamily)
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, RegisterError> {
        self.register(name, help, |_| {
            let gauge = Gauge::new();
            Ok((Metric::Gauge(gauge.clone()), gauge))
        })
    }

    /// Registers gauges told apart by labels, bounded as counters are.
    pub fn gauge_family<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
    ) -> Result<GaugeFamily<N>, RegisterError> {
        let make = |_: &mut ColumnSupply| Gauge::new();
        self.register_family(name, help, label_names, max_series, make, Metric::GaugeFamily)
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

    /// Registers histograms as [`Registry::histogram`] does, told apart by labels, bounded as
    /// counters are.
    pub fn histogram_family<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
    ) -> Result<HistogramFamily<N>, RegisterError> {
        self.register_histograms(name, help, label_names, max_series, Scale::Units)
    }

    /// Registers histograms as [`Registry::histogram_seconds`] does, told apart by labels, bounded
    /// as counters are.
    pub fn histogram_seconds_family<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
    ) -> Result<HistogramFamily<N>, RegisterError> {
        name::check_seconds(name)?;
        let scale = Scale::NanosecondsToSeconds;
        self.register_histograms(name, help, label_names, max_series, scale)
    }

    fn register_histograms<const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
        scale: Scale,
    ) -> Result<HistogramFamily<N>, RegisterError> {
        let make = |_: &mut ColumnSupply| Histogram::new();
        let metric = |series| Metric::HistogramFamily(series, scale);
        self.register_family(name, help, label_names, max_series, make, metric)
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
        let (mut page, sources) = self.read_registered();
        for source in &sources {
            let mut out = Collect::new(&mut page);
            if mutants::on("metrics-source-may-panic") {
                source.collect(&mut out);
            } else if catch_unwind(AssertUnwindSafe(|| source.collect(&mut out))).is_err() {
                page.error("a source panicked; the panic's own message tells where".to_owned());
            }
        }
        let (errors, last_error) = (page.errors, page.last_error.take());
        let expected_bytes = self.inner.scrapes.lock().last_scrape_bytes as usize;
        let extras = match self.inner.shows_created.load(Ordering::Relaxed) {
            true => Extras::CreatedAndExemplars,
            false => Extras::Exemplars,
        };
        let text = exposition::write(&self.inner.prefix, page, format, extras, expected_bytes);

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
        stats.label_overflows_total =
            table.entries.iter().map(|entry| entry.metric.overflows_total()).sum();
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
        let (metric, handle) = make(&mut table.supply)?;
        table.names.check(name, metric.counts())?;
        Arc::make_mut(&mut table.names).take(name, metric.counts());
        let (name, help) = (name.to_owned(), help.to_owned());
        table.entries.push(Entry { name, help, metric, created: SystemTime::now() });
        Ok(handle)
    }

    /// [`Registry::register`] of series told apart by labels; `metric` says how they are shown.
    fn register_family<M: Clone, const N: usize>(
        &self,
        name: &str,
        help: &str,
        label_names: [&str; N],
        max_series: usize,
        make: fn(&mut ColumnSupply) -> M,
        metric: impl FnOnce(Arc<SeriesTable<M>>) -> Metric,
    ) -> Result<Family<M, N>, RegisterError> {
        self.register(name, help, |_| {
            name::check_labels(name, &label_names)?;
            let series = Arc::new(SeriesTable::new(name, &label_names, max_series, make)?);
            Ok((metric(Arc::clone(&series)), Family::of(series)))
        })
    }

    /// A page of the registered metrics, and the sources: they are called without the lock, so that
    /// they may use the registry.
    fn read_registered(&self) -> (Page, Vec<Arc<dyn Source>>) {
        let table = self.inner.table.lock();
        let mut page = Page::beside(Arc::clone(&table.names));
        for entry in &table.entries {
            let created = match mutants::on("metrics-created-moves") {
                true => SystemTime::now(),
                false => entry.created,
            };
            page.add(&entry.name, &entry.help, entry.metric.read(created));
        }
        (page, table.sources.clone())
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
