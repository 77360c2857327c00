//! Plain figures about an arena, read field by field: they may miss what is in flight.

/// What an arena holds. `_total` only grows; the rest are levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaStats {
    /// Address space reserved. Unit: bytes.
    pub reserved_bytes: u64,
    /// Memory taken, in whole chunks; what the kernel counts is at most this. Unit: bytes.
    pub committed_bytes: u64,
    /// Memory taken ahead of the writers, not part of `committed_bytes`. Unit: bytes.
    pub ahead_bytes: u64,
    /// Chunks that were populated ahead.
    pub ahead_populated_total: u64,
    /// Chunks populated ahead that a writer then used.
    pub ahead_taken_over_total: u64,
    /// Bytes of live tokens: 64 each. At most `committed_bytes`.
    pub live_bytes: u64,
    /// Chunks with memory.
    pub chunks: u64,
    /// Slots that writers hold and have not filled.
    pub leased_slots: u64,
    /// Writers alive.
    pub writers: u64,
    /// Generation tables of chunks whose range outgrew the stamp. Unit: bytes.
    pub side_table_bytes: u64,
    /// Bitmaps, headers and side tables, as far as they are touched. Unit: bytes.
    pub overhead_bytes: u64,
    /// Tokens created.
    pub created_total: u64,
    /// Creates begun and taken back by their caller.
    pub aborted_total: u64,
    /// Tokens deleted.
    pub deleted_total: u64,
    /// Tokens put back by recovery.
    pub restored_total: u64,
    /// Slots whose generations are used up; they are not used again.
    pub retired_total: u64,
    /// Chunks given back to the kernel.
    pub given_back_total: u64,
    /// Leases whose unused slots another thread took back.
    pub recalls_total: u64,
    /// Highest generation that any id has, or that a lease may hand out.
    pub generation_high: u32,
}
