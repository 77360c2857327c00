//! What a registry refuses, and with which error; what a refusal leaves behind: nothing.

use ng_metrics::{Collect, Format, RegisterError, Registry};

fn registry() -> Registry {
    Registry::new("t").unwrap()
}

#[test]
fn bad_names_are_refused_with_the_name_in_the_error() {
    let bad = [
        "",
        "9lives",
        "Upper",
        "camelCase",
        "with-dash",
        "with space",
        "with:colon",
        "ümlaut",
        "ops_total",
        "ops_count",
        "ops_sum",
        "ops_bucket",
        "ops_info",
        "total",
    ];
    for name in bad {
        let refused = registry().counter(name, "Help.").unwrap_err();
        assert!(matches!(&refused, RegisterError::Name { name: n, .. } if n == name), "{refused}");
        assert!(refused.to_string().contains(name));
        assert!(registry().gauge(name, "Help.").is_err());
        assert!(registry().info(name, "Help.", &[("a", "b")]).is_err());
    }
    for name in ["a", "_a", "a1", "a__b", "totals", "info_bytes", "count_of_sums"] {
        registry().counter(name, "Help.").unwrap();
    }
}

#[test]
fn bad_prefixes_are_refused_and_an_empty_one_is_none() {
    for prefix in ["9", "A", "a-b", "a_", " "] {
        let refused = Registry::new(prefix).unwrap_err();
        assert!(matches!(&refused, RegisterError::Prefix { prefix: p, .. } if p == prefix));
    }
    let bare = Registry::new("").unwrap();
    bare.counter("ops", "Operations.").unwrap();
    assert!(bare.encode(Format::OpenMetrics).contains("\nops_total 0\n"));
}

#[test]
fn help_must_be_one_line_that_says_something() {
    for help in ["", "  ", "two\nlines", "a\rb", "tab\t"] {
        let refused = registry().counter("ops", help).unwrap_err();
        assert!(matches!(&refused, RegisterError::Help { name, .. } if name == "ops"), "{refused}");
    }
}

#[test]
fn a_name_is_taken_for_all_kinds_and_by_all_clones() {
    let registry = registry();
    registry.counter("ops", "Operations.").unwrap();
    let taken = RegisterError::Duplicate { name: "ops".into() };
    let clone = registry.clone();
    assert_eq!(clone.counter("ops", "Operations.").unwrap_err(), taken);
    assert_eq!(clone.gauge("ops", "Operations.").unwrap_err(), taken);
    assert_eq!(clone.histogram("ops", "Operations.").unwrap_err(), taken);
    assert_eq!(clone.info("ops", "Operations.", &[("a", "b")]).unwrap_err(), taken);
    assert_eq!(clone.up_down_counter("ops", "Operations.").unwrap_err(), taken);
    assert_eq!(clone.counter_family("ops", "Operations.", ["a"], 1).unwrap_err(), taken);
    assert_eq!(clone.gauge_family("ops", "Operations.", ["a"], 1).unwrap_err(), taken);
    assert_eq!(clone.histogram_family("ops", "Operations.", ["a"], 1).unwrap_err(), taken);
    assert_eq!(registry.stats().families, 1);
}

#[test]
fn a_name_that_meets_the_created_sample_of_another_family_is_refused_in_either_order() {
    let clash =
        |name: &str, with: &str| RegisterError::Clash { name: name.into(), with: with.into() };
    let registry = registry();
    registry.counter("tokens", "Tokens.").unwrap();
    let refused = registry.gauge("tokens_created", "Created.").unwrap_err();
    assert_eq!(refused, clash("tokens_created", "tokens"));
    registry.gauge("waits_created", "Created.").unwrap();
    let refused = registry.histogram("waits", "Waits.").unwrap_err();
    assert_eq!(refused, clash("waits", "waits_created"));
    registry.gauge("waits", "A level has no such sample.").unwrap();

    registry.source(Box::new(|out: &mut Collect<'_>| {
        out.gauge("tokens_created", "Of a registered family.", 1.0);
        out.counter("syncs", "Syncs.", 1);
        out.counter("syncs_created", "Of its own.", 1);
    }));
    registry.encode(Format::OpenMetrics);
    assert_eq!(registry.stats().scrape_errors_total, 2);
}

#[test]
fn a_refused_metric_leaves_its_name_free() {
    let registry = registry();
    assert!(registry.counter_family("ops", "Operations.", ["le"], 1).is_err());
    assert!(registry.info("ops", "Operations.", &[]).is_err());
    assert_eq!(registry.encode(Format::OpenMetrics), "# EOF\n");
    registry.counter("ops", "Operations.").unwrap();
}

#[test]
fn bad_labels_are_refused_with_the_label_in_the_error() {
    for label in ["", "le", "quantile", "__name__", "A", "a-b"] {
        let refused = registry().counter_family("ops", "Help.", [label], 1).unwrap_err();
        assert!(matches!(&refused, RegisterError::Label { label: l, .. } if l == label));
    }
    let twice = registry().counter_family("ops", "Help.", ["a", "b", "a"], 1).unwrap_err();
    assert!(matches!(twice, RegisterError::Label { label, .. } if label == "a"));
    assert!(registry().counter_family::<0>("ops", "Help.", [], 1).is_err());
}

#[test]
fn a_family_needs_a_bound_within_the_limit() {
    for max_series in [0, 10_001, usize::MAX] {
        let refused = registry().counter_family("ops", "Help.", ["a"], max_series).unwrap_err();
        assert!(
            matches!(refused, RegisterError::MaxSeries { max_series: m, limit: 10_000, .. } if m == max_series)
        );
    }
    registry().counter_family("ops", "Help.", ["a"], 10_000).unwrap();
}

#[test]
fn a_histogram_of_seconds_says_so_in_its_name() {
    let refused = registry().histogram_seconds("wait", "Waits.").unwrap_err();
    assert!(matches!(&refused, RegisterError::Name { name, .. } if name == "wait"));
    assert!(refused.to_string().contains("_seconds"));
    registry().histogram_seconds("wait_seconds", "Waits.").unwrap();
}
