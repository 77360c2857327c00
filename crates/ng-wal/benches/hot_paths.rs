//! The log's hot paths: `cargo bench -p ng-wal`. Its files are in a directory below TMPDIR, so that says which disk.
//!
//! - `try_append` times batches of appends of 64 bytes that all find room; between batches, untimed, everything is
//!   synced and old segments go. The writer thread works meanwhile, on another core if there is one.
//! - `append_durable` times one append and its sync: the disk, more than anything of ours.
//! - `recovery` times opening a log and replaying each record of it, from the page cache; closing it is not timed.
//! - `crc` times the checksum of 64 KiB, the largest frame of small records: what replay cannot be faster than.
#![allow(missing_docs, reason = "criterion's macro makes a public function without any")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ng_wal::{Durability, Wal, WalConfig};

const KIND: u8 = 1;
const PAYLOAD: [u8; 64] = [0x5a; 64];
/// Half of the ring, so that each append finds room.
const BATCH: u64 = 8_192;
const RECORDS: u64 = 100_000;
const FRAME_BYTES: usize = 64 << 10;

fn open(dir: &tempfile::TempDir) -> Wal {
    Wal::open(dir.path(), WalConfig::default()).expect("a directory that can be written").0
}

fn appends(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let wal = open(&dir);
    let mut group = c.benchmark_group("ng-wal");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("try_append", |b| {
        b.iter_custom(|batches| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..batches {
                let begin = Instant::now();
                for _ in 0..BATCH {
                    wal.try_append(KIND, black_box(&PAYLOAD)).expect("the ring has room");
                }
                elapsed += begin.elapsed();
                let durable = wal.sync().expect("the disk writes");
                wal.retire_before(durable).expect("it was appended");
            }
            elapsed
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("append_durable", |b| {
        b.iter(|| wal.append_durable(KIND, &PAYLOAD, Durability::Strict).expect("the disk writes"));
    });
    group.finish();
    wal.close().expect("the disk writes");
}

fn recovery(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let wal = open(&dir);
    for _ in 0..RECORDS {
        wal.append(KIND, &PAYLOAD).expect("the disk writes");
    }
    wal.close().expect("the disk writes");
    let mut group = c.benchmark_group("ng-wal");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("recovery", |b| {
        b.iter_custom(|times| (0..times).map(|_| recover(&dir)).sum());
    });
    group.throughput(Throughput::Bytes(FRAME_BYTES as u64));
    let frame = vec![0x5a; FRAME_BYTES];
    group.bench_function("crc", |b| b.iter(|| crc32c::crc32c(black_box(&frame))));
    group.finish();
}

fn recover(dir: &tempfile::TempDir) -> Duration {
    let begin = Instant::now();
    let opened = Wal::open(dir.path(), WalConfig::default());
    let (wal, recovery) = opened.expect("the log of before");
    let (mut reader, mut records) = (recovery.replay(), 0);
    while let Some(record) = reader.next_ref() {
        records += u64::from(record.expect("a whole record").payload.len() == PAYLOAD.len());
    }
    let elapsed = begin.elapsed();
    assert_eq!(records, RECORDS);
    wal.close().expect("the disk writes");
    elapsed
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = appends, recovery
}
criterion_main!(hot_paths);
