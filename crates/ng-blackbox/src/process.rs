//! Which process made a recorder. A child that `fork` made has a copy of its parent's, whose file, lock
//! and lanes the kernel shares: in the child the copy does nothing.
//!
//! `fork` itself counts a number up in the child, so that recording asks with one load whether it is
//! where it was made. What happens seldom asks the kernel too: a child that was made by a bare
//! system call runs no handlers.

#[cfg(unix)]
use std::ffi::c_int;
use std::io;

#[cfg(unix)]
use crate::{clock, sync::OnceLock};
use crate::{
    mutants,
    sync::{AtomicU64, Ordering},
};

/// How many forks lie between this process and the first of its line that had a recorder.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The process that something was made in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Birth {
    generation: u64,
    pid: u32,
}

impl Birth {
    /// This process. Errors: the system cannot tell children that they are some.
    pub(crate) fn here() -> io::Result<Birth> {
        #[cfg(unix)]
        watch_forks()?;
        Ok(Birth { generation: GENERATION.load(Ordering::Relaxed), pid: std::process::id() })
    }

    /// Is this a child of the process that it was made in? One load and no system call.
    #[inline]
    pub(crate) fn is_elsewhere(&self) -> bool {
        GENERATION.load(Ordering::Relaxed) != self.generation && !mutants::on("blackbox-child-acts")
    }

    /// As [`Birth::is_elsewhere`], and the kernel is asked: for what acts on what parent and child share.
    pub(crate) fn is_elsewhere_by_the_kernel(&self) -> bool {
        let other_pid = self.pid != std::process::id();
        self.is_elsewhere() || other_pid && !mutants::on("blackbox-child-acts")
    }
}

/// Once for the process and all its children.
#[cfg(unix)]
fn watch_forks() -> io::Result<()> {
    static REFUSAL: OnceLock<c_int> = OnceLock::new();
    extern "C" fn in_child() {
        // Relaxed: the only thread that there is.
        GENERATION.fetch_add(1, Ordering::Relaxed);
        clock::forget_thread_number();
    }
    // SAFETY: `in_child` does what a child of a process with threads may: plain stores, no lock and no
    // allocation. It never unwinds.
    let register = || unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    match *REFUSAL.get_or_init(register) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
