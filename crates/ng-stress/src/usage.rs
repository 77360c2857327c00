//! What this process uses, as the kernel counts it: resident memory and processor time.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Resident set, in bytes. From smaps_rollup, which counts pages; status lags by a batch a core.
pub fn rss_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    field_kib(&rollup, "Rss:").or_else(|| field_kib(&status(), "VmRSS:")).unwrap_or(0)
}

/// Processor time of all threads of this process so far, in nanoseconds.
pub fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
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
        let touched = vec![1_u8; 32 << 20];
        let sum: u64 = touched.iter().map(|&b| u64::from(b)).sum();
        assert_eq!(sum, 32 << 20);
        assert!(rss_bytes() >= rss + (24 << 20));
        assert!(cpu_ns() > cpu);
    }
}
