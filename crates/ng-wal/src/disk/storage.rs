//! What the log asks of a disk: one directory of flat files, written at offsets and synced. The
//! trait is all the log knows, so a simulated disk can stand in (`sim`, where the traits are
//! public behind the feature of that name); of the rest only real files stand here.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use crate::mutants;
use crate::sync::Arc;

#[cfg(target_os = "linux")]
mod around_cache;
mod directory;
mod lock;

pub use directory::Directory;
pub(crate) use lock::LOCK;
pub use lock::{DirectoryLock, LockError};

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
    /// The file under the same name in another directory: a hard link, or a durable copy where that
    /// cannot be; a copy of its first `bytes` bytes, if they are given.
    fn export(&self, _name: &str, _to: &Directory, _bytes: Option<u64>) -> io::Result<()> {
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
    let most = bytes.end.saturating_sub(bytes.start).min(ZEROES_BYTES);
    let zeroes = vec![0; most as usize];
    let mut at = bytes.start;
    while at < bytes.end {
        let to = (at + 1).next_multiple_of(ZEROES_BYTES).min(bytes.end);
        write_full(file, &zeroes[..(to - at) as usize], at)?;
        at = to;
    }
    Ok(())
}

/// Copies `bytes` bytes at `from` of one file to the same place of another, or over themselves.
pub(crate) fn copy_range(
    source: &dyn LogFile,
    target: &dyn LogFile,
    mut from: u64,
    end: u64,
) -> Result<(), (&'static str, io::Error)> {
    let mut buf = vec![0; 1 << 20];
    while from < end {
        let part = (end - from).min(buf.len() as u64) as usize;
        let read = read_full(source, &mut buf[..part], from).map_err(|e| ("read", e))?;
        if read < part {
            return Err(("read", io::ErrorKind::UnexpectedEof.into()));
        }
        write_full(target, &buf[..part], from).map_err(|e| ("write", e))?;
        from += part as u64;
    }
    Ok(())
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
