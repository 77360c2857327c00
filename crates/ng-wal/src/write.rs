//! From an append to a durable record: numbers claimed in a ring, three threads, and who waits for them.

pub(crate) mod actor;
pub(crate) mod commit;
mod flusher;
pub(crate) mod janitor;
pub(crate) mod obstacles;
pub(crate) mod ring;
pub(crate) mod room_waiters;
pub(crate) mod shared;
mod sync_waiters;
mod table;
mod writer;

#[cfg(all(test, loom))]
mod loom_ring;
#[cfg(all(test, loom))]
mod loom_waiters;
