//! Threads that wait for a number to be reached; each is woken when it is its turn, and no other.
//!
//! The protocol: a waiter enters the list, *then* looks whether it still has to wait, and only then
//! parks. Who brings about what is waited for does that *first*, and then looks into the list. Both
//! looks are under the list's lock or after it, so one of them sees the other: no wake-up is lost.

use std::time::Duration;

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
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self { list: Mutex::new(List::default()) }
    }

    /// Enters this thread, which waits for `need`. Look once more before parking.
    pub(crate) fn enter(&self, need: u64) -> Ticket<'_> {
        let mut list = self.list.lock();
        let number = list.next_ticket;
        list.next_ticket += 1;
        list.parked.push(Parked { ticket: number, need, thread: current() });
        Ticket { waiters: self, number }
    }

    /// Wakes those whose need `is_met` says is met, asked in the order of arrival; they are out of
    /// the list.
    pub(crate) fn wake(&self, mut is_met: impl FnMut(u64) -> bool) {
        let mut list = self.list.lock();
        if list.parked.is_empty() {
            return;
        }
        let woken: Vec<_> = list.parked.extract_if(.., |parked| is_met(parked.need)).collect();
        drop(list);
        for parked in woken {
            parked.thread.unpark();
        }
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
        self.waiters.list.lock().parked.retain(|parked| parked.ticket != self.number);
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
        waiters.wake(|need| need <= 5);
        assert_eq!(needs(&waiters), [8]);
        low.park(Duration::from_secs(60)); // returns: this very thread was woken
        waiters.nudge();
        assert_eq!(needs(&waiters), [8]);
        high.park(Duration::from_secs(60));
        drop(high);
        assert_eq!(needs(&waiters), []);
    }
}
