//! A directory by its descriptor: every call names a file relative to it, and resolves no path again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, linkat, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::{Errno, retry_on_intr};

use super::{DirEntry, Opening};
use crate::mutants;

#[derive(Debug)]
pub(super) struct Handle(File);

fn directory(at: impl AsFd, path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(retry_on_intr(|| openat(&at, path, flags, Mode::empty()))?.into())
}

/// Opens the directory `path`; what of it is absent is made, each name durable before the next.
fn directory_made(path: &Path) -> io::Result<File> {
    let absent = match directory(CWD, path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => e,
        found => return found.and_then(settled),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(absent) };
    let here = parent.as_os_str().is_empty();
    let parent = directory_made(if here { Path::new(".") } else { parent })?;
    made_in(&parent, Path::new(name))
}

fn made_in(parent: &File, name: &Path) -> io::Result<File> {
    match mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => parent.sync_all()?,
        Err(e) => return Err(e.into()),
    }
    directory(parent, name)
}

/// An empty directory may be what a process left that died when it had made it: then its name is not
/// durable yet, and all that is to come into it would go with the name.
fn settled(dir: File) -> io::Result<File> {
    let empty = Dir::read_from(&dir)?
        .all(|entry| entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")));
    if empty {
        match directory(&dir, Path::new("..")) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {} // somebody else's to make
            parent => parent?.sync_all()?,
        }
    }
    Ok(dir)
}

impl Handle {
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn create(path: &Path) -> io::Result<Self> {
        directory_made(path).map(Self)
    }

    pub(super) fn open(path: &Path) -> io::Result<Self> {
        directory(CWD, path).map(Self)
    }

    pub(super) fn make_subdirectory(&self, name: &str) -> io::Result<Self> {
        match self.subdirectory(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                made_in(&self.0, Path::new(name)).map(Self)
            }
            Ok(found) => settled(found.0).map(Self),
            other => other,
        }
    }

    pub(super) fn subdirectory(&self, name: &str) -> io::Result<Self> {
        directory(&self.0, Path::new(name)).map(Self)
    }

    pub(super) fn list(&self) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system says it here.
                FileType::Unknown => match statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(found) => FileType::from_raw_mode(found.st_mode),
                    Err(Errno::NOENT) => continue, // gone since
                    Err(e) => return Err(e.into()),
                },
                kind => kind,
            };
            let name = name.to_string_lossy().into_owned();
            entries.push(DirEntry { name, regular: kind == FileType::RegularFile });
        }
        Ok(entries)
    }

    pub(super) fn file(&self, name: &str, opening: Opening) -> io::Result<File> {
        let flags = match opening {
            Opening::Read => OFlags::RDONLY,
            Opening::ReadWrite => OFlags::RDWR,
            Opening::Keep => OFlags::RDWR | OFlags::CREATE,
            Opening::Empty => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            Opening::New => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        // A link must not lead out of the directory, and the other end of a fifo is not waited for. To
        // a regular file the last one means nothing.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match retry_on_intr(|| openat(&self.0, name, flags, mode)) {
            Ok(file) => File::from(file),
            Err(e) => return Err(self.not_opened(name, e)),
        };
        match FileType::from_raw_mode(fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(file),
            _ if mutants::on("wal-opens-a-fifo") => Ok(file),
            kind => Err(no_file(kind)),
        }
    }

    /// What stands in the way has a better name than the kernel's.
    fn not_opened(&self, name: &str, error: Errno) -> io::Error {
        if matches!(error, Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::OPNOTSUPP)
            && let Ok(found) = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
            && let kind = FileType::from_raw_mode(found.st_mode)
            && kind != FileType::RegularFile
        {
            return no_file(kind);
        }
        error.into()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    pub(super) fn unlink(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, AtFlags::empty())?)
    }

    pub(super) fn link(&self, name: &str, to: &Handle) -> io::Result<()> {
        Ok(linkat(&self.0, name, &to.0, name, AtFlags::empty())?)
    }

    /// How many names the file with this one has.
    pub(super) fn names_of(&self, name: &str) -> io::Result<u64> {
        let found = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // Its type differs from system to system.
        #[allow(clippy::useless_conversion)]
        Ok(u64::from(found.st_nlink))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}

fn no_file(kind: FileType) -> io::Error {
    let kind = match kind {
        FileType::Directory => "a directory",
        FileType::Fifo => "a fifo",
        FileType::Symlink => "a symbolic link",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    };
    io::Error::new(io::ErrorKind::InvalidInput, format!("not a regular file but {kind}"))
}
