//! What an open would decide, without doing it: no lock, no change.

use std::path::Path;

use crate::disk::storage::{Directory, LogIo};
use crate::recovery::decide::{Asked, decide};
use crate::recovery::scan::scan;
use crate::recovery::{first_lsn, refusal_error};
use crate::row::Tail;
use crate::{Lsn, Needs, OpenError, Row};

/// What [`verify`] found.
#[non_exhaustive]
#[derive(Debug)]
pub struct Verification {
    /// The row of the recovery table.
    pub row: Row,
    /// Rows for what else was met.
    pub notes: Vec<Row>,
    /// Segment files found.
    pub segments: u64,
    /// What the log holds, or why an open would refuse it: file, offset and LSN of the damage.
    pub outcome: Result<Readable, OpenError>,
}

/// A log that can be opened.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Records that can be replayed.
    pub records: u64,
    /// Oldest of them; [`Lsn::NONE`] if there are none.
    pub first_lsn: Lsn,
    /// Last record the log ever kept; [`Lsn::NONE`] in a new log.
    pub last_lsn: Lsn,
    /// Records up to this, inclusive, are proven durable. The rest is readable and its tail
    /// unverified: a page cache can show what the disk never got. An open writes it again.
    pub proven_lsn: Lsn,
    /// What the end looks like.
    pub tail: Tail,
    /// Bytes that an open would cut off as torn.
    pub torn_bytes: u64,
    /// Frames behind a hole that it would drop.
    pub dropped_frames: u64,
}

/// Says what [`Wal::open`](crate::Wal::open) would make of the log in `dir`: reads and checks every
/// byte of it. Takes no lock and changes nothing.
///
/// Errors: the directory or a file cannot be read; damage is an outcome, not an error. Beside a
/// live writer the end may look torn, and a rotation in progress even damaged: ask again, or close.
pub fn verify(dir: impl AsRef<Path>) -> Result<Verification, OpenError> {
    verify_asked(dir.as_ref(), None)
}

/// [`verify`] against what the owner's checkpoint leaves to the log.
pub fn verify_for(dir: impl AsRef<Path>, needs: Needs) -> Result<Verification, OpenError> {
    verify_asked(dir.as_ref(), Some(needs))
}

fn verify_asked(dir: &Path, needs: Option<Needs>) -> Result<Verification, OpenError> {
    let io = Directory::open(dir).map_err(|e| OpenError::io("list", dir, e))?;
    verify_over(&io, needs)
}

pub(crate) fn verify_over(io: &dyn LogIo, needs: Option<Needs>) -> Result<Verification, OpenError> {
    let scan = scan(io)?;
    let segments = scan.segments.len() as u64;
    let plan = match decide(&scan, &Asked { needs, ..Asked::default() }) {
        Ok(plan) => plan,
        Err(refusal) => {
            return Ok(Verification {
                row: refusal.row,
                notes: Vec::new(),
                segments,
                outcome: Err(refusal_error(io.path(), refusal)),
            });
        }
    };
    let end = plan.start.prev_end_lsn;
    let first = first_lsn(&scan, &plan);
    Ok(Verification {
        row: plan.row,
        notes: plan.notes,
        segments,
        outcome: Ok(Readable {
            records: end - first,
            first_lsn: if end > first { Lsn::new(first) } else { Lsn::NONE },
            last_lsn: Lsn::new(end - 1),
            proven_lsn: Lsn::new(plan.proven - 1),
            tail: plan.tail,
            torn_bytes: plan.torn_bytes,
            dropped_frames: plan.dropped_frames,
        }),
    })
}
