//! What an OpenMetrics page has beyond its values: since when a series counts, and exemplars.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ng_metrics::{Collect, Exemplar, Format, Histogram, Registry, TraceRef};

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

fn trace(number: u128) -> TraceRef {
    TraceRef { trace_id: TRACE + number, span_id: 0xb7ad_6b71_6920_3331 }
}

fn registry() -> Registry {
    let registry = Registry::new("t").unwrap();
    registry.show_created(false);
    registry
}

/// The lines of the page which begin with `name`.
fn lines(registry: &Registry, format: Format, name: &str) -> Vec<String> {
    let page = registry.encode(format);
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

/// The part of a line between its value and its time: `# {…} value`.
fn exemplar_of(line: &str) -> Option<&str> {
    line.split_once(" # ").map(|(_, exemplar)| exemplar.rsplit_once(' ').unwrap().0)
}

#[test]
fn each_count_and_distribution_says_since_when_and_keeps_to_it() {
    let second = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let registry = Registry::new("t").unwrap();
    // The page shows milliseconds.
    let before = second(SystemTime::now()) - 0.001;
    registry.counter("ops", "Operations.").unwrap();
    registry.histogram("sizes", "Sizes.").unwrap();
    registry.gauge("level", "Level.").unwrap();
    registry.up_down_counter("open", "Open.").unwrap();
    let family = registry.counter_family("hits", "Hits.", ["of"], 2).unwrap();
    family.with(&["a \"}\" b"]).inc();
    let waits = registry.histogram_family("waits", "Waits.", ["of"], 2).unwrap();
    waits.with(&["x"]).record(1);
    let after = second(SystemTime::now());
    let created = || -> Vec<(String, String)> {
        let page = registry.encode(Format::OpenMetrics);
        let lines = page.lines().filter(|line| line.contains("_created"));
        lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(a, b)| (a.into(), b.into()))
            .collect()
    };
    let first = created();
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "t_ops_created",
            "t_sizes_created",
            r#"t_hits_created{of="a \"}\" b"}"#,
            r#"t_waits_created{of="x"}"#,
        ]
    );
    for (name, time) in &first {
        let time: f64 = time.parse().unwrap();
        assert!((before..=after).contains(&time), "{name} {time} is not in {before}..={after}");
    }
    // Until the clock has moved on, so that a time made anew would be another.
    while second(SystemTime::now()) < after + 0.002 {
        thread::yield_now();
    }
    assert_eq!(created(), first);

    assert!(lines(&registry, Format::Prometheus, "t_ops_created").is_empty());
    registry.show_created(false);
    assert!(created().is_empty());
}

#[test]
fn a_sources_counts_say_since_when_only_if_the_source_does() {
    let registry = Registry::new("t").unwrap();
    registry.source(Box::new(|out: &mut Collect<'_>| {
        out.counter("before", "Help.", 1);
        out.counted_since(UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
        out.counter("after", "Help.", 2);
        out.counter_labeled("labelled", "Help.", "of", &[("a", 3), ("b", 4)]);
        out.gauge("level", "Help.", 5.0);
        out.histogram("sizes", "Help.", &Histogram::new().snapshot());
    }));
    let page = registry.encode(Format::OpenMetrics);
    let created: Vec<&str> = page.lines().filter(|line| line.contains("_created")).collect();
    assert_eq!(
        created,
        [
            "t_after_created 1700000000.250",
            r#"t_labelled_created{of="a"} 1700000000.250"#,
            r#"t_labelled_created{of="b"} 1700000000.250"#,
            "t_sizes_created 1700000000.250",
        ]
    );
}

#[test]
fn each_bucket_shows_the_newest_exemplar_of_a_value_in_it() {
    let registry = registry();
    let histogram = registry.histogram("sizes", "Sizes.").unwrap();
    // Bounds are 1, 4, 16, …: 1 | 2 and 4 | 5 and 16 | the largest.
    for (number, value) in [1, 2, 4, 16, 5, u64::MAX].into_iter().enumerate() {
        histogram.record_traced(value, trace(number as u128));
    }
    histogram.record(3); // without a trace: the exemplar stays
    let buckets = lines(&registry, Format::OpenMetrics, "t_sizes_bucket");
    let shown: Vec<Option<&str>> = buckets.iter().map(|line| exemplar_of(line)).collect();
    let expected = |number: u128, value: &str| {
        format!("{{trace_id=\"{:032x}\",span_id=\"b7ad6b7169203331\"}} {value}", TRACE + number)
    };
    assert_eq!(shown[0], Some(expected(0, "1.0").as_str()));
    assert_eq!(shown[1], Some(expected(2, "4.0").as_str()));
    assert_eq!(shown[2], Some(expected(4, "5.0").as_str()));
    assert_eq!(shown[16], Some(expected(5, "1.8446744073709552e19").as_str()));
    assert!(shown[3..16].iter().all(Option::is_none), "{buckets:#?}");
    assert_eq!(histogram.snapshot().count(), 7);

    let plain = lines(&registry, Format::Prometheus, "t_sizes_bucket");
    assert!(plain.iter().all(|line| !line.contains('#')), "{plain:#?}");
}

#[test]
fn an_exemplar_is_shown_in_the_unit_of_its_histogram_with_its_time() {
    let registry = registry();
    let waits = registry.histogram_seconds_family("wait_seconds", "Waits.", ["of"], 2).unwrap();
    let begin = SystemTime::now() - Duration::from_millis(1);
    waits.with(&["# {a}"]).record_traced(2_500_000, TraceRef { trace_id: 1, span_id: 0 });
    let buckets = lines(&registry, Format::OpenMetrics, "t_wait_seconds_bucket");
    let (value, exemplar) = buckets[8].rsplit_once(" # ").unwrap();
    assert_eq!(value, r##"t_wait_seconds_bucket{le="0.004194304",of="# {a}"} 1"##);
    let (exemplar, time) = exemplar.rsplit_once(' ').unwrap();
    assert_eq!(exemplar, r#"{trace_id="00000000000000000000000000000001"} 0.0025"#);
    let time = UNIX_EPOCH + Duration::from_secs_f64(time.parse().unwrap());
    assert!((begin..=SystemTime::now()).contains(&time), "{time:?}");
}

#[test]
fn a_counter_shows_its_newest_exemplar_and_its_neighbours_have_none_of_it() {
    let registry = registry();
    let ops = registry.counter("ops", "Operations.").unwrap();
    registry.counter("others", "Others.").unwrap().inc();
    ops.inc();
    assert_eq!(ops.exemplar(), None);
    ops.add_traced(2, trace(0));
    ops.add_traced(3, trace(1));
    ops.add_traced(4, TraceRef { trace_id: 0, span_id: 7 }); // counted; no trace, so no exemplar
    assert_eq!(ops.exemplar().map(|e| (e.value, e.trace)), Some((3, trace(1))));
    let total = lines(&registry, Format::OpenMetrics, "t_ops_total");
    assert!(total[0].starts_with("t_ops_total 10 # {trace_id="), "{total:?}");
    assert_eq!(lines(&registry, Format::OpenMetrics, "t_others_total"), ["t_others_total 1"]);
    assert_eq!(lines(&registry, Format::Prometheus, "t_ops_total"), ["t_ops_total 10"]);
}

#[test]
fn merged_snapshots_keep_the_newer_exemplar_of_each_bucket() {
    let (older, newer) = (Histogram::new(), Histogram::new());
    older.record_traced(10, trace(0));
    older.record_traced(1_000, trace(1));
    let later = SystemTime::now();
    while SystemTime::now() == later {
        thread::yield_now();
    }
    newer.record_traced(11, trace(2));
    let traces = |left: &Histogram, right: &Histogram| -> Vec<(u64, TraceRef)> {
        let mut merged = left.snapshot();
        merged.merge(&right.snapshot());
        merged.exemplars().map(|Exemplar { value, trace, .. }| (*value, *trace)).collect()
    };
    let expected = [(11, trace(2)), (1_000, trace(1))];
    assert_eq!(traces(&older, &newer), expected);
    assert_eq!(traces(&newer, &older), expected);
}

#[test]
fn threads_that_record_with_traces_lose_no_value_while_pages_are_written() {
    const EACH: u64 = 2_000;
    let registry = registry();
    let histogram = registry.histogram("sizes", "Sizes.").unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..EACH).for_each(|n| histogram.record_traced(n, trace(n.into()))));
        }
        while histogram.snapshot().count() < 2 * EACH {
            for line in lines(&registry, Format::OpenMetrics, "t_sizes_bucket") {
                let Some(exemplar) = exemplar_of(&line) else { continue };
                // Never half of one and half of another: the trace is the value's own.
                let (labels, value) = exemplar.rsplit_once(' ').unwrap();
                let number = value.parse::<f64>().unwrap() as u128;
                assert!(labels.contains(&format!("{:032x}", TRACE + number)), "{line}");
            }
        }
    });
    assert_eq!(histogram.snapshot().count(), 2 * EACH);
}
