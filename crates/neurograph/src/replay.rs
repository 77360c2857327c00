//! Replay: the log's records applied to an empty arena, under the ids they had.

use crate::config::Config;
use crate::error::OpenError;
use crate::format::{self, Operation};
use ng_core::{Arena, Restored};
use ng_wal::Recovery;

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

/// Builds the arena from the log. `make` gives an empty one with room for so many slots.
pub(crate) fn replay(
    recovery: &Recovery,
    make: impl Fn(u64) -> Result<Arena, OpenError>,
) -> Result<Replayed, OpenError> {
    let mut slots = 0;
    loop {
        let arena = make(slots)?;
        match replay_into(&arena, recovery)? {
            Ok(replayed) => return Ok(replayed),
            // The store held more than the present settings reserve: it opens nevertheless.
            Err(slot) => slots = (u64::from(slot) + 1).max(slots * 2),
        }
    }
}

/// The inner error is a slot beyond the arena's end.
fn replay_into(arena: &Arena, recovery: &Recovery) -> Result<Result<Replayed, u32>, OpenError> {
    let mut restorer = arena.restorer();
    let (mut records, mut ceiling, mut newest) = (0, 0, 0);
    let mut closed_at = None;
    let mut reader = recovery.replay();
    while let Some(record) = reader.next_ref() {
        let record = record?;
        let operation = format::decode(record.kind, record.payload).map_err(|found| {
            let (lsn, kind, bytes) = (record.lsn, record.kind, record.payload.len());
            OpenError::Record { lsn, kind, bytes, found }
        })?;
        records += 1;
        closed_at = None;
        match operation {
            Operation::Put(id, token) => {
                newest = newest.max(id.generation());
                if restorer.put(id, &token).is_err() {
                    return Ok(Err(id.slot()));
                }
            }
            // A put that recovery has not seen was one of a generation gone since: records converge.
            Operation::Delete(id) => {
                restorer.delete(id);
            }
            Operation::Ceiling(generation) => ceiling = ceiling.max(generation),
            Operation::Clean(generation) => closed_at = Some(generation),
        }
    }
    let clean = recovery.sealed && closed_at.is_some();
    let floor = match closed_at {
        Some(generation) if clean => generation.saturating_add(1),
        _ => ceiling,
    };
    let floor = floor.max(newest.saturating_add(u32::from(newest != 0)));
    let restored = restorer.finish(floor);
    Ok(Ok(Replayed { arena: arena.clone(), restored, records, ceiling, floor, clean }))
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
