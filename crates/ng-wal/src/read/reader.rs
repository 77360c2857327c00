//! Replay: an iterator over the records of a log, which reads ahead on a thread where there is much.

use std::path::Path;

use bytes::Bytes;

use crate::disk::names::{file_name, parse_file_name};
use crate::disk::storage::{Access, Directory, LogIo};
use crate::error::header_error;
use crate::read::ahead::Ahead;
use crate::read::frames::Frames;
use crate::read::record::{Cursor, Found, Record, RecordRef};
use crate::read::walk::open_segment;
use crate::{Lsn, OpenError, ReadError, SegmentId, sync::Arc};

/// A reader of more than this reads ahead on a thread: below, starting one costs more.
const AHEAD_FROM_BYTES: u64 = 1 << 20;

/// Where a reader's frames come from.
enum Source {
    Here(Box<Frames>),
    Ahead(Ahead),
    Ended,
}

/// Replays a log in LSN order, from files alone: no lock, no repair.
///
/// Beside a live writer it yields what has been written by the time it gets there, and ends; if the
/// owner retires what it has not read yet, it ends in [`ReadError::Retired`]. Past
/// the end of a torn log it yields nothing. After an error it ends. Payloads are views into what
/// was read, nothing is copied. In a log of more than a megabyte, reading and checking go on ahead
/// on a thread of its own, by some two megabytes at most, and end with the reader.
pub struct Reader {
    source: Source,
    /// Bytes read so far without a thread.
    read_here_bytes: u64,
    frame: Bytes,
    cursor: Cursor,
    /// Records below this are passed over.
    from: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("next_lsn", &self.cursor.lsn).finish_non_exhaustive()
    }
}

impl Reader {
    /// Reads the log in `dir` from its oldest record on. Takes no lock, changes nothing.
    ///
    /// Errors: the directory cannot be listed, or its oldest segment is none of ours. May block
    /// on the disk.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, OpenError> {
        let dir = dir.as_ref();
        let io = Directory::open(dir).map_err(|e| OpenError::io("list", dir, e))?;
        Self::over(Arc::new(io))
    }

    pub(crate) fn over(io: Arc<dyn LogIo>) -> Result<Self, OpenError> {
        let entries = io.list().map_err(|e| OpenError::io("list", io.path(), e))?;
        let first = entries.iter().filter_map(|entry| parse_file_name(&entry.name)).min();
        if let Some(seq) = first {
            let opened = open_segment(&*io, seq, Access::Read)
                .map_err(|(step, e)| OpenError::io(step, &io.path().join(file_name(seq)), e))?;
            if let Err(fault) = opened.header {
                return Err(header_error(io.path(), seq, &fault));
            }
        }
        Ok(Self::at(io, first, None))
    }

    /// From `first` on, up to `until` (exclusive), which must be there.
    pub(crate) fn at(io: Arc<dyn LogIo>, first: Option<SegmentId>, until: Option<u64>) -> Self {
        let frames = Frames::new(io, first, until);
        Self {
            source: Source::Here(Box::new(frames)),
            read_here_bytes: 0,
            frame: Bytes::new(),
            cursor: Cursor::default(),
            from: 0,
        }
    }

    /// Passes over the records below `lsn`; segments that hold nothing else are not read.
    pub fn starting_at(mut self, lsn: Lsn) -> Self {
        self.from = lsn.get();
        if let Source::Here(frames) = &mut self.source {
            frames.start_at(self.from);
        }
        self
    }

    /// The next record, lent: the fastest way through a log, for no record is counted as in use.
    /// As the iterator otherwise, which may be used in turn with it.
    #[inline]
    pub fn next_ref(&mut self) -> Option<Result<RecordRef<'_>, ReadError>> {
        loop {
            if let Some(Found { lsn, kind, payload }) = self.next_in_frame() {
                let payload = &self.frame[payload];
                return Some(Ok(RecordRef { lsn, kind, payload }));
            }
            match self.go_on() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }

    /// The next frame; `false` at the end, after which there is nothing, as after an error.
    #[cold]
    fn go_on(&mut self) -> Result<bool, ReadError> {
        let found = self.next_frame();
        if !matches!(found, Ok(true)) {
            self.source = Source::Ended;
        }
        found
    }

    /// The next record of the frame at hand.
    #[inline(always)]
    fn next_in_frame(&mut self) -> Option<Found> {
        loop {
            let found = self.cursor.next(&self.frame)?;
            if found.lsn.get() >= self.from {
                return Some(found);
            }
        }
    }

    fn next_frame(&mut self) -> Result<bool, ReadError> {
        self.frame = Bytes::new(); // lets the walk use the chunk's memory again
        if self.read_here_bytes >= AHEAD_FROM_BYTES {
            self.read_here_bytes = 0;
            self.source = match std::mem::replace(&mut self.source, Source::Ended) {
                Source::Here(frames) => match Ahead::start(frames) {
                    Ok(ahead) => Source::Ahead(ahead),
                    Err(frames) => Source::Here(frames),
                },
                other => other,
            };
        }
        let frame = match &mut self.source {
            Source::Here(frames) => frames.next()?,
            Source::Ahead(ahead) => ahead.next()?,
            Source::Ended => None,
        };
        let Some(frame) = frame else { return Ok(false) };
        if matches!(self.source, Source::Here(_)) {
            self.read_here_bytes += frame.header.span_bytes();
        }
        self.cursor = frame.cursor();
        self.frame = frame.payload;
        Ok(true)
    }
}

impl Iterator for Reader {
    type Item = Result<Record, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(Found { lsn, kind, payload }) = self.next_in_frame() {
                let payload = self.frame.slice(payload);
                return Some(Ok(Record { lsn, kind, payload }));
            }
            match self.go_on() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }
}
