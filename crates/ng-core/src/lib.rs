//! An arena of 64-byte tokens: stored in place, named by ids that never lie, read without locks.
//!
//! Must not know: disks, logs, quotas' policy, sampling, metrics, HTTP, any other `ng-*` crate.
//!
//! ```
//! use ng_core::{Arena, ArenaConfig, Space, Token};
//!
//! let arena = Arena::new(ArenaConfig::default())?;
//! let mut writer = arena.writer();
//! let token = Token::builder().coordinates(Space::Physical, [1.0, 2.0, 3.0]).weight(0.5).build()?;
//! let id = writer.create(&token)?;
//! assert_eq!(arena.get(id), Some(token));
//! writer.delete(id)?;
//! assert_eq!(arena.get(id), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod arena;
mod chunks;
mod config;
mod drain;
mod error;
mod id;
mod iter;
mod lease;
mod mutants;
mod restore;
mod shared;
mod shared_writer;
#[cfg(all(test, shuttle))]
mod shuttle_arena;
mod stats;
mod sync;
mod token;
mod writer;

pub use crate::{
    arena::Arena,
    config::{ArenaConfig, CHUNK_BYTES, CHUNK_SLOTS, LEASE_SLOTS_MAX, MemoryGate, SLOTS_MAX},
    drain::Drain,
    error::{ArenaError, ConfigError, CreateError, NotFound},
    id::{ParseIdError, TokenId},
    iter::Iter,
    restore::{NoRoom, Restored, Restorer},
    shared_writer::SharedWriter,
    stats::ArenaStats,
    token::{
        EntityType, Flags, ImageOptions, Imported, ParseFlagsError, Space, Token, TokenBuilder,
        TokenError,
    },
    writer::{Due, Edit, Edits, Pending, PendingBatch, Writer},
};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
