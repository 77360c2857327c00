//! Replay: the log's records applied to an empty arena, under the ids they had.

use crate::config::Config;
use crate::error::OpenError;
use crate::format::{self, Operation};
use ng_core::{Arena, Restored, Restorer, TokenId};
use ng_wal::{RecordRef, Records, Recovery};

/// So many records ahead, slots are asked for: about as many as a core has on their way at a time.
const LOOK_AHEAD: usize = 12;

/// A frame with fewer jumps than this is left to the processor's own foresight.
const JUMPS_MIN: u32 = 32;

/// What the replay of a whole log gave.
pub(crate) struct Replayed {
    pub(crate) arena: Arena,
    pub(crate) restored: Restored,
    /// Records applied.
    pub(crate) records: u64,
    /// The highest generation that the log announced.
    pub(crate) ceiling: u32,
    /// No id below it may be handed out.
    pub(crate) floor: u32,
    /// The log's last record is that of a clean close.
    pub(crate) clean: bool,
}

/// The arena as the records seen so far have filled it.
pub(crate) struct Replay {
    arena: Arena,
    restorer: Restorer,
    records: u64,
    ceiling: u32,
    newest: u32,
    /// The slot after the last one, and how often another came in this frame.
    next_slot: u32,
    jumps: u32,
    /// The generation that a clean close named, if the last record is one.
    closed_at: Option<u32>,
    /// Why it went no further.
    stopped: Option<Stopped>,
}

enum Stopped {
    /// A slot beyond the arena's end.
    NoRoom(u32),
    Record(OpenError),
}

impl Replay {
    pub(crate) fn new(arena: Arena) -> Replay {
        let restorer = arena.restorer();
        Replay {
            arena,
            restorer,
            records: 0,
            ceiling: 0,
            newest: 0,
            next_slot: 0,
            jumps: 0,
            closed_at: None,
            stopped: None,
        }
    }

    /// Applies the records of a frame. Where those of the frame before named slots in no order, slots are
    /// asked for ahead: one after the other, each would be waited for.
    pub(crate) fn apply_all(&mut self, records: Records<'_>) {
        if std::mem::take(&mut self.jumps) < JUMPS_MIN {
            return records.for_each(|record| self.apply(record));
        }
        let mut later = records.clone().skip(LOOK_AHEAD).filter_map(|r| format::id_of(r.payload));
        for record in records {
            if let Some(id) = later.next() {
                self.restorer.prefetch(id);
            }
            self.apply(record);
        }
    }

    /// Applies the next record; nothing any more once it has stopped.
    #[inline]
    fn apply(&mut self, record: RecordRef<'_>) {
        if self.stopped.is_none() {
            self.stopped = self.try_apply(record).err();
        }
    }

    #[inline]
    fn try_apply(&mut self, record: RecordRef<'_>) -> Result<(), Stopped> {
        let operation = format::decode(record.kind, record.payload).map_err(|found| {
            let (lsn, kind, bytes) = (record.lsn, record.kind, record.payload.len());
            Stopped::Record(OpenError::Record { lsn, kind, bytes, found })
        })?;
        self.records += 1;
        self.closed_at = None;
        match operation {
            Operation::Put(id, token) => {
                self.newest = self.newest.max(id.generation());
                self.note_slot(id);
                self.restorer.put(id, &token).map_err(|_| Stopped::NoRoom(id.slot()))?;
            }
            // A put that recovery has not seen was one of a generation gone since: records converge.
            Operation::Delete(id) => {
                self.note_slot(id);
                self.restorer.delete(id);
            }
            Operation::Ceiling(generation) => self.ceiling = self.ceiling.max(generation),
            Operation::Clean(generation) => self.closed_at = Some(generation),
        }
        Ok(())
    }

    #[inline(always)]
    fn note_slot(&mut self, id: TokenId) {
        self.jumps += u32::from(id.slot() != self.next_slot);
        self.next_slot = id.slot().wrapping_add(1);
    }

    /// What is there when all records of `recovery` were applied. Where they were not, they are applied
    /// anew, to an arena that `make` gives with room for so many slots. Ids begin above `known_generation` too.
    pub(crate) fn finish(
        mut self,
        recovery: &Recovery,
        known_generation: u32,
        make: impl Fn(u64) -> Result<Arena, OpenError>,
    ) -> Result<Replayed, OpenError> {
        if !recovery.replayed {
            self = Replay::again(make(0)?, recovery)?;
        }
        let mut slots = 0;
        loop {
            match self.stopped.take() {
                None => return Ok(self.end(recovery.sealed, known_generation)),
                Some(Stopped::Record(error)) => return Err(error),
                // The store held more than the present settings reserve: it opens nevertheless.
                Some(Stopped::NoRoom(slot)) => slots = (u64::from(slot) + 1).max(slots * 2),
            }
            self = Replay::again(make(slots)?, recovery)?;
        }
    }

    fn again(arena: Arena, recovery: &Recovery) -> Result<Replay, OpenError> {
        let mut replay = Replay::new(arena);
        let mut reader = recovery.replay();
        while replay.stopped.is_none()
            && let Some(record) = reader.next_ref()
        {
            replay.apply(record?);
        }
        Ok(replay)
    }

    fn end(self, sealed: bool, known_generation: u32) -> Replayed {
        let clean = sealed && self.closed_at.is_some();
        let floor = match self.closed_at {
            Some(generation) if clean => generation.saturating_add(1),
            _ => self.ceiling,
        };
        let newest = self.newest.max(known_generation);
        let floor = floor.max(newest.saturating_add(u32::from(newest != 0)));
        let restored = self.restorer.finish(floor);
        let (arena, records, ceiling) = (self.arena, self.records, self.ceiling);
        Replayed { arena, restored, records, ceiling, floor, clean }
    }
}

impl Config {
    /// An empty arena with room for at least `slots`.
    pub(crate) fn arena(
        &self,
        slots: u64,
        gate: std::sync::Arc<dyn ng_core::MemoryGate>,
    ) -> Result<Arena, OpenError> {
        let mut config = self.arena_config(slots);
        config.gate = Some(gate);
        Ok(Arena::new(config)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use ng_core::{ArenaConfig, Token};
    use ng_wal::{Wal, WalConfig};

    const TOKENS: u64 = 40_000;

    /// A closed store of so many tokens, opened as the store does up to the replay's end.
    fn replayed(slots_at_first: u64, shown: bool) -> Replayed {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Config::default()).unwrap();
        let mut session = store.session();
        for number in 0..TOKENS {
            let token = Token::builder().weight(number as f32 / TOKENS as f32).build().unwrap();
            session.create(&token).unwrap();
        }
        drop(session);
        store.close().unwrap();
        let make = |slots: u64| {
            let mut config = ArenaConfig::default();
            config.max_slots = slots.max(slots_at_first);
            Ok(Arena::new(config)?)
        };
        let mut replay = Replay::new(make(0).unwrap());
        let visit = |records: Records<'_>| replay.apply_all(records);
        let (_wal, mut recovery) =
            Wal::open_replaying(dir.path().join("wal"), WalConfig::default(), visit).unwrap();
        assert!(recovery.replayed);
        recovery.replayed = shown;
        if !shown {
            // What was shown must not count; here it even was too much.
            replay.stopped = None;
            replay.ceiling = u32::MAX;
        }
        replay.finish(&recovery, 0, make).unwrap()
    }

    fn check(replayed: &Replayed) {
        assert_eq!(replayed.restored.tokens, TOKENS);
        assert!(replayed.clean && replayed.ceiling < u32::MAX);
        let mut found: Vec<_> = replayed.arena.iter().map(|(_, token)| token.weight()).collect();
        found.sort_unstable_by(f32::total_cmp);
        assert!(found.into_iter().eq((0..TOKENS).map(|number| number as f32 / TOKENS as f32)));
    }

    #[test]
    fn records_shown_at_the_open_are_the_store() {
        check(&replayed(100_000, true));
    }

    #[test]
    fn what_does_not_count_is_replayed_into_a_new_arena() {
        check(&replayed(100_000, false));
    }

    #[test]
    fn a_store_that_outgrew_its_settings_is_replayed_into_a_larger_arena() {
        check(&replayed(1, true));
        check(&replayed(1, false));
    }
}
