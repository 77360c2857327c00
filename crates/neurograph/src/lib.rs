//! An embeddable store of 64-byte tokens: bounded, crash-safe, fully observed.
//!
//! The only composer: it alone knows every floor-0 crate and turns one's facts into another's words.
//! Must not know: HTTP, command lines, benchmarks.
//!
//! ```
//! use neurograph::{Config, Store, Token};
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path().join("store");
//! let store = Store::open(&dir, Config::default())?;
//! let mut session = store.session();
//! let token = Token::builder().weight(0.5).build()?;
//! let id = session.create(&token)?;
//! store.sync()?; // on stable storage when it returns
//! drop(session);
//! store.close()?;
//!
//! let store = Store::open(&dir, Config::default())?;
//! assert_eq!(store.session().get(id).map(|t| t.weight()), Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod config;
mod durable;
mod error;
mod format;
mod inner;
mod life;
mod mutants;
mod observe;
mod session;
mod stats;
mod store;
mod watch;

pub use crate::{
    config::{
        ArenaSection, BlackboxSection, Config, ConfigError, Persist, TraceSection, WalSection,
    },
    error::{
        CloseError, CreateBatchError, CreateError, OpenError, SessionError, SyncError,
        WriteBatchError, WriteError,
    },
    session::{Raised, Session},
    stats::{Health, MemoryShares, RecoveryReport, Stats},
    store::{Store, StoreBuilder},
    watch::eviction::{EvictionReason, Evictions},
};
pub use ng_blackbox as blackbox;
pub use ng_core as core;
pub use ng_core::{EntityType, Flags, Space, Token, TokenBuilder, TokenError, TokenId};
pub use ng_guardian as guardian;
pub use ng_metrics as metrics;
pub use ng_trace as trace;
pub use ng_wal as wal;
pub use ng_wal::{Durability, FullCause, Lsn};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct CrateReadmeDoctests;

#[doc = include_str!("../../../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
