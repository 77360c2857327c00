//! Group `batch`: tokens made a thousand at a time, created one by one or in one call.
//!
//! `neurograph:single` and `neurograph:batch` are a store in memory at its defaults, on memory that held tokens before.
//! `neurograph:batch_logged` is one with a log at Balanced, `floor:wal_batch` that log alone: it gets records of the same
//! size, as many at once as a batch holds. Both end when the last record is on stable storage.

use std::{hint::black_box, time::Duration, time::Instant};

use neurograph::{Config, Durability, Session, Store, Token, TokenId};

use crate::{
    files::fresh_dir,
    log::{self, KIND},
    payload,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::sample,
    tokens::{self, Checksum},
};

/// Tokens of one call.
const CALL: u64 = 1_000;
/// What the log holds of a create: an id and a token.
const RECORD_BYTES: usize = 72;
/// Of so many tokens one stays, so that no memory goes back.
const STAYS: usize = neurograph::core::CHUNK_SLOTS as usize;

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let ours = |name, measure: fn(&Work) -> Result<Sample, Failure>| {
        Row::new(name, Kind::Ours, version, measure)
    };
    let rows = vec![
        ours("neurograph:single", |work| in_memory(work, single)),
        ours("neurograph:batch", |work| in_memory(work, batch)),
        ours("neurograph:batch_logged", logged),
        Row::new("floor:wal_batch", Kind::Floor, "", wal_batch),
    ];
    let bar = |id, over, under, side, bar, goal| Bar { id, over, under, side, bar, goal };
    let bars = vec![
        bar("batch", "neurograph:batch", "neurograph:single", Side::AtMost, 0.9, None),
        bar("batch:logged", "floor:wal_batch", "neurograph:batch_logged", Side::AtLeast, 0.8, None),
    ];
    Group::on_disk("batch", "Create a thousand tokens in one call", rows, bars)
}

type Create = fn(&mut Session, &[Token], &mut Vec<TokenId>) -> Result<(), Failure>;

fn single(session: &mut Session, tokens: &[Token], ids: &mut Vec<TokenId>) -> Result<(), Failure> {
    for token in tokens {
        ids.push(session.create(token).map_err(log::refused)?);
    }
    Ok(())
}

fn batch(session: &mut Session, tokens: &[Token], ids: &mut Vec<TokenId>) -> Result<(), Failure> {
    session.create_batch(tokens, ids).map_err(log::refused)
}

fn config(work: &Work) -> Config {
    let mut config = Config::default();
    config.guardian.max_tokens = None;
    config.guardian.max_memory_bytes = None;
    config.arena.max_slots = Some(2 * work.records.next_multiple_of(STAYS as u64));
    config.wal.full_timeout = Duration::from_secs(60);
    config.wal.log_bytes_max = 64 << 30;
    config.blackbox.panic_hook = false;
    config
}

/// The tokens of `numbers`, a call's worth at a time; the ids of all.
fn create_all(
    session: &mut Session,
    work: &Work,
    first: u64,
    create: Create,
) -> Result<Vec<TokenId>, Failure> {
    let (mut tokens, mut ids) = (Vec::with_capacity(CALL as usize), Vec::new());
    ids.reserve_exact(work.records as usize);
    for from in (first..first + work.records).step_by(CALL as usize) {
        let numbers = from..(from + CALL).min(first + work.records);
        tokens.clear();
        tokens.extend(tokens::stream(work.seed, numbers));
        create(session, black_box(&tokens), &mut ids)?;
    }
    Ok(ids)
}

/// Memory that held tokens, and a few that still do.
fn warm(session: &mut Session, work: &Work) -> Result<u64, Failure> {
    let ids = create_all(session, work, 0, batch)?;
    let mut stay = 0;
    for part in ids.chunks(STAYS) {
        stay += 1;
        session.delete_batch(&part[1..]).map_err(log::refused)?;
    }
    Ok(stay)
}

fn in_memory(work: &Work, create: Create) -> Result<Sample, Failure> {
    let store = Store::in_memory(config(work)).map_err(log::refused)?;
    let mut session = store.session();
    let stay = warm(&mut session, work)?;
    let begin = Instant::now();
    let ids = create_all(&mut session, work, work.records, create)?;
    let sample = sample(begin, work.records);
    check(work, &session, &ids)?;
    match store.len() == work.records + stay {
        true => Ok(sample),
        false => Err(Failure::Check(format!("group batch: the store holds {}", store.len()))),
    }
}

fn logged(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let mut config = config(work);
    config.wal.durability = Durability::Balanced;
    let store = Store::open(dir.path().join("store"), config).map_err(log::refused)?;
    let mut session = store.session();
    warm(&mut session, work)?;
    store.sync().map_err(log::refused)?;
    let begin = Instant::now();
    let ids = create_all(&mut session, work, work.records, batch)?;
    store.sync().map_err(log::refused)?;
    let sample = sample(begin, work.records);
    check(work, &session, &ids)?;
    drop(session);
    store.close().map_err(log::refused)?;
    Ok(sample)
}

/// Where this round verifies: the ids name the tokens that were made.
fn check(work: &Work, session: &Session, ids: &[TokenId]) -> Result<(), Failure> {
    if !work.verify {
        return Ok(());
    }
    let found: Option<Checksum> = ids.iter().map(|id| Some(session.get(*id)?.to_words())).collect();
    match found == Some(tokens::checksum(work.seed, work.records..2 * work.records)) {
        true => Ok(()),
        false => Err(Failure::Check("group batch: a store does not hold what was written".into())),
    }
}

fn wal_batch(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let wal = log::open(dir.path(), Durability::Balanced)?;
    let most = wal.batch_records_max(RECORD_BYTES);
    let append = |first: u64| {
        let mut payloads = vec![[0; RECORD_BYTES]; most];
        for from in (first..first + work.records).step_by(most) {
            let numbers = from..(from + most as u64).min(first + work.records);
            let count = (numbers.end - numbers.start) as usize;
            for (record, payload) in payloads.iter_mut().zip(payload::stream(work.seed, numbers)) {
                record[8..].copy_from_slice(&payload);
            }
            let records: Vec<(u8, &[u8])> =
                payloads[..count].iter().map(|payload| (KIND, &payload[..])).collect();
            wal.append_batch(&records).map_err(log::refused)?;
        }
        wal.sync().map_err(log::refused)
    };
    append(0)?;
    let begin = Instant::now();
    let last = append(work.records)?;
    let sample = sample(begin, work.records);
    wal.close().map_err(log::refused)?;
    match last.get() == 2 * work.records {
        true => Ok(sample),
        false => Err(Failure::Check(format!("floor:wal_batch holds {last} records"))),
    }
}
