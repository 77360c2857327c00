//! Opening a log: look (`scan`), decide (`decide`, pure), act (`recover`).
//!
//! The idea: torn and corrupt are told apart by *promises*. Each frame carries the durable end
//! known when it was written. P is the highest promise of every header-valid frame, those beyond a
//! hole included, and of every start frame. E is the first LSN that cannot be read. E at or above
//! P is what a crash leaves: cut at E, never skip. E below P means that something durable is gone:
//! refuse, and change nothing. A cut is durable, as the successor's start frame, before open
//! returns; from then on the old segment is read only up to it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::format::{FIRST_FRAME_OFFSET, HeaderFault, START_OFFSET, SegmentHeader, Start};
use crate::format::{FRAME_ALIGN_BYTES, MIN_READER_VERSION, VERSION, has_salt};
use crate::reader::{Islands, Reader, Stop, Walk, open_segment};
use crate::segment::{self, ActiveSegment, file_name, parse_file_name};
use crate::storage::{Access, LogFile, LogIo, read_full, write_full};
use crate::{Lsn, OpenError, SegmentId, WalConfig, sync::Arc};

/// What the end of the log looked like.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// There was no log.
    #[default]
    New,
    /// Closed cleanly.
    Sealed,
    /// The file ends after the last frame.
    End,
    /// Zeroes after the last frame.
    Zero,
    /// What the file held before it was used for this segment.
    Recycled,
    /// A write that a crash cut short, or frames that reached the disk out of order.
    Torn,
}

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
    /// Whether the log had been closed cleanly.
    pub sealed: bool,
    /// What its end looked like.
    pub tail: Tail,
    /// Names in the directory that are not the log's; they were left alone.
    pub unknown_files: Vec<String>,
    /// Identity of the store the log belongs to.
    pub store_uuid: u128,
    /// How long the open took.
    pub elapsed: Duration,
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

/// One file with a segment's name, as found.
#[derive(Clone, Debug)]
pub(crate) struct SegmentScan {
    pub(crate) seq: SegmentId,
    pub(crate) regular: bool,
    pub(crate) bytes: u64,
    pub(crate) header: Result<SegmentHeader, HeaderFault>,
    pub(crate) start: Option<Start>,
    pub(crate) start_without_header: bool,
    /// Without a start frame, and never used.
    pub(crate) blank: bool,
    pub(crate) walk: Option<WalkScan>,
}

/// How far a segment's frames can be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalkScan {
    pub(crate) end_lsn: u64,
    pub(crate) end_offset: u64,
    pub(crate) chain: u64,
    pub(crate) promise: u64,
    pub(crate) stop: Stop,
    pub(crate) sealed: bool,
    pub(crate) rotate_to: Option<SegmentId>,
    pub(crate) islands: Islands,
}

/// Everything that `decide` needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// By number, ascending.
    pub(crate) segments: Vec<SegmentScan>,
    pub(crate) unknown_files: Vec<String>,
}

/// What to do with the file that takes the next records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    /// Make it (replacing a file of that name that never held a record).
    Make,
    /// A prepared one waits: write its start frame.
    Adopt,
    /// The last segment holds no record and is as it was made: go on in it.
    Keep,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) tail: Tail,
    pub(crate) successor: Successor,
    pub(crate) seq: SegmentId,
    pub(crate) start: Start,
    /// Durable end before the open.
    pub(crate) proven: u64,
    /// Segment whose records from `proven` on must be written again, and the end offset.
    pub(crate) rewrite: Option<(SegmentId, u64)>,
    pub(crate) torn_bytes: u64,
    pub(crate) dropped_frames: u64,
    /// A file that is in the way of the successor and unusable: moved aside, not deleted.
    pub(crate) quarantine: Option<SegmentId>,
}

/// Why the log cannot be opened; the directory's name is added by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Corrupt { seq: SegmentId, offset: u64, lsn: u64, found: String, expected: String, proven: u64 },
    Missing { seq: SegmentId, found: String },
    Header { seq: SegmentId, fault: HeaderFault },
    Foreign { seq: SegmentId, found: String, expected: String },
}

fn corrupt(
    seq: SegmentId,
    offset: u64,
    lsn: u64,
    proven: u64,
    found: String,
    expected: &str,
) -> Refusal {
    Refusal::Corrupt { seq, offset, lsn, proven, found, expected: expected.into() }
}

/// The decision table. Pure: the same scan gives the same plan.
pub(crate) fn decide(scan: &Scan, store_uuid: Option<u128>) -> Result<Plan, Refusal> {
    if scan.segments.is_empty() {
        let start = Start { prev_seq: SegmentId::default(), prev_end_lsn: 1, prev_chain: 0 };
        return Ok(Plan {
            tail: Tail::New,
            successor: Successor::Make,
            seq: SegmentId::new(1),
            start,
            proven: 1,
            rewrite: None,
            torn_bytes: 0,
            dropped_frames: 0,
            quarantine: None,
        });
    }
    check_identity(scan, store_uuid)?;
    check_numbers(scan)?;
    let (last, spare) = split_spare(scan)?;
    let (older, last) = (&scan.segments[..last], &scan.segments[last]);
    let proven = proven_end(scan);
    for (i, segment) in older.iter().enumerate() {
        check_complete(segment, &scan.segments[i + 1], proven)?;
    }
    let Some((walk, start)) = last.walk.as_ref().zip(last.start) else {
        return Err(unstarted(last, proven));
    };
    check_tail(last, walk, proven)?;
    if let Some(next) = walk.rotate_to {
        check_rotated(next, spare, last.seq, walk)?;
    }
    Ok(plan(last, walk, start, spare, proven))
}

/// Rows 24, 27, 29, 32 to 34: whose files are these?
fn check_identity(scan: &Scan, store_uuid: Option<u128>) -> Result<(), Refusal> {
    let mut expected = store_uuid;
    for segment in &scan.segments {
        let seq = segment.seq;
        if !segment.regular {
            let (found, expected) = ("not a regular file".into(), "a segment file".into());
            return Err(Refusal::Foreign { seq, found, expected });
        }
        match &segment.header {
            Ok(header) => {
                let expected = *expected.get_or_insert(header.store_uuid);
                if header.store_uuid != expected {
                    return Err(Refusal::Foreign {
                        seq,
                        found: format!("a segment of store {:032x}", header.store_uuid),
                        expected: format!("store {expected:032x}"),
                    });
                }
                if header.seq != seq {
                    let found = format!("header says segment {}", header.seq);
                    return Err(corrupt(seq, 0, 0, 0, found, "the number in the file's name"));
                }
            }
            Err(HeaderFault::Magic { .. } | HeaderFault::Swapped | HeaderFault::Version { .. }) => {
                let fault = segment.header.clone().unwrap_err();
                return Err(Refusal::Header { seq, fault });
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// Row 13: no hole in the numbers.
fn check_numbers(scan: &Scan) -> Result<(), Refusal> {
    for pair in scan.segments.windows(2) {
        if pair[1].seq != pair[0].seq.next() {
            let end = pair[0].walk.as_ref().map_or(0, |walk| walk.end_lsn);
            let begin = pair[1].start.map_or(0, |start| start.prev_end_lsn);
            return Err(Refusal::Missing {
                seq: pair[0].seq.next(),
                found: format!(
                    "segment {} ends before LSN {end}, segment {} begins at LSN {begin}",
                    pair[0].seq, pair[1].seq
                ),
            });
        }
    }
    Ok(())
}

/// Index of the last started segment, and the one prepared after it, if any (rows 20, 25, 26).
fn split_spare(scan: &Scan) -> Result<(usize, Option<&SegmentScan>), Refusal> {
    let started = scan.segments.iter().rposition(|segment| segment.start.is_some());
    let proven = proven_end(scan);
    let Some(last) = started else { return Err(unstarted(&scan.segments[0], proven)) };
    if let Some(bad) = scan.segments[..last].iter().find(|segment| segment.start.is_none()) {
        return Err(unstarted(bad, proven));
    }
    let rest = &scan.segments[last + 1..];
    match rest {
        [] => Ok((last, None)),
        [spare] if !spare.start_without_header => Ok((last, Some(spare))),
        [bad, ..] => Err(unstarted(bad, proven)),
    }
}

/// A segment that must have been started and cannot be read as such.
fn unstarted(segment: &SegmentScan, proven: u64) -> Refusal {
    let (offset, found) = match &segment.header {
        Ok(_) => (START_OFFSET, "no start frame".to_string()),
        Err(fault) => (0, describe_header(fault)),
    };
    corrupt(segment.seq, offset, 0, proven, found, "a segment in use")
}

fn describe_header(fault: &HeaderFault) -> String {
    match fault {
        HeaderFault::Short { bytes } => format!("a file of {bytes} bytes, shorter than a header"),
        HeaderFault::Checksum { stored, computed } => {
            format!("segment header checksum {stored:#010x}, computed {computed:#010x}")
        }
        HeaderFault::Zero => "zeroes instead of a segment header".into(),
        HeaderFault::Magic { found } => format!("magic {found:#018x}, not an ng-wal segment"),
        HeaderFault::Swapped => "a header written with big-endian layout".into(),
        HeaderFault::Version { min_reader_version, version } => {
            format!("format {version}, which needs a reader of format {min_reader_version}")
        }
    }
}

/// P: highest promise anywhere. Islands behind a cut that is already durable promise nothing new.
fn proven_end(scan: &Scan) -> u64 {
    let walks = scan.segments.iter().filter_map(|segment| segment.walk.as_ref());
    let promises = walks.map(|walk| walk.promise.max(walk.islands.promise));
    let starts = scan.segments.iter().filter_map(|segment| segment.start);
    promises.chain(starts.map(|start| start.prev_end_lsn)).max().unwrap_or(1)
}

/// Rows 10, 18, 22: a segment with a started successor can be read up to where that begins.
fn check_complete(segment: &SegmentScan, next: &SegmentScan, proven: u64) -> Result<(), Refusal> {
    let Some((walk, start)) = segment.walk.as_ref().zip(next.start) else {
        return Err(unstarted(segment, proven));
    };
    if walk.stop == Stop::Goal && start.prev_seq == segment.seq {
        return Ok(());
    }
    let expected = format!("LSN {} to follow in segment {}", start.prev_end_lsn, next.seq);
    let found = walk.stop.describe();
    Err(corrupt(segment.seq, walk.end_offset, walk.end_lsn, proven, found, &expected))
}

/// Rows 3 to 12, 17, 23: the torn rule.
fn check_tail(last: &SegmentScan, walk: &WalkScan, proven: u64) -> Result<(), Refusal> {
    if walk.end_lsn < proven {
        let expected = if walk.islands.promise == proven {
            let at = walk.islands.promise_offset;
            format!("records: a frame at offset {at} attests LSN {} durable", proven - 1)
        } else {
            format!("records up to LSN {}, attested durable", proven - 1)
        };
        let found = walk.stop.describe();
        return Err(corrupt(last.seq, walk.end_offset, walk.end_lsn, proven, found, &expected));
    }
    let ahead = last.header.as_ref().map_or(0, |header| header.max_ahead_bytes);
    let farthest = walk.end_offset.saturating_add(ahead.saturating_mul(2));
    if walk.islands.frames > 0 && walk.islands.last_offset > farthest {
        let found = format!(
            "{}, and a frame at offset {}: damage larger than one crash can cause",
            walk.stop.describe(),
            walk.islands.last_offset
        );
        let expected = format!("frames up to offset {farthest} at most");
        return Err(corrupt(last.seq, walk.end_offset, walk.end_lsn, proven, found, &expected));
    }
    Ok(())
}

/// Rows 14 and 21: what a rotate frame names was durable before the frame was written.
fn check_rotated(
    next: SegmentId,
    spare: Option<&SegmentScan>,
    last: SegmentId,
    walk: &WalkScan,
) -> Result<(), Refusal> {
    match spare {
        None => Err(Refusal::Missing {
            seq: next,
            found: format!("segment {last} ends before LSN {} and names it", walk.end_lsn),
        }),
        Some(spare) => match &spare.header {
            Ok(_) => Ok(()),
            Err(_) => Err(unstarted(spare, walk.end_lsn)),
        },
    }
}

/// The log can be opened: where to cut, and where to go on (rows 3, 4, 6 to 8, 20, 25, 38).
fn plan(
    last: &SegmentScan,
    walk: &WalkScan,
    start: Start,
    spare: Option<&SegmentScan>,
    proven: u64,
) -> Plan {
    let dirty = walk.islands.dirty_end > walk.end_offset;
    let tail = match &walk.stop {
        _ if walk.sealed => Tail::Sealed,
        Stop::Zero if !dirty => Tail::Zero,
        Stop::FileEnd | Stop::Goal => Tail::End,
        Stop::Stale if walk.islands.frames == 0 => Tail::Recycled,
        _ => Tail::Torn,
    };
    let torn = tail == Tail::Torn;
    let empty = walk.end_lsn == start.prev_end_lsn;
    let untouched =
        !walk.sealed && !dirty && walk.end_offset == FIRST_FRAME_OFFSET && walk.rotate_to.is_none();
    let usable = spare.is_some_and(|spare| spare.header.is_ok() && spare.blank);
    let successor = match (empty, untouched, usable) {
        (true, true, _) => Successor::Keep,
        (true, false, _) => Successor::Make,
        (false, _, true) => Successor::Adopt,
        (false, _, false) => Successor::Make,
    };
    let after = Start { prev_seq: last.seq, prev_end_lsn: walk.end_lsn, prev_chain: walk.chain };
    Plan {
        tail,
        successor,
        seq: if empty { last.seq } else { last.seq.next() },
        start: if empty { start } else { after },
        proven: proven.min(walk.end_lsn),
        rewrite: (proven < walk.end_lsn).then_some((last.seq, walk.end_offset)),
        torn_bytes: if torn { walk.islands.dirty_end.saturating_sub(walk.end_offset) } else { 0 },
        dropped_frames: if torn { walk.islands.frames } else { 0 },
        quarantine: spare.filter(|_| !usable).map(|spare| spare.seq),
    }
}

pub(crate) fn header_error(dir: &Path, file: &str, fault: &HeaderFault) -> OpenError {
    let (dir, file, found) = (dir.to_path_buf(), file.to_owned(), describe_header(fault).into());
    match fault {
        HeaderFault::Swapped | HeaderFault::Version { .. } => OpenError::Version {
            dir,
            file,
            found,
            readable: format!("format {MIN_READER_VERSION} to {VERSION}, little-endian").into(),
        },
        HeaderFault::Magic { .. } => {
            OpenError::Foreign { dir, file, found, expected: "a segment of this log".into() }
        }
        _ => OpenError::Corrupt {
            dir,
            file,
            offset: 0,
            lsn: Lsn::NONE,
            found,
            expected: "a segment header".into(),
            durable_below: Lsn::NONE,
        },
    }
}

fn refusal_error(dir: &Path, refusal: Refusal) -> OpenError {
    let path = dir.to_path_buf();
    match refusal {
        Refusal::Corrupt { seq, offset, lsn, found, expected, proven } => OpenError::Corrupt {
            dir: path,
            file: file_name(seq),
            offset,
            lsn: Lsn::new(lsn),
            found: found.into(),
            expected: expected.into(),
            durable_below: Lsn::new(proven),
        },
        Refusal::Missing { seq, found } => {
            OpenError::Missing { dir: path, segment: seq, found: found.into() }
        }
        Refusal::Header { seq, fault } => header_error(dir, &file_name(seq), &fault),
        Refusal::Foreign { seq, found, expected } => OpenError::Foreign {
            dir: path,
            file: file_name(seq),
            found: found.into(),
            expected: expected.into(),
        },
    }
}

/// Names a failed step and its file.
fn io_error(
    io: &dyn LogIo,
    name: &str,
    (step, source): (&'static str, std::io::Error),
) -> OpenError {
    OpenError::io(step, &io.path().join(name), source)
}

/// Reads the directory. Changes nothing.
pub(crate) fn scan(io: &dyn LogIo) -> Result<Scan, OpenError> {
    let mut scan = Scan::default();
    let mut found = Vec::new();
    for entry in io.list().map_err(|e| OpenError::io("list", io.path(), e))? {
        match parse_file_name(&entry.name) {
            Some(seq) => found.push((seq, entry.regular)),
            None if entry.name == "LOCK" || entry.name.ends_with(".seg.tmp") => {}
            None => scan.unknown_files.push(entry.name),
        }
    }
    found.sort_unstable();
    scan.unknown_files.sort_unstable();
    let mut files = Vec::new();
    for (seq, regular) in found {
        let (segment, file) = look(io, seq, regular)?;
        scan.segments.push(segment);
        files.push(file);
    }
    for (i, file) in files.iter().enumerate() {
        let Some(file) = file else { continue };
        let seq = scan.segments[i].seq;
        let next = scan.segments.get(i + 1).filter(|next| next.seq == seq.next());
        let goal = next.and_then(|next| next.start);
        follow(file, &mut scan.segments[i], goal.as_ref())
            .map_err(|e| io_error(io, &file_name(seq), ("read", e)))?;
    }
    Ok(scan)
}

/// Header and start frame of one segment file.
fn look(
    io: &dyn LogIo,
    seq: SegmentId,
    regular: bool,
) -> Result<(SegmentScan, Option<Arc<dyn LogFile>>), OpenError> {
    let mut segment = SegmentScan {
        seq,
        regular,
        bytes: 0,
        header: Err(HeaderFault::Zero),
        start: None,
        start_without_header: false,
        blank: false,
        walk: None,
    };
    if !regular {
        return Ok((segment, None)); // a pipe with this name would hold us up for ever
    }
    let opened = open_segment(io, seq, Access::Read)
        .map_err(|failed| io_error(io, &file_name(seq), failed))?;
    segment.bytes = opened.bytes;
    segment.header = opened.header;
    segment.start = opened.start;
    segment.start_without_header = opened.start_without_header;
    Ok((segment, Some(opened.file)))
}

/// Walks the segment's frames and looks beyond their end.
fn follow(
    file: &Arc<dyn LogFile>,
    segment: &mut SegmentScan,
    goal: Option<&Start>,
) -> std::io::Result<()> {
    let Ok(header) = segment.header else { return Ok(()) };
    let Some(start) = segment.start else {
        segment.blank = is_blank(&**file, header.salt, segment.bytes)?;
        return Ok(());
    };
    let mut walk = Walk::new(file.clone(), segment.bytes, header, &start, goal);
    let stop = loop {
        if let Err(stop) = walk.next()? {
            break stop;
        }
    };
    let islands = if stop == Stop::Goal { Islands::default() } else { walk.islands()? };
    segment.walk = Some(WalkScan {
        end_lsn: walk.lsn,
        end_offset: walk.pos,
        chain: walk.chain,
        promise: walk.promise,
        sealed: walk.sealed,
        rotate_to: walk.rotate_to,
        stop,
        islands,
    });
    Ok(())
}

/// Whether a prepared segment was never used: its start block is zero, and nothing after that is of
/// this salt. What a file that served before held is not.
fn is_blank(file: &dyn LogFile, salt: u64, to: u64) -> std::io::Result<bool> {
    let mut buf = vec![0; 64 << 10];
    let mut at = START_OFFSET;
    while at < to {
        let want = (to - at).min(buf.len() as u64) as usize;
        let read = read_full(file, &mut buf[..want], at)?;
        for (i, unit) in buf[..read].chunks(FRAME_ALIGN_BYTES as usize).enumerate() {
            let in_start_block = at + i as u64 * FRAME_ALIGN_BYTES < FIRST_FRAME_OFFSET;
            if in_start_block && unit.iter().any(|byte| *byte != 0) || has_salt(unit, salt) {
                return Ok(false);
            }
        }
        if read < want {
            break;
        }
        at += read as u64;
    }
    Ok(true)
}

/// A segment that is complete; kept until it is retired.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) seq: SegmentId,
    pub(crate) first_lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) bytes: u64,
}

/// An opened log, before its threads.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) active: ActiveSegment,
    pub(crate) older: Vec<Sealed>,
}

/// Opens the log in `io`, whose lock the caller holds. When it returns, the cut is durable.
pub(crate) fn recover(io: Arc<dyn LogIo>, config: &WalConfig) -> Result<Recovered, OpenError> {
    let begun = Instant::now();
    let scan = scan(&*io)?;
    let plan = decide(&scan, config.store_uuid).map_err(|no| refusal_error(io.path(), no))?;
    if let Some((seq, end_offset)) = plan.rewrite {
        prove(&*io, seq, &scan, plan.proven, end_offset)
            .map_err(|failed| io_error(&*io, &file_name(seq), failed))?;
    }
    if let Some(seq) = plan.quarantine {
        quarantine(&*io, seq, &scan).map_err(|failed| io_error(&*io, &file_name(seq), failed))?;
    }
    let known = scan.segments.iter().find_map(|segment| segment.header.as_ref().ok());
    let store_uuid = config
        .store_uuid
        .or(known.map(|header| header.store_uuid))
        .unwrap_or_else(|| fastrand::u128(1..));
    let active = begin(&*io, &plan, &scan, store_uuid, config)
        .map_err(|failed| io_error(&*io, &file_name(plan.seq), failed))?;
    let older = older(&scan, plan.seq, plan.start.prev_end_lsn);
    let first = older.first().map_or(plan.start.prev_end_lsn, |sealed| sealed.first_lsn);
    let records = plan.start.prev_end_lsn - first;
    let recovery = Recovery {
        records,
        first_lsn: if records > 0 { Lsn::new(first) } else { Lsn::NONE },
        last_lsn: Lsn::new(plan.start.prev_end_lsn - 1),
        proven_lsn: Lsn::new(plan.proven - 1),
        torn_bytes: plan.torn_bytes,
        dropped_frames: plan.dropped_frames,
        segments: scan.segments.iter().filter(|segment| segment.start.is_some()).count() as u64,
        sealed: plan.tail == Tail::Sealed,
        tail: plan.tail,
        unknown_files: scan.unknown_files,
        store_uuid,
        elapsed: begun.elapsed(),
        first_segment: Some(older.first().map_or(plan.seq, |sealed| sealed.seq)),
        io,
    };
    Ok(Recovered { recovery, active, older })
}

/// Makes the unproven records durable by writing the same bytes again: after a failed sync of an
/// earlier process the page cache can hold bytes, marked clean, that the disk never got.
fn prove(
    io: &dyn LogIo,
    seq: SegmentId,
    scan: &Scan,
    proven: u64,
    end_offset: u64,
) -> segment::StepResult<()> {
    let opened = open_segment(io, seq, Access::ReadWrite)?;
    let found = scan.segments.iter().find(|segment| segment.seq == seq);
    let (Ok(header), Some(start)) = (opened.header, found.and_then(|segment| segment.start)) else {
        return Err(("read", std::io::ErrorKind::InvalidData.into()));
    };
    let mut walk = Walk::new(opened.file.clone(), opened.bytes, header, &start, None);
    let mut from = end_offset;
    while let Ok(frame) = walk.next().map_err(|e| ("read", e))? {
        if frame.header.end_lsn() > proven {
            from = frame.offset;
            break;
        }
    }
    let mut buf = vec![0; 1 << 20];
    while from < end_offset {
        let part = (end_offset - from).min(buf.len() as u64) as usize;
        let read = read_full(&*opened.file, &mut buf[..part], from).map_err(|e| ("read", e))?;
        if read < part {
            return Err(("read", std::io::ErrorKind::UnexpectedEof.into()));
        }
        write_full(&*opened.file, &buf[..part], from).map_err(|e| ("write", e))?;
        from += part as u64;
    }
    opened.file.sync_data().map_err(|e| ("fdatasync", e))
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
