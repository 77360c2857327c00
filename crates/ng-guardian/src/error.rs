//! What can go wrong: bad settings, and the typed refusals; each message says what to do.

use crate::pressure::Source;

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A field is outside its range.
    #[error("{field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Name of the field in [`GuardianConfig`](crate::GuardianConfig).
        field: &'static str,
        /// The value found.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

/// Why a reservation or a commit was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Every credit is taken, those in idle leases and in release cells included in the search.
    #[error(
        "credit quota reached: {used} of {limit} in use, {requested} asked for; \
         release some, let a cleanup evict, or raise max_tokens"
    )]
    TokensExceeded {
        /// The limit in force. Unit: credits.
        limit: u64,
        /// Credits out; more than `limit` after the limit was lowered below the use.
        used: u64,
        /// Credits asked for.
        requested: u64,
    },
    /// The bytes do not fit beside those already committed.
    #[error(
        "memory quota reached: {used_bytes} of {limit_bytes} bytes in use, \
         {requested_bytes} asked for; give memory back or raise max_memory_bytes"
    )]
    MemoryExceeded {
        /// The limit in force. Unit: bytes.
        limit_bytes: u64,
        /// Bytes committed. Unit: bytes.
        used_bytes: u64,
        /// Bytes asked for. Unit: bytes.
        requested_bytes: u64,
    },
    /// What the kernel reports leaves no room; only with
    /// [`PressureMode::Process`](crate::PressureMode::Process).
    #[error(
        "memory pressure: {reported_by} reported {used_bytes} of {limit_bytes} bytes in use, \
         {budget_bytes} bytes are left until the next reading, {requested_bytes} asked for; \
         free memory of this process or raise that limit"
    )]
    Pressure {
        /// Whose figure leaves the least room.
        reported_by: Source,
        /// The limit it is held against. Unit: bytes.
        limit_bytes: u64,
        /// The use at the last reading. Unit: bytes.
        used_bytes: u64,
        /// What may still be committed until the next reading. Unit: bytes.
        budget_bytes: u64,
        /// Bytes asked for. Unit: bytes.
        requested_bytes: u64,
    },
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_quota_the_use_and_what_to_do() {
        let tokens = Refusal::TokensExceeded { limit: 10, used: 10, requested: 1 }.to_string();
        assert!(tokens.contains("10 of 10") && tokens.contains("raise max_tokens"), "{tokens}");
        let memory = Refusal::MemoryExceeded { limit_bytes: 8, used_bytes: 6, requested_bytes: 4 }
            .to_string();
        assert!(memory.contains("6 of 8") && memory.contains("max_memory_bytes"), "{memory}");
    }
}
