//! Group `wal_append`: payloads of 64 bytes, synced each 10,000. A row ends when its last record is on stable storage.
//!
//! The row `neurograph` syncs behind the appends, as the level Balanced does: a sync that takes long covers more than
//! 10,000 records. A note says how many, and two rows stand beside it: `neurograph:waits`, which waits for each
//! 10,000 as the peers do, and a floor that syncs as seldom as `neurograph` did.

use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io::{BufWriter, Write},
    rc::Rc,
    time::Instant,
};

use ng_wal::{Durability, Lsn, Wal};
use tempfile::TempDir;

use crate::{
    files::{Raw, failed, fresh_dir, image_of},
    log::{self, BATCH},
    payload,
    peers_wal::log_peer_rows,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::sample,
};

/// The owner of a log gives up what it no longer needs this many times a round.
const RETIRES: u64 = 8;
/// Rows into an empty folder take this part of the records: their files are made anew each round.
const FIRST_PASS_PART: u64 = 3;
/// What a BufWriter collects before it writes.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) fn group() -> Group {
    let seen = Rc::new(Seen::default());
    let image = Rc::new(Image::default());
    let version = env!("CARGO_PKG_VERSION");
    let mut rows = Vec::new();
    for (name, wait) in [("neurograph", false), ("neurograph:waits", true)] {
        let (seen, mut kept) = (Rc::clone(&seen), None);
        rows.push(Row::new(name, Kind::Ours, version, move |work| {
            recycled(work, &mut kept, wait, &seen)
        }));
    }
    rows.push(Row::new("neurograph:first_pass", Kind::Ours, version, first_pass));
    for (name, is_ours) in [("floor:raw_sync", false), ("floor:raw_sync:own_cadence", true)] {
        let (seen, image, mut kept) = (Rc::clone(&seen), Rc::clone(&image), None);
        rows.push(Row::new(name, Kind::Floor, "", move |work| {
            let syncs = work.records / BATCH;
            // Before ours ran for the first time: the thrown-away round.
            let parts = if is_ours && seen.syncs.get() > 0 { seen.syncs.get() } else { syncs };
            raw_sync(work, image.get(work)?, &mut kept, parts)
        }));
    }
    rows.push(Row::new("floor:growing_file", Kind::Floor, "", move |work| {
        growing_file(work, image.get(work)?)
    }));
    rows.push(Row::new("BufWriter", Kind::Peer, "std", buf_writer));
    rows.extend(log_peer_rows!(
        peer: okaywal, raft_engine, walrus, fjall, redb, commitlog
    ));
    let bar = |id, over, under, bar, goal| Bar {
        id,
        over,
        under,
        side: Side::AtLeast,
        bar,
        goal: Some(goal),
    };
    let bars = vec![
        bar("P3", "floor:raw_sync", "neurograph", 0.8, 0.9),
        bar("P3:own_cadence", "floor:raw_sync:own_cadence", "neurograph", 0.8, 0.9),
        bar("P3f", "floor:growing_file", "neurograph:first_pass", 0.8, 0.95),
        bar("P3b", "okaywal", "neurograph", 2.0, 4.0),
        bar("P3b:commitlog", "commitlog", "neurograph", 1.0, 1.5),
        bar("P3b:BufWriter", "BufWriter", "neurograph", 1.0, 1.5),
    ];
    let title = "Append 64 bytes, synced each 10,000 records";
    Group {
        notes: Box::new(move || seen.notes()),
        ..Group::on_disk("wal_append", title, rows, bars)
    }
}

/// What the rows of ours did.
#[derive(Default)]
struct Seen {
    /// Syncs of the last round of `neurograph`.
    syncs: Cell<u64>,
    records: Cell<u64>,
    rotations: Cell<u64>,
}

impl Seen {
    fn notes(&self) -> Vec<String> {
        let Some(per_sync) = self.records.get().checked_div(self.syncs.get()) else {
            return Vec::new();
        };
        vec![format!(
            "neurograph synced each {per_sync} records of its last round, over {} rotations; \
             neurograph:waits, every peer and floor:raw_sync each {BATCH}. Rows into an empty folder take \
             a third of the records, and slower peers a smaller part.",
            self.rotations.get()
        )]
    }
}

/// The very bytes that a log makes of the records of a round.
#[derive(Default)]
struct Image(OnceCell<Vec<u8>>);

impl Image {
    fn get(&self, work: &Work) -> Result<&[u8], Failure> {
        if let Some(image) = self.0.get() {
            return Ok(image);
        }
        let dir = fresh_dir(work)?;
        let wal = log::open(dir.path(), Durability::Balanced)?;
        append_and_wait(&wal, work, 0..work.records)?;
        let written = wal.stats().written_bytes_total;
        wal.close().map_err(log::refused)?;
        let image = image_of(dir.path(), written)?;
        Ok(self.0.get_or_init(|| image))
    }
}

/// A log that lives through all rounds, so that its segments are prepared or recycled.
struct Kept {
    wal: Wal,
    dir: TempDir,
    appended: u64,
}

fn recycled(
    work: &Work,
    kept: &mut Option<Kept>,
    wait: bool,
    seen: &Seen,
) -> Result<Sample, Failure> {
    let Kept { wal, dir, appended } = match kept {
        Some(kept) => kept,
        None => {
            let dir = fresh_dir(work)?;
            let wal = log::open(dir.path(), Durability::Balanced)?;
            kept.insert(Kept { wal, dir, appended: 0 })
        }
    };
    let before = wal.stats();
    let first = *appended;
    let begin = Instant::now();
    let step = (work.records / RETIRES).next_multiple_of(BATCH);
    for from in (0..work.records).step_by(step as usize) {
        let numbers = from..(from + step).min(work.records);
        if wait {
            append_and_wait(wal, work, numbers)?;
        } else {
            log::append(wal, work, numbers)?;
        }
        // A round that is read back afterwards gives up only what is older.
        let needed = if work.verify { first + 1 } else { wal.durable_lsn().get() };
        wal.retire_before(Lsn::new(needed)).map_err(log::refused)?;
    }
    wal.sync().map_err(log::refused)?;
    let sample = sample(begin, work.records);
    *appended += work.records;
    if !wait {
        let stats = wal.stats();
        seen.syncs.set(stats.syncs_total - before.syncs_total);
        seen.rotations.set(stats.rotations_total - before.rotations_total);
        seen.records.set(work.records);
    }
    log::check(work, "neurograph", 0..work.records, |read| {
        log::read_back(dir.path(), first, read)
    })?;
    wal.retire_before(wal.durable_lsn()).map_err(log::refused)?;
    Ok(sample)
}

fn append_and_wait(wal: &Wal, work: &Work, numbers: std::ops::Range<u64>) -> Result<(), Failure> {
    for from in numbers.clone().step_by(BATCH as usize) {
        log::append(wal, work, from..(from + BATCH).min(numbers.end))?;
        wal.sync().map_err(log::refused)?;
    }
    Ok(())
}

fn first_pass(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let records = work.records / FIRST_PASS_PART;
    let wal = log::open(dir.path(), Durability::Balanced)?;
    let begin = Instant::now();
    log::append(&wal, work, 0..records)?;
    wal.sync().map_err(log::refused)?;
    let sample = sample(begin, records);
    wal.close().map_err(log::refused)?;
    log::check(work, "neurograph:first_pass", 0..records, |read| {
        log::read_back(dir.path(), 0, read)
    })?;
    Ok(sample)
}

fn raw_sync(
    work: &Work,
    image: &[u8],
    kept: &mut Option<Raw>,
    parts: u64,
) -> Result<Sample, Failure> {
    let raw = match kept {
        Some(raw) => raw,
        None => kept.insert(Raw::make(work, image.len() as u64)?),
    };
    let begin = Instant::now();
    raw.write_in_parts(image, parts)?;
    let sample = sample(begin, work.records);
    is_held(work, raw, image)?;
    Ok(sample)
}

fn growing_file(work: &Work, image: &[u8]) -> Result<Sample, Failure> {
    let records = work.records / FIRST_PASS_PART;
    let image = &image[..image.len() / FIRST_PASS_PART as usize];
    let raw = Raw::make(work, 0)?;
    let begin = Instant::now();
    raw.write_in_parts(image, records / BATCH)?;
    let sample = sample(begin, records);
    is_held(work, &raw, image)?;
    Ok(sample)
}

fn is_held(work: &Work, raw: &Raw, image: &[u8]) -> Result<(), Failure> {
    if work.verify && !raw.holds(image)? {
        return Err(Failure::Check("a raw file does not hold what was written".into()));
    }
    Ok(())
}

/// No frames, no checksums, no numbers: what somebody without a log would write.
fn buf_writer(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let path = dir.path().join("plain");
    let records = work.records / FIRST_PASS_PART;
    let file = File::create_new(&path).map_err(failed("create a file"))?;
    let begin = Instant::now();
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
    for from in (0..records).step_by(BATCH as usize) {
        for payload in payload::stream(work.seed, from..(from + BATCH).min(records)) {
            writer.write_all(&payload).map_err(failed("write"))?;
        }
        writer.flush().map_err(failed("write"))?;
        writer.get_ref().sync_data().map_err(failed("sync a file"))?;
    }
    let sample = sample(begin, records);
    log::check(work, "BufWriter", 0..records, |mut read| {
        let bytes = std::fs::read(&path).map_err(failed("read back"))?;
        bytes.chunks(64).for_each(|payload| read.add(payload));
        Ok(read)
    })?;
    Ok(sample)
}

#[cfg(feature = "peers")]
use crate::peers_wal::{LogPeer, fill, records_of, trouble};

/// An empty log each round, made untimed.
#[cfg(feature = "peers")]
fn peer<P: LogPeer>(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let records = records_of::<P>(work);
    let peer = P::create(dir.path(), records).map_err(trouble::<P>)?;
    let begin = Instant::now();
    fill(&peer, work, 0..records)?;
    let sample = sample(begin, records);
    peer.close().map_err(trouble::<P>)?;
    log::check(work, P::NAME, 0..records, |read| {
        P::replay(dir.path(), read).map_err(trouble::<P>)
    })?;
    Ok(sample)
}
