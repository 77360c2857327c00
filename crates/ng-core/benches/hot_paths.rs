//! The arena's hot paths: `cargo bench -p ng-core`.
//!
//! Timed is the call alone; in `create_warm` also the push of the id into a vector. Making an arena, filling it and
//! deleting what a batch created are not timed. `create_fresh` includes the page faults of memory that was never
//! written, since the first user of that memory pays them. All tokens are the same one, behind a `black_box`.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ng_core::{Arena, ArenaConfig, CHUNK_SLOTS, Token, TokenId, Writer};

/// Tokens of a batch: three chunks and a part of one, 6.4 MB.
const BATCH: u64 = 100_000;
/// Tokens that reads choose from: 64 MB, beyond most caches. A power of two.
const LIVE: usize = 1 << 20;

fn token() -> Token {
    Token::builder().weight(0.5).timestamp(1_700_000_000).build().expect("a valid token")
}

fn arena(tokens: u64) -> Arena {
    let mut config = ArenaConfig::default();
    config.max_slots = tokens + u64::from(CHUNK_SLOTS);
    Arena::new(config).expect("address space")
}

fn create(writer: &mut Writer, token: &Token) -> TokenId {
    writer.create(black_box(token)).expect("the arena has room")
}

fn delete(writer: &mut Writer, ids: impl IntoIterator<Item = TokenId>) {
    ids.into_iter().for_each(|id| writer.delete(id).expect("a live token"));
}

fn creates(c: &mut Criterion) {
    let token = token();
    let mut group = c.benchmark_group("ng-core");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("create_fresh", |b| {
        let make = || {
            let arena = arena(BATCH);
            (arena.writer(), arena)
        };
        let fill = |(mut writer, arena): (Writer, Arena)| {
            (0..BATCH).for_each(|_| _ = black_box(create(&mut writer, &token)));
            (writer, arena)
        };
        b.iter_batched(make, fill, BatchSize::PerIteration);
    });
    group.bench_function("create_warm", |b| {
        let arena = arena(BATCH);
        let mut writer = arena.writer();
        let mut ids: Vec<TokenId> = (0..BATCH).map(|_| create(&mut writer, &token)).collect();
        // One token of each chunk stays: an empty chunk's memory may go back to the kernel.
        let mut number = 0..;
        ids.retain(|_| !number.next().is_some_and(|n: u32| n.is_multiple_of(CHUNK_SLOTS)));
        delete(&mut writer, ids.drain(..));
        b.iter_custom(|batches| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..batches {
                let begin = Instant::now();
                for _ in 0..BATCH {
                    ids.push(create(&mut writer, &token));
                }
                elapsed += begin.elapsed();
                delete(&mut writer, ids.drain(..));
            }
            elapsed
        });
    });
    group.finish();
}

fn one_token(c: &mut Criterion) {
    let (arena, token) = (arena(LIVE as u64), token());
    let mut writer = arena.writer();
    let mut ids: Vec<TokenId> = (0..LIVE).map(|_| create(&mut writer, &token)).collect();
    fastrand::Rng::with_seed(21).shuffle(&mut ids);
    let mut group = c.benchmark_group("ng-core");
    let mut turn = 0;
    let mut next = move || {
        turn = (turn + 1) % LIVE;
        turn
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |b| b.iter(|| arena.get(ids[next()])));
    group.bench_function("delete_create", |b| {
        b.iter(|| {
            let place = next();
            writer.delete(ids[place]).expect("a live token");
            ids[place] = create(&mut writer, &token);
        });
    });
    group.throughput(Throughput::Elements(LIVE as u64));
    let weights = || arena.iter().map(|(_, token)| token.weight()).sum::<f32>();
    group.bench_function("iterate", |b| b.iter(weights));
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = creates, one_token
}
criterion_main!(hot_paths);
