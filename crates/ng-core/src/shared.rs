//! What an arena's handles and writers share: finding slots, taking them for leases, giving memory back.
//!
//! A slot belongs to exactly one of: the untouched rest beyond the frontier, its chunk's bitmap, a
//! lease, a live token, or the retired. Each move between them is one atomic step.

use crate::chunks::ahead::Ahead;
use crate::chunks::chunk::{ALL_GROUPS, BITMAP_WORDS, Chunk, Chunks, group_bit};
use crate::chunks::memory::Reservation;
use crate::chunks::slot::{Head, Slot};
use crate::chunks::view::View;
use crate::config::{ArenaConfig, CHUNK_BYTES, CHUNK_SLOTS, LEASE_SLOTS_MAX, MemoryGate};
use crate::error::{ArenaError, CreateError};
use crate::id::TokenId;
use crate::lease::barrier::Barrier;
use crate::lease::{Lease, Mask, Tally, Unused};
use crate::mutants;
use crate::stats::ArenaStats;
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{
    Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, lock, pause, read, write,
};
use crate::token::Token;

/// A dead slot above this generation is not used again: its next token's id could come round.
const GENERATION_LAST: u32 = u32::MAX - 4;

/// A lease of fewer slots is taken only where no group has more and no fresh one is left.
const LEAST_SLOTS: u32 = 32;

pub(crate) struct Shared {
    /// First, so that its thread has ended before the memory goes.
    ahead: Option<Ahead>,
    memory: Reservation,
    pub(crate) chunks: Chunks,
    /// Into the two above.
    pub(crate) view: View,
    /// Groups that were ever leased; beyond it all slots are untouched.
    pub(crate) frontier: AtomicU32,
    pub(crate) barrier: Barrier,
    gate: Option<Arc<dyn MemoryGate>>,
    /// Held while a chunk's memory is taken or given back.
    commit: Mutex<()>,
    /// Held while a chunk's free slots are in nobody's bitmap, because their memory goes back.
    giving: Mutex<()>,
    /// Read while slots move between bitmaps and leases, written by who must see where all of them
    /// are: see [`Shared::alone`]. The outermost lock.
    moving: RwLock<()>,
    generation_limit: AtomicU32,
    writers: Mutex<Registry>,
    pub(crate) committed_chunks: AtomicU64,
    pub(crate) restored_total: AtomicU64,
    retired_total: AtomicU64,
    given_back_total: AtomicU64,
    recalls_total: AtomicU64,
}

/// The living writers' leases, and what the others did before they ended.
#[derive(Default)]
struct Registry {
    leases: Vec<Arc<Lease>>,
    ended: Tally,
}

impl Shared {
    pub(crate) fn new(config: ArenaConfig) -> Result<Shared, ArenaError> {
        config.validate()?;
        let chunks = config.chunks();
        let memory = Reservation::new(chunks, config.huge_pages).map_err(|source| {
            ArenaError::Reserve { bytes: u64::from(chunks) * CHUNK_BYTES, source }
        })?;
        let ahead = Ahead::start(
            config.commit_ahead_bytes,
            chunks,
            memory.chunk_memory(),
            config.gate.clone(),
        );
        let headers = Chunks::new(chunks, 0);
        Ok(Shared {
            view: View::new(memory.slots(), &headers.headers),
            ahead,
            memory,
            chunks: headers,
            frontier: AtomicU32::new(0),
            barrier: Barrier::detect(),
            gate: config.gate,
            commit: Mutex::new(()),
            giving: Mutex::new(()),
            moving: RwLock::new(()),
            generation_limit: AtomicU32::new(u32::MAX),
            writers: Mutex::new(Registry::default()),
            committed_chunks: AtomicU64::new(0),
            restored_total: AtomicU64::new(0),
            retired_total: AtomicU64::new(0),
            given_back_total: AtomicU64::new(0),
            recalls_total: AtomicU64::new(0),
        })
    }

    /// A writer begins.
    pub(crate) fn register(&self, lease: &Arc<Lease>) {
        lock(&self.writers).leases.push(Arc::clone(lease));
    }

    /// The living writers' leases.
    pub(crate) fn leases(&self) -> Vec<Arc<Lease>> {
        lock(&self.writers).leases.clone()
    }

    /// See [`Arena::alert_writers`](crate::Arena::alert_writers).
    pub(crate) fn ring(&self) {
        Lease::ring_all(&self.leases(), self.barrier);
    }

    /// To be held while slots are in neither a bitmap nor a lease.
    pub(crate) fn moving(&self) -> RwLockReadGuard<'_, ()> {
        read(&self.moving)
    }

    /// While the guard lives no lease gains a slot and none is on its way: what is in no bitmap and
    /// idle in no lease is taken. So a search that finds nothing after a recall that found nothing is
    /// no false alarm: at the recall's end all leases were empty, and stay so.
    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        write(&self.moving)
    }

    /// See [`Arena::recall_idle`](crate::Arena::recall_idle).
    pub(crate) fn recall_idle(&self) -> u64 {
        let _moving = self.moving();
        self.recall()
    }

    /// For who holds a guard of `moving`.
    pub(crate) fn recall(&self) -> u64 {
        let leases = self.leases();
        let mut recalled = 0;
        for lease in leases {
            if let Some(unused) = lease.recall(self.barrier) {
                recalled += u64::from(unused.mask.count());
                if !mutants::on("core-recall-leaks-slots") {
                    self.put_back(unused);
                }
                self.recalls_total.fetch_add(1, Relaxed);
            }
        }
        recalled
    }

    pub(crate) fn stats(&self) -> ArenaStats {
        let tally = self.tally();
        let writers = lock(&self.writers).leases.len() as u64;
        let restored = self.restored_total.load(Acquire);
        let committed = self.committed_chunks.load(Acquire);
        let created = tally.begun.saturating_sub(tally.aborted);
        let live = (created + restored).saturating_sub(tally.deleted);
        let side_tables = self.chunks.wide() * u64::from(CHUNK_SLOTS) * 4;
        let ahead = self.ahead.as_ref().map(Ahead::stats).unwrap_or_default();
        let headers = size_of_val(&*self.chunks.headers) as u64;
        ArenaStats {
            reserved_bytes: self.memory.bytes(),
            committed_bytes: committed * CHUNK_BYTES,
            ahead_bytes: ahead.bytes,
            ahead_populated_total: ahead.populated_total,
            ahead_taken_over_total: ahead.taken_over_total,
            // The parts are not of one instant; no more can be alive than there is memory for.
            live_bytes: (live * size_of::<Token>() as u64).min(committed * CHUNK_BYTES),
            chunks: committed,
            leased_slots: tally.idle,
            writers,
            side_table_bytes: side_tables,
            overhead_bytes: headers + side_tables + committed * (BITMAP_WORDS * 8) as u64,
            created_total: created,
            aborted_total: tally.aborted,
            deleted_total: tally.deleted,
            restored_total: restored,
            retired_total: self.retired_total.load(Relaxed),
            given_back_total: self.given_back_total.load(Relaxed),
            recalls_total: self.recalls_total.load(Relaxed),
            generation_high: self.generation_high(),
        }
    }

    pub(crate) fn set_generation_limit(&self, limit: u32) {
        self.generation_limit.store(limit, Release);
    }

    pub(crate) fn generation_high(&self) -> u32 {
        let headers = &self.chunks.headers;
        headers.iter().map(|header| header.high.load(Acquire)).max().unwrap_or(0)
    }

    /// Takes up to `want` slots for a lease: from used groups with enough of them, from fresh ones, and
    /// only then from groups with few. Leases of a slot or two cost more than the slots; so the arena
    /// lets about 3 % of the used slots lie free before it takes them one by one.
    ///
    /// Says also whether they were never used since their chunk last had no memory. For who holds a
    /// guard of `moving`.
    pub(crate) fn take(&self, want: u32) -> Result<(u32, Mask, bool), CreateError> {
        let want = want.clamp(1, LEASE_SLOTS_MAX);
        loop {
            let least = want.min(LEAST_SLOTS);
            let any =
                || self.chunks.take(want, 1, true).or_else(|| self.chunks.take(want, 1, false));
            // Last with no chunk on its way back to the kernel, whose free slots are in no bitmap, and
            // with no hint being cleared.
            let settled = |with_memory| {
                let beside = mutants::on("core-full-beside-a-give-back");
                let _giving = (!beside).then(|| lock(&self.giving));
                self.chunks.settle().take(want, with_memory)
            };
            let found = self
                .chunks
                .take(want, least, true)
                .or_else(|| self.chunks.take(want, least, false))
                .or_else(|| self.take_fresh(want))
                .or_else(any)
                .or_else(|| settled(false));
            let Some((first, mask)) = found else {
                return Err(CreateError::Full { slots: u64::from(self.view.slot_count()) });
            };
            let prepared = match self.prepare(first, mask) {
                // No memory for a fresh chunk: what lies free in the others will do.
                Err(refused @ CreateError::Memory { .. }) => {
                    let found = self.chunks.take(want, 1, true).or_else(|| settled(true));
                    let (first, mask) = found.ok_or(refused)?;
                    self.prepare(first, mask).map(|prepared| (first, prepared))
                }
                prepared => prepared.map(|prepared| (first, prepared)),
            };
            let (first, (taken, untouched)) = prepared?;
            if taken != Mask::EMPTY {
                return Ok((first, taken, untouched));
            }
        }
    }

    /// A group that was never used; what is beyond `want` goes to its bitmap.
    fn take_fresh(&self, want: u32) -> Option<(u32, Mask)> {
        let groups = self.view.slot_count() / LEASE_SLOTS_MAX;
        let next = |at| if at < groups { Some(at + 1) } else { None };
        let group = self.frontier.fetch_update(AcqRel, Relaxed, next).ok()?;
        let mask = Mask::first(want);
        let first = group * LEASE_SLOTS_MAX;
        if let Some(ahead) = self.ahead.as_ref().filter(|_| first.is_multiple_of(CHUNK_SLOTS)) {
            ahead.entered(first / CHUNK_SLOTS);
        }
        self.chunks.free_group(first, &Mask::first(LEASE_SLOTS_MAX).without(&mask));
        Some((first, mask))
    }

    /// If the frontier lies inside a chunk whose used part is free, frees the rest of it too: so that
    /// the chunk can be taken whole.
    fn close_frontier(&self, chunk: u32) {
        let groups = CHUNK_SLOTS / LEASE_SLOTS_MAX;
        let (start, end) = (chunk * groups, (chunk + 1) * groups);
        let frontier = self.frontier.load(Acquire);
        let inside = start < frontier && frontier < end;
        if !inside
            || !self.chunks.is_free(start * LEASE_SLOTS_MAX, frontier * LEASE_SLOTS_MAX)
            || self.frontier.compare_exchange(frontier, end, AcqRel, Relaxed).is_err()
        {
            return;
        }
        for group in frontier..end {
            self.chunks.free_group(group * LEASE_SLOTS_MAX, &Mask::first(LEASE_SLOTS_MAX));
        }
    }

    /// Memory and generations for slots just taken. On an error they are free again.
    fn prepare(&self, first: u32, mask: Mask) -> Result<(Mask, bool), CreateError> {
        let header = &self.chunks.headers[(first / CHUNK_SLOTS) as usize];
        if !header.committed.load(Acquire) && !self.commit_chunk(first / CHUNK_SLOTS) {
            self.chunks.free_group(first, &mask);
            return Err(CreateError::Memory {
                bytes: CHUNK_BYTES,
                committed: self.committed_chunks.load(Acquire) * CHUNK_BYTES,
            });
        }
        let mut kept = mask;
        let high = header.high.load(SeqCst);
        if high > GENERATION_LAST {
            self.retire_used_up(first, &mut kept);
        }
        // Dead slots are at most at `high`, which is then even, or below it.
        let (needed, limit) = (high | 1, self.generation_limit.load(Acquire));
        if needed >= limit {
            self.chunks.free_group(first, &kept);
            return Err(CreateError::Generation { needed, limit });
        }
        header.high.fetch_max(needed, SeqCst);
        let group = group_bit(first);
        let untouched = header.untouched.fetch_and(!group, AcqRel) & group != 0;
        Ok((kept, untouched))
    }

    /// Takes those slots out of `kept` for good whose generations are used up.
    #[cold]
    fn retire_used_up(&self, first: u32, kept: &mut Mask) {
        let header = &self.chunks.headers[(first / CHUNK_SLOTS) as usize];
        for (word, left) in kept.0.iter_mut().enumerate() {
            let mut bits = *left;
            while bits != 0 {
                let index = first + word as u32 * 64 + bits.trailing_zeros();
                let head = self.view.slot(index).head_relaxed();
                if header.generation(index % CHUNK_SLOTS, head) > GENERATION_LAST {
                    *left &= !(bits & bits.wrapping_neg());
                    self.retired_total.fetch_add(1, Relaxed);
                }
                bits &= bits - 1;
            }
        }
    }

    /// Has the gate grant a chunk's memory, unless that was done ahead.
    fn charge(&self, chunk: u32) -> bool {
        if self.ahead.as_ref().is_some_and(|ahead| ahead.take_over(chunk)) {
            return true;
        }
        let Some(gate) = &self.gate else { return true };
        if gate.commit(CHUNK_BYTES) {
            return true;
        }
        // What is ahead of the writers must not be in their way.
        let Some(ahead) = &self.ahead else { return false };
        ahead.release();
        gate.commit(CHUNK_BYTES)
    }

    fn commit_chunk(&self, chunk: u32) -> bool {
        let header = &self.chunks.headers[chunk as usize];
        let _committing = lock(&self.commit);
        if header.committed.load(Acquire) {
            return true;
        }
        if !self.charge(chunk) {
            return false;
        }
        header.committed.store(true, Release);
        self.committed_chunks.fetch_add(1, AcqRel);
        true
    }

    pub(crate) fn give_back(&self, chunk: u32) -> u64 {
        if !Reservation::GIVES_BACK {
            return 0;
        }
        let _giving = lock(&self.giving);
        self.close_frontier(chunk); // its slots are in no bitmap for a moment
        if !self.chunks.take_whole(chunk) && !mutants::on("core-chunk-given-back-while-leased") {
            return 0;
        }
        let header = &self.chunks.headers[chunk as usize];
        let mut bytes = 0;
        let high = header.high.load(SeqCst);
        if high < GENERATION_LAST {
            header.rebase((high | 1) + 1);
            // Stamps of 0 under the new base, should the kernel keep the memory.
            bytes = self.release_chunk(chunk);
            if bytes == 0 {
                (0..CHUNK_SLOTS)
                    .for_each(|index| self.view.slot(chunk * CHUNK_SLOTS + index).kill(0));
            }
        }
        self.chunks.free_whole(chunk);
        bytes
    }

    fn release_chunk(&self, chunk: u32) -> u64 {
        if let Some(ahead) = &self.ahead {
            ahead.settle(chunk);
        }
        let _committing = lock(&self.commit);
        if self.memory.give_back(chunk).is_err() {
            return 0;
        }
        let header = &self.chunks.headers[chunk as usize];
        header.untouched.store(ALL_GROUPS, Release);
        header.committed.store(false, Release);
        self.committed_chunks.fetch_sub(1, AcqRel);
        self.given_back_total.fetch_add(1, Relaxed);
        if let Some(gate) = &self.gate {
            gate.uncommit(CHUNK_BYTES);
        }
        CHUNK_BYTES
    }

    /// Slots of a lease that were not used go back to their chunk. For who holds a guard of `moving`.
    pub(crate) fn put_back(&self, unused: Unused) {
        self.chunks.free_group(unused.first, &unused.mask);
    }

    /// Ends the token at `id`, whose writing bit the caller has taken by [`Shared::begin_edit`].
    #[inline]
    pub(crate) fn end(&self, id: TokenId) {
        let chunk = &self.chunks.headers[(id.slot() / CHUNK_SLOTS) as usize];
        self.kill(id.slot(), chunk, next_dead(id.generation(), chunk));
    }

    /// Ends a token whose writing bit the caller holds. The caller has made room for `dead`.
    pub(crate) fn kill(&self, index: u32, chunk: &Chunk, dead: u32) {
        let offset = dead - chunk.base();
        let bits = chunk.place(index % CHUNK_SLOTS, offset);
        self.view.slot(index).kill(bits);
        if chunk.high.load(Relaxed) < dead && !mutants::on("core-high-not-raised") {
            chunk.high.fetch_max(dead, SeqCst);
        }
        self.chunks.free(index);
        if mutants::on("core-slot-freed-twice") {
            self.chunks.free(index);
        }
    }

    /// Ends a write begun at `head` with a new token.
    pub(crate) fn replace(&self, id: TokenId, head: Head, token: &Token) {
        if head.wraps_next() && !mutants::on("core-epoch-not-raised-on-wrap") {
            let chunk = &self.chunks.headers[(id.slot() / CHUNK_SLOTS) as usize];
            chunk.epoch.fetch_add(1, AcqRel);
            fence(Release);
        }
        self.view.slot(id.slot()).finish(head, token.words());
    }

    /// Takes the writing bit of a live token and makes sure that it can be ended. Returns its head.
    #[inline]
    pub(crate) fn begin_edit(&self, id: TokenId) -> Option<Head> {
        let (slot, chunk) = self.view.locate(id.slot())?;
        let mut spins = 0;
        loop {
            match attempt_edit(slot, chunk, id, true) {
                EditAttempt::Begun(head) => return Some(head),
                EditAttempt::Gone => return None,
                EditAttempt::Busy => {}
            }
            pause(spins);
            spins += 1;
        }
    }

    /// [`Shared::begin_edit`] that waits for nobody and takes no lock.
    pub(crate) fn try_begin_edit(&self, id: TokenId) -> EditAttempt {
        match self.view.locate(id.slot()) {
            Some((slot, chunk)) => attempt_edit(slot, chunk, id, false),
            None => EditAttempt::Gone,
        }
    }

    /// Everything that writers did, the ended ones included.
    pub(crate) fn tally(&self) -> Tally {
        let registry = lock(&self.writers);
        let mut sum = registry.ended;
        for tally in registry.leases.iter().map(|lease| lease.tally()) {
            sum.begun += tally.begun;
            sum.aborted += tally.aborted;
            sum.deleted += tally.deleted;
            sum.idle += tally.idle;
        }
        sum
    }

    /// See [`Arena::len_consistent`](crate::Arena::len_consistent).
    ///
    /// With every lease's creates held up, the count of creates stands still. Deletes go on, one by
    /// one, while their cells are summed; so at some instant of the summing they were exactly the sum.
    pub(crate) fn count_at_one_instant(&self) -> u64 {
        let registry = lock(&self.writers);
        let held = Lease::hold_all(&registry.leases, self.barrier);
        let mut created = registry.ended.begun + self.restored_total.load(Acquire);
        let mut gone = registry.ended.aborted + registry.ended.deleted;
        for (lease, held) in registry.leases.iter().zip(&held) {
            let tally = lease.tally_held(held);
            created += tally.begun;
            gone += tally.aborted + tally.deleted;
        }
        created.saturating_sub(gone)
    }

    /// A writer ends; its lease is handed back already.
    pub(crate) fn retire_writer(&self, lease: &Arc<Lease>) {
        let mut registry = lock(&self.writers);
        let tally = lease.tally();
        registry.ended.begun += tally.begun;
        registry.ended.aborted += tally.aborted;
        registry.ended.deleted += tally.deleted;
        registry.leases.retain(|other| !Arc::ptr_eq(other, lease));
    }
}

/// What became of an attempt to take a token's writing bit.
#[derive(Clone, Copy)]
pub(crate) enum EditAttempt {
    Begun(Head),
    /// Somebody else has it, or the chunk needs a side table first, which takes a lock.
    Busy,
    /// No live token has the id.
    Gone,
}

#[inline(always)]
fn attempt_edit(slot: &Slot, chunk: &Chunk, id: TokenId, may_widen: bool) -> EditAttempt {
    let index = id.slot() % CHUNK_SLOTS;
    let head = slot.head();
    if !head.is_live() || chunk.generation(index, head) != id.generation() {
        return EditAttempt::Gone;
    }
    if head.is_writing() && (may_widen || !mutants::on("core-batch-takes-a-bit-twice")) {
        return EditAttempt::Busy;
    }
    let dead = next_dead(id.generation(), chunk);
    if !chunk.fits(dead.wrapping_sub(chunk.base())) {
        if !may_widen {
            return EditAttempt::Busy;
        }
        chunk.widen();
    }
    if !slot.begin(head) {
        return EditAttempt::Busy;
    }
    // The same head may have come round in a chunk that was given back meanwhile.
    if chunk.generation(index, head) == id.generation() {
        return EditAttempt::Begun(head);
    }
    slot.abort(head);
    EditAttempt::Gone
}

/// Generation of a slot after its token of generation `live` is deleted.
#[inline(always)]
pub(crate) fn next_dead(live: u32, chunk: &Chunk) -> u32 {
    if mutants::on("core-floor-ignored") {
        return live.saturating_add(1);
    }
    live.saturating_add(1).max(chunk.floor.load(Relaxed))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::chunks::view::Look;
    use crate::token::words::TOKEN_PART;
    use crate::writer::Writer;

    fn token(n: u32) -> Token {
        Token::builder().timestamp(n).build().unwrap()
    }

    /// One chunk, a writer, and a token in it.
    fn one_token() -> (Arc<Shared>, Writer, TokenId) {
        let config = ArenaConfig { max_slots: 1, ..ArenaConfig::default() };
        let shared = Arc::new(Shared::new(config).unwrap());
        let lease = Arc::new(Lease::new());
        shared.register(&lease);
        let mut writer = Writer::new(Arc::clone(&shared), lease);
        let id = writer.create(&token(0)).unwrap();
        (shared, writer, id)
    }

    /// A reader looks, `between` runs, and the reader copies the words: does it accept them?
    fn accepts(shared: &Shared, id: TokenId, between: impl FnOnce()) -> bool {
        let (slot, chunk) = shared.view.locate(id.slot()).unwrap();
        let look = Look::at(slot, chunk);
        assert!(look.head.is_live() && !look.head.is_writing());
        between();
        let after = slot.head();
        let accepted = look.finish(slot, chunk).is_some();
        assert!(!accepted || after == look.head, "words of another head were accepted");
        accepted
    }

    #[test]
    fn an_edit_that_is_dropped_leaves_the_slot_as_it_was() {
        let (shared, mut writer, id) = one_token();
        let head = shared.view.slot(id.slot()).head();
        drop(writer.edit(id).unwrap());
        assert_eq!(shared.view.slot(id.slot()).head(), head);
        let index = id.slot() + 1;
        let dead = shared.view.slot(index).head();
        drop(writer.begin().unwrap());
        assert_eq!(shared.view.slot(index).head(), dead);
    }

    #[test]
    fn a_reader_paused_across_exactly_one_version_wrap_starts_over() {
        let (shared, mut writer, id) = one_token();
        assert!(accepts(&shared, id, || ()), "nothing happened between");
        let head = shared.view.slot(id.slot()).head();
        let accepted = accepts(&shared, id, || {
            (1..=128).for_each(|n| writer.update(id, &token(n)).unwrap());
            let (old, new) =
                (head.0 & !TOKEN_PART, shared.view.slot(id.slot()).head().0 & !TOKEN_PART);
            assert_eq!(old, new, "128 writes bring the same version back");
        });
        assert!(!accepted, "words of the 128th write under the look of none");
    }

    #[test]
    fn a_reader_paused_across_exactly_one_generation_wrap_starts_over() {
        let (shared, mut writer, mut id) = one_token();
        // All other slots taken: each create reuses this one.
        while writer.create(&token(0)).is_ok() {}
        let head = shared.view.slot(id.slot()).head();
        let first = id;
        let accepted = accepts(&shared, first, || {
            for _ in 0..1 << 19 {
                writer.delete(id).unwrap();
                id = writer.create(&token(0)).unwrap();
            }
            assert_eq!(id.slot(), first.slot());
            assert_eq!(
                shared.view.slot(id.slot()).head(),
                head,
                "the same stamp, 2^20 generations on"
            );
        });
        assert!(!accepted, "a token of generation {} under the look of 1", id.generation());
    }

    #[test]
    fn a_reader_paused_across_a_give_back_starts_over() {
        let (shared, mut writer, id) = one_token();
        let head = shared.view.slot(id.slot()).head();
        let accepted = accepts(&shared, id, || {
            writer.delete(id).unwrap();
            writer.hand_back();
            assert!(shared.give_back(0) > 0);
            let again = writer.create(&token(0)).unwrap();
            assert_ne!(again, id);
            assert_eq!(
                shared.view.slot(again.slot()).head(),
                head,
                "the same stamp under another base"
            );
        });
        assert!(!accepted, "a token of the next base under the look of the first");
    }
}
