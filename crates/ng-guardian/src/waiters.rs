//! Waiting for credits: a sleeper wakes when some came back, and not before. Knows no amounts.
//!
//! A sleeper counts itself, notes the number of the last wake, looks for credits, and sleeps only
//! if that number still stands. Whoever gives credits back does so first and looks for sleepers
//! after that. With a full fence on both sides between the store and the look, either the giver
//! sees the sleeper or the sleeper sees the credits.

use std::time::{Duration, Instant};

use crate::mutants;
use crate::sync::atomic::{
    AtomicU32,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::sync::{Condvar, Mutex, wait_for};

/// Those who wait for credits.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicU32,
    /// Number of wakes so far.
    wakes: Mutex<u64>,
    woken: Condvar,
}

impl Waiters {
    /// To be called after credits came back. One fence and one load if nobody waits.
    pub(crate) fn wake(&self) {
        fence(SeqCst);
        if self.count.load(Relaxed) > 0 && !mutants::on("guardian-waiter-not-woken") {
            *self.wakes.lock() += 1;
            self.woken.notify_all();
        }
    }

    /// Calls `attempt` at once, after each wake, and after each `nap`, until it gives something or
    /// `deadline` has passed; `None` is no deadline. Holds no lock during a call.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        nap: impl Fn() -> Duration,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        self.count.fetch_add(1, Relaxed);
        fence(SeqCst);
        let _counted = Counted(self);
        loop {
            let seen = *self.wakes.lock();
            if let Some(found) = attempt() {
                return Some(found);
            }
            let left =
                deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return None;
            }
            let wakes = self.wakes.lock();
            if *wakes == seen {
                drop(wait_for(&self.woken, wakes, left.min(nap())));
            }
        }
    }
}

/// One who waits, also while a panic unwinds it.
struct Counted<'a>(&'a Waiters);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}
