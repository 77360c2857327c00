//! A write-ahead log of opaque records: group commit, three durability levels, exact recovery.
//!
//! A record is a kind (one byte) and a payload of up to 1 MiB; its [`Lsn`] is its number. Appenders
//! claim numbers in a lock-free ring; three threads bring them to segment files, to stable storage,
//! and keep the next segment ready. After a crash [`Wal::open`] gives back an exact prefix of what
//! was appended, with everything that was acknowledged durable, or refuses and says where the
//! damage is.
//!
//! Must not know: tokens, quotas, metrics names, HTTP, any other `ng-*` crate.
//!
//! ```
//! use ng_wal::{Durability, Wal, WalConfig};
//!
//! # let dir = tempfile::tempdir()?;
//! let (wal, recovery) = Wal::open(dir.path(), WalConfig::default())?;
//! for record in recovery.replay() {
//!     let record = record?; // what an earlier run left
//!     println!("{} {} {:?}", record.lsn, record.kind, record.payload);
//! }
//! let first = wal.append(1, b"queued, and durable within a moment")?;
//! let second = wal.append_durable(1, b"durable on return", Durability::Strict)?;
//! assert_eq!(second, first.next());
//! assert!(wal.durable_lsn() >= second);
//! wal.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod config;
mod disk;
mod error;
mod format;
mod home;
mod lsn;
mod mutants;
mod observer;
mod operate;
mod read;
mod recovery;
mod row;
#[cfg(feature = "sim")]
pub mod sim;
mod stats;
mod sync;
mod wal;
mod write;

#[cfg(all(test, not(loom)))]
mod fault_tests;
#[cfg(all(test, not(loom)))]
mod shortage_tests;

pub use crate::config::{Durability, Needs, WalConfig};
pub use crate::disk::storage::{Access, DirEntry, Directory, DirectoryLock, LockError};
pub use crate::error::{
    AppendError, CloseError, ConfigError, Failure, Full, FullCause, OpenError, ReadError,
    RetireError, WaitError,
};
pub use crate::home::{Forked, Home};
pub use crate::lsn::{Lsn, SegmentId};
pub use crate::observer::{FullEvent, RecoveredEvent, Rotated, Synced, WalObserver, Written};
pub use crate::operate::backup::BackupError;
pub use crate::operate::dump::{Dump, Dumped, DumpedFrame, dump};
pub use crate::operate::inspect::{
    ContentsInspection, HeaderInspection, Inspection, SegmentInspection, inspect,
};
pub use crate::operate::salvage::{DroppedRange, PrefixEnd, SalvageError, SalvageReport, salvage};
pub use crate::operate::verify::{Readable, Verification, verify, verify_for};
pub use crate::read::reader::Reader;
pub use crate::read::record::{Record, RecordRef, Records};
pub use crate::recovery::Recovery;
pub use crate::row::{Row, Tail};
pub use crate::stats::WalStats;
pub use crate::wal::{Health, Wal};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
