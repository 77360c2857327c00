//! Loom models of the ledger: fast path, slow path, recall, cells and limits against each other.
//! Two threads and a handful of credits: what goes wrong, goes wrong there already.
//!
//! Run: `RUSTFLAGS="--cfg loom" cargo test -p ng-guardian --lib --release loom_`

use std::sync::Arc;

use loom::thread;

use crate::ledger::{Holder, Ledger};
use crate::sync::Mutex;

/// One lease; its lock is what `recall_idle` takes.
struct Lease(Mutex<u64>);

impl Holder for Lease {
    fn recall_idle(&self) -> u64 {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Lease {
    /// A lease with `idle` credits, that many being reserved already.
    fn register(ledger: &Ledger, idle: u64) -> Arc<Lease> {
        let lease = Arc::new(Lease(Mutex::new(idle)));
        ledger.set_holder(&(Arc::clone(&lease) as Arc<dyn Holder>));
        lease
    }

    fn fill(&self, ledger: &Ledger, want: u32) {
        let mut idle = self.0.lock();
        if let Some(granted) = ledger.try_reserve(want) {
            *idle += u64::from(granted.credits);
        }
    }

    fn use_one(&self) -> bool {
        let mut idle = self.0.lock();
        let any = *idle > 0;
        *idle -= u64::from(any);
        any
    }
}

fn ledger(limit: u64, reserved: u32) -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::new(Some(limit), 1024));
    if reserved > 0 {
        assert_eq!(ledger.try_reserve(reserved).map(|granted| granted.credits), Some(reserved));
    }
    ledger
}

#[test]
fn loom_credits_on_their_way_into_a_lease_are_found_by_a_recall() {
    loom::model(|| {
        let ledger = ledger(2, 0);
        let lease = Lease::register(&ledger, 0);
        let session = {
            let (ledger, lease) = (Arc::clone(&ledger), Arc::clone(&lease));
            thread::spawn(move || {
                lease.fill(&ledger, 2);
                lease.use_one()
            })
        };
        // At most one of two credits is ever in use by the other.
        assert!(ledger.reserve(1).is_ok());
        let other_used = session.join().expect("no panic");
        let room = usize::from(!other_used);
        let admitted = (0..2).filter(|_| ledger.reserve(1).is_ok()).count();
        assert_eq!(admitted, room);
    });
}

#[test]
fn loom_a_credit_that_moves_from_a_lease_to_a_cell_is_not_missed() {
    loom::model(|| {
        let ledger = ledger(2, 2);
        let mut cell = ledger.cell();
        let lease = Lease::register(&ledger, 1); // one idle, one in use
        let session = {
            let lease = Arc::clone(&lease);
            thread::spawn(move || {
                cell.release_one();
                lease.use_one();
                cell
            })
        };
        // First the idle credit is free, then both, then the released one: never none.
        assert!(ledger.reserve(1).is_ok());
        drop(session.join().expect("no panic"));
    });
}

#[test]
fn loom_one_release_admits_exactly_one_of_two() {
    loom::model(|| {
        let ledger = ledger(1, 1);
        let mut cell = ledger.cell();
        let session = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                cell.release_one();
                drop(cell);
                ledger.reserve(1).is_ok()
            })
        };
        let mine = ledger.reserve(1).is_ok();
        let other = session.join().expect("no panic");
        assert!(mine ^ other);
        assert!(ledger.reserve(1).is_err());
    });
}

#[test]
fn loom_a_lowered_limit_leaves_no_idle_credit_above_it() {
    loom::model(|| {
        let ledger = ledger(2, 0);
        let lease = Lease::register(&ledger, 0);
        let session = {
            let (ledger, lease) = (Arc::clone(&ledger), Arc::clone(&lease));
            thread::spawn(move || lease.fill(&ledger, 2))
        };
        ledger.set_limit(Some(1));
        session.join().expect("no panic");
        assert!(ledger.pool().used() <= 1);
    });
}

#[test]
fn loom_an_owner_that_recalls_by_itself_hides_no_credit_from_a_reservation() {
    loom::model(|| {
        let ledger = ledger(1, 1);
        let _lease = Lease::register(&ledger, 1);
        let owner = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || ledger.recall_idle())
        };
        assert!(ledger.reserve(1).is_ok());
        owner.join().expect("no panic");
        assert!(ledger.reserve(1).is_err());
    });
}

#[test]
fn loom_a_release_wakes_who_waits_for_it_however_they_meet() {
    loom::model(|| {
        let ledger = ledger(1, 1);
        let waits = {
            let ledger = Arc::clone(&ledger);
            // Without a deadline and without cells: only a wake can end it.
            thread::spawn(move || ledger.reserve_exact_until(1, None).is_ok())
        };
        ledger.release(1);
        assert!(waits.join().expect("no panic"));
        assert_eq!(ledger.pool().used(), 1);
    });
}

#[test]
fn loom_releases_beside_each_other_are_all_taken_back_and_none_is_taken_for_one_too_many() {
    loom::model(|| {
        let ledger = ledger(2, 1);
        let other = {
            let ledger = Arc::clone(&ledger);
            thread::spawn(move || {
                let granted = ledger.try_reserve(1).map_or(0, |granted| granted.credits);
                ledger.release(u64::from(granted)); // panics if it looks like one too many
            })
        };
        ledger.release(1);
        other.join().expect("no panic");
        assert_eq!(ledger.pool().used(), 0);
        assert_eq!(ledger.counts().balance.over_total(), 0);
    });
}
