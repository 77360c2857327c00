//! A writer: creates, updates and deletes tokens for one thread.
//!
//! A create stores its position, loads its limit, branches, and writes the slot; it asks nobody. All
//! else happens at the limit: [`Writer::due`] says what, and the owner goes on.

use crate::barrier::Barrier;
use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::error::{CreateError, NotFound};
use crate::id::TokenId;
use crate::lease::{Lease, Mask};
use crate::shared::{Shared, next_dead};
use crate::slot::{Head, Slot};
use crate::sync::Arc;
use crate::sync::atomic::{
    Ordering::{AcqRel, Acquire, Release},
    fence,
};
use crate::token::Token;

/// Writes to an arena from one thread at a time.
///
/// Holds up to 1,024 slots ahead of its creates; dropping it gives the unused ones back.
pub struct Writer {
    /// Slot of position 0 of the lease. Dangling before the first lease, when no position is below the limit.
    origin: *const Slot,
    /// Slots of the current word that are not used yet.
    rest: u64,
    /// Position of that word's lowest bit.
    word: u32,
    /// Generation base of the leased chunk; it can't change while slots of it are leased.
    base: u32,
    first: u32,
    barrier: Barrier,
    /// The leased chunk has a side table.
    wide: bool,
    lease: Arc<Lease>,
    /// The limit that this writer set last; 0 if it is not known to stand.
    armed: u32,
    /// Position at which the owner wants to be asked; beyond the lease if none.
    stop: u32,
    /// Creates from `stop_from` on until the owner wants to be asked; `u64::MAX` for never.
    stop_left: u64,
    stop_from: u32,
    mask: Mask,
    shared: Arc<Shared>,
}

// SAFETY: `origin` points into the reservation that `shared` keeps mapped; nothing is bound to a thread.
unsafe impl Send for Writer {}

/// Why a writer stopped at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Due {
    /// The lease is used up or was taken back: call [`Writer::lease`].
    Lease,
    /// The create that [`Writer::stop_after`] asked for is next: use [`Writer::create_due`] or
    /// [`Writer::begin_due`], then set the next stop.
    Stop,
    /// Somebody rang ([`Arena::ring`](crate::Arena::ring)): look at your settings, then call
    /// [`Writer::resume`].
    Bell,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, lease: Arc<Lease>) -> Writer {
        Writer {
            origin: std::ptr::null(),
            rest: 1,
            word: LEASE_SLOTS_MAX,
            base: 0,
            first: 0,
            barrier: shared.barrier,
            wide: false,
            lease,
            armed: 0,
            stop: u32::MAX,
            stop_left: u64::MAX,
            stop_from: LEASE_SLOTS_MAX,
            mask: Mask::EMPTY,
            shared,
        }
    }

    /// Stores a token.
    ///
    /// Blocks at most for the kernel to hand out memory, once in 32,768 creates.
    /// Errors: the arena is full, or its owner refused memory or generations. Nothing changed.
    #[inline]
    pub fn create(&mut self, token: &Token) -> Result<TokenId, CreateError> {
        if let Some(id) = self.try_create(token) {
            return Ok(id);
        }
        self.create_slow(token)
    }

    #[cold]
    fn create_slow(&mut self, token: &Token) -> Result<TokenId, CreateError> {
        loop {
            match self.due() {
                Due::Lease => {
                    self.lease(LEASE_SLOTS_MAX)?;
                }
                Due::Stop => return Ok(self.create_due(token)),
                Due::Bell => self.resume(),
            }
            if let Some(id) = self.try_create(token) {
                return Ok(id);
            }
        }
    }

    /// Stores a token if nothing is due; else changes nothing, and [`Writer::due`] says what is.
    #[inline(always)]
    pub fn try_create(&mut self, token: &Token) -> Option<TokenId> {
        let position = self.position();
        if !self.lease.advance(position, self.barrier) {
            return None;
        }
        Some(self.fill(position, token))
    }

    /// What stopped the writer. Call it only after a `None`.
    pub fn due(&mut self) -> Due {
        let position = self.position();
        if position >= LEASE_SLOTS_MAX || !self.lease.owns(position, self.armed) {
            return Due::Lease;
        }
        if position == self.stop { Due::Stop } else { Due::Bell }
    }

    /// Takes up to `want` new slots in place of the lease that is used up. Returns how many.
    ///
    /// Errors: as [`Writer::create`]; the writer then has no lease.
    pub fn lease(&mut self, want: u32) -> Result<u32, CreateError> {
        self.hand_back();
        let (first, mask) = self.shared.take(want)?;
        self.lease.start(first, mask);
        let header = &self.shared.chunks.headers[(first / CHUNK_SLOTS) as usize];
        self.origin = self.shared.slot(first);
        (self.first, self.mask) = (first, mask);
        self.base = header.base.load(Acquire);
        self.wide = header.is_wide();
        self.armed = 0;
        self.stop_from = 0;
        self.enter_word(0);
        self.resume();
        Ok(mask.count())
    }

    /// Gives the unused slots of the lease back. Returns how many.
    pub fn hand_back(&mut self) -> u32 {
        self.settle_stop();
        let unused = self.lease.finish(self.position());
        let count = unused.mask.count();
        self.shared.put_back(unused);
        (self.rest, self.word) = (1, LEASE_SLOTS_MAX);
        (self.mask, self.armed, self.stop) = (Mask::EMPTY, 0, u32::MAX);
        count
    }

    /// After `creates` more creates, stop before the next with [`Due::Stop`]. `u64::MAX` for never.
    pub fn stop_after(&mut self, creates: u64) {
        self.stop_left = creates;
        self.stop_from = self.position().min(LEASE_SLOTS_MAX);
        self.set_limit();
    }

    /// Goes on after a bell.
    pub fn resume(&mut self) {
        self.settle_stop();
        self.set_limit();
    }

    /// Counts the creates since the stop was set.
    fn settle_stop(&mut self) {
        let position = self.position().min(LEASE_SLOTS_MAX);
        let done = self.mask.below(position).without(&self.mask.below(self.stop_from)).count();
        if self.stop_left != u64::MAX {
            self.stop_left = self.stop_left.saturating_sub(u64::from(done));
        }
        self.stop_from = position;
    }

    fn set_limit(&mut self) {
        let rank = u32::try_from(self.stop_left).ok();
        let stop = rank.and_then(|rank| self.mask.nth(self.stop_from, rank));
        self.stop = stop.unwrap_or(u32::MAX);
        self.armed = self.lease.arm(self.armed, self.stop.min(LEASE_SLOTS_MAX));
    }

    /// Stores a token at the stop; call it only after [`Due::Stop`].
    pub fn create_due(&mut self, token: &Token) -> TokenId {
        let position = self.position();
        assert!(position == self.stop, "no stop is due at position {position}");
        self.fill(position, token)
    }

    /// Takes the next slot and marks it as being written, if nothing is due.
    ///
    /// The token appears with [`Pending::commit`]; dropping the `Pending` undoes it all.
    #[inline]
    pub fn begin(&mut self) -> Option<Pending<'_>> {
        let position = self.position();
        if !self.lease.advance(position, self.barrier) {
            return None;
        }
        Some(Pending::new(self, position))
    }

    /// As [`Writer::begin`], at the stop; call it only after [`Due::Stop`].
    pub fn begin_due(&mut self) -> Pending<'_> {
        let position = self.position();
        assert!(position == self.stop, "no stop is due at position {position}");
        Pending::new(self, position)
    }

    /// Replaces the token at `id`.
    ///
    /// Waits only while another write of this very token is in progress. Errors: the id is stale.
    pub fn update(&mut self, id: TokenId, token: &Token) -> Result<(), NotFound> {
        self.edit(id)?.commit(token);
        Ok(())
    }

    /// Removes the token at `id`.
    ///
    /// Waits as [`Writer::update`]. Errors: the id is stale.
    pub fn delete(&mut self, id: TokenId) -> Result<(), NotFound> {
        self.edit(id)?.delete();
        Ok(())
    }

    /// Takes the sole right to write the token at `id`; readers of it wait until it is given up.
    ///
    /// Waits as [`Writer::update`]. Errors: the id is stale.
    #[inline]
    pub fn edit(&mut self, id: TokenId) -> Result<Edit<'_>, NotFound> {
        let head = self.shared.begin_edit(id).ok_or(NotFound)?;
        Ok(Edit { writer: self, id, head, open: true })
    }

    /// Position of the next unused slot of the lease; at or beyond the lease's end if there is none.
    #[inline(always)]
    fn position(&self) -> u32 {
        self.word + self.rest.trailing_zeros()
    }

    /// Writes the slot at `position`, which this writer owns.
    #[inline(always)]
    fn fill(&mut self, position: u32, token: &Token) -> TokenId {
        self.step();
        // SAFETY: a position below the limit, or owned by `Lease::owns`, lies inside the lease's group,
        // and `origin` is that group's first slot.
        let slot = unsafe { &*self.origin.add(position as usize) };
        let head = slot.head_relaxed();
        let bits = head.generation_bits() + 1;
        let generation = if self.wide { self.wide_generation(position, head) } else { bits };
        slot.fill(bits, token.words());
        TokenId::of_live(self.first + position, self.base.wrapping_add(generation))
    }

    #[cold]
    fn wide_generation(&self, position: u32, head: Head) -> u32 {
        let slot = self.first + position;
        let header = &self.shared.chunks.headers[(slot / CHUNK_SLOTS) as usize];
        header.offset(slot % CHUNK_SLOTS, head) + 1
    }

    /// The slot at the position is used.
    #[inline(always)]
    fn step(&mut self) {
        self.rest &= self.rest - 1;
        if self.rest == 0 {
            self.enter_word(self.word / 64 + 1);
        }
    }

    /// Goes to the first word at or after `index` that has slots.
    #[inline]
    fn enter_word(&mut self, index: u32) {
        for index in index..LEASE_SLOTS_MAX / 64 {
            let rest = self.mask.0[index as usize];
            if rest != 0 {
                (self.rest, self.word) = (rest, index * 64);
                return;
            }
        }
        (self.rest, self.word) = (1, LEASE_SLOTS_MAX);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.hand_back();
        self.shared.retire_writer(&self.lease);
    }
}

/// A create in progress: its slot is taken and marked, its id is known, no token is visible yet.
///
/// Dropping it gives the slot back; the id is then never used.
pub struct Pending<'w> {
    writer: &'w mut Writer,
    index: u32,
    head: Head,
    generation: u32,
    open: bool,
}

impl<'w> Pending<'w> {
    fn new(writer: &'w mut Writer, position: u32) -> Pending<'w> {
        writer.step();
        let index = writer.first + position;
        let slot = writer.shared.slot(index);
        let head = slot.head_relaxed();
        let offset = if writer.wide {
            writer.wide_generation(position, head)
        } else {
            head.generation_bits() + 1
        };
        slot.begin_dead(head);
        let generation = writer.base.wrapping_add(offset);
        Pending { writer, index, head, generation, open: true }
    }

    /// The id that the token will have.
    pub fn id(&self) -> TokenId {
        TokenId::of_live(self.index, self.generation)
    }

    /// Makes the token visible.
    pub fn commit(mut self, token: &Token) -> TokenId {
        self.open = false;
        let slot = self.writer.shared.slot(self.index);
        slot.fill(self.head.generation_bits() + 1, token.words());
        self.id()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.open {
            self.writer.shared.slot(self.index).abort(self.head);
            self.writer.lease.count_aborted();
            self.writer.shared.chunks.free(self.index);
        }
    }
}

/// The sole right to write one live token. Dropping it changes nothing.
pub struct Edit<'w> {
    writer: &'w mut Writer,
    id: TokenId,
    head: Head,
    open: bool,
}

impl Edit<'_> {
    /// The id.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The token as it is.
    pub fn current(&self) -> Token {
        Token::from_slot(self.writer.shared.slot(self.id.slot()).copy(self.head))
    }

    /// Replaces the token.
    pub fn commit(mut self, token: &Token) {
        self.open = false;
        let shared = &self.writer.shared;
        if self.head.wraps_next() {
            let chunk = &shared.chunks.headers[(self.id.slot() / CHUNK_SLOTS) as usize];
            chunk.epoch.fetch_add(1, AcqRel);
            fence(Release);
        }
        shared.slot(self.id.slot()).finish(self.head, token.words());
    }

    /// Removes the token and frees its slot.
    pub fn delete(mut self) {
        self.open = false;
        let shared = &self.writer.shared;
        let chunk = &shared.chunks.headers[(self.id.slot() / CHUNK_SLOTS) as usize];
        shared.kill(self.id.slot(), chunk, next_dead(self.id.generation(), chunk));
        self.writer.lease.count_deleted();
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if self.open {
            self.writer.shared.slot(self.id.slot()).abort(self.head);
        }
    }
}
