//! `MANIFEST`: the file that says what a directory is. Written once, as a new file, rename and directory sync.

use crate::error::OpenError;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

const NAME: &str = "MANIFEST";
/// Version of the directory's layout that this build writes and reads.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// 32 hexadecimal digits: the identity in the log's segments.
    pub(crate) store: String,
    pub(crate) created_by: String,
}

impl Manifest {
    pub(crate) fn new(store: u128) -> Manifest {
        let created_by = env!("CARGO_PKG_VERSION").to_string();
        Manifest { format: FORMAT, store: format!("{store:032x}"), created_by }
    }

    /// The manifest of a directory, if it has one.
    ///
    /// Errors: a file that is none, or one of a newer build; nothing is changed.
    pub(crate) fn read(dir: &Path) -> Result<Option<Manifest>, OpenError> {
        let path = dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { operation: "read", path, source }),
        };
        let wrong = |found: String, expected: &str| OpenError::Manifest {
            path: path.clone(),
            found,
            expected: expected.to_string(),
        };
        let manifest: Manifest = toml::from_str(&text)
            .map_err(|e| wrong(e.message().to_string(), "format, store and created_by"))?;
        if manifest.format != FORMAT {
            let found = format!("format is {} (by {})", manifest.format, manifest.created_by);
            return Err(wrong(found, "1, the format that this build reads"));
        }
        if u128::from_str_radix(&manifest.store, 16).is_err() {
            return Err(wrong(format!("store is {:?}", manifest.store), "32 hexadecimal digits"));
        }
        Ok(Some(manifest))
    }

    /// The identity.
    pub(crate) fn store_id(&self) -> Option<u128> {
        u128::from_str_radix(&self.store, 16).ok()
    }

    /// Writes it; durable on return.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), OpenError> {
        let (path, temporary) = (dir.join(NAME), dir.join("MANIFEST.tmp"));
        let text = format!(
            "# neurograph store\nformat = {}\nstore = \"{}\"\ncreated_by = \"{}\"\n",
            self.format, self.store, self.created_by
        );
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| OpenError::Io { operation: "write", path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), None);
        let manifest = Manifest::new(0xabc);
        manifest.write(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir.path()).unwrap(), Some(manifest.clone()));
        assert_eq!(manifest.store_id(), Some(0xabc));
        Manifest { format: 2, ..manifest }.write(dir.path()).unwrap();
        let error = Manifest::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("format is 2") && error.contains("nothing was changed"), "{error}");
        fs::write(dir.path().join(NAME), "hello").unwrap();
        assert!(matches!(Manifest::read(dir.path()), Err(OpenError::Manifest { .. })));
    }
}
