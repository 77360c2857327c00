//! `ArenaConfig`: how much address space, on which pages, and who is asked before memory is taken.

use crate::error::ConfigError;
use crate::sync::Arc;

/// Slots of one chunk: the unit in which memory is taken and given back.
#[cfg(not(all(test, any(loom, shuttle))))]
pub const CHUNK_SLOTS: u32 = 32_768;
/// Slots of one chunk, in models.
#[cfg(all(test, any(loom, shuttle)))]
pub const CHUNK_SLOTS: u32 = 128;
/// Bytes of one chunk: one huge page of x86-64 and of aarch64 with 4 KiB base pages.
pub const CHUNK_BYTES: u64 = CHUNK_SLOTS as u64 * 64;
/// Most slots that one writer holds ahead of its creates.
#[cfg(not(all(test, any(loom, shuttle))))]
pub const LEASE_SLOTS_MAX: u32 = 1_024;
/// Most slots that one writer holds ahead of its creates, in models of whole arenas.
#[cfg(all(test, any(loom, shuttle)))]
pub const LEASE_SLOTS_MAX: u32 = 64;

/// Most slots that an arena can have: what the 32 bits of an id's slot can name, less one chunk.
pub const SLOTS_MAX: u64 = (1 << 32) - CHUNK_SLOTS as u64;

/// Most memory that is taken ahead.
const COMMIT_AHEAD_BYTES_MAX: u64 = 16 << 20;

/// Settings of an [`Arena`](crate::Arena).
#[derive(Clone)]
#[non_exhaustive]
pub struct ArenaConfig {
    /// Most tokens that can be alive at once. Unit: slots of 64 bytes. Range: 1 to [`SLOTS_MAX`].
    /// Rounded up to whole chunks of 32,768. Only address space is reserved, memory is taken as it
    /// is used. Default: 40,000,000.
    pub max_slots: u64,
    /// Ask the kernel for huge pages (2 MiB). They make fresh memory several times faster; without
    /// them a store of a few tokens takes 4 KiB instead of 2 MiB. Default: true.
    pub huge_pages: bool,
    /// Memory that a thread takes ahead of the writers, so that a create seldom waits for the kernel to
    /// zero a page. Unit: bytes; whole chunks of 2 MiB count. Range: 0 (no thread) to 16 MiB. Asked of
    /// the gate like any other, given back when a writer would be refused because of it, or after a
    /// second in which no writer came for more. Does nothing on a single core. Costs a core about as
    /// much time as it saves the writers. Default: 0.
    pub commit_ahead_bytes: u64,
    /// Asked before a chunk's memory is taken, told when it is given back. Default: none, all is granted.
    pub gate: Option<Arc<dyn MemoryGate>>,
}

/// Decides on the arena's memory, chunk by chunk ([`CHUNK_BYTES`] each).
///
/// Called on the thread that needs the chunk or gives it back. It must not call into the arena.
pub trait MemoryGate: Send + Sync {
    /// May `bytes` more be taken? After `false` nothing is taken.
    fn commit(&self, bytes: u64) -> bool;
    /// `bytes` went back to the kernel.
    fn uncommit(&self, bytes: u64);
}

impl Default for ArenaConfig {
    fn default() -> Self {
        ArenaConfig { max_slots: 40_000_000, huge_pages: true, commit_ahead_bytes: 0, gate: None }
    }
}

impl std::fmt::Debug for ArenaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArenaConfig")
            .field("max_slots", &self.max_slots)
            .field("huge_pages", &self.huge_pages)
            .field("commit_ahead_bytes", &self.commit_ahead_bytes)
            .field("gate", &self.gate.is_some())
            .finish()
    }
}

impl ArenaConfig {
    /// Checks each field.
    ///
    /// Errors: the first bad field with its value and range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.max_slots == 0 || self.max_slots > SLOTS_MAX {
            return Err(ConfigError::MaxSlots { value: self.max_slots, most: SLOTS_MAX });
        }
        if self.commit_ahead_bytes > COMMIT_AHEAD_BYTES_MAX {
            let most = COMMIT_AHEAD_BYTES_MAX;
            return Err(ConfigError::CommitAhead { value: self.commit_ahead_bytes, most });
        }
        Ok(())
    }

    /// Chunks that `max_slots` needs.
    pub(crate) fn chunks(&self) -> u32 {
        self.max_slots.div_ceil(u64::from(CHUNK_SLOTS)) as u32
    }
}
