//! The only file that names `std::sync`, `std::thread` or `loom`: real types, or loom's in a loom test.
//!
//! The registry of the panic hook is a `static` and so always parking_lot's: loom's locks have no
//! `const` constructor.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
#[cfg(all(unix, not(all(test, loom))))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicUsize};

/// For what is set once and for all, which no model is about.
pub(crate) use std::sync::OnceLock;

#[cfg(not(all(test, loom)))]
pub(crate) use parking_lot::{Mutex, RwLock};
#[cfg(not(all(test, loom)))]
pub(crate) use std::{
    sync::{Arc, Once, Weak},
    thread,
};
