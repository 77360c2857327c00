//! The only file that names `std::sync`, `std::thread` or `loom`.
//!
//! What the loom models exercise (the ring) takes its atomics and cells from [`modelled`]; the
//! actor around it stays on real threads in every build.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::{Arc, OnceLock, atomic};
pub(crate) use std::thread;

/// Types that loom replaces in its own test build.
pub(crate) mod modelled {
    #[cfg(all(test, loom))]
    pub(crate) use loom::{cell::UnsafeCell, sync::atomic};
    #[cfg(not(all(test, loom)))]
    pub(crate) use std::sync::atomic;

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
