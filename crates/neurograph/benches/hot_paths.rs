//! A session's operations: `cargo bench -p neurograph`. The whole store under load is measured by `cargo xtask stress`.
//!
//! Timed is the call alone (a create's with the push of its id into a vector), on memory that was written before. The
//! tokens of a batch are deleted before the next one, untimed. `bare` has every part off; `all_on` has quotas, log,
//! tracing at 1 % and flight recorder on, and no token has the PERSISTENT flag, so none is logged. Reads, updates and
//! deletes run in the store with all on. Its directory is below TMPDIR.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Bencher, Criterion, Throughput, criterion_group, criterion_main};
use neurograph::{
    Config, Persist, Session, Store, Token, TokenId, core::CHUNK_SLOTS, trace::SamplerConfig,
};

/// Operations of a batch: 6.4 MB of tokens.
const BATCH: usize = 100_000;

fn token() -> Token {
    Token::builder().weight(0.5).timestamp(1_700_000_000).build().expect("a valid token")
}

fn bare() -> Store {
    Store::builder(Config::bare()).in_memory().expect("address space")
}

fn all_on(dir: &tempfile::TempDir) -> Store {
    let mut config = Config::default();
    config.persist = Persist::Flagged;
    // A controller would change the share while a benchmark runs.
    config.trace.sampler = SamplerConfig::fixed_rate(0.01);
    Store::open(dir.path().join("store"), config).expect("a directory that can be written")
}

fn create(session: &mut Session, token: &Token) -> TokenId {
    session.create(black_box(token)).expect("the quota is far")
}

fn delete(session: &mut Session, ids: impl IntoIterator<Item = TokenId>) {
    ids.into_iter().for_each(|id| session.delete(id).expect("a live token"));
}

/// Batches of creates, and of the deletes that make room for the next. `timed` says which of the two is measured.
fn batches(b: &mut Bencher<'_>, session: &mut Session, timed: Timed) {
    let token = token();
    let mut ids: Vec<TokenId> = (0..BATCH).map(|_| create(session, &token)).collect();
    // One token of each chunk stays: an empty chunk's memory may go back to the kernel.
    let mut number = 0..;
    ids.retain(|_| !number.next().is_some_and(|n: u32| n.is_multiple_of(CHUNK_SLOTS)));
    delete(session, ids.drain(..));
    b.iter_custom(|batches| {
        let mut elapsed = Duration::ZERO;
        for _ in 0..batches {
            let begin = Instant::now();
            for _ in 0..BATCH {
                ids.push(create(session, &token));
            }
            let created = begin.elapsed();
            let begin = Instant::now();
            delete(session, ids.drain(..));
            let deleted = begin.elapsed();
            elapsed += if timed == Timed::Creates { created } else { deleted };
        }
        elapsed
    });
}

#[derive(Clone, Copy, PartialEq)]
enum Timed {
    Creates,
    Deletes,
}

fn operations(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let (bare, all_on) = (bare(), all_on(&dir));
    let mut group = c.benchmark_group("neurograph");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("create_bare", |b| batches(b, &mut bare.session(), Timed::Creates));
    group.bench_function("create_all_on", |b| batches(b, &mut all_on.session(), Timed::Creates));
    group.bench_function("delete", |b| batches(b, &mut all_on.session(), Timed::Deletes));

    let (mut session, token) = (all_on.session(), token());
    let ids: Vec<TokenId> = (0..BATCH).map(|_| create(&mut session, &token)).collect();
    let mut turn = 0;
    // A prime step: not the next slot, which the processor would fetch by itself.
    let mut next = move || {
        turn = (turn + 7919) % BATCH;
        ids[turn]
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| b.iter(|| session.get(next())));
    group.bench_function("update", |b| {
        b.iter(|| session.update(next(), black_box(&token)).expect("a live token"));
    });
    group.finish();
    drop(session);
    all_on.close().expect("the disk writes");
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = operations
}
criterion_main!(hot_paths);
