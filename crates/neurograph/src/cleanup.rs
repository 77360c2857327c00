//! Cleanup: the guardian's algorithm over the arena's tokens. An eviction is an ordinary delete, logged where the token is.

use crate::inner::{Inner, Progress};
use crate::log::Logged;
use crate::observe::{AGGRESSIVE_CLEANUP, note};
use crate::session::Session;
use ng_blackbox::Severity;
use ng_core::{Flags, Token};
use ng_guardian::{
    Candidate, CleanupGoal, CleanupKey, CleanupPolicy, CleanupReport, Cut, Evicted, Population,
    Position,
};
use parking_lot::MutexGuard;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The live tokens, and a session of the store's own that deletes them.
struct Tokens<'a> {
    inner: &'a Inner,
    session: RefCell<MutexGuard<'a, Option<Session>>>,
}

impl Inner {
    /// Evicts down to the low-water mark or until `stop` says so; see [`ng_guardian::Guardian::cleanup`].
    /// `None`: another thread does that at this moment, see [`Inner::cleaning`].
    pub(crate) fn clean_up(self: &Arc<Self>, stop: &dyn Fn() -> bool) -> Option<CleanupReport> {
        let locked = self.evictor.try_lock()?;
        let _last_step = LastStep(&self.cleaning);
        let mut session = locked; // dropped before the step: who sees that finds the lock free
        if self.status.check().is_err() {
            return Some(CleanupReport::default());
        }
        session.get_or_insert_with(|| Session::new(Arc::clone(self)));
        let tokens = Tokens { inner: self, session: RefCell::new(session) };
        let report = self.guardian.cleanup(&tokens, CleanupGoal::LowWater, stop);
        drop(tokens);
        let ns = report.elapsed.as_nanos() as u64;
        let numbers = [report.considered, report.evicted, report.bytes_freed, ns];
        note(&self.blackbox, AGGRESSIVE_CLEANUP, Severity::WARN, numbers);
        Some(report)
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
        _ => CleanupKey::from_u32(token.timestamp()),
    };
    Candidate {
        key,
        durable: logged.is(token),
        pinned: token.flags().bits() & Flags::PERSISTENT.with(Flags::LOCKED).bits() != 0,
    }
}

impl Population for Tokens<'_> {
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
            if takes(&token) && session.evict(id, takes) {
                evicted.count += 1;
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
