//! A lease: slots of one group that a writer may fill without asking anybody.
//!
//! The owner runs towards **one limit**. For each create it stores the position behind the next one,
//! and then loads the limit; below it the slot is the owner's, at it a cold path looks what is due.
//! Anybody may take the rest of a lease back: under the lock it sets the limit to 0, fences
//! ([`Barrier::heavy`]), and only then reads the position. Either the owner's store was visible to that
//! read, so the slot stays the owner's; or the owner's load sees 0, and it asks under the lock how
//! far its lease still goes. Limit 0 always means "look under the lock".
//!
//! The owner sets its own limit without a lock and without a locked instruction, which would wait for
//! every create before it to reach memory; so it may overwrite a 0. Whoever lowers a limit therefore
//! leaves a mark before it, and fences: either the owner's look for the mark, after its new limit,
//! sees it, and it asks under the lock; or that limit is visible after the fence, and is lowered again.

pub(crate) mod barrier;
#[cfg(all(test, loom))]
mod loom_lease;

use crate::config::LEASE_SLOTS_MAX;
use crate::lease::barrier::Barrier;
use crate::mutants;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crossbeam_utils::CachePadded;

/// Bits of a group's 1,024 slots. A position is a bit's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mask(pub(crate) [u64; MASK_WORDS]);

/// Words of a mask.
pub(crate) const MASK_WORDS: usize = LEASE_SLOTS_MAX as usize / 64;

const _: () = assert!(LEASE_SLOTS_MAX as usize == MASK_WORDS * 64);

impl Mask {
    pub(crate) const EMPTY: Mask = Mask([0; MASK_WORDS]);

    /// The lowest `count` bits.
    pub(crate) fn first(count: u32) -> Mask {
        Mask([u64::MAX; MASK_WORDS]).below(count)
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The bits below `position`.
    pub(crate) fn below(&self, position: u32) -> Mask {
        let mut words = self.0;
        let from = words.get_mut((position / 64) as usize..).unwrap_or_default();
        if let Some((word, above)) = from.split_first_mut() {
            *word &= (1 << (position % 64)) - 1;
            above.fill(0);
        }
        Mask(words)
    }

    /// The bits that are not in `other`.
    pub(crate) fn without(&self, other: &Mask) -> Mask {
        Mask(std::array::from_fn(|i| self.0[i] & !other.0[i]))
    }

    /// The first run of set bits at or after `from`: its first position and the one past its last.
    pub(crate) fn run(&self, from: u32) -> Option<(u32, u32)> {
        let start = self.nth(from, 0)?;
        let (mut index, below) = (start / 64, start % 64);
        let mut end = start + (!(self.0[index as usize] >> below)).trailing_zeros();
        while end == (index + 1) * 64 && end < LEASE_SLOTS_MAX {
            index += 1;
            end += (!self.0[index as usize]).trailing_zeros();
        }
        Some((start, end))
    }

    /// Position of the bit that has `rank` set bits before it, at or after `from`.
    pub(crate) fn nth(&self, from: u32, mut rank: u32) -> Option<u32> {
        let mut index = from / 64;
        let mut word = self.0.get(index as usize)? & u64::MAX << (from % 64);
        loop {
            let here = word.count_ones();
            if rank < here {
                return Some(index * 64 + nth_of_word(word, rank));
            }
            rank -= here;
            index += 1;
            word = *self.0.get(index as usize)?;
        }
    }
}

/// Place of the set bit that has `rank` set bits below it; there is one.
fn nth_of_word(mut word: u64, rank: u32) -> u32 {
    let lowest = word.trailing_zeros();
    let run = word >> lowest;
    if run & run.wrapping_add(1) == 0 {
        // One run of bits: the usual case, for a lease without holes.
        return lowest + rank;
    }
    for _ in 0..rank {
        word &= word - 1;
    }
    word.trailing_zeros()
}

/// What the owner and others share. The first line is the owner's; others read it rarely.
pub(crate) struct Lease {
    hot: CachePadded<Hot>,
    held: Mutex<Held>,
}

struct Hot {
    /// One past the position that the owner began last.
    pos: AtomicU32,
    /// The owner runs below it.
    limit: AtomicU32,
    /// Not 0: somebody lowered the limit, and the owner has not been under the lock since.
    lowered: AtomicU32,
    /// Creates begun and taken back. Written by the owner alone.
    aborted: AtomicU64,
    /// Tokens deleted through this writer. Written by the owner alone.
    deleted: AtomicU64,
}

pub(crate) struct Held {
    /// Slot of position 0.
    first: u32,
    mask: Mask,
    /// Positions from here on are no longer the owner's.
    end: u32,
    /// Creates of the leases before this one.
    created_before: u64,
}

/// Slots that nobody holds any more: they go back to their chunk's bitmap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unused {
    pub(crate) first: u32,
    pub(crate) mask: Mask,
}

impl Lease {
    pub(crate) fn new() -> Lease {
        Lease {
            hot: CachePadded::new(Hot {
                pos: AtomicU32::new(0),
                limit: AtomicU32::new(0),
                lowered: AtomicU32::new(0),
                aborted: AtomicU64::new(0),
                deleted: AtomicU64::new(0),
            }),
            held: Mutex::new(Held { first: 0, mask: Mask::EMPTY, end: 0, created_before: 0 }),
        }
    }

    /// Owner: begins `position`. `true` if it lies below the limit, so that its slot may be filled.
    #[inline(always)]
    pub(crate) fn advance(&self, position: u32, barrier: Barrier) -> bool {
        self.hot.pos.store(position + 1, Relaxed);
        barrier.light();
        position < self.hot.limit.load(Relaxed)
    }

    /// Owner: begins the positions from `position` up to `end`, or up to the limit where that is lower, at
    /// once. Returns the one past the last that may be filled: `position` or below if none may.
    #[inline(always)]
    pub(crate) fn advance_to(&self, position: u32, end: u32, barrier: Barrier) -> u32 {
        let end = end.min(self.hot.limit.load(Relaxed));
        if end <= position {
            return position;
        }
        self.hot.pos.store(end, Relaxed);
        barrier.light();
        if end <= self.hot.limit.load(Relaxed) || mutants::on("core-run-beyond-a-lowered-limit") {
            return end;
        }
        // Lowered in between: by who read a position before this one, or by who read this one.
        end.min(lock(&self.held).end)
    }

    /// Owner: takes the positions from `position` up to `end` out of the lease, as far as they are its own,
    /// without beginning them: they count as no creates. Returns the one past the last, or `position`.
    pub(crate) fn take_out(&self, position: u32, end: u32) -> u32 {
        let mut held = lock(&self.held);
        let end = end.min(held.end);
        if end <= position {
            return position;
        }
        let out = held.mask.below(end).without(&held.mask.below(position));
        held.mask = held.mask.without(&out);
        self.hot.pos.store(end, Relaxed);
        end
    }

    /// Owner: nobody counts creates until this is dropped.
    pub(crate) fn hold_count(&self) -> HeldCount<'_> {
        HeldCount(lock(&self.held))
    }

    /// Owner, at the limit: is `position`, which it has begun, still its own?
    ///
    /// `armed` is what [`Lease::arm`] or [`Lease::resume`] returned last. If that limit still stands nobody has touched the
    /// lease, so it goes to its full length, and the caller has looked at that.
    #[inline]
    pub(crate) fn owns(&self, position: u32, armed: u32) -> bool {
        let untouched = self.hot.limit.load(Relaxed) == armed;
        if armed != 0 && (untouched || mutants::on("core-recall-hidden-from-owner")) {
            return true;
        }
        position < lock(&self.held).end
    }

    /// Owner: has anybody lowered the limit since the last [`Lease::resume`]?
    #[inline]
    pub(crate) fn rung(&self) -> bool {
        self.hot.lowered.load(Relaxed) != 0
    }

    /// Owner: sets the limit to `wanted`, or to what is left of the lease; or leaves it at 0 if that is
    /// where it was lowered to, until the owner has heard of that.
    ///
    /// Returns the limit if the lease still has its full length, else 0: a lease that was shortened
    /// once is always looked at under the lock.
    #[inline]
    pub(crate) fn arm(&self, armed: u32, wanted: u32, barrier: Barrier) -> u32 {
        if armed != 0 {
            self.hot.limit.store(wanted, Relaxed);
            barrier.light();
            if !self.rung() || mutants::on("core-limit-set-over-a-lowered-one") {
                return wanted;
            }
        }
        self.arm_under_lock(wanted)
    }

    #[cold]
    #[inline(never)]
    fn arm_under_lock(&self, wanted: u32) -> u32 {
        let held = lock(&self.held);
        if self.rung() {
            self.hot.limit.store(0, Relaxed);
            return 0;
        }
        self.set_limit(&held, wanted)
    }

    /// Owner: as [`Lease::arm`], and it has heard that the limit was lowered.
    pub(crate) fn resume(&self, wanted: u32) -> u32 {
        let held = lock(&self.held);
        self.hot.lowered.store(0, Relaxed);
        self.set_limit(&held, wanted)
    }

    fn set_limit(&self, held: &Held, wanted: u32) -> u32 {
        self.hot.limit.store(wanted.min(held.end), Relaxed);
        if held.end == LEASE_SLOTS_MAX { wanted } else { 0 }
    }

    /// Owner: takes over new slots. The lease before must be used up or handed back.
    pub(crate) fn start(&self, first: u32, mask: Mask) {
        let mut held = lock(&self.held);
        let used = held.mask.below(self.hot.pos.load(Relaxed).min(held.end)).count();
        held.created_before += u64::from(used);
        self.hot.pos.store(0, Relaxed);
        self.hot.limit.store(0, Relaxed);
        (held.first, held.mask, held.end) = (first, mask, LEASE_SLOTS_MAX);
    }

    /// Owner: hands back what it has not filled, from position `next` on.
    pub(crate) fn finish(&self, next: u32) -> Unused {
        let mut held = lock(&self.held);
        self.hot.limit.store(0, Relaxed);
        let next = next.min(held.end);
        self.hot.pos.store(next, Relaxed);
        let used = held.mask.below(next);
        let whole = mutants::on("core-hand-back-doubles-the-recalled");
        let owned = if whole { held.mask } else { held.mask.below(held.end) };
        let unused = owned.without(&used);
        held.end = next;
        Unused { first: held.first, mask: unused }
    }

    /// Anybody: takes back what the owner has not begun.
    pub(crate) fn recall(&self, barrier: Barrier) -> Option<Unused> {
        let mut held = lock(&self.held);
        // The position only rises within a lease, so an old reading can only show too much left.
        let begun = self.hot.pos.load(Relaxed);
        let left = || held.mask.below(held.end).without(&held.mask.below(begun)).count();
        if begun >= held.end || left() == 0 {
            return None;
        }
        self.lower();
        if !mutants::on("core-recall-without-barrier") {
            barrier.heavy();
        }
        if self.lowered_in_vain() {
            barrier.heavy();
        }
        let begun = self.hot.pos.load(Acquire).min(held.end);
        let unused = held.mask.below(held.end).without(&held.mask.below(begun));
        held.end = begun;
        Some(Unused { first: held.first, mask: unused })
    }

    /// Anybody: makes the owners look up from their work at their next creates.
    pub(crate) fn ring_all(leases: &[Arc<Lease>], barrier: Barrier) {
        for lease in leases {
            drop(lease.hold());
        }
        barrier.heavy();
        for lease in leases {
            // An owner that was under the lock since has heard, and looks once more.
            lease.lowered_in_vain();
        }
    }

    /// Anybody: stops the creates of all these leases until the guards are dropped.
    pub(crate) fn hold_all(leases: &[Arc<Lease>], barrier: Barrier) -> Vec<MutexGuard<'_, Held>> {
        let held = leases.iter().map(|lease| lease.hold()).collect();
        if !mutants::on("core-count-misses-the-barrier") {
            barrier.heavy();
        }
        let vain = leases.iter().filter(|lease| lease.lowered_in_vain()).count();
        if vain > 0 {
            barrier.heavy();
        }
        held
    }

    /// Under the lock.
    fn lower(&self) {
        self.hot.lowered.store(1, Relaxed);
        self.hot.limit.store(0, Relaxed);
    }

    /// After [`Lease::lower`] and a heavy fence: whether the owner had a new limit under way, which is
    /// lowered now; it will not set another without the lock.
    fn lowered_in_vain(&self) -> bool {
        let vain = self.hot.limit.load(Relaxed) != 0 && !mutants::on("core-limit-lowered-once");
        if vain {
            self.hot.limit.store(0, Relaxed);
        }
        vain
    }

    /// Owner: one create begun was taken back.
    pub(crate) fn count_aborted(&self) {
        let cell = &self.hot.aborted;
        cell.store(cell.load(Relaxed) + 1, Release);
    }

    /// Owner: one token was deleted.
    #[inline(always)]
    pub(crate) fn count_deleted(&self) {
        let cell = &self.hot.deleted;
        cell.store(cell.load(Relaxed) + 1, Release);
    }

    fn hold(&self) -> MutexGuard<'_, Held> {
        let held = lock(&self.held);
        self.lower();
        held
    }

    /// Anybody: what this lease's owner has done so far.
    pub(crate) fn tally(&self) -> Tally {
        self.tally_held(&lock(&self.held))
    }

    /// [`Lease::tally`] for who has the lock.
    pub(crate) fn tally_held(&self, held: &Held) -> Tally {
        let begun = self.hot.pos.load(Relaxed).min(held.end);
        let used = held.mask.below(begun).count();
        Tally {
            begun: held.created_before + u64::from(used),
            aborted: self.hot.aborted.load(Acquire),
            deleted: self.hot.deleted.load(Acquire),
            idle: u64::from(held.mask.below(held.end).count() - used),
        }
    }
}

/// A lease whose creates nobody can count for now.
pub(crate) struct HeldCount<'l>(MutexGuard<'l, Held>);

impl HeldCount<'_> {
    /// Positions that were taken out of the lease are filled: so many creates.
    pub(crate) fn add_created(&mut self, creates: u64) {
        self.0.created_before += creates;
    }
}

/// What a writer has done, and the slots it holds unfilled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    pub(crate) aborted: u64,
    pub(crate) deleted: u64,
    pub(crate) idle: u64,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_mask_finds_its_bits_by_rank() {
        let mut mask = Mask::EMPTY;
        for position in [0, 3, 63, 64, 700, 1023] {
            mask.0[position / 64] |= 1 << (position % 64);
        }
        assert_eq!(mask.count(), 6);
        assert_eq!(mask.nth(0, 0), Some(0));
        assert_eq!(mask.nth(1, 0), Some(3));
        assert_eq!(mask.nth(1, 2), Some(64));
        assert_eq!(mask.nth(0, 5), Some(1023));
        assert_eq!(mask.nth(0, 6), None);
        for (rank, position) in [0, 3, 63, 64, 700, 1023].into_iter().enumerate() {
            assert_eq!(mask.nth(position, 0), Some(position));
            assert_eq!(mask.nth(0, rank as u32), Some(position));
        }
        assert_eq!(mask.nth(1024, 0), None);
        let run = Mask([u64::MAX << 5; 16]);
        assert_eq!((run.nth(6, 57), run.nth(6, 58)), (Some(63), Some(69)));
        let runs = [(0, 1), (3, 4), (63, 65), (700, 701), (1023, 1024)];
        for (start, end) in runs {
            assert_eq!(mask.run(start), Some((start, end)));
        }
        assert_eq!((mask.run(1), mask.run(64)), (Some((3, 4)), Some((64, 65))));
        assert_eq!((mask.run(1024), Mask::EMPTY.run(0)), (None, None));
        assert_eq!(run.run(0), Some((5, 64)));
        assert_eq!(Mask::first(1024).run(17), Some((17, 1024)));
        assert_eq!(mask.below(64).count(), 3);
        assert_eq!(mask.below(1024), mask);
        for position in [0, 1, 63, 64, 65, 127, 128, 960, 1023, 1024, 5000] {
            let set = |place: &u32| mask.0[*place as usize / 64] >> (place % 64) & 1 == 1;
            let expected = (0..position.min(LEASE_SLOTS_MAX)).filter(set).count();
            assert_eq!(mask.below(position).count() as usize, expected, "below {position}");
        }
        assert_eq!(Mask::first(65).0[..3], [u64::MAX, 1, 0]);
    }

    #[test]
    fn a_recall_takes_what_was_not_begun_and_the_owner_learns_of_it() {
        let barrier = Barrier::detect();
        let lease = Lease::new();
        lease.start(2048, Mask::first(10));
        let armed = lease.resume(10);
        assert!(lease.advance(0, barrier) && lease.advance(1, barrier));
        let unused = lease.recall(barrier).unwrap();
        assert_eq!((unused.first, unused.mask.count()), (2048, 8));
        assert!(!lease.advance(2, barrier), "the limit was lowered");
        assert!(!lease.owns(2, armed) && lease.owns(1, armed));
        // Asked again at the shortened end, the answer must not come from the limit.
        let armed = lease.resume(10);
        assert!(!lease.advance(2, barrier) && !lease.owns(2, armed));
        assert_eq!(lease.recall(barrier), None, "nothing left to take");
        assert_eq!(lease.tally(), Tally { begun: 2, ..Tally::default() });
        assert_eq!(lease.finish(2).mask.count(), 0);
    }

    #[test]
    fn a_limit_below_the_end_stops_the_owner_who_then_goes_on() {
        let barrier = Barrier::detect();
        let lease = Arc::new(Lease::new());
        lease.start(0, Mask::first(10));
        let armed = lease.resume(2);
        assert!(lease.advance(1, barrier) && !lease.advance(2, barrier));
        assert!(lease.owns(2, armed));
        let armed = lease.resume(10);
        assert_eq!(armed, 10);
        assert!(lease.advance(3, barrier));
        Lease::ring_all(&[Arc::clone(&lease)], barrier);
        assert!(!lease.advance(4, barrier) && lease.owns(4, armed), "a bell takes nothing");
        assert_eq!(lease.finish(4).mask.count(), 6);
        assert_eq!(lease.tally().begun, 4);
    }
}
