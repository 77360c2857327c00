//! Threads that wait for a sync. An eventcount: who waits notes the count of calls, looks whether it
//! still has to wait, and sleeps until the count has moved; so no wake-up is lost.
//!
//! To wake a thread by a system call of its own takes as long as its next append. So all whom a sync
//! may have served share one condition variable, and are woken by one call. Those who came while it
//! was in flight are not among them: there are two rooms, of which one is open, and when a sync
//! begins the other one opens. Its end wakes all in the closed room, and of those in the open one a
//! single one, to lead. One that leaves the open room, because its record was taken along or its
//! time is up, may have had that call, and passes it on.

use std::time::Duration;

use crate::mutants;
use crate::sync::PoisonError;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::modelled::{Condvar, StdMutex, StdMutexGuard};

#[derive(Default)]
struct Room {
    /// How often all in it were let go, and how often a single one was called.
    ends: u64,
    calls: u64,
    /// Those who were not let go yet.
    waiting: usize,
    /// Those who hear a call only by a system call.
    asleep: usize,
}

#[derive(Default)]
struct Rooms {
    rooms: [Room; 2],
    /// Where those go who come now.
    open: usize,
}

/// Who waits for the sync in flight, and who for the one after it.
pub(crate) struct SyncWaiters {
    rooms: StdMutex<Rooms>,
    called: [Condvar; 2],
    /// As many as wait in the open room; written under the lock. Outside a hint, and no part of the
    /// models.
    count: AtomicUsize,
}

impl SyncWaiters {
    pub(crate) fn new() -> Self {
        Self {
            rooms: StdMutex::new(Rooms::default()),
            called: [Condvar::new(), Condvar::new()],
            count: AtomicUsize::new(0),
        }
    }

    /// Enters this thread. Look once more before parking.
    pub(crate) fn enter(&self) -> Ticket<'_> {
        let mut rooms = self.lock();
        let place = Some(self.take_place(&mut rooms));
        Ticket { waiters: self, place }
    }

    /// How many wait for the next sync, without waiting for the lock.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A sync is in flight from here on. Who comes now is woken by the one after it.
    pub(crate) fn sync_begins(&self) {
        let mut rooms = self.lock();
        rooms.open = 1 - rooms.open;
        self.tell_count(&rooms);
    }

    /// It is over: wakes those who came before it began, and one of the others. `waited` is told how
    /// many they are before anybody wakes.
    pub(crate) fn sync_ended(&self, waited: impl FnOnce(usize)) {
        let mut rooms = self.lock();
        let open = rooms.open;
        waited(rooms.rooms[0].waiting + rooms.rooms[1].waiting);
        let some_served = rooms.rooms[1 - open].let_go();
        let some_late = rooms.rooms[open].call_one();
        drop(rooms);
        if some_served {
            self.called[1 - open].notify_all();
        }
        if some_late && !mutants::on("wal-late-waiter-not-called") {
            self.called[open].notify_one();
        }
    }

    /// Wakes one of those who wait for the next sync, to look after itself.
    pub(crate) fn call_one(&self) {
        let mut rooms = self.lock();
        let open = rooms.open;
        let some = rooms.rooms[open].call_one();
        drop(rooms);
        if some {
            self.called[open].notify_one();
        }
    }

    /// Wakes all.
    pub(crate) fn call_all(&self) {
        let mut rooms = self.lock();
        let some = rooms.rooms.each_mut().map(Room::let_go);
        self.tell_count(&rooms);
        drop(rooms);
        for (called, some) in self.called.iter().zip(some) {
            if some {
                called.notify_all();
            }
        }
    }

    fn lock(&self) -> StdMutexGuard<'_, Rooms> {
        // Nothing under the lock can panic half way.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_place(&self, rooms: &mut Rooms) -> Place {
        let open = rooms.open;
        let room = &mut rooms.rooms[open];
        room.waiting += 1;
        let place = Place { room: open, ends: room.ends, calls: room.calls };
        self.tell_count(rooms);
        place
    }

    fn tell_count(&self, rooms: &Rooms) {
        self.count.store(rooms.rooms[rooms.open].waiting, Ordering::Relaxed);
    }
}

impl Room {
    /// Whether that takes a system call.
    fn let_go(&mut self) -> bool {
        self.ends += 1;
        self.waiting = 0;
        self.asleep > 0
    }

    /// The same.
    fn call_one(&mut self) -> bool {
        self.calls += 1;
        self.asleep > 0
    }
}

/// A place in one of the rooms; given up on drop.
pub(crate) struct Ticket<'a> {
    waiters: &'a SyncWaiters,
    /// None once it was let go.
    place: Option<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    room: usize,
    /// The room's, when it was taken or last looked at.
    ends: u64,
    calls: u64,
}

impl Place {
    /// Whether the room was left as a whole since.
    fn is_gone(self, rooms: &Rooms) -> bool {
        rooms.rooms[self.room].ends != self.ends
    }
}

impl Ticket<'_> {
    /// Sleeps until there is a call, or for `at_most`; then hears the next one. May return early. Look
    /// once more before parking again.
    ///
    /// Who was let go enters anew with [`Ticket::renew`]; anybody else stays where it is, since the
    /// sync in flight may be the one for it.
    pub(crate) fn park(&mut self, at_most: Duration) {
        let Some(place) = &mut self.place else { return };
        let mut rooms = self.waiters.lock();
        let room = &mut rooms.rooms[place.room];
        let unheard = (room.ends, room.calls) == (place.ends, place.calls);
        if unheard || mutants::on("wal-parks-without-a-look") {
            room.asleep += 1;
            let woken = self.waiters.called[place.room].wait_timeout(rooms, at_most);
            rooms = woken.unwrap_or_else(PoisonError::into_inner).0;
            rooms.rooms[place.room].asleep -= 1;
        }
        place.calls = rooms.rooms[place.room].calls;
        if place.is_gone(&rooms) {
            self.place = None;
        }
    }

    /// Takes a new place if it was let go.
    pub(crate) fn renew(&mut self) {
        if self.place.is_none() {
            self.place = Some(self.waiters.take_place(&mut self.waiters.lock()));
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut rooms = self.waiters.lock();
        if place.is_gone(&rooms) {
            return;
        }
        let is_open = place.room == rooms.open;
        let room = &mut rooms.rooms[place.room];
        room.waiting -= 1;
        let some = is_open && !mutants::on("wal-call-not-passed-on") && room.call_one();
        self.waiters.tell_count(&rooms);
        drop(rooms);
        if some {
            self.waiters.called[place.room].notify_one();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::thread;

    /// Sleeps until a call comes; gives the ticket back.
    fn heard(mut ticket: Ticket<'_>) -> Ticket<'_> {
        ticket.park(Duration::from_secs(3600));
        ticket
    }

    fn until_asleep(waiters: &SyncWaiters, room: usize, count: usize) {
        while waiters.lock().rooms[room].asleep != count {
            thread::yield_now();
        }
    }

    #[test]
    fn the_end_of_a_sync_wakes_all_who_came_before_it_and_one_of_those_who_came_later() {
        let waiters = SyncWaiters::new();
        thread::scope(|scope| {
            let early = [0; 3].map(|_| scope.spawn(|| heard(waiters.enter()).place.is_none()));
            until_asleep(&waiters, 0, 3);
            waiters.sync_begins();
            assert_eq!(waiters.count(), 0);
            let late = [0; 2].map(|_| scope.spawn(|| drop(heard(waiters.enter()))));
            until_asleep(&waiters, 1, 2);
            assert_eq!(waiters.count(), 2);
            waiters.sync_ended(|waited| assert_eq!(waited, 5));
            for thread in early {
                assert!(thread.join().unwrap(), "woken, but not let go");
            }
            // The one that was called leaves, and passes the call on.
            for thread in late {
                thread.join().unwrap();
            }
        });
        assert_eq!(waiters.count(), 0);
    }

    #[test]
    fn who_stays_after_a_call_hears_the_next_one_and_is_let_go_with_its_room() {
        let waiters = SyncWaiters::new();
        let mut ticket = waiters.enter();
        waiters.call_one();
        ticket.park(Duration::from_secs(3600)); // the call came before
        ticket.renew();
        assert_eq!(ticket.place.map(|place| place.room), Some(0));
        waiters.sync_begins();
        waiters.sync_ended(|waited| assert_eq!(waited, 1));
        ticket.park(Duration::from_secs(3600));
        assert!(ticket.place.is_none());
        waiters.sync_ended(|waited| assert_eq!(waited, 0));
        ticket.renew();
        assert_eq!(ticket.place.map(|place| place.room), Some(1));
        assert_eq!(waiters.count(), 1);
        drop(ticket);
        assert_eq!(waiters.count(), 0);
    }
}
