//! The log as its groups use it: opened, filled, read back.

use std::{ops::Range, path::Path, time::Duration};

use ng_wal::{Durability, Reader, Wal, WalConfig};

use crate::{
    payload::{self, ReadBack},
    row::{Failure, Work},
};

/// Records between two syncs, in every row that syncs in batches.
pub(crate) const BATCH: u64 = 10_000;
pub(crate) const KIND: u8 = 1;

/// What a log says when it did not do its work.
pub(crate) fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::Check(format!("neurograph: {error}"))
}

/// The log in `dir` as it comes, at `durability`.
pub(crate) fn open(dir: &Path, durability: Durability) -> Result<Wal, Failure> {
    let mut config = WalConfig::default();
    config.durability = durability;
    config.sync_records = BATCH;
    // A slow disk is no failure here.
    config.full_timeout = Duration::from_secs(60);
    Ok(Wal::open(dir, config).map_err(refused)?.0)
}

/// Appends one after the other; returns when all are queued.
#[inline]
pub(crate) fn append(wal: &Wal, work: &Work, numbers: Range<u64>) -> Result<(), Failure> {
    for payload in payload::stream(work.seed, numbers) {
        wal.append(KIND, &payload).map_err(refused)?;
    }
    Ok(())
}

/// Reads all records after the first `skip`.
pub(crate) fn read_back(dir: &Path, skip: u64, mut read: ReadBack) -> Result<ReadBack, Failure> {
    let reader = Reader::open(dir).map_err(refused)?;
    for record in reader.starting_at(ng_wal::Lsn::new(skip + 1)) {
        read.add(&record.map_err(refused)?.payload);
    }
    Ok(read)
}

/// [`read_back`] of records that the reader lends.
pub(crate) fn read_back_lent(dir: &Path, mut read: ReadBack) -> Result<ReadBack, Failure> {
    let mut reader = Reader::open(dir).map_err(refused)?;
    while let Some(record) = reader.next_ref() {
        read.add(record.map_err(refused)?.payload);
    }
    Ok(read)
}

/// Where this round verifies: the log in `dir` holds the payloads of `numbers` after its first `skip` records.
pub(crate) fn check(
    work: &Work,
    name: &str,
    numbers: Range<u64>,
    read: impl FnOnce(ReadBack) -> Result<ReadBack, Failure>,
) -> Result<(), Failure> {
    if !work.verify {
        return Ok(());
    }
    let (found, expected) =
        (read(ReadBack::thorough())?, ReadBack::thorough().expected(work.seed, numbers));
    if found == expected {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} holds {found:?} and should hold {expected:?}")))
}
