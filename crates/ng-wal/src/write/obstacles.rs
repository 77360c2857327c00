//! What the operating system refuses for a while, and when it is tried again. Never the end of a log:
//! nothing that was told is in doubt.

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
    use std::io;

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
