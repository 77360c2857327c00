//! The only file that names `std::sync`, `std::thread` or `loom`; tests under `--cfg loom` get
//! loom's atomics and mutex, everybody else the real ones.
//!
//! `Arc` and `Weak` are always std's: reference counts are not what the models check,
//! and loom's `Arc` can hold no trait object.

/// The alarm's bell where there is no `eventfd`; never part of a model.
#[cfg(not(target_os = "linux"))]
pub(crate) use parking_lot::{Condvar as BellCondvar, Mutex as BellMutex};
#[cfg(mutants)]
pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::{Arc, Weak};
pub(crate) use std::thread;

#[cfg(not(all(test, loom)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::atomic;

#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Condvar, MutexGuard, atomic};

/// Sleeps until `bell` rings, at most so long; a model has no time, and waits for the bell alone.
#[cfg(not(all(test, loom)))]
pub(crate) fn wait_for<'a, T>(
    bell: &Condvar,
    mut guard: MutexGuard<'a, T>,
    at_most: std::time::Duration,
) -> MutexGuard<'a, T> {
    bell.wait_for(&mut guard, at_most);
    guard
}

/// Sleeps until `bell` rings, at most so long; a model has no time, and waits for the bell alone.
#[cfg(all(test, loom))]
pub(crate) fn wait_for<'a, T>(
    bell: &Condvar,
    guard: MutexGuard<'a, T>,
    _at_most: std::time::Duration,
) -> MutexGuard<'a, T> {
    bell.wait(guard).expect("no model panics with a lock held")
}

/// parking_lot's front over loom's mutex: no poisoning, `lock` returns the guard.
#[cfg(all(test, loom))]
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(all(test, loom))]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("no model panics with a lock held")
    }
}
