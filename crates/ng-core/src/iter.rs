//! Iteration in slot order, beside writers. How the tokens of a chunk are read is in `view.rs`.

use std::mem::{self, ManuallyDrop};

use crate::chunks::view::Walk;
use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::id::TokenId;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Acquire;
use crate::token::Token;

/// Live tokens in the order of their slots; see [`Arena::iter`](crate::Arena::iter).
pub struct Iter {
    shared: ManuallyDrop<Arc<Shared>>,
    walk: Walk,
    next_chunk: u32,
    /// Slot of the next chunk to begin with.
    from: u32,
    /// Chunks beyond were never used when the iteration began.
    chunks: u32,
}

impl Iter {
    pub(crate) fn new(shared: Arc<Shared>, slot: u32) -> Iter {
        let chunks = shared.used_chunks();
        let (next_chunk, from) = (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS);
        Iter { shared: ManuallyDrop::new(shared), walk: Walk::EMPTY, next_chunk, from, chunks }
    }
}

impl Drop for Iter {
    /// By value. Dropped in place, the last handle would be told the iterator's own address, and any loop over it would
    /// keep it in memory, where a step takes half as long again.
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: nobody uses the iterator after this.
        drop(unsafe { ManuallyDrop::take(&mut self.shared) });
    }
}

impl Iterator for Iter {
    type Item = (TokenId, Token);

    #[inline(always)]
    fn next(&mut self) -> Option<(TokenId, Token)> {
        loop {
            if let Some(found) = self.walk.next() {
                return Some(found);
            }
            if self.next_chunk >= self.chunks {
                return None;
            }
            self.walk = self.shared.walk(self.next_chunk, mem::take(&mut self.from));
            self.next_chunk += 1;
        }
    }
}

impl Shared {
    /// Chunks that may hold tokens.
    pub(crate) fn used_chunks(&self) -> u32 {
        (self.frontier.load(Acquire) * LEASE_SLOTS_MAX).div_ceil(CHUNK_SLOTS)
    }

    /// The live tokens of a chunk from its slot `from` on; none if it has no memory, which touching it would take.
    #[inline(always)]
    fn walk(&self, chunk: u32, from: u32) -> Walk {
        if !self.chunks.headers[chunk as usize].committed.load(Acquire) {
            return Walk::EMPTY;
        }
        self.view.walk(chunk, from)
    }

    /// Calls `visit` for each live token of a chunk.
    #[inline(always)]
    pub(crate) fn for_each_in(&self, chunk: u32, mut visit: impl FnMut(TokenId, &Token)) {
        let mut walk = self.walk(chunk, 0);
        while let Some((id, token)) = walk.next() {
            visit(id, &token);
        }
    }
}
