//! The guardian's figures as plain values, read field by field: sums may miss what is in flight.

use std::time::Duration;

use crate::level::Level;
use crate::pressure::Reading;

/// What a guardian has done and where it stands. Fields that end in `_total` never fall.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct GuardianStats {
    /// The limit of credits in force; `None` is unlimited.
    pub max_tokens: Option<u64>,
    /// Credits out: in use, and idle in leases.
    pub tokens_used: u64,
    /// Credits granted: the number of admissions decided in favour.
    pub granted_total: u64,
    /// Credits that came back, recalled ones included.
    pub released_total: u64,
    /// Reservations refused because every credit was taken.
    pub refusals_tokens_total: u64,
    /// Commits refused by the memory quota.
    pub refusals_memory_total: u64,
    /// Commits refused because of what the kernel reported.
    pub refusals_pressure_total: u64,
    /// Times the holder was asked for idle credits.
    pub recalls_total: u64,
    /// Credits it gave back.
    pub recalled_credits_total: u64,
    /// Release cells alive: the holders among which the rest is shared.
    pub holders: u32,
    /// The limit of memory in force; `None` is unlimited. Unit: bytes.
    pub max_memory_bytes: Option<u64>,
    /// Memory committed. Unit: bytes.
    pub committed_bytes: u64,
    /// Memory that evicted members occupied and that did not go back, because others still live
    /// in the same chunks; free for new members. 0 again once memory is committed. Unit: bytes.
    pub fragmented_bytes: u64,
    /// The level as of the last pulse.
    pub level: Level,
    /// Changes of level.
    pub level_changes_total: u64,
    /// The kernel's figures with their sources, as of the last pulse.
    pub reading: Option<Reading>,
    /// How old that reading is; zero if there is none.
    pub reading_age: Duration,
    /// Pulses, each of which read the kernel's files.
    pub pulses_total: u64,
    /// Cleanups that had something to do.
    pub cleanups_total: u64,
    /// Members they evicted.
    pub evicted_total: u64,
    /// Memory they gave back, as the population reported it. Unit: bytes.
    pub cleanup_freed_bytes_total: u64,
    /// Time spent in them, without waiting for one another. Unit: nanoseconds.
    pub cleanup_ns_total: u64,
}
