//! A page as text: the only file that knows prometheus-client and the two text formats.
//!
//! prometheus-client writes OpenMetrics; the older Prometheus format 0.0.4 is made from that line
//! by line. Where the encoder leaves something to its caller (escaped help, the spelling of
//! infinities), it is done here.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::HistogramSnapshot;
use crate::collect::{Family, Page, Samples, Scale};

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
        if openmetrics > 0.0 && openmetrics >= prometheus {
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

/// Writes the page. `expected_bytes` only spares growing the text.
pub(crate) fn write(prefix: &str, page: Page, format: Format, expected_bytes: usize) -> String {
    let infinite = page.families.iter().any(Family::has_infinity);
    let mut registry = match prefix {
        "" => Registry::default(),
        prefix => Registry::with_prefix(prefix),
    };
    registry.register_collector(Box::new(PageCollector(page)));

    let mut openmetrics = String::with_capacity(expected_bytes + 1024);
    text::encode(&mut openmetrics, &registry).expect("writing to a String does not fail");
    if infinite {
        openmetrics = spell_infinities(&openmetrics);
    }
    match format {
        Format::OpenMetrics => openmetrics,
        Format::Prometheus => to_prometheus(&openmetrics),
    }
}

impl Family {
    fn has_infinity(&self) -> bool {
        let Samples::Gauge(samples) = &self.samples else { return false };
        samples.iter().any(|(_, value)| value.is_infinite())
    }
}

#[derive(Debug)]
struct PageCollector(Page);

impl Collector for PageCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.families.iter().try_for_each(|family| encode_family(family, &mut encoder))
    }
}

fn encode_family(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
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
        Samples::Counter(samples) => samples.iter().try_for_each(|(labels, value)| {
            with_labels(&mut metric, labels, |series| {
                series.encode_counter::<NoLabelSet, _, u64>(value, None)
            })
        }),
        Samples::Gauge(samples) => samples.iter().try_for_each(|(labels, value)| {
            with_labels(&mut metric, labels, |series| series.encode_gauge(value))
        }),
        Samples::Histogram(snapshot, scale) => encode_histogram(&mut metric, snapshot, *scale),
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
fn with_labels(
    metric: &mut MetricEncoder<'_>,
    labels: &Vec<(String, String)>,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(metric) } else { encode(&mut metric.encode_family(labels)?) }
}

/// The upper bounds of a page's buckets are powers of four: fixed, so that pages of all versions
/// and hosts can be added up, and each exactly a border of the histogram's own buckets.
fn encode_histogram(
    metric: &mut MetricEncoder<'_>,
    snapshot: &HistogramSnapshot,
    scale: Scale,
) -> fmt::Result {
    let (exponents, per_unit) = match scale {
        Scale::Units => (0..=30, 1.0),                // 1 to 1 Gi
        Scale::NanosecondsToSeconds => (6..=36, 1e9), // 64 ns to 69 s
    };
    let mut buckets = Vec::with_capacity(17);
    let mut above = None;
    for exponent in exponents.step_by(2) {
        let border = (1u64 << exponent) as f64 / per_unit;
        buckets.push((border, snapshot.count_between(above, Some(exponent))));
        above = Some(exponent);
    }
    buckets.push((f64::INFINITY, snapshot.count_between(above, None)));
    let sum = snapshot.sum() as f64 / per_unit;
    metric.encode_histogram::<NoLabelSet>(sum, snapshot.count(), &buckets, None)
}

/// OpenMetrics escapes these in help texts; the encoder writes help as it is.
fn escape_help(help: &str) -> String {
    help.replace('\\', r"\\").replace('"', r#"\""#)
}

/// The encoder writes `inf`, the standards `+Inf`.
fn spell_infinities(page: &str) -> String {
    let mut spelled = String::with_capacity(page.len() + 64);
    for line in page.lines() {
        match line.rsplit_once(' ') {
            Some((series, "inf")) if !line.starts_with('#') => spelled += &format!("{series} +Inf"),
            Some((series, "-inf")) if !line.starts_with('#') => {
                spelled += &format!("{series} -Inf");
            }
            _ => spelled += line,
        }
        spelled.push('\n');
    }
    spelled
}

/// Rewrites an OpenMetrics page in Prometheus' text format 0.0.4.
///
/// There a counter's family is named as its samples are, `_total` included; `info` is a gauge;
/// units, the end mark and exemplars do not exist; quotes in help are not escaped.
fn to_prometheus(openmetrics: &str) -> String {
    let mut page = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest; // the type, on the next line, decides the name
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            write_head(&mut page, help, rest);
        } else if !line.starts_with('#') {
            page += without_exemplar(line);
            page.push('\n');
        }
    }
    page
}

/// Writes a family's help and type. Both come as `name text`.
fn write_head(page: &mut String, help: &str, kind: &str) {
    let (name, kind) = kind.rsplit_once(' ').unwrap_or((kind, "unknown"));
    let help = help.split_once(' ').map_or("", |(_, text)| text).replace(r#"\""#, "\"");
    let (suffix, kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        other => ("", other),
    };
    *page += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
}

/// A sample line up to its exemplar, which a `#` outside of label values starts.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line[..at].trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
#[cfg(not(loom))] // under loom only the models run
mod tests {
    use super::*;

    #[test]
    fn exemplars_are_cut_and_label_values_that_look_like_one_are_not() {
        let table = [
            ("a_total 1", "a_total 1"),
            (r#"a_total 1 # {trace_id="x"} 1.0 1.5"#, "a_total 1"),
            (r#"a{b=" # {c"} 1 # {d="e"} 2"#, r#"a{b=" # {c"} 1"#),
            (r#"a{b="\" # {\\"} 1 # {} 2"#, r#"a{b="\" # {\\"} 1"#),
        ];
        for (line, expected) in table {
            assert_eq!(without_exemplar(line), expected);
        }
    }
}
