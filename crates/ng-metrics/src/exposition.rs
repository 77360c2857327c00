//! A page as text: the only file that knows prometheus-client and the two text formats.
//!
//! prometheus-client writes OpenMetrics; the older Prometheus format 0.0.4 is made from that line
//! by line. Where the encoder leaves something to its caller (escaped help), or cannot be told (the
//! spelling of infinities, exemplars that it did not make itself, since when a series counts), it is
//! done here: a second pass over the text, beside the families that it was written from.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::str::Lines;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::collect::{Page, PageFamily, Sample, Samples, Scale};
use crate::name::CREATED;
use crate::sync::Arc;
use crate::{Exemplar, HistogramSnapshot, mutants};

/// A text form of a page.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text 0.0.4, which every scraper reads.
    Prometheus,
}

impl Format {
    /// The form that the value of an HTTP `Accept` header prefers.
    ///
    /// OpenMetrics only where it is asked for by name, in version 1.0.0 or without a version, and
    /// not rated lower (`q`) than the other; Prometheus in all other cases, and where nothing
    /// acceptable was named. Entries that cannot be parsed are ignored.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let entries = accept.unwrap_or("").split(',').filter_map(AcceptEntry::parse);
        let (mut openmetrics, mut prometheus) = (0.0, 0.0);
        for entry in entries {
            let best = match entry.format() {
                Some(Self::OpenMetrics) => &mut openmetrics,
                Some(Self::Prometheus) => &mut prometheus,
                None => continue,
            };
            *best = f32::max(*best, entry.quality);
        }
        if openmetrics > 0.0
            && (openmetrics >= prometheus || mutants::on("metrics-ratings-ignored"))
        {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The value of the HTTP `Content-Type` header for this form.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// One media range of an `Accept` header.
struct AcceptEntry {
    /// Lower case.
    media: String,
    version: Option<String>,
    quality: f32,
}

impl AcceptEntry {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?.to_ascii_lowercase();
        let mut entry = Self { media, version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "version" => entry.version = Some(value.to_owned()),
                "q" => entry.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
                _ => {} // charset, escaping: both forms are UTF-8 with plain names anyway
            }
        }
        Some(entry)
    }

    fn format(&self) -> Option<Format> {
        let version_is = |ours: &str| self.version.as_deref().is_none_or(|asked| asked == ours);
        match self.media.as_str() {
            "application/openmetrics-text" if version_is("1.0.0") => Some(Format::OpenMetrics),
            "text/plain" if version_is("0.0.4") => Some(Format::Prometheus),
            "text/*" | "*/*" => Some(Format::Prometheus),
            _ => None,
        }
    }
}

/// What an OpenMetrics page has beyond its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extras {
    Exemplars,
    CreatedAndExemplars,
}

/// Writes the page. `expected_bytes` only spares growing the text.
pub(crate) fn write(
    prefix: &str,
    page: Page,
    format: Format,
    extras: Extras,
    expected_bytes: usize,
) -> String {
    let mut registry = match prefix {
        "" => Registry::default(),
        prefix => Registry::with_prefix(prefix),
    };
    let page = Arc::new(PageCollector(page));
    registry.register_collector(Box::new(Arc::clone(&page)));

    let mut encoded = String::with_capacity(expected_bytes + 1024);
    text::encode(&mut encoded, &registry).expect("writing to a String does not fail");
    let mut text = String::with_capacity(encoded.len() + 1024);
    match format {
        Format::OpenMetrics => {
            complete(&mut text, prefix, &page.0.families, encoded.lines(), extras)
                .expect("writing to a String does not fail");
        }
        Format::Prometheus => to_prometheus(&mut text, &page.0.families, encoded.lines()),
    }
    text
}

#[derive(Debug)]
struct PageCollector(Page);

impl Collector for PageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.families.iter().try_for_each(|family| encode_family(family, &mut encoder))
    }
}

fn encode_family(family: &PageFamily, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let kind = match &family.samples {
        Samples::Counter(_) => MetricType::Counter,
        Samples::Gauge(_) => MetricType::Gauge,
        Samples::Histogram(..) => MetricType::Histogram,
        Samples::Info(_) => MetricType::Info,
    };
    let (stem, unit) = match kind {
        MetricType::Info => (family.name.as_str(), None), // by the standard it has no unit
        _ => split_unit(&family.name),
    };
    let help = escape_help(&family.help);
    let mut metric = encoder.encode_descriptor(stem, &help, unit.as_ref(), kind)?;
    match &family.samples {
        Samples::Counter(samples) => samples.iter().try_for_each(|sample| {
            with_labels(&mut metric, sample, |series, value| {
                series.encode_counter::<NoLabelSet, _, u64>(value, None)
            })
        }),
        Samples::Gauge(samples) => samples.iter().try_for_each(|sample| {
            with_labels(&mut metric, sample, |series, value| series.encode_gauge(value))
        }),
        Samples::Histogram(samples, scale) => samples.iter().try_for_each(|sample| {
            with_labels(&mut metric, sample, |series, snapshot| {
                encode_histogram(series, snapshot, *scale)
            })
        }),
        Samples::Info(labels) => metric.encode_info(labels),
    }
}

/// The encoder puts units back behind the stem it is given.
fn split_unit(name: &str) -> (&str, Option<Unit>) {
    if let Some(stem) = name.strip_suffix("_seconds") {
        (stem, Some(Unit::Seconds))
    } else if let Some(stem) = name.strip_suffix("_bytes") {
        (stem, Some(Unit::Bytes))
    } else {
        (name, None)
    }
}

/// Without labels the encoder must not be told of an empty set, or it writes `{}`.
fn with_labels<T>(
    metric: &mut MetricEncoder<'_>,
    sample: &Sample<T>,
    encode: impl FnOnce(&mut MetricEncoder<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    match &sample.labels {
        None => encode(metric, &sample.value),
        Some(labels) => encode(&mut metric.encode_family(&**labels)?, &sample.value),
    }
}

/// A bucket of a page: its upper bound, and the exponents of two that it lies between.
struct PageBucket {
    border: f64,
    above: Option<u32>,
    upto: Option<u32>,
}

impl Scale {
    /// Exponents of the lowest and the highest bound, and how many of the values are one of the
    /// exported unit.
    fn bounds(self) -> (u32, u32, f64) {
        match self {
            Self::Units => (0, 30, 1.0),                // 1 to 1 Gi
            Self::NanosecondsToSeconds => (6, 36, 1e9), // 64 ns to 69 s
        }
    }

    /// The upper bounds of a page's buckets are powers of four: fixed, so that pages of all versions
    /// and hosts can be added up, and each exactly a border of the histogram's own buckets.
    fn buckets(self) -> impl Iterator<Item = PageBucket> {
        let (lowest, highest, per_unit) = self.bounds();
        let finite = (lowest..=highest).step_by(2).map(move |exponent| PageBucket {
            border: (1u64 << exponent) as f64 / per_unit,
            above: (exponent > lowest).then(|| exponent - 2),
            upto: Some(exponent),
        });
        let rest = PageBucket { border: f64::INFINITY, above: Some(highest), upto: None };
        finite.chain([rest])
    }

    fn exported(self, value: f64) -> f64 {
        value / self.bounds().2
    }
}

fn encode_histogram(
    metric: &mut MetricEncoder<'_>,
    snapshot: &HistogramSnapshot,
    scale: Scale,
) -> fmt::Result {
    let count = |bucket: &PageBucket| snapshot.count_between(bucket.above, bucket.upto);
    let buckets: Vec<_> = scale.buckets().map(|bucket| (bucket.border, count(&bucket))).collect();
    let sum = scale.exported(snapshot.sum() as f64);
    metric.encode_histogram::<NoLabelSet>(sum, snapshot.count(), &buckets, None)
}

/// OpenMetrics escapes these in help texts; the encoder writes help as it is.
fn escape_help(help: &str) -> String {
    if mutants::on("metrics-help-unescaped") {
        return help.to_owned();
    }
    help.replace('\\', r"\\").replace('"', r#"\""#)
}

/// Copies the encoder's lines and adds what it could not be told. The families say what each line
/// is: the encoder writes them in their order, a head and then the samples.
fn complete(
    text: &mut String,
    prefix: &str,
    families: &[PageFamily],
    lines: Lines<'_>,
    extras: Extras,
) -> fmt::Result {
    let mut page = Completed { text, lines, extras };
    let mut name = String::new();
    for family in families {
        name.clear();
        name.extend([prefix, if prefix.is_empty() { "" } else { "_" }, &family.name]);
        page.head();
        match &family.samples {
            Samples::Counter(samples) => {
                for sample in samples {
                    let line = page.sample();
                    page.exemplar(sample.exemplar.as_ref().map(|e| (e, e.value as f64)))?;
                    page.end();
                    page.created(&name, "_total", line, sample.created)?;
                }
            }
            Samples::Gauge(samples) => samples.iter().for_each(|sample| page.level(sample.value)),
            Samples::Histogram(samples, scale) => {
                for sample in samples {
                    let line = page.sample(); // the sum
                    page.end();
                    page.sample(); // the count
                    page.end();
                    for bucket in scale.buckets() {
                        page.sample();
                        let exemplar = sample.value.exemplar_between(bucket.above, bucket.upto);
                        page.exemplar(exemplar.map(|e| (e, scale.exported(e.value as f64))))?;
                        page.end();
                    }
                    page.created(&name, "_sum", line, sample.created)?;
                }
            }
            Samples::Info(_) => {
                page.sample();
                page.end();
            }
        }
    }
    page.rest();
    Ok(())
}

/// A page that grows by the encoder's lines.
struct Completed<'a, 'b> {
    text: &'a mut String,
    lines: Lines<'b>,
    extras: Extras,
}

impl<'b> Completed<'_, 'b> {
    /// Copies a family's head. That of a family without samples is followed by the next one's.
    fn head(&mut self) {
        while self.lines.clone().next().is_some_and(|line| line.starts_with("# ") && line != EOF) {
            self.sample();
            self.end();
        }
    }

    /// Copies one line, but not its end.
    fn sample(&mut self) -> &'b str {
        let line = self.lines.next().unwrap_or_default();
        self.text.push_str(line);
        line
    }

    fn end(&mut self) {
        self.text.push('\n');
    }

    /// Copies a gauge's line. The encoder writes `inf`, the standards `+Inf`.
    fn level(&mut self, value: f64) {
        let line = self.lines.next().unwrap_or_default();
        self.text.push_str(&spelled(line, value));
        self.end();
    }

    /// Adds an exemplar to the line begun.
    fn exemplar(&mut self, exemplar: Option<(&Exemplar, f64)>) -> fmt::Result {
        let Some((exemplar, value)) = exemplar else { return Ok(()) };
        write!(self.text, " # {{trace_id=\"{:032x}\"", exemplar.trace.trace_id)?;
        if exemplar.trace.span_id != 0 {
            write!(self.text, ",span_id=\"{:016x}\"", exemplar.trace.span_id)?;
        }
        write!(self.text, "}} {value:?} {}", Timestamp(exemplar.at))
    }

    /// Adds the sample that says since when the series counts, whose labels are those of `line`.
    fn created(
        &mut self,
        name: &str,
        suffix: &str,
        line: &str,
        created: Option<SystemTime>,
    ) -> fmt::Result {
        let Some(created) = created.filter(|_| self.extras == Extras::CreatedAndExemplars) else {
            return Ok(());
        };
        let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
        let labels = series.get(name.len() + suffix.len()..).unwrap_or_default();
        writeln!(self.text, "{name}{CREATED}{labels} {}", Timestamp(created))
    }

    fn rest(&mut self) {
        while self.lines.clone().next().is_some() {
            self.sample();
            self.end();
        }
    }
}

const EOF: &str = "# EOF";

/// Seconds since 1970, to the millisecond.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A clock that stands before 1970 tells nothing anyway.
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        write!(f, "{}.{:03}", since.as_secs(), since.subsec_millis())
    }
}

/// A gauge's line with infinities spelled as the standards want them.
fn spelled(line: &str, value: f64) -> Cow<'_, str> {
    match line.rsplit_once(' ') {
        Some((series, _)) if value.is_infinite() && !mutants::on("metrics-infinity-misspelled") => {
            Cow::Owned(format!("{series} {}", if value > 0.0 { "+Inf" } else { "-Inf" }))
        }
        _ => Cow::Borrowed(line),
    }
}

/// Rewrites the encoder's lines in Prometheus' text format 0.0.4.
///
/// There a counter's family is named as its samples are, `_total` included; `info` is a gauge;
/// units, the end mark, exemplars and `_created` do not exist; quotes in help are not escaped.
fn to_prometheus(page: &mut String, families: &[PageFamily], lines: Lines<'_>) {
    let mut levels = families.iter().flat_map(|family| match &family.samples {
        Samples::Gauge(samples) => samples.as_slice(),
        _ => &[],
    });
    let mut help = "";
    let mut is_gauge = false;
    for line in lines {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest; // the type, on the next line, decides the name
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            is_gauge = rest.ends_with(" gauge");
            write_head(page, help, rest);
        } else if !line.starts_with('#') {
            let level = if is_gauge { levels.next() } else { None };
            match level {
                Some(sample) => page.push_str(&spelled(line, sample.value)),
                None => page.push_str(line),
            }
            page.push('\n');
        }
    }
}

/// Writes a family's help and type. Both come as `name text`.
fn write_head(page: &mut String, help: &str, kind: &str) {
    let (name, kind) = kind.rsplit_once(' ').unwrap_or((kind, "unknown"));
    let help = help.split_once(' ').map_or("", |(_, text)| text).replace(r#"\""#, "\"");
    let (suffix, kind) = match kind {
        "counter" if mutants::on("metrics-counter-type-lost") => ("", "counter"),
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        other => ("", other),
    };
    *page += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
}
