//! Who writes which cell: a process-wide table of thread slots, and rows of cells indexed by slot.
//!
//! The idea that makes it simple: a slot has one owner at a time, so its cells need no atomic
//! read-modify-write, and they are never reset, so a thread that ends leaves its counts behind and
//! the slot's next owner goes on from them. Giving a slot back is a release, taking it an acquire;
//! that hand-over is the only synchronisation between two owners.
//!
//! Limit: 64 threads at a time own a slot. A thread that finds none shares one row with
//! `fetch_add` until it ends: exact still, but no longer free of contention.
//!
//! Not for signal handlers: one that interrupts its own thread's increment could lose it.

use std::cell::Cell;

use crate::exemplar::Exemplars;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Exemplar, TraceRef, mutants};

/// Slots with an owner of their own: one bit each in the table's word.
pub(crate) const EXCLUSIVE_SLOTS: usize = 64;
/// Index of the row that all threads without a slot share.
pub(crate) const SHARED_SLOT: usize = EXCLUSIVE_SLOTS;
/// Rows of a block: one a slot, and the shared one.
pub(crate) const ROWS: usize = EXCLUSIVE_SLOTS + 1;
/// What a thread holds before it first counts; above every row, so one compare finds both cases, and
/// far from wrapping round when a column is added.
const NO_SLOT_YET: usize = usize::MAX / 2;

/// Which slots are taken, as a bitmap, and how many threads found none.
pub(crate) struct SlotTable {
    taken: AtomicU64,
    shared_threads_total: AtomicU64,
}

impl SlotTable {
    #[cfg(not(all(test, loom)))]
    pub(crate) const fn new() -> Self {
        Self { taken: AtomicU64::new(0), shared_threads_total: AtomicU64::new(0) }
    }

    #[cfg(all(test, loom))] // loom's constructors are not const
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU64::new(0), shared_threads_total: AtomicU64::new(0) }
    }

    /// Takes the lowest free slot, or `SHARED_SLOT` if there is none.
    pub(crate) fn take(&self) -> usize {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let slot = taken.trailing_ones() as usize;
            if slot == EXCLUSIVE_SLOTS {
                self.shared_threads_total.fetch_add(1, Ordering::Relaxed);
                return SHARED_SLOT;
            }
            // Acquire: what the slot's former owner stored in its cells is seen by this one. It
            // reads either the former owner's release or a later read-modify-write of the word,
            // which continues that release.
            let seeing = match mutants::on("metrics-slot-taken-unseeing") {
                true => Ordering::Relaxed,
                false => Ordering::Acquire,
            };
            let more = taken | 1 << slot;
            if mutants::on("metrics-slot-taken-without-asking") {
                self.taken.store(more, Ordering::Release);
                return slot;
            }
            match self.taken.compare_exchange_weak(taken, more, seeing, Ordering::Relaxed) {
                Ok(_) => return slot,
                Err(seen) => taken = seen,
            }
        }
    }

    /// Gives back a slot that `take` returned. The caller writes no cell of it afterwards.
    pub(crate) fn give_back(&self, slot: usize) {
        if slot < EXCLUSIVE_SLOTS {
            let leaving = match mutants::on("metrics-slot-left-unsaid") {
                true => Ordering::Relaxed,
                false => Ordering::Release,
            };
            let before = self.taken.fetch_and(!(1 << slot), leaving);
            debug_assert!(before & 1 << slot != 0, "slot {slot} given back twice");
        }
    }

    /// For a breakage alone: has `slot` an owner now?
    fn is_taken(&self, slot: usize) -> bool {
        slot == SHARED_SLOT || self.taken.load(Ordering::Relaxed) & 1 << slot != 0
    }

    /// Threads that found no free slot, ever.
    pub(crate) fn shared_threads_total(&self) -> u64 {
        self.shared_threads_total.load(Ordering::Relaxed)
    }
}

#[cfg(not(all(test, loom)))]
pub(crate) static SLOTS: SlotTable = SlotTable::new();
#[cfg(all(test, loom))]
crate::sync::lazy_static! {
    pub(crate) static ref SLOTS: SlotTable = SlotTable::new();
}

/// Gives the thread's slot back when the thread ends.
struct Lease(Cell<usize>);

impl Drop for Lease {
    fn drop(&mut self) {
        // First: whatever still counts in this thread's later destructors uses the shared row.
        if !mutants::on("metrics-ended-thread-keeps-its-slot") {
            ROW.set(SHARED_SLOT * ROW_BYTES);
        }
        SLOTS.give_back(self.0.get());
    }
}

thread_local! {
    // Two variables, so that the hot path reads one that is constant at first and has no
    // destructor: then the compiler emits a plain load, without a check for "initialised yet?".
    // It holds where the slot's row begins in each block, in bytes, so that no hot path has to multiply.
    static ROW: Cell<usize> = const { Cell::new(NO_SLOT_YET) };
    static LEASE: Lease = const { Lease(Cell::new(SHARED_SLOT)) };
}

/// This thread's slot if it is known and exclusive. `None`: call [`claim`].
#[inline(always)]
pub(crate) fn exclusive_slot() -> Option<usize> {
    let slot = ROW.get() / ROW_BYTES;
    (slot < EXCLUSIVE_SLOTS).then_some(slot)
}

/// This thread's slot, taken now if it has none yet; `SHARED_SLOT` if none is free.
#[cold]
#[inline(never)]
pub(crate) fn claim() -> usize {
    if ROW.get() == NO_SLOT_YET {
        // The lease is registered before the slot is taken, so no slot is ever lost. It fails only
        // in a thread whose destructors have run: that one must not own a slot any more.
        let slot = LEASE
            .try_with(|lease| {
                let slot = SLOTS.take();
                lease.0.set(slot);
                slot
            })
            .unwrap_or(SHARED_SLOT);
        ROW.set(slot * ROW_BYTES);
    }
    ROW.get() / ROW_BYTES
}

/// Adds to a cell whose slot the calling thread owns.
#[inline(always)]
pub(crate) fn add_owned(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Adds to a cell which several threads may write.
pub(crate) fn add_shared(cell: &AtomicU64, n: u64) {
    if mutants::on("metrics-shared-cell-as-owned") {
        return add_owned(cell, n);
    }
    cell.fetch_add(n, Ordering::Relaxed);
}

/// A cell beyond this makes its counter full: `u64::MAX`, for good. So far below 2^64 that an increment
/// needs no check: to get from here to there one by one takes a thread 146 years at a nanosecond each.
const FULL: u64 = u64::MAX - (1 << 62);

/// The next value of a counter's cell: what it was plus `n`, or, from `FULL` on, full. Never lower.
#[inline(always)]
fn raised(cell: u64, n: u64) -> u64 {
    if mutants::on("metrics-counter-wraps") {
        return cell.wrapping_add(n);
    }
    match cell.checked_add(n) {
        Some(sum) if sum <= FULL => sum,
        _ => cell.max(FULL),
    }
}

/// Counters in one block: as many cells as fill a row of 128 bytes. x86 prefetches lines in pairs, and
/// aarch64 has lines of that size; so two threads never write to one such pair.
const COLUMNS: usize = 16;
const ROW_BYTES: usize = COLUMNS * size_of::<u64>();
/// Of a block, what has one owner. Behind it is the shared row.
const OWNED_BYTES: usize = EXCLUSIVE_SLOTS * ROW_BYTES;

const _: () = {
    assert!(ROW_BYTES == 128);
    // Made on a stack, before it goes to its place.
    assert!(size_of::<Block>() <= 256 && align_of::<Block>() <= 64);
    assert!(EXCLUSIVE_SLOTS == u64::BITS as usize);
};

/// Cells of up to 16 counters, a row for each slot: 8 KiB together instead of 8 KiB each. The rows lie
/// in one array, so that one compare tells whether a thread's cell is its own.
struct Block {
    /// Rows behind as many cells as it takes to begin them at a multiple of 128 bytes. An aligned type
    /// would do it too, and be 8 KiB on somebody's stack while it is made.
    cells: Box<[AtomicU64]>,
    first: usize,
    exemplars: Exemplars<COLUMNS>,
}

impl Block {
    fn new() -> Self {
        let cells: Box<[AtomicU64]> =
            (0..(ROWS + 1) * COLUMNS).map(|_| AtomicU64::new(0)).collect();
        let at = cells.as_ptr().addr();
        let first = (at.next_multiple_of(ROW_BYTES) - at) / size_of::<AtomicU64>();
        Self { cells, first, exemplars: Exemplars::new() }
    }
}

/// One counter's cells: a column of a block.
#[derive(Clone)]
pub(crate) struct Column {
    block: Arc<Block>,
    column: usize,
    /// Its cell of the first row, in the block.
    top: *const AtomicU64,
}

// SAFETY: `top` points to atomics in the block, which is shared by an `Arc` that lives as long.
#[allow(unsafe_code)]
unsafe impl Send for Column {}
// SAFETY: the same.
#[allow(unsafe_code)]
unsafe impl Sync for Column {}

impl Column {
    /// A column in a block of its own.
    pub(crate) fn new() -> Self {
        Self::of(Arc::new(Block::new()), 0)
    }

    fn of(block: Arc<Block>, column: usize) -> Self {
        assert!(column < COLUMNS);
        let top = block.cells[block.first..].as_ptr().wrapping_add(column);
        Self { block, column, top }
    }

    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        // A thread without a slot of its own holds a number that is too high.
        let row = ROW.get();
        if row < OWNED_BYTES {
            add_owned(self.owned_cell(row), n);
        } else {
            self.add_cold(n);
        }
    }

    /// The cell in the row that begins at byte `row`, below `OWNED_BYTES`; its address in one
    /// register. Left alone, the compiler adds `row` in the very instruction that counts, and recent
    /// processors hand a stored value to the next load at once only where its address is a plain one:
    /// 0.7 to 1.4 ns an increment instead of 2.8.
    #[inline(always)]
    #[allow(unsafe_code, clippy::pointers_in_nomem_asm_block)]
    fn owned_cell(&self, row: usize) -> &AtomicU64 {
        debug_assert!(row < OWNED_BYTES && row.is_multiple_of(ROW_BYTES));
        #[allow(unused_mut)] // by the instruction that is none
        let mut cell = self.top.wrapping_byte_add(row);
        // SAFETY: no instruction at all; the pointer stays what it is.
        #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
        unsafe {
            std::arch::asm!("/* {} */", inout(reg) cell, options(pure, nomem, nostack, preserves_flags));
        }
        // SAFETY: a row begins at byte `row` and has `COLUMNS` cells, of which `top` chooses one: it lies in
        // the block, which `self` keeps.
        unsafe { &*cell }
    }

    /// As [`Column::add`], for what only rises: it never wraps.
    #[inline(always)]
    pub(crate) fn raise(&self, n: u64) {
        let row = ROW.get();
        if row < OWNED_BYTES {
            let cell = self.owned_cell(row);
            cell.store(raised(cell.load(Ordering::Relaxed), n), Ordering::Relaxed);
        } else {
            self.raise_cold(n);
        }
    }

    #[cold]
    #[inline(never)]
    fn raise_cold(&self, n: u64) {
        let slot = claim();
        let cell = self.cell(slot);
        let mut now = cell.load(Ordering::Relaxed);
        let ordering = Ordering::Relaxed;
        // Of a row that only this thread writes, at once.
        while let Err(seen) = cell.compare_exchange_weak(now, raised(now, n), ordering, ordering) {
            now = seen;
        }
    }

    #[cold]
    #[inline(never)]
    fn add_cold(&self, n: u64) {
        match claim() {
            SHARED_SLOT => add_shared(self.cell(SHARED_SLOT), n),
            slot => add_owned(self.cell(slot), n),
        }
    }

    /// Sum of all cells, `u64::MAX` if it is higher or a cell is full. Each cell only rises, so a later sum
    /// of the same reader is never lower.
    pub(crate) fn total(&self) -> u64 {
        self.values().fold(0, |sum, value| match value {
            _ if mutants::on("metrics-counter-wraps") => sum.wrapping_add(value),
            ..FULL => sum.saturating_add(value),
            FULL.. => u64::MAX,
        })
    }

    /// Sum of all cells, wrapped.
    pub(crate) fn level(&self) -> i64 {
        self.values().fold(0, u64::wrapping_add).cast_signed()
    }

    fn values(&self) -> impl Iterator<Item = u64> {
        (0..ROWS)
            .filter(|row| {
                let ended = || !SLOTS.is_taken(*row);
                !(mutants::on("metrics-ended-threads-are-forgotten") && ended())
            })
            .map(|row| self.cell(row).load(Ordering::Relaxed))
    }

    /// Keeps the exemplar of an addition of `n`.
    pub(crate) fn keep(&self, n: u64, trace: TraceRef) {
        self.block.exemplars.keep(self.column, n, trace);
    }

    pub(crate) fn exemplar(&self) -> Option<Exemplar> {
        let place = if mutants::on("metrics-exemplar-on-every-counter") { 0 } else { self.column };
        self.block.exemplars.read_one(place)
    }

    fn cell(&self, row: usize) -> &AtomicU64 {
        &self.block.cells[self.block.first + row * COLUMNS + self.column]
    }
}

/// Hands out columns, sixteen a block. A column is not used twice: a block goes when all of its
/// counters have gone.
#[derive(Default)]
pub(crate) struct ColumnSupply {
    last: Option<Column>,
}

impl ColumnSupply {
    pub(crate) fn next(&mut self) -> Column {
        let next = match self.last.take() {
            Some(last) if last.column + 1 < COLUMNS => Column::of(last.block, last.column + 1),
            _ => Column::new(),
        };
        self.last.insert(next).clone()
    }
}

#[cfg(test)]
#[cfg(not(loom))] // under loom only the models run
mod tests {
    use super::*;

    #[test]
    fn lowest_free_slot_is_taken_and_the_65th_thread_shares() {
        let table = SlotTable::new();
        let taken: Vec<usize> = (0..EXCLUSIVE_SLOTS).map(|_| table.take()).collect();
        assert_eq!(taken, (0..EXCLUSIVE_SLOTS).collect::<Vec<_>>());
        assert_eq!(table.take(), SHARED_SLOT);
        assert_eq!(table.shared_threads_total(), 1);

        table.give_back(SHARED_SLOT);
        assert_eq!(table.take(), SHARED_SLOT, "giving the shared row back frees no slot");
        table.give_back(17);
        table.give_back(5);
        assert_eq!([table.take(), table.take(), table.take()], [5, 17, SHARED_SLOT]);
    }

    #[test]
    fn a_thread_whose_lease_has_gone_owns_no_slot_in_its_later_destructors() {
        use std::sync::mpsc::{Sender, channel};

        /// Tells, when dropped, whether the lease has gone, and which slot is owned.
        struct Probe(Sender<(bool, Option<usize>)>);
        impl Drop for Probe {
            fn drop(&mut self) {
                self.0.send((LEASE.try_with(|_| ()).is_err(), exclusive_slot())).unwrap();
                assert!(exclusive_slot().is_some() || claim() == SHARED_SLOT);
            }
        }
        thread_local! {
            static BEFORE: Cell<Option<Probe>> = const { Cell::new(None) };
            static AFTER: Cell<Option<Probe>> = const { Cell::new(None) };
        }

        let (sender, seen) = channel();
        let run = move || {
            // Platforms differ in the order of destructors: one of the two is later than the lease.
            BEFORE.set(Some(Probe(sender.clone())));
            claim();
            AFTER.set(Some(Probe(sender)));
        };
        std::thread::spawn(run).join().unwrap();
        let seen: Vec<_> = seen.iter().collect();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().any(|(gone, _)| *gone), "no probe came after the lease: {seen:?}");
        assert!(seen.iter().all(|(gone, slot)| !gone || slot.is_none()), "{seen:?}");
    }

    #[test]
    fn columns_of_one_supply_are_distinct_cells() {
        let mut supply = ColumnSupply::default();
        let columns: Vec<Column> = (0..2 * COLUMNS + 1).map(|_| supply.next()).collect();
        for (i, column) in columns.iter().enumerate() {
            column.add(1 << i);
        }
        for (i, column) in columns.iter().enumerate() {
            assert_eq!(column.total(), 1 << i);
        }
    }

    #[test]
    fn rows_begin_at_pairs_of_lines_of_their_own() {
        for column in [Column::new(), Column::new(), Column::new()] {
            let top = std::ptr::from_ref(column.cell(0));
            assert!(top.addr().is_multiple_of(ROW_BYTES));
            assert_eq!(top, column.top);
            let end = std::ptr::from_ref(column.block.cells.last().unwrap());
            let last = std::ptr::from_ref(column.cell(SHARED_SLOT)).wrapping_add(COLUMNS - 1);
            assert!(last.addr() <= end.addr());
        }
    }

    #[test]
    fn a_cell_rises_to_its_end_and_stays_there() {
        assert_eq!(raised(5, 6), 11);
        assert_eq!(raised(0, FULL), FULL);
        assert_eq!(raised(1, FULL), FULL);
        assert_eq!(raised(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(raised(FULL, u64::MAX), FULL);
        // One by one it goes on, where only the sum tells that it is full.
        assert_eq!(raised(FULL + 7, 1), FULL + 7);
    }
}
