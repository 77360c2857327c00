//! Threads that wait for a number to be reached; each is woken when it is its turn, and no other.
//!
//! The protocol: a waiter enters the list, *then* looks whether it still has to wait, and only then
//! parks. Who brings about what is waited for does that *first*, and then looks into the list. Both
//! looks are under the list's lock or after it, so one of them sees the other: no wake-up is lost.

use std::time::Duration;

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::modelled::{Mutex, Thread, current, park_timeout};

struct Parked {
    ticket: u64,
    need: u64,
    thread: Thread,
}

#[derive(Default)]
struct List {
    /// In the order of arrival.
    parked: Vec<Parked>,
    next_ticket: u64,
}

/// A list of waiting threads.
pub(crate) struct Waiters {
    list: Mutex<List>,
    /// As many as are in the list; written under its lock. Outside a hint, and no part of the models.
    count: AtomicUsize,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self { list: Mutex::new(List::default()), count: AtomicUsize::new(0) }
    }

    /// Enters this thread, which waits for `need`. Look once more before parking.
    pub(crate) fn enter(&self, need: u64) -> Ticket<'_> {
        let mut list = self.list.lock();
        let number = list.next_ticket;
        list.next_ticket += 1;
        list.parked.push(Parked { ticket: number, need, thread: current() });
        self.count.store(list.parked.len(), Ordering::Relaxed);
        Ticket { waiters: self, number }
    }

    /// How many are in the list, without waiting for its lock.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Wakes those whose need `is_met` says is met, asked in the order of arrival; they are out of
    /// the list. Returns how many were in it. Whoever calls is awake itself.
    pub(crate) fn wake(&self, mut is_met: impl FnMut(u64) -> bool) -> usize {
        let mut list = self.list.lock();
        let all = list.parked.len();
        if all == 0 {
            return 0;
        }
        let woken: Vec<_> = list.parked.extract_if(.., |parked| is_met(parked.need)).collect();
        self.count.store(list.parked.len(), Ordering::Relaxed);
        drop(list);
        let own = current().id();
        for parked in woken {
            if parked.thread.id() != own {
                parked.thread.unpark();
            }
        }
        all
    }

    /// Wakes as many as there are slots for, in the order of arrival; a need of 0 is met by any slot,
    /// the reserved ones included.
    pub(crate) fn wake_for_room(&self, mut ordinary: u64, reserved: u64) {
        self.wake(|need| match need {
            0 => reserved > 0,
            _ if need > ordinary => false,
            _ => {
                ordinary -= need;
                true
            }
        });
    }

    /// Wakes the one that has waited longest, to look after itself. It stays in the list.
    pub(crate) fn nudge(&self) {
        let first = self.list.lock().parked.first().map(|parked| parked.thread.clone());
        if let Some(thread) = first {
            thread.unpark();
        }
    }
}

/// A place in the list; given up on drop.
pub(crate) struct Ticket<'a> {
    waiters: &'a Waiters,
    number: u64,
}

impl Ticket<'_> {
    /// Sleeps until it is woken, or for `at_most`. May return early.
    pub(crate) fn park(&self, at_most: Duration) {
        park_timeout(at_most);
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut list = self.waiters.list.lock();
        list.parked.retain(|parked| parked.ticket != self.number);
        self.waiters.count.store(list.parked.len(), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn exactly_those_are_woken_whose_need_is_met() {
        let waiters = Waiters::new();
        let (low, high) = (waiters.enter(3), waiters.enter(8));
        let needs = |waiters: &Waiters| -> Vec<u64> {
            waiters.list.lock().parked.iter().map(|parked| parked.need).collect()
        };
        assert_eq!(waiters.wake(|need| need <= 5), 2);
        assert_eq!(needs(&waiters), [8]);
        drop(low);
        waiters.nudge();
        assert_eq!(needs(&waiters), [8]);
        high.park(Duration::from_secs(60)); // returns: this very thread was woken
        drop(high);
        assert_eq!(needs(&waiters), []);
    }
}
