//! Committing ahead: a thread takes the memory of the next chunks while writers fill this one, so that the
//! kernel's zeroing of pages leaves the create path.
//!
//! A writer that enters a fresh chunk says so, once in 32,768 creates; nothing else of a create knows of
//! this file. The thread charges each chunk at the memory gate before it populates it, and a writer who
//! comes to a charged chunk takes the charge over. What is ahead never stands in anybody's way: where
//! the gate refuses a writer, all of it goes back first, and it goes back when no writer has come for a
//! second. The thread knows the reservation by its address alone; it is joined before that is unmapped.

use crate::chunks::memory::ChunkMemory;
use crate::config::{CHUNK_BYTES, MemoryGate};
use crate::sync::Arc;
use crate::sync::unmodelled::{
    Builder, Condvar, JoinHandle, Mutex, MutexGuard, available_parallelism,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Memory ahead goes back after this time without a writer entering a fresh chunk.
const IDLE: Duration = Duration::from_secs(1);

/// The thread and what it shares with writers. Dropping it ends the thread.
pub(crate) struct Ahead {
    control: Arc<Control>,
    thread: Option<JoinHandle<()>>,
}

struct Control {
    memory: ChunkMemory,
    gate: Option<Arc<dyn MemoryGate>>,
    /// Chunks to be ahead at most.
    depth: u32,
    /// Chunks of the arena.
    chunks: u32,
    idle: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Chunks from here on that are to be populated.
    from: u32,
    until: u32,
    /// Charged at the gate and not taken over, populated or about to be.
    charged: BTreeSet<u32>,
    populating: Option<u32>,
    /// Rises with each word of a writer.
    notices: u64,
    stop: bool,
    populated_total: u64,
    taken_over_total: u64,
}

/// What is ahead at a moment, and what was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AheadStats {
    pub(crate) bytes: u64,
    pub(crate) populated_total: u64,
    pub(crate) taken_over_total: u64,
}

impl Ahead {
    /// Starts the thread; `None` where it would not help: less than a chunk wanted, a single core, no way to populate,
    /// no thread to be had.
    pub(crate) fn start(
        bytes: u64,
        chunks: u32,
        memory: ChunkMemory,
        gate: Option<Arc<dyn MemoryGate>>,
    ) -> Option<Ahead> {
        Ahead::start_with(bytes, chunks, memory, gate, IDLE)
    }

    fn start_with(
        bytes: u64,
        chunks: u32,
        memory: ChunkMemory,
        gate: Option<Arc<dyn MemoryGate>>,
        idle: Duration,
    ) -> Option<Ahead> {
        let depth = (bytes / CHUNK_BYTES) as u32;
        let cores = available_parallelism().map_or(1, usize::from);
        if depth == 0 || cores < 2 || !ChunkMemory::POPULATES {
            return None;
        }
        let (state, changed) = (Mutex::new(State::default()), Condvar::new());
        let control = Arc::new(Control { memory, gate, depth, chunks, idle, state, changed });
        let of_thread = Arc::clone(&control);
        let thread =
            Builder::new().name("ng-core-ahead".into()).spawn(move || of_thread.run()).ok()?;
        Some(Ahead { control, thread: Some(thread) })
    }

    /// A writer has entered a fresh chunk.
    pub(crate) fn entered(&self, chunk: u32) {
        let control = &*self.control;
        let mut state = control.state.lock();
        state.notices += 1;
        let until = (chunk + 1).saturating_add(control.depth).min(control.chunks);
        state.from = state.from.max(chunk + 1);
        state.until = state.until.max(until);
        control.changed.notify_all();
    }

    /// A writer begins to use a chunk: `true` if its memory is charged at the gate already.
    ///
    /// It may still be in the course of being populated; writing to it meanwhile is harmless.
    pub(crate) fn take_over(&self, chunk: u32) -> bool {
        let mut state = self.control.state.lock();
        // From now on it is the writer's: the thread must not charge it once more.
        state.from = state.from.max(chunk + 1);
        let charged = state.charged.remove(&chunk);
        state.taken_over_total += u64::from(charged);
        charged
    }

    /// Gives all that is ahead back; it begins again when a writer enters another chunk.
    pub(crate) fn release(&self) {
        drop(self.control.release(self.control.state.lock()));
    }

    /// Waits until `chunk` is not being populated: its memory is about to go back.
    pub(crate) fn settle(&self, chunk: u32) {
        let mut state = self.control.state.lock();
        while state.populating == Some(chunk) {
            self.control.changed.wait(&mut state);
        }
    }

    pub(crate) fn stats(&self) -> AheadStats {
        let state = self.control.state.lock();
        AheadStats {
            bytes: state.charged.len() as u64 * CHUNK_BYTES,
            populated_total: state.populated_total,
            taken_over_total: state.taken_over_total,
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.control.state.lock().stop = true;
        self.control.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It runs none of the user's code but the gate; a panic there has been told by its hook.
            let _ended = thread.join();
        }
    }
}

impl Control {
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stop {
            if let Some(chunk) = self.charge_next(&mut state) {
                state = self.populate(state, chunk);
                continue;
            }
            if state.charged.is_empty() {
                self.changed.wait(&mut state);
                continue;
            }
            let before = state.notices;
            let waited = self.changed.wait_for(&mut state, self.idle);
            if waited.timed_out() && state.notices == before && !state.stop {
                state = self.release(state);
            }
        }
        drop(self.release(state));
    }

    /// The next chunk that is wanted, charged; `None` if there is none or the gate refuses.
    fn charge_next(&self, state: &mut State) -> Option<u32> {
        if state.from >= state.until {
            return None;
        }
        let chunk = state.from;
        if self.gate.as_ref().is_some_and(|gate| !gate.commit(CHUNK_BYTES)) {
            // Not before a writer is there for more.
            state.from = state.until;
            return None;
        }
        state.from += 1;
        state.charged.insert(chunk);
        Some(chunk)
    }

    fn populate<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        chunk: u32,
    ) -> MutexGuard<'a, State> {
        state.populating = Some(chunk);
        drop(state);
        let populated = self.memory.populate(chunk);
        let mut state = self.state.lock();
        state.populating = None;
        state.populated_total += u64::from(populated.is_ok());
        if populated.is_err() {
            // A kernel before 5.14, or no memory: the writer's own touch will do, or will be told.
            state.until = 0;
        }
        self.changed.notify_all();
        state
    }

    fn release<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while state.populating.is_some() {
            self.changed.wait(&mut state);
        }
        for chunk in std::mem::take(&mut state.charged) {
            // Only a bad range could fail; then the memory stays until the writers come.
            let _kept = self.memory.give_back(chunk);
            if let Some(gate) = &self.gate {
                gate.uncommit(CHUNK_BYTES);
            }
        }
        // What went back may be wanted again: the next notice says from where.
        (state.from, state.until) = (0, 0);
        self.changed.notify_all();
        state
    }
}

#[cfg(all(test, not(any(loom, shuttle)), target_os = "linux"))]
mod tests {
    use super::*;
    use crate::chunks::memory::Reservation;
    use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

    /// Grants up to a limit, and never forgets the most it held.
    #[derive(Default)]
    struct Budget {
        held: AtomicI64,
        most: AtomicI64,
        limit: AtomicI64,
        refusals: AtomicU64,
    }

    impl MemoryGate for Budget {
        fn commit(&self, bytes: u64) -> bool {
            let held = self.held.fetch_add(bytes as i64, SeqCst) + bytes as i64;
            if held > self.limit.load(SeqCst) {
                self.held.fetch_sub(bytes as i64, SeqCst);
                self.refusals.fetch_add(1, SeqCst);
                return false;
            }
            self.most.fetch_max(held, SeqCst);
            true
        }
        fn uncommit(&self, bytes: u64) {
            assert!(self.held.fetch_sub(bytes as i64, SeqCst) >= bytes as i64, "given back twice");
        }
    }

    fn start(depth: u64, limit: u64, idle: Duration) -> (Reservation, Arc<Budget>, Ahead) {
        let memory = Reservation::new(16, true).unwrap();
        let budget = Arc::new(Budget::default());
        budget.limit.store((limit * CHUNK_BYTES) as i64, SeqCst);
        let gate: Arc<dyn MemoryGate> = budget.clone();
        let bytes = depth * CHUNK_BYTES;
        let ahead = Ahead::start_with(bytes, 16, memory.chunk_memory(), Some(gate), idle);
        // A machine of one core has nothing to test here, and CI has two.
        (memory, budget, ahead.expect("two cores"))
    }

    /// Waits for the thread's next change until `reached` says so.
    fn wait_until(ahead: &Ahead, reached: impl Fn(&State) -> bool) {
        let mut state = ahead.control.state.lock();
        while !reached(&state) {
            let waited = ahead.control.changed.wait_for(&mut state, Duration::from_secs(60));
            assert!(!waited.timed_out(), "the thread did not get there");
        }
    }

    const NEVER: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_next_chunks_are_populated_and_charged_and_no_more_than_asked_for() {
        let (_memory, budget, ahead) = start(3, 100, NEVER);
        ahead.entered(0);
        wait_until(&ahead, |state| state.populated_total == 3 && state.populating.is_none());
        assert_eq!(ahead.stats().bytes, 3 * CHUNK_BYTES);
        assert_eq!(budget.held.load(SeqCst), 3 * CHUNK_BYTES as i64);
        assert!(!ahead.take_over(0) && ahead.take_over(1) && !ahead.take_over(1));
        ahead.entered(1);
        wait_until(&ahead, |state| state.populated_total == 4 && state.populating.is_none());
        assert_eq!(ahead.stats().bytes, 3 * CHUNK_BYTES, "2, 3 and 4");
        assert_eq!(
            budget.most.load(SeqCst),
            4 * CHUNK_BYTES as i64,
            "the writer's and three ahead"
        );
    }

    #[test]
    fn the_end_of_the_arena_is_the_end() {
        let (_memory, budget, ahead) = start(8, 100, NEVER);
        ahead.entered(13);
        wait_until(&ahead, |state| state.populated_total == 2);
        ahead.entered(15);
        ahead.settle(15);
        assert_eq!(budget.held.load(SeqCst), 2 * CHUNK_BYTES as i64);
    }

    #[test]
    fn a_gate_that_refuses_stops_the_thread_until_the_next_notice() {
        let (_memory, budget, ahead) = start(4, 2, NEVER);
        ahead.entered(0);
        wait_until(&ahead, |state| state.from == state.until && state.populating.is_none());
        assert_eq!((budget.refusals.load(SeqCst), ahead.stats().bytes), (1, 2 * CHUNK_BYTES));
        ahead.release();
        assert_eq!((budget.held.load(SeqCst), ahead.stats().bytes), (0, 0));
        ahead.entered(4);
        wait_until(&ahead, |state| state.populated_total == 4);
        assert_eq!(budget.most.load(SeqCst), 2 * CHUNK_BYTES as i64, "never beyond the limit");
    }

    #[test]
    fn memory_ahead_goes_back_when_no_writer_comes_and_when_the_arena_ends() {
        let (_memory, budget, ahead) = start(2, 100, Duration::from_millis(1));
        ahead.entered(0);
        wait_until(&ahead, |state| state.populated_total >= 2 && state.charged.is_empty());
        assert_eq!(budget.held.load(SeqCst), 0);
        ahead.entered(1);
        drop(ahead);
        assert_eq!(budget.held.load(SeqCst), 0, "and the thread is joined");
    }
}
