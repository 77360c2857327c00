//! What stands in a log's directory, as plain figures: for an operator who wants to look. Takes no
//! lock, changes nothing, judges nothing ([`verify`](crate::verify) does).

use std::path::{Path, PathBuf};

use crate::disk::names::file_name;
use crate::disk::storage::{Directory, LogIo};
use crate::format::describe_header;
use crate::recovery::scan::{SegmentScan, scan};
use crate::{Lsn, OpenError, SegmentId};

/// A log's directory, file by file.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The directory.
    pub dir: PathBuf,
    /// Files with a segment's name, by number.
    pub segments: Vec<SegmentInspection>,
    /// Half-made and spare files, which are never read as segments.
    pub spare_files: Vec<String>,
    /// Files that an open has put aside.
    pub unused_files: Vec<String>,
    /// Files that are not the log's.
    pub unknown_files: Vec<String>,
}

/// One file with a segment's name.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct SegmentInspection {
    /// Its number.
    pub segment: SegmentId,
    /// Its name.
    pub file: String,
    /// Its length.
    pub file_bytes: u64,
    /// What its header says, or what is wrong with it.
    pub header: Result<HeaderInspection, String>,
    /// What can be followed from its start frame on; `None` if that is not whole: prepared, or
    /// damaged.
    pub contents: Option<ContentsInspection>,
    /// Frames of this segment that cannot be reached: behind a hole, or without a start frame.
    pub unreachable_frames: u64,
    /// Highest exclusive durable end that those promise; 0 without one.
    pub unreachable_durable_end: u64,
}

/// A segment's header block.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInspection {
    /// Identity of the store.
    pub store_uuid: u128,
    /// The number that the header carries.
    pub segment: SegmentId,
    /// The salt of its frames.
    pub salt: u64,
    /// Size of the segment; what lies beyond does not count.
    pub segment_bytes: u64,
    /// How far its writer ran ahead of a finished sync, at most.
    pub max_ahead_bytes: u64,
}

/// The frames of a segment that follow one another without a fault.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentsInspection {
    /// The segment before; 0 for the first.
    pub previous: SegmentId,
    /// First record, or the next to come.
    pub first_lsn: Lsn,
    /// Last record; below `first_lsn` if there is none.
    pub last_lsn: Lsn,
    /// Records.
    pub records: u64,
    /// Frames, the start frame and those without records included.
    pub frames: u64,
    /// Highest durable record that these frames promise, inclusive.
    pub promised_lsn: Lsn,
    /// Where the first frame that does not follow would stand.
    pub end_offset: u64,
    /// What stands there.
    pub end: String,
    /// A seal is the last frame.
    pub sealed: bool,
    /// The segment that a rotate frame names.
    pub rotates_to: Option<SegmentId>,
}

/// Looks at the log in `dir`. Errors: the directory or a file cannot be read. Reads every segment.
pub fn inspect(dir: impl AsRef<Path>) -> Result<Inspection, OpenError> {
    let dir = dir.as_ref();
    let io = Directory::open(dir).map_err(|e| OpenError::io("list", dir, e))?;
    inspect_over(&io)
}

pub(crate) fn inspect_over(io: &dyn LogIo) -> Result<Inspection, OpenError> {
    let scan = scan(io)?;
    let listed = io.list().map_err(|e| OpenError::io("list", io.path(), e))?;
    let mut spare_files: Vec<_> =
        listed.into_iter().map(|entry| entry.name).filter(|n| n.ends_with(".seg.tmp")).collect();
    spare_files.sort_unstable();
    let unused = |name: &String| name.contains(".seg.unused-");
    let (unused_files, unknown_files) = scan.unknown_files.iter().cloned().partition(unused);
    Ok(Inspection {
        dir: io.path().to_path_buf(),
        segments: scan.segments.iter().map(segment).collect(),
        spare_files,
        unused_files,
        unknown_files,
    })
}

fn segment(found: &SegmentScan) -> SegmentInspection {
    let header = match &found.header {
        _ if !found.regular => Err("not a regular file".into()),
        Err(fault) => Err(describe_header(fault)),
        Ok(header) => Ok(HeaderInspection {
            store_uuid: header.store_uuid,
            segment: header.seq,
            salt: header.salt,
            segment_bytes: header.segment_bytes,
            max_ahead_bytes: header.max_ahead_bytes,
        }),
    };
    let walked = found.walk.as_ref().zip(found.start);
    let islands = walked.map_or(&found.islands, |(walk, _)| &walk.islands);
    SegmentInspection {
        segment: found.seq,
        file: file_name(found.seq),
        file_bytes: found.bytes,
        header,
        contents: walked.map(|(walk, start)| ContentsInspection {
            previous: start.prev_seq,
            first_lsn: Lsn::new(start.prev_end_lsn),
            last_lsn: Lsn::new(walk.end_lsn - 1),
            records: walk.end_lsn - start.prev_end_lsn,
            frames: walk.frames,
            promised_lsn: Lsn::new(walk.promise - 1),
            end_offset: walk.end_offset,
            end: walk.stop.describe(),
            sealed: walk.sealed,
            rotates_to: walk.rotate_to,
        }),
        unreachable_frames: islands.frames,
        unreachable_durable_end: islands.promise,
    }
}
