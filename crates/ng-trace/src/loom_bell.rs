//! Loom model of the bell: whatever the owner is doing while something changes, its first operation that comes after the change, in its own order, obeys it.

use crate::{
    bell::Bell,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use loom::{sync::Arc, thread};

/// What is in force, and the bell beside it.
struct Shared {
    in_force: AtomicU64,
    changed: AtomicU64,
    bell: Bell,
}

/// The owner's side: what it last saw in force, and where it is.
struct Owner {
    shared: Arc<Shared>,
    position: u64,
    seen: u64,
}

impl Owner {
    /// One operation; returns what it obeys.
    fn operation(&mut self) -> u64 {
        self.position += 1;
        if self.position >= self.shared.bell.limit() {
            loop {
                self.seen = self.shared.in_force.load(Relaxed);
                if !self.shared.bell.arm(self.position + 100) {
                    break;
                }
            }
        }
        self.seen
    }
}

#[test]
fn loom_no_ring_is_lost_under_a_new_limit() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            in_force: AtomicU64::new(1),
            changed: AtomicU64::new(0),
            bell: Bell::new(),
        });
        let mut owner = Owner { shared: Arc::clone(&shared), position: 0, seen: 0 };
        let changer = thread::spawn(move || {
            for version in 2..=3 {
                shared.in_force.store(version, Relaxed);
                shared.bell.ring();
                shared.changed.store(version, Release);
            }
        });
        for _ in 0..2 {
            let changed = owner.shared.changed.load(Acquire);
            let obeyed = owner.operation();
            assert!(obeyed >= changed, "obeys {obeyed} after {changed}");
        }
        changer.join().unwrap();
        assert_eq!(owner.operation(), 3);
    });
}
