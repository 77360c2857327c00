//! What the operating system refuses for a while, and when it is tried again. Never the end of a log:
//! nothing that was told is in doubt.

use std::io;
use std::time::Duration;

use crate::Failure;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// Pause before the first new try. Nobody tells when there is space or a descriptor again.
const PAUSE: Duration = Duration::from_millis(10);
/// Doublings of it: at last six tries in a second.
const DOUBLINGS_MAX: u32 = 4;

/// How long to wait before the next try, after so many.
pub(crate) fn pause_after(tries: u32) -> Duration {
    PAUSE * (1 << tries.min(DOUBLINGS_MAX))
}

/// Whether a write failed before it did anything, for want of something that may come back. Any
/// other failure of a write leaves its effect unknown.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock,
    };
    let kinds = [FileTooLarge, Interrupted, OutOfMemory, QuotaExceeded, StorageFull, WouldBlock];
    kinds.contains(&error.kind()) || is_want_of_descriptors(error)
}

/// Whether there is no room on the disk, or no share of it: then less of it may still do.
pub(crate) fn is_want_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a sync of the directory failed before it began: it opens the directory first, and may be
/// interrupted. Any other failure of a sync is final.
pub(crate) fn is_before_sync(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted || is_want_of_descriptors(error)
}

/// The process or the system has no descriptor left; the standard library has no kind for that.
fn is_want_of_descriptors(error: &io::Error) -> bool {
    // ENFILE, EMFILE: the same numbers wherever there are errno's. Windows: ERROR_TOO_MANY_OPEN_FILES.
    let numbers: &[i32] = if cfg!(windows) { &[4] } else { &[23, 24] };
    error.raw_os_error().is_some_and(|errno| numbers.contains(&errno))
}

/// Who meets an obstacle, and tries again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Writer,
    Janitor,
}

/// What is refused at present.
#[derive(Default)]
pub(crate) struct Obstacles {
    now: Mutex<[Option<Failure>; 2]>,
    any: AtomicBool,
}

impl Obstacles {
    /// Whether it is the first in this place since the last success.
    pub(crate) fn meet(&self, who: Who, failure: Failure) -> bool {
        let mut now = self.now.lock();
        self.any.store(true, Ordering::Release);
        now[who as usize].replace(failure).is_none()
    }

    pub(crate) fn overcome(&self, who: Who) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut now = self.now.lock();
        now[who as usize] = None;
        self.any.store(now.iter().any(Option::is_some), Ordering::Release);
    }

    /// One of those there are, the writer's first.
    pub(crate) fn first(&self) -> Option<Failure> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.now.lock().iter().flatten().next().cloned()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_lasts_until_who_met_it_has_overcome_it() {
        let obstacles = Obstacles::default();
        let failure =
            |name: &str| Failure::io("write", name, 0, &io::ErrorKind::StorageFull.into());
        assert!(obstacles.meet(Who::Writer, failure("a")));
        assert!(!obstacles.meet(Who::Writer, failure("a")));
        assert!(obstacles.meet(Who::Janitor, failure("b")));
        obstacles.overcome(Who::Writer);
        assert_eq!(obstacles.first(), Some(failure("b")));
        obstacles.overcome(Who::Janitor);
        assert_eq!(obstacles.first(), None);
    }
}
