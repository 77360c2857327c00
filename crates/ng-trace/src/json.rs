//! A sink that writes JSON lines: one span a line, to any writer. For a file, a pipe, or another program's standard input.
//!
//! Times are nanoseconds since 1970 as texts, since the numbers of many JSON readers stop at 2^53.

use crate::{
    error::SinkError,
    sink::{FinishedSpan, Sink},
    span::{AttributeValue, SpanKind, Status},
};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};
use std::{fmt, io::Write};

/// Writes each span as one line of JSON. Each batch is one `write_all`, followed by a flush of the
/// writer; give it an unbuffered one.
pub struct JsonLinesSink<W> {
    writer: W,
    lines: Vec<u8>,
}

impl<W: Write + Send> JsonLinesSink<W> {
    /// Writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, lines: Vec::new() }
    }
}

impl<W: Write + Send> Sink for JsonLinesSink<W> {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.lines.clear();
        for span in batch {
            // Into memory and of texts and numbers only: it cannot fail, but must not panic.
            serde_json::to_writer(&mut self.lines, &Line(span)).map_err(|source| {
                SinkError::Export { spans: batch.len(), source: source.into() }
            })?;
            self.lines.push(b'\n');
        }
        self.writer
            .write_all(&self.lines)
            .map_err(|source| SinkError::Export { spans: batch.len(), source: source.into() })?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        self.writer.flush().map_err(|source| SinkError::Flush { source: source.into() })
    }
}

impl<W> fmt::Debug for JsonLinesSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLinesSink").finish_non_exhaustive()
    }
}

struct Line<'a>(&'a FinishedSpan);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (span, record) = (self.0, &self.0.record);
        let mut line = serializer.serialize_struct("span", 14)?;
        line.serialize_field("name", span.name)?;
        line.serialize_field("trace_id", &record.trace_id.to_string())?;
        line.serialize_field("span_id", &record.span_id.to_string())?;
        line.serialize_field("parent_id", &record.parent.map(|parent| parent.to_string()))?;
        line.serialize_field("start_unix_ns", &span.start_unix_ns.to_string())?;
        line.serialize_field("end_unix_ns", &span.end_unix_ns.to_string())?;
        line.serialize_field("kind", kind(record.kind))?;
        line.serialize_field("status", status(record.status))?;
        line.serialize_field("sampled", &record.sampled_flag)?;
        line.serialize_field("reason", record.reason.as_str())?;
        line.serialize_field("weight", &record.weight())?;
        line.serialize_field("th", &record.threshold().map(|threshold| threshold.to_string()))?;
        line.serialize_field("tracestate", span.exported_state().as_str())?;
        line.serialize_field("attributes", &Attributes(span))?;
        line.end()
    }
}

struct Attributes<'a>(&'a FinishedSpan);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.0.attributes() {
            match value {
                AttributeValue::U64(value) => map.serialize_entry(key, &value),
                AttributeValue::I64(value) => map.serialize_entry(key, &value),
                AttributeValue::F64(value) => map.serialize_entry(key, &value),
                AttributeValue::Bool(value) => map.serialize_entry(key, &value),
                AttributeValue::Text(value) => map.serialize_entry(key, value),
            }?;
        }
        map.end()
    }
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Unset => "unset",
        Status::Ok => "ok",
        Status::Error => "error",
    }
}
