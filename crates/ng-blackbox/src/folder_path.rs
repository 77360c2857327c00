//! A directory by its path, where this crate has no descriptors of directories: it is resolved anew at
//! each step, so nobody may rename it while a recorder is open.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        let path = std::path::absolute(path)?;
        fs::read_dir(&path)?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is refused shows when it is tried.
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn open_or_create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.0.join(name))
    }

    /// As [`Folder::open_or_create`], and empty.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.0.join(name))
    }

    /// A file that is not there yet.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(self.0.join(name))
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        File::open(self.0.join(name))
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// What is in it, as far as it has names that are text, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// Nothing to wait for: such a system has no call for it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
