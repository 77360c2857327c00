//! The arena: the handle that makes writers, reads by id, and looks after the whole.

use crate::config::ArenaConfig;
use crate::error::ArenaError;
use crate::id::TokenId;
use crate::iter::Iter;
use crate::lease::Lease;
use crate::restore::Restorer;
use crate::shared::Shared;
use crate::stats::ArenaStats;
use crate::sync::Arc;
use crate::sync::atomic::Ordering::Acquire;
use crate::token::Token;
use crate::writer::Writer;

/// A store of tokens in memory. A handle: clones share the same tokens.
#[derive(Clone)]
pub struct Arena {
    shared: Arc<Shared>,
}

impl Arena {
    /// Reserves the address space. No memory is taken yet.
    ///
    /// Errors: a setting out of its range; the kernel refuses the address space.
    pub fn new(config: ArenaConfig) -> Result<Arena, ArenaError> {
        Ok(Arena { shared: Arc::new(Shared::new(config)?) })
    }

    /// A writer for one thread.
    pub fn writer(&self) -> Writer {
        let lease = Arc::new(Lease::new());
        self.shared.register(&lease);
        Writer::new(Arc::clone(&self.shared), lease)
    }

    /// The token, or `None` if `id` names no live one. Never a mixture of two states of it.
    ///
    /// Waits only while one write of this very token is in progress. By the time of return the token
    /// may have changed already.
    #[inline]
    pub fn get(&self, id: TokenId) -> Option<Token> {
        let (generation, words) = self.shared.read(id.slot(), id.generation())?;
        debug_assert_eq!(generation, id.generation());
        Some(Token::from_slot(words))
    }

    /// Appends what [`Arena::get`] gives for each id.
    pub fn get_many(&self, ids: &[TokenId], out: &mut Vec<Option<Token>>) {
        out.extend(ids.iter().map(|&id| self.get(id)));
    }

    /// All live tokens in the order of their slots.
    ///
    /// Tolerates writers: a token created or deleted meanwhile may or may not be seen; each seen one
    /// is whole, and is seen once.
    pub fn iter(&self) -> Iter {
        self.iter_from(0)
    }

    /// [`Arena::iter`] from a slot on.
    pub fn iter_from(&self, slot: u32) -> Iter {
        Iter::new(Arc::clone(&self.shared), slot)
    }

    /// Calls `visit` for each live token, as [`Arena::iter`] does.
    pub fn for_each_live(&self, mut visit: impl FnMut(TokenId, &Token)) {
        for (id, token) in self.iter() {
            visit(id, &token);
        }
    }

    /// Tokens alive. Read writer by writer: it may miss what is in progress.
    pub fn len(&self) -> u64 {
        let tally = self.shared.tally();
        let made = tally.begun + self.shared.restored_total.load(Acquire);
        made.saturating_sub(tally.aborted + tally.deleted)
    }

    /// Is no token alive? As stale as [`Arena::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures; see [`ArenaStats`].
    pub fn stats(&self) -> ArenaStats {
        self.shared.stats()
    }

    /// Takes the unused slots of every writer's lease back; returns how many.
    ///
    /// Each writer then stops at its next create and asks for new slots.
    pub fn recall_idle(&self) -> u64 {
        self.shared.recall_idle()
    }

    /// Makes every writer stop at its next create and look what is due.
    pub fn ring(&self) {
        for lease in self.shared.leases() {
            lease.ring();
        }
    }

    /// Gives the memory of each chunk without a token or lease back to the kernel; returns the bytes.
    ///
    /// Looks at each chunk's bitmap up to the first taken slot: microseconds if nothing is empty.
    pub fn give_back_empty(&self) -> u64 {
        let mut bytes = 0;
        for chunk in 0..self.shared.chunks.headers.len() as u32 {
            if self.shared.chunks.headers[chunk as usize].committed.load(Acquire) {
                bytes += self.shared.give_back(chunk);
            }
        }
        bytes
    }

    /// No token gets a generation at or above `limit` from the next lease on.
    ///
    /// A store that logs its tokens keeps this at what its log has durably announced, so that no id
    /// is ever given out twice, whatever is lost in a crash.
    pub fn set_generation_limit(&self, limit: u32) {
        self.shared.set_generation_limit(limit);
    }

    /// The highest generation that any id has, or that a lease may hand out.
    pub fn generation_high(&self) -> u32 {
        self.shared.generation_high()
    }

    /// Puts tokens with known ids into an empty arena, before any writer is made.
    pub fn restorer(&self) -> Restorer {
        Restorer::new(Arc::clone(&self.shared))
    }
}
