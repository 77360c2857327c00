//! Puts tokens back under the ids they had, before anybody else sees the arena.
//!
//! Words go straight to their slots; which generation lives where is kept beside them until all is
//! known. Then each chunk gets the highest base that its oldest live token allows, and all its dead
//! slots start at the floor: no id below it is handed out again. Slots are stamped as they are
//! written, by the base that the chunk's first token suggests: mostly that is the one, and then no live
//! slot has to be touched a second time.

use crate::chunks::memory;
use crate::chunks::slot::GENERATION_MASK;
use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::id::TokenId;
use crate::lease::Mask;
use crate::mutants;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::{AcqRel, Relaxed, Release, SeqCst};
use crate::token::Token;

/// Fills an empty arena; see [`Arena::restorer`](crate::Arena::restorer).
pub struct Restorer {
    shared: Arc<Shared>,
    /// By chunk; `None` without a token so far.
    chunks: Vec<Option<Alive>>,
}

/// What a chunk has been given.
struct Alive {
    /// The base that its slots' stamps count from.
    guess: u32,
    /// The generation alive in each slot, 0 for none.
    generations: Box<[u32]>,
}

impl Alive {
    fn new(first: TokenId) -> Alive {
        let generations = vec![0; CHUNK_SLOTS as usize].into();
        Alive { guess: first.generation() & !1, generations }
    }
}

/// An id that the arena has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token id {id} names slot {slot}, and the arena has {slots}; raise max_slots", slot = id.slot())]
pub struct NoRoom {
    /// The id.
    pub id: TokenId,
    /// Slots that there are.
    pub slots: u64,
}

/// What [`Restorer::finish`] put in place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Live tokens.
    pub tokens: u64,
    /// Memory taken for them, in whole chunks; the memory gate was not asked.
    pub committed_bytes: u64,
}

impl Restorer {
    pub(crate) fn new(shared: Arc<Shared>) -> Restorer {
        assert!(
            shared.frontier.load(Relaxed) == 0 && shared.tally().begun == 0,
            "an arena is restored before it is used"
        );
        let chunks = shared.chunks.headers.iter().map(|_| None).collect();
        Restorer { shared, chunks }
    }

    /// Puts `token` at `id`, in place of what the slot had.
    ///
    /// Errors: the arena is smaller than the id; nothing changed.
    #[inline]
    pub fn put(&mut self, id: TokenId, token: &Token) -> Result<(), NoRoom> {
        let slots = u64::from(self.shared.view.slot_count());
        let (slot, _) = self.shared.view.locate(id.slot()).ok_or(NoRoom { id, slots })?;
        let chunk = &mut self.chunks[(id.slot() / CHUNK_SLOTS) as usize];
        let chunk = chunk.get_or_insert_with(|| Alive::new(id));
        chunk.generations[(id.slot() % CHUNK_SLOTS) as usize] = id.generation();
        // What fits no stamp is found when all is known.
        let stamp = id.generation().wrapping_sub(chunk.guess) & GENERATION_MASK;
        slot.restore(token.words(), stamp);
        Ok(())
    }

    /// Asks for the memory that a `put` or `delete` of this id needs: for those who know a few ahead.
    #[inline]
    pub fn prefetch(&self, id: TokenId) {
        self.shared.view.prefetch(id.slot());
        if let Some(Some(chunk)) = self.chunks.get((id.slot() / CHUNK_SLOTS) as usize) {
            memory::prefetch(&chunk.generations[(id.slot() % CHUNK_SLOTS) as usize]);
        }
    }

    /// The token now at `id`, if that very id is alive.
    pub fn contains(&self, id: TokenId) -> bool {
        let chunk = self.chunks.get((id.slot() / CHUNK_SLOTS) as usize);
        let alive = chunk.and_then(Option::as_ref);
        alive.is_some_and(|a| a.generations[(id.slot() % CHUNK_SLOTS) as usize] == id.generation())
    }

    /// Removes the token at `id`; `false` if that id is not alive.
    pub fn delete(&mut self, id: TokenId) -> bool {
        let alive = self.contains(id);
        if alive && let Some(chunk) = &mut self.chunks[(id.slot() / CHUNK_SLOTS) as usize] {
            chunk.generations[(id.slot() % CHUNK_SLOTS) as usize] = 0;
        }
        alive
    }

    /// Makes the tokens visible. No token created later gets a generation below `floor`.
    pub fn finish(self, floor: u32) -> Restored {
        let floor = floor.saturating_add(floor & 1);
        let mut restored = Restored::default();
        let shared = &*self.shared;
        for header in &shared.chunks.headers {
            header.set_base(floor);
            header.floor.store(floor, Relaxed);
            header.high.store(floor, Relaxed);
        }
        let mut frontier = 0;
        for (chunk, alive) in self.chunks.iter().enumerate() {
            if let Some(alive) = alive {
                restored.tokens += finish_chunk(shared, chunk as u32, alive, floor);
                restored.committed_bytes += crate::config::CHUNK_BYTES;
                frontier = (chunk as u32 + 1) * (CHUNK_SLOTS / LEASE_SLOTS_MAX);
                // Chunks in between that have no token are used before untouched ones.
            }
        }
        for chunk in 0..frontier / (CHUNK_SLOTS / LEASE_SLOTS_MAX) {
            if self.chunks[chunk as usize].is_none() {
                shared.chunks.free_whole(chunk);
            }
        }
        shared.frontier.store(frontier, Release);
        shared.restored_total.store(restored.tokens, Release);
        restored
    }
}

/// Stamps one chunk's slots and frees the dead ones. Returns its live tokens.
fn finish_chunk(shared: &Shared, chunk: u32, alive: &Alive, floor: u32) -> u64 {
    let Alive { guess, generations } = alive;
    let header = &shared.chunks.headers[chunk as usize];
    // 0 stands for none: one less is more than all others.
    let before_oldest = generations.iter().map(|g| g.wrapping_sub(1)).min().unwrap_or(u32::MAX);
    let oldest = before_oldest.checked_add(1);
    let newest = generations.iter().copied().max().unwrap_or(0);
    let base = oldest.map_or(floor, |oldest| (oldest & !1).min(floor));
    header.set_base(base);
    header.high.store(floor.max(newest), Relaxed);
    if !header.fits((floor - base).max(newest.saturating_sub(base))) {
        header.widen();
    }
    let guessed = base == *guess || mutants::on("core-restore-trusts-its-guess");
    let stamped = guessed && !header.is_wide();
    let mut live = 0;
    for (group, generations) in (0..).zip(generations.chunks(LEASE_SLOTS_MAX as usize)) {
        let first = group * LEASE_SLOTS_MAX;
        if stamped && generations.iter().copied().min() > Some(0) {
            live += u64::from(LEASE_SLOTS_MAX); // nothing to stamp, nothing to free
            continue;
        }
        let mut free = Mask::EMPTY;
        for (index, &generation) in (0..).zip(generations) {
            let slot = || shared.view.slot(chunk * CHUNK_SLOTS + first + index);
            if generation == 0 {
                slot().kill(header.place(first + index, floor - base));
                free.0[(index / 64) as usize] |= 1 << (index % 64);
                continue;
            }
            if !stamped {
                slot().stamp_live(header.place(first + index, generation - base));
            }
            live += 1;
        }
        shared.chunks.free_group(chunk * CHUNK_SLOTS + first, &free);
    }
    header.untouched.store(0, Relaxed);
    header.committed.store(true, SeqCst);
    shared.committed_chunks.fetch_add(1, AcqRel);
    live
}
