//! Label sets are bounded; what lies beyond the bound is counted all the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ng_metrics::{CounterFamily, Format, HistogramFamily, Registry, UpDownCounter};

/// One whose pages have values alone.
fn registry() -> Registry {
    let registry = Registry::new("t").unwrap();
    registry.show_created(false);
    registry
}

fn family(max_series: usize) -> (Registry, CounterFamily<2>) {
    let registry = registry();
    let family = registry.counter_family("ops", "Operations.", ["op", "by"], max_series).unwrap();
    (registry, family)
}

fn samples(registry: &Registry) -> Vec<String> {
    let page = registry.encode(Format::OpenMetrics);
    page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn equal_labels_give_the_same_counter_and_others_another() {
    let (registry, family) = family(10);
    family.with(&["get", "a"]).inc();
    family.with(&["get", "a"]).add(4);
    family.with(&["get", "b"]).inc();
    family.clone().with(&["a", "get"]).inc();
    assert_eq!(
        samples(&registry),
        [
            r#"t_ops_total{op="a",by="get"} 1"#,
            r#"t_ops_total{op="get",by="a"} 5"#,
            r#"t_ops_total{op="get",by="b"} 1"#,
        ]
    );
}

#[test]
fn series_beyond_the_bound_are_counted_as_overflow() {
    let (registry, family) = family(2);
    for name in ["a", "b", "c", "d", "a"] {
        family.with(&[name, "x"]).inc();
    }
    assert_eq!(
        samples(&registry),
        [
            r#"t_ops_total{op="a",by="x"} 2"#,
            r#"t_ops_total{op="b",by="x"} 1"#,
            r#"t_ops_total{op="overflow",by="overflow"} 2"#,
        ]
    );
    assert_eq!(registry.stats().label_overflows_total, 2);
}

#[test]
fn overlong_values_and_the_overflow_value_itself_go_to_the_overflow_series() {
    let (registry, family) = family(10);
    family.with(&["x", &"y".repeat(129)]).inc();
    family.with(&["overflow", "overflow"]).add(10);
    family.with(&["overflow", "x"]).add(100); // an ordinary series
    family.with(&["z", &"y".repeat(128)]).inc(); // just short enough
    let samples = samples(&registry);
    assert_eq!(samples.len(), 3);
    assert_eq!(samples[0], r#"t_ops_total{op="overflow",by="x"} 100"#);
    assert!(samples[1].starts_with(r#"t_ops_total{op="z",by="yyy"#));
    assert_eq!(samples[2], r#"t_ops_total{op="overflow",by="overflow"} 11"#);
}

#[test]
fn a_family_without_series_is_on_the_page_from_the_start() {
    let (registry, _family) = family(1);
    let page = registry.encode(Format::OpenMetrics);
    assert_eq!(page, "# HELP t_ops Operations.\n# TYPE t_ops counter\n# EOF\n");
}

#[test]
fn threads_that_make_series_at_once_never_pass_the_bound_and_lose_no_count() {
    const MAX: usize = 20;
    let (registry, family) = family(MAX);
    thread::scope(|scope| {
        for t in 0..4u64 {
            let family = &family;
            scope.spawn(move || {
                for i in 0..1_000 {
                    family.with(&[&(i * (t + 1) % 40).to_string(), "x"]).inc();
                }
            });
        }
    });
    let samples = samples(&registry);
    assert_eq!(samples.len(), MAX + 1);
    let total: u64 =
        samples.iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
    assert_eq!(total, 4_000);
}

#[test]
fn a_series_that_two_threads_make_at_the_same_moment_is_one() {
    const SERIES: usize = 3_000;
    let (registry, family) = family(SERIES);
    let arrivals = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for i in 0..SERIES {
                    let key = i.to_string();
                    // Both in step, so that each series is asked for by both at once.
                    arrivals.fetch_add(1, Ordering::AcqRel);
                    let mut spins = 0;
                    while arrivals.load(Ordering::Acquire) < 2 * (i + 1) {
                        spins += 1;
                        match spins % 1_000 {
                            0 => thread::yield_now(),
                            _ => std::hint::spin_loop(),
                        }
                    }
                    family.with(&[&key, "x"]).inc();
                }
            });
        }
    });
    let samples = samples(&registry);
    assert_eq!(samples.len(), SERIES);
    for sample in samples {
        assert!(sample.ends_with(" 2"), "a thread's count is lost: {sample}");
    }
}

#[test]
fn levels_are_told_apart_by_labels_and_bounded_as_counts_are() {
    let registry = registry();
    let open = registry.up_down_counter_family("open", "Open.", ["side"], 1).unwrap();
    let fill = registry.gauge_family("fill_ratio", "Fill.", ["side"], 1).unwrap();
    let left: UpDownCounter = open.with(&["left"]);
    left.add(5);
    open.with(&["left"]).dec();
    open.with(&["right"]).add(-7);
    fill.with(&["left"]).set(0.25);
    fill.with(&["right"]).set(0.5);
    fill.with(&["middle"]).set(0.75); // as "right": beyond the bound there is one gauge
    assert_eq!(
        samples(&registry),
        [
            r#"t_open{side="left"} 4.0"#,
            r#"t_open{side="overflow"} -7.0"#,
            r#"t_fill_ratio{side="left"} 0.25"#,
            r#"t_fill_ratio{side="overflow"} 0.75"#,
        ]
    );
    assert_eq!(registry.stats().label_overflows_total, 3);
}

#[test]
fn distributions_are_told_apart_by_labels_and_bounded_as_counts_are() {
    let registry = registry();
    let waits: HistogramFamily<1> =
        registry.histogram_seconds_family("wait_seconds", "Waits.", ["of"], 1).unwrap();
    let sizes = registry.histogram_family("sizes", "Sizes.", ["of"], 1).unwrap();
    waits.with(&["a"]).record(1_000_000_000);
    waits.with(&["a"]).record(2_000_000_000);
    waits.with(&["b"]).record(4_000_000_000);
    waits.with(&["c"]).record(8_000_000_000);
    sizes.with(&["a"]).record(3);
    let samples = samples(&registry);
    for line in [
        r#"t_wait_seconds_sum{of="a"} 3.0"#,
        r#"t_wait_seconds_count{of="a"} 2"#,
        r#"t_wait_seconds_bucket{le="1.073741824",of="a"} 1"#,
        r#"t_wait_seconds_bucket{le="+Inf",of="a"} 2"#,
        r#"t_wait_seconds_sum{of="overflow"} 12.0"#,
        r#"t_wait_seconds_count{of="overflow"} 2"#,
        r#"t_sizes_bucket{le="1.0",of="a"} 0"#,
        r#"t_sizes_bucket{le="4.0",of="a"} 1"#,
    ] {
        assert!(samples.iter().any(|sample| sample == line), "{line} is not among {samples:#?}");
    }
    assert_eq!(samples.len(), 3 * 19);
}
