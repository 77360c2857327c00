//! A record, owned or lent, and where in a frame the next one is.

use std::ops::Range;

use bytes::Bytes;

use crate::{Lsn, format};

/// One record of the log.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub lsn: Lsn,
    /// The kind it was appended with.
    pub kind: u8,
    /// Its payload: a view into the chunk it was read with, which it keeps alive.
    pub payload: Bytes,
}

/// A [`Record`] whose payload is lent by the reader.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its number.
    pub lsn: Lsn,
    /// The kind it was appended with.
    pub kind: u8,
    /// Its payload, until the reader is asked for the next record.
    pub payload: &'a [u8],
}

/// The [`RecordRef`]s of one frame, in order. A clone goes on from the same place: for those who
/// look ahead.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    pub(super) frame: &'a [u8],
    pub(super) cursor: Cursor,
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        let Found { lsn, kind, payload } = self.cursor.next(self.frame)?;
        Some(RecordRef { lsn, kind, payload: self.frame.get(payload)? })
    }
}

/// Where in a frame the next record is, its LSN, and how many are left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    pub(super) at: usize,
    pub(super) lsn: u64,
    pub(super) left: u32,
}

/// A record, and where in the frame at hand its payload is.
pub(super) struct Found {
    pub(super) lsn: Lsn,
    pub(super) kind: u8,
    pub(super) payload: Range<usize>,
}

impl Cursor {
    // A record never goes through a `Result` on its way: moved together with what an error would
    // hold, its bytes are stored in other pieces than they are loaded, and that took half the time.
    #[inline(always)]
    pub(super) fn next(&mut self, frame: &[u8]) -> Option<Found> {
        self.left = self.left.checked_sub(1)?;
        let (kind, length) = format::decode_record(frame, self.at)?;
        let from = self.at + format::RECORD_HEADER_BYTES;
        self.at += format::record_bytes(length);
        self.lsn += 1;
        Some(Found { lsn: Lsn::new(self.lsn - 1), kind, payload: from..from + length })
    }
}
