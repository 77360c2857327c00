//! Many tokens at once, for an owner who tells a log of all of them in one batch of records.
//!
//! A batch of creates has two steps. Slots are *set aside* first, from as many leases as it takes: they are
//! nobody else's, and a reader sees dead slots that nobody writes, so whatever has to be waited for is
//! waited for now. Then all are marked as being written, at once, and filled; between the two nothing
//! blocks. A batch of edits takes the writing bits of live tokens one by one and waits for none but the
//! first: two threads that take the same tokens in opposite order would wait for each other for ever.

use super::Writer;
use crate::chunks::slot::Head;
use crate::config::CHUNK_SLOTS;
use crate::error::NotFound;
use crate::id::TokenId;
use crate::lease::HeldCount;
use crate::shared::{EditAttempt, Shared};
use crate::token::Token;

impl Writer {
    /// Stores as many of `tokens` as it can until something is due or the run of free slots ends, and
    /// appends their ids to `ids`. Returns how many; 0: something is due, and [`Writer::begin`] or a create
    /// says what.
    pub fn create_run(
        &mut self,
        tokens: impl ExactSizeIterator<Item = Token>,
        ids: &mut Vec<TokenId>,
    ) -> usize {
        let position = self.next;
        let want = position.saturating_add(u32::try_from(tokens.len()).unwrap_or(u32::MAX));
        let end = self.lease.advance_to(position, want.min(self.run_end), self.barrier);
        if end <= position {
            return 0;
        }
        let count = (end - position) as usize;
        ids.reserve(count);
        for (position, token) in (position..end).zip(tokens) {
            // SAFETY: as in `fill`.
            let slot = unsafe { &*self.origin.add(position as usize) };
            let stamp = slot.fill(slot.head_relaxed(), token.words());
            ids.push(self.id_of(position, stamp));
        }
        self.go_to(end);
        count
    }

    /// Sets up to `want` slots aside for a batch of creates, until something is due. Returns how many;
    /// 0: see [`Writer::due`].
    ///
    /// They stay set aside until [`Writer::begin_set_aside`] or [`Writer::give_back_set_aside`], whatever
    /// else the writer does, and count as no tokens.
    pub fn set_aside(&mut self, want: usize) -> usize {
        if self.lease.rung() {
            return 0;
        }
        let want = self.next.saturating_add(u32::try_from(want).unwrap_or(u32::MAX));
        // At the stop its owner wants to be asked.
        let stop = if self.stop < self.next { u32::MAX } else { self.stop };
        self.set_aside_to(want.min(stop))
    }

    /// As [`Writer::set_aside`], the one slot at the stop; call it only after [`Due::Stop`](super::Due::Stop).
    /// Returns `false` if somebody took it back in between: then another lease is due.
    pub fn set_aside_due(&mut self) -> bool {
        let position = self.position_at_stop();
        self.set_aside_to(position + 1) > 0
    }

    fn set_aside_to(&mut self, end: u32) -> usize {
        let position = self.next;
        let end = end.min(self.run_end);
        if end <= position {
            return 0;
        }
        let end = self.lease.take_out(position, end);
        for index in self.first + position..self.first + end {
            // It stays what it is as long as the slot is nobody else's.
            self.set_aside.push((index, self.shared.view.slot(index).head_relaxed()));
        }
        if end > position {
            self.go_to(end);
        }
        end.saturating_sub(position) as usize
    }

    /// Slots that are set aside.
    pub fn count_set_aside(&self) -> usize {
        self.set_aside.len()
    }

    /// The ids that the tokens in the slots set aside will have, in order.
    pub fn ids_set_aside(&self) -> impl ExactSizeIterator<Item = TokenId> + '_ {
        self.set_aside.iter().map(|&(index, head)| {
            let header = &self.shared.chunks.headers[(index / CHUNK_SLOTS) as usize];
            TokenId::of_live(index, header.generation(index % CHUNK_SLOTS, head) + 1)
        })
    }

    /// Marks all slots that are set aside as being written. Their tokens appear with
    /// [`PendingBatch::commit`]; dropping that undoes the marks, and the slots are set aside as before.
    pub fn begin_set_aside(&mut self) -> PendingBatch<'_> {
        let Writer { set_aside, shared, lease, .. } = self;
        // Before the first mark, so that who counts waits for the batch and not the other way round.
        let count = lease.hold_count();
        for &(index, head) in &*set_aside {
            shared.view.slot(index).begin_dead(head);
        }
        PendingBatch { set_aside, shared, count, filled: 0 }
    }

    /// Gives the slots back that are set aside. Returns how many; their credits are the caller's.
    pub fn give_back_set_aside(&mut self) -> u32 {
        let count = self.set_aside.len() as u32;
        for (index, _) in self.set_aside.drain(..) {
            self.shared.chunks.free(index);
        }
        count
    }

    /// The right to write up to `most` live tokens at once: see [`Edits::add`].
    pub fn edits(&mut self, most: usize) -> Edits<'_> {
        // All of it now: nothing is allocated while a writing bit is held.
        Edits { open: Vec::with_capacity(most), done: 0, writer: self }
    }

    /// The positions before `end` are used.
    fn go_to(&mut self, end: u32) {
        self.next = end;
        if end == self.run_end {
            self.enter_run(end);
        }
    }
}

/// A batch of creates in progress: its slots are marked, no token is visible yet.
///
/// Dropping it sets the slots aside again.
pub struct PendingBatch<'w> {
    set_aside: &'w mut Vec<(u32, Head)>,
    shared: &'w Shared,
    count: HeldCount<'w>,
    filled: usize,
}

impl PendingBatch<'_> {
    /// Makes the tokens visible, one in each slot, in order. Slots without one are set aside again.
    pub fn commit(mut self, tokens: impl Iterator<Item = Token>) {
        for (&(index, head), token) in self.set_aside.iter().zip(tokens) {
            self.shared.view.slot(index).fill(head, token.words());
            self.filled += 1;
        }
    }
}

impl Drop for PendingBatch<'_> {
    fn drop(&mut self) {
        for &(index, head) in &self.set_aside[self.filled..] {
            self.shared.view.slot(index).abort(head);
        }
        self.count.add_created(self.filled as u64);
        self.set_aside.drain(..self.filled);
    }
}

/// The sole right to write some live tokens. Dropping it changes nothing in those that are left.
pub struct Edits<'w> {
    writer: &'w mut Writer,
    open: Vec<(TokenId, Head)>,
    /// How many are written.
    done: usize,
}

impl Edits<'_> {
    /// Takes the sole right to write the token at `id` too; readers of it wait until it is given up. The
    /// first may wait for another writer of that token, as [`Writer::edit`]; for the others nobody waits.
    ///
    /// Returns `false` if it was not taken: there are as many as were asked for, or it would have to be
    /// waited for, as for an id that is here already. Errors: the id is stale.
    pub fn add(&mut self, id: TokenId) -> Result<bool, NotFound> {
        if self.open.len() == self.open.capacity() {
            return Ok(false);
        }
        let shared = &self.writer.shared;
        let head = if self.open.is_empty() {
            shared.begin_edit(id).ok_or(NotFound)?
        } else {
            match shared.try_begin_edit(id) {
                EditAttempt::Begun(head) => head,
                EditAttempt::Busy => return Ok(false),
                EditAttempt::Gone => return Err(NotFound),
            }
        };
        self.open.push((id, head));
        Ok(true)
    }

    /// How many tokens are held, the written ones included.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The token added last, as it is; `None` without one.
    pub fn last(&self) -> Option<Token> {
        let (id, _) = self.open.last()?;
        Some(self.writer.shared.view.slot(id.slot()).current())
    }

    /// Gives the token added last up again, unchanged.
    pub fn forget_last(&mut self) {
        if self.open.len() > self.done
            && let Some((id, head)) = self.open.pop()
        {
            self.writer.shared.view.slot(id.slot()).abort(head);
        }
    }

    /// Replaces the first token that is not written yet. Does nothing if all are.
    pub fn replace_next(&mut self, token: &Token) {
        if let Some(&(id, head)) = self.open.get(self.done) {
            self.done += 1;
            self.writer.shared.replace(id, head, token);
        }
    }

    /// Removes the first token that is not written yet, and frees its slot. Does nothing if all are.
    pub fn delete_next(&mut self) {
        if let Some(&(id, _)) = self.open.get(self.done) {
            self.done += 1;
            self.writer.shared.end(id);
            self.writer.lease.count_deleted();
        }
    }
}

impl Drop for Edits<'_> {
    fn drop(&mut self) {
        for (id, head) in &self.open[self.done..] {
            self.writer.shared.view.slot(id.slot()).abort(*head);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use crate::{Arena, ArenaConfig, CHUNK_SLOTS, Due, NotFound, Token, TokenId, Writer};

    fn token(n: u32) -> Token {
        Token::builder().timestamp(n + 1).build().unwrap()
    }

    fn arena(max_slots: u32) -> Arena {
        let max_slots = max_slots.into();
        Arena::new(ArenaConfig { max_slots, ..ArenaConfig::default() }).unwrap()
    }

    /// `count` slots set aside, from as many leases as that takes.
    fn set_aside(writer: &mut Writer, count: usize) {
        while writer.count_set_aside() < count {
            let want = count - writer.count_set_aside();
            if writer.set_aside(want) == 0 {
                match writer.due() {
                    Due::Lease => drop(writer.lease(1024).unwrap()),
                    Due::Bell => writer.resume(),
                    Due::Stop => drop(writer.set_aside_due()),
                }
            }
        }
    }

    #[test]
    fn runs_of_creates_are_creates_and_end_where_something_is_due() {
        let arena = arena(4_096);
        let mut writer = arena.writer();
        let mut ids = Vec::new();
        let mut run = |writer: &mut Writer, from: u32, count: u32| {
            writer.create_run((from..from + count).map(token), &mut ids)
        };
        assert_eq!(run(&mut writer, 0, 10), 0);
        assert_eq!(writer.due(), Due::Lease);
        writer.lease(1024).unwrap();
        assert_eq!(run(&mut writer, 0, 10), 10);
        writer.stop_after(5);
        assert_eq!(run(&mut writer, 10, 100), 5);
        assert_eq!((run(&mut writer, 15, 100), writer.due()), (0, Due::Stop));
        writer.stop_after(u64::MAX);
        arena.alert_writers();
        // A bell takes nothing, and whoever has begun goes on.
        assert_eq!((run(&mut writer, 15, 1), writer.due()), (0, Due::Bell));
        writer.resume();
        assert_eq!(run(&mut writer, 15, 2_000), 1_024 - 15);
        assert_eq!((run(&mut writer, 1_024, 1), writer.due()), (0, Due::Lease));
        assert_eq!((ids.len(), arena.len()), (1_024, 1_024));
        for (n, id) in (0..).zip(&ids) {
            assert_eq!(arena.get(*id), Some(token(n)));
        }
    }

    #[test]
    fn a_batch_of_creates_from_two_leases_appears_at_once_and_counts_from_then_on() {
        let arena = arena(4_096);
        let mut writer = arena.writer();
        set_aside(&mut writer, 1_500);
        let ids: Vec<TokenId> = writer.ids_set_aside().collect();
        assert_eq!((ids.len(), arena.len(), arena.stats().created_total), (1_500, 0, 0));
        assert!(ids.iter().all(|id| arena.get(*id).is_none()));
        let pending = writer.begin_set_aside();
        assert!(ids.iter().all(|id| arena.get(*id).is_none()), "a reader waits for no dead slot");
        drop(pending);
        assert_eq!((writer.count_set_aside(), arena.len()), (1_500, 0));
        assert_eq!(arena.stats().aborted_total, 0, "nothing was created");
        assert!(ids.iter().copied().eq(writer.ids_set_aside()), "the same slots");
        writer.begin_set_aside().commit((0..1_500).map(token));
        assert_eq!((writer.count_set_aside(), arena.len()), (0, 1_500));
        for (n, id) in (0..).zip(&ids) {
            assert_eq!(arena.get(*id), Some(token(n)));
        }
        let single = writer.create(&token(9)).unwrap();
        assert!(!ids.contains(&single));
    }

    #[test]
    fn a_commit_of_fewer_tokens_keeps_the_other_slots_aside() {
        let arena = arena(1_024);
        let mut writer = arena.writer();
        set_aside(&mut writer, 3);
        let ids: Vec<TokenId> = writer.ids_set_aside().collect();
        writer.begin_set_aside().commit((0..2).map(token));
        assert_eq!((writer.count_set_aside(), arena.len()), (1, 2));
        assert!(writer.ids_set_aside().eq(ids[2..].iter().copied()));
        assert_eq!(writer.give_back_set_aside(), 1);
        assert_eq!(arena.get(ids[2]), None);
    }

    #[test]
    fn slots_set_aside_are_lost_by_no_recall_no_new_lease_and_no_drop() {
        let arena = arena(1_024);
        let mut writer = arena.writer();
        set_aside(&mut writer, 100);
        assert_eq!(arena.recall_idle(), 924);
        let mut other = arena.writer();
        let fill = |other: &mut Writer| {
            let ids: Vec<TokenId> = (0..).map_while(|n| other.create(&token(n)).ok()).collect();
            ids
        };
        let taken = fill(&mut other);
        assert_eq!(taken.len(), CHUNK_SLOTS as usize - 100);
        assert!(writer.ids_set_aside().all(|id| !taken.contains(&id)));
        assert_eq!(writer.hand_back(), 100, "what is set aside is not filled either");
        set_aside(&mut writer, 60);
        drop(writer);
        assert_eq!(fill(&mut other).len(), 100);
        assert_eq!(arena.len(), u64::from(CHUNK_SLOTS));
    }

    #[test]
    fn a_stop_is_met_in_a_batch_where_it_was_set() {
        let arena = arena(4_096);
        let mut writer = arena.writer();
        writer.lease(1024).unwrap();
        writer.stop_after(10);
        assert_eq!(writer.set_aside(100), 10);
        assert_eq!((writer.set_aside(100), writer.due()), (0, Due::Stop));
        assert!(writer.set_aside_due());
        writer.stop_after(2_000);
        assert_eq!(writer.set_aside(5_000), 1_013);
        assert_eq!((writer.left_to_stop(), writer.count_set_aside()), (987, 1_024));
    }

    #[test]
    fn a_batch_of_edits_takes_no_token_twice_and_gives_up_what_it_did_not_write() {
        let arena = arena(1_024);
        let (mut writer, mut other) = (arena.writer(), arena.writer());
        let ids: Vec<TokenId> = (0..4).map(|n| writer.create(&token(n)).unwrap()).collect();
        let held = other.edit(ids[3]).unwrap();
        let mut edits = writer.edits(10);
        assert_eq!((edits.add(ids[0]), edits.last()), (Ok(true), Some(token(0))));
        assert_eq!(edits.add(ids[0]), Ok(false), "its own bit");
        assert_eq!(edits.add(ids[1]), Ok(true));
        assert_eq!(edits.add(ids[3]), Ok(false), "another's bit");
        drop(held);
        assert_eq!((edits.add(ids[2]), edits.add(ids[3])), (Ok(true), Ok(true)));
        edits.replace_next(&token(77));
        edits.delete_next();
        edits.forget_last();
        assert_eq!(edits.len(), 3);
        drop(edits);
        let now: Vec<_> = ids.iter().map(|id| arena.get(*id)).collect();
        assert_eq!(now, [Some(token(77)), None, Some(token(2)), Some(token(3))]);
        let mut edits = writer.edits(2);
        assert_eq!(edits.add(ids[1]), Err(NotFound));
        assert_eq!((edits.add(ids[2]), edits.add(ids[3])), (Ok(true), Ok(true)), "free again");
        assert_eq!(edits.add(ids[0]), Ok(false), "two were asked for");
        (0..3).for_each(|_| edits.delete_next());
        drop(edits);
        assert_eq!((arena.len(), arena.stats().deleted_total), (1, 3));
    }
}
