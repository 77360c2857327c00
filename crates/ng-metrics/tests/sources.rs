//! Numbers read at the scrape, and sources that misbehave without breaking the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ng_metrics::{Collect, Format, Histogram, Registry, Source};

const HELP: &str = "Help.";

/// One whose pages have values alone.
fn registry() -> Registry {
    let registry = Registry::new("t").unwrap();
    registry.show_created(false);
    registry
}

fn page_of(source: impl Fn(&mut Collect<'_>) + Send + Sync + 'static) -> (Registry, String) {
    let registry = registry();
    registry.counter("own", HELP).unwrap();
    registry.source(Box::new(source));
    let page = registry.encode(Format::OpenMetrics);
    (registry, page)
}

fn samples(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_source_is_asked_anew_at_each_scrape() {
    struct Depth(Arc<AtomicU64>);
    impl Source for Depth {
        fn collect(&self, out: &mut Collect<'_>) {
            out.gauge("queue_len", HELP, self.0.load(Ordering::Relaxed) as f64);
        }
    }
    let depth = Arc::new(AtomicU64::new(3));
    let registry = Registry::new("t").unwrap();
    registry.source(Box::new(Depth(Arc::clone(&depth))));
    assert_eq!(samples(&registry.encode(Format::OpenMetrics)), ["t_queue_len 3.0"]);
    depth.store(9, Ordering::Relaxed);
    assert_eq!(samples(&registry.encode(Format::OpenMetrics)), ["t_queue_len 9.0"]);
}

#[test]
fn every_kind_a_source_emits_is_on_the_page() {
    let (registry, page) = page_of(|out| {
        let histogram = Histogram::new();
        histogram.record(2_000_000_000);
        out.counter("a", HELP, 1);
        out.counter_labeled("b", HELP, "kind", &[("x", 2), ("y", 3)]);
        out.gauge("c", HELP, -0.5);
        out.gauge_labeled("d_bytes", HELP, "state", &[("live", 4.0)]);
        out.histogram("e", HELP, &histogram.snapshot());
        out.histogram_seconds("f_seconds", HELP, &histogram.snapshot());
        out.info("g", HELP, &[("version", "1"), ("os", "linux")]);
    });
    let expected = [
        "t_own_total 0",
        "t_a_total 1",
        r#"t_b_total{kind="x"} 2"#,
        r#"t_b_total{kind="y"} 3"#,
        "t_c -0.5",
        r#"t_d_bytes{state="live"} 4.0"#,
        "t_e_sum 2000000000.0",
        "t_e_count 1",
        r#"t_e_bucket{le="1073741824.0"} 0"#,
        r#"t_e_bucket{le="+Inf"} 1"#,
        "t_f_seconds_sum 2.0",
        r#"t_f_seconds_bucket{le="1.073741824"} 0"#,
        r#"t_f_seconds_bucket{le="4.294967296"} 1"#,
        r#"t_g_info{version="1",os="linux"} 1"#,
    ];
    let samples = samples(&page);
    for line in expected {
        assert!(samples.contains(&line), "{line} is not on\n{page}");
    }
    assert_eq!(registry.stats().scrape_errors_total, 0);
}

#[test]
fn bad_families_are_left_out_and_counted_while_the_rest_stays() {
    let (registry, page) = page_of(|out| {
        let empty = Histogram::new().snapshot();
        out.counter("own", HELP, 1); // a registered metric has this name
        out.counter("Bad", HELP, 1);
        out.gauge("ops_total", HELP, 1.0);
        out.gauge("no_help", "", 1.0);
        out.gauge_labeled("bad_label", HELP, "le", &[("x", 1.0)]);
        out.info("no_labels", HELP, &[]);
        out.histogram_seconds("wait", HELP, &empty);
        out.gauge("good", HELP, 1.0);
        out.counter("good", HELP, 2); // a name it has used already
    });
    assert_eq!(samples(&page), ["t_own_total 0", "t_good 1.0"]);
    let stats = registry.stats();
    assert_eq!(stats.scrape_errors_total, 8);
    assert!(stats.last_scrape_error.unwrap().contains("\"good\""));
}

#[test]
fn a_label_value_given_twice_is_left_out_once_and_counted() {
    let (registry, page) = page_of(|out| {
        out.gauge_labeled("d", HELP, "state", &[("x", 1.0), ("y", 2.0), ("x", 3.0)]);
    });
    assert_eq!(samples(&page), ["t_own_total 0", r#"t_d{state="x"} 1.0"#, r#"t_d{state="y"} 2.0"#]);
    assert_eq!(registry.stats().scrape_errors_total, 1);
}

#[test]
fn a_source_that_panics_costs_only_what_it_had_not_emitted() {
    let (registry, page) = page_of(|out| {
        out.gauge("before", HELP, 1.0);
        panic!("expected by this test");
    });
    assert_eq!(samples(&page), ["t_own_total 0", "t_before 1.0"]);
    assert!(page.ends_with("# EOF\n"));
    registry.source(Box::new(|out: &mut Collect<'_>| out.gauge("after", HELP, 2.0)));
    let page = registry.encode(Format::OpenMetrics);
    assert_eq!(samples(&page), ["t_own_total 0", "t_before 1.0", "t_after 2.0"]);
    assert_eq!(registry.stats().scrape_errors_total, 2);
}

#[test]
fn a_source_may_use_its_registry() {
    let registry = registry();
    let inner = registry.clone();
    registry.source(Box::new(move |out: &mut Collect<'_>| {
        let stats = inner.stats();
        out.counter("scrapes", HELP, stats.scrapes_total);
        let _ = inner.counter("made_by_the_source", HELP);
    }));
    assert_eq!(samples(&registry.encode(Format::OpenMetrics)), ["t_scrapes_total 0"]);
    let page = registry.encode(Format::OpenMetrics);
    assert_eq!(samples(&page), ["t_made_by_the_source_total 0", "t_scrapes_total 1"]);
}

#[test]
fn stats_tell_of_the_last_page() {
    let (registry, page) = page_of(|out| out.gauge("a", HELP, 1.0));
    let stats = registry.stats();
    assert_eq!((stats.families, stats.sources, stats.scrapes_total), (1, 1, 1));
    assert_eq!(stats.last_scrape_bytes, page.len() as u64);
    assert!(stats.last_scrape_duration_ns > 0);
    assert_eq!(stats.last_scrape_error, None);
}
