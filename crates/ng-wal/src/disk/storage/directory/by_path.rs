//! A directory by its absolute path, where the system has no descriptors of directories to go by.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf, absolute};

use super::{DirEntry, Opening};

#[derive(Debug)]
pub(super) struct Handle(PathBuf);

impl Handle {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A file on the way is told as that.
                DirBuilder::new().recursive(true).create(path)?;
                Self::open(path)
            }
            other => other,
        }
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = absolute(path)?;
        if !fs::metadata(&path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(path))
    }

    pub(super) fn make_subdirectory(&self, name: &str) -> io::Result<Self> {
        Self::create(&self.0.join(name))
    }

    pub(super) fn subdirectory(&self, name: &str) -> io::Result<Self> {
        Self::open(&self.0.join(name))
    }

    pub(super) fn list(&self) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(&self.0)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(DirEntry { name, regular: entry.file_type()?.is_file() })
            })
            .collect()
    }

    pub(super) fn file(&self, name: &str, opening: Opening) -> io::Result<File> {
        let path = self.0.join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
            }
            _ => {} // what is wrong with it the opening will say
        }
        let mut options = OpenOptions::new();
        options.read(true).write(opening != Opening::Read);
        options.create(matches!(opening, Opening::Keep | Opening::Empty));
        options.create_new(opening == Opening::New).truncate(opening == Opening::Empty);
        options.open(path)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(super) fn unlink(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    pub(super) fn link(&self, _name: &str, _to: &Handle) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How many names the file with this one has: std does not tell, so it may have others, and is never
    /// written again.
    pub(super) fn names_of(&self, name: &str) -> io::Result<u64> {
        fs::symlink_metadata(self.0.join(name)).map(|_| 2)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(()) // no handle to sync for a directory; the file system journals names
    }
}
