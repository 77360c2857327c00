//! Waiting for the next pulse: for an interval to pass, for stall time that the kernel reports, or
//! to be told to stop. Reads no figures.
//!
//! Where the kernel allows it (Linux 5.2 and later with PSI, and the right to write the file) the
//! alarm rings as soon as tasks have lost a fourteenth of a second waiting for memory, so that the
//! next reading is not a whole interval late. Everywhere else only the interval counts.

use std::io;
use std::time::Duration;

use crate::guardian::Guardian;
use crate::pressure::Source;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Woken {
    /// The interval has passed.
    Interval,
    /// Tasks lost time waiting for memory.
    Stall,
    /// [`Alarm::stop`] was called, now or earlier.
    Stopped,
}

/// Wakes the one thread that pulses a guardian.
#[derive(Debug)]
pub struct Alarm(imp::Alarm);

impl Guardian {
    /// An alarm for the thread that pulses this guardian.
    ///
    /// Errors: the system's, if it has no descriptor to give. That stall time cannot be watched is
    /// no error: see [`Alarm::watches`].
    pub fn alarm(&self) -> io::Result<Alarm> {
        imp::Alarm::new(&self.stalls()).map(Alarm)
    }
}

impl Alarm {
    /// Waits until `interval` has passed, stall time is reported, or [`stop`](Self::stop) is
    /// called. For one thread at a time.
    pub fn wait(&self, interval: Duration) -> Woken {
        self.0.wait(interval)
    }

    /// Ends the present wait and every later one.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Was [`stop`](Self::stop) called?
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }

    /// Whose stall time rings the alarm; `None` if the kernel reports none, or no longer.
    pub fn watches(&self) -> Option<Source> {
        self.0.watches()
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

    use super::Woken;
    use crate::pressure::Source;
    use crate::sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Relaxed, Release},
    };

    /// 70 ms lost in a second. The second form is the shortest that a user without rights may ask
    /// for: windows of whole multiples of two seconds.
    const TRIGGERS: [&[u8]; 2] = [b"some 70000 1000000\0", b"some 140000 2000000\0"];

    #[derive(Debug)]
    pub(super) struct Alarm {
        stopped: AtomicBool,
        /// Written once, never read: from then on every wait ends at once.
        bell: OwnedFd,
        stall: Option<(Source, File)>,
        /// The cgroup was removed: its file reports errors without end.
        stall_gone: AtomicBool,
    }

    impl Alarm {
        pub(super) fn new(stalls: &[(Source, PathBuf)]) -> io::Result<Self> {
            let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let stall = stalls.iter().find_map(|(source, path)| Some((*source, trigger(path)?)));
            let (stopped, stall_gone) = (AtomicBool::new(false), AtomicBool::new(false));
            Ok(Self { stopped, bell, stall, stall_gone })
        }

        pub(super) fn wait(&self, interval: Duration) -> Woken {
            // An interval that no clock can hold is one without an end.
            let deadline = Instant::now().checked_add(interval);
            loop {
                if self.is_stopped() {
                    return Woken::Stopped;
                }
                let mut watched = vec![PollFd::new(&self.bell, PollFlags::IN)];
                if let (Some((_, file)), false) = (&self.stall, self.stall_gone.load(Relaxed)) {
                    watched.push(PollFd::new(file, PollFlags::PRI));
                }
                let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                let left = left.and_then(|left| Timespec::try_from(left).ok());
                let ready = poll(&mut watched, left.as_ref());
                let stall = watched.get(1).map_or(PollFlags::empty(), PollFd::revents);
                if self.is_stopped() {
                    return Woken::Stopped;
                }
                if stall.intersects(PollFlags::ERR | PollFlags::NVAL | PollFlags::HUP) {
                    self.stall_gone.store(true, Relaxed);
                } else if stall.contains(PollFlags::PRI) {
                    return Woken::Stall;
                } else if !matches!(ready, Err(rustix::io::Errno::INTR)) {
                    return Woken::Interval;
                }
            }
        }

        pub(super) fn stop(&self) {
            self.stopped.store(true, Release);
            // Fails only if the counter is at its end, and then the bell rings already.
            let _full = rustix::io::write(&self.bell, &[1; 8]);
        }

        pub(super) fn is_stopped(&self) -> bool {
            self.stopped.load(Acquire)
        }

        pub(super) fn watches(&self) -> Option<Source> {
            let (source, _) = self.stall.as_ref()?;
            (!self.stall_gone.load(Relaxed)).then_some(*source)
        }
    }

    /// The file, with a trigger set on it; `None` where the kernel does not allow that.
    fn trigger(path: &Path) -> Option<File> {
        TRIGGERS.into_iter().find_map(|trigger| {
            let mut file = File::options().read(true).write(true).open(path).ok()?;
            // The kernel's files say 0. Any other is somebody's copy, and must not be written to.
            if file.metadata().ok()?.len() != 0 {
                return None;
            }
            file.write_all(trigger).ok()?;
            Some(file)
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::io;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::Woken;
    use crate::pressure::Source;
    use crate::sync::{BellCondvar, BellMutex};

    #[derive(Debug, Default)]
    pub(super) struct Alarm {
        stopped: BellMutex<bool>,
        bell: BellCondvar,
    }

    impl Alarm {
        pub(super) fn new(_stalls: &[(Source, PathBuf)]) -> io::Result<Self> {
            Ok(Self::default())
        }

        pub(super) fn wait(&self, interval: Duration) -> Woken {
            let mut stopped = self.stopped.lock();
            self.bell.wait_while_for(&mut stopped, |stopped| !*stopped, interval);
            if *stopped { Woken::Stopped } else { Woken::Interval }
        }

        pub(super) fn stop(&self) {
            *self.stopped.lock() = true;
            self.bell.notify_all();
        }

        pub(super) fn is_stopped(&self) -> bool {
            *self.stopped.lock()
        }

        pub(super) fn watches(&self) -> Option<Source> {
            None
        }
    }
}
