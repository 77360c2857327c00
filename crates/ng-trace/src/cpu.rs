//! CPU time of the calling thread and of the process, where the operating system tells it.

/// CPU time of the calling thread. Unit: nanoseconds.
#[cfg(target_os = "linux")]
pub(crate) fn thread_ns() -> Option<u64> {
    read(rustix::time::ClockId::ThreadCPUTime)
}

/// CPU time of all threads of this process. Unit: nanoseconds.
#[cfg(target_os = "linux")]
pub(crate) fn process_ns() -> Option<u64> {
    read(rustix::time::ClockId::ProcessCPUTime)
}

#[cfg(target_os = "linux")]
fn read(clock: rustix::time::ClockId) -> Option<u64> {
    let time = rustix::time::clock_gettime(clock);
    let (seconds, ns) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
    Some(seconds * 1_000_000_000 + ns)
}

/// Elsewhere it is not known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn thread_ns() -> Option<u64> {
    None
}

/// Elsewhere it is not known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn process_ns() -> Option<u64> {
    None
}
