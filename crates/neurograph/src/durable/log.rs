//! The store's side of the log: waiting for room outside of any token's writing bit, and the generation ceiling.

use crate::format;
use ng_core::Arena;
use ng_wal::{AppendError, Durability, Full, Lsn, WaitError, Wal};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Generations that one durable announcement covers. Small: each unclean restart skips what is left of it.
const CEILING_STEP: u32 = 4_096;

/// An open log and how it is used.
pub(crate) struct Log {
    pub(crate) wal: Wal,
    pub(crate) level: Durability,
    full_timeout: Duration,
    sync_timeout: Duration,
    bytes_max: u64,
    /// The ceiling in force and one that was appended and is not durable yet.
    ceiling: Mutex<Ceiling>,
}

struct Ceiling {
    in_force: u32,
    coming: Option<(u32, Lsn)>,
}

impl Log {
    pub(crate) fn new(wal: Wal, config: &crate::config::WalSection, ceiling: u32) -> Log {
        Log {
            wal,
            level: config.durability,
            full_timeout: config.full_timeout,
            sync_timeout: config.sync_timeout,
            bytes_max: config.log_bytes_max,
            ceiling: Mutex::new(Ceiling { in_force: ceiling, coming: None }),
        }
    }

    /// Waits until there may be room for what was refused, unless `begun` is longer ago than such a
    /// wait may last: then the operation is refused, and counted once, however often it asked.
    ///
    /// Errors: how long was waited in all.
    pub(crate) fn wait_for_room(&self, full: &Full, begun: Instant) -> Result<(), Duration> {
        match self.wal.wait_for_room(full, begun + self.full_timeout) {
            true => Ok(()),
            false => Err(begun.elapsed()),
        }
    }

    /// Appends one of the store's own records; `reserved` lets it use the log's last part, so that a full log
    /// still closes. Waits at most `full_timeout`, and a second at least.
    pub(crate) fn append_own(
        &self,
        kind: u8,
        payload: &[u8],
        reserved: bool,
    ) -> Result<Lsn, AppendError> {
        let until = Instant::now() + self.full_timeout.max(Duration::from_secs(1));
        loop {
            match self.wal.attempt(kind, payload, reserved) {
                Err(AppendError::Full(full)) if self.wal.wait_for_room(&full, until) => {}
                other => return other,
            }
        }
    }

    /// Bytes of the log and their limit.
    pub(crate) fn used_and_limit(&self) -> (u64, u64) {
        (self.wal.stats().log_bytes, self.bytes_max)
    }

    /// Brings a record to `level`. Blocks at Strict only.
    pub(crate) fn reach(&self, lsn: Lsn, level: Durability) -> Result<(), WaitError> {
        match self.wal.reach(lsn, level) {
            Ok(_) => Ok(()),
            Err(AppendError::DurabilityUnknown { cause, .. }) => Err(cause),
            // `reach` appends nothing, so it has no other way to fail.
            Err(_) => Err(WaitError::TimedOut {
                lsn,
                durable_lsn: self.wal.durable_lsn(),
                waited: self.sync_timeout,
                refused: None,
            }),
        }
    }

    /// Makes ids up to above `needed` durable to hand out, and lets the arena do so. Blocks on the disk.
    ///
    /// An announcement that is not durable in time stays on its way: the next call waits for it, and
    /// makes no other.
    pub(crate) fn raise_ceiling(&self, arena: &Arena, needed: u32) -> Result<(), AppendError> {
        loop {
            let lsn = {
                let mut ceiling = self.ceiling.lock();
                self.settle(&mut ceiling, arena);
                match ceiling.coming {
                    _ if ceiling.in_force > needed => return Ok(()),
                    Some((_, lsn)) => lsn,
                    None => {
                        let next = needed.max(ceiling.in_force).saturating_add(CEILING_STEP);
                        let lsn =
                            self.append_own(format::CEILING, &format::generation(next), false)?;
                        ceiling.coming = Some((next, lsn));
                        lsn
                    }
                }
            };
            // Without the lock: each waits for its own time, not for that of all before it.
            self.wait_for_announcement(lsn)
                .map_err(|cause| AppendError::DurabilityUnknown { lsn, cause })?;
        }
    }

    /// Waits for a slow disk as long as any sync may take, for one that refuses the write as long as for room.
    fn wait_for_announcement(&self, lsn: Lsn) -> Result<(), WaitError> {
        let begun = Instant::now();
        let slice = self.full_timeout.clamp(Duration::from_millis(1), self.sync_timeout);
        loop {
            match self.wal.wait_durable(lsn, slice) {
                Err(WaitError::TimedOut { refused: None, .. })
                    if begun.elapsed() < self.sync_timeout => {}
                other => return other,
            }
        }
    }

    /// Puts an announcement into force that has become durable.
    fn settle(&self, ceiling: &mut Ceiling, arena: &Arena) {
        if let Some((next, lsn)) = ceiling.coming
            && self.wal.durable_lsn() >= lsn
        {
            (ceiling.in_force, ceiling.coming) = (next, None);
            arena.set_generation_limit(next);
        }
    }

    /// Announces ids up to above `needed`, if the log has room, without waiting for the disk: so that the
    /// first create finds the announcement made. A log without room opens nevertheless, and stays as it is.
    pub(crate) fn announce(&self, needed: u32) {
        let mut ceiling = self.ceiling.lock();
        let next = needed.saturating_add(CEILING_STEP);
        // Full or failed: the create that needs it will say so.
        if let Ok(lsn) = self.wal.try_append(format::CEILING, &format::generation(next)) {
            ceiling.coming = Some((next, lsn));
        }
    }

    /// Keeps the ceiling at least half a step above what is in use, without blocking.
    pub(crate) fn keep_ceiling_ahead(&self, arena: &Arena) {
        let Some(mut ceiling) = self.ceiling.try_lock() else { return };
        self.settle(&mut ceiling, arena);
        if ceiling.coming.is_some() {
            return;
        }
        if arena.generation_high().saturating_add(CEILING_STEP / 2) > ceiling.in_force {
            let next = ceiling.in_force.saturating_add(CEILING_STEP);
            // Full or failed: the create that needs it will say so.
            if let Ok(lsn) = self.wal.attempt(format::CEILING, &format::generation(next), false) {
                ceiling.coming = Some((next, lsn));
            }
        }
    }

    /// The ceiling is at least half a step above `floor`, so no announcement is needed before the first create.
    pub(crate) fn covers(&self, floor: u32) -> bool {
        self.ceiling.lock().in_force >= floor.saturating_add(CEILING_STEP / 2)
    }
}
