//! What the store tells of itself: spans, metrics, the flight recorder.

use neurograph::blackbox::{Backing, Event, Fields, Kind, Reader, Severity};
use neurograph::trace::{FinishedSpan, MemorySink, Reason, Sink, SinkError, Status};
use neurograph::{Config, Store, Token, TokenId};
use std::time::Duration;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.blackbox.panic_hook = false;
    config.guardian.max_tokens = Some(50_000);
    config.guardian.enable_aggressive_cleanup = false;
    config.trace.sampler = neurograph::trace::SamplerConfig::fixed_rate(0.01);
    config
}

fn metric(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not on the page")).parse().unwrap()
}

#[test]
fn one_percent_of_creates_become_spans_with_their_tokens_ids() {
    let sink = MemorySink::new();
    let store = Store::builder(config()).sink(Box::new(sink.clone())).in_memory().unwrap();
    let mut session = store.session();
    let ids: std::collections::HashSet<_> =
        (0..50_000).map(|n| session.create(&token(n)).unwrap().to_u64()).collect();
    store.flush_spans(Duration::from_secs(10)).unwrap();
    let spans = sink.spans();
    // 500 expected, standard deviation 22.
    assert!((390..=610).contains(&spans.len()), "{} spans", spans.len());
    for span in &spans {
        assert_eq!(span.name, "token.create");
        assert!(span.end_unix_ns >= span.start_unix_ns);
        let id = span.attributes().find(|(key, _)| *key == "ng.token.id").unwrap().1;
        let neurograph::trace::AttributeValue::I64(id) = id else {
            panic!("{id:?}, one type whatever it is")
        };
        assert!(ids.contains(&id.cast_unsigned()));
        let threshold = span.record.threshold().unwrap();
        assert!(threshold.keeps(span.record.trace_id.randomness()), "the id agrees with th");
        assert!((span.record.weight().unwrap() - 100.0).abs() < 0.1);
    }
    let stats = store.stats();
    assert_eq!(stats.sampler.as_ref().unwrap().samples_recorded_total, spans.len() as u64);
    assert_eq!(stats.spans.as_ref().unwrap().spans_dropped_total, 0);
    assert_eq!(stats.blackbox.as_ref().unwrap().dropped_total, 0);
    assert_eq!(
        metric(&store.metrics_text(), "neurograph_token_creation_duration_seconds_count"),
        spans.len() as f64
    );
}

/// Refuses every third batch as a whole, a part of every other one, and takes the rest.
#[derive(Default)]
struct Failing(usize);

impl Sink for Failing {
    fn export(&mut self, batch: &[FinishedSpan]) -> Result<(), SinkError> {
        self.0 += 1;
        let spans = match self.0 % 3 {
            0 => return Ok(()),
            1 => batch.len(),
            _ => batch.len() / 2,
        };
        Err(SinkError::Export { spans, source: "expected in this test".into() })
    }
}

/// `spans_dropped_total` stayed 0 while 5,000 of 5,000 spans were lost, and nothing else was on the page.
#[test]
fn every_span_is_in_one_place_on_each_page_though_the_sink_fails_and_is_slow() {
    let mut config = config();
    config.trace.sampler = neurograph::trace::SamplerConfig::fixed_rate(1.0);
    config.trace.collector.ring_bytes = 4096;
    config.trace.collector.spans_per_second_max = Some(20_000);
    let store = Store::builder(config).sink(Box::new(Failing::default())).in_memory().unwrap();
    let conserved = || {
        let page = store.metrics_text();
        let value = |name: &str| metric(&page, &format!("neurograph_tracing_{name}"));
        let places = ["exported_total", "dropped_total", "lost_total", "capped_total", "in_flight"];
        let sum: f64 = places.map(|place| value(&format!("spans_{place}"))).iter().sum();
        assert_eq!(value("spans_offered_total"), sum, "{page}");
        [value("spans_lost_total"), value("spans_exported_total"), value("sink_errors_total")]
    };
    conserved();
    let mut session = store.session();
    for n in 0..40_000 {
        session.create(&token(n)).unwrap();
        if n % 1000 == 0 {
            conserved(); // with spans on their way
        }
    }
    while conserved().contains(&0.0) {
        store.flush_spans(Duration::from_secs(10)).unwrap();
        let id = session.create(&token(1)).unwrap();
        session.delete(id).unwrap();
    }
    store.flush_spans(Duration::from_secs(10)).unwrap();
    conserved();
    let page = store.metrics_text();
    assert_eq!(metric(&page, "neurograph_tracing_spans_in_flight"), 0.0);
    let said = store.stats().spans.unwrap().last_sink_error.unwrap();
    assert!(said.contains("expected in this test"), "{said}");
    assert_eq!(metric(&page, "neurograph_metrics_scrape_errors_total"), 0.0);
    assert_eq!(metric(&page, "neurograph_blackbox_lost_pages"), 0.0);
}

/// At defaults, with 100,000 creates a second, the rate fell to a millionth within twenty seconds and
/// stayed there: the account's fixed part was over the budget of a process that does little.
#[test]
fn at_defaults_a_process_that_does_little_goes_on_being_traced() {
    let mut config = Config::default();
    config.blackbox.panic_hook = false;
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    let begun = std::time::Instant::now();
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    let mut made = 0.0;
    // Some four readings of the account, each after ten steps.
    while store.stats().controller_steps_total < 45 {
        while made < begun.elapsed().as_secs_f64() * 20_000.0 {
            let id = session.create(&token(1)).unwrap();
            session.delete(id).unwrap();
            made += 1.0;
        }
        let _ = wait.recv_timeout(Duration::from_millis(2));
    }
    let stats = store.stats();
    // 1,000 spans a second of 40,000 operations are a fortieth, or more if the machine is busy.
    let rate = stats.sampler.unwrap().rate;
    assert!(rate > 0.006, "{rate}, {:?}", stats.overhead);
    if let Some(overhead) = stats.overhead {
        let sum = overhead.span_share + overhead.fixed_share;
        assert!((sum - overhead.share).abs() < 1e-6 || overhead.share == 1.0, "{overhead:?}");
    }
}

#[test]
fn errors_are_kept_though_nothing_is_sampled() {
    let sink = MemorySink::new();
    let mut config = config();
    config.trace.sampler.base_rate = 0.0;
    let store = Store::builder(config).sink(Box::new(sink.clone())).in_memory().unwrap();
    let mut session = store.session();
    let stale = TokenId::new(3, 1).unwrap();
    for _ in 0..20 {
        assert!(session.delete(stale).is_err());
        assert!(session.update(stale, &token(1)).is_err());
    }
    for n in 0..50_000 {
        session.create(&token(n)).unwrap();
    }
    for _ in 0..10 {
        assert!(session.create(&token(1)).is_err());
    }
    store.flush_spans(Duration::from_secs(10)).unwrap();
    let spans = sink.spans();
    assert_eq!(spans.len(), 50);
    for span in &spans {
        assert_eq!((span.record.reason, span.record.status), (Reason::Error, Status::Error));
    }
    let count = |name| spans.iter().filter(|span| span.name == name).count();
    assert_eq!((count("token.delete"), count("token.update"), count("token.create")), (20, 20, 10));
}

#[test]
fn slow_logged_operations_are_kept_though_nothing_is_sampled() {
    let dir = tempfile::tempdir().unwrap();
    let sink = MemorySink::new();
    let mut config = config();
    config.trace.sampler.base_rate = 0.0;
    config.trace.sampler.slow_threshold = Some(Duration::from_nanos(1));
    let store = Store::builder(config).sink(Box::new(sink.clone())).open(dir.path()).unwrap();
    let mut session = store.session();
    for n in 0..30 {
        session.create(&token(n)).unwrap();
    }
    store.flush_spans(Duration::from_secs(10)).unwrap();
    let spans = sink.spans();
    assert_eq!(spans.len(), 30);
    assert!(spans.iter().all(|span| span.record.reason == Reason::Slow));
    assert!(spans.iter().all(|span| span.record.end >= span.record.start));
}

#[test]
fn the_metrics_page_follows_what_happens() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let page = store.metrics_text();
    assert!(page.ends_with("# EOF\n"));
    for name in [
        "tokens_created_total",
        "tokens_deleted_total",
        "tokens_rejected_total",
        "quota_exceeded_total",
        "wal_full_total",
    ] {
        assert_eq!(metric(&page, &format!("neurograph_{name}")), 0.0, "{name}");
    }
    let mut session = store.session();
    let ids: Vec<_> = (0..50_000).map(|n| session.create(&token(n)).unwrap()).collect();
    assert!(session.create(&token(1)).is_err());
    ids[..10].iter().for_each(|&id| session.delete(id).unwrap());
    store.sync().unwrap();
    let page = store.metrics_text();
    let value = |name: &str| metric(&page, &format!("neurograph_{name}"));
    assert_eq!(value("tokens_created_total"), 50_000.0);
    assert_eq!(value("tokens_deleted_total"), 10.0);
    assert_eq!(value("tokens_active"), 49_990.0);
    assert_eq!(value("tokens_rejected_total"), 1.0);
    assert_eq!(value("quota_exceeded_total"), 1.0);
    assert_eq!(value("wal_entries_written_total"), 50_011.0, "a ceiling, creates, deletes");
    assert_eq!(value("wal_durable_lag_records"), 0.0);
    assert!(value("wal_syncs_total") >= 1.0);
    // The last sync is counted before its observer is told.
    let observed = value("wal_sync_duration_seconds_count");
    assert!((0.0..=1.0).contains(&(value("wal_syncs_total") - observed)), "{observed}");
    assert!(value("memory_used_bytes") >= 4e6);
    assert!(value("memory_usage_percent") > 0.0);
    assert!(value("arena_chunks") >= 2.0);
    assert!(page.contains("neurograph_arena_bytes{state=\"live\"} 3199360"), "{page}");
    assert!(value("tracing_samples_total") > 0.0);
    assert!(value("blackbox_events_total") > 0.0);
    drop(session);
    store.close().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let page = store.metrics_text();
    assert_eq!(metric(&page, "neurograph_wal_entries_replayed_total"), 50_012.0, "and the close");
    assert_eq!(metric(&page, "neurograph_recovery_tokens"), 49_990.0);
}

#[test]
fn the_flight_recorder_of_a_closed_store_tells_its_story() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), config()).unwrap();
    let path = store.blackbox_path().unwrap();
    let mut session = store.session();
    for n in 0..50_000 {
        session.create(&token(n)).unwrap();
    }
    assert!(session.create(&token(1)).is_err());
    store.sync().unwrap();
    drop(session);
    store.close().unwrap();
    let reader = Reader::open(path).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for event in reader.events() {
        *counts.entry(event.name.unwrap_or("?").to_string()).or_insert(0u32) += 1;
    }
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!((count("SystemStarted"), count("SystemStopped")), (1, 1), "{counts:?}");
    assert_eq!(count("QuotaExceeded"), 1, "{counts:?}");
    assert_eq!(count("WalReplayed"), 1, "{counts:?}");
    assert!(count("WalWritten") >= 1 && count("TokenCreated") > 100, "{counts:?}");
    assert_eq!(reader.summary().torn, 0);
}

#[test]
fn a_store_whose_flight_recorder_has_no_place_on_the_disk_works_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("blackbox"), "a file in the way").unwrap();
    let mut config = config();
    config.blackbox.panic_hook = true;
    config.blackbox.dump_dir = Some(dir.path().join("missing"));
    let store = Store::open(dir.path(), config).unwrap();
    store.session().create(&token(1)).unwrap();
    let stats = store.stats();
    assert_eq!(stats.blackbox.unwrap().backing, Backing::Anonymous);
    let said = stats.blackbox_error.unwrap();
    let (place, dump) = said.split_once("; ").unwrap();
    assert!(place.contains("blackbox") && dump.contains("missing"), "{said}");
    assert_eq!(store.blackbox_path(), None);
    assert!(store.blackbox().unwrap().snapshot().unwrap().events().len() > 2);
    store.close().unwrap();

    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), self::config()).unwrap();
    assert_eq!(store.stats().blackbox_error, None);
}

#[test]
fn without_tracing_one_create_in_so_many_is_recorded_and_none_if_none_is_wanted() {
    for (every, expected) in [(1000, 12), (1, 12_500), (0, 0)] {
        let mut config = config();
        config.trace.installed = false;
        config.blackbox.create_every = every;
        config.blackbox.recorder.events_per_lane = 16384;
        let store = Store::builder(config).in_memory().unwrap();
        let mut session = store.session();
        let ids: Vec<_> = (0..12_500).map(|n| session.create(&token(n)).unwrap()).collect();
        let reader = store.blackbox().unwrap().snapshot().unwrap();
        let created = reader.events().filter(|event| event.name == Some("TokenCreated"));
        let numbers = created.map(|event| match event.fields {
            Fields::Numbers([id, ..]) => id,
            _ => 0,
        });
        let told: Vec<u64> = numbers.collect();
        assert_eq!(told.len(), expected, "one in {every}");
        assert!(told.iter().all(|told| ids.iter().any(|id| id.to_u64() == *told)));
    }
}

#[test]
fn kinds_of_ones_own_stand_beside_the_stores_and_a_number_taken_twice_is_refused() {
    const DEPLOYED: Kind = Kind::new(64);
    let mut config = config();
    config.blackbox.kinds = vec![(DEPLOYED, "Deployed")];
    let store = Store::builder(config).in_memory().unwrap();
    let recorder = store.blackbox().unwrap();
    recorder.record(Event::text(DEPLOYED, Severity::INFO, "v2"));
    let reader = recorder.snapshot().unwrap();
    let event = reader.events().find(|event| event.kind == DEPLOYED).unwrap();
    let Fields::Text(text) = event.fields else { panic!("{event:?}") };
    assert_eq!((event.name, text.as_str()), (Some("Deployed"), "v2"));

    let mut config = self::config();
    config.blackbox.kinds = vec![(Kind::new(16), "Mine")];
    let error = Store::builder(config).in_memory().unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
    let said: Vec<_> = causes.map(|error| error.to_string()).collect();
    assert!(said.iter().any(|text| text.contains("Mine")), "{said:?}");
}

/// A sink that takes nothing until the test ends.
struct Stuck(std::sync::mpsc::Receiver<()>);

impl Sink for Stuck {
    fn export(&mut self, _batch: &[FinishedSpan]) -> Result<(), SinkError> {
        let _ended = self.0.recv();
        Ok(())
    }
}

/// However long the sink takes: it is let go only after the close.
#[test]
fn a_stuck_sink_is_an_error_of_closing_and_does_not_keep_it() {
    let (ends, ended) = std::sync::mpsc::channel();
    let mut config = config();
    config.trace.sampler.base_rate = 1.0;
    config.trace.collector.shutdown_timeout = Duration::ZERO;
    let store = Store::builder(config).sink(Box::new(Stuck(ended))).in_memory().unwrap();
    let mut session = store.session();
    (0..100).for_each(|n| _ = session.create(&token(n)).unwrap());
    drop(session);
    // Had it waited for the sink, it would wait for ever: that ends after this.
    let closed = store.close();
    assert!(matches!(closed, Err(neurograph::CloseError::Spans(_))), "{closed:?}");
    drop(ends);
}
