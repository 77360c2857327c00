//! Numbers that name things in the log: a record, a segment. Neither is ever used twice.

use std::fmt;

/// Log sequence number: the number of a record in the endless log, dense, from 1.
///
/// `Lsn(0)` stands for "no record": the durable end of a log in which nothing is durable yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// "No record"; below every record's number.
    pub const NONE: Lsn = Lsn(0);

    /// The record number `value`, counted from 1; 0 is [`Lsn::NONE`].
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the record after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The number of the record before this one; `NONE` stays `NONE`.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Number of a segment file, dense, from 1; a successor without records is replaced under its
/// own number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(u64);

impl SegmentId {
    /// The segment number `value`, counted from 1; 0 means "none", as before the first segment.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the segment after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
