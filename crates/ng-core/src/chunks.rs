//! Where tokens lie: chunks of slots, the memory under them, and how a reader gets at it.

pub(crate) mod ahead;
pub(crate) mod chunk;
#[cfg(not(all(test, shuttle)))]
pub(crate) mod memory;
pub(crate) mod slot;
pub(crate) mod view;

#[cfg(all(test, loom))]
mod loom_slot;
#[cfg(all(test, shuttle))]
mod shuttle_chunk;
#[cfg(all(test, shuttle))]
pub(crate) mod shuttle_memory;

#[cfg(all(test, shuttle))]
pub(crate) use shuttle_memory as memory;
