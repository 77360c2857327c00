//! Opening a log: look (`scan`), decide (`decide`, pure), act (here).
//!
//! The idea: torn and corrupt are told apart by *promises*. Each frame carries the durable end
//! known when it was written. P is the highest promise of every header-valid frame, those beyond a
//! hole included, and of every start frame. E is the first LSN that cannot be read. E at or above
//! P is what a crash leaves: cut at E, never skip. E below P means that something durable is gone:
//! refuse, and change nothing. A cut is durable, as the successor's start frame, before open
//! returns; from then on the old segment is read only up to it.

mod anew;
pub(crate) mod decide;
pub(crate) mod scan;

#[cfg(all(test, not(loom)))]
mod decide_tests;
#[cfg(all(test, not(loom)))]
mod golden_tests;
#[cfg(all(test, not(loom)))]
mod recovery_tests;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::disk::names::file_name;
use crate::disk::segment::{self, ActiveSegment, Sealed};
use crate::disk::shortage::is_want_of_space;
use crate::disk::storage::{Access, LogIo, copy_range, write_full};
use crate::error::header_error;
use crate::format::FIRST_FRAME_OFFSET;
use crate::read::reader::Reader;
use crate::read::record::Records;
use crate::read::walk::{Frame, open_segment};
use crate::recovery::anew::write_anew;
use crate::recovery::decide::{Asked, Plan, Refusal, RefusalKind, Successor, decide, is_prepared};
use crate::recovery::scan::{Scan, io_error, scan, scan_showing};
use crate::row::Tail;
use crate::{Lsn, OpenError, Row, SegmentId, WalConfig, mutants, sync::Arc};

/// What `Wal::open` found, and the way to the records.
#[non_exhaustive]
#[derive(Clone)]
pub struct Recovery {
    /// Records that can be replayed.
    pub records: u64,
    /// Oldest of them; [`Lsn::NONE`] if there are none.
    pub first_lsn: Lsn,
    /// Last record the log ever kept (its successor is the next one handed out), replayable or
    /// retired; [`Lsn::NONE`] in a new log.
    pub last_lsn: Lsn,
    /// Records below this were proven durable before the open; all replayable ones are now.
    pub proven_lsn: Lsn,
    /// Bytes beyond the last whole record that were cut off as torn.
    pub torn_bytes: u64,
    /// Frames beyond a hole that were dropped with it.
    pub dropped_frames: u64,
    /// Segment files found.
    pub segments: u64,
    /// The segment that takes the next records; durable, so [`Needs::segment`](crate::Needs) of a later
    /// open can ask for it.
    pub active_segment: SegmentId,
    /// Whether the log had been closed cleanly.
    pub sealed: bool,
    /// What its end looked like.
    pub tail: Tail,
    /// The row of the recovery table that the log's end matched.
    pub row: Row,
    /// Rows for what else was met: retired segments, files put aside, unknown ones.
    pub notes: Vec<Row>,
    /// Names in the directory that are not the log's; they were left alone.
    pub unknown_files: Vec<String>,
    /// Identity of the store the log belongs to.
    pub store_uuid: u128,
    /// How long the open took.
    pub elapsed: Duration,
    /// Whether [`Wal::open_replaying`](crate::Wal::open_replaying) showed these very records. If not,
    /// forget what it showed: [`replay`](Recovery::replay) has them.
    pub replayed: bool,
    io: Arc<dyn LogIo>,
    first_segment: Option<SegmentId>,
}

impl std::fmt::Debug for Recovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recovery")
            .field("records", &self.records)
            .field("first_lsn", &self.first_lsn)
            .field("last_lsn", &self.last_lsn)
            .field("torn_bytes", &self.torn_bytes)
            .field("dropped_frames", &self.dropped_frames)
            .field("segments", &self.segments)
            .field("tail", &self.tail)
            .field("row", &self.row)
            .field("elapsed", &self.elapsed)
            .finish_non_exhaustive()
    }
}

impl Recovery {
    /// Replays the recovered records, oldest first; not what is appended meanwhile. Use
    /// [`Reader::starting_at`] to begin later. Segments retired meanwhile make it end in an error.
    pub fn replay(&self) -> Reader {
        Reader::at(self.io.clone(), self.first_segment, Some(self.last_lsn.get() + 1))
    }
}

pub(crate) fn refusal_error(dir: &Path, refusal: Refusal) -> OpenError {
    let (path, row) = (dir.to_path_buf(), refusal.row);
    match refusal.kind {
        RefusalKind::Corrupt { seq, offset, lsn, found, expected, proven } => OpenError::Corrupt {
            dir: path,
            file: file_name(seq),
            offset,
            lsn: Lsn::new(lsn),
            found: found.into(),
            expected: expected.into(),
            durable_below: Lsn::new(proven),
            row,
        },
        RefusalKind::Missing { seq, found } => {
            OpenError::Missing { dir: path, segment: seq, found: found.into(), row }
        }
        RefusalKind::Version { seq, fault } => header_error(dir, seq, &fault),
        RefusalKind::Foreign { seq, found, expected } => OpenError::Foreign {
            dir: path,
            file: file_name(seq),
            found: found.into(),
            expected: expected.into(),
            row,
        },
    }
}

/// An opened log, before its threads.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) active: ActiveSegment,
    pub(crate) older: Vec<Sealed>,
}

/// Who wants the records while the log is opened.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Records<'_>);

/// What was shown so far: dense from the first on, or broken off.
#[derive(Default)]
pub(crate) struct Shown {
    first: Option<u64>,
    /// The LSN after the last one.
    end: u64,
    broken: bool,
}

impl Shown {
    pub(crate) fn show(&mut self, frame: &Frame, visit: Visit<'_>) {
        let base = frame.header.base_lsn;
        self.broken |= self.first.is_some() && base != self.end;
        if !self.broken {
            self.first.get_or_insert(base);
            self.end = frame.header.end_lsn();
            visit(frame.lent());
        }
    }

    /// Exactly the records from `first` up to `end`?
    pub(crate) fn is(&self, first: u64, end: u64) -> bool {
        !self.broken && self.first.map_or(first == end, |from| (from, self.end) == (first, end))
    }
}

/// Opens the log in `io`, whose lock the caller holds. When it returns, the cut is durable.
pub(crate) fn recover(
    io: Arc<dyn LogIo>,
    config: &WalConfig,
    visit: Option<Visit<'_>>,
) -> Result<Recovered, OpenError> {
    let begun = Instant::now();
    let (visits, mut shown) = (visit.is_some(), Shown::default());
    let scan = match visit {
        Some(visit) => scan_showing(&*io, &mut |frame| shown.show(&frame, visit))?,
        None => scan(&*io)?,
    };
    let asked = Asked {
        store_uuid: config.store_uuid,
        needs: config.needs,
        segment_bytes: Some(config.segment_bytes),
    };
    let plan = decide(&scan, &asked).map_err(|no| refusal_error(io.path(), no))?;
    let known = scan.segments.iter().find_map(|segment| segment.header.as_ref().ok());
    let store_uuid = config
        .store_uuid
        .or(known.map(|header| header.store_uuid))
        .unwrap_or_else(|| fastrand::u128(1..));
    let anew = write_anew(&*io, &plan, &scan, store_uuid, config)
        .map_err(|failed| io_error(&*io, ".", failed))?;
    let active = match anew {
        Some(active) => active,
        None => follow(&*io, &plan, &scan, store_uuid, config)?,
    };
    let older = older(&scan, active.header.seq, active.first_lsn);
    let first = first_lsn(&scan, &plan);
    let records = plan.start.prev_end_lsn.saturating_sub(first);
    let recovery = Recovery {
        records,
        first_lsn: if records > 0 { Lsn::new(first) } else { Lsn::NONE },
        last_lsn: Lsn::new(plan.start.prev_end_lsn - 1),
        proven_lsn: Lsn::new(plan.proven - 1),
        torn_bytes: plan.torn_bytes,
        dropped_frames: plan.dropped_frames,
        segments: scan.segments.iter().filter(|segment| segment.start.is_some()).count() as u64,
        active_segment: plan.seq,
        sealed: plan.tail == Tail::Sealed,
        tail: plan.tail,
        row: plan.row,
        notes: plan.notes,
        unknown_files: scan.unknown_files,
        store_uuid,
        elapsed: begun.elapsed(),
        replayed: visits && shown.is(first, plan.start.prev_end_lsn),
        first_segment: Some(older.first().map_or(active.header.seq, |sealed| sealed.seq)),
        io,
    };
    Ok(Recovered { recovery, active, older })
}

/// The segment that goes on behind the last one, whose records are proven durable first.
fn follow(
    io: &dyn LogIo,
    plan: &Plan,
    scan: &Scan,
    store_uuid: u128,
    config: &WalConfig,
) -> Result<ActiveSegment, OpenError> {
    if let Some((seq, end_offset)) = plan.rewrite {
        prove(io, seq, scan, plan.proven, end_offset)
            .map_err(|failed| io_error(io, &file_name(seq), failed))?;
    }
    if let Some(seq) = plan.quarantine {
        quarantine(io, seq, scan).map_err(|failed| io_error(io, &file_name(seq), failed))?;
    }
    let mut active = begin(io, plan, scan, store_uuid, config);
    for make_room in [give_back_tails, give_up_prepared] {
        if active.as_ref().is_err_and(|(_, e)| is_want_of_space(e))
            && make_room(io, scan, plan).is_ok_and(|freed| freed)
        {
            active = begin(io, plan, scan, store_uuid, config);
        }
    }
    active.map_err(|failed| io_error(io, &file_name(plan.seq), failed))
}

/// Makes the unproven frames durable by writing the same bytes again: after a failed sync of an
/// earlier process the page cache can hold bytes, marked clean, that the disk never got.
fn prove(
    io: &dyn LogIo,
    seq: SegmentId,
    scan: &Scan,
    proven: u64,
    end_offset: u64,
) -> segment::StepResult<()> {
    let file = io.open(&file_name(seq), Access::ReadWrite).map_err(|e| ("open", e))?;
    let found = scan.segments.iter().find(|segment| segment.seq == seq);
    let walk = found.and_then(|segment| segment.walk.as_ref());
    let mut unproven = walk.map(|walk| walk.unpromised.clone()).unwrap_or_default();
    unproven.cover(proven);
    let from = unproven.first_offset().unwrap_or(end_offset);
    if !mutants::on("wal-m19-no-tail-rewrite") {
        copy_range(&*file, &*file, from, end_offset)?;
    }
    file.sync_data().map_err(|e| ("fdatasync", e))
}

/// On a full disk: cuts off what the last segments hold beyond their ends, zeroes written ahead or a
/// torn write, to make room for the first blocks of the one that goes on: it follows the last
/// segment, or takes the place of one without a whole record. The ends stay what they were, so a crash in
/// between changes nothing. Returns whether there was anything.
fn give_back_tails(io: &dyn LogIo, scan: &Scan, plan: &Plan) -> segment::StepResult<bool> {
    let mut freed = false;
    let last = |seq: SegmentId| seq == plan.seq || seq.next() == plan.seq;
    for segment in scan.segments.iter().filter(|segment| last(segment.seq)) {
        let Some(walk) = segment.walk.as_ref().filter(|walk| segment.bytes > walk.end_offset)
        else {
            continue;
        };
        let file = io.open(&file_name(segment.seq), Access::ReadWrite).map_err(|e| ("open", e))?;
        file.set_len(walk.end_offset).map_err(|e| ("truncate", e))?;
        file.sync_data().map_err(|e| ("fdatasync", e))?;
        freed = true;
    }
    Ok(freed)
}

/// On a disk that still is full: gives up the segment prepared behind one that has to be made anew. It
/// holds nothing, and no record goes into the other before the writer has one prepared again. Returns
/// whether there was one.
fn give_up_prepared(io: &dyn LogIo, scan: &Scan, plan: &Plan) -> segment::StepResult<bool> {
    let mut behind = scan.segments.iter().filter(|segment| segment.seq > plan.seq);
    let Some(prepared) = behind.find(|segment| is_prepared(segment)) else { return Ok(false) };
    io.unlink(&file_name(prepared.seq)).map_err(|e| ("unlink", e))?;
    io.sync_dir().map_err(|e| ("fsync of the directory", e))?;
    Ok(true)
}

/// Moves an unusable file out of the successor's way, keeping it for whoever wants to look.
fn quarantine(io: &dyn LogIo, seq: SegmentId, scan: &Scan) -> segment::StepResult<()> {
    let name = file_name(seq);
    let taken = |to: &String| scan.unknown_files.contains(to);
    let mut aside = (1..).map(|n| format!("{name}.unused-{n}"));
    if let Some(to) = aside.find(|to| !taken(to)) {
        io.rename(&name, &to).map_err(|e| ("rename", e))?;
    }
    io.sync_dir().map_err(|e| ("fsync of the directory", e))
}

/// The segment that takes the next records, its start frame durable.
fn begin(
    io: &dyn LogIo,
    plan: &Plan,
    scan: &Scan,
    store_uuid: u128,
    config: &WalConfig,
) -> segment::StepResult<ActiveSegment> {
    #[cfg(mutants)]
    if mutants::on("wal-m16-append-recovered")
        && let Some(last) = scan.segments.iter().find(|segment| segment.seq.next() == plan.seq)
        && let (Ok(header), Some(start), Some(walk)) = (&last.header, last.start, &last.walk)
    {
        let file = open_segment(io, last.seq, Access::ReadWrite)?.file;
        let at = (walk.end_offset, walk.chain, walk.promise);
        return Ok(ActiveSegment::resumed(file, *header, &start, at));
    }
    if mutants::on("wal-m15-cut-not-durable") {
        let header =
            segment::new_header(plan.seq, store_uuid, config.segment_bytes, config.max_ahead_bytes);
        let file = io.create(&file_name(plan.seq)).map_err(|e| ("create", e))?;
        let mut active = ActiveSegment::fresh(file.clone(), header, &plan.start);
        let block = crate::format::encode_segment_header(&header);
        write_full(&*file, &block, 0).map_err(|e| ("write", e))?;
        return active.flush().map(|()| active).map_err(|e| ("write", e));
    }
    if plan.successor == Successor::Make {
        let (bytes, ahead) = (config.segment_bytes, config.max_ahead_bytes);
        let header = segment::new_header(plan.seq, store_uuid, bytes, ahead);
        let file = segment::prepare(io, &header, Some(&plan.start))?;
        return Ok(ActiveSegment::started(file, header, &plan.start, FIRST_FRAME_OFFSET));
    }
    let found = scan.segments.iter().find(|segment| segment.seq == plan.seq);
    let Some(header) = found.and_then(|segment| segment.header.clone().ok()) else {
        return Err(("read", std::io::ErrorKind::InvalidData.into()));
    };
    let opened = open_segment(io, plan.seq, Access::ReadWrite)?;
    segment::write_start(&*opened.file, &header, &plan.start)?;
    io.sync_dir().map_err(|e| ("fsync of the directory", e))?;
    let bytes = opened.bytes.max(FIRST_FRAME_OFFSET);
    Ok(ActiveSegment::started(opened.file, header, &plan.start, bytes))
}

/// First record that the plan keeps; its end if it keeps none.
pub(crate) fn first_lsn(scan: &Scan, plan: &Plan) -> u64 {
    let started = scan.segments.iter().filter(|segment| segment.seq < plan.seq);
    let first = started.filter_map(|segment| segment.start).map(|start| start.prev_end_lsn).next();
    first.unwrap_or(plan.start.prev_end_lsn)
}

/// The segments before the active one.
fn older(scan: &Scan, active: SegmentId, end: u64) -> Vec<Sealed> {
    let started: Vec<_> = scan
        .segments
        .iter()
        .filter(|segment| segment.seq < active)
        .filter_map(|segment| Some((segment, segment.start?)))
        .collect();
    let ends = started.iter().skip(1).map(|(_, start)| start.prev_end_lsn).chain([end]);
    started
        .iter()
        .zip(ends)
        .map(|((segment, start), end_lsn)| Sealed {
            seq: segment.seq,
            first_lsn: start.prev_end_lsn,
            end_lsn,
            bytes: segment.bytes,
        })
        .collect()
}
