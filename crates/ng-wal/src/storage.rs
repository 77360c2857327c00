//! What the log asks of a disk: one directory of flat files, written at offsets and synced. The
//! trait is all the log knows, so a simulated disk can stand in (`sim`, where the traits are
//! public behind the feature of that name); only real files stand here.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::mutants;
use crate::sync::Arc;

#[cfg(target_os = "linux")]
mod around_cache;

/// One directory. Names are file names without a path.
pub trait LogIo: Send + Sync {
    /// Names in the directory, in any order.
    fn list(&self) -> io::Result<Vec<DirEntry>>;
    /// An existing file, for reading and writing, or only for reading.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn LogFile>>;
    /// A new, empty file; one with this name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;
    /// Replaces `to` if it exists.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name; handles of the file stay good.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes creates, renames and unlinks of this directory durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Whether the file has a name elsewhere too (a backup's hard link): then nobody may write
    /// into it again.
    fn is_linked_elsewhere(&self, _name: &str) -> io::Result<bool> {
        Ok(false)
    }
    /// The file under another path: a hard link, or a durable copy where that cannot be; a copy of
    /// its first `bytes` bytes, if they are given.
    fn export(&self, _name: &str, _to: &Path, _bytes: Option<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// For messages only.
    fn path(&self) -> &Path;
}

/// One open file. The same description serves from the first write to the last sync: an error of
/// writeback is reported once for each description.
#[allow(clippy::len_without_is_empty)] // a call to the operating system, not a container
pub trait LogFile: Send + Sync {
    /// Writes some bytes of `data` at `offset`; returns how many.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize>;
    /// Reads some bytes at `offset`; 0 at the end of the file.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Data and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file, or lengthens it with zeroes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// One name in the directory.
#[derive(Clone, Debug)]
pub struct DirEntry {
    /// The name, without a path.
    pub name: String,
    /// A regular file, and not a link to one.
    pub regular: bool,
}

/// Reads until `out` is full or the file ends; returns the bytes read.
pub(crate) fn read_full(file: &dyn LogFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `data`. After an error `*done` bytes are written; a retry goes on from there.
pub(crate) fn write_rest(
    file: &dyn LogFile,
    data: &[u8],
    offset: u64,
    done: &mut usize,
) -> io::Result<()> {
    while *done < data.len() {
        match file.write_at(&data[*done..], offset + *done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(_) if mutants::on("wal-m29-short-write-ok") => *done = data.len(),
            Ok(n) => *done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

pub(crate) fn write_full(file: &dyn LogFile, data: &[u8], offset: u64) -> io::Result<()> {
    write_rest(file, data, offset, &mut 0)
}

/// Zeroes in one write. A kernel may keep what one write brings as one large page, and looks over
/// all blocks of such a page at each small write into it and at each sync: written by the megabyte,
/// zeroes made a 4 KiB append and its sync a tenth slower than these do.
const ZEROES_BYTES: u64 = 64 << 10;

/// Zeroes in `bytes`.
pub(crate) fn write_zeroes(file: &dyn LogFile, bytes: Range<u64>) -> io::Result<()> {
    let zeroes = [0; ZEROES_BYTES as usize];
    let mut at = bytes.start;
    while at < bytes.end {
        let to = (at + 1).next_multiple_of(ZEROES_BYTES).min(bytes.end);
        write_full(file, &zeroes[..(to - at) as usize], at)?;
        at = to;
    }
    Ok(())
}

/// Files of a real directory.
pub(crate) struct RealDir {
    path: PathBuf,
}

const LOCK: &str = "LOCK";

impl RealDir {
    /// The directory, made if it is absent (mode 0700), its name durable in its parent.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        if !path.is_dir() {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(path)?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            sync_directory(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(Self { path: path.to_path_buf() })
    }

    /// An existing directory.
    pub(crate) fn existing(path: &Path) -> io::Result<Self> {
        std::fs::read_dir(path)?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Takes the directory's lock. `Ok(Err(holder))` when somebody else has it.
    pub(crate) fn lock(&self) -> io::Result<Result<DirLock, String>> {
        let path = self.path.join(LOCK);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        owner_only(&mut options);
        let mut file = options.open(&path)?;
        let skipped = crate::mutants::on("wal-m28-lock-skipped");
        match file.try_lock() {
            _ if skipped => {}
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let text = text.trim();
                return Ok(Err(if text.is_empty() { "another handle" } else { text }.into()));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(e),
        }
        // Informational: the lock decides, so a full disk is no reason to refuse.
        let _ = file
            .set_len(0)
            .and_then(|()| file.write_all(format!("pid {}\n", std::process::id()).as_bytes()));
        Ok(Ok(DirLock { file }))
    }
}

/// Held while a log is open for writing; the operating system lets go of it with the process.
pub(crate) struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing alone would not do: a child that another thread has just forked has the file open
        // until it runs its program. If this fails, the closing that follows still gives it back.
        let _ = self.file.unlock();
    }
}

fn owner_only(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
        // A link with a segment's name must not lead us out of the directory.
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    }
    #[cfg(not(unix))]
    let _ = options;
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // Windows has no handle to sync for a directory; its file system journals names.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

impl LogIo for RealDir {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        std::fs::read_dir(&self.path)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(DirEntry { name, regular: entry.file_type()?.is_file() })
            })
            .collect()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn LogFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::ReadWrite);
        owner_only(&mut options);
        Ok(Arc::new(RealFile::new(options.open(self.path.join(name))?)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        owner_only(&mut options);
        Ok(Arc::new(RealFile::new(options.open(self.path.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }

    fn export(&self, name: &str, to: &Path, bytes: Option<u64>) -> io::Result<()> {
        let from = self.path.join(name);
        // Where nobody can tell how many names a file has, a link could not be told from a spare.
        if bytes.is_none() && cfg!(unix) && std::fs::hard_link(&from, to).is_ok() {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        owner_only(&mut options);
        let mut copy = options.open(to)?;
        let from = File::open(from)?;
        let copied = io::copy(&mut io::Read::take(from, bytes.unwrap_or(u64::MAX)), &mut copy)?;
        if bytes.is_some_and(|bytes| copied < bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        copy.sync_all()
    }

    #[cfg(unix)]
    fn is_linked_elsewhere(&self, name: &str) -> io::Result<bool> {
        let found = std::fs::symlink_metadata(self.path.join(name))?;
        Ok(std::os::unix::fs::MetadataExt::nlink(&found) > 1)
    }

    #[cfg(not(unix))]
    fn is_linked_elsewhere(&self, _name: &str) -> io::Result<bool> {
        Ok(true) // std does not tell: so no file is written again
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

struct RealFile {
    file: File,
    #[cfg(target_os = "linux")]
    around_cache: around_cache::Handle,
}

impl RealFile {
    fn new(file: File) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            around_cache: around_cache::Handle::default(),
            file,
        }
    }
}

impl LogFile for RealFile {
    #[cfg(unix)]
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        #[cfg(target_os = "linux")]
        if let Some(written) = self.around_cache.write_at(&self.file, data, offset) {
            return written;
        }
        std::os::unix::fs::FileExt::write_at(&self.file, data, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, data, offset)
    }

    #[cfg(unix)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, out, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, out, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_though_a_child_about_to_start_has_its_file_open() {
        let path = tempfile::tempdir().unwrap();
        let dir = RealDir::existing(path.path()).unwrap();
        let held = dir.lock().unwrap().ok().unwrap();
        // As fork does, this shares what is open, and the lock with it.
        let inherited = held.file.try_clone().unwrap();
        assert!(dir.lock().unwrap().is_err());
        drop(held);
        assert!(dir.lock().unwrap().is_ok());
        drop(inherited);
    }
}
