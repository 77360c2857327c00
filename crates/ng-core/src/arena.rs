//! The arena: the handle that makes writers, reads by id, and looks after the whole.

use crate::chunks::view::View;
use crate::config::ArenaConfig;
use crate::error::ArenaError;
use crate::id::TokenId;
use crate::iter::Iter;
use crate::lease::Lease;
use crate::restore::Restorer;
use crate::shared::Shared;
use crate::shared_writer::SharedWriter;
use crate::stats::ArenaStats;
use crate::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed},
};
use crate::sync::{Arc, in_parallel};
use crate::token::Token;
use crate::writer::Writer;
use std::num::NonZeroUsize;

/// How many ids ahead `get_many` fetches: about as many as a core can have on their way from memory.
const PREFETCH_IDS: usize = 16;

/// A store of tokens in memory. A handle: clones share the same tokens.
#[derive(Clone)]
pub struct Arena {
    /// The same as in `shared`, which keeps it valid.
    view: View,
    shared: Arc<Shared>,
}

impl Arena {
    /// Reserves the address space. No memory is taken yet.
    ///
    /// Errors: a setting out of its range; the kernel refuses the address space.
    pub fn new(config: ArenaConfig) -> Result<Arena, ArenaError> {
        let shared = Shared::new(config)?;
        Ok(Arena { view: shared.view, shared: Arc::new(shared) })
    }

    /// A writer for one thread.
    pub fn writer(&self) -> Writer {
        let lease = Arc::new(Lease::new());
        self.shared.register(&lease);
        Writer::new(Arc::clone(&self.shared), lease)
    }

    /// A writer for any number of threads, at the cost of a lock for each call; see [`SharedWriter`].
    pub fn shared_writer(&self) -> SharedWriter {
        SharedWriter::new(self.writer())
    }

    /// The token, or `None` if `id` names no live one. Never a mixture of two states of it.
    ///
    /// Waits only while one write of this very token is in progress. By the time of return the token
    /// may have changed already.
    #[inline(always)]
    pub fn get(&self, id: TokenId) -> Option<Token> {
        self.view.read(id)
    }

    /// Appends what [`Arena::get`] gives for each id, in the ids' order.
    ///
    /// Each token is whole; they are not of one instant. Fetches the slots of the next ids while it
    /// reads, so many ids together take less time than one by one.
    pub fn get_many(&self, ids: &[TokenId], out: &mut Vec<Option<Token>>) {
        ids.iter().take(PREFETCH_IDS).for_each(|id| self.view.prefetch(id.slot()));
        out.reserve(ids.len());
        out.extend(ids.iter().enumerate().map(|(index, &id)| {
            if let Some(later) = ids.get(index + PREFETCH_IDS) {
                self.view.prefetch(later.slot());
            }
            self.get(id)
        }));
    }

    /// All live tokens in the order of their slots.
    ///
    /// Tolerates writers: a token created or deleted meanwhile may or may not be seen; each seen one
    /// is whole, and is seen once. Chunks without memory are passed over.
    pub fn iter(&self) -> Iter {
        self.iter_from(0)
    }

    /// [`Arena::iter`] from a slot on.
    pub fn iter_from(&self, slot: u32) -> Iter {
        Iter::new(Arc::clone(&self.shared), slot)
    }

    /// Calls `visit` for each live token: [`Arena::iter`] at its fastest.
    #[inline]
    pub fn for_each_live(&self, mut visit: impl FnMut(TokenId, &Token)) {
        let chunks = self.shared.used_chunks();
        for chunk in 0..chunks {
            self.shared.for_each_in(chunk, &mut visit);
        }
    }

    /// Visits each live token once, on `threads` threads that share the chunks among them.
    ///
    /// Each thread gathers in a value of its own, made by `start`; all of them are returned. What is
    /// seen beside writers is as for [`Arena::iter`]; there is no order. A panic in `visit` is passed
    /// on once all threads have ended.
    pub fn scan<A: Send>(
        &self,
        threads: NonZeroUsize,
        start: impl Fn() -> A + Sync,
        visit: impl Fn(&mut A, TokenId, &Token) + Sync,
    ) -> Vec<A> {
        let chunks = self.shared.used_chunks();
        let next = AtomicU32::new(0);
        let run = || {
            let mut gathered = start();
            loop {
                let chunk = next.fetch_add(1, Relaxed);
                if chunk >= chunks {
                    return gathered;
                }
                self.shared.for_each_in(chunk, |id, token| visit(&mut gathered, id, token));
            }
        };
        let more = threads.get().min(chunks.max(1) as usize) - 1;
        in_parallel(more, run)
    }

    /// Tokens alive. Read writer by writer, not at one instant: beside writers it may be off by what
    /// they did meanwhile, to either side. See [`Arena::len_consistent`].
    pub fn len(&self) -> u64 {
        let tally = self.shared.tally();
        let made = tally.begun + self.shared.restored_total.load(Acquire);
        made.saturating_sub(tally.aborted + tally.deleted)
    }

    /// Tokens alive at one instant between call and return; a create counts from when its slot is taken.
    ///
    /// Holds up every writer's creates, not its deletes or any read, for the microseconds of the count.
    pub fn len_consistent(&self) -> u64 {
        self.shared.count_at_one_instant()
    }

    /// Is no token alive? As stale as [`Arena::len`].
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures; see [`ArenaStats`].
    pub fn stats(&self) -> ArenaStats {
        self.shared.stats()
    }

    /// Takes the unused slots of every writer's lease back; returns how many. [`Writer::create`] does it
    /// by itself before it refuses; this is for owners who call [`Writer::lease`].
    ///
    /// Each writer then stops at its next create and asks for new slots.
    pub fn recall_idle(&self) -> u64 {
        self.shared.recall_idle()
    }

    /// Makes every writer stop at its next create and look what is due.
    pub fn alert_writers(&self) {
        self.shared.ring();
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
