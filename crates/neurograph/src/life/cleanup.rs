//! Cleanup: the guardian's algorithm over the arena's tokens. An eviction is an ordinary delete, logged where the token is.

use crate::durable::logged::Logged;
use crate::inner::{Inner, Progress, is_pinned};
use crate::mutants;
use crate::observe::{AGGRESSIVE_CLEANUP, note};
use crate::session::Session;
use crate::watch::eviction::EvictionReason;
use ng_blackbox::Severity;
use ng_core::Token;
use ng_guardian::{
    Candidate, CleanupGoal, CleanupKey, CleanupPolicy, CleanupReport, Cut, Evict, Evicted,
    Population, Position,
};
use parking_lot::{Mutex, MutexGuard};
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, ThreadId};

/// The live tokens, and a session of the store's own that deletes them.
struct Tokens<'a> {
    inner: &'a Inner,
    reason: EvictionReason,
    session: RefCell<MutexGuard<'a, Option<Session>>>,
}

impl Inner {
    /// Evicts down to the low-water mark or until `stop` says so; see [`ng_guardian::Guardian::cleanup`].
    /// `None`: another thread does that at this moment, see [`Inner::cleaning`].
    pub(crate) fn clean_up(self: &Arc<Self>, stop: &dyn Fn() -> bool) -> Option<CleanupReport> {
        let locked = self.evictor.try_lock()?;
        let _cleaner = Cleaner::of(&self.cleaner);
        let _last_step = LastStep(&self.cleaning);
        let mut session = locked; // dropped before the step: who sees that finds the lock free
        if self.status.check().is_err() {
            return Some(CleanupReport::default());
        }
        session.get_or_insert_with(|| {
            self.guardian.adopt_fixed(Session::BYTES);
            let mut session = Session::new(Arc::clone(self));
            session.never_wait();
            session
        });
        let reason = self.eviction_reason();
        let tokens = Tokens { inner: self, reason, session: RefCell::new(session) };
        let report = self.guardian.cleanup(&tokens, CleanupGoal::LowWater, stop);
        drop(tokens);
        if report.evicted > 0 {
            let ns = report.elapsed.as_nanos() as u64;
            let last = (reason as u64) << 56 | ns & (u64::MAX >> 8);
            let numbers = [report.considered, report.evicted, report.bytes_freed, last];
            note(&self.blackbox, AGGRESSIVE_CLEANUP, Severity::WARN, numbers);
        }
        Some(report)
    }
}

impl Inner {
    /// Whether the calling thread is cleaning up, and this is a call of the observer that it tells.
    pub(crate) fn is_cleaning_here(&self) -> bool {
        *self.cleaner.lock() == Some(thread::current().id())
    }
}

/// The thread that cleans, for as long as it does.
struct Cleaner<'a>(&'a Mutex<Option<ThreadId>>);

impl Cleaner<'_> {
    fn of(place: &Mutex<Option<ThreadId>>) -> Cleaner<'_> {
        *place.lock() = Some(thread::current().id());
        Cleaner(place)
    }
}

impl Drop for Cleaner<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// The step that ends a cleanup, also in a panic: who waits then looks for itself.
struct LastStep<'a>(&'a Progress);

impl Drop for LastStep<'_> {
    fn drop(&mut self) {
        self.0.step();
    }
}

fn candidate(policy: CleanupPolicy, logged: Logged, token: &Token) -> Candidate {
    let key = match policy {
        CleanupPolicy::Lightest => CleanupKey::from_f32(token.weight()),
        CleanupPolicy::Weakest => CleanupKey::from_u32(u32::from(token.raw_strength())),
        CleanupPolicy::Oldest => CleanupKey::from_u32(token.timestamp()),
    };
    let durable = logged.is(token) && !mutants::on("store-evicts-logged");
    Candidate { key, durable, pinned: is_pinned(token) }
}

impl Population for Tokens<'_> {
    fn has_evictable(&self, evict: Evict) -> bool {
        evict == Evict::All
            || self.inner.logged != Logged::ALL
            || mutants::on("store-evicts-logged")
    }

    fn member_bytes(&self) -> u64 {
        size_of::<Token>() as u64
    }

    fn scan(&self, policy: CleanupPolicy, visit: &mut dyn FnMut(Candidate) -> ControlFlow<()>) {
        for (_, token) in self.inner.arena.iter() {
            if visit(candidate(policy, self.inner.logged, &token)).is_break() {
                return;
            }
        }
    }

    fn evict(&self, cut: Cut, from: Position, max: u32) -> Evicted {
        let mut evicted = Evicted::default();
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else { return evicted };
        let start = u32::try_from(from.0).unwrap_or(u32::MAX);
        let takes = |token: &Token| cut.takes(&candidate(cut.policy, self.inner.logged, token));
        for (id, token) in self.inner.arena.iter_from(start) {
            if evicted.count == u64::from(max) {
                evicted.next = Some(Position(u64::from(id.slot())));
                break;
            }
            if !takes(&token) {
                continue;
            }
            match session.evict(id, takes) {
                Ok(Some(token)) => {
                    evicted.count += 1;
                    self.inner.note_evicted(id, token, self.reason);
                }
                // Somebody else changed it meanwhile.
                Ok(None) => {}
                // The log has no room for the record, and has none for the next: each would wait in vain.
                Err(_) => break,
            }
        }
        evicted.bytes_freed = self.inner.arena.give_back_empty();
        self.inner.cleaning.step();
        evicted
    }

    fn give_back(&self) -> u64 {
        self.inner.arena.give_back_empty()
    }
}
