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
    /// Credits that somebody released though they were not out: a bug of the owner. They were not
    /// given back to the pool.
    pub over_released_total: u64,
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
    /// Memory committed, the fixed share included. Unit: bytes.
    pub committed_bytes: u64,
    /// The share of it that no eviction frees. Unit: bytes.
    pub fixed_bytes: u64,
    /// Bytes that somebody gave back though they were not in use: a bug of the owner. They were not
    /// counted as free.
    pub over_uncommitted_bytes_total: u64,
    /// Memory that evicted members occupied and that did not go back, because others still live
    /// in the same chunks; free for new members. At most what is committed, not fixed, and not
    /// occupied by as many members as credits are out. 0 again once more memory is asked for.
    /// Unit: bytes.
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
    /// Cleanups that evicted something.
    pub cleanups_total: u64,
    /// Cleanups that went through the population and evicted nothing.
    pub cleanups_vain_total: u64,
    /// Cleanups that were asked for and not begun, because an earlier one had found nothing to
    /// evict and nothing has changed since, or because the population says that there is nothing.
    pub cleanups_skipped_total: u64,
    /// Members that cleanups evicted.
    pub evicted_total: u64,
    /// Memory that cleanups gave back, as the population reported it. Unit: bytes.
    pub cleanup_freed_bytes_total: u64,
    /// Time spent in cleanups that were not skipped, without waiting for one another. Unit: nanoseconds.
    pub cleanup_ns_total: u64,
}

impl GuardianStats {
    /// Committed memory in percent of the limit in force, 0 to 100: 0 without a limit, 100 at the
    /// limit and above it, so also with a limit of 0.
    pub fn memory_usage_percent(&self) -> f64 {
        match self.max_memory_bytes {
            None => 0.0,
            Some(limit) if self.committed_bytes >= limit => 100.0,
            Some(limit) => 100.0 * self.committed_bytes as f64 / limit as f64,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_memory_is_a_percentage_whatever_the_limit() {
        let cases = [
            (None, u64::MAX, 0.0),
            (Some(0), 0, 100.0),
            (Some(0), 6_610_944, 100.0),
            (Some(1), 0, 0.0),
            (Some(1), 6_610_944, 100.0),
            (Some(200), 50, 25.0),
            (Some(u64::MAX), 0, 0.0),
            (Some(u64::MAX), u64::MAX, 100.0),
        ];
        for (max_memory_bytes, committed_bytes, percent) in cases {
            let stats = GuardianStats { max_memory_bytes, committed_bytes, ..Default::default() };
            assert_eq!(stats.memory_usage_percent(), percent, "{max_memory_bytes:?}");
        }
    }
}
