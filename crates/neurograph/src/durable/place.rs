//! The directory of a store: judged before anything in it is created, rotated or deleted, and afterwards
//! reached by its handle alone, wherever its path leads by then.

use crate::config::{Config, Persist};
use crate::durable::manifest::{Manifest, Marks};
use crate::error::OpenError;
use crate::{format, mutants};
use ng_wal::{Directory, Lsn, Needs, Reader, Recovery, Row, SegmentId};
use parking_lot::Mutex;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The log's place in a store's directory.
const LOG: &str = "wal";

/// A directory, and what it says of itself.
pub(crate) struct Place {
    pub(crate) dir: Directory,
    manifest: Mutex<Option<Manifest>>,
}

impl Place {
    /// The directory at `path`, which is made if it is absent.
    ///
    /// Errors: what it says of itself does not go with the settings, or it lost its manifest.
    pub(crate) fn judge(path: &Path, config: &Config) -> Result<Place, OpenError> {
        let failed =
            |operation, source| OpenError::Io { operation, path: path.to_path_buf(), source };
        let dir = Directory::create(path).map_err(|source| failed("create", source))?;
        let manifest = Manifest::read(&dir)?;
        let log_is_there = dir.exists(LOG).map_err(|source| failed("look into", source))?;
        match &manifest {
            Some(_) if !config.wal.enabled => {
                return Err(OpenError::LogSwitchedOff { dir: path.to_path_buf() });
            }
            Some(Manifest { persist: Some(created_with), .. })
                if *created_with != config.persist && !mutants::on("store-persist-not-asked") =>
            {
                let (created_with, asked) = (*created_with, config.persist);
                return Err(OpenError::Persist { dir: path.to_path_buf(), created_with, asked });
            }
            Some(manifest) if !log_is_there || is_empty(&path.join(LOG)) => {
                return Err(gone(&dir, manifest.log.needs()));
            }
            None if log_is_there && holds_tokens(&dir) => {
                return Err(OpenError::Manifest {
                    path: path.join("MANIFEST"),
                    found: "no file, beside a log with tokens".to_string(),
                    expected: "the manifest that belongs to this log".to_string(),
                });
            }
            _ => {}
        }
        Ok(Place { dir, manifest: Mutex::new(manifest) })
    }

    /// The log's own directory.
    pub(crate) fn log_dir(&self) -> Result<Arc<Directory>, OpenError> {
        self.dir.subdirectory(LOG).map(Arc::new).map_err(|source| OpenError::Io {
            operation: "create",
            path: self.dir.path().join(LOG),
            source,
        })
    }

    /// What the log has to be, as far as the manifest knows it.
    pub(crate) fn expects(&self) -> (Option<u128>, Option<Needs>) {
        let manifest = self.manifest.lock();
        let manifest = manifest.as_ref().filter(|_| !mutants::on("store-log-not-asked"));
        (manifest.and_then(Manifest::store_id), manifest.map(|manifest| manifest.log.needs()))
    }

    /// Highest generation that a clean close wrote down; 0 without one.
    pub(crate) fn generation(&self) -> u32 {
        self.manifest.lock().as_ref().map_or(0, |manifest| manifest.log.generation)
    }

    /// After an open, with the log's lock held: what the manifest says from now on, durable on return.
    /// On a full disk an older manifest stays; its marks are lower bounds and stay true.
    pub(crate) fn opened(&self, log: &Recovery, persist: Persist) -> Result<(), OpenError> {
        let mut known = self.manifest.lock();
        let there = Manifest::read(&self.dir)?;
        if there != *known {
            return Err(OpenError::Manifest {
                path: self.dir.path().join("MANIFEST"),
                found: "another process wrote it while the store was being opened".to_string(),
                expected: "one process at a time; open again".to_string(),
            });
        }
        let reached =
            Marks { lsn: log.last_lsn.get(), segment: log.active_segment.get(), generation: 0 };
        let manifest = match &*known {
            Some(before) => {
                Manifest { persist: Some(persist), log: before.log.and(reached), ..before.clone() }
            }
            None => Manifest::new(log.store_uuid, persist, reached),
        };
        match manifest.write(&self.dir) {
            Err(OpenError::Io { source, .. }) if known.is_some() && is_full(&source) => Ok(()),
            written => written.map(|()| *known = Some(manifest)),
        }
    }

    /// After the log was sealed: its last record, and the highest generation handed out.
    pub(crate) fn closed(&self, lsn: Lsn, generation: u32) -> Result<(), OpenError> {
        let mut known = self.manifest.lock();
        let Some(before) = &*known else { return Ok(()) };
        let reached = Marks { lsn: lsn.get(), segment: 0, generation };
        let manifest = Manifest { log: before.log.and(reached), ..before.clone() };
        if manifest != *before && !mutants::on("store-close-not-noted") {
            manifest.write(&self.dir)?;
            *known = Some(manifest);
        }
        Ok(())
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// As the log says it of a directory without segments; here there is not even that.
fn gone(dir: &Directory, needs: Needs) -> OpenError {
    let (upto, segment) = (needs.upto.previous(), needs.segment);
    OpenError::Log(ng_wal::OpenError::Missing {
        dir: dir.path().join(LOG),
        segment: SegmentId::new(segment.get().max(1)),
        found: format!(
            "the manifest knows of records up to LSN {upto} in it, and the directory is not there, or empty; \
             is a volume not mounted?"
        )
        .into(),
        row: Row::R02,
    })
}

/// Whether nothing at all is in it, not even a lock: then none is to be made there. What can't be read is not empty.
fn is_empty(path: &Path) -> bool {
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Whether a token was ever logged there. A log without one is what a crash in a store's first open leaves.
fn holds_tokens(dir: &Directory) -> bool {
    let Ok(mut records) = Reader::open(dir.path().join(LOG)) else { return false };
    records.any(|record| {
        record.is_ok_and(|record| matches!(record.kind, format::PUT | format::DELETE))
    })
}
