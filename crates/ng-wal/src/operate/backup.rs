//! A copy of a log in use, without stopping it: hard links to what is complete, and the active
//! segment up to the last sync. Such a copy is what a crash at that moment could have left, so
//! opening it is an ordinary recovery.

use std::io;
use std::path::{Path, PathBuf};

use crate::Lsn;
use crate::disk::names::file_name;
use crate::disk::storage::Directory;
use crate::format::BLOCK_BYTES;
use crate::write::shared::Shared;

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
    /// The calling process is a forked child of the one that opened the log.
    #[error("this log was opened by process {opened_by}; a forked child can't use it")]
    Forked {
        /// That process.
        opened_by: u32,
    },
}

/// Copies the durable prefix into `dest`; returns its last record.
pub(crate) fn backup(shared: &Shared, dest: &Path) -> Result<Lsn, BackupError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| BackupError::Io { operation, path, source }
    };
    let target = Directory::create(dest).map_err(failed("create", dest))?;
    if !target.list().map_err(failed("list", dest))?.is_empty() {
        return Err(BackupError::NotEmpty { path: dest.to_path_buf() });
    }
    // While this is held no segment loses its name.
    let _turn = shared.table.turn.lock();
    let point = *shared.durable_point.lock();
    let io = &*shared.io;
    for seq in shared.table.completed_before(point.seq) {
        let name = file_name(seq);
        io.export(&name, &target, None).map_err(failed("link or copy", &dest.join(&name)))?;
    }
    let name = file_name(point.seq);
    let copied = io.export(&name, &target, Some(point.end_offset));
    copied.map_err(failed("copy", &dest.join(&name)))?;
    if point.rotated {
        // The successor as it was prepared, its header only: nothing in it is durable yet.
        let next = file_name(point.seq.next());
        let copied = io.export(&next, &target, Some(BLOCK_BYTES));
        copied.map_err(failed("copy", &dest.join(&next)))?;
    }
    target.sync_dir().map_err(failed("fsync of the directory", dest))?;
    Ok(Lsn::new(point.lsn))
}
