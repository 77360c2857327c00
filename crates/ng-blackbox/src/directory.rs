//! The files of a recorder's directory: one lock, one current recording, the last few before it.
//!
//! A new recording is prepared under a third name and takes its place only when it is whole, so the
//! recording of the last run is never lost to a full disk.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{error::OpenError, format, mutants};

const LOCK: &str = "blackbox.lock";
const CURRENT: &str = "blackbox-current.ngbb";
const NEW: &str = "blackbox-new.tmp";

/// A directory while this process holds its lock.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

/// What [`Directory::publish`] found.
pub(crate) struct Published {
    /// Where the last run's recording went.
    pub(crate) previous: Option<PathBuf>,
    /// Recordings beyond those to be kept.
    pub(crate) outdated: Vec<PathBuf>,
}

impl Published {
    pub(crate) fn remove_outdated(&self) {
        for path in &self.outdated {
            // Best effort: what stays is tried again at the next open.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Closing alone would not do: a child that another thread has just forked has the file open
        // until it runs its program. If this fails, the closing that follows still gives it back.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    pub(crate) fn lock(dir: &Path) -> Result<Directory, OpenError> {
        let path = dir.join(LOCK);
        let lock = private_file(&path, false).map_err(failed("open", &path))?;
        if mutants::on("blackbox-lock-not-taken") {
            return Ok(Directory { path: dir.to_owned(), lock });
        }
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path: dir.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => {
                Err(OpenError::Locked { path, holder_pid: writer_of(&dir.join(CURRENT)) })
            }
            Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.path.join(CURRENT)
    }

    /// A file of `bytes` zeroes with all its blocks, not yet under its real name.
    pub(crate) fn prepare(&self, bytes: u64) -> Result<File, OpenError> {
        let path = self.path.join(NEW);
        let file = private_file(&path, true).map_err(failed("create", &path))?;
        match allocate(&file, bytes) {
            Ok(()) => Ok(file),
            Err(error) => {
                self.discard();
                Err(failed("allocate", &path)(error))
            }
        }
    }

    /// Removes what [`Directory::prepare`] made.
    pub(crate) fn discard(&self) {
        // Best effort: a leftover is overwritten by the next open.
        let _ = fs::remove_file(self.path.join(NEW));
    }

    /// Gives the recording of the last run, if any, its number, and the prepared one its place.
    pub(crate) fn publish(&self, keep: u32) -> Result<Published, OpenError> {
        let mut numbers = self.numbers()?;
        let current = self.current();
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        let rotated = self.numbered(next);
        if mutants::on("blackbox-old-overwritten") {
            let new = self.path.join(NEW);
            let renamed = fs::rename(&new, &current).map_err(failed("rename", &new));
            return renamed.map(|()| Published { previous: None, outdated: Vec::new() });
        }
        let previous = match fs::rename(&current, &rotated) {
            Ok(()) => {
                numbers.push(next);
                Some(rotated)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("rename", &current)(error)),
        };
        let new = self.path.join(NEW);
        fs::rename(&new, &current).map_err(failed("rename", &new))?;
        numbers.truncate(numbers.len().saturating_sub(keep as usize));
        let outdated = numbers.into_iter().map(|number| self.numbered(number)).collect();
        Ok(Published { previous, outdated })
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.path.join(format!("blackbox-{number}.ngbb"))
    }

    /// Numbers of the earlier recordings, ascending.
    fn numbers(&self) -> Result<Vec<u64>, OpenError> {
        let list = failed("list", &self.path);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(&list)? {
            let name = entry.map_err(&list)?.file_name();
            let digits = name.to_str().and_then(|name| {
                name.strip_prefix("blackbox-")?.strip_suffix(".ngbb")?.parse::<u64>().ok()
            });
            numbers.extend(digits);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn private_file(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(empty);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Written zeroes where the filesystem cannot reserve blocks. On copy-on-write filesystems neither
/// keeps a later store from finding the disk full.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    if mutants::on("blackbox-blocks-not-reserved") {
        return file.set_len(bytes);
    }
    #[cfg(unix)]
    {
        use rustix::{fs::FallocateFlags, io::Errno};
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            reserved => return Ok(reserved?),
        }
    }
    write_zeroes(file, bytes)
}

fn write_zeroes(mut file: &File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.flush()
}

fn writer_of(recording: &Path) -> Option<u32> {
    let mut start = Vec::new();
    File::open(recording).ok()?.take(format::HEADER_BYTES as u64).read_to_end(&mut start).ok()?;
    Some(format::decode_header(&start).ok()?.pid)
}

fn failed<'p>(step: &'static str, path: &'p Path) -> impl Fn(io::Error) -> OpenError + 'p {
    move |source| OpenError::Io { step, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_zeroes_are_as_long_as_reserved_blocks() {
        let file = tempfile::tempfile().unwrap();
        write_zeroes(&file, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_000);
    }

    #[test]
    fn a_lock_is_given_back_though_a_child_about_to_start_has_its_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let held = Directory::lock(dir.path()).unwrap();
        // As fork does, this shares what is open, and the lock with it.
        let inherited = held.lock.try_clone().unwrap();
        assert!(matches!(Directory::lock(dir.path()), Err(OpenError::Locked { .. })));
        drop(held);
        drop(Directory::lock(dir.path()).unwrap());
        drop(inherited);
    }
}
