//! Every frame of a log with its place, those that recovery would never read included: for an
//! operator. Takes no lock, changes nothing.

use std::path::Path;

use crate::disk::names::{file_name, parse_file_name};
use crate::disk::segment::StepResult;
use crate::disk::storage::{Access, Directory, LogIo};
use crate::format::{FRAME_HEADER_BYTES, FrameKind, START_OFFSET, SegmentHeader, Start};
use crate::read::walk::{Frame, Walk, open_segment, start_of, stray_frame};
use crate::{Lsn, OpenError, ReadError, Record, SegmentId, sync::Arc};

/// One thing that stands in a segment file, in the order of places.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Dumped {
    /// A frame whose checksums are right.
    Frame(DumpedFrame),
    /// A place where the frames do not go on: the end, or damage.
    Stop {
        /// The file in the log's directory.
        file: String,
        /// Where in it.
        offset: u64,
        /// The record that was due.
        lsn: Lsn,
        /// What stands there.
        found: String,
    },
}

/// A frame and its records.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct DumpedFrame {
    /// The file in the log's directory.
    pub file: String,
    /// Where in it the frame's header stands.
    pub offset: u64,
    /// Bytes it takes, header and padding included.
    pub bytes: u64,
    /// `data`, `start`, `pad`, `promise`, `rotate` or `seal`.
    pub kind: &'static str,
    /// First record; in a frame without records, the next one to come.
    pub base_lsn: Lsn,
    /// Highest record that was durable when the frame was written, inclusive.
    pub promised_lsn: Lsn,
    /// Frames of this segment lead here from its start frame on. Others stand behind a hole.
    pub reachable: bool,
    /// Its records, and where in the file each begins.
    pub records: Vec<(u64, Record)>,
}

/// The frames of a log's directory. After an error it goes on with the next file.
pub struct Dump {
    io: Arc<dyn LogIo>,
    /// Segments to come, last first.
    left: Vec<SegmentId>,
    at: Option<(Walk, State)>,
}

/// Where a walk is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reachable,
    /// No frame here: look for one behind.
    Stopped,
    Unreachable,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump").field("files_left", &self.left.len()).finish_non_exhaustive()
    }
}

/// Lists the frames and records of the log in `dir`. Errors: the directory cannot be listed.
pub fn dump(dir: impl AsRef<Path>) -> Result<Dump, OpenError> {
    let dir = dir.as_ref();
    let io = Directory::open(dir).map_err(|e| OpenError::io("list", dir, e))?;
    dump_over(Arc::new(io))
}

pub(crate) fn dump_over(io: Arc<dyn LogIo>) -> Result<Dump, OpenError> {
    let entries = io.list().map_err(|e| OpenError::io("list", io.path(), e))?;
    let mut left: Vec<_> = entries
        .iter()
        .filter(|entry| entry.regular)
        .filter_map(|entry| parse_file_name(&entry.name))
        .collect();
    left.sort_unstable_by(|a, b| b.cmp(a));
    Ok(Dump { io, left, at: None })
}

/// A walk over a segment, even if its own header is damaged, as far as frames of it can be told;
/// and its start frame, if that is whole. `None`: no frame of it is to be found.
pub(crate) fn walk_anyhow(
    io: &dyn LogIo,
    seq: SegmentId,
) -> StepResult<Option<(Walk, Option<Start>)>> {
    let mut opened = open_segment(io, seq, Access::Read)?;
    let header = match opened.header {
        Ok(header) => header,
        Err(_) => {
            let stray = stray_frame(&*opened.file, seq, opened.bytes).map_err(|e| ("read", e))?;
            let Some(salt) = stray else { return Ok(None) };
            opened.start = start_of(&*opened.file, seq, salt).map_err(|e| ("read", e))?;
            // What the header said is lost; the file's own length bounds the walk.
            let (segment_bytes, max_ahead_bytes) = (opened.bytes, 0);
            SegmentHeader { store_uuid: 0, seq, salt, segment_bytes, max_ahead_bytes }
        }
    };
    let goal = open_segment(io, seq.next(), Access::Read).ok().and_then(|next| next.start);
    let nowhere = Start { prev_seq: SegmentId::default(), prev_end_lsn: 0, prev_chain: 0 };
    let from = opened.start.unwrap_or(nowhere);
    let goal = goal.filter(|goal| opened.start.is_some() && goal.prev_seq == seq);
    let walk = Walk::new(opened.file, opened.bytes, header, &from, goal.as_ref());
    Ok(Some((walk, opened.start)))
}

impl Dump {
    fn next_step(&mut self) -> Option<Result<Dumped, ReadError>> {
        loop {
            let Some((mut walk, state)) = self.at.take() else {
                let seq = self.left.pop()?;
                match walk_anyhow(&*self.io, seq) {
                    Ok(Some((walk, Some(_)))) => self.at = Some((walk, State::Reachable)),
                    Ok(Some((walk, None))) => {
                        self.at = Some((walk, State::Stopped));
                        return Some(Ok(nothing(seq, START_OFFSET, "no start frame")));
                    }
                    Ok(None) => return Some(Ok(nothing(seq, 0, "no segment header, no frame"))),
                    Err((operation, source)) => {
                        return Some(Err(ReadError::Io {
                            operation,
                            file: file_name(seq),
                            source,
                        }));
                    }
                }
                continue;
            };
            let file = file_name(walk.header.seq);
            let failed = |e| ReadError::Io { operation: "read", file: file.clone(), source: e };
            if state == State::Stopped {
                match walk.skip_to_island() {
                    Ok(true) => self.at = Some((walk, State::Unreachable)),
                    Ok(false) => {}
                    Err(e) => return Some(Err(failed(e))),
                }
                continue;
            }
            return Some(match walk.next() {
                Ok(Ok(frame)) => {
                    let dumped = dumped(file, &frame, state == State::Reachable);
                    self.at = Some((walk, state));
                    Ok(Dumped::Frame(dumped))
                }
                Ok(Err(stop)) => {
                    let (offset, lsn) = (walk.pos, Lsn::new(walk.lsn));
                    self.at = Some((walk, State::Stopped));
                    Ok(Dumped::Stop { file, offset, lsn, found: stop.describe() })
                }
                Err(e) => Err(failed(e)),
            });
        }
    }
}

impl Iterator for Dump {
    type Item = Result<Dumped, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_step()
    }
}

fn nothing(seq: SegmentId, offset: u64, found: &str) -> Dumped {
    Dumped::Stop { file: file_name(seq), offset, lsn: Lsn::NONE, found: found.into() }
}

fn dumped(file: String, frame: &Frame, reachable: bool) -> DumpedFrame {
    let payload_at = frame.offset + FRAME_HEADER_BYTES;
    DumpedFrame {
        file,
        offset: frame.offset,
        bytes: frame.header.span_bytes(),
        kind: match frame.header.kind {
            FrameKind::Data => "data",
            FrameKind::Start => "start",
            FrameKind::Pad => "pad",
            FrameKind::Promise => "promise",
            FrameKind::Rotate => "rotate",
            FrameKind::Seal => "seal",
        },
        base_lsn: Lsn::new(frame.header.base_lsn),
        promised_lsn: Lsn::new(frame.header.durable_end.saturating_sub(1)),
        reachable,
        records: frame.records().map(|(at, record)| (payload_at + at as u64, record)).collect(),
    }
}
