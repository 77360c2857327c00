//! Exact quotas by credits, pressure levels from the kernel, and a cleanup that frees what it
//! says.
//!
//! A [`Guardian`] admits by *credits*: whoever wants to create something reserves some, keeps them
//! in a lease of its own, and uses them up without asking again. It never admits one over the
//! limit and never refuses while a credit is free anywhere: before it refuses it asks its
//! [`Holder`] for the idle ones. Memory is a second quota, in bytes. A [`pulse`](Guardian::pulse)
//! reads what the kernel says and sets a [`Level`]; a [`cleanup`](Guardian::cleanup) evicts the
//! lowest-ranked members of a [`Population`].
//!
//! Must not know: tokens, arenas, sessions, metrics names, any other `ng-*` crate. It speaks of
//! credits and bytes only.
//!
//! ```
//! use ng_guardian::{Guardian, GuardianConfig, Refusal};
//!
//! let mut config = GuardianConfig::default();
//! config.max_tokens = Some(100);
//! let guardian = Guardian::new(config)?;
//!
//! let mut cell = guardian.cell(); // one a session: gives credits back without contention
//! let lease = guardian.reserve(1_024)?; // up to 1,024 credits; here the 100 there are
//! assert_eq!(lease.credits, 100);
//! assert!(matches!(guardian.reserve(1), Err(Refusal::TokensExceeded { limit: 100, .. })));
//!
//! cell.release_one();
//! assert_eq!(guardian.reserve(1)?.credits, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod alarm;
mod balance;
mod cleanup;
mod config;
mod error;
mod guardian;
mod ledger;
mod level;
#[cfg(all(test, loom))]
mod loom_ledger;
mod mutants;
mod permit;
mod pressure;
mod pulse;
mod quota;
mod stats;
mod sync;
mod vain;
mod waiters;

pub use crate::alarm::{Alarm, Woken};
pub use crate::cleanup::{
    Candidate, CleanupGoal, CleanupKey, CleanupReport, Cut, Evicted, Population, Position,
};
pub use crate::config::{
    CleanupPolicy, Evict, GuardianConfig, Limits, PressureMode, PressureSources,
};
pub use crate::error::{ConfigError, Refusal};
pub use crate::guardian::{Guardian, PulseReport};
pub use crate::ledger::{Granted, Holder, ReleaseCell};
pub use crate::level::{Cause, Level, LevelChange};
pub use crate::permit::Permit;
pub use crate::pressure::{Figure, Reading, Source, Stall};
pub use crate::pulse::PulseThread;
pub use crate::stats::GuardianStats;

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
