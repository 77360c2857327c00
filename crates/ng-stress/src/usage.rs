//! What this process uses, as the kernel counts it: resident memory and processor time. And a heap
//! that does not stand in the way of the first.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

use crate::failure::Failure;

/// Resident set, in bytes. From smaps_rollup, which counts pages; status lags by a batch a core.
pub fn rss_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    field_kib(&rollup, "Rss:").or_else(|| field_kib(&status(), "VmRSS:")).unwrap_or(0)
}

/// Variable that fixes the size from which glibc's malloc asks the kernel for each block.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

/// Starts this program again, in place, with a C library that gives every freed large block back to
/// the kernel. By default glibc raises the size from which it does so to that of the largest block
/// ever freed; the span rings of one run would then stay in the heap, and resident memory would
/// tell of that instead of the store. Elsewhere the variable means nothing.
pub fn with_plain_heap() -> Result<(), Failure> {
    if std::env::var_os(MMAP_THRESHOLD).is_some() {
        return Ok(());
    }
    let program = std::env::current_exe().map_err(Failure::io("find", "this program"))?;
    let mut again = Command::new(&program);
    // 128 KiB: where the threshold begins without the variable.
    again.args(std::env::args_os().skip(1)).env(MMAP_THRESHOLD, "131072");
    Err(Failure::io("start", program)(again.exec()))
}

/// Processor time of all threads of this process so far, in nanoseconds.
pub fn cpu_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

/// Processor time of the calling thread so far, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::ThreadCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Entries of a directory of the kernel's: descriptors or threads. What this look itself needs is among them.
pub fn entries(dir: &str) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}

/// Address space in use, in bytes.
pub fn address_space_bytes() -> u64 {
    field_kib(&status(), "VmSize:").unwrap_or(0)
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_memory_and_spent_time_are_seen() {
        let (rss, cpu) = (rss_bytes(), cpu_ns());
        let touched = vec![1_u8; 128 << 20];
        let sum: u64 = touched.iter().map(|&b| u64::from(b)).sum();
        assert_eq!(sum, 128 << 20);
        // Half: other tests give memory back meanwhile.
        assert!(rss_bytes() >= rss + (64 << 20));
        assert!(cpu_ns() > cpu);
    }
}
