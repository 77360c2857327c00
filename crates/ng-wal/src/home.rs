//! Which process made something, and whether that is still this one. A fork copies memory but no thread,
//! and shares with the parent what the kernel holds: locks, open files. So a child must not use, nor
//! clean up, what its parent made.

use crate::mutants;
use crate::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The process in which it was made.
#[derive(Clone, Copy, Debug)]
pub struct Home {
    pid: u32,
    /// Holds the number of the process that reads it; none where the system can't do that.
    here: Option<&'static AtomicU32>,
}

/// Used in a child of the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forked {
    /// The process that made it.
    pub opened_by: u32,
}

impl Home {
    /// This process.
    pub fn here() -> Self {
        let (pid, here) = (std::process::id(), wiped_on_fork());
        if let Some(here) = here {
            here.store(pid, Relaxed);
        }
        Self { pid, here }
    }

    /// Is this the process that made it? Takes no lock, and where a kernel forgets a page at a fork no
    /// system call.
    #[inline]
    pub fn is_here(&self) -> bool {
        self.pid == self.here.map_or_else(std::process::id, |here| here.load(Relaxed))
    }

    /// The error of a call in another process.
    #[inline]
    pub fn check(&self) -> Result<(), Forked> {
        if self.is_here() || mutants::on("wal-forked-child-goes-on") {
            Ok(())
        } else {
            Err(Forked { opened_by: self.pid })
        }
    }
}

/// Memory that is zero in a child, whatever stood in it before the fork.
#[cfg(target_os = "linux")]
fn wiped_on_fork() -> Option<&'static AtomicU32> {
    use crate::sync::OnceLock;
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    /// The kernel makes it a whole page.
    const BYTES: usize = 4096;
    static PAGE: OnceLock<Option<&'static AtomicU32>> = OnceLock::new();
    *PAGE.get_or_init(|| {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let page = unsafe {
            mmap_anonymous(std::ptr::null_mut(), BYTES, protection, MapFlags::PRIVATE).ok()?
        };
        // SAFETY: the mapping just made, which nobody else knows.
        if unsafe { madvise(page, BYTES, Advice::LinuxWipeOnFork) }.is_err() {
            // SAFETY: as above; if this fails, a page is lost.
            let _ = unsafe { munmap(page, BYTES) };
            return None;
        }
        // SAFETY: aligned to a page, zeroed, never unmapped, and only ever used as this atomic.
        Some(unsafe { &*page.cast::<AtomicU32>() })
    })
}

#[cfg(not(target_os = "linux"))]
fn wiped_on_fork() -> Option<&'static AtomicU32> {
    None
}

#[cfg(all(test, not(loom)))]
impl Home {
    /// As one that another process made.
    pub(crate) fn elsewhere() -> Self {
        let here = Self::here();
        Self { pid: here.pid + 1, ..here }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_here_is_at_home_and_what_another_process_made_is_not() {
        let home = Home::here();
        assert_eq!(home.check(), Ok(()));
        let elsewhere = Home::elsewhere();
        assert_eq!(elsewhere.check(), Err(Forked { opened_by: home.pid + 1 }));
        // As in a child, in which nothing was opened yet.
        static WIPED: AtomicU32 = AtomicU32::new(0);
        let wiped = Home { here: Some(&WIPED), ..home };
        assert!(!wiped.is_here());
        // And where there is no such memory.
        assert!(Home { here: None, ..home }.is_here());
    }
}
