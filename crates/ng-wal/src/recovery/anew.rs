//! Opening a log that is near its limit: a small last segment is written anew, packed, in place of a
//! successor behind it. So a log that is killed and opened again and again takes as much room as its
//! records, not some blocks for each time, and there is always room to open it.
//!
//! The new file has the old one's number, start and records, and gets its name when all of it is on
//! stable storage: at each moment one of the two is there, whole. What stood behind the last record is
//! gone with the old file, and the new salt rejects it, so the cut is durable.

use std::io;

use crate::disk::names::{file_name, temporary_name};
use crate::disk::segment::{self, ActiveSegment, SYNC_OF_NAMES, StepResult};
use crate::disk::storage::{Access, LogIo, write_full};
use crate::format::{self, BLOCK_BYTES, FIRST_FRAME_OFFSET};
use crate::read::walk::{Walk, open_segment};
use crate::recovery::decide::{Plan, is_prepared};
use crate::recovery::scan::{Scan, SegmentScan};
use crate::{WalConfig, mutants};

/// A last segment with more than this gets a successor: to copy it at each open would take longer than
/// the blocks are worth.
const ANEW_BYTES_MAX: u64 = 64 << 10;

/// The last segment, written anew; `None` if that is not called for, or the disk does not take it. Then
/// nothing has changed.
pub(crate) fn write_anew(
    io: &dyn LogIo,
    plan: &Plan,
    scan: &Scan,
    store_uuid: u128,
    config: &WalConfig,
) -> StepResult<Option<ActiveSegment>> {
    let Some(last) = small_last(plan, scan) else { return Ok(None) };
    if !is_scarce(scan, config) || mutants::on("wal-open-wears-the-log") {
        return Ok(None);
    }
    if let Some(active) = as_it_was_made(io, last)? {
        return Ok(Some(active));
    }
    let temporary = temporary_name(last.seq);
    // What is refused here may still go the ordinary way.
    let named = match copy(io, &temporary, plan, last, store_uuid, config) {
        Ok(Some(active)) => io.rename(&temporary, &file_name(last.seq)).is_ok().then_some(active),
        Ok(None) | Err(_) => None,
    };
    if named.is_none() {
        let _ = io.unlink(&temporary); // only gives space back
        return Ok(None);
    }
    io.sync_dir().map_err(|e| (SYNC_OF_NAMES, e))?;
    Ok(named)
}

/// The last segment, if it has records, few of them, and nothing was begun behind it.
fn small_last<'a>(plan: &Plan, scan: &'a Scan) -> Option<&'a SegmentScan> {
    let (seq, end_offset) = plan.rewrite?;
    let at = scan.segments.iter().position(|segment| segment.seq == seq)?;
    let (last, behind) = (&scan.segments[at], &scan.segments[at + 1..]);
    let rotated = last.walk.as_ref()?.rotate_to.is_some();
    let small = end_offset - FIRST_FRAME_OFFSET <= ANEW_BYTES_MAX;
    (small && !rotated && behind.iter().all(is_prepared)).then_some(last)
}

/// Less than two segments' room for ordinary records: what an open would take away is theirs.
fn is_scarce(scan: &Scan, config: &WalConfig) -> bool {
    let used: u64 = scan.segments.iter().map(|segment| segment.bytes).sum();
    let kept = config.reserved_bytes + config.slack_bytes() + 2 * config.segment_bytes;
    used.saturating_add(kept) > config.log_bytes_max
}

/// The segment as an open before this one left it, if nothing was written into it since: it goes on in
/// it, so that opening again and again changes nothing. No other ends with a block that promises all
/// its records, for a sync point promises what the one before made durable.
fn as_it_was_made(io: &dyn LogIo, last: &SegmentScan) -> StepResult<Option<ActiveSegment>> {
    let (Some(walk), Some(start), Ok(header)) = (&last.walk, last.start, &last.header) else {
        return Ok(None);
    };
    let promises_all = walk.promise == walk.end_lsn && walk.end_offset.is_multiple_of(BLOCK_BYTES);
    let islands = &walk.islands;
    let ends_there = islands.frames == 0 && !islands.salted && islands.dirty_end <= walk.end_offset;
    if walk.sealed || !promises_all || !ends_there {
        return Ok(None);
    }
    let file = open_segment(io, last.seq, Access::ReadWrite)?.file;
    // Its name may have been on its way to the disk when that open was interrupted.
    io.sync_dir().map_err(|e| (SYNC_OF_NAMES, e))?;
    let at = (walk.end_offset, walk.chain, walk.promise);
    Ok(Some(ActiveSegment::resumed(file, *header, &start, at)))
}

/// Everything that the plan keeps of `last` in a new file, on stable storage; `None` if it takes more
/// than half of one.
fn copy(
    io: &dyn LogIo,
    temporary: &str,
    plan: &Plan,
    last: &SegmentScan,
    store_uuid: u128,
    config: &WalConfig,
) -> StepResult<Option<ActiveSegment>> {
    let (Some((seq, end_offset)), Some(start)) = (plan.rewrite, last.start) else {
        return Ok(None);
    };
    let old = open_segment(io, seq, Access::Read)?;
    let damaged = || ("read", io::Error::from(io::ErrorKind::InvalidData));
    let old_header = old.header.map_err(|_| damaged())?;
    let (bytes, ahead) = (config.segment_bytes, config.max_ahead_bytes);
    let header = segment::new_header(seq, store_uuid, bytes, ahead);
    let file = io.create(temporary).map_err(|e| ("create", e))?;
    let mut active = ActiveSegment::fresh(file.clone(), header, &start);
    let end = plan.start.prev_end_lsn;
    let mut walk = Walk::new(old.file, old.bytes, old_header, &start, None);
    while walk.pos < end_offset {
        let frame = walk.next().map_err(|e| ("read", e))?.map_err(|_| damaged())?;
        if frame.header.count == 0 {
            continue;
        }
        // A frame's records stay together: they may be a batch.
        let bytes = frame.header.payload_bytes as usize;
        if !active.fits_frame(bytes) {
            active.end_frame(start.prev_end_lsn);
            if !active.fits_segment(bytes) {
                return Ok(None);
            }
            active.begin_frame(frame.header.base_lsn);
        }
        for (_, record) in frame.records() {
            active.push(record.kind, &record.payload);
        }
    }
    active.end_frame(start.prev_end_lsn);
    // Durable before the file has its name, so its last frame may promise that.
    active.pad(end, end);
    if active.end() > bytes / 2 {
        return Ok(None);
    }
    write_full(&*file, &format::encode_segment_header(&header), 0).map_err(|e| ("write", e))?;
    active.flush().map_err(|e| ("write", e))?;
    if !mutants::on("wal-anew-unsynced") {
        file.sync_data().map_err(|e| ("fdatasync", e))?;
    }
    Ok(Some(active))
}
