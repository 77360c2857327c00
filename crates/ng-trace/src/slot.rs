//! A place for one boxed value that two threads pass back and forth: whoever takes it owns it, and nobody waits.

#[cfg(all(test, loom))]
use crate::sync::Mutex;
#[cfg(not(all(test, loom)))]
use crossbeam_utils::atomic::AtomicCell;
use std::fmt;
#[cfg(not(all(test, loom)))]
use std::mem::ManuallyDrop;

/// One thread puts; both take. So what is put never replaces anything.
#[cfg(not(all(test, loom)))]
// Not dropped in place: storing a value that needs to be dropped would cost the putting thread a
// second exchange, for an old value that is never there.
pub(crate) struct Slot<T>(AtomicCell<ManuallyDrop<Option<Box<T>>>>);

#[cfg(not(all(test, loom)))]
impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        const { assert!(AtomicCell::<ManuallyDrop<Option<Box<T>>>>::is_lock_free()) }
        Self(AtomicCell::new(ManuallyDrop::new(None)))
    }

    /// What is there. `None`: nothing, or another thread has it.
    #[inline(always)]
    pub(crate) fn take(&self) -> Option<Box<T>> {
        ManuallyDrop::into_inner(self.0.swap(ManuallyDrop::new(None)))
    }

    /// Only the one thread that puts calls this, and only after it found the slot empty or took
    /// what was there. Whoever takes the value sees all that was done to it.
    #[inline(always)]
    pub(crate) fn put(&self, value: Box<T>) {
        self.0.store(ManuallyDrop::new(Some(value)));
    }
}

/// The same by loom's lock, whose order is that of an exchange and a Release store at the least.
#[cfg(all(test, loom))]
pub(crate) struct Slot<T>(Mutex<Option<Box<T>>>);

#[cfg(all(test, loom))]
impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn take(&self) -> Option<Box<T>> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn put(&self, value: Box<T>) {
        let replaced = self.0.lock().unwrap().replace(value);
        assert!(replaced.is_none(), "a put must not replace a value");
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive() // a look would be a take
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_value_is_taken_once_and_dropped_once() {
        let (slot, value) = (Slot::new(), Arc::new(7));
        assert!(slot.take().is_none());
        slot.put(Box::new(Arc::clone(&value)));
        assert_eq!(slot.take().map(|value| **value), Some(7));
        assert!(slot.take().is_none());
        assert_eq!(Arc::strong_count(&value), 1, "taken and dropped");
        slot.put(Box::new(Arc::clone(&value)));
        drop(slot);
        assert_eq!(Arc::strong_count(&value), 1, "dropped with its slot");
    }

    #[test]
    fn whoever_takes_a_value_from_another_thread_sees_all_that_was_done_to_it() {
        let slot = Arc::new(Slot::<Vec<u64>>::new());
        let putting = Arc::clone(&slot);
        let adder = std::thread::spawn(move || {
            for number in 0..20_000 {
                let mut numbers = putting.take().unwrap_or_default();
                numbers.push(number);
                putting.put(numbers);
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 20_000 {
            seen.extend(slot.take().into_iter().flat_map(|numbers| *numbers));
            std::thread::yield_now();
        }
        adder.join().unwrap();
        assert!(seen.into_iter().eq(0..20_000));
    }
}
