//! The lock of a directory: a file LOCK with a lock of the operating system on it. What stands in the
//! file only tells a person who has it.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use super::directory::{Directory, Opening};
use crate::home::Home;
use crate::mutants;

pub(crate) const LOCK: &str = "LOCK";
/// More of the file is not shown.
const TEXT_BYTES_MAX: u64 = 64;

/// Why a directory's lock was not taken. Nothing was changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another handle, in this process or another, has it.
    #[error("{}: locked: held by {holder}", file.display())]
    Held {
        /// The file LOCK.
        file: PathBuf,
        /// What it says of its holder, and whether that process is there; informational.
        holder: String,
    },
    /// The operating system refused, or LOCK is not a regular file.
    #[error("{}: {operation} failed", file.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file LOCK.
        file: PathBuf,
        /// The answer.
        #[source]
        source: io::Error,
    },
}

/// A directory's lock, held until it is dropped; the operating system lets go of it with the process.
/// Dropped in a forked child, it stays with the parent.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
    home: Home,
}

impl Directory {
    /// Takes the lock of this directory: the file LOCK in it, which is made if it is absent. One handle
    /// has it at a time, in this process or any other. Does not wait.
    pub fn lock(&self) -> Result<DirectoryLock, LockError> {
        let path = || self.path().join(LOCK);
        let failed = |operation| move |source| LockError::Io { operation, file: path(), source };
        let mut file = self.file(LOCK, Opening::Keep).map_err(failed("open"))?;
        match file.try_lock() {
            _ if mutants::on("wal-m28-lock-skipped") => {}
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { file: path(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock")(e)),
        }
        // Informational: the lock decides, so a full disk is no reason to refuse.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("pid {}\n", std::process::id()).as_bytes()));
        Ok(DirectoryLock { file, home: Home::here() })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // What a forked child unlocks, it unlocks for its parent.
        if !self.home.is_here() && !mutants::on("wal-forked-child-unlocks") {
            return;
        }
        // Closing alone would not do: a child that another thread has just forked has the file open
        // until it runs its program. If this fails, the closing that follows still gives it back.
        let _ = self.file.unlock();
    }
}

/// Who has the lock, by what the file says.
fn holder(file: &mut File) -> String {
    let mut text = Vec::new();
    // Where it can't be read, nothing is known.
    let _ = file.take(TEXT_BYTES_MAX).read_to_end(&mut text);
    told(String::from_utf8_lossy(&text).trim())
}

fn told(text: &str) -> String {
    let pid = text.strip_prefix("pid ").and_then(|pid| pid.parse::<u32>().ok());
    match pid.map(|pid| (pid, is_there(pid))) {
        None if text.is_empty() => "another handle".into(),
        None => format!("somebody who wrote {text:?} into it"),
        Some((pid, _)) if pid == std::process::id() => format!("pid {pid}, this process"),
        Some((pid, Some(true))) => format!("pid {pid}, a process that is running"),
        Some((pid, Some(false))) => {
            format!("a process that got it from pid {pid}, which is not running (here)")
        }
        Some((pid, None)) => format!("pid {pid}"),
    }
}

/// Whether there is such a process, as far as this one can see.
#[cfg(unix)]
fn is_there(pid: u32) -> Option<bool> {
    use rustix::process::{Pid, test_kill_process};
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    match test_kill_process(pid) {
        Ok(()) | Err(rustix::io::Errno::PERM) => Some(true),
        Err(rustix::io::Errno::SRCH) => Some(false),
        Err(_) => None,
    }
}

#[cfg(not(unix))]
fn is_there(_pid: u32) -> Option<bool> {
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_given_back_though_a_child_about_to_start_has_its_file_open() {
        let path = tempfile::tempdir().unwrap();
        let dir = Directory::open(path.path()).unwrap();
        let held = dir.lock().unwrap();
        // As fork does, this shares what is open, and the lock with it.
        let inherited = held.file.try_clone().unwrap();
        assert!(dir.lock().is_err());
        drop(held);
        assert!(dir.lock().is_ok());
        drop(inherited);
    }

    #[test]
    fn a_lock_dropped_in_another_process_stays_with_the_one_that_took_it() {
        let path = tempfile::tempdir().unwrap();
        let dir = Directory::open(path.path()).unwrap();
        let held = dir.lock().unwrap();
        // What a fork leaves in the child: the same description, and the mark of the parent.
        let inherited =
            DirectoryLock { file: held.file.try_clone().unwrap(), home: Home::elsewhere() };
        drop(inherited);
        assert!(dir.lock().is_err());
        drop(held);
        assert!(dir.lock().is_ok());
    }

    #[test]
    fn who_is_refused_learns_the_file_and_whether_the_holder_is_there() {
        let path = tempfile::tempdir().unwrap();
        let dir = Directory::open(path.path()).unwrap();
        let _held = dir.lock().unwrap();
        let own = std::process::id();
        let error = dir.lock().unwrap_err().to_string();
        let file = path.path().join(LOCK);
        assert_eq!(error, format!("{}: locked: held by pid {own}, this process", file.display()));
        assert_eq!(told(""), "another handle");
        assert_eq!(told("pid x"), "somebody who wrote \"pid x\" into it");
        #[cfg(unix)]
        {
            // Nobody has the highest number there could be; process 1 is there always.
            assert!(told("pid 1").ends_with("running"), "{}", told("pid 1"));
            assert!(told("pid 2147483647").contains("not running"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_is_a_fifo_or_a_directory_is_refused_at_once_by_its_name() {
        let path = tempfile::tempdir().unwrap();
        let file = path.path().join(LOCK);
        let refused = |what: &str| {
            let error = Directory::open(path.path()).unwrap().lock().unwrap_err();
            let LockError::Io { file: named, source, .. } = &error else { panic!("{error}") };
            assert_eq!(named, &file);
            assert!(source.to_string().ends_with(what), "{source}");
        };
        std::fs::create_dir(&file).unwrap();
        refused("a directory");
        std::fs::remove_dir(&file).unwrap();
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &file, kind, mode, 0).unwrap();
        refused("a fifo");
    }
}
