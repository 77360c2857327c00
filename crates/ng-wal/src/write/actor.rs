//! The log's threads, started, led and stopped. The writer: ring → frames → file; the flusher only syncs;
//! the janitor prepares the next segment. Who waits for durability may do the first two's work
//! itself (`lead`): then a record is on its way without a change of threads.
//!
//! One sync is in flight at most. It is asked for at a sync point: the block is padded, so it is
//! never written again, and the pad carries what is durable by then. While somebody is in the
//! kernel for it the writer goes on behind that point; so under load each sync takes what came
//! during the one before, with no timer. The first failure of a sync, and any failure that could
//! have lost bytes, is latched and ends all three.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::WalConfig;
use crate::disk::segment::{ActiveSegment, Sealed};
use crate::disk::storage::LogIo;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex, thread};
use crate::write::commit::panicked;
use crate::write::ring::Ring;
use crate::write::shared::Shared;
use crate::write::writer::Writer;
use crate::write::{flusher, janitor};

/// The threads of an open log.
pub(crate) struct Actor {
    pub(crate) shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Actor {
    pub(crate) fn start(
        io: Arc<dyn LogIo>,
        config: WalConfig,
        active: ActiveSegment,
        older: Vec<Sealed>,
        next_lsn: u64,
    ) -> io::Result<Self> {
        let (ring, consumer) = Ring::new(config.ring_slots as usize, next_lsn);
        let shared = Arc::new(Shared::new(io, config, ring, older, &active, next_lsn));
        let mut writer = Writer::new(shared.clone(), consumer, active);
        writer.release();
        let writer = Arc::new(Mutex::new(writer));
        let mut actor =
            Self { shared: shared.clone(), writer: writer.clone(), threads: Mutex::default() };
        actor.spawn("ng-wal-flusher", "flusher thread", flusher::run)?;
        actor.spawn("ng-wal-janitor", "janitor thread", janitor::run)?;
        actor.spawn("ng-wal-writer", "writer thread", move |shared| write_loop(shared, &writer))?;
        // The writer is the last one spawned.
        if let Some(thread) = actor.threads.lock().last() {
            shared.set_writer(thread.thread().clone());
        }
        Ok(actor)
    }

    fn spawn(
        &mut self,
        name: &str,
        what: &'static str,
        body: impl FnOnce(&Shared) + Send + 'static,
    ) -> io::Result<()> {
        let shared = self.shared.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| body(&shared))).is_err() {
                shared.fail(panicked(what));
                shared.deliver();
                stop_others(&shared);
            }
        })?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Is no sync in flight?
    pub(crate) fn is_free(&self) -> bool {
        !self.shared.syncing.load(Ordering::SeqCst)
    }

    /// Brings `lsn` to the disk on this thread, if nobody is at work. Whether that went to its end:
    /// then look; else somebody else is at it, and wakes the waiters.
    pub(crate) fn lead(&self, lsn: u64) -> bool {
        let shared = &*self.shared;
        let Some(mut writer) = self.writer.try_lock() else { return false };
        let led = catch_unwind(AssertUnwindSafe(|| writer.lead(lsn)));
        drop(writer);
        let went = match led {
            Ok(Ok(Some(point))) => {
                if catch_unwind(AssertUnwindSafe(|| flusher::flush(shared, &point))).is_err() {
                    shared.fail(panicked("leading a sync"));
                    shared.syncing.store(false, Ordering::SeqCst);
                }
                if shared.writer_waits.load(Ordering::SeqCst) {
                    shared.wake_writer();
                }
                true
            }
            Ok(Ok(None)) => {
                shared.wake_writer();
                false
            }
            Ok(Err(_latched)) => true,
            Err(_) => {
                shared.fail(panicked("leading a write"));
                true
            }
        };
        shared.deliver();
        went
    }

    /// Closes the ring, drains, seals, syncs, and waits for the threads to end.
    pub(crate) fn stop(&self) {
        self.shared.ring.close();
        self.shared.room.wake(|_| true);
        self.shared.wake_writer();
        let mut threads = self.threads.lock();
        if threads.len() < 3 {
            stop_others(&self.shared); // opening failed half way: no writer will do it
        }
        for thread in threads.drain(..) {
            // A panic is caught and latched inside; one in the catching itself is latched here.
            if thread.join().is_err() {
                self.shared.fail(panicked("a thread's end"));
            }
        }
        self.shared.deliver();
    }
}

impl Actor {
    /// Whether [`Actor::stop`] was called and has returned.
    pub(crate) fn has_ended(&self) -> bool {
        self.shared.ring.is_closed() && self.threads.lock().is_empty()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.stop();
    }
}

fn write_loop(shared: &Shared, writer: &Mutex<Writer>) {
    loop {
        let round = writer.lock().serve();
        shared.deliver();
        // A failure is latched, and told to everybody who asks.
        let Ok(Some(pause)) = round else { break };
        if !shared.syncing.load(Ordering::SeqCst) {
            shared.commit.call_leader(); // who came while the lock was held waits for this
        }
        if let Some(pause) = pause {
            thread::park_timeout(pause);
        }
    }
    stop_others(shared);
}

fn stop_others(shared: &Shared) {
    shared.flusher.lock().stop = true;
    shared.flusher_called.notify_all();
    shared.janitor.lock().stop = true;
    shared.janitor_called.notify_all();
}
