//! A writer: creates, updates and deletes tokens for one thread.
//!
//! A create stores its position, loads its limit, branches, and writes the slot; it asks nobody. All
//! else happens at the limit: [`Writer::due`] says what, and the owner goes on.
//!
//! In machine code (x86-64, release) a create is: load `next`, store it + 1 to the lease, load the lease's
//! limit, compare; store `next`, compare with the run's end; load the slot's head, eight stores; the id
//! from two additions. Two flags are tested on the way. No bounds check, no division, no `lock`.
//! docs/decisions/0003 says how it came to that.

mod batch;

pub use self::batch::{Edits, PendingBatch};

use crate::chunks::slot::{Head, Slot};
use crate::config::{CHUNK_SLOTS, LEASE_SLOTS_MAX};
use crate::drain::{Deleted, Drain};
use crate::error::{CreateError, NotFound};
use crate::id::TokenId;
use crate::iter::Iter;
use crate::lease::barrier::Barrier;
use crate::lease::{Lease, Mask};
use crate::mutants;
use crate::shared::Shared;
use crate::sync::Arc;
use crate::token::words::Words;
use crate::token::{Flags, Token};

/// Writes to an arena from one thread at a time.
///
/// Holds up to 1,024 slots ahead of its creates; dropping it gives the unused ones back.
pub struct Writer {
    /// Slot of position 0 of the lease. Dangling before the first lease, when no position is below the limit.
    origin: *const Slot,
    /// Position of the next unused slot; at the lease's end if there is none.
    next: u32,
    /// One past the run of leased slots that `next` lies in.
    run_end: u32,
    /// What the ids of this lease begin from: generation base of its chunk, which can't change while
    /// slots of it are leased, and slot of position 0.
    origin_id: u64,
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
    /// Of [`Writer::create_or_keep`].
    kept: Box<Slot>,
    /// Slots for a batch of creates: [`Writer::set_aside`].
    set_aside: Vec<(u32, Head)>,
    abandoned: bool,
    shared: Arc<Shared>,
}

const _: () = {
    // Both lie on their owners' stacks and are moved about: small, and aligned as a token is at most.
    assert!(size_of::<Writer>() <= 512 && align_of::<Writer>() <= 64);
    assert!(size_of::<Mask>() <= 128);
};

// SAFETY: `origin` points into the reservation that `shared` keeps mapped; nothing is bound to a thread.
unsafe impl Send for Writer {}

/// Why a writer stopped at its limit. Exhaustive: an owner has to know what to do at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The lease is used up or was taken back: call [`Writer::lease`].
    Lease,
    /// The create that [`Writer::stop_after`] asked for is next: use [`Writer::create_due`] or
    /// [`Writer::begin_due`], then set the next stop.
    Stop,
    /// Somebody rang ([`Arena::alert_writers`](crate::Arena::alert_writers)): look at your settings, then call
    /// [`Writer::resume`].
    Bell,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, lease: Arc<Lease>) -> Writer {
        Writer {
            origin: std::ptr::null(),
            next: LEASE_SLOTS_MAX,
            run_end: 0,
            origin_id: 0,
            first: 0,
            barrier: shared.barrier,
            wide: false,
            lease,
            armed: 0,
            stop: u32::MAX,
            stop_left: u64::MAX,
            stop_from: LEASE_SLOTS_MAX,
            mask: Mask::EMPTY,
            kept: Box::default(),
            set_aside: Vec::new(),
            abandoned: false,
            shared,
        }
    }

    /// Makes its drop leave everything as it is: for a forked child, where a lock that a thread of the
    /// parent held stays locked. In the process that made it, its slots would be lost.
    pub fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Stores a token.
    ///
    /// Blocks at most for the kernel to hand out memory, once in 32,768 creates; where no slot is free,
    /// also while it takes back what lies idle in others' leases.
    /// Errors: the arena is full, or its owner refused memory or generations. Nothing changed. Full
    /// means that at one instant of the call each slot had a token or was being given one: slots that
    /// other writers hold ahead are fetched first.
    #[inline(always)]
    pub fn create(&mut self, token: &Token) -> Result<TokenId, CreateError> {
        let position = match self.advance() {
            Some(position) => position,
            None => self.advance_slow()?,
        };
        Ok(self.fill(position, token.words()))
    }

    /// The next position, if nothing is due.
    #[inline(always)]
    fn advance(&mut self) -> Option<u32> {
        let position = self.next;
        self.lease.advance(position, self.barrier).then_some(position)
    }

    /// The next position, once all that is due is done.
    #[cold]
    #[inline(never)]
    fn advance_slow(&mut self) -> Result<u32, CreateError> {
        loop {
            if let Some(position) = self.advance_whatever_is_due() {
                return Ok(position);
            }
            match self.lease(LEASE_SLOTS_MAX) {
                Ok(_) => {}
                Err(CreateError::Full { .. } | CreateError::Memory { .. })
                    if !mutants::on("core-full-beside-idle-leases") =>
                {
                    return self.advance_scarcely();
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// The next position, past a stop and a bell; `None` if the lease has none.
    fn advance_whatever_is_due(&mut self) -> Option<u32> {
        loop {
            if let Some(position) = self.advance() {
                return Some(position);
            }
            match self.due() {
                Due::Lease => return None,
                Due::Stop => return Some(self.next),
                Due::Bell => self.resume(),
            }
        }
    }

    /// The next position where no slot is free, or no memory for one: takes back what lies idle in all
    /// leases, and then one slot. Whoever else wants slots waits meanwhile; else others could take them
    /// as soon as they are back, and a refusal would say nothing.
    #[cold]
    #[inline(never)]
    fn advance_scarcely(&mut self) -> Result<u32, CreateError> {
        let shared = Arc::clone(&self.shared);
        let beside = mutants::on("core-scarce-beside-others");
        let _alone = (!beside).then(|| shared.alone());
        loop {
            match self.lease_moving(1) {
                Ok(_) => {}
                Err(CreateError::Full { .. } | CreateError::Memory { .. })
                    if shared.recall() > 0 =>
                {
                    continue;
                }
                Err(refused) => return Err(refused),
            }
            if let Some(position) = self.advance_whatever_is_due() {
                return Ok(position);
            }
        }
    }

    /// Stores a token if nothing is due and `quick` is set; else keeps it aside for [`Writer::kept`] and
    /// returns `None`. If `quick` was set, [`Writer::due`] says what is due.
    ///
    /// A token built on the way here is often in registers, and a caller's slow path that takes it by
    /// reference would have it in memory before the fast path is chosen. Here both write it to one place
    /// that is chosen first.
    #[inline(always)]
    pub fn create_or_keep(&mut self, token: &Token, quick: bool) -> Option<TokenId> {
        let position = self.next;
        let goes = quick && self.lease.advance(position, self.barrier);
        if goes {
            self.step(position);
        }
        let slot = if goes { self.origin.wrapping_add(position as usize) } else { self.keep() };
        // SAFETY: as in `fill`, or the writer's own.
        let slot = unsafe { &*slot };
        let stamp = slot.fill(slot.head_relaxed(), token.words());
        goes.then(|| self.id_of(position, stamp))
    }

    /// Where a token is kept, without the one before. A call, so that the way around it is the straight
    /// one.
    #[cold]
    #[inline(never)]
    fn keep(&self) -> *const Slot {
        self.kept.kill(0);
        &raw const *self.kept
    }

    /// Flags of the token that [`Writer::create_or_keep`] kept last. Cheaper than [`Writer::kept`]
    /// right after it: the whole token is read in pieces wider than it was stored in.
    #[inline]
    pub fn kept_flags(&self) -> Flags {
        self.kept.flags()
    }

    /// The token that [`Writer::create_or_keep`] kept last; all zeroes if it kept none.
    #[inline]
    pub fn kept(&self) -> Token {
        self.kept.current()
    }

    /// What stopped the writer. Call it only after a `None`.
    #[inline]
    pub fn due(&mut self) -> Due {
        let position = self.next;
        if position >= LEASE_SLOTS_MAX || !self.lease.owns(position, self.armed) {
            return Due::Lease;
        }
        // A bell comes first: who hears of a change may move the stop.
        if position == self.stop && !self.lease.rung() { Due::Stop } else { Due::Bell }
    }

    /// Takes up to `want` new slots in place of the lease that is used up. Returns how many.
    ///
    /// Errors: as [`Writer::create`], except that slots which lie idle in others' leases count as
    /// taken: whoever counts what its leases hold calls [`Arena::recall_idle`](crate::Arena::recall_idle)
    /// itself. The writer then has no lease.
    pub fn lease(&mut self, want: u32) -> Result<u32, CreateError> {
        let shared = Arc::clone(&self.shared);
        let _moving = shared.moving();
        self.lease_moving(want)
    }

    /// [`Writer::lease`] for who holds a guard of `moving`.
    fn lease_moving(&mut self, want: u32) -> Result<u32, CreateError> {
        self.hand_back_moving();
        let (first, mask, untouched) = self.shared.take(want)?;
        let late = mutants::on("core-lease-shared-before-it-is-faulted-in");
        if untouched && !late {
            self.fault_in(first, &mask);
        }
        // From here on anybody may take the slots back that are not begun.
        self.lease.start(first, mask);
        let header = &self.shared.chunks.headers[(first / CHUNK_SLOTS) as usize];
        self.origin = self.shared.view.slot(first);
        (self.first, self.mask) = (first, mask);
        self.origin_id = u64::from(header.base()) << 32 | u64::from(first);
        self.wide = header.is_wide();
        if untouched && late {
            self.fault_in(first, &mask);
        }
        self.armed = 0;
        self.stop_from = 0;
        self.enter_run(0);
        self.resume();
        Ok(mask.count())
    }

    /// Touches each page of a lease without memory by a store. A load first would map the kernel's
    /// zero page, and the store after it would fault again.
    fn fault_in(&self, first: u32, mask: &Mask) {
        // A word of the mask is 64 slots: one small page.
        for (word, bits) in mask.0.iter().enumerate().filter(|(_, bits)| **bits != 0) {
            let index = first + word as u32 * 64 + bits.trailing_zeros();
            self.shared.view.slot(index).kill(0);
        }
    }

    /// Gives the unused slots of the lease back, and those set aside. Returns how many.
    pub fn hand_back(&mut self) -> u32 {
        let shared = Arc::clone(&self.shared);
        let _moving = shared.moving();
        self.give_back_set_aside() + self.hand_back_moving()
    }

    /// [`Writer::hand_back`] for who holds a guard of `moving`.
    fn hand_back_moving(&mut self) -> u32 {
        self.settle_stop();
        let unused = self.lease.finish(self.next);
        let count = unused.mask.count();
        if !mutants::on("core-hand-back-loses-slots") {
            self.shared.put_back(unused);
        }
        (self.next, self.run_end) = (LEASE_SLOTS_MAX, 0);
        (self.mask, self.armed, self.stop) = (Mask::EMPTY, 0, u32::MAX);
        count
    }

    /// After `creates` more creates, stop before the next with [`Due::Stop`]. `u64::MAX` for never.
    #[inline]
    pub fn stop_after(&mut self, creates: u64) {
        self.stop_left = creates;
        self.stop_from = self.next.min(LEASE_SLOTS_MAX);
        let limit = self.next_limit();
        self.armed = self.lease.arm(self.armed, limit, self.barrier);
    }

    /// Creates left before the stop; `u64::MAX`: none is set.
    pub fn left_to_stop(&mut self) -> u64 {
        self.settle_stop();
        self.stop_left
    }

    /// Goes on after a bell.
    pub fn resume(&mut self) {
        self.settle_stop();
        let limit = self.next_limit();
        self.armed = self.lease.resume(limit);
    }

    /// Counts the creates since the stop was set.
    #[inline]
    fn settle_stop(&mut self) {
        let position = self.next.min(LEASE_SLOTS_MAX);
        if self.stop_left != u64::MAX && position != self.stop_from {
            let done = self.mask.below(position).without(&self.mask.below(self.stop_from)).count();
            self.stop_left = self.stop_left.saturating_sub(u64::from(done));
        }
        self.stop_from = position;
    }

    /// Finds the stop's position, and from it the limit.
    #[inline]
    fn next_limit(&mut self) -> u32 {
        // Within a run of slots there is nothing to count.
        let ahead = u64::from(self.stop_from).saturating_add(self.stop_left);
        if self.stop_from == self.next && ahead < u64::from(self.run_end) {
            self.stop = ahead as u32;
            return self.stop;
        }
        self.next_limit_beyond_run()
    }

    #[inline(never)]
    fn next_limit_beyond_run(&mut self) -> u32 {
        let rank = u32::try_from(self.stop_left).ok();
        let stop = rank.and_then(|rank| self.mask.nth(self.stop_from, rank));
        self.stop = stop.unwrap_or(u32::MAX);
        self.stop.min(LEASE_SLOTS_MAX)
    }

    #[inline]
    fn position_at_stop(&self) -> u32 {
        assert!(self.next == self.stop, "no stop is due at position {}", self.next);
        self.next
    }

    /// Stores a token at the stop; call it only after [`Due::Stop`].
    pub fn create_due(&mut self, token: &Token) -> TokenId {
        let position = self.position_at_stop();
        self.fill(position, token.words())
    }

    /// Stores the token that [`Writer::create_or_keep`] kept last, at the stop; call it only after
    /// [`Due::Stop`].
    #[inline]
    pub fn create_kept_due(&mut self) -> TokenId {
        let position = self.position_at_stop();
        let words = self.kept.words_just_stored();
        self.fill(position, &words)
    }

    /// Takes the next slot and marks it as being written, if nothing is due: see [`Writer::due`] and
    /// [`Writer::lease`].
    ///
    /// The token appears with [`Pending::commit`]; dropping the `Pending` undoes it all.
    #[inline]
    pub fn begin(&mut self) -> Option<Pending<'_>> {
        let position = self.advance()?;
        Some(Pending::new(self, position))
    }

    /// As [`Writer::begin`], at the stop; call it only after [`Due::Stop`].
    pub fn begin_due(&mut self) -> Pending<'_> {
        let position = self.position_at_stop();
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
    #[inline]
    pub fn delete(&mut self, id: TokenId) -> Result<(), NotFound> {
        self.delete_unless(id, Flags::from_bits(0)).map(|_deleted| ())
    }

    /// Removes the token at `id` unless it has one of these flags. Returns whether it is removed.
    ///
    /// Waits as [`Writer::update`]. Errors: the id is stale.
    #[inline]
    pub fn delete_unless(&mut self, id: TokenId, flags: Flags) -> Result<bool, NotFound> {
        let shared = &*self.shared;
        // It is a miss of its own, and can be under way together with the token's.
        shared.chunks.prefetch(id.slot());
        let head = shared.begin_edit(id).ok_or(NotFound)?;
        // No `Edit`: nothing here can panic, and to carry one about costs a tenth of a delete.
        let slot = shared.view.slot(id.slot());
        if slot.flags().bits() & flags.bits() != 0 {
            slot.abort(head);
            return Ok(false);
        }
        shared.end(id);
        self.lease.count_deleted();
        Ok(true)
    }

    /// Removes each live token for which `keep` says `false`; returns how many.
    ///
    /// `keep` sees a copy and runs while no token is held, so it may take its time and use the arena. A
    /// token that somebody writes meanwhile is asked for again as it is then: what is removed is what
    /// `keep` saw last. Tokens created meanwhile may be missed; see [`Arena::iter`](crate::Arena::iter).
    pub fn retain(&mut self, mut keep: impl FnMut(TokenId, &Token) -> bool) -> u64 {
        self.drain(|id, token| !keep(id, token)).map(|_removed| 1).sum()
    }

    /// Removes the live tokens for which `chosen` says `true`, and gives each with the id it had.
    ///
    /// A token is removed when the iterator comes to it: dropping it early leaves the rest. Otherwise as
    /// [`Writer::retain`].
    pub fn drain<P: FnMut(TokenId, &Token) -> bool>(&mut self, chosen: P) -> Drain<'_, P> {
        let live = Iter::new(Arc::clone(&self.shared), 0);
        Drain { writer: self, live, chosen }
    }

    /// Removes the token at `id` if it is `seen`.
    pub(crate) fn delete_if(&mut self, id: TokenId, seen: &Token) -> Deleted {
        let Ok(edit) = self.edit(id) else { return Deleted::Gone };
        let current = edit.current();
        if current != *seen && !mutants::on("core-drain-takes-the-changed") {
            return Deleted::Changed(current);
        }
        edit.delete();
        Deleted::Yes
    }

    /// Takes the sole right to write the token at `id`; readers of it wait until it is given up.
    ///
    /// Waits as [`Writer::update`]. Errors: the id is stale.
    #[inline]
    pub fn edit(&mut self, id: TokenId) -> Result<Edit<'_>, NotFound> {
        let head = self.shared.begin_edit(id).ok_or(NotFound)?;
        Ok(Edit { writer: self, id, head, open: true })
    }

    /// Writes the slot at `position`, which this writer owns.
    #[inline(always)]
    fn fill(&mut self, position: u32, words: &Words) -> TokenId {
        self.step(position);
        // SAFETY: a position below the limit, or owned by `Lease::owns`, lies inside the lease's group,
        // and `origin` is that group's first slot.
        let slot = unsafe { &*self.origin.add(position as usize) };
        let head = slot.head_relaxed();
        let stamp = slot.fill(head, words);
        self.id_of(position, stamp)
    }

    /// Id of the token that was just given this stamp.
    #[inline(always)]
    fn id_of(&self, position: u32, stamp: Head) -> TokenId {
        if self.wide {
            return self.wide_id(position, stamp);
        }
        TokenId::of_live_raw(self.origin_id + stamp.id_bits() + u64::from(position))
    }

    /// The same in a chunk with a side table.
    #[cold]
    fn wide_id(&self, position: u32, stamp: Head) -> TokenId {
        let slot = self.first + position;
        let header = &self.shared.chunks.headers[(slot / CHUNK_SLOTS) as usize];
        TokenId::of_live(slot, header.generation(slot % CHUNK_SLOTS, stamp))
    }

    /// The slot at `position` is used.
    #[inline(always)]
    fn step(&mut self, position: u32) {
        self.next = position + 1;
        if position + 1 == self.run_end {
            self.enter_run(position + 1);
        }
    }

    /// Goes to the first run of slots at or after `position`.
    #[inline(never)]
    fn enter_run(&mut self, position: u32) {
        (self.next, self.run_end) = self.mask.run(position).unwrap_or((LEASE_SLOTS_MAX, 0));
        // Where free slots lie apart each is a miss, and there is a whole operation before it is needed.
        crate::chunks::memory::prefetch(self.origin.wrapping_add(self.next as usize));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
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
        writer.step(position);
        let index = writer.first + position;
        let slot = writer.shared.view.slot(index);
        let head = slot.head_relaxed();
        let header = &writer.shared.chunks.headers[(index / CHUNK_SLOTS) as usize];
        let generation = header.generation(index % CHUNK_SLOTS, head) + 1;
        slot.begin_dead(head);
        Pending { writer, index, head, generation, open: true }
    }

    /// The id that the token will have.
    pub fn id(&self) -> TokenId {
        TokenId::of_live(self.index, self.generation)
    }

    /// Makes the token visible.
    pub fn commit(mut self, token: &Token) -> TokenId {
        self.open = false;
        let slot = self.writer.shared.view.slot(self.index);
        slot.fill(self.head, token.words());
        self.id()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.open {
            self.writer.shared.view.slot(self.index).abort(self.head);
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
        self.writer.shared.view.slot(self.id.slot()).current()
    }

    /// Replaces the token.
    pub fn commit(mut self, token: &Token) {
        self.open = false;
        self.writer.shared.replace(self.id, self.head, token);
    }

    /// Removes the token and frees its slot.
    #[inline]
    pub fn delete(mut self) {
        self.open = false;
        self.writer.shared.end(self.id);
        self.writer.lease.count_deleted();
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        if self.open {
            if mutants::on("core-abort-keeps-the-bit") {
                return;
            }
            self.writer.shared.view.slot(self.id.slot()).abort(self.head);
        }
    }
}
