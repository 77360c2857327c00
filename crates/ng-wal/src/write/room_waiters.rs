//! Threads that wait for room; each is woken when there is what it waits for, and no other.
//!
//! The protocol: a waiter enters the list, *then* looks whether it still has to wait, and only then
//! parks. Who brings about what is waited for does that *first*, and then looks into the list. Both
//! looks are under the list's lock or after it, so one of them sees the other: no wake-up is lost.
//!
//! To wake a thread takes as long as its next append. So who wakes many calls a few, and each of
//! these calls a few more as it leaves: the waking is spread over the cores, and who began it goes
//! on with its own work. Each that is called leaves after the call list was made, and calls as many
//! as there are left, or `CALLS`; so the list comes to its end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::mutants;
use crate::sync::modelled::{Mutex, Thread, current, park_timeout};
use crate::write::ring::Class;

/// What an appender waits for: slots, and bytes of large payloads, by the rules of its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) slots: u64,
    pub(crate) large_bytes: u64,
    pub(crate) class: Class,
}

/// What there is of both for each class, ordinary and reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) slots: [u64; 2],
    pub(crate) large_bytes: [u64; 2],
}

impl Room {
    pub(crate) fn has(&self, need: &Need) -> bool {
        let class = match mutants::on("wal-reserved-room-wakes-all") {
            true => Class::Reserved,
            false => need.class,
        } as usize;
        need.slots <= self.slots[class] && need.large_bytes <= self.large_bytes[class]
    }

    /// Both classes draw on the same room, of which one may use more.
    fn take(&mut self, need: &Need) {
        let left = |room: &mut u64, taken: u64| *room = room.saturating_sub(taken);
        self.slots.iter_mut().for_each(|room| left(room, need.slots));
        self.large_bytes.iter_mut().for_each(|room| left(room, need.large_bytes));
    }
}

struct Parked {
    ticket: u64,
    need: Need,
    thread: Thread,
}

/// How many threads one calls; in the models, where few wait, one, so that calls are passed on.
const CALLS: usize = if cfg!(all(test, loom)) { 1 } else { 2 };

#[derive(Default)]
struct List {
    /// In the order of arrival.
    parked: Vec<Parked>,
    next_ticket: u64,
    /// Those whose need is met and who are still to be woken.
    calls: VecDeque<Thread>,
}

impl List {
    /// The next to be woken; by whom, that is up to the caller, without the lock.
    fn next_calls(&mut self) -> [Option<Thread>; CALLS] {
        std::array::from_fn(|_| self.calls.pop_front())
    }
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
    pub(crate) fn enter(&self, need: Need) -> Ticket<'_> {
        let mut list = self.list.lock();
        let number = list.next_ticket;
        list.next_ticket += 1;
        list.parked.push(Parked { ticket: number, need, thread: current() });
        Ticket { waiters: self, number }
    }

    /// Wakes those whose need `is_met` says is met, asked in the order of arrival; they are out of
    /// the list. Whoever calls is awake itself.
    pub(crate) fn wake(&self, mut is_met: impl FnMut(&Need) -> bool) {
        let mut list = self.list.lock();
        if list.parked.is_empty() {
            return;
        }
        let own = current().id();
        let List { parked, calls, .. } = &mut *list;
        let met = parked.extract_if(.., |parked| is_met(&parked.need)).map(|parked| parked.thread);
        calls.extend(met.filter(|thread| thread.id() != own));
        let next = list.next_calls();
        drop(list);
        call(next);
    }

    /// Wakes as many as there is room for, in the order of arrival; no one else: who is woken without
    /// room goes back to sleep, and meanwhile asks the writer thread for more.
    pub(crate) fn wake_for_room(&self, mut room: Room) {
        self.wake(|need| {
            let met = room.has(need);
            if met {
                room.take(need);
            }
            met
        });
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
        let next = list.next_calls();
        drop(list);
        call(next);
    }
}

fn call(threads: [Option<Thread>; CALLS]) {
    for thread in threads.into_iter().flatten() {
        thread.unpark();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn need(class: Class, slots: u64, large_bytes: u64) -> Need {
        Need { slots, large_bytes, class }
    }

    #[test]
    fn exactly_those_are_woken_whose_need_is_met() {
        use Class::{Ordinary, Reserved};
        let waiters = Waiters::new();
        let needs = [
            need(Ordinary, 1, 0),
            need(Reserved, 8, 0),
            need(Reserved, 2, 500),
            need(Ordinary, 3, 0),
            need(Reserved, 3, 0),
            need(Reserved, 1, 100),
        ];
        let tickets = needs.map(|need| waiters.enter(need));
        let left = |waiters: &Waiters| -> Vec<Need> {
            waiters.list.lock().parked.iter().map(|parked| parked.need).collect()
        };
        // Reserved room is none for ordinary records, and what one takes is gone for those behind.
        waiters.wake_for_room(Room { slots: [0, 5], large_bytes: [0, 300] });
        assert_eq!(left(&waiters), [needs[0], needs[1], needs[2], needs[3]]);
        waiters.wake_for_room(Room { slots: [3, 3], large_bytes: [0, 0] });
        assert_eq!(left(&waiters), [needs[1], needs[2], needs[3]]);
        drop(tickets);
        assert_eq!(left(&waiters), []);
    }
}
