//! Group `histogram`: one value recorded. The values are those of waits between 64 ns and a minute, alike on a
//! logarithmic scale; the peers have the same sixteen bounds that our page shows, and ours keeps thirty times as many.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use ng_metrics::Histogram;

use crate::{
    machine,
    row::{Bar, Failure, Group, Kind, On, Row, Sample, Side, Work},
    subject::sample,
};

/// So many different ones, again and again: they stay in the cache nearest to the core.
const VALUES: usize = 1 << 10;

pub(crate) fn group() -> Group {
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, env!("CARGO_PKG_VERSION"), ours),
        Row::new("floor:load_store", Kind::Floor, "", floor),
        Row::new(
            "prometheus-client",
            Kind::Peer,
            machine::version_in_lock("prometheus-client"),
            prometheus_client,
        ),
    ];
    #[cfg(feature = "peers")]
    rows.push(Row::new(
        "prometheus",
        Kind::Peer,
        machine::version_in_lock("prometheus"),
        prometheus,
    ));
    rows.shrink_to_fit();
    let (over, under) = ("neurograph", "prometheus-client");
    let bars =
        vec![Bar { id: "histogram", over, under, side: Side::AtMost, bar: 0.5, goal: Some(0.25) }];
    Group { on: On::Cells, ..Group::in_memory("histogram", "Record a value", rows, bars) }
}

fn values(work: &Work) -> Vec<u64> {
    let mut random = fastrand::Rng::with_seed(work.seed);
    (0..VALUES).map(|_| (64.0 * 2f64.powf(30.0 * random.f64())) as u64).collect()
}

/// As many operations as there are tokens, rounded up to whole turns.
fn turns(work: &Work) -> u64 {
    work.tokens.div_ceil(VALUES as u64)
}

fn counted(work: &Work, name: &str, count: u64) -> Result<(), Failure> {
    match turns(work) * VALUES as u64 + 1 {
        expected if expected == count => Ok(()),
        expected => {
            Err(Failure::Check(format!("{name}: {expected} were recorded and {count} are there")))
        }
    }
}

/// Times `turn` over all values, again and again. Out of line, so that each loop has registers of its own.
#[inline(never)]
fn timed(work: &Work, values: &[u64], mut record: impl FnMut(u64)) -> Sample {
    record(1); // a thread's first value is another matter
    let begin = Instant::now();
    for _ in 0..turns(work) {
        values.iter().for_each(|value| record(*value));
    }
    sample(begin, turns(work) * VALUES as u64)
}

fn ours(work: &Work) -> Result<Sample, Failure> {
    let histogram = Histogram::new();
    let sample = timed(work, &values(work), |value| black_box(&histogram).record(value));
    counted(work, "neurograph", histogram.snapshot().count())?;
    Ok(sample)
}

fn floor(work: &Work) -> Result<Sample, Failure> {
    let cell = AtomicU64::new(0);
    let sample = timed(work, &values(work), |value| {
        let cell = black_box(&cell);
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
    });
    Ok(sample)
}

/// The same bounds as our page of seconds has.
fn bounds() -> impl Iterator<Item = f64> {
    (6..=36).step_by(2).map(|exponent| (1u64 << exponent) as f64 / 1e9)
}

fn prometheus_client(work: &Work) -> Result<Sample, Failure> {
    use prometheus_client::{encoding::text, metrics::histogram::Histogram, registry::Registry};
    let histogram = Histogram::new(bounds());
    let mut registry = Registry::default();
    registry.register("a", "A", histogram.clone());
    // Nanoseconds become seconds at each value: its interface is in the unit of the page.
    let sample =
        timed(work, &values(work), |value| black_box(&histogram).observe(value as f64 / 1e9));
    let mut page = String::new();
    let written = text::encode(&mut page, &registry);
    written.map_err(|error| Failure::Check(format!("prometheus-client wrote no page: {error}")))?;
    let count = page.lines().find_map(|line| line.strip_prefix("a_count ")?.parse().ok());
    counted(work, "prometheus-client", count.unwrap_or(0))?;
    Ok(sample)
}

#[cfg(feature = "peers")]
fn prometheus(work: &Work) -> Result<Sample, Failure> {
    let options = prometheus::HistogramOpts::new("a", "A.").buckets(bounds().collect());
    let histogram = prometheus::Histogram::with_opts(options)
        .map_err(|error| Failure::Check(format!("prometheus refused its bounds: {error}")))?;
    let sample =
        timed(work, &values(work), |value| black_box(&histogram).observe(value as f64 / 1e9));
    counted(work, "prometheus", histogram.get_sample_count())?;
    Ok(sample)
}
