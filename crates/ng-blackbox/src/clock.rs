//! When and who: the recorder's clock, what ties it to other clocks, and the number of this thread.
//!
//! The clock is the processor's cycle counter in nanoseconds since open: cheap, the same for all
//! threads, and worth nothing after death without the anchors beside it.

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

#[derive(Debug)]
pub(crate) struct Clock {
    counter: quanta::Clock,
    origin: u64,
}

/// The same moment on three clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    pub(crate) time_ns: u64,
    pub(crate) unix_ns: u64,
    pub(crate) monotonic_ns: u64,
}

impl Clock {
    /// Starts at 0. The first one in a process may take 200 ms to find out how fast the counter runs.
    pub(crate) fn start() -> Clock {
        let counter = quanta::Clock::new();
        let origin = counter.raw();
        Clock { counter, origin }
    }

    /// Unit: nanoseconds since [`Clock::start`].
    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        self.ns_at(self.counter.raw())
    }

    /// What [`Clock::now_ns`] was at a raw reading of the counter; 0 for one before the start.
    #[inline]
    pub(crate) fn ns_at(&self, counter: u64) -> u64 {
        self.counter.delta_as_nanos(self.origin, counter)
    }

    pub(crate) fn anchor(&self) -> Anchor {
        let time_ns = self.now_ns();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Anchor { time_ns, unix_ns: unix.as_nanos() as u64, monotonic_ns: system_monotonic_ns() }
    }
}

/// What other programs of the machine call their monotonic clock; 0 where there is no such clock.
fn system_monotonic_ns() -> u64 {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
    }
    #[cfg(not(unix))]
    0
}

thread_local!(static NUMBER: Cell<u32> = const { Cell::new(0) });

/// The kernel's number of this thread on Linux; asked for once a thread, so recording makes no system call.
#[inline]
pub(crate) fn thread_number() -> u32 {
    if NUMBER.get() == 0 {
        NUMBER.set(next_thread_number());
    }
    NUMBER.get()
}

/// In a child that `fork` made: its one thread has another number than the one that it is a copy of.
#[cfg(unix)]
pub(crate) fn forget_thread_number() {
    NUMBER.set(0);
}

#[cfg(target_os = "linux")]
fn next_thread_number() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

/// Threads are numbered here, from 1 on, where the kernel has no number of 32 bits for each.
#[cfg(not(target_os = "linux"))]
fn next_thread_number() -> u32 {
    use crate::sync::{AtomicU64, Ordering};
    static THREADS: AtomicU64 = AtomicU64::new(0);
    (THREADS.fetch_add(1, Ordering::Relaxed) + 1) as u32
}

/// All zeroes where the system has none.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}
