//! Groups `scrape` and `counter_scraped`: a page of 500 series that eight threads have counted, and what an increment
//! costs while pages are written without a pause.

use std::{
    hint::{black_box, spin_loop},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use ng_metrics::{Counter, Format, Histogram, Registry};

use crate::{
    machine,
    row::{Bar, Failure, Group, Kind, On, Row, Sample, Side, Work},
    subject::sample,
};

const SHARDS: usize = 8;
const COUNTERS: usize = 172;
const LABELLED: usize = 100;
const HISTOGRAMS: usize = 12;
/// Of a histogram: its buckets, its sum and its count.
const LINES: usize = 19;
const SERIES: usize = COUNTERS + LABELLED + HISTOGRAMS * LINES;
const _: () = assert!(SERIES == 500);

/// A page takes as long as so many increments, very roughly: rounds of all groups take alike.
const TOKENS_PER_PAGE: u64 = 50_000;

pub(crate) fn pages() -> Group {
    let ours = env!("CARGO_PKG_VERSION");
    let rows = vec![
        Row::new("neurograph", Kind::Ours, ours, |work: &Work| write(work, Format::OpenMetrics)),
        Row::new("neurograph:0.0.4", Kind::Ours, ours, |work: &Work| {
            write(work, Format::Prometheus)
        }),
        // The bar is a time: what a scrape may take.
        Row::new("floor:millisecond", Kind::Floor, "", |work: &Work| {
            let operations = page_count(work);
            Ok(Sample { elapsed_ns: operations * 1_000_000, operations })
        }),
        Row::new(
            "prometheus-client",
            Kind::Peer,
            machine::version_in_lock("prometheus-client"),
            write_peer,
        ),
    ];
    let bar = |id, over| {
        let under = "floor:millisecond";
        Bar { id, over, under, side: Side::AtMost, bar: 1.0, goal: Some(0.25) }
    };
    let bars = vec![bar("scrape", "neurograph"), bar("scrape:0.0.4", "neurograph:0.0.4")];
    let title = "Write a page of 500 series with 8 shards";
    Group { on: On::Cells, ..Group::in_memory("scrape", title, rows, bars) }
}

pub(crate) fn beside_writers() -> Group {
    let ours = env!("CARGO_PKG_VERSION");
    let rows = vec![
        Row::new("neurograph:scraped", Kind::Ours, ours, |work: &Work| {
            beside(work, |subject| drop(black_box(subject.registry.encode(Format::OpenMetrics))))
        }),
        // Beside a thread that is as busy with something else.
        Row::new("neurograph:quiet", Kind::Ours, ours, |work: &Work| beside(work, |_| spin_loop())),
    ];
    let (over, under) = ("neurograph:scraped", "neurograph:quiet");
    let bars = vec![Bar {
        id: "scrape:stall",
        over,
        under,
        side: Side::AtMost,
        bar: 1.2,
        goal: Some(1.0),
    }];
    let title = "Count while pages are written without a pause";
    Group { on: On::Cells, ..Group::in_memory("counter_scraped", title, rows, bars) }
}

struct Subject {
    registry: Registry,
    counters: Vec<Counter>,
    histograms: Vec<Histogram>,
}

/// A registry with all the series, which eight threads at once have counted.
fn subject() -> Result<Subject, Failure> {
    let refused = |error: ng_metrics::RegisterError| Failure::Check(error.to_string());
    let registry = Registry::new("bench").map_err(refused)?;
    registry.show_created(false); // as many lines as series, as the peer has
    let named = |kind: &str, number: usize| format!("{kind}_{number}");
    let mut counters = Vec::new();
    for number in 0..COUNTERS {
        let counter = registry.counter(&named("operations", number), "Operations of this number.");
        counters.push(counter.map_err(refused)?);
    }
    let family = registry
        .counter_family("requests", "Requests by route.", ["route"], LABELLED)
        .map_err(refused)?;
    counters.extend((0..LABELLED).map(|number| family.with(&[&named("/route", number)])));
    let mut histograms = Vec::new();
    for number in 0..HISTOGRAMS {
        let name = named("wait", number) + "_seconds";
        let histogram = registry.histogram_seconds(&name, "Waits of this number.");
        histograms.push(histogram.map_err(refused)?);
    }
    let subject = Subject { registry, counters, histograms };
    let ready = Barrier::new(SHARDS);
    thread::scope(|scope| {
        for _ in 0..SHARDS {
            scope.spawn(|| {
                ready.wait(); // so that each has a slot of its own
                subject.counters.iter().for_each(|counter| counter.add(1_000_003));
                for histogram in &subject.histograms {
                    (0..64).for_each(|power| histogram.record(1 << power));
                }
                ready.wait();
            });
        }
    });
    Ok(subject)
}

fn page_count(work: &Work) -> u64 {
    work.tokens.div_ceil(TOKENS_PER_PAGE)
}

fn complete(name: &str, page: &str) -> Result<(), Failure> {
    let series = page.lines().filter(|line| !line.starts_with('#')).count();
    let counted = page.contains(" 8000024\n");
    match series {
        SERIES if counted => Ok(()),
        _ => {
            Err(Failure::Check(format!("{name}: {series} series of {SERIES}, counted: {counted}")))
        }
    }
}

fn write(work: &Work, format: Format) -> Result<Sample, Failure> {
    let subject = subject()?;
    complete("neurograph", &subject.registry.encode(format))?;
    let begin = Instant::now();
    for _ in 0..page_count(work) {
        black_box(subject.registry.encode(format));
    }
    Ok(sample(begin, page_count(work)))
}

fn write_peer(work: &Work) -> Result<Sample, Failure> {
    use prometheus_client::{
        encoding::text,
        metrics::{counter::Counter, family::Family, histogram::Histogram},
        registry::Registry,
    };
    let mut registry = Registry::with_prefix("bench");
    for number in 0..COUNTERS {
        let counter: Counter = Counter::default();
        counter.inc_by(8_000_024);
        registry.register(format!("operations_{number}"), "Operations of this number", counter);
    }
    let family: Family<Vec<(String, String)>, Counter> = Family::default();
    for number in 0..LABELLED {
        let labels = vec![("route".to_owned(), format!("/route_{number}"))];
        family.get_or_create(&labels).inc_by(8_000_024);
    }
    registry.register("requests", "Requests by route", family);
    for number in 0..HISTOGRAMS {
        let bounds = (6..=36).step_by(2).map(|exponent| (1u64 << exponent) as f64 / 1e9);
        let histogram = Histogram::new(bounds);
        (0..SHARDS * 64).for_each(|power| histogram.observe((1u64 << (power % 64)) as f64 / 1e9));
        registry.register(format!("wait_{number}_seconds"), "Waits of this number", histogram);
    }
    let page = || {
        let mut page = String::new();
        let written = text::encode(&mut page, &registry);
        written
            .map_err(|error| Failure::Check(format!("prometheus-client: {error}")))
            .map(|()| page)
    };
    complete("prometheus-client", &page()?)?;
    let begin = Instant::now();
    for _ in 0..page_count(work) {
        black_box(page()?);
    }
    Ok(sample(begin, page_count(work)))
}

/// Increments on one thread, while another does `other` again and again.
fn beside(work: &Work, other: fn(&Subject)) -> Result<Sample, Failure> {
    let subject = subject()?;
    let counter = &subject.counters[0];
    let before = counter.get();
    let done = AtomicBool::new(false);
    let started = Barrier::new(2);
    let sample = thread::scope(|scope| {
        let (subject, started, done) = (&subject, &started, &done);
        scope.spawn(move || {
            other(subject);
            started.wait();
            while !done.load(Ordering::Relaxed) {
                other(subject);
            }
        });
        counter.inc();
        started.wait();
        let begin = Instant::now();
        count(counter, work.tokens);
        let sample = sample(begin, work.tokens);
        done.store(true, Ordering::Relaxed);
        sample
    });
    match counter.get() - before {
        counted if counted == work.tokens + 1 => Ok(sample),
        counted => Err(Failure::Check(format!("{} counted, {counted} there", work.tokens + 1))),
    }
}

#[inline(never)]
fn count(counter: &Counter, n: u64) {
    for _ in 0..n {
        black_box(counter).inc();
    }
}
