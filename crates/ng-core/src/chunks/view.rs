//! Where slots and headers are, and how tokens are read from them: all that a reader needs, in three words.
//!
//! Whoever has a view also keeps the arena alive that it looks into. A handle carries its own copy, so a loop of reads
//! keeps the three in registers; behind the handle's pointer they would be loaded again for each.

use crate::chunks::chunk::Chunk;
use crate::chunks::slot::{Head, Slot};
use crate::config::CHUNK_SLOTS;
use crate::id::TokenId;
use crate::mutants;
use crate::sync::atomic::Ordering::Acquire;
use crate::sync::pause;
use crate::token::Token;
use crate::token::words::Lines;

/// How far before a walk its slots are asked for from memory.
const AHEAD_SLOTS: usize = 128;

/// Into an arena's memory and headers.
#[derive(Clone, Copy)]
pub(crate) struct View {
    slots: *const Slot,
    headers: *const Chunk,
    /// Slots that have an address: the one bound that ids are checked against.
    slot_count: u32,
}

// SAFETY: addresses of atomics, which any thread may use.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

/// What a reader saw of a slot before it copies the words; they count if it sees the same afterwards.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    epoch: u64,
    pub(crate) head: Head,
}

impl Look {
    #[inline(always)]
    pub(crate) fn at(slot: &Slot, chunk: &Chunk) -> Look {
        Look { epoch: chunk.epoch.load(Acquire), head: slot.head() }
    }

    /// With an epoch that was read before, and what goes with it.
    #[inline(always)]
    pub(crate) fn since(epoch: u64, slot: &Slot) -> Look {
        Look { epoch, head: slot.head() }
    }

    /// The token, unless it changed since the look, at which nobody was writing it.
    #[inline(always)]
    pub(crate) fn finish(self, slot: &Slot, chunk: &Chunk) -> Option<Lines> {
        let lines = slot.copy(self.head)?;
        let same = chunk.epoch.load(Acquire) == self.epoch;
        (same || mutants::on("core-look-ignores-the-epoch")).then_some(lines)
    }
}

impl View {
    /// `slots` is the memory of as many chunks as there are headers; neither is moved or freed before the last view.
    pub(crate) fn new(slots: *const Slot, headers: &[Chunk]) -> View {
        View { slots, headers: headers.as_ptr(), slot_count: headers.len() as u32 * CHUNK_SLOTS }
    }

    #[inline(always)]
    pub(crate) fn slot_count(&self) -> u32 {
        self.slot_count
    }

    /// Asks for the slot's line, if the index has an address.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: u32) {
        if index < self.slot_count {
            crate::chunks::memory::prefetch(self.slots.wrapping_add(index as usize));
        }
    }

    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> &Slot {
        assert!(index < self.slot_count, "slot {index} of {}", self.slot_count);
        // SAFETY: the index lies inside the reservation, which stays mapped as long as anybody has this view;
        // every access to it is atomic.
        unsafe { &*self.slots.add(index as usize) }
    }

    /// The slot and its chunk, if the index has an address.
    #[inline(always)]
    pub(crate) fn locate(&self, index: u32) -> Option<(&Slot, &Chunk)> {
        if index >= self.slot_count {
            return None;
        }
        // SAFETY: as in `slot`; each chunk of the reservation has its header, which is never moved.
        unsafe {
            let slot = &*self.slots.add(index as usize);
            Some((slot, &*self.headers.add((index / CHUNK_SLOTS) as usize)))
        }
    }

    /// Reads the token at `id` whole.
    #[inline(always)]
    pub(crate) fn read(&self, id: TokenId) -> Option<Token> {
        let (slot, chunk) = self.locate(id.slot())?;
        let look = Look::at(slot, chunk);
        let stamp = chunk.stamp_of(id.generation());
        let lines = look.finish(slot, chunk);
        // One compare for generation, life and no write. It comes last: asked before the words are loaded, a loop of
        // reads took a quarter more time.
        let fits = look.head.has(stamp)
            || (mutants::on("core-stale-generation-accepted") && look.head.is_live());
        let lines = match lines {
            Some(lines) if fits => lines,
            _ => self.read_closely(id)?,
        };
        // Both ways gave the lines as they were loaded: so they meet here in the same registers.
        Some(Token::from_lines(lines))
    }

    /// [`View::read`] where there is a side table, a write in progress, or no such token.
    #[cold]
    #[inline(never)]
    fn read_closely(&self, id: TokenId) -> Option<Lines> {
        let (slot, chunk) = self.locate(id.slot())?;
        let mut spins = 0;
        loop {
            let look = Look::at(slot, chunk);
            // An id's generation is odd and the base even, so what has it is live. A head and a base
            // from two sides of a give-back name no token of either side.
            if chunk.generation(id.slot() % CHUNK_SLOTS, look.head) != id.generation() {
                return None;
            }
            if !look.head.is_writing()
                && let Some(lines) = look.finish(slot, chunk)
            {
                return Some(lines);
            }
            pause(spins);
            spins += 1;
        }
    }

    /// A walk over the slots of a chunk from its slot `from` on.
    #[inline(always)]
    pub(crate) fn walk(&self, chunk: u32, from: u32) -> Walk {
        assert!(chunk < self.slot_count / CHUNK_SLOTS, "chunk {chunk} of {}", self.slot_count);
        let first = chunk * CHUNK_SLOTS;
        // SAFETY: each chunk of the reservation has its header, which is never moved.
        let header = unsafe { self.headers.add(chunk as usize) };
        // SAFETY: as above; whoever calls this has the view.
        let (epoch, base) = unsafe { &*header }.epoch_and_base();
        let (next, end) = (first + from, first + CHUNK_SLOTS);
        Walk { slots: self.slots, header, epoch, base, next, end }
    }
}

/// Reads the tokens of one chunk in the order of their slots. Like the view it is of, it is used only by who keeps the
/// arena alive.
///
/// The chunk's epoch is looked at once before all tokens, and again after each: as long as it is the same, so is what
/// their generations count from. A token then takes one look at its head, its four lines and two compares.
pub(crate) struct Walk {
    slots: *const Slot,
    header: *const Chunk,
    epoch: u64,
    base: u32,
    next: u32,
    end: u32,
}

// SAFETY: addresses of atomics, which any thread may use.
unsafe impl Send for Walk {}
// SAFETY: as above.
unsafe impl Sync for Walk {}

impl Walk {
    pub(crate) const EMPTY: Walk = Walk {
        slots: std::ptr::null(),
        header: std::ptr::null(),
        epoch: 0,
        base: 0,
        next: 0,
        end: 0,
    };

    /// The next live token, whole.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<(TokenId, Token)> {
        while self.next < self.end {
            let index = self.next;
            self.next += 1;
            // SAFETY: the chunk lies inside the reservation, which stays mapped as long as anybody has the view;
            // every access to its slots and its header is atomic.
            let (slot, chunk) = unsafe { (&*self.slots.add(index as usize), &*self.header) };
            crate::chunks::memory::prefetch(std::ptr::from_ref(slot).wrapping_add(AHEAD_SLOTS));
            let look = Look::since(self.epoch, slot);
            let (generation, lines) = if look.head.is_live_and_still()
                && let Some(lines) = look.finish(slot, chunk)
            {
                (self.base.wrapping_add(look.head.generation_bits()), lines)
            } else if look.head.is_live()
                && let Some(found) = read_any_closely(index, slot, chunk)
            {
                (self.epoch, self.base) = chunk.epoch_and_base();
                found
            } else {
                continue;
            };
            return Some((TokenId::of_live(index, generation), Token::from_lines(lines)));
        }
        None
    }
}

/// Whatever token lives in a slot where there is a side table or a write in progress. Out of line, so that it takes no
/// registers from a walk.
#[cold]
#[inline(never)]
fn read_any_closely(index: u32, slot: &Slot, chunk: &Chunk) -> Option<(u32, Lines)> {
    let mut spins = 0;
    loop {
        let look = Look::at(slot, chunk);
        if !look.head.is_live() {
            return None;
        }
        let generation = chunk.generation(index % CHUNK_SLOTS, look.head);
        if !look.head.is_writing()
            && let Some(lines) = look.finish(slot, chunk)
        {
            return Some((generation, lines));
        }
        pause(spins);
        spins += 1;
    }
}
