//! Group `wal_replay`: every record of a log, checked and handed to the reader, who adds it up. The floor reads the very
//! same files and takes the checksum of their bytes. All from the page cache: the files were just written.

use std::{fs::File, io::Read, time::Instant};

use neurograph::{Config, Store};
use ng_wal::{Durability, Wal, WalConfig};
use tempfile::TempDir;

use crate::{
    files::{failed, fresh_dir, segments},
    log,
    payload::ReadBack,
    peers_wal::log_peer_rows,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::{check, sample},
    tokens,
};

/// One record of this many is replayed.
const PART: u64 = 3;
/// What the floor reads at once, and what it takes one checksum of: the largest frame of ours.
const READ_BYTES: usize = 1 << 20;
const FRAME_BYTES: usize = 64 << 10;

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let ours = |name, round: fn(&Work, &Made) -> Result<Sample, Failure>| {
        let mut made = None;
        Row::new(name, Kind::Ours, version, move |work| {
            let made = match &made {
                Some(made) => made,
                None => made.insert(Made::make(work)?),
            };
            round(work, made)
        })
    };
    let mut store = None;
    let mut rows = vec![
        ours("neurograph", reader),
        ours("neurograph:lent", lent),
        ours("neurograph:open", open),
        Row::new("neurograph:store", Kind::Ours, version, move |work| reopen(work, &mut store)),
        Row { kind: Kind::Floor, version: "", ..ours("floor:read_crc", read_crc) },
    ];
    rows.extend(log_peer_rows!(peer(): okaywal, raft_engine));
    let bar = |id, under, bar, goal| {
        let (over, side) = ("floor:read_crc", Side::AtLeast);
        Bar { id, over, under, side, bar, goal: Some(goal) }
    };
    let bars =
        vec![bar("P5log", "neurograph", 0.35, 0.7), bar("P5", "neurograph:store", 0.28, 0.6)];
    Group::on_disk("wal_replay", "Read a log back, a record", rows, bars)
}

fn records(work: &Work) -> u64 {
    work.records / PART
}

/// A closed log, read in every round.
struct Made {
    dir: TempDir,
    expected: ReadBack,
}

impl Made {
    fn make(work: &Work) -> Result<Made, Failure> {
        let dir = fresh_dir(work)?;
        let wal = log::open(dir.path(), Durability::Balanced)?;
        log::append(&wal, work, 0..records(work))?;
        wal.close().map_err(log::refused)?;
        let expected = ReadBack::quick().expected(work.seed, 0..records(work));
        Ok(Made { dir, expected })
    }

    /// Each round: what the timed loop added up.
    fn check(&self, found: ReadBack) -> Result<(), Failure> {
        if found == self.expected {
            return Ok(());
        }
        Err(Failure::Check(format!("replayed {found:?} and should have {:?}", self.expected)))
    }
}

fn reader(work: &Work, made: &Made) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let found = log::read_back(made.dir.path(), 0, ReadBack::quick())?;
    let sample = sample(begin, records(work));
    made.check(found)?;
    Ok(sample)
}

fn lent(work: &Work, made: &Made) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let found = log::read_back_lent(made.dir.path(), ReadBack::quick())?;
    let sample = sample(begin, records(work));
    made.check(found)?;
    Ok(sample)
}

/// The same through the door: lock, recovery, and a log that could take more.
fn open(work: &Work, made: &Made) -> Result<Sample, Failure> {
    let begin = Instant::now();
    let (wal, recovery) = Wal::open(made.dir.path(), WalConfig::default()).map_err(log::refused)?;
    let mut found = ReadBack::quick();
    for record in recovery.replay() {
        found.add(&record.map_err(log::refused)?.payload);
    }
    let sample = sample(begin, records(work));
    wal.close().map_err(log::refused)?;
    made.check(found)?;
    Ok(sample)
}

fn read_crc(work: &Work, made: &Made) -> Result<Sample, Failure> {
    let mut buffer = vec![0; READ_BYTES];
    let mut sum = 0_u32;
    let begin = Instant::now();
    for path in segments(made.dir.path())? {
        let mut file = File::open(path).map_err(failed("open a segment"))?;
        loop {
            let read = file.read(&mut buffer).map_err(failed("read a segment"))?;
            if read == 0 {
                break;
            }
            for frame in buffer[..read].chunks(FRAME_BYTES) {
                sum = sum.wrapping_add(crc32c::crc32c(frame));
            }
        }
    }
    std::hint::black_box(sum);
    Ok(sample(begin, records(work)))
}

/// A store opened again each round: the log is replayed and the arena is built anew.
fn reopen(work: &Work, kept: &mut Option<TempDir>) -> Result<Sample, Failure> {
    let work = Work { tokens: records(work), ..*work };
    let dir = match kept {
        Some(dir) => dir,
        None => kept.insert(stored(&work)?),
    };
    let begin = Instant::now();
    let store = Store::open(dir.path(), Config::default()).map_err(log::refused)?;
    let sample = sample(begin, work.tokens);
    if store.len() != work.tokens {
        return Err(Failure::Check(format!("a store came back with {} tokens", store.len())));
    }
    check(&work, "neurograph:store", || store.iter().map(|(_, token)| token.to_words()).collect())?;
    store.close().map_err(log::refused)?;
    Ok(sample)
}

fn stored(work: &Work) -> Result<TempDir, Failure> {
    let dir = fresh_dir(work)?;
    let store = Store::open(dir.path(), Config::default()).map_err(log::refused)?;
    let mut session = store.session();
    for token in tokens::stream(work.seed, 0..work.tokens) {
        session.create(&token).map_err(log::refused)?;
    }
    drop(session);
    store.close().map_err(log::refused)?;
    Ok(dir)
}

#[cfg(feature = "peers")]
use crate::peers_wal::{LogPeer, fill, records_of, trouble};

/// Its log is made in the first round and read in every one.
#[cfg(feature = "peers")]
fn peer<P: LogPeer>() -> impl FnMut(&Work) -> Result<Sample, Failure> + 'static {
    let mut kept: Option<(TempDir, ReadBack)> = None;
    move |work| {
        let records = records_of::<P>(work);
        let (dir, expected) = match &kept {
            Some(kept) => kept,
            None => {
                let dir = fresh_dir(work)?;
                let peer = P::create(dir.path(), records).map_err(trouble::<P>)?;
                fill(&peer, work, 0..records)?;
                peer.close().map_err(trouble::<P>)?;
                kept.insert((dir, ReadBack::quick().expected(work.seed, 0..records)))
            }
        };
        let begin = Instant::now();
        let found = P::replay(dir.path(), ReadBack::quick()).map_err(trouble::<P>)?;
        let sample = sample(begin, records);
        if found != *expected {
            let name = P::NAME;
            return Err(Failure::Check(format!("{name} replayed {found:?}, not {expected:?}")));
        }
        Ok(sample)
    }
}
