//! One scrape as plain data, and the door through which sources add to it.
//!
//! A page is gathered first and written afterwards: so a source cannot break the text, and another
//! kind of exporter can read the same page.

use std::collections::HashSet;
use std::time::SystemTime;

use crate::name::Names;
use crate::sync::Arc;
use crate::{Exemplar, HistogramSnapshot, RegisterError, mutants, name};

/// Gives numbers that already exist elsewhere, when a page is asked for.
///
/// This keeps metric code out of hot paths: they count in fields of their own, and one source
/// reads those. Closures of the form `|out: &mut Collect<'_>| { … }` are sources.
pub trait Source: Send + Sync {
    /// Adds this source's families to the page. Called at each scrape, on the scraping thread,
    /// with no lock of the registry held; it may be called by several threads at once. What it
    /// emitted before a panic stays on the page; the panic is caught and counted.
    fn collect(&self, out: &mut Collect<'_>);
}

impl<F: Fn(&mut Collect<'_>) + Send + Sync> Source for F {
    fn collect(&self, out: &mut Collect<'_>) {
        self(out);
    }
}

/// The page being gathered, as a [`Source`] sees it.
///
/// Each call adds one whole family; names have no prefix here, and counters no `_total`. A name
/// that a registered metric or an earlier call has, or that breaks the rules of [`RegisterError`],
/// is left out and counted in
/// [`RegistryStats::scrape_errors_total`](crate::RegistryStats::scrape_errors_total).
pub struct Collect<'a> {
    page: &'a mut Page,
    since: Option<SystemTime>,
}

impl<'a> Collect<'a> {
    pub(crate) fn new(page: &'a mut Page) -> Self {
        Self { page, since: None }
    }

    /// Says since when the counts and distributions that follow have counted; a page shows it as
    /// their `_created`. Without it they have none: only the source knows.
    pub fn counted_since(&mut self, since: SystemTime) {
        self.since = Some(since);
    }

    /// A count. The source sees to it that it never falls.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        let sample = Sample { created: self.since, ..Sample::bare(value) };
        self.page.offer(name, help, Ok(Samples::Counter(vec![sample])));
    }

    /// Counts told apart by one label: pairs of label value and count.
    pub fn counter_labeled(&mut self, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
        let samples = self.labeled(name, label, values).map(Samples::Counter);
        self.page.offer(name, help, samples);
    }

    /// A level.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.page.offer(name, help, Ok(Samples::Gauge(vec![Sample::bare(value)])));
    }

    /// Levels told apart by one label: pairs of label value and level.
    pub fn gauge_labeled(&mut self, name: &str, help: &str, label: &str, values: &[(&str, f64)]) {
        let samples = self.labeled(name, label, values).map(Samples::Gauge);
        self.page.offer(name, help, samples);
    }

    /// A distribution, exported in the unit of its values, with `le` from 1 to 2^30.
    pub fn histogram(&mut self, name: &str, help: &str, snapshot: &HistogramSnapshot) {
        let samples = Samples::Histogram(vec![self.distribution(snapshot)], Scale::Units);
        self.page.offer(name, help, Ok(samples));
    }

    /// A distribution of nanoseconds, exported in seconds. The name must end in `_seconds`.
    pub fn histogram_seconds(&mut self, name: &str, help: &str, snapshot: &HistogramSnapshot) {
        let samples = name::check_seconds(name)
            .map(|()| vec![self.distribution(snapshot)])
            .map(|samples| Samples::Histogram(samples, Scale::NanosecondsToSeconds));
        self.page.offer(name, help, samples);
    }

    /// Text that does not change while the process runs, as labels; `name` becomes `name_info`.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.page.offer(name, help, Samples::info(name, labels));
    }

    fn distribution(&self, snapshot: &HistogramSnapshot) -> Sample<HistogramSnapshot> {
        Sample { created: self.since, ..Sample::bare(snapshot.clone()) }
    }

    /// A doubled label value is left out: the page would have one series twice.
    fn labeled<T: Copy>(
        &mut self,
        name: &str,
        label: &str,
        values: &[(&str, T)],
    ) -> Result<Vec<Sample<T>>, RegisterError> {
        name::check_labels(name, &[label])?;
        let mut seen = HashSet::new();
        let mut samples = Vec::with_capacity(values.len());
        for (text, value) in values {
            if seen.insert(text) {
                let labels = Arc::new(vec![(label.to_owned(), (*text).to_owned())]);
                let created = self.since;
                samples.push(Sample { labels: Some(labels), created, ..Sample::bare(*value) });
            } else {
                self.page.error(format!("series {name}{{{label}={text:?}}} was given twice"));
            }
        }
        Ok(samples)
    }
}

/// Label names with their values.
pub(crate) type Labels = Vec<(String, String)>;

/// One value of a family.
#[derive(Debug)]
pub(crate) struct Sample<T> {
    /// `None` for a family without labels.
    pub(crate) labels: Option<Arc<Labels>>,
    pub(crate) value: T,
    /// Since when it counts, if it does and that is known.
    pub(crate) created: Option<SystemTime>,
    /// Of a counter; a histogram has its own.
    pub(crate) exemplar: Option<Exemplar>,
}

impl<T> Sample<T> {
    pub(crate) fn bare(value: T) -> Self {
        Self { labels: None, value, created: None, exemplar: None }
    }
}

/// How a histogram's whole numbers become the exported unit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    Units,
    NanosecondsToSeconds,
}

/// A family's kind, and its values.
#[derive(Debug)]
pub(crate) enum Samples {
    Counter(Vec<Sample<u64>>),
    Gauge(Vec<Sample<f64>>),
    Histogram(Vec<Sample<HistogramSnapshot>>, Scale),
    Info(Labels),
}

impl Samples {
    /// Has it samples that say since when they count?
    pub(crate) fn counts(&self) -> bool {
        matches!(self, Self::Counter(_) | Self::Histogram(..))
    }

    /// Checks the label names.
    pub(crate) fn info(name: &str, labels: &[(&str, &str)]) -> Result<Self, RegisterError> {
        let names: Vec<&str> = labels.iter().map(|(label, _)| *label).collect();
        name::check_labels(name, &names)?;
        let owned = |(label, value): &(&str, &str)| ((*label).to_owned(), (*value).to_owned());
        Ok(Self::Info(labels.iter().map(owned).collect()))
    }
}

/// One family of a page.
#[derive(Debug)]
pub(crate) struct PageFamily {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) samples: Samples,
}

/// Everything one scrape found, in the order in which it is written.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) families: Vec<PageFamily>,
    /// Those of the registry.
    registered: Arc<Names>,
    /// Those of the sources.
    offered: Names,
    pub(crate) errors: u64,
    pub(crate) last_error: Option<String>,
}

impl Page {
    pub(crate) fn beside(registered: Arc<Names>) -> Self {
        Self { registered, ..Self::default() }
    }

    /// Adds a family whose name was checked at registration.
    pub(crate) fn add(&mut self, name: &str, help: &str, samples: Samples) {
        self.families.push(PageFamily { name: name.to_owned(), help: help.to_owned(), samples });
    }

    /// Adds what a source gives, if it breaks no rule.
    fn offer(&mut self, name: &str, help: &str, samples: Result<Samples, RegisterError>) {
        let checked = name::check_family(name, help).and(samples).and_then(|samples| {
            if !mutants::on("metrics-source-may-repeat-a-name") {
                self.registered.check(name, samples.counts())?;
            }
            self.offered.check(name, samples.counts())?;
            Ok(samples)
        });
        match checked {
            Ok(samples) => {
                self.offered.take(name, samples.counts());
                self.add(name, help, samples);
            }
            Err(error) => self.error(error.to_string()),
        }
    }

    pub(crate) fn error(&mut self, message: String) {
        self.errors += 1;
        self.last_error = Some(message);
    }
}
