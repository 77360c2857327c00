//! Models of waiting: for room, for durability, for a leader's turn; sticky failure; close. A lost
//! wake-up is a deadlock here, and found. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p ng-wal --release --lib loom_`.

use std::sync::Arc;
use std::time::Duration;

use crate::WaitError;
use crate::sync::modelled::Mutex;
use crate::write::commit::{Commit, panicked};
use crate::write::ring::{Class, Refused, Ring};
use crate::write::room_waiters::{Need, Room, Waiters};
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::thread;

const LONG: Duration = Duration::from_secs(3600);

/// All orders with at most so many switches that no thread asked for.
fn model(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

fn room_of(ring: &Ring) -> Room {
    let (ordinary, reserved) = ring.room();
    Room { slots: [ordinary, reserved], large_bytes: [0, 0] }
}

/// As `Wal::append` waits.
fn push_when_there_is_room(
    ring: &Ring,
    room: &Waiters,
    kind: u8,
    class: Class,
) -> Result<u64, Refused> {
    let need = Need { slots: 1, large_bytes: 0, class };
    loop {
        match ring.push_inline(kind, &[kind], class) {
            Err(Refused::Full) => {}
            other => return other,
        }
        let ticket = room.enter(need);
        if !room_of(ring).has(&need) && !ring.is_closed() {
            ticket.park(LONG);
        }
    }
}

#[test]
fn an_appender_that_waits_for_room_is_woken_when_there_is_some() {
    model(2, || {
        let (ring, mut consumer) = Ring::new(1, 1);
        let room = Arc::new(Waiters::new());
        ring.push_inline(0, &[0], Class::Ordinary).unwrap();
        let appenders = [1u8, 2].map(|kind| {
            let (ring, room) = (ring.clone(), room.clone());
            thread::spawn(move || push_when_there_is_room(&ring, &room, kind, Class::Ordinary))
        });
        let mut seen = 0;
        while seen < 3 {
            while consumer.peek().is_some() {
                consumer.take(|_, _| ());
                seen += 1;
            }
            consumer.release(u64::MAX, u64::MAX);
            room.wake_for_room(room_of(&ring));
            if seen < 3 {
                thread::yield_now();
            }
        }
        for appender in appenders {
            assert!(appender.join().unwrap().is_ok());
        }
    });
}

/// A full log that takes its reserve only: who waits for that is woken, whoever came first; the other
/// one when a retirement has made room for all.
#[test]
fn each_class_of_appenders_is_woken_by_its_own_room() {
    model(2, || {
        let (ring, mut consumer) = Ring::new(2, 1);
        consumer.release(0, 0);
        let room = Arc::new(Waiters::new());
        let appenders = [Class::Ordinary, Class::Reserved].map(|class| {
            let (ring, room) = (ring.clone(), room.clone());
            thread::spawn(move || push_when_there_is_room(&ring, &room, 1, class))
        });
        for seen in 0..2u64 {
            // One place: first of the reserve, then for all.
            consumer.release(seen, 1);
            room.wake_for_room(room_of(&ring));
            while consumer.peek().is_none() {
                thread::yield_now();
            }
            consumer.take(|_, _| ());
        }
        let outcomes = appenders.map(|appender| appender.join().unwrap());
        assert_eq!(outcomes, [Ok(2), Ok(1)]);
    });
}

#[test]
fn an_appender_that_waits_for_room_learns_of_a_close() {
    model(3, || {
        let (ring, _consumer) = Ring::new(1, 1);
        let room = Arc::new(Waiters::new());
        ring.push_inline(0, &[0], Class::Ordinary).unwrap();
        let appender = {
            let (ring, room) = (ring.clone(), room.clone());
            thread::spawn(move || push_when_there_is_room(&ring, &room, 1, Class::Ordinary))
        };
        assert_eq!(ring.close(), 2);
        room.wake(|_| true);
        assert_eq!(appender.join().unwrap(), Err(Refused::Closed));
    });
}

/// A disk and the way to it, as `Actor::lead`, `flush` and the writer thread go it.
struct Work {
    commit: Commit,
    appended: AtomicU64,
    /// Highest LSN written, under the writer's lock.
    written: Mutex<u64>,
    syncing: AtomicBool,
}

impl Work {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            commit: Commit::new(0),
            appended: AtomicU64::new(0),
            written: Mutex::new(0),
            syncing: AtomicBool::new(false),
        })
    }

    fn lead(&self) -> bool {
        if self.syncing.load(Ordering::SeqCst) {
            return false;
        }
        let Some(mut written) = self.written.try_lock() else { return false };
        if self.syncing.load(Ordering::SeqCst) {
            return false;
        }
        *written = self.appended.load(Ordering::Acquire);
        let lsn = *written;
        self.syncing.store(true, Ordering::SeqCst);
        self.commit.sync_begins();
        drop(written);
        self.commit.raise(lsn);
        self.syncing.store(false, Ordering::SeqCst);
        self.commit.tell(Duration::ZERO);
        true
    }

    /// A round of the writer thread that finds nothing due.
    fn look(&self) {
        drop(self.written.lock());
        if !self.syncing.load(Ordering::SeqCst) {
            self.commit.call_leader();
        }
    }

    fn append_durable(&self) -> Result<(), WaitError> {
        self.until_durable(self.appended.fetch_add(1, Ordering::AcqRel) + 1)
    }

    fn until_durable(&self, lsn: u64) -> Result<(), WaitError> {
        self.commit.wait(lsn, LONG, || !self.syncing.load(Ordering::SeqCst), || self.lead())
    }
}

#[test]
fn each_strict_append_becomes_durable_whoever_leads() {
    model(3, || {
        let work = Work::new();
        let appenders = [0; 2].map(|_| {
            let work = work.clone();
            thread::spawn(move || work.append_durable())
        });
        work.look();
        for appender in appenders {
            assert_eq!(appender.join().unwrap(), Ok(()));
        }
        assert_eq!(work.commit.durable(), 2);
    });
}

/// Two that come while a sync is in flight: it serves the one, and perhaps not the other. The call that its
/// end has for one of them must reach the one whom it did not serve.
#[test]
fn who_comes_during_a_sync_is_called_or_served_by_it() {
    model(2, || {
        let work = Work::new();
        work.appended.store(1, Ordering::Release);
        let served = {
            let work = work.clone();
            thread::spawn(move || work.until_durable(1))
        };
        let late = {
            let work = work.clone();
            thread::spawn(move || work.append_durable())
        };
        work.lead();
        assert_eq!(served.join().unwrap(), Ok(()));
        assert_eq!(late.join().unwrap(), Ok(()));
        assert_eq!(work.commit.durable(), 2);
    });
}

#[test]
fn who_comes_back_after_a_sync_waits_for_the_others_or_leads_without_them() {
    model(2, || {
        let work = Work::new();
        let appenders = [2, 1].map(|records| {
            let work = work.clone();
            thread::spawn(move || (0..records).map(|_| work.append_durable()).collect::<Vec<_>>())
        });
        for appender in appenders {
            assert!(appender.join().unwrap().iter().all(Result::is_ok));
        }
        assert_eq!(work.commit.durable(), 3);
    });
}

#[test]
fn a_failure_reaches_each_waiter_and_nobody_appends_after_learning_of_it() {
    model(3, || {
        let (ring, _consumer) = Ring::new(4, 1);
        let commit = Arc::new(Commit::new(0));
        let appenders = [0; 2].map(|_| {
            let (ring, commit) = (ring.clone(), commit.clone());
            thread::spawn(move || {
                let knew = commit.failure().is_some();
                match ring.push_inline(1, &[1], Class::Ordinary) {
                    Ok(lsn) => {
                        assert!(!knew, "appended after the failure was known");
                        let outcome = commit.wait(lsn, LONG, || true, || false);
                        assert_eq!(outcome, Err(WaitError::Failed(panicked("first"))));
                    }
                    Err(refused) => {
                        assert_eq!(refused, Refused::Closed);
                        assert!(commit.settled_failure().is_some(), "refused without a cause");
                    }
                }
            })
        });
        let close = || {
            ring.close();
        };
        assert!(commit.fail(panicked("first"), close));
        assert!(!commit.fail(panicked("second"), || ()));
        commit.raise(9);
        assert_eq!(commit.durable(), 0);
        for appender in appenders {
            appender.join().unwrap();
        }
    });
}
