//! The frames of a log, segment after segment, and what follows where a walk stops.

use std::io;

use crate::disk::names::{file_name, parse_file_name};
use crate::disk::storage::{Access, LogIo};
use crate::format::{START_OFFSET, SegmentHeader, Start};
use crate::read::walk::{Frame, Opened, Stop, Walk, open_segment};
use crate::{Lsn, ReadError, SegmentId, sync::Arc};

/// The frames of a log in LSN order, segment after segment. It ends where nothing more is written;
/// after an error too.
pub(crate) struct Frames {
    io: Arc<dyn LogIo>,
    /// The segment to open next.
    next_seq: Option<SegmentId>,
    walk: Option<Walk>,
    /// Segments that hold only records below this are passed over.
    from: u64,
    /// First LSN not to be yielded, when the end is known.
    until: Option<u64>,
    expected: Option<(u64, u64)>,
}

/// What follows where a walk stopped.
enum Follows {
    Segment,
    Frame(Frame),
    Nothing,
}

impl Frames {
    pub(crate) fn io(&self) -> Arc<dyn LogIo> {
        self.io.clone()
    }

    /// From segment `first` on, up to the LSN `until` (exclusive), which must be there.
    pub(super) fn new(io: Arc<dyn LogIo>, first: Option<SegmentId>, until: Option<u64>) -> Self {
        Self { io, next_seq: first, walk: None, from: 0, until, expected: None }
    }

    /// A source of nothing.
    pub(super) fn ended(io: Arc<dyn LogIo>) -> Self {
        Self::new(io, None, None)
    }

    /// Passes over segments that hold only records below `lsn`.
    pub(super) fn start_at(&mut self, lsn: u64) {
        self.from = lsn;
    }

    fn read_error(
        &self,
        seq: SegmentId,
        (operation, source): (&'static str, io::Error),
    ) -> ReadError {
        ReadError::Io { operation, file: file_name(seq), source }
    }

    /// Header and start frame of `seq`; `None` if it is absent or not started.
    fn open_started(
        &self,
        seq: SegmentId,
    ) -> Result<Option<(Opened, SegmentHeader, Start)>, ReadError> {
        match open_segment(&*self.io, seq, Access::Read) {
            Ok(opened) => Ok(match (&opened.header, opened.start) {
                (Ok(header), Some(start)) => {
                    let header = *header;
                    Some((opened, header, start))
                }
                _ => None,
            }),
            Err((_, e)) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(failed) => Err(self.read_error(seq, failed)),
        }
    }

    /// Segments go from the oldest on: one that is not there while a later one is was retired.
    fn check_not_retired(&self, seq: SegmentId, lsn: u64) -> Result<(), ReadError> {
        let entries = self.io.list().map_err(|e| self.read_error(seq, ("list", e)))?;
        let oldest = entries.iter().filter_map(|entry| parse_file_name(&entry.name)).min();
        if oldest.is_some_and(|oldest| oldest > seq) {
            return Err(ReadError::Retired { file: file_name(seq), lsn: Lsn::new(lsn) });
        }
        Ok(())
    }

    /// Opens the next segment for walking; `false` at the log's end.
    fn enter(&mut self) -> Result<bool, ReadError> {
        let Some(mut seq) = self.next_seq.take() else { return Ok(false) };
        loop {
            let Some((opened, header, start)) = self.open_started(seq)? else {
                if let Some((lsn, _)) = self.expected {
                    self.check_not_retired(seq, lsn)?;
                }
                if self.until.is_none() {
                    return Ok(false);
                }
                let absent = io::Error::from(io::ErrorKind::NotFound);
                return Err(self.read_error(seq, ("open", absent)));
            };
            let next = self.open_started(seq.next())?.map(|(_, _, start)| start);
            let here = (start.prev_end_lsn, start.prev_chain);
            if self.expected.is_some_and(|expected| expected != here) {
                return Err(ReadError::Corrupt {
                    file: file_name(seq),
                    offset: START_OFFSET,
                    lsn: Lsn::new(start.prev_end_lsn),
                    found: "a start frame that does not continue the segment before".into(),
                });
            }
            match &next {
                Some(next) if next.prev_end_lsn <= self.from => {
                    self.expected = Some((next.prev_end_lsn, next.prev_chain));
                    seq = seq.next();
                }
                _ => {
                    self.walk =
                        Some(Walk::new(opened.file, opened.bytes, header, &start, next.as_ref()));
                    return Ok(true);
                }
            }
        }
    }

    /// The walk stopped: is there more to read after all, in it or in a successor?
    fn follow(&mut self, mut walk: Walk, stop: Stop) -> Result<Follows, ReadError> {
        let seq = walk.header.seq;
        let here = (walk.lsn, walk.chain);
        if let Some((_, _, start)) = self.open_started(seq.next())?
            && (stop == Stop::Goal || (start.prev_end_lsn, start.prev_chain) == here)
        {
            self.expected = Some(here);
            self.next_seq = Some(seq.next());
            return Ok(Follows::Segment);
        }
        // Its file may have been taken away, and written anew, under the walk.
        self.check_not_retired(seq, walk.lsn)?;
        let read = |e| self.read_error(seq, ("read", e));
        let attested = self.attested_end(&walk).map_err(read)?;
        if attested <= walk.lsn {
            return Ok(Follows::Nothing);
        }
        // An open may have written the segment anew, under another salt.
        if let Some((_, header, start)) = self.open_started(seq)?
            && header.salt != walk.header.salt
            && start.prev_end_lsn <= walk.lsn
        {
            return Err(ReadError::Retired { file: file_name(seq), lsn: Lsn::new(walk.lsn) });
        }
        // A live writer may have completed, between our two looks, what we took for a hole.
        walk.refresh().map_err(read)?;
        let again = walk.next().map_err(read)?;
        match again {
            Ok(frame) => {
                self.walk = Some(walk);
                Ok(Follows::Frame(frame))
            }
            Err(stop) => Err(ReadError::Corrupt {
                file: file_name(seq),
                offset: walk.pos,
                lsn: Lsn::new(walk.lsn),
                found: format!(
                    "{}, while LSN {} is attested durable",
                    stop.describe(),
                    attested - 1
                )
                .into(),
            }),
        }
    }

    /// Durable end that anything beyond the walk's stop attests.
    fn attested_end(&self, walk: &Walk) -> io::Result<u64> {
        let islands = walk.islands()?.promise.max(walk.promise);
        let successor = self.open_started(walk.header.seq.next()).ok().flatten();
        let successor = successor.map_or(0, |(_, _, start)| start.prev_end_lsn);
        Ok(islands.max(successor).max(self.until.unwrap_or(0)))
    }

    /// The next frame with records.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            let Some(mut walk) = self.walk.take() else {
                if self.enter()? {
                    continue;
                }
                return Ok(None);
            };
            if self.until.is_some_and(|until| walk.lsn >= until) {
                return Ok(None);
            }
            let seq = walk.header.seq;
            let frame = match walk.next().map_err(|e| self.read_error(seq, ("read", e)))? {
                Ok(frame) => {
                    self.walk = Some(walk);
                    frame
                }
                Err(stop) => match self.follow(walk, stop)? {
                    Follows::Segment => continue,
                    Follows::Frame(frame) => frame,
                    Follows::Nothing => return Ok(None),
                },
            };
            if frame.header.count > 0 {
                return Ok(Some(frame));
            }
        }
    }
}
