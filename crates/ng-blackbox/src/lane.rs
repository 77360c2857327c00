//! A lane: one thread's own ring, so that recording shares nothing with other threads.

use crate::{clock, event::Event, format::Stamped, mutants, recorder::Core, ring::Ring, sync::Arc};

/// Where one thread records. Made by [`Recorder::lane`](crate::Recorder::lane), given back when
/// dropped; its events stay until another thread gets the lane and writes over them. It may be handed to
/// another thread: a reader shows the name of the one that recorded last.
///
/// It may outlive its recorder: it then records into what has become the last run's file.
#[derive(Debug)]
pub struct Lane {
    core: Arc<Core>,
    own: Option<Own>,
}

/// The ring that only this lane writes to.
#[derive(Debug)]
struct Own {
    ring: Ring,
    next_seq: u64,
    /// The thread that a reader takes for the lane's own.
    thread: u32,
}

impl Lane {
    pub(crate) fn owned(core: Arc<Core>, ring: Ring, next_seq: u64) -> Lane {
        let thread = core.name_lane(&ring);
        Lane { core, own: Some(Own { ring, next_seq, thread }) }
    }

    pub(crate) fn shared(core: Arc<Core>) -> Lane {
        Lane { core, own: None }
    }

    /// Records one event: a clock read, a checksum and nine stores. No lock, no system call, no
    /// allocation; nothing can fail. On the shared lane it costs two contended writes more.
    #[inline]
    pub fn record(&mut self, event: Event) {
        let time_ns = self.core.now_ns();
        self.record_then(event, time_ns);
    }

    /// The same for a moment that its caller has read already, which saves the clock read: `counter` is
    /// a raw reading by the crate `quanta`, or by a clock above it, in this process.
    #[inline]
    pub fn record_at(&mut self, event: Event, counter: u64) {
        let time_ns = self.core.ns_at(counter);
        self.record_then(event, time_ns);
    }

    #[inline]
    fn record_then(&mut self, event: Event, time_ns: u64) {
        let Some(own) = &mut self.own else { return self.core.record_shared(event, time_ns) };
        if self.core.is_inherited() {
            return self.core.throw_away(1);
        }
        let thread = clock::thread_number();
        if thread != own.thread && !mutants::on("blackbox-lane-keeps-its-first-name") {
            own.thread = self.core.name_lane(&own.ring);
        }
        let stamped = Stamped { seq: own.next_seq, time_ns, thread, event };
        own.ring.write_owned(self.core.words(), &stamped);
        own.next_seq += 1;
    }

    /// True if all lanes were taken, so this one writes to the lane that all share.
    pub fn is_shared(&self) -> bool {
        self.own.is_none()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(own) = self.own.take() {
            self.core.give_back(own.ring, own.next_seq);
        }
    }
}
