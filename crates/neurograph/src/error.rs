//! The superset of what can go wrong: one enum per family of calls, each made from the rooms' own errors.

use crate::config::{ConfigError, Persist};
use crate::durable::log::Log;
use crate::inner::Barred;
use ng_core::{Token, TokenId};
use ng_guardian::Refusal;
use ng_wal::{AppendError, FullCause, Lsn, WaitError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting can't be used; nothing was touched.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A step on the directory or a file of it was refused.
    #[error("can't {operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The log can't be opened: locked, corrupt, of another version.
    #[error(transparent)]
    Log(#[from] ng_wal::OpenError),
    /// The log could not be read to its end.
    #[error(transparent)]
    Replay(#[from] ng_wal::ReadError),
    /// The address space for the tokens was refused.
    #[error(transparent)]
    Arena(#[from] ng_core::ArenaError),
    /// The file that says what this directory is can't be used.
    #[error("{path}: {found}, expected {expected}; nothing was changed", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should.
        expected: String,
    },
    /// The directory has a log, and the settings say `wal.enabled = false`: its tokens would seem gone.
    #[error(
        "{dir} has a log, and wal.enabled is false; switch the log on, or choose another directory; \
         nothing was changed", dir = dir.display()
    )]
    LogSwitchedOff {
        /// The directory.
        dir: PathBuf,
    },
    /// The store was created to log other tokens than the settings say. Whether a token is logged is decided
    /// when it is created; a store that changed its mind would bring deleted tokens back.
    #[error(
        "{dir} was created with persist = {created_with}, and the settings say {asked}; open it with \
         persist = {created_with}, or copy its tokens into a new store; nothing was changed",
        dir = dir.display()
    )]
    Persist {
        /// The directory.
        dir: PathBuf,
        /// What it was created with.
        created_with: Persist,
        /// What the settings say.
        asked: Persist,
    },
    /// A record of the log is none that this build knows.
    #[error("record {lsn} of the log has kind {kind} and {bytes} bytes: {found}")]
    Record {
        /// Its number.
        lsn: Lsn,
        /// Its kind.
        kind: u8,
        /// Its length.
        bytes: usize,
        /// What is wrong with it.
        found: String,
    },
    /// A thread could not be started.
    #[error("can't start the thread {name}")]
    Thread {
        /// Which.
        name: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// The system has no descriptor left, or no memory, for what wakes the store's thread: see `RLIMIT_NOFILE`.
    #[error("can't make the file descriptor by which the store's thread is woken")]
    Alarm {
        /// The system's word.
        source: io::Error,
    },
    /// A metric of the store's own was refused by its registry: a bug of this crate.
    #[error("can't register the store's metrics")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The log took no record while the store was made ready.
    #[error("can't write the store's first records")]
    FirstRecords(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why a session was not handed out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The store was opened by another process, of which this one is a forked child.
    #[error("store was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
    /// The memory quota has no room for what a session holds.
    #[error(
        "memory quota reached: {used} of {limit} bytes, a session takes {requested}; drop sessions or raise \
         guardian.max_memory_bytes"
    )]
    MemoryExceeded {
        /// The limit in force. Unit: bytes.
        limit: u64,
        /// What the store holds. Unit: bytes.
        used: u64,
        /// What a session takes. Unit: bytes.
        requested: u64,
    },
    /// The system reports too little memory, and the store is set to refuse then.
    #[error("{0}")]
    Pressure(Refusal),
}

/// Why a token was not created. Unless it says `DurabilityUnknown`, nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The store was opened by another process, of which this one is a forked child.
    #[error("store was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
    /// The quota of tokens is used up.
    #[error(
        "token quota reached: {used} of {limit} tokens; delete some or raise guardian.max_tokens"
    )]
    QuotaExceeded {
        /// The limit in force.
        limit: u64,
        /// Tokens in use.
        used: u64,
    },
    /// The memory quota has no room for another chunk.
    #[error(
        "memory quota reached: {used} of {limit} bytes, {requested} more needed; \
         delete tokens or raise guardian.max_memory_bytes"
    )]
    MemoryExceeded {
        /// The limit in force. Unit: bytes.
        limit: u64,
        /// What the store holds. Unit: bytes.
        used: u64,
        /// What a chunk takes. Unit: bytes.
        requested: u64,
    },
    /// The system reports too little memory, and the store is set to refuse then.
    #[error("{0}")]
    Pressure(Refusal),
    /// No slot is left in the address space reserved.
    #[error("arena is full: all {slots} slots are in use or retired; raise arena.max_slots")]
    ArenaFull {
        /// Slots reserved.
        slots: u64,
    },
    /// The log failed for good; reads go on from memory.
    #[error("store is read-only: {cause}")]
    ReadOnly {
        /// Why.
        cause: String,
    },
    /// There was no room for its record for as long as the call may wait: in the log's queue, below the
    /// log's limit, or on the disk. The queue and the disk may have room at a later try. The limit has not:
    /// nothing that a store does today makes its log shorter, so the remedy is to close the store and open it
    /// with a larger `wal.log_bytes_max`.
    #[error("nothing changed: {cause}; waited {waited:?}{}", remedy(cause))]
    LogFull {
        /// Which of the three, with its figures.
        cause: Box<FullCause>,
        /// Bytes of the log, whatever was full. Unit: bytes.
        used: u64,
        /// The limit. Unit: bytes.
        limit: u64,
        /// How long the call waited.
        waited: Duration,
    },
    /// The create is one of the observer of evictions, and would take the room that is being made.
    #[error("a create in on_evicted has to find room in a session's lease: cleanup is under way")]
    Evicting,
    /// The store is closed.
    #[error("store is closed")]
    Closed,
    /// No id could be handed out: the record that announces the next ones was not durable in time. The store
    /// goes on, and a later create succeeds when the disk has done its work.
    #[error(
        "no token was created and nothing changed: the next ids may be used once record {lsn} is durable; retry when \
         the disk has caught up"
    )]
    IdsNotDurable {
        /// The record that announces them.
        lsn: Lsn,
        /// Why it is not known to be durable.
        #[source]
        cause: WaitError,
    },
    /// The token exists in memory and its record was taken, but its durability is not known: were the
    /// store killed now, it would be there or not. With the cause `TimedOut` the disk is only slow: the
    /// store goes on, and [`Store::wait_durable`](crate::Store::wait_durable) for this record succeeds when
    /// the sync returns. With `Failed` the log has failed, and the store is read-only.
    #[error("token {id} is created, but record {lsn} is not known to be durable")]
    DurabilityUnknown {
        /// The token.
        id: TokenId,
        /// Its record.
        lsn: Lsn,
        /// Why.
        #[source]
        cause: WaitError,
    },
}

/// Why a token was not updated or deleted. Unless it says `DurabilityUnknown`, nothing changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The store was opened by another process, of which this one is a forked child.
    #[error("store was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
    /// No live token has this id.
    #[error("no live token has the id {id}")]
    NotFound {
        /// The id.
        id: TokenId,
    },
    /// The token is not the expected one.
    #[error("token {id} is not the expected one")]
    Conflict {
        /// The id.
        id: TokenId,
        /// What it holds.
        current: Box<Token>,
    },
    /// The log failed for good; reads go on from memory.
    #[error("store is read-only: {cause}")]
    ReadOnly {
        /// Why.
        cause: String,
    },
    /// There was no room for its record for as long as the call may wait: in the log's queue, below the
    /// log's limit, or on the disk. The queue and the disk may have room at a later try. The limit has not:
    /// nothing that a store does today makes its log shorter, so the remedy is to close the store and open it
    /// with a larger `wal.log_bytes_max`.
    #[error("nothing changed: {cause}; waited {waited:?}{}", remedy(cause))]
    LogFull {
        /// Which of the three, with its figures.
        cause: Box<FullCause>,
        /// Bytes of the log, whatever was full. Unit: bytes.
        used: u64,
        /// The limit. Unit: bytes.
        limit: u64,
        /// How long the call waited.
        waited: Duration,
    },
    /// The store is closed.
    #[error("store is closed")]
    Closed,
    /// The write happened in memory and its record was taken, but its durability is not known: as of
    /// [`CreateError::DurabilityUnknown`].
    #[error("token {id} is written, but record {lsn} is not known to be durable")]
    DurabilityUnknown {
        /// The token.
        id: TokenId,
        /// Its record.
        lsn: Lsn,
        /// Why.
        #[source]
        cause: WaitError,
    },
}

/// Why not all tokens of a batch were created, or why all were and are not known to be durable.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{created} tokens of the batch are created; {}", match .source {
    CreateError::DurabilityUnknown { .. } => "they are not known to be durable",
    _ => "the part after them was refused",
})]
pub struct CreateBatchError {
    /// How many were appended to the ids: these exist, and are logged if they are to be. Go on from
    /// there, or with a smaller batch: a part is refused as a whole, and single creates may still fit.
    pub created: usize,
    /// Why the part after them was refused. `DurabilityUnknown` is told before any refusal: the last record
    /// is not known to be durable, and if `created` is not all of the batch, a part was refused too.
    pub source: CreateError,
}

/// Why not all tokens of a batch were updated or deleted, or why all were and are not known to be durable.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{done} writes of the batch are done; {}", match .source {
    WriteError::DurabilityUnknown { .. } => "they are not known to be durable",
    _ => "the one after them was refused",
})]
pub struct WriteBatchError {
    /// How many were: the first ones. The next one met the cause; the batch may go on behind it.
    pub done: usize,
    /// Why. `DurabilityUnknown` is told before any refusal, as in [`CreateBatchError`].
    pub source: WriteError,
}

/// Why a wait for durability ended without it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The store was opened by another process, of which this one is a forked child.
    #[error("store was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
    /// The time was up, the log failed, or no such record was appended.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// This store has no log: nothing of it is ever durable.
    #[error("store has no log, so nothing of it can be durable")]
    NoLog,
}

/// Why a close was not clean. What was durable is there at the next open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The store was opened by another process, of which this one is a forked child.
    #[error("store was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
    /// The call is one of the observer of evictions: closing would wait for the cleanup that it is part of. The store
    /// ends with its last session, as by a kill.
    #[error("a store can't be closed in on_evicted: cleanup is under way")]
    Evicting,
    /// The log could not be sealed.
    #[error(transparent)]
    Log(#[from] ng_wal::CloseError),
    /// The manifest could not be told how far the log goes. The log is whole and sealed; only a later loss
    /// of its end would go unnoticed.
    #[error("can't write down how far the log goes")]
    Manifest(#[source] OpenError),
    /// The last record could not be written.
    #[error("can't write the store's last record")]
    LastRecord(#[source] ng_wal::AppendError),
    /// The spans still in their rings did not reach the sink.
    #[error("spans did not reach their sink")]
    Spans(#[source] ng_trace::FlushError),
}

/// What a caller of a store can do about a full log, as the end of a message.
fn remedy(cause: &FullCause) -> &'static str {
    match cause {
        FullCause::Log { .. } => "; open the store again with a larger wal.log_bytes_max",
        FullCause::Ring { .. } => "; retry when the disk has caught up",
        FullCause::Disk { .. } => "; retry when the system has room again",
        _ => "",
    }
}

/// Why no record could be claimed.
pub(crate) struct Stuck {
    error: AppendError,
    waited: Duration,
    /// Bytes of the log, and their limit.
    used: u64,
    limit: u64,
}

impl Stuck {
    pub(crate) fn of(error: AppendError, waited: Duration, log: Option<&Log>) -> Box<Stuck> {
        let (used, limit) = log.map_or((0, 0), Log::used_and_limit);
        Box::new(Stuck { error, waited, used, limit })
    }
}

/// What keeps any change from being made, in the words of each kind of change.
macro_rules! refused_alike {
    ($($error:ident)*) => {$(
        impl From<Box<Stuck>> for $error {
            fn from(stuck: Box<Stuck>) -> $error {
                match stuck.error {
                    AppendError::Full(full) => $error::LogFull {
                        cause: Box::new(full.cause),
                        used: stuck.used,
                        limit: stuck.limit,
                        waited: stuck.waited,
                    },
                    AppendError::Closed => $error::Closed,
                    AppendError::Forked { opened_by } => $error::Forked { opened_by },
                    other => $error::ReadOnly { cause: other.to_string() },
                }
            }
        }

        impl From<Barred> for $error {
            fn from(barred: Barred) -> $error {
                match barred {
                    Barred::ReadOnly(cause) => $error::ReadOnly { cause },
                    Barred::Closed => $error::Closed,
                    Barred::Forked { opened_by } => $error::Forked { opened_by },
                }
            }
        }
    )*};
}

refused_alike!(CreateError WriteError);

impl From<Refusal> for CreateError {
    fn from(refusal: Refusal) -> CreateError {
        match refusal {
            Refusal::TokensExceeded { limit, used, .. } => {
                CreateError::QuotaExceeded { limit, used }
            }
            Refusal::MemoryExceeded { limit_bytes, used_bytes, requested_bytes } => {
                CreateError::MemoryExceeded {
                    limit: limit_bytes,
                    used: used_bytes,
                    requested: requested_bytes,
                }
            }
            other => CreateError::Pressure(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_a_slow_disk_says_that_nothing_changed_and_what_to_do() {
        let (lsn, waited) = (Lsn::new(9), Duration::from_secs(30));
        let cause = WaitError::Forked { opened_by: 1 };
        let said = CreateError::IdsNotDurable { lsn, cause }.to_string();
        assert!(said.contains("nothing changed") && said.contains("retry"), "{said}");
        let queue =
            FullCause::Ring { records: 8, slots: 8, large_bytes: 0, large_bytes_max: 1 << 20 };
        let full = WriteError::LogFull { cause: Box::new(queue), used: 1, limit: 2, waited };
        assert_eq!(
            full.to_string(),
            "nothing changed: the log's queue is full: 8 of 8 records and 0 of 1048576 bytes of large \
             payloads wait to be written; waited 30s; retry when the disk has caught up"
        );
    }
}
