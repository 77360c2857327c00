//! Whole pages, compared byte for byte in both formats; and how a scraper chooses one.

use ng_metrics::{Collect, Format, Registry};

/// A small registry with all that needs care: escapes, units, empty and infinite values.
fn registry() -> Registry {
    let registry = Registry::new("ng").unwrap();
    registry.show_created(false); // those differ from run to run: see extras.rs
    let version = "1.0 \"quoted\" \\ back\nline";
    registry.info("build", "What this is.", &[("version", version), ("os", "linux")]).unwrap();
    let help = r#"Operations, "quoted", with a \ and # {curly="x"} 1."#;
    registry.counter("ops", help).unwrap().add(42);
    let family = registry.counter_family("wal_bytes", "Bytes.", ["kind"], 1).unwrap();
    family.with(&["a # {b=\"c\"} inf"]).add(7);
    family.with(&["beyond"]).inc();
    let wait = registry.histogram_seconds("wait_duration_seconds", "Waits.").unwrap();
    [50, 300, 1_000_000, 90_000_000_000].iter().for_each(|ns| wait.record(*ns));
    registry.gauge("fill_ratio", "Fill.").unwrap().set(0.5);
    registry.source(Box::new(|out: &mut Collect<'_>| {
        let limits = [("none", f64::INFINITY), ("odd inf", f64::NEG_INFINITY), ("some", 12.0)];
        out.gauge_labeled("limit_bytes", "Limits, may be inf", "of", &limits);
        out.gauge("unknown", "Not known.", f64::NAN);
    }));
    registry
}

#[test]
fn openmetrics_page_is_as_frozen() {
    let page = registry().encode(Format::OpenMetrics);
    assert_eq!(page, include_str!("golden/page.openmetrics.txt"));
}

#[test]
fn prometheus_page_is_as_frozen() {
    let page = registry().encode(Format::Prometheus);
    assert_eq!(page, include_str!("golden/page.prometheus.txt"));
}

#[test]
fn an_empty_page_is_whole() {
    let empty = Registry::new("ng").unwrap();
    assert_eq!(empty.encode(Format::OpenMetrics), "# EOF\n");
    assert_eq!(empty.encode(Format::Prometheus), "");
}

#[test]
fn openmetrics_is_chosen_only_where_it_is_asked_for_and_preferred() {
    use Format::{OpenMetrics, Prometheus};
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
        application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
        text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    let table = [
        (None, Prometheus),
        (Some(""), Prometheus),
        (Some("*/*"), Prometheus),
        (Some("text/html, */*;q=0.8"), Prometheus),
        (Some("text/plain; version=0.0.4"), Prometheus),
        (Some("application/openmetrics-text"), OpenMetrics),
        (Some("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.5"), OpenMetrics),
        (Some("application/openmetrics-text; version=0.0.1"), Prometheus),
        (Some("application/openmetrics-text; version=2.0.0"), Prometheus),
        (Some("application/openmetrics-text;q=0"), Prometheus),
        (Some("application/openmetrics-text;q=2"), Prometheus),
        (Some("application/openmetrics-text;q=NaN"), Prometheus),
        (Some("application/openmetrics-text;q=0.3,text/plain;q=0.9"), Prometheus),
        (Some("text/plain;q=0.3,application/openmetrics-text;q=0.9"), OpenMetrics),
        (Some("text/plain,application/openmetrics-text"), OpenMetrics),
        (Some("text/plain;version=1.0.0,application/openmetrics-text;q=0.1"), OpenMetrics),
        (Some("text/*;q=0.5,application/openmetrics-text;q=0.4"), Prometheus),
        (Some("application/json"), Prometheus),
        (Some(";;,=,q=,;q"), Prometheus),
        (Some(prometheus_3), OpenMetrics),
    ];
    for (accept, expected) in table {
        assert_eq!(Format::negotiate(accept), expected, "{accept:?}");
    }
}

#[test]
fn content_types_are_those_that_scrapers_compare() {
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(Format::OpenMetrics.content_type(), openmetrics);
    assert_eq!(Format::Prometheus.content_type(), "text/plain; version=0.0.4; charset=utf-8");
    for format in [Format::OpenMetrics, Format::Prometheus] {
        assert_eq!(Format::negotiate(Some(format.content_type())), format);
    }
}
