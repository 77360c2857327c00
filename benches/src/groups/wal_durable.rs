//! Groups `wal_durable_1t` and `wal_durable_8t`: each append returns when its record is on stable storage. The floor
//! writes a block of 4 KiB and syncs it, into a file that is full of zeroes: with eight threads each its own blocks.
//!
//! The floor's file and those of the peers that can are full of zeroes before the time begins, so the row `neurograph`
//! is a log on recycled segments, as P3 has it: three times a segment's size went through it untimed.
//! `neurograph:first_pass` is a new log each round, which writes its zeroes within the timed part.

use std::{fs::OpenOptions, io::Write, ops::Range, os::unix::fs::FileExt, path::Path};

use ng_wal::{Durability, Wal, WalConfig};
use tempfile::TempDir;

use crate::{
    files::{Raw, failed, fresh_dir},
    log,
    payload::{self, ReadBack},
    peers_wal::log_peer_rows,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject,
};

/// Each thread appends one record of this many: a sync costs as much as thousands of them.
const PART: u64 = 6_000;
const BLOCK_BYTES: u64 = 4096;
/// Of the records that bring a log to its recycled segments.
const LARGE_BYTES: usize = 1 << 20;

/// Both bars of a pair hold if the better of the two peers is beaten by as much.
pub(crate) fn one_thread() -> Group {
    let bar = |id, over| {
        let (under, side) = ("neurograph", Side::AtLeast);
        Bar { id, over, under, side, bar: 1.0, goal: Some(1.5) }
    };
    let bars = vec![bar("P4:1t:okaywal", "okaywal"), bar("P4:1t:raft-engine", "raft-engine")];
    let mut rows = rows::<1>();
    rows.push(Row::new("File", Kind::Peer, "std", growing_file));
    rows.extend(log_peer_rows!(one_lane: okaywal, raft_engine, fjall, redb, commitlog, walrus));
    let title = "Append 64 bytes and wait until they are durable";
    Group::on_disk("wal_durable_1t", title, rows, bars)
}

pub(crate) fn eight_threads() -> Group {
    let bar = |id, over| {
        let (under, side) = ("neurograph", Side::AtLeast);
        Bar { id, over, under, side, bar: 1.3, goal: Some(3.0) }
    };
    let bars = vec![bar("P4:8t:okaywal", "okaywal"), bar("P4:8t:raft-engine", "raft-engine")];
    let mut rows = rows::<8>();
    // Those that take one appender at a time, or that are synced by us, have nothing to gain from threads.
    rows.extend(log_peer_rows!(eight_lanes: okaywal, raft_engine, fjall, redb));
    let title = "Append 64 bytes and wait until they are durable, eight threads";
    Group::on_disk("wal_durable_8t", title, rows, bars)
}

fn rows<const THREADS: u64>() -> Vec<Row> {
    let (mut log, mut raw) = (None, None);
    vec![
        Row::new("neurograph", Kind::Ours, env!("CARGO_PKG_VERSION"), move |work| {
            recycled::<THREADS>(work, &mut log)
        }),
        Row::new("neurograph:first_pass", Kind::Ours, env!("CARGO_PKG_VERSION"), |work| {
            let dir = fresh_dir(work)?;
            ours::<THREADS>(work, &log::open(dir.path(), Durability::Strict)?, dir.path())
        }),
        Row::new("floor:raw_sync", Kind::Floor, "", move |work| floor::<THREADS>(work, &mut raw)),
    ]
}

/// Of each thread.
fn records(work: &Work) -> u64 {
    (work.records / PART).max(4)
}

/// `body` at once on each thread, with the numbers that are its own; from the first to the last of them.
fn at_once<const THREADS: u64>(
    work: &Work,
    body: impl Fn(u64, Range<u64>) -> Result<(), Failure> + Sync,
) -> Result<Sample, Failure> {
    let each = records(work);
    let (elapsed_ns, done) =
        subject::at_once(0..THREADS, |lane| body(lane, lane * each..(lane + 1) * each))?;
    done.into_iter().collect::<Result<(), Failure>>()?;
    Ok(Sample { elapsed_ns, operations: THREADS * each })
}

/// In whatever order the threads came.
fn check<const THREADS: u64>(
    work: &Work,
    name: &str,
    read: impl FnOnce(ReadBack) -> Result<ReadBack, Failure>,
) -> Result<(), Failure> {
    if !work.verify {
        return Ok(());
    }
    let all = 0..THREADS * records(work);
    let (found, expected) =
        (read(ReadBack::thorough())?, ReadBack::thorough().expected(work.seed, all));
    if found.checksum == expected.checksum {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} holds {found:?} and should hold {expected:?}")))
}

fn ours<const THREADS: u64>(work: &Work, wal: &Wal, dir: &Path) -> Result<Sample, Failure> {
    let first = wal.last_lsn().get();
    let sample = at_once::<THREADS>(work, |_, numbers| log::append(wal, work, numbers))?;
    check::<THREADS>(work, "neurograph", |read| log::read_back(dir, first, read))?;
    wal.retire_before(wal.durable_lsn()).map_err(log::refused)?;
    Ok(sample)
}

fn recycled<const THREADS: u64>(
    work: &Work,
    kept: &mut Option<(Wal, TempDir)>,
) -> Result<Sample, Failure> {
    let (wal, dir) = match kept {
        Some(kept) => kept,
        None => kept.insert(on_recycled_segments(work)?),
    };
    ours::<THREADS>(work, wal, dir.path())
}

/// A log that was written through three times, so that it goes on in files that served before.
fn on_recycled_segments(work: &Work) -> Result<(Wal, TempDir), Failure> {
    let dir = fresh_dir(work)?;
    let wal = log::open(dir.path(), Durability::Strict)?;
    let large = vec![0; LARGE_BYTES];
    while wal.stats().written_bytes_total < 3 * WalConfig::default().segment_bytes {
        wal.append(0, &large).map_err(log::refused)?;
        wal.retire_before(wal.durable_lsn()).map_err(log::refused)?;
    }
    match wal.stats().segments_recycled_total {
        0 => Err(Failure::Check("the log did not recycle a segment".into())),
        _ => Ok((wal, dir)),
    }
}

fn floor<const THREADS: u64>(work: &Work, kept: &mut Option<Raw>) -> Result<Sample, Failure> {
    let blocks = THREADS * records(work);
    let raw = match kept {
        Some(raw) => raw,
        None => kept.insert(Raw::make(work, blocks * BLOCK_BYTES)?),
    };
    let file = &raw.file;
    let sample = at_once::<THREADS>(work, |_, numbers| {
        let mut block = [0; BLOCK_BYTES as usize];
        for (payload, number) in payload::stream(work.seed, numbers.clone()).zip(numbers) {
            block[..payload.len()].copy_from_slice(&payload);
            file.write_all_at(&block, number * BLOCK_BYTES).map_err(failed("write"))?;
            file.sync_data().map_err(failed("sync a file"))?;
        }
        Ok(())
    })?;
    check::<THREADS>(work, "floor:raw_sync", |mut read| {
        for number in 0..blocks {
            let mut payload = [0; 64];
            file.read_exact_at(&mut payload, number * BLOCK_BYTES).map_err(failed("read back"))?;
            read.add(&payload);
        }
        Ok(read)
    })?;
    Ok(sample)
}

/// What somebody without a log would do: the file grows with each record.
fn growing_file(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let path = dir.path().join("plain");
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create_new(true).open(&path).map_err(failed("create a file"))?;
    let sample = at_once::<1>(work, |_, numbers| {
        for payload in payload::stream(work.seed, numbers) {
            (&file).write_all(&payload).map_err(failed("write"))?;
            file.sync_data().map_err(failed("sync a file"))?;
        }
        Ok(())
    })?;
    check::<1>(work, "File", |mut read| {
        let bytes = std::fs::read(&path).map_err(failed("read back"))?;
        bytes.chunks(64).for_each(|payload| read.add(payload));
        Ok(read)
    })?;
    Ok(sample)
}

#[cfg(feature = "peers")]
use crate::peers_wal::{LogPeer, trouble};

#[cfg(feature = "peers")]
fn one_lane<P: LogPeer>(work: &Work) -> Result<Sample, Failure> {
    lanes::<P, 1>(work)
}

#[cfg(feature = "peers")]
fn eight_lanes<P: LogPeer>(work: &Work) -> Result<Sample, Failure> {
    lanes::<P, 8>(work)
}

#[cfg(feature = "peers")]
fn lanes<P: LogPeer, const THREADS: u64>(work: &Work) -> Result<Sample, Failure> {
    let work = &Work { records: work.records / P::PART_ALONE, ..*work };
    let dir = fresh_dir(work)?;
    let records = THREADS * records(work);
    let peer = P::create(dir.path(), records).map_err(trouble::<P>)?;
    let sample = at_once::<THREADS>(work, |lane, numbers| {
        for (payload, number) in payload::stream(work.seed, numbers.clone()).zip(numbers) {
            peer.append(lane, number, std::iter::once(payload)).map_err(trouble::<P>)?;
        }
        Ok(())
    })?;
    peer.close().map_err(trouble::<P>)?;
    check::<THREADS>(work, P::NAME, |read| P::replay(dir.path(), read).map_err(trouble::<P>))?;
    Ok(sample)
}
