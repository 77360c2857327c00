//! Metrics of one name told apart by labels, with a bound on how many there can be.
//!
//! What lies beyond the bound is counted too, in one series whose label values are all
//! `"overflow"`: totals stay right and memory stays bounded, whatever a caller passes in.

use std::cmp::Ordering as Order;
use std::fmt;
use std::time::SystemTime;

use crate::collect::Labels;
use crate::shard::ColumnSupply;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use crate::{Counter, Gauge, Histogram, RegisterError, UpDownCounter, mutants};

/// The value of each label of the series that takes what is beyond the bound.
const OVERFLOW: &str = "overflow";
/// Longest label value that gets a series of its own. Unit: bytes. 128: room for a route or a type
/// name, and 10,000 such series stay in the low megabytes.
const VALUE_BYTES_MAX: usize = 128;
/// Largest bound on a family's series: more is a database, not a page.
pub(crate) const SERIES_LIMIT: usize = 10_000;

/// Metrics of kind `M` that share a name and differ in the values of `N` labels. Clones share them.
///
/// Made by [`Registry::counter_family`](crate::Registry::counter_family) and its kin.
pub struct Family<M, const N: usize> {
    series: Arc<SeriesTable<M>>,
}

/// Counters told apart by `N` labels.
pub type CounterFamily<const N: usize> = Family<Counter, N>;
/// Up-down counters told apart by `N` labels.
pub type UpDownCounterFamily<const N: usize> = Family<UpDownCounter, N>;
/// Gauges told apart by `N` labels. Beyond the bound all set the same one: its level is whichever
/// was set last.
pub type GaugeFamily<const N: usize> = Family<Gauge, N>;
/// Histograms told apart by `N` labels.
pub type HistogramFamily<const N: usize> = Family<Histogram, N>;

impl<M: Clone, const N: usize> Family<M, N> {
    pub(crate) fn of(series: Arc<SeriesTable<M>>) -> Self {
        Self { series }
    }

    /// The metric for these label values, in the order of the label names; made at first use.
    ///
    /// Looks it up under a lock: a hot path calls this once and keeps what it got. Beyond the
    /// bound, and for values longer than 128 bytes, it is the overflow series.
    pub fn with(&self, values: &[&str; N]) -> M {
        self.series.with(values)
    }
}

impl<M, const N: usize> Clone for Family<M, N> {
    fn clone(&self) -> Self {
        Self { series: Arc::clone(&self.series) }
    }
}

impl<M: fmt::Debug, const N: usize> fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.series.known.lock();
        let all = known.sorted.iter().chain(&known.overflow);
        f.debug_map().entries(all.map(|series| (&series.values, &series.metric))).finish()
    }
}

/// A family without the number of its labels in its type.
pub(crate) struct SeriesTable<M> {
    labels: Vec<String>,
    max_series: usize,
    make: fn(&mut ColumnSupply) -> M,
    known: Mutex<Known<M>>,
    overflows_total: AtomicU64,
}

struct Known<M> {
    /// Sorted by label values.
    sorted: Vec<Series<M>>,
    overflow: Option<Series<M>>,
    supply: ColumnSupply,
}

/// One metric of a family. A page holds clones of it, so that the family's lock is short.
#[derive(Clone)]
pub(crate) struct Series<M> {
    values: Arc<[String]>,
    pub(crate) labels: Arc<Labels>,
    pub(crate) metric: M,
    pub(crate) created: SystemTime,
}

impl<M> Known<M> {
    fn find(&self, values: &[&str]) -> Result<usize, usize> {
        self.sorted.binary_search_by(|series| compare(&series.values, values))
    }
}

fn compare(known: &[String], values: &[&str]) -> Order {
    known.iter().map(String::as_str).cmp(values.iter().copied())
}

impl<M: Clone> SeriesTable<M> {
    /// `labels` have been checked by the caller.
    pub(crate) fn new(
        name: &str,
        labels: &[&str],
        max_series: usize,
        make: fn(&mut ColumnSupply) -> M,
    ) -> Result<Self, RegisterError> {
        if !(1..=SERIES_LIMIT).contains(&max_series) {
            let name = name.to_owned();
            return Err(RegisterError::MaxSeries { name, max_series, limit: SERIES_LIMIT });
        }
        let known = Known { sorted: Vec::new(), overflow: None, supply: ColumnSupply::default() };
        Ok(Self {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            max_series,
            make,
            known: Mutex::new(known),
            overflows_total: AtomicU64::new(0),
        })
    }

    fn with(&self, values: &[&str]) -> M {
        let mut known = self.known.lock();
        let known = &mut *known;
        let too_long = values.iter().any(|value| value.len() > VALUE_BYTES_MAX);
        // Asked for by name, it must be the same series, or the page would show it twice.
        let by_name = values.iter().all(|value| *value == OVERFLOW)
            && !mutants::on("metrics-overflow-series-twice");
        if !too_long && !by_name {
            match known.find(values) {
                Ok(at) => return known.sorted[at].metric.clone(),
                Err(at)
                    if known.sorted.len() < self.max_series
                        || mutants::on("metrics-family-without-bound") =>
                {
                    let series = self.make(&mut known.supply, values);
                    let metric = series.metric.clone();
                    known.sorted.insert(at, series);
                    return metric;
                }
                Err(_) => {}
            }
        }
        self.overflows_total.fetch_add(1, Ordering::Relaxed);
        if mutants::on("metrics-overflow-is-not-kept") {
            return (self.make)(&mut known.supply);
        }
        let overflow = || self.make(&mut known.supply, &vec![OVERFLOW; self.labels.len()]);
        known.overflow.get_or_insert_with(overflow).metric.clone()
    }

    fn make(&self, supply: &mut ColumnSupply, values: &[&str]) -> Series<M> {
        let values: Arc<[String]> = values.iter().map(|&value| value.to_owned()).collect();
        let labels = self.labels.iter().cloned().zip(values.iter().cloned()).collect();
        let metric = (self.make)(supply);
        Series { values, labels: Arc::new(labels), metric, created: SystemTime::now() }
    }

    /// Every series there is now, sorted by label values, the overflow last. Their values are read
    /// by the caller, without the lock.
    pub(crate) fn all(&self) -> Vec<Series<M>> {
        let known = self.known.lock();
        known.sorted.iter().chain(&known.overflow).cloned().collect()
    }

    pub(crate) fn overflows_total(&self) -> u64 {
        self.overflows_total.load(Ordering::Relaxed)
    }
}
