//! The only file that names `std::sync`, `std::thread`, `loom` or `shuttle`: models and programs share the code above it.

#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::atomic;
#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) use std::sync::Arc;
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) use std::sync::atomic;

/// Set once by whoever comes first. Not part of any model, so loom's builds use it too.
pub(crate) use std::sync::OnceLock;
/// Locks and threads of what is in no model, so that loom's builds have them too.
pub(crate) mod unmodelled {
    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread::{Builder, JoinHandle, available_parallelism};
}
/// A fence for the compiler alone; loom needs none, as its models use real fences.
pub(crate) use std::sync::atomic::compiler_fence;

/// Locks without poisoning: what the lock protects is restored by its holder's own `Drop`.
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

/// The models' lock has std's face.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// As [`lock`], shared with other readers.
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read()
}

/// As [`lock`], shared with other readers.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap()
}

/// As [`lock`], alone.
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write()
}

/// As [`lock`], alone.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap()
}

/// Lets the other side of a short wait run.
#[cfg(not(all(test, any(loom, shuttle))))]
#[cold]
#[inline(never)]
pub(crate) fn pause(spins: u32) {
    if spins < 64 {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// Lets the other side of a short wait run.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn pause(_spins: u32) {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}

/// Runs `body` on this thread and on `more` others beside it; returns what each of them gave.
#[cfg(not(all(test, any(loom, shuttle))))]
pub(crate) fn in_parallel<T: Send>(more: usize, body: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..more).map(|_| scope.spawn(&body)).collect();
        let mut all = vec![body()];
        for other in others {
            match other.join() {
                Ok(value) => all.push(value),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

/// Models do not scan: on this thread alone.
#[cfg(all(test, any(loom, shuttle)))]
pub(crate) fn in_parallel<T: Send>(_more: usize, body: impl Fn() -> T + Sync) -> Vec<T> {
    vec![body()]
}
