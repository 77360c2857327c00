//! Iteration in slot order, beside writers.

use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::id::TokenId;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Acquire;
use crate::token::Token;

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

    fn next(&mut self) -> Option<(TokenId, Token)> {
        let shared = &*self.shared;
        while self.next < self.end {
            let index = self.next;
            // Asked at a chunk's first slot only: a chunk that goes meanwhile reads as zeroes.
            if index.is_multiple_of(CHUNK_SLOTS) {
                let header = &shared.chunks.headers[(index / CHUNK_SLOTS) as usize];
                if !header.committed.load(Acquire) {
                    // Without memory it holds nothing; touching it would take memory.
                    self.next += CHUNK_SLOTS;
                    continue;
                }
            }
            self.next += 1;
            if let Some((generation, words)) = shared.read(index, 0) {
                return Some((TokenId::of_live(index, generation), Token::from_slot(words)));
            }
        }
        None
    }
}
