//! The hot paths. Each makes what it needs, runs its operations inside [`measured`], and checks that they happened.
//!
//! All that is random has a fixed seed or no influence, and no path depends on how fast another thread is: logs and span
//! rings have room for every operation.

use std::{error::Error, hint::black_box, sync::Arc};

use neurograph::{
    Config, Persist, Session, Store, Token, TokenId,
    core::{Arena, ArenaConfig, CHUNK_SLOTS},
    guardian::PressureSources,
    metrics::{Counter, Histogram},
    trace::{CountingSink, Sampler, SamplerConfig},
    wal::{Wal, WalConfig},
};
use tempfile::TempDir;

use crate::measured;

type Answer = Result<(), Box<dyn Error>>;

pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// So many that what happens once is a small part of each, and few enough for a second under valgrind.
    pub(crate) operations: u64,
    pub(crate) run: fn(u64) -> Answer,
}

pub(crate) const PATHS: &[Path] = &[
    Path { name: "create_bare", operations: 500_000, run: create_bare },
    Path { name: "create_all_off", operations: 500_000, run: create_all_off },
    Path { name: "create_all_on", operations: 500_000, run: create_all_on },
    Path { name: "create_sampled", operations: SPANS, run: create_sampled },
    Path { name: "get", operations: 500_000, run: get },
    Path { name: "counter", operations: 1_000_000, run: counter },
    Path { name: "counter_slowed", operations: 1_000_000, run: counter_slowed },
    Path { name: "histogram", operations: 1_000_000, run: histogram },
    Path { name: "decision", operations: 1_000_000, run: decision },
    Path { name: "try_append", operations: RING_SLOTS as u64, run: try_append },
    Path { name: "replay", operations: 100 * BATCH, run: replay },
];

/// Spans of 80 bytes, less than a quarter of a ring of [`SPAN_RING_BYTES`]: no drain is woken, and none is dropped.
const SPANS: u64 = 12_000;
const SPAN_RING_BYTES: usize = 4 << 20;
/// So rare that no operation of a run is sampled, while every gap is drawn and run through as always.
const RARE: f64 = 1e-9;
/// Each append of a run has a slot of its own, however slowly the writer thread takes them.
const RING_SLOTS: u32 = 1 << 18;
/// Records of a frame of the log that is replayed.
const BATCH: u64 = 500;
const KIND: u8 = 1;
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// Values of a histogram, used again and again. A power of two.
const VALUES: usize = 4096;

fn token() -> Result<Token, Box<dyn Error>> {
    Ok(Token::builder().weight(0.5).timestamp(1_700_000_000).build()?)
}

fn slots(operations: u64) -> u64 {
    operations + u64::from(CHUNK_SLOTS)
}

fn expect(what: &str, found: u64, expected: u64) -> Answer {
    if found == expected { Ok(()) } else { Err(format!("{found} {what}, not {expected}").into()) }
}

fn create_bare(operations: u64) -> Answer {
    let mut config = ArenaConfig::default();
    config.max_slots = slots(operations);
    let arena = Arena::new(config)?;
    let (mut writer, token, mut refused) = (arena.writer(), token()?, 0);
    measured(operations, |_| match writer.create(black_box(&token)) {
        Ok(id) => _ = black_box(id),
        Err(_) => refused += 1,
    });
    expect("creates were refused", refused, 0)?;
    expect("tokens", arena.len(), operations)
}

fn all_off(operations: u64) -> Config {
    let mut config = Config::bare();
    config.arena.max_slots = Some(slots(operations));
    config
}

/// All parts on. No token of ours has the PERSISTENT flag, so none is logged.
fn all_on(operations: u64, rate: f64) -> Config {
    let mut config = all_off(operations);
    config.persist = Persist::Flagged;
    config.guardian.max_tokens = Some(slots(operations));
    config.guardian.max_memory_bytes = Some(1 << 40);
    config.guardian.pressure_sources = PressureSources::default();
    config.guardian.enable_aggressive_cleanup = true;
    config.wal.enabled = true;
    config.trace.installed = true;
    config.trace.sampler = SamplerConfig::fixed_rate(rate);
    // A span that a rule adds because valgrind was slow is not what is counted.
    config.trace.sampler.slow_threshold = None;
    config.trace.collector.ring_bytes = SPAN_RING_BYTES;
    config.blackbox.enabled = true;
    config
}

fn create_in(session: &mut Session, operations: u64) -> Answer {
    let (token, mut refused) = (token()?, 0);
    measured(operations, |_| match session.create(black_box(&token)) {
        Ok(id) => _ = black_box(id),
        Err(_) => refused += 1,
    });
    expect("creates were refused", refused, 0)
}

fn create_all_off(operations: u64) -> Answer {
    let store = Store::builder(all_off(operations)).in_memory()?;
    create_in(&mut store.session(), operations)?;
    expect("tokens", store.len(), operations)
}

fn create_all_on(operations: u64) -> Answer {
    traced_creates(operations, RARE, 0)
}

/// Each create is a span and an event of the flight recorder.
fn create_sampled(operations: u64) -> Answer {
    traced_creates(operations, 1.0, operations)
}

fn traced_creates(operations: u64, rate: f64, spans: u64) -> Answer {
    let dir = tempfile::tempdir()?;
    let sink = CountingSink::new();
    let builder = Store::builder(all_on(operations, rate)).sink(Box::new(sink.clone()));
    let store = builder.open(dir.path().join("store"))?;
    create_in(&mut store.session(), operations)?;
    expect("tokens", store.len(), operations)?;
    store.close()?;
    expect("spans", sink.spans_total(), spans)
}

fn get(operations: u64) -> Answer {
    let store = Store::builder(all_off(operations)).in_memory()?;
    let (mut session, token) = (store.session(), token()?);
    let ids =
        (0..operations).map(|_| session.create(&token)).collect::<Result<Vec<TokenId>, _>>()?;
    let mut found = 0;
    measured(operations, |number| {
        let token = session.get(ids[number as usize]);
        found += u64::from(black_box(&token).is_some());
    });
    expect("tokens", found, operations)
}

fn counter(operations: u64) -> Answer {
    let counter = Counter::new();
    // The first count of a thread takes a cell.
    counter.inc();
    measured(operations, |_| black_box(&counter).inc());
    expect("counted", counter.get(), operations + 1)
}

/// [`counter`] and one multiplication: the gate proves with it that it sees such a thing.
fn counter_slowed(operations: u64) -> Answer {
    let counter = Counter::new();
    counter.inc();
    measured(operations, |number| {
        black_box(&counter).inc();
        black_box(black_box(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    });
    expect("counted", counter.get(), operations + 1)
}

fn histogram(operations: u64) -> Answer {
    let mut random = fastrand::Rng::with_seed(21);
    let values: Vec<u64> =
        (0..VALUES).map(|_| (64.0 * 2f64.powf(30.0 * random.f64())) as u64).collect();
    let histogram = Histogram::new();
    histogram.record(1);
    measured(operations, |number| {
        black_box(&histogram).record(values[number as usize % VALUES]);
    });
    expect("recorded", histogram.snapshot().count(), operations + 1)
}

fn decision(operations: u64) -> Answer {
    let mut config = SamplerConfig::fixed_rate(RARE);
    config.slow_threshold = None;
    let (mut local, mut sampled) = (Arc::new(Sampler::new(config)?).local(), 0);
    measured(operations, |_| {
        sampled += u64::from(local.arrive().is_some());
        black_box(());
    });
    expect("operations were sampled", sampled, 0)
}

/// A log that never syncs by itself within a run.
fn log(dir: &TempDir) -> Result<Wal, Box<dyn Error>> {
    let mut config = WalConfig::default();
    config.ring_slots = RING_SLOTS;
    Ok(Wal::open(dir.path(), config)?.0)
}

fn try_append(operations: u64) -> Answer {
    let dir = tempfile::tempdir()?;
    let wal = log(&dir)?;
    let mut refused = 0;
    measured(operations, |_| match wal.try_append(KIND, black_box(&PAYLOAD)) {
        Ok(lsn) => _ = black_box(lsn),
        Err(_) => refused += 1,
    });
    expect("appends were refused", refused, 0)?;
    expect("records", wal.sync()?.get(), operations)?;
    Ok(wal.close()?)
}

/// Every frame has the same number of records, whatever the writer thread did: each was a batch, and synced alone.
fn replay(operations: u64) -> Answer {
    let dir = tempfile::tempdir()?;
    let wal = log(&dir)?;
    let batch = vec![(KIND, &PAYLOAD[..]); BATCH as usize];
    for _ in 0..operations.div_ceil(BATCH) {
        wal.append_batch(&batch)?;
        wal.sync()?;
    }
    wal.close()?;
    let (wal, recovery) = Wal::open(dir.path(), WalConfig::default())?;
    let mut reader = recovery.replay();
    let mut bytes = 0;
    measured(operations, |_| {
        if let Some(Ok(record)) = reader.next_ref() {
            bytes += black_box(record.payload).len() as u64;
        }
    });
    expect("bytes were replayed", bytes, operations * PAYLOAD.len() as u64)?;
    Ok(wal.close()?)
}
