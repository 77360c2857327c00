//! What can go wrong, one enum per family of calls.

use std::io;

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `max_slots` is 0 or more than the id can name.
    #[error("arena.max_slots is {value}, expected 1 to {most}")]
    MaxSlots {
        /// What was set.
        value: u64,
        /// The largest allowed.
        most: u64,
    },
    /// `commit_ahead_bytes` is more than what counts as a little ahead.
    #[error("arena.commit_ahead_bytes is {value}, expected 0 to {most}")]
    CommitAhead {
        /// What was set.
        value: u64,
        /// The largest allowed.
        most: u64,
    },
}

/// An arena that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// A setting out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel refused the address space.
    #[error("can't reserve {bytes} bytes of address space for the arena")]
    Reserve {
        /// What was asked for.
        bytes: u64,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Why a writer could not get more slots, or a token was not created. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Each slot is taken.
    #[error("arena is full: all of its {slots} slots are taken; delete tokens or raise max_slots")]
    Full {
        /// Slots in all.
        slots: u64,
    },
    /// The memory gate said no.
    #[error("memory gate refused {bytes} more bytes; the arena holds {committed}")]
    Memory {
        /// What was asked for.
        bytes: u64,
        /// What the arena holds.
        committed: u64,
    },
    /// The next ids would reach the generation limit that the owner set.
    #[error(
        "next token would get generation {needed}, at or above the limit {limit} that its owner set"
    )]
    Generation {
        /// Highest generation of the slots at hand.
        needed: u32,
        /// The limit in force.
        limit: u32,
    },
}

/// The id names no live token: deleted, never there, or of another store. Nothing changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("no live token has this id")]
pub struct NotFound;
