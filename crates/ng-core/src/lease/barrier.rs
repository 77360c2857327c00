//! A fence with two unequal sides: free for the side that runs on every create, dear for the rare one.
//!
//! Two threads each store and then load what the other stores; at least one must see the other. On
//! Linux the rare side asks the kernel to fence every running thread of the process
//! (membarrier PRIVATE_EXPEDITED), so the common side needs no instruction, only the compiler's
//! promise not to reorder. Where the kernel lacks it both sides use an ordinary fence.

use crate::sync::atomic::{Ordering::SeqCst, fence};
use crate::sync::compiler_fence;

/// Which of the two ways this process has; found once, when an arena is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Barrier {
    asymmetric: bool,
}

impl Barrier {
    #[cfg(all(target_os = "linux", not(all(test, any(loom, shuttle)))))]
    pub(crate) fn detect() -> Barrier {
        use rustix::thread::{MembarrierCommand, membarrier};
        let asymmetric = membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok();
        Barrier { asymmetric }
    }

    #[cfg(any(not(target_os = "linux"), all(test, any(loom, shuttle))))]
    pub(crate) fn detect() -> Barrier {
        Barrier { asymmetric: false }
    }

    /// The common side's fence.
    #[inline(always)]
    pub(crate) fn light(self) {
        if self.asymmetric {
            compiler_fence(SeqCst);
        } else {
            fence(SeqCst);
        }
    }

    /// The rare side's fence.
    pub(crate) fn heavy(self) {
        #[cfg(all(target_os = "linux", not(all(test, any(loom, shuttle)))))]
        if self.asymmetric {
            use rustix::thread::{MembarrierCommand, membarrier};
            let done = membarrier(MembarrierCommand::PrivateExpedited);
            // The command was registered when the arena was made; it has no other way to fail.
            assert!(done.is_ok(), "membarrier failed after its registration: {done:?}");
            return;
        }
        fence(SeqCst);
    }
}
