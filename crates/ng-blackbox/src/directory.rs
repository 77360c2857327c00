//! The files of a recorder's directory: one lock, one current recording, some before it.
//!
//! A new recording is prepared under a third name and takes its place only when it is whole, so the
//! recording of the last run is never lost to a full disk. Nothing is removed before that.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::OpenError,
    folder::Folder,
    format, mutants,
    process::Birth,
    reader,
    retention::{self, Ending},
    sync::Arc,
};

const LOCK: &str = "blackbox.lock";
const CURRENT: &str = "blackbox-current.ngbb";
const NEW: &str = "blackbox-new.tmp";

/// A directory while this process holds its lock.
#[derive(Debug)]
pub(crate) struct Directory {
    folder: Arc<Folder>,
    lock: File,
    /// A child that inherits the lock must not give it back.
    birth: Birth,
}

/// What [`Directory::publish`] left.
pub(crate) struct Published {
    folder: Arc<Folder>,
    /// The recordings of earlier runs, ascending.
    numbers: Vec<u64>,
    /// What the last run's recording is called now.
    pub(crate) previous: Option<String>,
}

impl Published {
    /// Removes the recordings of earlier runs that are not to be kept, once the new one is sure to be
    /// found. Errors: the first that was met; what stays is tried again at the next open.
    pub(crate) fn remove_outdated(&self, keep: u32) -> io::Result<()> {
        self.folder.sync()?;
        if self.numbers.len() <= keep as usize {
            return Ok(());
        }
        let endings: Vec<Ending> = self.numbers.iter().map(|number| self.ending(*number)).collect();
        let mut result = Ok(());
        for index in retention::outdated(&endings, keep as usize) {
            let removed = self.folder.remove(&numbered(self.numbers[index]));
            result = result.and(removed);
        }
        result
    }

    /// One that cannot be read did not end well, as far as anybody can tell.
    fn ending(&self, number: u64) -> Ending {
        let file = self.folder.read(&numbered(number));
        file.ok().and_then(|file| reader::ending_of(file).ok()).unwrap_or_default()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.birth.is_elsewhere_by_the_kernel() {
            return; // the parent's
        }
        self.unlock();
    }
}

impl Directory {
    pub(crate) fn lock(folder: Folder, birth: Birth) -> Result<Directory, OpenError> {
        let path = folder.path().join(LOCK);
        let lock = folder.open_or_create(LOCK).map_err(failed("open", &path))?;
        let locked = if mutants::on("blackbox-lock-not-taken") { Ok(()) } else { lock.try_lock() };
        match locked {
            Ok(()) => Ok(Directory { folder: Arc::new(folder), lock, birth }),
            Err(TryLockError::WouldBlock) => {
                Err(OpenError::Locked { path, holder_pid: writer_of(&folder) })
            }
            Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
        }
    }

    pub(crate) fn unlock(&self) {
        // Closing alone would not do: a child that another thread has just forked has the file open
        // until it runs its program. If this fails, the closing that follows still gives it back.
        let _ = self.lock.unlock();
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.path(CURRENT)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of `bytes` zeroes with all its blocks, not yet under its real name.
    pub(crate) fn prepare(&self, bytes: u64) -> Result<File, OpenError> {
        let path = self.path(NEW);
        let file = self.folder.create(NEW).map_err(failed("create", &path))?;
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
        let _ = self.folder.remove(NEW);
    }

    /// Gives the recording of the last run, if any, its number, and the prepared one its place. An error
    /// leaves the last run's where it was.
    pub(crate) fn publish(&self) -> Result<Published, OpenError> {
        let mut numbers = self.numbers()?;
        let next = numbers.last().map_or(1, |last| last + 1);
        let rotated = numbered(next);
        let mut previous = None;
        if !mutants::on("blackbox-old-overwritten") {
            match self.folder.rename(CURRENT, &rotated) {
                Ok(()) => {
                    numbers.push(next);
                    previous = Some(rotated);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("rename", &self.current())(error)),
            }
        }
        if let Err(error) = self.folder.rename(NEW, CURRENT) {
            if let Some(rotated) = &previous
                && !mutants::on("blackbox-half-published")
            {
                // Best effort: under its number it is as safe.
                let _ = self.folder.rename(rotated, CURRENT);
            }
            return Err(failed("rename", &self.path(NEW))(error));
        }
        Ok(Published { folder: Arc::clone(&self.folder), numbers, previous })
    }

    /// Numbers of the earlier recordings, ascending.
    fn numbers(&self) -> Result<Vec<u64>, OpenError> {
        let names = self.folder.names().map_err(failed("list", self.folder.path()))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

fn numbered(number: u64) -> String {
    format!("blackbox-{number}.ngbb")
}

/// Of a name that [`numbered`] makes, and that has a number after it.
fn number_in(name: &str) -> Option<u64> {
    let number = name.strip_prefix("blackbox-")?.strip_suffix(".ngbb")?.parse().ok()?;
    (number < u64::MAX && numbered(number) == name).then_some(number)
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

fn writer_of(folder: &Folder) -> Option<u32> {
    let mut start = Vec::new();
    let file = folder.read(CURRENT).ok()?;
    file.take(format::HEADER_BYTES as u64).read_to_end(&mut start).ok()?;
    Some(format::decode_header(&start).ok()?.pid)
}

pub(crate) fn failed<'p>(
    step: &'static str,
    path: &'p Path,
) -> impl Fn(io::Error) -> OpenError + 'p {
    move |source| OpenError::Io { step, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(dir: &Path) -> Result<Directory, OpenError> {
        Directory::lock(Folder::open(dir).unwrap(), Birth::here().unwrap())
    }

    #[test]
    fn written_zeroes_are_as_long_as_reserved_blocks() {
        let file = tempfile::tempfile().unwrap();
        write_zeroes(&file, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_000);
    }

    #[test]
    fn a_lock_is_given_back_though_a_child_about_to_start_has_its_file_open() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        // As fork does, this shares what is open, and the lock with it.
        let inherited = held.lock.try_clone().unwrap();
        assert!(matches!(lock(dir.path()), Err(OpenError::Locked { .. })));
        drop(held);
        drop(lock(dir.path()).unwrap());
        drop(inherited);
    }

    #[test]
    fn a_new_recording_that_cannot_take_its_place_leaves_the_last_one_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CURRENT), "the last run's").unwrap();
        let directory = lock(dir.path()).unwrap();
        drop(directory.prepare(4096).unwrap());
        directory.discard(); // as if somebody had taken it away
        let refused = directory.publish().map(|_| ()).unwrap_err();
        assert!(matches!(&refused, OpenError::Io { step: "rename", .. }), "{refused:?}");
        assert_eq!(std::fs::read(dir.path().join(CURRENT)).unwrap(), b"the last run's");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2, "it and the lock");
    }

    #[test]
    fn only_a_number_as_it_is_written_here_is_one() {
        assert_eq!(number_in("blackbox-7.ngbb"), Some(7));
        for other in ["blackbox-07.ngbb", "blackbox-+7.ngbb", "blackbox-.ngbb", "blackbox-7"] {
            assert_eq!(number_in(other), None, "{other}");
        }
        // Nothing could come after it.
        assert_eq!(number_in(&numbered(u64::MAX)), None);
        assert_eq!(number_in(&numbered(u64::MAX - 1)), Some(u64::MAX - 1));
    }
}
