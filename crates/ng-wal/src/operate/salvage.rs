//! Keeps what can be read of a damaged log: an exact prefix of its records, under their own
//! numbers, in a new directory. The damaged one is only read.

use std::path::{Path, PathBuf};

use crate::disk::names::{file_name, parse_file_name};
use crate::disk::segment::{self, ActiveSegment, StepResult};
use crate::disk::storage::{Access, Directory, LogIo};
use crate::format::{FIRST_FRAME_OFFSET, START_OFFSET, SegmentHeader, Start};
use crate::operate::dump::walk_anyhow;
use crate::read::walk::{Frame, Stop, Walk, open_segment};
use crate::recovery::scan::io_error;
use crate::{Lsn, OpenError, SegmentId, sync::Arc};

/// Written to the new files in one go, about.
const WRITE_BYTES: usize = 1 << 20;

/// Why nothing was salvaged.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    /// The new directory holds something.
    #[error("{} is not an empty directory; salvage writes into a new one", dest.display())]
    NotEmpty {
        /// The directory given.
        dest: PathBuf,
    },
    /// The damaged log's directory cannot be listed, or the new files cannot be written.
    #[error(transparent)]
    Disk(#[from] OpenError),
}

/// Where the readable prefix ends.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixEnd {
    /// The file in the damaged log's directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// First record that is not kept.
    pub lsn: Lsn,
    /// What stands there.
    pub found: String,
}

/// Records behind the damage, readable and not kept: what is before them is lost.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRange {
    /// The file in the damaged log's directory, which still holds them.
    pub file: String,
    /// Where in it the first of them stands.
    pub offset: u64,
    /// First record.
    pub first_lsn: Lsn,
    /// Last record.
    pub last_lsn: Lsn,
}

/// What [`salvage`] kept and dropped.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvageReport {
    /// Records kept.
    pub records: u64,
    /// First of them; [`Lsn::NONE`] if there are none.
    pub first_lsn: Lsn,
    /// Last of them.
    pub last_lsn: Lsn,
    /// Segments written.
    pub segments: u64,
    /// Where reading ended, and why: at damage, or at the log's end.
    pub end: Option<PrefixEnd>,
    /// Readable records behind that, in runs without a hole.
    pub dropped: Vec<DroppedRange>,
}

/// Writes the readable prefix of the log in `dir` into `dest`, a directory that is absent or empty.
///
/// The records keep their numbers and batches; the new log is sealed and opens cleanly. Its prefix
/// ends at the first damage, though records behind it may be readable: the report names them, and
/// [`dump`](crate::dump) shows them. A damaged segment header alone loses nothing. `dir` is not
/// changed; nobody should have it open.
pub fn salvage(
    dir: impl AsRef<Path>,
    dest: impl AsRef<Path>,
) -> Result<SalvageReport, SalvageError> {
    let (dir, dest) = (dir.as_ref(), dest.as_ref());
    let source = Directory::open(dir).map_err(|e| OpenError::io("list", dir, e))?;
    let target = Directory::create(dest).map_err(|e| OpenError::io("create", dest, e))?;
    salvage_over(&source, Arc::new(target))
}

pub(crate) fn salvage_over(
    source: &dyn LogIo,
    target: Arc<dyn LogIo>,
) -> Result<SalvageReport, SalvageError> {
    let there = target.list().map_err(|e| OpenError::io("list", target.path(), e))?;
    if !there.is_empty() {
        return Err(SalvageError::NotEmpty { dest: target.path().to_path_buf() });
    }
    let entries = source.list().map_err(|e| OpenError::io("list", source.path(), e))?;
    let mut segments: Vec<_> = entries
        .iter()
        .filter(|entry| entry.regular)
        .filter_map(|entry| parse_file_name(&entry.name))
        .collect();
    segments.sort_unstable();
    let mut copy = Copy { target, out: None, segments: 0 };
    let mut report = SalvageReport {
        records: 0,
        first_lsn: Lsn::NONE,
        last_lsn: Lsn::NONE,
        segments: 0,
        end: None,
        dropped: Vec::new(),
    };
    let mut due = None;
    for seq in segments {
        one_segment(source, seq, &mut due, &mut copy, &mut report)?;
    }
    copy.finish()?;
    report.segments = copy.segments;
    Ok(report)
}

/// What must follow for the prefix to go on.
#[derive(Clone, Copy)]
struct Due {
    seq: SegmentId,
    lsn: u64,
    chain: u64,
    store_uuid: u128,
}

/// Takes one segment's records into the prefix, as far as it still goes on, and notes the rest.
fn one_segment(
    source: &dyn LogIo,
    seq: SegmentId,
    due: &mut Option<Due>,
    copy: &mut Copy,
    report: &mut SalvageReport,
) -> Result<(), SalvageError> {
    let end = |report: &mut SalvageReport, offset, lsn, found: String| {
        let file = file_name(seq);
        report.end.get_or_insert(PrefixEnd { file, offset, lsn: Lsn::new(lsn), found });
    };
    let lsn = due.map_or(0, |due| due.lsn);
    let (mut walk, start) = match walk_anyhow(source, seq) {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            // Prepared and never used, if it is the last one: the prefix has ended by itself.
            end(report, 0, lsn, "no frame of this segment".into());
            return Ok(());
        }
        Err((step, e)) => {
            end(report, 0, lsn, format!("{step}: {e}"));
            return Ok(());
        }
    };
    let continues = |due: &Due, start: &Start, walk: &Walk| {
        let uuid = walk.header.store_uuid;
        due.seq == seq
            && (start.prev_end_lsn, start.prev_chain) == (due.lsn, due.chain)
            && (uuid == due.store_uuid || uuid == 0)
    };
    let (mut offset, mut found) =
        (START_OFFSET, "no start frame that continues the log".to_string());
    match (start, &due, &report.end) {
        (Some(start), None, None) => {
            copy.begin(source, &walk, &start)?;
            (offset, found) = prefix(&mut walk, copy, report)?;
            *due = follow_up(&walk, due);
        }
        (Some(start), Some(before), None) if continues(before, &start, &walk) => {
            (offset, found) = prefix(&mut walk, copy, report)?;
            *due = follow_up(&walk, due);
        }
        // Behind the end: from the start frame on, or from whatever frame there is.
        (Some(_), ..) => note_run(&mut walk, report),
        (None, ..) => {}
    }
    if found.is_empty() {
        return Ok(());
    }
    end(report, offset, due.map_or(0, |due| due.lsn), found);
    while matches!(walk.skip_to_island(), Ok(true)) {
        note_run(&mut walk, report);
    }
    Ok(())
}

fn follow_up(walk: &Walk, before: &Option<Due>) -> Option<Due> {
    let store_uuid = match (walk.header.store_uuid, before) {
        (0, Some(before)) => before.store_uuid,
        (uuid, _) => uuid,
    };
    Some(Due { seq: walk.header.seq.next(), lsn: walk.lsn, chain: walk.chain, store_uuid })
}

/// Copies frames up to the walk's stop. Returns where, and what stands there; nothing, if the next
/// segment goes on.
fn prefix(
    walk: &mut Walk,
    copy: &mut Copy,
    report: &mut SalvageReport,
) -> Result<(u64, String), SalvageError> {
    loop {
        let frame = match walk.next() {
            Ok(Ok(frame)) => frame,
            Ok(Err(Stop::Goal)) => return Ok((walk.pos, String::new())),
            Ok(Err(stop)) => return Ok((walk.pos, stop.describe())),
            Err(e) => return Ok((walk.pos, format!("read: {e}"))),
        };
        if frame.header.count == 0 {
            continue;
        }
        copy.frame(&frame)?;
        if report.records == 0 {
            report.first_lsn = Lsn::new(frame.header.base_lsn);
        }
        report.records += u64::from(frame.header.count);
        report.last_lsn = Lsn::new(frame.header.end_lsn() - 1);
    }
}

/// Notes the records from where the walk is up to its next stop.
fn note_run(walk: &mut Walk, report: &mut SalvageReport) {
    let mut run: Option<DroppedRange> = None;
    while let Ok(Ok(frame)) = walk.next() {
        if frame.header.count == 0 {
            continue;
        }
        let last_lsn = Lsn::new(frame.header.end_lsn() - 1);
        match &mut run {
            Some(run) => run.last_lsn = last_lsn,
            None => {
                run = Some(DroppedRange {
                    file: file_name(walk.header.seq),
                    offset: frame.offset,
                    first_lsn: Lsn::new(frame.header.base_lsn),
                    last_lsn,
                });
            }
        }
    }
    report.dropped.extend(run);
}

/// The new log being written.
struct Copy {
    target: Arc<dyn LogIo>,
    out: Option<Out>,
    segments: u64,
}

struct Out {
    active: ActiveSegment,
    next_lsn: u64,
    /// What a sync has covered.
    durable_end: u64,
}

impl Copy {
    /// The first segment, under the number and with the geometry of the damaged log's.
    fn begin(&mut self, source: &dyn LogIo, walk: &Walk, start: &Start) -> Result<(), OpenError> {
        let mut from = walk.header;
        if from.store_uuid == 0 {
            // Its header is damaged: the next one's says what this one's did.
            let next = open_segment(source, from.seq.next(), Access::Read).ok();
            let next = next.and_then(|next| next.header.ok());
            from.store_uuid = next.map_or_else(|| fastrand::u128(1..), |next| next.store_uuid);
        }
        let segment_bytes = from.segment_bytes.clamp(2 << 20, 1 << 30);
        let max_ahead_bytes = from.max_ahead_bytes.clamp(4 << 20, 1 << 30);
        let (seq, uuid) = (from.seq, from.store_uuid);
        let header = segment::new_header(seq, uuid, segment_bytes, max_ahead_bytes);
        let active = self.step(seq, |target| {
            let file = segment::prepare(target, &header, Some(start))?;
            Ok(ActiveSegment::started(file, header, start, FIRST_FRAME_OFFSET))
        })?;
        let next_lsn = start.prev_end_lsn;
        self.out = Some(Out { active, next_lsn, durable_end: next_lsn });
        self.segments = 1;
        Ok(())
    }

    fn step<T>(
        &self,
        seq: SegmentId,
        body: impl FnOnce(&dyn LogIo) -> StepResult<T>,
    ) -> Result<T, OpenError> {
        body(&*self.target).map_err(|failed| io_error(&*self.target, &file_name(seq), failed))
    }

    fn frame(&mut self, frame: &Frame) -> Result<(), OpenError> {
        let Some(mut out) = self.out.take() else { return Ok(()) };
        let seq = out.active.header.seq;
        if !out.active.fits_segment(frame.payload.len()) {
            self.step(seq, |target| rotate(target, &mut out))?;
            self.segments += 1;
        }
        out.active.begin_frame(out.next_lsn);
        for (_, record) in frame.records() {
            out.active.push(record.kind, &record.payload);
        }
        out.active.end_frame(out.durable_end);
        out.next_lsn = frame.header.end_lsn();
        if out.active.buffered_bytes() >= WRITE_BYTES {
            self.step(seq, |_| out.active.flush().map_err(|e| ("write", e)))?;
        }
        self.out = Some(out);
        Ok(())
    }

    /// Seals and syncs the new log.
    fn finish(&mut self) -> Result<(), OpenError> {
        let Some(mut out) = self.out.take() else { return Ok(()) };
        self.step(out.active.header.seq, |target| {
            sync(&mut out)?;
            out.active.seal(out.next_lsn);
            sync(&mut out)?;
            target.sync_dir().map_err(|e| ("fsync of the directory", e))
        })
    }
}

fn sync(out: &mut Out) -> StepResult<()> {
    out.active.pad(out.next_lsn, out.durable_end);
    out.active.flush().map_err(|e| ("write", e))?;
    out.active.file.sync_data().map_err(|e| ("fdatasync", e))?;
    out.durable_end = out.next_lsn;
    Ok(())
}

/// The next segment, after everything of this one is durable.
fn rotate(target: &dyn LogIo, out: &mut Out) -> StepResult<()> {
    sync(out)?;
    let full = out.active.header;
    let SegmentHeader { seq, store_uuid, segment_bytes, max_ahead_bytes, .. } = full;
    let header = segment::new_header(seq.next(), store_uuid, segment_bytes, max_ahead_bytes);
    let file = segment::prepare(target, &header, None)?;
    out.active.rotate(out.next_lsn, out.durable_end);
    sync(out)?;
    let start = Start { prev_seq: seq, prev_end_lsn: out.next_lsn, prev_chain: out.active.chain() };
    segment::write_start(&*file, &header, &start)?;
    out.active = ActiveSegment::started(file, header, &start, FIRST_FRAME_OFFSET);
    Ok(())
}
