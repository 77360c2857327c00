//! Spans as JSON lines: each line is one JSON document, and says what was recorded.
#![cfg(feature = "json")]

use ng_trace::{
    Collector, CollectorConfig, JsonLinesSink, Odds, Reason, Sampled, SpanId, SpanKind, SpanRecord,
    Status, Threshold, TraceId,
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

const WAIT: Duration = Duration::from_secs(20);

/// A writer that can be read by another thread, and fails when told to.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(Vec<u8>, bool)>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (written, full) = &mut *self.0.lock().unwrap();
        if *full {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn each_line_is_one_span_with_all_that_was_recorded() {
    let writer = Shared::default();
    let sink = JsonLinesSink::new(writer.clone());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let name = collector.name("a \"name\"\nof two lines");
    let text = collector.name("grün");
    let head = Sampled::by_threshold(Reason::Base, Threshold::from_rate(0.01).unwrap());
    let tail = Sampled { reason: Reason::Error, odds: Odds::UNKNOWN };
    let trace_id = TraceId::new(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c).unwrap();
    let id = |number| SpanId::new(number).unwrap();
    let (clock, key) = (collector.clock(), collector.name("key"));
    let (start, end) = (clock.now(), clock.now());
    let first = SpanRecord::new(trace_id, id(11), name, head, start, end)
        .with_parent(id(10))
        .with_kind(SpanKind::Server)
        .with_attribute(key, u64::MAX)
        .with_attribute(collector.name("text"), text);
    let second = SpanRecord::new(trace_id, id(12), name, tail, start, end)
        .with_status(Status::Error)
        .with_attribute(key, f64::NAN)
        .with_attribute(collector.name("yes"), true);
    let mut recorder = collector.recorder();
    assert!(recorder.record(first) && recorder.record(second));
    collector.flush(WAIT).unwrap();

    let written = writer.0.lock().unwrap().0.clone();
    let text = String::from_utf8(written).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [first, second] = &lines[..] else { panic!("{text}") };
    assert_eq!(first["name"], "a \"name\"\nof two lines");
    assert_eq!(first["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(
        (&first["span_id"], &first["parent_id"]),
        (&json!("000000000000000b"), &json!("000000000000000a"))
    );
    assert_eq!((&first["kind"], &first["status"]), (&json!("server"), &json!("unset")));
    assert_eq!(
        (&first["sampled"], &first["reason"], &first["th"]),
        (&json!(true), &json!("base"), &json!("fd70a"))
    );
    assert_eq!(first["weight"], json!(Threshold::from_rate(0.01).unwrap().weight()));
    assert_eq!(first["attributes"], json!({"key": u64::MAX, "text": "grün"}));
    let ns = |line: &Value, key: &str| line[key].as_str().unwrap().parse::<u64>().unwrap();
    let lasted_ns = clock.elapsed_ns(start, end);
    assert_eq!(ns(first, "end_unix_ns") - ns(first, "start_unix_ns"), lasted_ns);
    assert_eq!(
        (&second["parent_id"], &second["weight"], &second["th"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&second["sampled"], &second["reason"], &second["status"]),
        (&json!(false), &json!("error"), &json!("error"))
    );
    assert_eq!(second["attributes"], json!({"key": null, "yes": true}), "JSON has no NaN");
}

#[test]
fn a_full_disk_loses_spans_which_are_counted_and_nothing_else() {
    let writer = Shared::default();
    let sink = JsonLinesSink::new(writer.clone());
    let collector = Collector::start(CollectorConfig::default(), Box::new(sink)).unwrap();
    let mut recorder = collector.recorder();
    let sampled = Sampled { reason: Reason::Force, odds: Odds::CERTAIN };
    let span = |number: u64| {
        let (trace_id, now) = (TraceId::new(1).unwrap(), collector.clock().now());
        let id = SpanId::new(number).unwrap();
        SpanRecord::new(trace_id, id, collector.name("x"), sampled, now, now)
    };
    for (number, full) in [(1, false), (2, true), (3, false)] {
        writer.0.lock().unwrap().1 = full;
        assert!(recorder.record(span(number)));
        collector.flush(WAIT).unwrap();
    }
    let stats = collector.stats();
    assert_eq!((stats.spans_exported_total, stats.spans_lost_total), (2, 1));
    let written = writer.0.lock().unwrap().0.clone();
    assert_eq!(String::from_utf8(written).unwrap().lines().count(), 2);
}
