//! A copy of a log in use, without stopping it: hard links to what is complete, and the active
//! segment up to the last sync. Such a copy is what a crash at that moment could have left, so
//! opening it is an ordinary recovery.

use std::io;
use std::path::{Path, PathBuf};

use crate::actor::Shared;
use crate::format::BLOCK_BYTES;
use crate::segment::file_name;
use crate::storage::RealDir;
use crate::{Lsn, SegmentId};

/// Why a backup was not made. What was made of it may be deleted.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The destination holds something already.
    #[error("backup into {}: the directory is not empty", path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("backup: {operation} of {} failed", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

/// Where the last finished sync left the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurablePoint {
    pub(crate) seq: SegmentId,
    /// End of what is durable of that segment.
    pub(crate) end_offset: u64,
    /// Highest durable record.
    pub(crate) lsn: u64,
    /// The segment's last frame names its successor.
    pub(crate) rotated: bool,
}

/// Copies the durable prefix into `dest`; returns its last record.
pub(crate) fn backup(shared: &Shared, dest: &Path) -> Result<Lsn, BackupError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| BackupError::Io { operation, path, source }
    };
    let target = RealDir::create(dest).map_err(failed("create", dest))?;
    let mut entries = std::fs::read_dir(dest).map_err(failed("list", dest))?;
    if entries.next().is_some() {
        return Err(BackupError::NotEmpty { path: dest.to_path_buf() });
    }
    // While this is held no segment loses its name.
    let _turn = shared.table.turn.lock();
    let point = *shared.durable_point.lock();
    let io = &*shared.io;
    for seq in shared.table.completed_before(point.seq) {
        let (name, to) = (file_name(seq), dest.join(file_name(seq)));
        io.export(&name, &to, None).map_err(failed("link or copy", &to))?;
    }
    let (name, to) = (file_name(point.seq), dest.join(file_name(point.seq)));
    io.export(&name, &to, Some(point.end_offset)).map_err(failed("copy", &to))?;
    if point.rotated {
        // The successor as it was prepared, its header only: nothing in it is durable yet.
        let next = file_name(point.seq.next());
        let to = dest.join(&next);
        io.export(&next, &to, Some(BLOCK_BYTES)).map_err(failed("copy", &to))?;
    }
    crate::storage::LogIo::sync_dir(&target).map_err(failed("fsync of the directory", dest))?;
    Ok(Lsn::new(point.lsn))
}
