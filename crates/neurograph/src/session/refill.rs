//! A new lease: slots with their credits, their memory and their ids.

use super::Session;
use crate::error::{CreateError, Stuck};
use crate::inner::Inner;
use crate::mutants;
use ng_core::LEASE_SLOTS_MAX;
use ng_wal::{AppendError, WaitError};
use parking_lot::RwLockReadGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

impl Session {
    /// New slots, with their credits, memory and ids.
    pub(super) fn refill(&mut self) -> Result<(), CreateError> {
        let inner = Arc::clone(&self.inner);
        if inner.is_cleaning_here() {
            // Else it would take what was just made free, and wait for the cleanup that waits for it.
            return Err(CreateError::Evicting);
        }
        let stop = || inner.status.check().is_err();
        let mut cleanups_in_vain = 0;
        inner.asked_for_room.store(true, Relaxed);
        let mut ceiling_raised = false;
        if inner.guardian.cleanup_before_admission() {
            inner.clean_up(&stop);
        }
        loop {
            let seen = inner.cleaning.steps();
            let refused = match inner.reserve() {
                Ok((leasing, credits)) => match self.writer.lease(credits) {
                    Ok(slots) => {
                        inner.guardian.release_unused(u64::from(credits.saturating_sub(slots)));
                        drop(leasing);
                        mutants::slow_down(&inner, slots);
                        return Ok(());
                    }
                    Err(error) => {
                        inner.guardian.release_unused(u64::from(credits));
                        drop(leasing);
                        match error {
                            ng_core::CreateError::Generation { needed, .. } if !ceiling_raised => {
                                // At most one wait: the next announcement covers a whole step.
                                ceiling_raised = true;
                                self.raise_ceiling(needed)?;
                                continue;
                            }
                            // Slots that lie idle in others' leases need no new memory.
                            _ if inner.guardian.recall_idle() > 0 => continue,
                            ng_core::CreateError::Memory { bytes, .. } => {
                                inner.memory_refusal(bytes)
                            }
                            _ => CreateError::ArenaFull {
                                slots: inner.arena.stats().reserved_bytes / 64,
                            },
                        }
                    }
                },
                Err(
                    refused @ (CreateError::ReadOnly { .. }
                    | CreateError::Closed
                    | CreateError::Forked { .. }),
                ) => return Err(refused),
                Err(refused) => refused,
            };
            if !inner.guardian.config().enable_aggressive_cleanup {
                return Err(refused);
            }
            match inner.clean_up(&stop) {
                None => inner.cleaning.wait_past(seen),
                Some(report) if report.evicted > 0 => cleanups_in_vain = 0,
                Some(report) if report.skipped => return Err(refused),
                // One that found nothing to do may have begun when another had made room.
                Some(_) => cleanups_in_vain += 1,
            }
            if cleanups_in_vain == 2 {
                return Err(refused);
            }
        }
    }

    fn raise_ceiling(&mut self, needed: u32) -> Result<(), CreateError> {
        let Some(log) = &self.inner.log else { return Ok(()) };
        let begun = Instant::now();
        match log.raise_ceiling(&self.inner.arena, needed) {
            Ok(()) => Ok(()),
            Err(AppendError::DurabilityUnknown {
                lsn,
                cause: cause @ WaitError::TimedOut { .. },
            }) => Err(CreateError::IdsNotDurable { lsn, cause }),
            Err(error) => Err(Stuck::of(error, begun.elapsed(), Some(log)).into()),
        }
    }
}

impl Inner {
    /// Credits for a lease. No recall misses them while the guard is held, and a store that closes
    /// waits for it: hold it until they are in the lease or released.
    fn reserve(&self) -> Result<(RwLockReadGuard<'_, ()>, u32), CreateError> {
        let leasing = self.status.leasing.read();
        self.status.check()?;
        if let Some(granted) = self.guardian.try_reserve(LEASE_SLOTS_MAX) {
            return Ok((leasing, granted.credits));
        }
        drop(leasing); // the guardian asks the leases, and that waits for this lock
        let granted = self.guardian.reserve(1)?;
        let leasing = self.status.leasing.read();
        if let Err(barred) = self.status.check() {
            self.guardian.release_unused(u64::from(granted.credits));
            return Err(barred.into());
        }
        Ok((leasing, granted.credits))
    }

    /// The guardian's word on memory that it refused a moment ago.
    fn memory_refusal(&self, bytes: u64) -> CreateError {
        let stats = self.guardian.stats();
        CreateError::MemoryExceeded {
            limit: stats.max_memory_bytes.unwrap_or(u64::MAX),
            used: stats.committed_bytes,
            requested: bytes,
        }
    }
}
