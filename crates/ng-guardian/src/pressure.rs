//! What the kernel says about memory: resident bytes, cgroup use and limit, stall time. Reads
//! small files and judges nothing; a missing or unreadable file is normal and reads as `None`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::PressureSources;
use crate::level::Cause;
use crate::mutants;

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Resident pages of `/proc/self/statm`, or `Rss` of `/proc/self/smaps_rollup` where that is
    /// missing; held against the machine's memory or `max_memory_bytes`. Not the latter first: it
    /// walks all page tables, which for a large process takes milliseconds.
    Process,
    /// Unified hierarchy: `memory.current` without inactive file pages, against the lower of
    /// `memory.max` and `memory.high`.
    CgroupV2,
    /// Version 1: `memory.usage_in_bytes` without inactive file pages, against
    /// `memory.limit_in_bytes`.
    CgroupV1,
    /// `memory.pressure` of the own cgroup.
    CgroupStall,
    /// `/proc/pressure/memory`: the whole machine.
    MachineStall,
}

impl Source {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Source::Process => Cause::Process,
            Source::CgroupV2 | Source::CgroupV1 => Cause::Cgroup,
            Source::CgroupStall | Source::MachineStall => Cause::Stall,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Process => "the process's resident size",
            Source::CgroupV2 => "cgroup v2",
            Source::CgroupV1 => "cgroup v1",
            Source::CgroupStall => "the cgroup's stall time",
            Source::MachineStall => "the machine's stall time",
        })
    }
}

/// A use and the limit it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// Where it was read.
    pub source: Source,
    /// Unit: bytes.
    pub used_bytes: u64,
    /// Unit: bytes. `None` if there is no limit or it could not be read.
    pub limit_bytes: Option<u64>,
}

impl Figure {
    /// Use divided by limit; `None` without a limit.
    pub fn share(&self) -> Option<f64> {
        self.limit_bytes.map(|limit| match limit {
            0 => 1.0,
            _ => self.used_bytes as f64 / limit as f64,
        })
    }

    pub(crate) fn room_bytes(&self) -> Option<u64> {
        self.limit_bytes.map(|limit| limit.saturating_sub(self.used_bytes))
    }
}

/// Time in which some task waited for memory, mean of ten seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stall {
    /// Where it was read.
    pub source: Source,
    /// Unit: percent, 0 to 100.
    pub percent: f64,
}

/// All that one look at the kernel's files gave.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reading {
    /// The process's resident bytes.
    pub process: Option<Figure>,
    /// That cgroup among ours and its ancestors which is nearest to its limit; without any limit
    /// there is no figure.
    pub cgroup: Option<Figure>,
    /// Of the own cgroup if it says, else of the machine.
    pub stall: Option<Stall>,
    /// When this was read.
    pub at: Instant,
}

/// Stall time that counts as a full limit, in hundredths of a percent. 60 %: where systemd-oomd
/// kills by default.
pub(crate) const STALL_FULL_CENTS: u64 = 6_000;

impl Reading {
    pub(crate) fn figures(&self) -> impl Iterator<Item = Figure> {
        [self.process, self.cgroup].into_iter().flatten()
    }
}

impl Stall {
    pub(crate) fn cents(&self) -> u64 {
        (self.percent * 100.0).round() as u64 // at most 10,000 by how it was read
    }
}

/// The files' names in one version of cgroups.
#[derive(Clone, Copy, Debug)]
struct Layout {
    source: Source,
    used: &'static str,
    limits: &'static [&'static str],
    inactive_file: &'static str,
}

const V2: Layout = Layout {
    source: Source::CgroupV2,
    used: "memory.current",
    limits: &["memory.max", "memory.high"],
    inactive_file: "inactive_file",
};

const V1: Layout = Layout {
    source: Source::CgroupV1,
    used: "memory.usage_in_bytes",
    limits: &["memory.limit_in_bytes"],
    inactive_file: "total_inactive_file",
};

/// A limit from here on is version 1's way to say that there is none.
const V1_NO_LIMIT: u64 = 1 << 60;

/// The files, found once.
#[derive(Debug)]
pub(crate) struct KernelReader {
    statm: PathBuf,
    smaps_rollup: PathBuf,
    machine_bytes: Option<u64>,
    /// Own cgroup first, then its ancestors.
    cgroups: Vec<(Layout, PathBuf)>,
    stalls: Vec<(Source, PathBuf)>,
}

impl KernelReader {
    /// Finds the files below `root`.
    pub(crate) fn find(root: &Path) -> Self {
        let proc = root.join("proc");
        let cgroups = find_cgroups(root);
        let mut stalls = vec![(Source::MachineStall, proc.join("pressure/memory"))];
        if let Some((layout, own)) = cgroups.first()
            && layout.source == Source::CgroupV2
        {
            stalls.insert(0, (Source::CgroupStall, own.join("memory.pressure")));
        }
        let machine_bytes = read(&proc.join("meminfo")).and_then(|text| {
            let kib: u64 = text.lines().find_map(|line| field(line, "MemTotal:"))?;
            kib.checked_mul(1024)
        });
        let own = |name: &str| proc.join("self").join(name);
        Self {
            statm: own("statm"),
            smaps_rollup: own("smaps_rollup"),
            machine_bytes,
            cgroups,
            stalls,
        }
    }

    /// Reads the files of these sources; a handful of system calls.
    pub(crate) fn read(&self, sources: PressureSources) -> Reading {
        Reading {
            process: sources.process.then(|| self.read_process()).flatten(),
            cgroup: sources.cgroup.then(|| self.read_cgroup()).flatten(),
            stall: sources.stall.then(|| self.read_stall()).flatten(),
            at: Instant::now(),
        }
    }

    /// Where stall time can be watched, the nearest first.
    pub(crate) fn stalls(&self) -> &[(Source, PathBuf)] {
        &self.stalls
    }

    fn read_stall(&self) -> Option<Stall> {
        self.stalls.iter().find_map(|(source, path)| {
            Some(Stall { source: *source, percent: stall_percent(&read(path)?)? })
        })
    }

    fn read_process(&self) -> Option<Figure> {
        let used_bytes = self.read_statm().or_else(|| {
            let text = read(&self.smaps_rollup)?;
            let kib: u64 = text.lines().find_map(|line| field(line, "Rss:"))?;
            kib.checked_mul(1024)
        })?;
        Some(Figure { source: Source::Process, used_bytes, limit_bytes: self.machine_bytes })
    }

    fn read_statm(&self) -> Option<u64> {
        let text = read(&self.statm)?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        pages.checked_mul(page_bytes())
    }

    fn read_cgroup(&self) -> Option<Figure> {
        let figures = self.cgroups.iter().filter_map(|(layout, path)| read_group(layout, path));
        figures.max_by(|a, b| a.share().unwrap_or(0.0).total_cmp(&b.share().unwrap_or(0.0)))
    }
}

/// Our cgroup and its ancestors, from `/proc/self/cgroup`: lines `0::/path` (v2) or
/// `N:memory,…:/path` (v1). Where both hierarchies are mounted, v1 has the memory controller if it
/// names it.
fn find_cgroups(root: &Path) -> Vec<(Layout, PathBuf)> {
    let text = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let path_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            wanted(number, controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let v1 = path_of(&|_, controllers| controllers.split(',').any(|name| name == "memory"));
    let v2 = path_of(&|number, controllers| number == "0" && controllers.is_empty());
    let (layout, mount, path) = match (v1, v2) {
        (Some(path), _) => (V1, root.join("sys/fs/cgroup/memory"), path),
        (None, Some(path)) => (V2, root.join("sys/fs/cgroup"), path),
        (None, None) => return Vec::new(),
    };
    // In a container the path may be the host's while the mount shows only our own subtree: then
    // the part that exists is the mount's root.
    let own = mount.join(path);
    let ancestors = own.ancestors().take_while(|dir| dir.starts_with(&mount));
    ancestors.filter(|dir| dir.is_dir()).map(|dir| (layout, dir.to_owned())).collect()
}

fn read_group(layout: &Layout, path: &Path) -> Option<Figure> {
    let limit = layout.limits.iter().filter_map(|name| number(&path.join(name))).min()?;
    if limit >= V1_NO_LIMIT {
        return None;
    }
    let mut used_bytes = number(&path.join(layout.used))?;
    // Pages of files that nobody used lately are the kernel's to drop: a store that writes a log
    // fills any limit with them. memory.stat costs the kernel work, so not while all is well.
    if used_bytes >= limit / 2 && !mutants::on("guardian-inactive-pages-counted") {
        let stat = read(&path.join("memory.stat")).unwrap_or_default();
        let inactive = stat.lines().find_map(|line| field(line, layout.inactive_file));
        used_bytes = used_bytes.saturating_sub(inactive.unwrap_or(0));
    }
    Some(Figure { source: layout.source, used_bytes, limit_bytes: Some(limit) })
}

/// The percentage in `some avg10=1.23 avg60=… `.
fn stall_percent(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let avg10 = some.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    avg10.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))
}

/// The number after `name` and white space.
fn field(line: &str, name: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    (words.next()? == name).then(|| words.next()?.parse().ok())?
}

/// A file that holds one number; "max" is none.
fn number(path: &Path) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(unix)]
pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

#[cfg(not(unix))]
pub(crate) fn page_bytes() -> u64 {
    4096 // never used: there is no statm
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        root
    }

    fn reading(files: &[(&str, &str)]) -> Reading {
        let root = tree(files);
        KernelReader::find(root.path()).read(PressureSources::default())
    }

    #[test]
    fn no_files_at_all_is_normal() {
        let reading = reading(&[]);
        assert_eq!((reading.process, reading.cgroup, reading.stall), (None, None, None));
    }

    #[test]
    fn resident_pages_are_held_against_the_machine() {
        let reading = reading(&[
            ("proc/self/statm", "900 30 7 1 0 20 0\n"),
            ("proc/meminfo", "MemTotal:         4 kB\nMemFree:  1 kB\n"),
        ]);
        let process = reading.process.expect("statm is there");
        assert_eq!(process.used_bytes, 30 * page_bytes());
        assert_eq!(process.limit_bytes, Some(4096));
    }

    #[test]
    fn without_statm_the_rolled_up_maps_say_how_large_the_process_is() {
        let rollup = "aaa-bbb ---p 00000000 00:00 0   [rollup]\nRss:   12 kB\nPss:   3 kB\n";
        let reading = reading(&[("proc/self/smaps_rollup", rollup)]);
        let process = reading.process.expect("smaps_rollup is there");
        assert_eq!((process.used_bytes, process.limit_bytes), (12 * 1024, None));
    }

    #[test]
    fn a_source_that_is_switched_off_is_not_read() {
        let root = tree(&[
            ("proc/self/statm", "900 30 7 1 0 20 0\n"),
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "1000\n"),
            ("sys/fs/cgroup/memory.current", "400\n"),
            ("proc/pressure/memory", "some avg10=1.00 avg60=0.00 total=9\n"),
        ]);
        let reader = KernelReader::find(root.path());
        let found = |process, cgroup, stall| {
            let reading = reader.read(PressureSources { process, cgroup, stall });
            (reading.process.is_some(), reading.cgroup.is_some(), reading.stall.is_some())
        };
        assert_eq!(found(true, true, true), (true, true, true));
        assert_eq!(found(false, true, true), (false, true, true));
        assert_eq!(found(true, false, true), (true, false, true));
        assert_eq!(found(true, true, false), (true, true, false));
    }

    const OWN: &str = "sys/fs/cgroup/a/b";

    #[test]
    fn v2_takes_the_lower_limit_and_leaves_out_inactive_file_pages() {
        let reading = reading(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            (&format!("{OWN}/memory.max"), "2000\n"),
            (&format!("{OWN}/memory.high"), "1000\n"),
            (&format!("{OWN}/memory.current"), "900\n"),
            (&format!("{OWN}/memory.stat"), "anon 1\ninactive_file 300\nactive_file 5\n"),
            (&format!("{OWN}/memory.pressure"), "some avg10=12.50 avg60=0.00 total=9\n"),
            ("proc/pressure/memory", "some avg10=99.00 avg60=0.00 total=9\n"),
        ]);
        let cgroup = reading.cgroup.expect("a limit is there");
        assert_eq!(cgroup.source, Source::CgroupV2);
        assert_eq!((cgroup.used_bytes, cgroup.limit_bytes), (600, Some(1000)));
        assert_eq!(reading.stall, Some(Stall { source: Source::CgroupStall, percent: 12.5 }));
    }

    #[test]
    fn v2_finds_an_ancestor_that_is_nearer_to_its_limit() {
        let reading = reading(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            (&format!("{OWN}/memory.max"), "max\n"),
            (&format!("{OWN}/memory.current"), "10\n"),
            ("sys/fs/cgroup/a/memory.max", "100\n"),
            ("sys/fs/cgroup/a/memory.current", "80\n"),
        ]);
        let cgroup = reading.cgroup.expect("the parent has a limit");
        assert_eq!((cgroup.used_bytes, cgroup.limit_bytes), (80, Some(100)));
    }

    #[test]
    fn v1_is_read_beside_an_empty_v2_and_from_the_mount_when_the_path_is_the_hosts() {
        let reading = reading(&[
            ("proc/self/cgroup", "4:memory:/host/only\n3:cpu,cpuacct:/\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n"),
        ]);
        let cgroup = reading.cgroup.expect("a limit is there");
        assert_eq!(cgroup.source, Source::CgroupV1);
        assert_eq!((cgroup.used_bytes, cgroup.limit_bytes), (400, Some(1000)));
    }

    #[test]
    fn unlimited_groups_give_no_figure() {
        let v1 = reading(&[
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "400\n"),
        ]);
        let v2 = reading(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.high", "max\n"),
            ("sys/fs/cgroup/memory.current", "400\n"),
        ]);
        assert_eq!((v1.cgroup, v2.cgroup), (None, None));
    }

    #[test]
    fn garbage_reads_as_nothing_and_never_panics() {
        let garbage = ["", "\n", "x", "-1", "99999999999999999999999", "a b c\0", "some avg10=x"];
        for text in garbage {
            let reading = reading(&[
                ("proc/self/statm", text),
                ("proc/meminfo", text),
                ("proc/self/cgroup", "nonsense\n0::\n::\n"),
                ("sys/fs/cgroup/memory.max", text),
                ("sys/fs/cgroup/memory.current", text),
                ("proc/pressure/memory", text),
            ]);
            assert_eq!((reading.process, reading.cgroup), (None, None), "{text:?}");
            assert_eq!(reading.stall, None, "{text:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_real_kernel_says_how_large_this_process_is() {
        let reading = KernelReader::find(Path::new("/")).read(PressureSources::default());
        let process = reading.process.expect("Linux has statm");
        assert!(process.used_bytes > 0);
        assert!(process.share().is_some_and(|share| share < 1.0));
    }
}
