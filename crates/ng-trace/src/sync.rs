//! The only file that names `std::sync`, `std::thread` or `loom`. Under loom only the ring is built, so only its atomics change.

#[cfg(all(test, loom))] // `test`: a workspace built with `--cfg loom` stays real elsewhere
pub(crate) use loom::sync::atomic;
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic;

#[cfg(all(test, loom))]
pub(crate) use loom::sync::Arc;
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::Arc;

#[cfg(all(test, loom))]
pub(crate) use loom::sync::Mutex;
#[cfg(not(all(test, loom)))]
pub(crate) use parking_lot::{Condvar, Mutex, RwLock};
#[cfg(any(mutants, not(all(test, loom))))]
pub(crate) use std::sync::OnceLock;
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::mpsc;
#[cfg(not(all(test, loom)))]
pub(crate) use std::thread;
