//! Iteration in slot order, beside writers.

use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::id::TokenId;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Acquire;
use crate::token::Token;

/// How far before a walk its slots are asked for from memory.
const AHEAD_SLOTS: usize = 32;

/// Live tokens in the order of their slots; see [`Arena::iter`](crate::Arena::iter).
pub struct Iter {
    shared: Arc<Shared>,
    next: u32,
    end: u32,
}

impl Iter {
    pub(crate) fn new(shared: Arc<Shared>, next: u32) -> Iter {
        // Slots beyond the frontier were never used when the iteration began.
        let end = shared.frontier.load(Acquire) * LEASE_SLOTS_MAX;
        Iter { shared, next, end }
    }
}

impl Iterator for Iter {
    type Item = (TokenId, Token);

    #[inline(always)]
    fn next(&mut self) -> Option<(TokenId, Token)> {
        let shared = &*self.shared;
        while self.next < self.end {
            let index = self.next;
            let (slot, chunk) = shared.view.locate(index)?;
            // Asked at a chunk's first slot only: a chunk that goes meanwhile reads as zeroes.
            if index.is_multiple_of(CHUNK_SLOTS) && !chunk.committed.load(Acquire) {
                // Without memory it holds nothing; touching it would take memory.
                self.next += CHUNK_SLOTS;
                continue;
            }
            self.next += 1;
            crate::memory::prefetch(std::ptr::from_ref(slot).wrapping_add(AHEAD_SLOTS));
            if let Some(found) = shared.view.read_any(index, slot, chunk) {
                return Some(found);
            }
        }
        None
    }

    /// Chunk by chunk, which is faster than asking for one token after the other.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(self, init: B, mut f: F) -> B {
        let mut folded = Some(init);
        let mut from = self.next % CHUNK_SLOTS;
        for chunk in self.next / CHUNK_SLOTS..self.end.div_ceil(CHUNK_SLOTS) {
            self.shared.for_each_in(chunk, from, |id, token| {
                folded = folded.take().map(|folded| f(folded, (id, *token)));
            });
            from = 0;
        }
        folded.expect("each call of the closure puts it back")
    }
}

impl Shared {
    /// Chunks that may hold tokens.
    pub(crate) fn used_chunks(&self) -> u32 {
        (self.frontier.load(Acquire) * LEASE_SLOTS_MAX).div_ceil(CHUNK_SLOTS)
    }

    /// Calls `visit` for each live token of a chunk from its slot `from` on.
    #[inline(always)]
    pub(crate) fn for_each_in(
        &self,
        chunk: u32,
        from: u32,
        mut visit: impl FnMut(TokenId, &Token),
    ) {
        let header = &self.chunks.headers[chunk as usize];
        if !header.committed.load(Acquire) {
            return;
        }
        for (slot, index) in self.view.slots(chunk).iter().zip(chunk * CHUNK_SLOTS..) {
            if index % CHUNK_SLOTS < from {
                continue;
            }
            crate::memory::prefetch(std::ptr::from_ref(slot).wrapping_add(AHEAD_SLOTS));
            if let Some((id, token)) = self.view.read_any(index, slot, header) {
                visit(id, &token);
            }
        }
    }
}
