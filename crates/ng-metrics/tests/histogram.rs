//! Where values fall, how far off a bucket can be, and what a merge and a quantile say.

#[path = "seeded/runner.rs"]
mod seeded;

use ng_metrics::{Format, Histogram, HistogramSnapshot, Registry};
use proptest::prelude::*;
use seeded::runner;

/// Values of every magnitude, and those next to powers of two.
fn values() -> impl Strategy<Value = u64> {
    prop_oneof![
        (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift),
        (0u32..64, -2i64..=2).prop_map(|(power, by)| (1u64 << power).wrapping_add_signed(by)),
    ]
}

fn of(values: &[u64]) -> HistogramSnapshot {
    let histogram = Histogram::new();
    values.iter().for_each(|value| histogram.record(*value));
    histogram.snapshot()
}

#[test]
fn every_value_falls_in_one_bucket_that_holds_it_and_is_at_most_an_eighth_wide() {
    let property = |value: u64| {
        let snapshot = of(&[value]);
        let buckets: Vec<_> = snapshot.buckets().collect();
        prop_assert_eq!(buckets.len(), 1);
        let (bounds, count) = &buckets[0];
        prop_assert_eq!(*count, 1);
        prop_assert!(bounds.contains(&value), "{} not in {:?}", value, bounds);
        let width = bounds.end() - bounds.start(); // 0: exact
        prop_assert!(width <= bounds.start() / 8, "{:?} is too wide", bounds);
        prop_assert!(value > 16 || width == 0, "{} is not exact", value);
        prop_assert_eq!(snapshot.quantile(0.5), Some(*bounds.end()));
        Ok(())
    };
    for value in [0, 1, 15, 16, 17, u64::MAX - 1, u64::MAX] {
        property(value).unwrap();
    }
    runner(2_000).run(&values(), property).unwrap();
}

#[test]
fn merged_snapshots_equal_one_histogram_that_recorded_both() {
    let lists = || prop::collection::vec(values(), 0..40);
    let property = |(left, right): (Vec<u64>, Vec<u64>)| {
        // Half of u64 each at most, so that no sum saturates: that is another test's matter.
        let small = |list: Vec<u64>| -> Vec<u64> { list.iter().map(|v| v >> 7).collect() };
        let (left, right) = (small(left), small(right));
        let mut merged = of(&left);
        merged.merge(&of(&right));
        let both = [left, right].concat();
        prop_assert_eq!(merged.count(), both.len() as u64);
        prop_assert_eq!(merged.sum(), both.iter().map(|v| u128::from(*v)).sum::<u128>());
        prop_assert_eq!(&merged, &of(&both));
        Ok(())
    };
    runner(500).run(&(lists(), lists()), property).unwrap();
}

#[test]
fn quantiles_bound_the_true_ones_from_above_within_an_eighth() {
    let cases = (prop::collection::vec(values(), 1..200), 0.0..=1.0f64);
    let property = |(mut list, q): (Vec<u64>, f64)| {
        let said = of(&list).quantile(q).unwrap();
        list.sort_unstable();
        let rank = ((q * list.len() as f64).ceil() as usize).max(1);
        let truth = list[rank - 1];
        prop_assert!(said >= truth, "{} < {}", said, truth);
        prop_assert!(said - truth <= truth / 8, "{} is far above {}", said, truth);
        Ok(())
    };
    runner(500).run(&cases, property).unwrap();
}

#[test]
fn an_empty_histogram_has_no_quantile_and_no_buckets() {
    let empty = Histogram::new().snapshot();
    assert_eq!((empty.count(), empty.sum(), empty.quantile(0.99)), (0, 0, None));
    assert_eq!(empty.buckets().count(), 0);
    assert_eq!(empty, HistogramSnapshot::default());
}

#[test]
fn a_sum_that_would_overflow_stops_instead_of_falling() {
    let seen = of(&[u64::MAX, u64::MAX, 5]);
    assert_eq!(seen.count(), 3);
    assert_eq!(seen.sum(), u128::from(u64::MAX));
}

/// The `le` of a page's buckets with their counts, as text.
fn buckets(page: &str) -> Vec<(String, u64)> {
    let lines = page.lines().filter(|line| line.contains("_bucket{"));
    let parse = |line: &str| {
        let (series, count) = line.rsplit_once(' ').unwrap();
        let le = series.split('"').nth(1).unwrap();
        (le.to_owned(), count.parse().unwrap())
    };
    lines.map(parse).collect()
}

#[test]
fn exported_buckets_count_exactly_the_values_up_to_their_bound() {
    let property = |list: Vec<u64>| {
        let registry = Registry::new("t").unwrap();
        let histogram = registry.histogram("sizes", "Sizes.").unwrap();
        list.iter().for_each(|value| histogram.record(*value));
        let page = registry.encode(Format::OpenMetrics);
        let buckets = buckets(&page);
        prop_assert_eq!(buckets.len(), 17);
        for (i, (le, count)) in buckets.iter().enumerate() {
            let upto = match le.as_str() {
                "+Inf" => u64::MAX,
                le => le.parse::<f64>().unwrap() as u64,
            };
            prop_assert_eq!(upto == u64::MAX, i == 16, "+Inf is last, and only last");
            let truth = list.iter().filter(|value| **value <= upto).count() as u64;
            prop_assert_eq!(*count, truth, "le={}", le);
        }
        let total = format!("\nt_sizes_count {}\n", list.len());
        prop_assert!(page.contains(&total));
        Ok(())
    };
    let lists = prop::collection::vec(values(), 0..60);
    runner(200).run(&lists, property).unwrap();
}

#[test]
fn nanoseconds_leave_as_seconds() {
    let registry = Registry::new("t").unwrap();
    let histogram = registry.histogram_seconds("wait_seconds", "Waits.").unwrap();
    for ns in [64, 65, 1_024, 250_000_000, 100_000_000_000] {
        histogram.record(ns);
    }
    let page = registry.encode(Format::OpenMetrics);
    assert!(page.contains("\nt_wait_seconds_sum 100.250001153\n"), "{page}");
    let buckets = buckets(&page);
    let at = |le: f64| {
        let found = buckets.iter().find(|(text, _)| text.parse::<f64>().unwrap() == le);
        found.expect("no such bucket").1
    };
    assert_eq!(buckets.len(), 17);
    assert_eq!(at(64e-9), 1, "64 ns is within le=64 ns");
    assert_eq!(at(256e-9), 2);
    assert_eq!(at(1_024e-9), 3);
    assert_eq!(at(68.719476736), 4);
    assert_eq!(buckets[16], ("+Inf".to_owned(), 5));
}
