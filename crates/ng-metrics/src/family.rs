//! Counters of one name told apart by labels, with a bound on how many there can be.
//!
//! What lies beyond the bound is counted too, in one series whose label values are all
//! `"overflow"`: totals stay right and memory stays bounded, whatever a caller passes in.

use std::cmp::Ordering as Order;

use crate::shard::ColumnSupply;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};
use crate::{Counter, RegisterError};

/// The value of each label of the series that takes what is beyond the bound.
const OVERFLOW: &str = "overflow";
/// Longest label value that gets a series of its own. Unit: bytes. 128: room for a route or a type
/// name, and 10,000 such series stay in the low megabytes.
const VALUE_BYTES_MAX: usize = 128;
/// Largest bound on a family's series: more is a database, not a page.
pub(crate) const SERIES_LIMIT: usize = 10_000;

/// Counters that share a name and differ in the values of `N` labels. Clones share the counters.
///
/// Made by [`Registry::counter_family`](crate::Registry::counter_family).
#[derive(Clone, Debug)]
pub struct CounterFamily<const N: usize> {
    series: Arc<SeriesTable>,
}

impl<const N: usize> CounterFamily<N> {
    pub(crate) fn of(series: Arc<SeriesTable>) -> Self {
        Self { series }
    }

    /// The counter for these label values, in the order of the label names; made at first use.
    ///
    /// Looks it up under a lock: a hot path calls this once and keeps the counter. Beyond the
    /// bound, and for values longer than 128 bytes, it is the overflow counter.
    pub fn with(&self, values: &[&str; N]) -> Counter {
        self.series.with(values)
    }
}

/// A family without the number of its labels in its type.
#[derive(Debug)]
pub(crate) struct SeriesTable {
    labels: Vec<String>,
    max_series: usize,
    known: Mutex<Known>,
    overflows_total: AtomicU64,
}

#[derive(Default)]
struct Known {
    /// Sorted by label values.
    sorted: Vec<(Vec<String>, Counter)>,
    overflow: Option<Counter>,
    supply: ColumnSupply,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.sorted.iter().map(|(values, counter)| (values, counter)))
            .entries(self.overflow.iter().map(|counter| (OVERFLOW, counter)))
            .finish()
    }
}

impl Known {
    fn find(&self, values: &[&str]) -> Result<usize, usize> {
        self.sorted.binary_search_by(|(known, _)| compare(known, values))
    }
}

fn compare(known: &[String], values: &[&str]) -> Order {
    known.iter().map(String::as_str).cmp(values.iter().copied())
}

impl SeriesTable {
    /// `labels` have been checked by the caller.
    pub(crate) fn new(
        name: &str,
        labels: &[&str],
        max_series: usize,
    ) -> Result<Self, RegisterError> {
        if !(1..=SERIES_LIMIT).contains(&max_series) {
            let name = name.to_owned();
            return Err(RegisterError::MaxSeries { name, max_series, limit: SERIES_LIMIT });
        }
        Ok(Self {
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
            max_series,
            known: Mutex::default(),
            overflows_total: AtomicU64::new(0),
        })
    }

    fn with(&self, values: &[&str]) -> Counter {
        let mut known = self.known.lock();
        let known = &mut *known;
        let too_long = values.iter().any(|value| value.len() > VALUE_BYTES_MAX);
        // Asked for by name, it must be the same series, or the page would show it twice.
        let by_name = values.iter().all(|value| *value == OVERFLOW);
        if !too_long && !by_name {
            match known.find(values) {
                Ok(at) => return known.sorted[at].1.clone(),
                Err(at) if known.sorted.len() < self.max_series => {
                    let counter = Counter::of(known.supply.next());
                    let values = values.iter().map(|&value| value.to_owned()).collect();
                    known.sorted.insert(at, (values, counter.clone()));
                    return counter;
                }
                Err(_) => {}
            }
        }
        self.overflows_total.fetch_add(1, Ordering::Relaxed);
        known.overflow.get_or_insert_with(|| Counter::of(known.supply.next())).clone()
    }

    /// Every series with its labels, sorted by their values, the overflow last.
    pub(crate) fn read(&self) -> Vec<(Vec<(String, String)>, u64)> {
        let known = self.known.lock();
        let named = |value: &dyn Fn(usize) -> String| -> Vec<(String, String)> {
            self.labels.iter().enumerate().map(|(i, label)| (label.clone(), value(i))).collect()
        };
        let mut series: Vec<_> = known
            .sorted
            .iter()
            .map(|(values, counter)| (named(&|i| values[i].clone()), counter.get()))
            .collect();
        if let Some(overflow) = &known.overflow {
            series.push((named(&|_| OVERFLOW.to_owned()), overflow.get()));
        }
        series
    }

    pub(crate) fn overflows_total(&self) -> u64 {
        self.overflows_total.load(Ordering::Relaxed)
    }
}
