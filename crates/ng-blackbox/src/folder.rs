//! A directory by its descriptor: whatever becomes of its path, what is made, renamed and removed here is
//! in the directory that was opened.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{self, Access, AtFlags, Mode, OFlags};

use crate::mutants;

#[derive(Debug)]
pub(crate) struct Folder {
    dir: OwnedFd,
    /// For messages, and for those who want to open what is in there.
    path: PathBuf,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        // Without a working directory, what was given must do: it is for messages alone.
        let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Folder::below(fs::CWD, path, shown)
    }

    /// The directory that `dir` is a descriptor of, of any kind.
    pub(crate) fn of(dir: impl AsFd, shown: &Path) -> io::Result<Folder> {
        Folder::below(dir, Path::new("."), shown.to_owned())
    }

    fn below(dir: impl AsFd, path: &Path, shown: PathBuf) -> io::Result<Folder> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Folder { dir: fs::openat(dir, path, flags, Mode::empty())?, path: shown })
    }

    /// As it was called when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// May files be made and removed in it?
    pub(crate) fn check_writable(&self) -> io::Result<()> {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        Ok(fs::accessat(&self.dir, ".", access, AtFlags::EACCESS)?)
    }

    /// For reading and writing by this user alone; made if it is not there.
    pub(crate) fn open_or_create(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// As [`Folder::open_or_create`], and empty.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC)
    }

    /// A file that is not there yet. Allocates nothing for a name of up to 255 bytes.
    pub(crate) fn create_new(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    pub(crate) fn read(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlags::RDONLY)
    }

    fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(fs::openat(&self.dir, name, flags | OFlags::CLOEXEC, mode)?.into())
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if mutants::on("blackbox-path-resolved-again") {
            return std::fs::rename(self.path.join(from), self.path.join(to));
        }
        Ok(fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    /// What is in it, as far as it has names that are text, in no order.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        Ok(names)
    }

    /// Waits until what was made, renamed and removed is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.dir)?)
    }
}
