//! Somebody else's program on the facade and all that is below it: a durable token outlives a close, and a span, a
//! metric and an event arrive where they are looked for.

use std::{path::Path, time::Duration};

use neurograph::{
    Config, Durability, Store, Token,
    blackbox::{Event, Kind, Reader, Recorder, RecorderConfig, Severity},
    metrics::{Format, Registry},
    trace::{
        Collector, CollectorConfig, CountingSink, NameId, Reason, Sampled, SpanId, SpanRecord,
        Threshold, Ticks, TraceId,
    },
};

type Done = Result<(), Box<dyn std::error::Error>>;

fn main() -> Done {
    let dir = std::env::args_os().nth(1).ok_or("which directory?")?;
    let dir = Path::new(&dir);
    store(&dir.join("store"))?;
    span()?;
    metric()?;
    event(&dir.join("events"))
}

fn store(dir: &Path) -> Done {
    let store = Store::open(dir, Config::default())?;
    let mut session = store.session();
    let token = Token::builder().weight(0.5).build()?;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(session.with(Durability::Strict).create(&token)?);
    }
    drop(session);
    store.close()?;
    let store = Store::open(dir, Config::default())?;
    let session = store.session();
    for id in &ids {
        assert_eq!(session.get(*id).map(|token| token.weight()), Some(0.5));
    }
    assert_eq!(store.len(), 20);
    drop(session);
    store.close()?;
    Ok(())
}

fn span() -> Done {
    let collector = Collector::start(CollectorConfig::default(), Box::new(CountingSink::new()))?;
    let mut recorder = collector.recorder();
    let sampled = Sampled::by_threshold(Reason::Base, Threshold::ALWAYS);
    let (trace, span) = (TraceId::new(7).ok_or("zero")?, SpanId::new(8).ok_or("zero")?);
    let now = Ticks::default();
    assert!(recorder.record(SpanRecord::new(trace, span, NameId::UNNAMED, sampled, now, now)));
    collector.flush(Duration::from_secs(60))?;
    assert_eq!(collector.stats().spans_exported_total, 1);
    Ok(())
}

fn metric() -> Done {
    let registry = Registry::new("outside")?;
    registry.counter("orders", "Orders taken.")?.inc();
    registry.histogram("lines", "Lines of an order.")?.record(3);
    let page = registry.encode(Format::negotiate(Some("application/openmetrics-text")));
    assert!(page.contains("outside_orders_total 1"), "{page}");
    Ok(())
}

fn event(dir: &Path) -> Done {
    const KIND: Kind = Kind::new(16);
    std::fs::create_dir_all(dir)?;
    let recorder = Recorder::open(dir, RecorderConfig::default(), &[(KIND, "Outside")])?;
    recorder.lane().record(Event::numbers(KIND, Severity::INFO, [1, 2, 3, 4]));
    let path = recorder.path().ok_or("recorded into memory")?;
    drop(recorder);
    let reader = Reader::open(path)?;
    let summary = reader.summary();
    assert_eq!((summary.panics, summary.torn, summary.stopped), (0, 0, true));
    Ok(())
}
