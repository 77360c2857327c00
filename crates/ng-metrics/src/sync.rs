//! The only file that names `std::sync`, `std::thread` or `loom`.
//!
//! Modelled by loom: the slot table and the cells (`shard.rs`). Locks and `OnceLock` stay real
//! there too: registering and reading a page hold no invariant that an interleaving could break.

#[cfg(all(test, loom))]
pub(crate) use loom::{lazy_static, sync::atomic, thread};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic;

pub(crate) use parking_lot::Mutex;
pub(crate) use std::sync::{Arc, OnceLock};
