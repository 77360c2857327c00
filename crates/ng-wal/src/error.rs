//! What can go wrong, one enum per operation family, with what an operator needs to act on it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::names::file_name;
use crate::format::{HeaderFault, MIN_READER_VERSION, VERSION, describe_header};
use crate::home::Forked;
use crate::write::room_waiters::Need;
use crate::{BackupError, Lsn, Row, SegmentId};

/// A setting outside its allowed range.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wal setting {field} is {value}, allowed is {allowed}")]
pub struct ConfigError {
    /// Name of the field in `WalConfig`.
    pub field: &'static str,
    /// The value found.
    pub value: String,
    /// The values allowed.
    pub allowed: String,
}

/// Why a log could not be opened. Nothing on disk was changed, unless it says `Io`.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Damage to records that were proven durable, or damage no single crash can cause.
    #[error(
        "wal {}: corrupt: {file} at offset {offset} (LSN {lsn}): {found} (expected {expected}); \
         proven durable below LSN {durable_below}; nothing was changed. {}",
        dir.display(), advice(dir)
    )]
    #[allow(missing_docs)] // the fields are the sentence above
    Corrupt {
        dir: PathBuf,
        file: String,
        offset: u64,
        lsn: Lsn,
        found: Box<str>,
        expected: Box<str>,
        durable_below: Lsn,
        row: Row,
    },
    /// A segment file that must be there is absent.
    #[error(
        "wal {}: missing: segment {segment} is absent: {found}; nothing was changed. {}",
        dir.display(), advice(dir)
    )]
    Missing {
        /// Directory of the log.
        dir: PathBuf,
        /// Number of the absent segment.
        segment: SegmentId,
        /// What the neighbours, or the owner's checkpoint, say.
        found: Box<str>,
        /// The state in the recovery table.
        row: Row,
    },
    /// Another handle, in this process or another, has the log open.
    #[error("wal {0}: locked: {lock} is held by {holder}", dir.display(), lock = dir.join(crate::disk::storage::LOCK).display())]
    Locked {
        /// Directory of the log.
        dir: PathBuf,
        /// What the lock file says of its holder, and whether that process is there; informational.
        holder: String,
    },
    /// Written in a format this build does not read.
    #[error("wal {}: version: {file}: {found}, this build reads {readable}; nothing was changed", dir.display())]
    Version {
        /// Directory of the log.
        dir: PathBuf,
        /// The file.
        file: String,
        /// The format found.
        found: Box<str>,
        /// The formats this build reads.
        readable: Box<str>,
        /// The state in the recovery table.
        row: Row,
    },
    /// A file with a segment's name that is not a segment of this log.
    #[error("wal {}: foreign: {file}: {found} (expected {expected}); nothing was changed", dir.display())]
    Foreign {
        /// Directory of the log.
        dir: PathBuf,
        /// The file.
        file: String,
        /// What it is.
        found: Box<str>,
        /// What it should be.
        expected: Box<str>,
        /// The state in the recovery table.
        row: Row,
    },
    /// The directory or a file of it cannot be written.
    #[error("wal {}: read-only: {operation} failed", path.display())]
    ReadOnly {
        /// What was tried.
        operation: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The operating system refused something. The log was not handed out.
    #[error("wal {}: i/o: {operation} failed", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The directory or file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// What an operator can do about damage.
fn advice(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "ng_wal::verify judges {dir}; ng_wal::salvage copies its readable prefix to another directory"
    )
}

impl OpenError {
    /// The state of the recovery table, if it was the files' state that was refused.
    pub fn row(&self) -> Option<Row> {
        match self {
            Self::Corrupt { row, .. }
            | Self::Missing { row, .. }
            | Self::Version { row, .. }
            | Self::Foreign { row, .. } => Some(*row),
            Self::Config(_) | Self::Locked { .. } | Self::ReadOnly { .. } | Self::Io { .. } => None,
        }
    }

    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { operation, path, source }
            }
            _ => Self::Io { operation, path, source },
        }
    }
}

/// A step that the operating system refused: the one that ended a log for good, kept for every later
/// caller; or one that is tried again until it is done.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} of {file} at offset {offset} failed: {message}")]
pub struct Failure {
    /// What was being done, such as `fdatasync`.
    pub operation: &'static str,
    /// Name of the file in the log's directory.
    pub file: String,
    /// Offset in it: where the write began, or the end that a sync was to cover.
    pub offset: u64,
    /// The operating system's error number, if it was the operating system.
    pub errno: Option<i32>,
    /// Its kind.
    pub kind: io::ErrorKind,
    /// Its text.
    pub message: String,
}

impl Failure {
    pub(crate) fn io(operation: &'static str, file: &str, offset: u64, error: &io::Error) -> Self {
        Self {
            operation,
            file: file.to_owned(),
            offset,
            errno: error.raw_os_error(),
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

/// Nothing was appended for want of room. [`Wal::wait_for_room`](crate::Wal::wait_for_room) sleeps
/// until there may be room for just what was refused.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}{}", cause.advice())]
pub struct Full {
    /// What is full, as it was when the append was refused.
    pub cause: FullCause,
    pub(crate) need: Need,
}

/// What has no room. The three have nothing to do with each other, and end by different events.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FullCause {
    /// The queue in memory: appends come faster than the disk takes them. Ends by itself.
    #[error(
        "the log's queue is full: {records} of {slots} records and {large_bytes} of \
         {large_bytes_max} bytes of large payloads wait to be written"
    )]
    Ring {
        /// Records that wait to be written.
        records: u64,
        /// `WalConfig::ring_slots`.
        slots: u64,
        /// Bytes of large payloads among them.
        large_bytes: u64,
        /// `WalConfig::large_bytes_max`.
        large_bytes_max: u64,
    },
    /// The log's share of the disk. Ends when the log's owner retires old records with
    /// [`Wal::retire_before`](crate::Wal::retire_before), or opens the log with a larger
    /// `WalConfig::log_bytes_max`. An owner that retires nothing has the second way alone.
    #[error(
        "the log is full: {used} of {limit} bytes are used, and the last {kept} are kept for what is \
         on its way and for records that make room"
    )]
    Log {
        /// Bytes of the log on disk.
        used: u64,
        /// `WalConfig::log_bytes_max`.
        limit: u64,
        /// Bytes below the limit that this append may not use.
        kept: u64,
        /// Oldest record kept.
        oldest_lsn: Lsn,
    },
    /// The operating system refuses what the log needs to go on: space, a quota, a descriptor.
    /// Nothing is lost; the log tries again until it gets it.
    #[error("the log can't go on for now: {failure}")]
    Disk {
        /// What is refused.
        failure: Box<Failure>,
    },
}

impl FullCause {
    /// What the owner of a log can do about it.
    fn advice(&self) -> String {
        match self {
            Self::Ring { .. } => "; wait for the disk".into(),
            Self::Log { oldest_lsn, .. } => format!(
                "; oldest record is LSN {oldest_lsn}: call retire_before with the first LSN that \
                 is still needed, or open the log with a larger log_bytes_max"
            ),
            Self::Disk { .. } => "; nothing is lost, and it is tried again".into(),
        }
    }
}

/// Why a record was not appended. Unless it says `DurabilityUnknown`, nothing changed.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room, and of which kind.
    #[error(transparent)]
    Full(#[from] Full),
    /// The payload, or the batch as it lies in its frame, exceeds what the log takes.
    #[error("{bytes} bytes do not fit, the limit is {limit}")]
    TooLarge {
        /// Bytes of the payload, or of the encoded batch.
        bytes: u64,
        /// The limit for it.
        limit: u64,
    },
    /// The log is closed.
    #[error("log is closed")]
    Closed,
    /// The log failed earlier, for good.
    #[error("log failed for good: {0}")]
    Failed(#[source] Failure),
    /// The record was appended, and then its durability could not be confirmed: after a crash it
    /// is there or not, as part of one exact prefix.
    #[error("record {lsn} was appended, but its durability is unknown")]
    DurabilityUnknown {
        /// The record's number.
        lsn: Lsn,
        /// Why the wait ended.
        #[source]
        cause: WaitError,
    },
    /// The calling process is a forked child of the one that opened the log.
    #[error("this log was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
}

/// Why a wait for durability ended without it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The time was up first. The log goes on: a later wait for the same record succeeds when the
    /// disk has done its work.
    #[error(
        "LSN {lsn} is not durable after {waited:?}; durable is LSN {durable_lsn}{}",
        refused.as_ref().map(|failure| format!("; {failure}")).unwrap_or_default()
    )]
    TimedOut {
        /// The record waited for.
        lsn: Lsn,
        /// Highest durable record.
        durable_lsn: Lsn,
        /// How long the call waited.
        waited: Duration,
        /// What the operating system refuses the log at present; none: the disk is slow.
        refused: Option<Box<Failure>>,
    },
    /// No such record has been appended yet.
    #[error("LSN {lsn} has not been appended; the last one is LSN {last_lsn}")]
    NotAppended {
        /// The record asked for.
        lsn: Lsn,
        /// Highest record appended.
        last_lsn: Lsn,
    },
    /// The log failed, and this record had not been made durable before.
    #[error("log failed for good: {0}")]
    Failed(#[source] Failure),
    /// The calling process is a forked child of the one that opened the log.
    #[error("this log was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
}

/// Why a close was not clean. The next open recovers what was durable.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// The log had failed, or failed while it was drained, sealed and synced.
    #[error("log was not closed cleanly; durable is LSN {durable_lsn}")]
    Failed {
        /// Highest durable record.
        durable_lsn: Lsn,
        /// The failure.
        #[source]
        failure: Failure,
    },
    /// The calling process is a forked child of the one that opened the log.
    #[error("this log was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
}

/// Why segments could not be removed. What was removed before stays removed, oldest first.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RetireError {
    /// There is no such record yet, so it cannot be the first that is still needed. Nothing was
    /// removed.
    #[error("records before LSN {lsn} cannot be retired: the last one appended is LSN {last_lsn}")]
    NotAppended {
        /// The record named; the one after the last is the highest allowed.
        lsn: Lsn,
        /// Highest record appended.
        last_lsn: Lsn,
    },
    /// The operating system refused.
    #[error("{operation} of {file} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file in the log's directory.
        file: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The calling process is a forked child of the one that opened the log.
    #[error("this log was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
}

/// The errors of calls in a forked child.
macro_rules! from_forked {
    ($($error:ty),*) => {$(
        impl From<Forked> for $error {
            fn from(Forked { opened_by }: Forked) -> Self {
                Self::Forked { opened_by }
            }
        }
    )*};
}
from_forked!(AppendError, WaitError, CloseError, RetireError, BackupError);

/// Why replay stopped.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Damage below a durable record, found while reading.
    #[error("{file} at offset {offset} (LSN {lsn}): {found}")]
    Corrupt {
        /// The file in the log's directory.
        file: String,
        /// Where in it.
        offset: u64,
        /// First record that cannot be read.
        lsn: Lsn,
        /// What was found there.
        found: Box<str>,
    },
    /// The log's owner retired what comes next while it was read, or opened the log again, which may
    /// write its last segment anew. Nothing is damaged; a reader that begins anew begins at the oldest
    /// record kept.
    #[error("{file} was retired or replaced while the log was read: record {lsn} is not in it")]
    Retired {
        /// The file that was in the log's directory.
        file: String,
        /// First record that cannot be read there any more.
        lsn: Lsn,
    },
    /// The operating system refused a read.
    #[error("{operation} of {file} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file in the log's directory.
        file: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// The refusal for a file whose header this build cannot use.
pub(crate) fn header_error(dir: &Path, seq: SegmentId, fault: &HeaderFault) -> OpenError {
    let (dir, file, found) = (dir.to_path_buf(), file_name(seq), describe_header(fault).into());
    match fault {
        HeaderFault::Swapped | HeaderFault::Version { .. } => OpenError::Version {
            dir,
            file,
            found,
            readable: format!("format {MIN_READER_VERSION} to {VERSION}, little-endian").into(),
            row: if *fault == HeaderFault::Swapped { Row::R33 } else { Row::R32 },
        },
        HeaderFault::Magic { .. } => OpenError::Foreign {
            dir,
            file,
            found,
            expected: "a segment of this log".into(),
            row: Row::R34,
        },
        _ => OpenError::Corrupt {
            dir,
            file,
            offset: 0,
            lsn: Lsn::NONE,
            found,
            expected: "a segment header".into(),
            durable_below: Lsn::NONE,
            row: Row::R26,
        },
    }
}
