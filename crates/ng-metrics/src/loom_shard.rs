//! Loom models of the slot hand-over: every interleaving of owners and a reader, a few steps each.
//!
//! The thread-local half is not modelled: loom's threads share one real thread.

use crate::shard::{SHARED_SLOT, SlotTable, add_owned, add_shared};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, thread};

struct Model {
    table: SlotTable,
    cells: [AtomicU64; 3],
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            table: SlotTable::new(),
            cells: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// What a short-lived thread does: take a slot, count, end.
    fn live_and_count(&self, n: u64) {
        let slot = self.table.take();
        if slot == SHARED_SLOT {
            add_shared(&self.cells[2], n);
        } else {
            add_owned(&self.cells[slot], n);
        }
        self.table.give_back(slot);
    }

    fn sum(&self) -> u64 {
        self.cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

#[test]
fn a_slot_handed_over_keeps_its_former_owners_counts() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let thread = thread::spawn(move || other.live_and_count(1));
        model.live_and_count(10);
        model.live_and_count(100);
        thread.join().unwrap();
        assert_eq!(model.sum(), 111);
    });
}

#[test]
fn a_reader_beside_two_owners_never_sees_the_sum_fall() {
    loom::model(|| {
        let model = Model::new();
        let (a, b) = (Arc::clone(&model), Arc::clone(&model));
        let a = thread::spawn(move || a.live_and_count(1));
        let b = thread::spawn(move || b.live_and_count(2));
        let first = model.sum();
        let second = model.sum();
        assert!(first <= second, "{first} then {second}");
        a.join().unwrap();
        b.join().unwrap();
        assert_eq!(model.sum(), 3);
    });
}

#[test]
fn threads_that_share_a_cell_lose_no_count() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let thread = thread::spawn(move || add_shared(&other.cells[2], 1));
        add_shared(&model.cells[2], 2);
        thread.join().unwrap();
        assert_eq!(model.sum(), 3);
    });
}

#[test]
fn two_that_take_slots_at_once_never_get_the_same_one() {
    loom::model(|| {
        let model = Model::new();
        let other = Arc::clone(&model);
        let thread = thread::spawn(move || other.table.take());
        let mine = model.table.take();
        let theirs = thread.join().unwrap();
        assert_ne!(mine, theirs);
        // Given back by one thread, it is the other's to take again.
        model.table.give_back(theirs);
        assert_eq!(model.table.take(), theirs);
    });
}

#[test]
fn a_level_raised_by_one_owner_and_lowered_by_the_next_is_as_before() {
    loom::model(|| {
        let model = Model::new();
        let raiser = Arc::clone(&model);
        let thread = thread::spawn(move || raiser.live_and_count(1));
        model.live_and_count(1u64.wrapping_neg());
        thread.join().unwrap();
        assert_eq!(
            model
                .cells
                .iter()
                .fold(0, |sum: u64, cell| { sum.wrapping_add(cell.load(Ordering::Relaxed)) }),
            0
        );
    });
}
