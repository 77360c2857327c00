//! The canonical dump: JSON, one event a line, keys in alphabetical order, times as whole nanoseconds.
//!
//! Numbers are written as they are, up to 2^64 − 1: a consumer that keeps them as doubles loses the
//! last digits of those beyond 2^53.

use std::io;

use serde_json::json;

use crate::{
    event::{Fields, Phase},
    reader::{Reader, Recorded},
};

impl Reader {
    /// Writes all events, as [`Reader::events`] gives them. `out` gets a line at a time.
    pub fn write_jsonl(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut line = Vec::new();
        for event in self.events() {
            line.clear();
            serde_json::to_writer(&mut line, &event_as_json(&event))?;
            line.push(b'\n');
            out.write_all(&line)?;
        }
        Ok(())
    }
}

fn event_as_json(event: &Recorded<'_>) -> serde_json::Value {
    let (key, fields) = match &event.fields {
        Fields::Numbers(numbers) => ("numbers", json!(numbers)),
        Fields::Text(text) => ("text", json!(text.as_str())),
        Fields::Unknown { shape, words } => ("unknown", json!({"shape": shape, "words": words})),
    };
    let mut line = json!({
        "kind": event.kind.number(),
        "lane": event.lane,
        "name": event.name,
        key: fields,
        "seq": event.seq,
        "severity": event.severity.name(),
        "thread": event.thread,
        "time_ns": event.time_ns,
        "wall_unix_ns": event.wall_unix_ns,
    });
    match event.phase {
        Phase::Instant => {}
        Phase::Begin => line["phase"] = "begin".into(),
        Phase::End => line["phase"] = "end".into(),
    }
    line
}
