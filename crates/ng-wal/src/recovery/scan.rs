//! Looking at a log's directory: headers, start frames, how far frames can be followed, and what
//! stands beyond. Changes nothing, judges nothing.
//!
//! Segments are looked through on several threads; each holds one chunk and one open file, so
//! memory and descriptors do not grow with the log. Who wants the records at once (`scan_showing`)
//! gets them while one thread goes ahead, so that a log is read once and not twice.

use std::collections::VecDeque;
use std::io;

use crate::disk::names::{file_name, parse_file_name};
use crate::disk::storage::{Access, LogIo};
use crate::format::{HeaderFault, START_OFFSET, SegmentHeader, Start};
use crate::read::ahead::show_ahead;
use crate::read::walk::{Frame, Islands, Stop, Walk, islands, open_segment, stray_frame};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, thread};
use crate::{OpenError, SegmentId, mutants};

/// Below this a second thread costs more than it brings.
const BYTES_PER_THREAD: u64 = 4 << 20;
/// Reading gains nothing from more.
const THREADS_MAX: usize = 16;

/// One file with a segment's name, as found.
#[derive(Clone, Debug)]
pub(crate) struct SegmentScan {
    pub(crate) seq: SegmentId,
    pub(crate) regular: bool,
    pub(crate) bytes: u64,
    pub(crate) header: Result<SegmentHeader, HeaderFault>,
    pub(crate) start: Option<Start>,
    /// The header is damaged, but a frame of this segment stands in the file.
    pub(crate) frames_without_header: bool,
    /// Nothing but zeroes where the start frame's block is.
    pub(crate) start_is_blank: bool,
    /// What stands in a segment without a start frame.
    pub(crate) islands: Islands,
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
    /// Frames followed, the start frame included.
    pub(crate) frames: u64,
    pub(crate) unpromised: Unpromised,
}

/// The frames that no promise covers, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpromised(VecDeque<Extent>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    offset: u64,
    end_lsn: u64,
    has_records: bool,
}

impl Unpromised {
    fn add(&mut self, frame: &Frame) {
        let (offset, header) = (frame.offset, &frame.header);
        let (end_lsn, has_records) = (header.end_lsn(), header.count > 0);
        self.0.push_back(Extent { offset, end_lsn, has_records });
    }

    /// Leaves out what a promise of `durable_end` covers. It is of records: a control frame behind
    /// the last of them is not covered.
    pub(crate) fn cover(&mut self, durable_end: u64) {
        let covered =
            |e: &Extent| e.end_lsn < durable_end || e.end_lsn == durable_end && e.has_records;
        while self.0.front().is_some_and(covered) {
            self.0.pop_front();
        }
    }

    pub(crate) fn first_offset(&self) -> Option<u64> {
        self.0.front().map(|extent| extent.offset)
    }
}

/// Everything that `decide` needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scan {
    /// By number, ascending.
    pub(crate) segments: Vec<SegmentScan>,
    pub(crate) unknown_files: Vec<String>,
}

/// Names a failed step and its file.
pub(crate) fn io_error(
    io: &dyn LogIo,
    name: &str,
    (step, source): (&'static str, io::Error),
) -> OpenError {
    OpenError::io(step, &io.path().join(name), source)
}

/// Reads the directory. Changes nothing.
pub(crate) fn scan(io: &dyn LogIo) -> Result<Scan, OpenError> {
    let mut scan = look_at_all(io)?;
    follow_all(io, &mut scan.segments)?;
    Ok(scan)
}

/// The same, and `see` is shown each frame with records, segment after segment. What is to be thought
/// of them is not known yet.
pub(crate) fn scan_showing(io: &dyn LogIo, see: &mut dyn FnMut(Frame)) -> Result<Scan, OpenError> {
    let mut scan = look_at_all(io)?;
    follow_in_order(io, &mut scan.segments, see)?;
    Ok(scan)
}

fn look_at_all(io: &dyn LogIo) -> Result<Scan, OpenError> {
    let mut scan = Scan::default();
    let mut found = Vec::new();
    for entry in io.list().map_err(|e| OpenError::io("list", io.path(), e))? {
        match parse_file_name(&entry.name) {
            Some(seq) => found.push((seq, entry.regular)),
            None if entry.name == crate::disk::storage::LOCK
                || entry.name.ends_with(".seg.tmp") => {}
            None => scan.unknown_files.push(entry.name),
        }
    }
    found.sort_unstable();
    for (seq, regular) in found {
        let segment =
            look(io, seq, regular).map_err(|failed| io_error(io, &file_name(seq), failed))?;
        scan.segments.push(segment);
    }
    leave_out_empty_strangers(&mut scan);
    scan.unknown_files.sort_unstable();
    Ok(scan)
}

/// An empty file whose number does not follow is no segment that is missing its neighbours: a segment
/// gets its name with its header in it. A segment that was in use and is gone with its neighbours is
/// named by the one before.
fn leave_out_empty_strangers(scan: &mut Scan) {
    while let [.., before, last] = scan.segments.as_slice()
        && last.seq != before.seq.next()
        && last.regular
        && last.bytes == 0
    {
        let name = file_name(last.seq);
        scan.unknown_files.push(name);
        scan.segments.pop();
    }
}

/// Header and start frame of one segment file.
fn look(
    io: &dyn LogIo,
    seq: SegmentId,
    regular: bool,
) -> Result<SegmentScan, (&'static str, io::Error)> {
    let mut segment = SegmentScan {
        seq,
        regular,
        bytes: 0,
        header: Err(HeaderFault::Zero),
        start: None,
        frames_without_header: false,
        start_is_blank: false,
        islands: Islands::default(),
        walk: None,
    };
    if !regular {
        return Ok(segment); // a pipe with this name would hold us up for ever
    }
    let opened = open_segment(io, seq, Access::Read)?;
    segment.bytes = opened.bytes;
    segment.header = opened.header;
    segment.start = opened.start;
    segment.start_is_blank = opened.start_is_blank;
    Ok(segment)
}

/// What a follower of one segment found out.
struct Followed {
    walk: Option<WalkScan>,
    islands: Islands,
    frames_without_header: bool,
}

/// Follows every segment, on as many threads as the log is worth.
fn follow_all(io: &dyn LogIo, segments: &mut [SegmentScan]) -> Result<(), OpenError> {
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let worth = usize::try_from(bytes / BYTES_PER_THREAD).unwrap_or(usize::MAX).max(1);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = worth.min(cores).min(THREADS_MAX).min(segments.len());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let seen: &[SegmentScan] = segments;
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= seen.len() {
                return;
            }
            let followed = follow(io, seen, at, &mut |_| ());
            done.lock().push((at, followed));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work); // without a thread, the others do its share
        }
        work();
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    put_down(io, segments, done.into_iter().map(|(_, followed)| followed))
}

/// Follows every segment, one after the other, on a thread that goes ahead of `see` if there is a
/// core for it.
fn follow_in_order(
    io: &dyn LogIo,
    segments: &mut [SegmentScan],
    see: &mut dyn FnMut(Frame),
) -> Result<(), OpenError> {
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let seen: &[SegmentScan] = segments;
    let ahead = bytes >= BYTES_PER_THREAD;
    let all = |see: &mut dyn FnMut(Frame)| -> Vec<_> {
        (0..seen.len()).map(|at| follow(io, seen, at, see)).collect()
    };
    let followed = if ahead { show_ahead(all, see) } else { all(see) };
    put_down(io, segments, followed.into_iter())
}

fn put_down(
    io: &dyn LogIo,
    segments: &mut [SegmentScan],
    followed: impl Iterator<Item = io::Result<Followed>>,
) -> Result<(), OpenError> {
    for (segment, followed) in segments.iter_mut().zip(followed) {
        let followed = followed.map_err(|e| io_error(io, &file_name(segment.seq), ("read", e)))?;
        segment.walk = followed.walk;
        segment.islands = followed.islands;
        segment.frames_without_header = followed.frames_without_header;
    }
    Ok(())
}

/// Walks the frames of the segment at `at`, shows those with records, and looks beyond their end.
fn follow(
    io: &dyn LogIo,
    segments: &[SegmentScan],
    at: usize,
    see: &mut dyn FnMut(Frame),
) -> io::Result<Followed> {
    let segment = &segments[at];
    let goal = segments.get(at + 1).filter(|next| next.seq == segment.seq.next());
    let goal = goal.and_then(|next| next.start);
    let mut followed =
        Followed { walk: None, islands: Islands::default(), frames_without_header: false };
    if !segment.regular {
        return Ok(followed);
    }
    let file = io.open(&file_name(segment.seq), Access::Read)?;
    match (&segment.header, &segment.start) {
        (Err(_), _) => {
            followed.frames_without_header =
                stray_frame(&*file, segment.seq, segment.bytes)?.is_some();
        }
        (Ok(header), None) => {
            let limit = segment.bytes.min(header.segment_bytes);
            followed.islands = islands(&*file, header, START_OFFSET, limit)?;
        }
        (Ok(header), Some(start)) => {
            let walk = Walk::new(file, segment.bytes, *header, start, goal.as_ref());
            followed.walk = Some(follow_walk(walk, see)?);
        }
    }
    Ok(followed)
}

fn follow_walk(mut walk: Walk, see: &mut dyn FnMut(Frame)) -> io::Result<WalkScan> {
    let (mut frames, mut unpromised) = (0, Unpromised::default());
    let stop = loop {
        match walk.next()? {
            Ok(frame) => {
                frames += 1;
                unpromised.add(&frame);
                unpromised.cover(walk.promise);
                if frame.header.count > 0 {
                    see(frame);
                }
            }
            Err(stop) => {
                let goes_on = mutants::on("wal-m12-island-skip") && walk.skip_to_island()?;
                if !goes_on {
                    break stop;
                }
            }
        }
    };
    let islands = if stop == Stop::Goal { Islands::default() } else { walk.islands()? };
    Ok(WalkScan {
        end_lsn: walk.lsn,
        end_offset: walk.pos,
        chain: walk.chain,
        promise: walk.promise,
        sealed: walk.sealed,
        rotate_to: walk.rotate_to,
        stop,
        islands,
        frames,
        unpromised,
    })
}
