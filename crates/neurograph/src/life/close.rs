//! Closing: no lease is taken, then none is left, then the log gets its last record and its seal.

use crate::error::CloseError;
use crate::inner::Inner;
use crate::observe::{SYSTEM_STOPPED, note};
use crate::{format, mutants};
use ng_blackbox::Severity;
use ng_wal::{AppendError, FullCause};

impl Inner {
    /// Closes once; later calls do nothing.
    pub(crate) fn close(&self) -> Result<(), CloseError> {
        if !self.status.set_closed() {
            return Ok(());
        }
        drop(self.evictor.lock().take());
        self.cleaning.step(); // for who found the lock taken by this line
        // From here on each session finds its lease gone at its next create, and then the status.
        self.guardian.release_unused(self.arena.recall_idle());
        let sealed = self.seal();
        let spans = match &self.tracing {
            Some(tracing) => tracing.collector.finish().map_err(CloseError::Spans),
            None => Ok(()),
        };
        note(&self.blackbox, SYSTEM_STOPPED, Severity::INFO, [self.arena.len(), 0, 0, 0]);
        // Sessions may hold this store for as long as they like: its directory is free from here on.
        if let Some(recorder) = &self.blackbox {
            recorder.close();
        }
        if let Some(log) = &self.log
            && !mutants::on("store-close-keeps-the-lock")
        {
            log.wal.unlock();
        }
        sealed.and(spans)
    }

    fn seal(&self) -> Result<(), CloseError> {
        let Some(log) = &self.log else { return Ok(()) };
        let unchanged = self.recovery.clean && log.wal.last_lsn() == self.recovery.last_lsn;
        let last = if unchanged {
            Ok(()) // The record of the last close still is the log's last.
        } else {
            let high = self.arena.generation_high();
            match log.append_own(format::CLEAN, &format::generation(high), true) {
                // Deletes have used the last of a full log. The next open takes the close for a crash: it
                // loses nothing by that.
                Err(AppendError::Full(full)) if matches!(full.cause, FullCause::Log { .. }) => {
                    Ok(())
                }
                appended => appended.map(|_| ()),
            }
        };
        // Sealed even without that record.
        log.wal.shut()?;
        last.map_err(CloseError::LastRecord)?;
        let Some(place) = &self.place else { return Ok(()) };
        place.closed(log.wal.last_lsn(), self.arena.generation_high()).map_err(CloseError::Manifest)
    }
}
