//! A directory that stays the one it was when it was opened, wherever its path leads later: the one door
//! through which a log, and its owner, come to their files. Only names without a path go through it.
//!
//! Where the system has descriptors of directories everything is done through one; elsewhere through
//! the absolute path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Access, DirEntry, LogFile, LogIo, RealFile};
use crate::mutants;
use crate::sync::Arc;

#[cfg(unix)]
mod by_descriptor;
#[cfg(not(unix))]
mod by_path;

#[cfg(unix)]
use by_descriptor::Handle;
#[cfg(not(unix))]
use by_path::Handle;

/// What a file is opened for, and what becomes of one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    Read,
    ReadWrite,
    /// Made if it is absent.
    Keep,
    /// The same, and emptied.
    Empty,
    /// There must be none.
    New,
}

/// An open directory.
///
/// It is the same one for good: if its path is renamed, or another directory takes its place, files
/// are still made, renamed and removed in this one. A relative path is resolved once, when it is
/// opened. Every name given to a method is the name of a file in it, without a path, else the error
/// is `InvalidInput`. Only regular files are opened: a link, a directory, a fifo or a device with an
/// expected name is an error, and nobody waits for it. What is made is its owner's alone (0700, 0600).
///
/// Errors are the operating system's. Every method may block on the disk.
#[derive(Debug)]
pub struct Directory {
    handle: Handle,
    path: PathBuf,
}

/// For what else has to be done relative to it.
#[cfg(unix)]
impl std::os::fd::AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.descriptor()
    }
}

impl Directory {
    /// Opens the directory at `path`, which is made if it is absent, as are those above it; each new
    /// name is durable in its parent when this returns.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self { handle: Handle::create(path)?, path: path.to_path_buf() })
    }

    /// Opens the directory at `path`, which must be there. Changes nothing.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        Ok(Self { handle: Handle::open(path)?, path: path.to_path_buf() })
    }

    /// Opens the directory `name` in this one, which is made if it is absent, its name durable when
    /// this returns. `name` may be a link to a directory.
    pub fn subdirectory(&self, name: &str) -> io::Result<Self> {
        let handle = self.handle.make_subdirectory(plain(name)?)?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Opens the directory `name` in this one, which must be there. `name` may be a link to one.
    pub fn open_subdirectory(&self, name: &str) -> io::Result<Self> {
        let handle = self.handle.subdirectory(plain(name)?)?;
        Ok(Self { handle, path: self.path.join(name) })
    }

    /// Where it was when it was opened, as it was named then: for messages only.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in it, in any order. A name that is not UTF-8 is shown with replacement characters, and
    /// can't be opened.
    pub fn list(&self) -> io::Result<Vec<DirEntry>> {
        self.handle.list()
    }

    /// Whether anything has this name; a link counts, wherever it leads.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        match self.handle.names_of(plain(name)?) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An existing file.
    pub fn open_file(&self, name: &str, access: Access) -> io::Result<File> {
        let opening = match access {
            Access::Read => Opening::Read,
            Access::ReadWrite => Opening::ReadWrite,
        };
        self.file(name, opening)
    }

    /// An empty file, for reading and writing; one with this name is emptied. Its name is durable after
    /// [`Directory::sync_dir`].
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        self.file(name, Opening::Empty)
    }

    pub(super) fn file(&self, name: &str, opening: Opening) -> io::Result<File> {
        let name = plain(name)?;
        if mutants::on("wal-path-resolved-again") {
            return Handle::open(&self.path)?.file(name, opening);
        }
        self.handle.file(name, opening)
    }

    /// Gives a file another name; one that had it is replaced. Durable after [`Directory::sync_dir`].
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.handle.rename(plain(from)?, plain(to)?)
    }

    /// Removes a file's name; handles of the file stay good. Durable after [`Directory::sync_dir`].
    pub fn unlink(&self, name: &str) -> io::Result<()> {
        self.handle.unlink(plain(name)?)
    }

    /// Makes durable what was made, renamed and removed in it.
    pub fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync()
    }

    /// All bytes of a file.
    pub fn read_to_vec(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name, Access::Read)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Gives the file `name` these bytes, made if it is absent; durable on return. Whatever happens
    /// meanwhile, it has all of the old bytes or all of the new ones. Uses the name `<name>.tmp`; one
    /// call at a time.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.tmp");
        let write = || {
            let mut file = self.create_file(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            self.rename(&temporary, name)
        };
        if let Err(e) = write() {
            let _ = self.unlink(&temporary); // only gives space back; the cause is told
            return Err(e);
        }
        self.sync_dir()
    }

    fn copy(&self, name: &str, to: &Directory, bytes: u64) -> io::Result<u64> {
        let from = self.open_file(name, Access::Read)?;
        let mut copy = to.file(name, Opening::New)?;
        let copied = io::copy(&mut from.take(bytes), &mut copy)?;
        copy.sync_all()?;
        Ok(copied)
    }
}

/// A name that leads nowhere else.
fn plain(name: &str) -> io::Result<&str> {
    let leads = name.contains(['/', '\0']) || cfg!(windows) && name.contains(['\\', ':']);
    if leads || matches!(name, "" | "." | "..") {
        let what = format!("{name:?} is not the name of a file in a directory");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(name)
}

impl LogIo for Directory {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        self.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(RealFile::new(self.open_file(name, access)?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(RealFile::new(self.create_file(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.rename(from, to)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.unlink(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.sync_dir()
    }

    fn export(&self, name: &str, to: &Directory, bytes: Option<u64>) -> io::Result<()> {
        let name = plain(name)?;
        // Where nobody can tell how many names a file has, a link could not be told from a spare.
        if bytes.is_none() && cfg!(unix) && self.handle.link(name, &to.handle).is_ok() {
            return Ok(());
        }
        let copied = self.copy(name, to, bytes.unwrap_or(u64::MAX))?;
        if bytes.is_some_and(|bytes| copied < bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn is_linked_elsewhere(&self, name: &str) -> io::Result<bool> {
        Ok(self.handle.names_of(plain(name)?)? > 1)
    }

    fn path(&self) -> &Path {
        self.path()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let path = tempfile::tempdir().unwrap();
        std::fs::write(path.path().join("outside"), b"x").unwrap();
        let dir = Directory::create(path.path().join("in")).unwrap();
        for name in ["", ".", "..", "../outside", "/etc/hostname", "a/b", "a\0b"] {
            let kinds = [
                dir.open_file(name, Access::Read).unwrap_err().kind(),
                dir.create_file(name).unwrap_err().kind(),
                dir.rename("a", name).unwrap_err().kind(),
                dir.unlink(name).unwrap_err().kind(),
                dir.exists(name).unwrap_err().kind(),
                dir.subdirectory(name).unwrap_err().kind(),
                dir.replace(name, b"y").unwrap_err().kind(),
            ];
            assert_eq!(kinds, [io::ErrorKind::InvalidInput; 7], "{name:?}");
        }
        assert_eq!(std::fs::read(path.path().join("outside")).unwrap(), b"x");
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_failure_leaves_the_old_one() {
        let path = tempfile::tempdir().unwrap();
        let dir = Directory::open(path.path()).unwrap();
        assert!(!dir.exists("MANIFEST").unwrap());
        dir.replace("MANIFEST", b"one").unwrap();
        dir.replace("MANIFEST", b"two and more").unwrap();
        assert_eq!(dir.read_to_vec("MANIFEST").unwrap(), b"two and more");
        std::fs::create_dir(path.path().join("MANIFEST.tmp")).unwrap();
        dir.replace("MANIFEST", b"three").unwrap_err();
        assert_eq!(dir.read_to_vec("MANIFEST").unwrap(), b"two and more");
        let mut names: Vec<_> = dir.list().unwrap().into_iter().collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<_> = names.iter().map(|e| (e.name.as_str(), e.regular)).collect();
        assert_eq!(names, [("MANIFEST", true), ("MANIFEST.tmp", false)]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused_at_once_and_named() {
        use std::os::unix::fs::symlink;
        let path = tempfile::tempdir().unwrap();
        let at = |name: &str| path.path().join(name);
        let dir = Directory::open(path.path()).unwrap();
        std::fs::create_dir(at("directory")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        std::fs::write(at("file"), b"kept").unwrap();
        symlink(at("file"), at("link")).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["directory", "fifo", "link", "socket"] {
            let opened = [
                dir.open_file(name, Access::Read).unwrap_err(),
                dir.open_file(name, Access::ReadWrite).unwrap_err(),
                dir.create_file(name).unwrap_err(),
                dir.file(name, Opening::Keep).unwrap_err(),
                dir.read_to_vec(name).unwrap_err(),
            ];
            for error in opened {
                assert!(error.to_string().contains(name), "{name}: {error}");
            }
        }
        assert_eq!(std::fs::read(at("file")).unwrap(), b"kept");
    }

    #[cfg(unix)]
    #[test]
    fn what_it_makes_is_its_owners_alone_and_an_absent_path_is_made_whole() {
        use std::os::unix::fs::PermissionsExt;
        let path = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let deep = path.path().join("a/b/c");
        let dir = Directory::create(&deep).unwrap();
        dir.create_file("file").unwrap();
        dir.subdirectory("d").unwrap().create_file("file").unwrap();
        dir.subdirectory("d").unwrap();
        assert_eq!([mode(&deep), mode(&deep.join("d"))], [0o700; 2]);
        assert_eq!([mode(&deep.join("file")), mode(&deep.join("d/file"))], [0o600; 2]);
        assert_eq!(dir.open_subdirectory("e").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_path_through_a_file_is_told_as_that_and_not_as_a_file_that_exists() {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join("file");
        std::fs::write(&file, b"").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = Directory::create(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{error}");
        }
        let dir = Directory::open(path.path()).unwrap();
        let error = dir.subdirectory("file").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{error}");
    }
}
