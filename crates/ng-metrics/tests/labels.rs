//! Any text may be a label's value: it comes back from the page as it was given, in both formats.

#[path = "seeded/runner.rs"]
mod seeded;

use ng_metrics::{Format, Registry, TraceRef};
use proptest::prelude::*;
use seeded::runner;

/// Text in which whatever means something on a page is frequent.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\"", "\\", "\n", "\r", " ", "#", "{", "}", ",", "=", "\\n", "# EOF", "} 1", " # {",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The label's value and what is behind the labels. As a parser would, by escapes alone.
fn parse(line: &str) -> Option<(String, &str)> {
    let quoted = line.split_once("=\"")?.1;
    let mut value = String::new();
    let mut rest = quoted.char_indices();
    loop {
        match rest.next()?.1 {
            '"' => break,
            '\\' => value.push(match rest.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            plain => value.push(plain),
        }
    }
    Some((value, rest.as_str().strip_prefix("} ")?))
}

#[test]
fn any_label_value_comes_back_from_its_line_in_both_formats() {
    let property = |value: String| {
        let registry = Registry::new("t").unwrap();
        let counters = registry.counter_family("ops", "Operations.", ["of"], 10).unwrap();
        let levels = registry.gauge_family("level", "Level.", ["of"], 10).unwrap();
        counters.with(&[&value]).add_traced(7, TraceRef { trace_id: 1, span_id: 0 });
        levels.with(&[&value]).set(f64::INFINITY);
        for format in [Format::OpenMetrics, Format::Prometheus] {
            let page = registry.encode(format);
            let samples: Vec<&str> =
                page.split('\n').filter(|line| line.starts_with("t_")).collect();
            let (created, exemplar) = match format {
                Format::OpenMetrics => (1, true),
                _ => (0, false),
            };
            prop_assert_eq!(samples.len(), 2 + created, "{}", page);
            for (number, sample) in samples.iter().enumerate() {
                let (read, rest) = parse(sample).expect("a label");
                prop_assert_eq!(&read, &value, "{}", page);
                match number {
                    0 => {
                        prop_assert!(rest.starts_with('7'), "{}", page);
                        prop_assert_eq!(rest.contains("# {trace_id="), exemplar, "{}", page);
                    }
                    _ if sample.starts_with("t_level{") => prop_assert_eq!(rest, "+Inf"),
                    _ => prop_assert!(sample.starts_with("t_ops_created{"), "{}", page),
                }
            }
        }
        Ok(())
    };
    for value in ["", "overflow", " inf", "a\nb", "} 5 # {x=\"y\"} 1"] {
        property(value.to_owned()).unwrap();
    }
    runner(500).run(&texts(), property).unwrap();
}
