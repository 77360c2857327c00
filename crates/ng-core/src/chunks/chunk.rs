//! Headers and bitmaps of the chunks: generations, free slots, and the hints that find them.
//!
//! A slot's generation = `base` + (side table's count << 20) + the stamp's 20 bits. `base` rises when a
//! chunk's memory is given back, above every generation the chunk ever used. The side table is made
//! only when a slot's stamp runs over.
//!
//! Free slots are bits in the chunk's bitmap. Two levels of hints above it tell where bits may be set:
//! one bit a group of 1,024 slots in the header, one bit a chunk in the arena's summary. Setting goes
//! upwards (bitmap, group, summary), clearing downwards and under a lock, with a look afterwards that
//! sets the hint again if a slot came free meanwhile; all SeqCst. So a hint may be set for nothing,
//! and for who has that lock a free slot is never without its hints for longer than the call that
//! frees it. A search goes without the lock; only one that found nothing is repeated under it.

use crate::chunks::memory;
use crate::chunks::slot::{GENERATION_MASK, Head};
use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::lease::{MASK_WORDS, Mask};
use crate::mutants;
use crate::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
};
use crate::sync::{Mutex, MutexGuard, OnceLock, lock};

/// Groups of a chunk: 32 of 1,024 slots; few and small in models.
pub(crate) const GROUPS: u32 = CHUNK_SLOTS / LEASE_SLOTS_MAX;
/// Groups with too few free slots that a search looks at before it gives up.
const SPARSE_LOOKS: u32 = 8;
/// One bit a group.
pub(crate) const ALL_GROUPS: u32 = u32::MAX >> (32 - GROUPS);
/// The bit of a base that says "has a side table".
const WIDE: u32 = 1;
/// Words of one chunk's bitmap.
pub(crate) const BITMAP_WORDS: usize = CHUNK_SLOTS as usize / 64;

/// One chunk's header.
#[repr(align(64))]
pub(crate) struct Chunk {
    /// Rises before a write that wraps a version or a generation, and before the memory goes back.
    pub(crate) epoch: AtomicU64,
    /// Generation from which the slots' stamps count: even, and changed only while every slot of the
    /// chunk is free and held by who changes it. Its lowest bit says that there is a side table: then
    /// no live stamp fits it, and a reader that compares only those two looks closer.
    base: AtomicU32,
    /// Even. No new token gets a generation below it.
    pub(crate) floor: AtomicU32,
    /// Highest generation that a lease of this chunk may have handed out.
    pub(crate) high: AtomicU32,
    /// One bit a group: it may have free slots.
    pub(crate) groups: AtomicU32,
    /// One bit a group: none of its slots was leased since the chunk last was without memory.
    pub(crate) untouched: AtomicU32,
    /// Has memory.
    pub(crate) committed: AtomicBool,
    /// How often each slot's stamp ran over.
    overruns: OnceLock<Box<[AtomicU32]>>,
}

#[cfg(not(all(test, any(loom, shuttle))))]
const _: () = assert!(size_of::<Chunk>() == 64);

impl Chunk {
    pub(crate) fn new(base: u32) -> Chunk {
        Chunk {
            epoch: AtomicU64::new(0),
            base: AtomicU32::new(base),
            floor: AtomicU32::new(base),
            high: AtomicU32::new(base),
            groups: AtomicU32::new(0),
            untouched: AtomicU32::new(ALL_GROUPS),
            committed: AtomicBool::new(false),
            overruns: OnceLock::new(),
        }
    }

    /// Generation of the slot at `index` of this chunk, whose head was read as `head`.
    #[inline(always)]
    pub(crate) fn generation(&self, index: u32, head: Head) -> u32 {
        self.base().wrapping_add(self.offset(index, head))
    }

    /// An epoch, and the base that holds for what is read while the epoch is the same. With a side table
    /// no base does, and the epoch is one that no chunk ever has.
    ///
    /// Where a side table comes later, its first count is stored after a rise of the epoch.
    #[inline(always)]
    pub(crate) fn epoch_and_base(&self) -> (u64, u32) {
        let epoch = self.epoch.load(Acquire);
        let base = self.base.load(Acquire);
        let narrow = base & WIDE == 0 || mutants::on("core-walk-trusts-a-wide-base");
        (if narrow { epoch } else { u64::MAX }, base)
    }

    /// Generation above the chunk's base.
    #[inline(always)]
    pub(crate) fn offset(&self, index: u32, head: Head) -> u32 {
        match self.overruns.get() {
            None => head.generation_bits(),
            Some(table) => {
                let high = table[index as usize].load(Acquire) << GENERATION_MASK.count_ones();
                high | head.generation_bits()
            }
        }
    }

    /// Makes room for generations beyond the stamp's bits. May allocate: never call it while a
    /// writing bit is held.
    pub(crate) fn widen(&self) {
        self.overruns.get_or_init(|| (0..CHUNK_SLOTS).map(|_| AtomicU32::new(0)).collect());
        self.base.fetch_or(WIDE, SeqCst);
    }

    /// Generation from which the slots' stamps count.
    #[inline(always)]
    pub(crate) fn base(&self) -> u32 {
        self.base.load(Acquire) & !WIDE
    }

    /// Sets the base; the caller holds every slot of the chunk.
    pub(crate) fn set_base(&self, base: u32) {
        debug_assert!(base & WIDE == 0, "a base is even");
        self.base.store(if self.is_wide() { base | WIDE } else { base }, SeqCst);
    }

    /// Stamp that a live slot with this generation has, if there is no side table; else, or if the
    /// generation fits no stamp, one that no live slot has.
    #[inline(always)]
    pub(crate) fn stamp_of(&self, generation: u32) -> Head {
        Head::stamp(generation.wrapping_sub(self.base.load(Acquire)))
    }

    /// Does `offset` fit with what the chunk has?
    pub(crate) fn fits(&self, offset: u32) -> bool {
        offset <= GENERATION_MASK || self.overruns.get().is_some()
    }

    /// Splits a generation above the base into the stamp's bits, returned, and the side table's
    /// count, stored. The caller holds the slot.
    pub(crate) fn place(&self, index: u32, offset: u32) -> u32 {
        debug_assert!(self.fits(offset), "the caller widens first");
        if let Some(table) = self.overruns.get() {
            let count = offset >> GENERATION_MASK.count_ones();
            if table[index as usize].load(Relaxed) != count
                && !mutants::on("core-overrun-not-counted")
            {
                if !mutants::on("core-epoch-not-raised-on-overrun") {
                    self.epoch.fetch_add(1, AcqRel);
                }
                table[index as usize].store(count, SeqCst);
            }
        }
        offset & GENERATION_MASK
    }

    /// Does the chunk have a side table?
    #[inline(always)]
    pub(crate) fn is_wide(&self) -> bool {
        self.overruns.get().is_some()
    }

    /// Before the memory goes back: generations count on from `base`, which is even and above all that
    /// were used. The caller holds every slot.
    ///
    /// The epoch rises last: who reads it, and then a base, has a base that holds for as long as the
    /// epoch is the same.
    pub(crate) fn rebase(&self, base: u32) {
        let early = mutants::on("core-epoch-raised-before-the-base");
        if early {
            self.epoch.fetch_add(1, AcqRel);
        }
        self.set_base(if mutants::on("core-base-not-raised") { self.base() } else { base });
        self.floor.fetch_max(base, SeqCst);
        self.high.fetch_max(base, SeqCst);
        self.clear_overruns();
        if !early && !mutants::on("core-epoch-not-raised-on-give-back") {
            self.epoch.fetch_add(1, AcqRel);
        }
    }

    /// Forgets all overruns; the caller holds every slot.
    fn clear_overruns(&self) {
        for count in self.overruns.get().into_iter().flatten() {
            count.store(0, SeqCst);
        }
    }
}

/// All headers, bitmaps and the summary.
pub(crate) struct Chunks {
    pub(crate) headers: Box<[Chunk]>,
    bitmap: Box<[AtomicU64]>,
    summary: Box<[AtomicU64]>,
    /// Held while a hint is cleared.
    clearing: Mutex<()>,
    /// Group at which the next search for free slots begins, counted over all chunks: they are taken in
    /// rotating order. A search that came back to where slots were just freed would lease them singly.
    cursor: AtomicU32,
}

/// The bit that stands for a slot's group in its chunk's header.
pub(crate) fn group_bit(slot: u32) -> u32 {
    1 << (slot % CHUNK_SLOTS / LEASE_SLOTS_MAX)
}

/// Zeroed memory that is touched only where it is used.
fn lazy_zeroes(words: usize) -> Box<[AtomicU64]> {
    #[cfg(all(test, any(loom, shuttle)))]
    return (0..words).map(|_| AtomicU64::new(0)).collect();
    #[cfg(not(all(test, any(loom, shuttle))))]
    {
        let plain = Box::into_raw(vec![0u64; words].into_boxed_slice());
        // SAFETY: AtomicU64 has the size, alignment and validity of u64, and the box was unshared.
        unsafe { Box::from_raw(plain as *mut [AtomicU64]) }
    }
}

impl Chunks {
    pub(crate) fn new(count: u32, base: u32) -> Chunks {
        let count = count as usize;
        Chunks {
            headers: (0..count).map(|_| Chunk::new(base)).collect(),
            bitmap: lazy_zeroes(count * BITMAP_WORDS),
            summary: lazy_zeroes(count.div_ceil(64)),
            clearing: Mutex::new(()),
            cursor: AtomicU32::new(0),
        }
    }

    /// Asks for the word that [`Chunks::free`] sets a bit in.
    #[inline(always)]
    pub(crate) fn prefetch(&self, slot: u32) {
        memory::prefetch(self.bitmap.as_ptr().wrapping_add(slot as usize / 64));
    }

    /// Marks one slot free. The slot is dead, and the caller held it.
    pub(crate) fn free(&self, slot: u32) {
        let bit = 1 << (slot % 64);
        let before = self.bitmap[slot as usize / 64].fetch_or(bit, SeqCst);
        assert!(before & bit == 0, "slot {slot} was freed twice");
        self.hint(slot / CHUNK_SLOTS, group_bit(slot));
    }

    /// Marks the slots of a group free: `first` is the group's first slot.
    pub(crate) fn free_group(&self, first: u32, mask: &Mask) {
        for (index, &bits) in mask.0.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            let before = self.bitmap[first as usize / 64 + index].fetch_or(bits, SeqCst);
            assert!(before & bits == 0, "slots {bits:#x} of group {first} were freed twice");
        }
        if *mask != Mask::EMPTY {
            self.hint(first / CHUNK_SLOTS, group_bit(first));
        }
    }

    fn hint(&self, chunk: u32, group_bit: u32) {
        if mutants::on("core-free-without-hint") {
            return;
        }
        let header = &self.headers[chunk as usize];
        if header.groups.load(SeqCst) & group_bit == 0 {
            header.groups.fetch_or(group_bit, SeqCst);
        }
        // Looked at also where the group's hint stood: who set that may not have come to this one yet.
        let summary = &self.summary[chunk as usize / 64];
        if summary.load(SeqCst) & 1 << (chunk % 64) == 0 {
            summary.fetch_or(1 << (chunk % 64), SeqCst);
        }
    }

    /// Clears the hint of a group that was seen without free slots, and its chunk's if it was the last.
    fn clear_hint(&self, chunk: u32, group: u32) {
        let _clearing = lock(&self.clearing);
        let header = &self.headers[chunk as usize];
        header.groups.fetch_and(!(1 << group), SeqCst);
        let first = chunk * CHUNK_SLOTS + group * LEASE_SLOTS_MAX;
        if self.words(first).iter().any(|word| word.load(SeqCst) != 0) {
            header.groups.fetch_or(1 << group, SeqCst);
        }
        if header.groups.load(SeqCst) == 0 {
            let (summary, bit) = (&self.summary[chunk as usize / 64], 1 << (chunk % 64));
            summary.fetch_and(!bit, SeqCst);
            if header.groups.load(SeqCst) != 0 {
                summary.fetch_or(bit, SeqCst);
            }
        }
    }

    /// While the guard lives every free slot has its hints, and searches find it.
    pub(crate) fn settle(&self) -> Settled<'_> {
        Settled { chunks: self, _clearing: lock(&self.clearing) }
    }

    /// Takes up to `want` free slots of one group; `None` if no hint leads to one. `with_memory`
    /// passes over chunks that have none. Groups with fewer free slots than `least` are passed over
    /// too, and after some of them the search ends.
    pub(crate) fn take(&self, want: u32, least: u32, with_memory: bool) -> Option<(u32, Mask)> {
        self.search(want, least, with_memory, true)
    }

    /// [`Chunks::take`]; clears hints that led to nothing if it may.
    fn search(
        &self,
        want: u32,
        least: u32,
        with_memory: bool,
        clears: bool,
    ) -> Option<(u32, Mask)> {
        let mut looks = SPARSE_LOOKS;
        let cursor = self.cursor.load(Relaxed);
        let (start, from) = (cursor / GROUPS, cursor % GROUPS);
        let words = self.summary.len() as u32;
        // One word more than there are: the first word's lower bits come last.
        for step in 0..=words {
            let index = (start / 64 + step) % words;
            let mut bits = self.summary[index as usize].load(SeqCst);
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            }
            while bits != 0 {
                let chunk = index * 64 + bits.trailing_zeros();
                bits &= bits - 1;
                if with_memory && !self.headers[chunk as usize].committed.load(Acquire) {
                    continue;
                }
                // The groups before the cursor come last, when the walk is at its end.
                let from = if step == 0 && chunk == start { from } else { 0 };
                if let Some(taken) = self.take_in(chunk, want, from, least, &mut looks, clears) {
                    self.go_on_behind(taken.0 / LEASE_SLOTS_MAX);
                    return Some(taken);
                }
                if looks == 0 {
                    self.go_on_behind(chunk * GROUPS + GROUPS - 1);
                    return None;
                }
            }
        }
        None
    }

    /// The next search begins at the group after this one.
    fn go_on_behind(&self, group: u32) {
        self.cursor.store((group + 1) % (self.headers.len() as u32 * GROUPS), Relaxed);
    }

    /// Takes slots of the first group at or after `from` that has at least `least` of them.
    fn take_in(
        &self,
        chunk: u32,
        want: u32,
        from: u32,
        least: u32,
        looks: &mut u32,
        clears: bool,
    ) -> Option<(u32, Mask)> {
        let mut groups = self.headers[chunk as usize].groups.load(SeqCst) & ALL_GROUPS << from;
        while groups != 0 {
            let group = groups.trailing_zeros();
            groups &= groups - 1;
            let first = chunk * CHUNK_SLOTS + group * LEASE_SLOTS_MAX;
            if least > 1 && self.count_free(first) < least {
                *looks -= 1;
                if *looks == 0 {
                    return None;
                }
                continue;
            }
            let (mask, more) = self.take_group(first, want);
            if !more && clears {
                self.clear_hint(chunk, group);
            }
            if mask != Mask::EMPTY {
                return Some((first, mask));
            }
        }
        None
    }

    /// The words of the group whose first slot this is.
    fn words(&self, first: u32) -> &[AtomicU64] {
        &self.bitmap[first as usize / 64..][..MASK_WORDS]
    }

    /// Free slots of a group; may be outdated at once.
    fn count_free(&self, first: u32) -> u32 {
        self.words(first).iter().map(|word| word.load(Relaxed).count_ones()).sum()
    }

    /// Takes up to `want` bits of a group; says whether it left any.
    fn take_group(&self, first: u32, want: u32) -> (Mask, bool) {
        let mut mask = Mask::EMPTY;
        let mut left = want;
        for (index, word) in self.words(first).iter().enumerate() {
            // Again where another took what was seen: it may have left others.
            loop {
                let mut seen = word.load(SeqCst);
                if seen == 0 {
                    break;
                }
                if left == 0 {
                    return (mask, true);
                }
                while seen.count_ones() > left {
                    // Keep the lowest `left` bits of it.
                    seen &= !(1 << (63 - seen.leading_zeros()));
                }
                let taken = word.fetch_and(!seen, SeqCst) & seen;
                mask.0[index] |= taken;
                left -= taken.count_ones();
                if mutants::on("core-search-gives-way") {
                    break;
                }
            }
        }
        (mask, false)
    }

    /// Is each slot from `start` to before `end` free? Whole words; may be outdated at once.
    pub(crate) fn is_free(&self, start: u32, end: u32) -> bool {
        let words = &self.bitmap[start as usize / 64..end as usize / 64];
        words.iter().all(|word| word.load(Relaxed) == u64::MAX)
    }

    /// Takes every slot of a chunk, if each is free.
    pub(crate) fn take_whole(&self, chunk: u32) -> bool {
        let words = &self.bitmap[chunk as usize * BITMAP_WORDS..][..BITMAP_WORDS];
        if words.iter().any(|word| word.load(Relaxed) != u64::MAX) {
            return false;
        }
        for (index, word) in words.iter().enumerate() {
            if word.compare_exchange(u64::MAX, 0, SeqCst, Relaxed).is_err() {
                for taken in &words[..index] {
                    taken.fetch_or(u64::MAX, SeqCst);
                }
                self.hint_all(chunk);
                return false;
            }
        }
        true
    }

    /// Frees every slot of a chunk that [`Chunks::take_whole`] took.
    pub(crate) fn free_whole(&self, chunk: u32) {
        for word in &self.bitmap[chunk as usize * BITMAP_WORDS..][..BITMAP_WORDS] {
            word.fetch_or(u64::MAX, SeqCst);
        }
        self.hint_all(chunk);
    }

    fn hint_all(&self, chunk: u32) {
        self.headers[chunk as usize].groups.fetch_or(ALL_GROUPS, SeqCst);
        self.summary[chunk as usize / 64].fetch_or(1 << (chunk % 64), SeqCst);
    }

    /// Chunks with a side table.
    pub(crate) fn wide(&self) -> u64 {
        self.headers.iter().filter(|header| header.is_wide()).count() as u64
    }
}

/// See [`Chunks::settle`].
pub(crate) struct Settled<'a> {
    chunks: &'a Chunks,
    _clearing: MutexGuard<'a, ()>,
}

impl Settled<'_> {
    /// Takes up to `want` free slots of one group; `None` if the search met none. A slot that was freed
    /// behind the search, just before another took the one ahead of it, is not met.
    pub(crate) fn take(&self, want: u32, with_memory: bool) -> Option<(u32, Mask)> {
        self.chunks.search(want, 1, with_memory, false)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn freed_slots_are_found_again_and_only_once() {
        let chunks = Chunks::new(130, 0);
        assert_eq!(chunks.take(1024, 1, false), None);
        for slot in [5, 70, 40_000, 129 * CHUNK_SLOTS + 1_023] {
            chunks.free(slot);
        }
        let mut found = Vec::new();
        while let Some((first, mask)) = chunks.take(1, 1, false) {
            assert_eq!(mask.count(), 1);
            found.push(first + mask.nth(0, 0).unwrap());
        }
        found.sort_unstable();
        assert_eq!(found, [5, 70, 40_000, 129 * CHUNK_SLOTS + 1_023]);
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn a_slot_freed_twice_is_a_bug_and_says_so() {
        let chunks = Chunks::new(1, 0);
        chunks.free(9);
        chunks.free(9);
    }

    #[test]
    fn a_chunk_is_taken_whole_only_if_each_slot_is_free() {
        let chunks = Chunks::new(1, 0);
        for group in 0..GROUPS {
            chunks.free_group(group * 1024, &Mask::first(1024));
        }
        let (first, mask) = chunks.take(1, 1, false).unwrap();
        assert!(!chunks.take_whole(0));
        chunks.free_group(first, &mask);
        assert!(chunks.take_whole(0));
        assert_eq!(chunks.take(1, 1, false), None);
        chunks.free_whole(0);
        assert_eq!(chunks.take(1024, 1, false).unwrap().1.count(), 1024);
    }
}
