//! The machine and the build that a report was made on. Reads the kernel's files; one that is missing means "not known"
//! and is never an error.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

/// The `machine` section of the report.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// Cores this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
    /// Of the folder that the report goes to.
    pub(crate) filesystem: String,
    /// Transparent huge pages: always, madvise or never.
    pub(crate) thp: String,
}

impl Machine {
    pub(crate) fn look(dir: &Path) -> Machine {
        Machine {
            cpu: cpu_model().unwrap_or_else(|| std::env::consts::ARCH.into()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            filesystem: filesystem(dir),
            thp: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }
}

fn filesystem(dir: &Path) -> String {
    dir.canonicalize()
        .ok()
        .and_then(|dir| mount_type(&read("/proc/self/mountinfo"), &dir))
        .unwrap_or_else(|| "unknown".into())
}

/// Whether a sync of files in `dir` can mean that they are on a disk of this machine.
pub(crate) fn has_disk(dir: &Path) -> bool {
    !matches!(&*filesystem(dir), "tmpfs" | "ramfs" | "overlay" | "9p" | "proc" | "unknown")
}

/// The first line that a program prints, if it is there and succeeds.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.to_owned();
    output.status.success().then_some(line)
}

/// Memory that the kernel would give without swapping.
pub(crate) fn memory_available_bytes() -> Option<u64> {
    meminfo("MemAvailable")
}

/// The version of a peer that this build uses; empty if it uses none.
#[cfg_attr(not(feature = "peers"), allow(dead_code))]
pub(crate) fn version_in_lock(name: &str) -> &'static str {
    version_of(include_str!("../../Cargo.lock"), name).unwrap_or_default()
}

#[cfg_attr(not(feature = "peers"), allow(dead_code))]
fn version_of<'a>(lock: &'a str, name: &str) -> Option<&'a str> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

fn meminfo(name: &str) -> Option<u64> {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_model() -> Option<String> {
    read("/proc/cpuinfo").lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    })
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or_else(|| "unknown".into(), |(word, _)| word.into())
}

/// The type of the mount with the longest matching path; of two on the same path, the later one.
fn mount_type(mountinfo: &str, dir: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " "));
        let depth = dir.starts_with(&point).then(|| point.components().count())?;
        Some((depth, kind.split(' ').next()?.to_owned()))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, kind)| kind)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_a_peers_version() {
        let lock = "[[package]]\nname = \"slot\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"slotmap\"\nversion = \"1.1.1\"\n";
        assert_eq!(version_of(lock, "slotmap"), Some("1.1.1"));
        assert_eq!(version_of(lock, "absent"), None);
        assert_ne!(version_in_lock("slotmap"), "");
    }

    #[test]
    fn the_deepest_mount_that_holds_the_folder_counts() {
        let mounts =
            "1 1 8:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /home rw shared:1 - btrfs /dev/b rw\n";
        let kind = |dir| mount_type(mounts, Path::new(dir));
        assert_eq!(kind("/home/x").as_deref(), Some("btrfs"));
        assert_eq!(kind("/homes").as_deref(), Some("ext4"));
    }

    #[test]
    fn the_chosen_page_policy_is_the_one_in_brackets() {
        assert_eq!(chosen("always [madvise] never\n"), "madvise");
        assert_eq!(chosen(""), "unknown");
    }
}
