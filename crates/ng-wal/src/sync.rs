//! The only file that names `std::sync`, `std::thread` or `loom`.
//!
//! What the loom models exercise (the ring, the waiters, the durable mark) takes its types from
//! [`modelled`]; the actor around it stays on real threads in every build.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::{Arc, OnceLock, PoisonError, atomic, mpsc};
pub(crate) use std::thread;

/// Types that loom replaces in its own test build.
pub(crate) mod modelled {
    #[cfg(all(test, loom))]
    pub(crate) use loom::{
        cell::UnsafeCell,
        sync::atomic,
        thread::{Thread, current},
    };
    #[cfg(not(all(test, loom)))]
    pub(crate) use std::{
        sync::atomic,
        thread::{Thread, current, park_timeout},
    };

    #[cfg(not(all(test, loom)))]
    pub(crate) use parking_lot::Mutex;

    /// This condition variable wakes all who wait by one system call; parking_lot's would move them to
    /// the lock's queue, where each wakes the next.
    #[cfg(all(test, loom))]
    pub(crate) use loom::sync::{Condvar, Mutex as StdMutex, MutexGuard as StdMutexGuard};
    #[cfg(not(all(test, loom)))]
    pub(crate) use std::sync::{Condvar, Mutex as StdMutex, MutexGuard as StdMutexGuard};

    /// No time passes in a model: a wake-up that is lost there is a deadlock, and found.
    #[cfg(all(test, loom))]
    pub(crate) fn park_timeout(_: std::time::Duration) {
        loom::thread::park();
    }

    /// loom's, with the methods of parking_lot's.
    #[cfg(all(test, loom))]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    #[cfg(all(test, loom))]
    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }

    /// `std`'s cell with loom's access methods, so that the ring is written once.
    #[cfg(not(all(test, loom)))]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(all(test, loom)))]
    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
