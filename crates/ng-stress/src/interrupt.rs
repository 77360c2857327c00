//! Ctrl-C: what must be undone before the process may end, and the one thread that undoes it.
//!
//! The idea: all that would outlive us (the working directory, the child) is registered in one
//! place behind one lock, and whoever makes such a thing holds that lock while making it. So the
//! handler, once it has the lock, sees everything and nothing new can appear.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::console;
use crate::failure::{EXIT_INTERRUPTED, Failure};

/// What is ours and would stay behind.
#[derive(Debug, Default)]
pub struct Owned {
    /// The working directory.
    pub workdir: Option<PathBuf>,
    /// The report's directory, while it is ours and still empty.
    pub out: Option<PathBuf>,
    /// The child of the recovery phase.
    pub child: Option<Child>,
}

static OWNED: Mutex<Owned> = Mutex::new(Owned { workdir: None, out: None, child: None });
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Registers the handler for SIGINT, SIGTERM and SIGHUP.
pub fn install() -> Result<(), Failure> {
    ctrlc::set_handler(on_interrupt)
        .map_err(|e| Failure::Environment(format!("cannot listen for Ctrl-C: {e}")))
}

/// What is registered. While the guard lives, an interrupt waits: hold it to make something that
/// would stay behind, and not for longer than that takes.
pub fn owned() -> MutexGuard<'static, Owned> {
    // A panic while the lock was held leaves the list as true as it was.
    OWNED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Never returns once an interrupt came: the handler is about to end the process, and the errors
/// that its cleaning causes elsewhere are no news.
pub fn yield_to_handler() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

fn on_interrupt() {
    INTERRUPTED.store(true, Ordering::SeqCst);
    console::tell(format_args!("ng-stress: interrupted\n"));
    let mut owned = owned();
    if let Some(child) = &mut owned.child {
        // An error here means that it has ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
    if let Some(dir) = &owned.workdir {
        let _ = remove_tree(dir);
    }
    if let Some(dir) = &owned.out {
        // Only an empty directory goes: remove_dir refuses any other.
        let _ = std::fs::remove_dir(dir);
    }
    // The guard is never released, so that no other thread makes anything new before the end.
    std::process::exit(EXIT_INTERRUPTED);
}

/// Removes `dir` though other threads may still be creating files in it.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    // 1000: each round can only fail because a file appeared during it, and the log's background
    // threads make a file now and then, not a thousand in a row.
    let mut last = Ok(());
    for _ in 0..1000 {
        match std::fs::remove_dir_all(dir) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.exists() => return Ok(()),
            Err(e) => last = Err(e),
        }
    }
    last
}
