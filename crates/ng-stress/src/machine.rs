//! The machine a report was made on: what it is, and what it has left. Reads the kernel's files;
//! a file that is missing means "not known" and is never an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

/// The `machine` section of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores this process may use.
    pub cores: usize,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Type of the file system that holds --dir.
    pub filesystem: String,
    /// Transparent huge pages: always, madvise or never.
    pub thp: String,
    /// Smallest step of the clock that times everything.
    pub clock_step_ns: u64,
}

/// Processor time of the whole machine, counted since it started.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    all: u64,
    stolen: u64,
}

impl MachineTime {
    /// `None` where the kernel does not tell.
    pub fn now() -> Option<Self> {
        Self::parse(&read("/proc/stat"))
    }

    /// Share of the time since `earlier` that the host gave to other machines while this one wanted it.
    pub fn stolen_since(self, earlier: Self) -> f64 {
        let all = self.all.saturating_sub(earlier.all).max(1);
        self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64
    }

    /// The line `cpu  user nice system idle iowait irq softirq steal guest guest_nice`.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        // Guests are in user and nice already.
        Some(Self { all: ticks.get(..8)?.iter().sum(), stolen: ticks[7] })
    }
}

/// Looks at the clock until it moves, and takes the smallest of some moves.
fn clock_step_ns() -> u64 {
    let step = || {
        let begin = Instant::now();
        std::iter::repeat_with(|| begin.elapsed().as_nanos() as u64).find(|ns| *ns > 0)
    };
    (0..1000).filter_map(|_| step()).min().unwrap_or(0)
}

/// File systems whose sync says nothing about a disk.
const NOT_A_DISK: [&str; 4] = ["tmpfs", "ramfs", "9p", "overlay"];

impl Machine {
    /// Looks at this machine; `dir` must exist.
    pub fn look(dir: &Path) -> Self {
        Self {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: meminfo("MemTotal").unwrap_or(0),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            filesystem: filesystem_of(dir).unwrap_or_else(|| "unknown".into()),
            clock_step_ns: clock_step_ns(),
            thp: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }

    /// Whether a sync on --dir's file system reaches a disk.
    pub fn has_a_disk(&self) -> bool {
        self.filesystem != "unknown" && !NOT_A_DISK.contains(&self.filesystem.as_str())
    }
}

/// Hash of the commit, if this runs inside a git work tree and git is there.
pub fn git_hash() -> Option<String> {
    let out = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
    let hash = String::from_utf8(out.stdout).ok()?.trim().to_owned();
    (out.status.success() && !hash.is_empty()).then_some(hash)
}

/// Memory the kernel would give without swapping.
pub fn memory_available_bytes() -> Option<u64> {
    meminfo("MemAvailable")
}

/// What is left below 95 % of the tightest limit of this process's memory cgroups, v2 or v1: from there on the
/// store takes the cgroup's use for a reason to clean up.
pub fn cgroup_room_bytes() -> Option<u64> {
    cgroup_room_in(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"))
}

fn cgroup_room_in(root: &Path, membership: &str) -> Option<u64> {
    membership
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            if controllers.is_empty() {
                Some(tightest(root, path, ["memory.max", "memory.current"]))
            } else if controllers.split(',').any(|c| c == "memory") {
                let names = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
                Some(tightest(&root.join("memory"), path, names))
            } else {
                None
            }
        })
        .flatten()
        .min()
}

/// Walks from the group up to the root: each level may have a limit of its own.
fn tightest(root: &Path, group: &str, [limit, used]: [&str; 2]) -> Option<u64> {
    let group = root.join(group.trim_start_matches('/'));
    group
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| {
            let limit: u64 = read(dir.join(limit)).trim().parse().ok()?;
            let used: u64 = read(dir.join(used)).trim().parse().ok()?;
            // Page cache that the kernel drops when asked is not in the way.
            let cache = stat_field(&read(dir.join("memory.stat")), "inactive_file").unwrap_or(0);
            let quiet = limit - limit / 20;
            Some(quiet.saturating_sub(used.saturating_sub(cache)))
        })
        .min()
}

fn stat_field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn meminfo(name: &str) -> Option<u64> {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cpu_model() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> String {
    let word = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    word.map_or_else(|| "unknown".into(), |(word, _)| word.into())
}

fn filesystem_of(dir: &Path) -> Option<String> {
    mount_type(&read("/proc/self/mountinfo"), &dir.canonicalize().ok()?)
}

/// The type of the mount with the longest matching path; of two on the same path, the later one.
fn mount_type(mountinfo: &str, dir: &Path) -> Option<String> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let point = PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " "));
            let depth = dir.starts_with(&point).then(|| point.components().count())?;
            Some((depth, kind.split(' ').next()?.to_owned()))
        })
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_number_over_the_first_eight() {
        let at = |text| MachineTime::parse(text).expect("a line");
        let earlier = at("cpu  100 0 50 800 0 0 0 50 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n");
        let later = at("cpu  150 0 50 1640 0 0 0 160 9 0\n");
        assert_eq!(later.stolen_since(earlier), 0.11);
        assert!(MachineTime::parse("cpu  1 2 3\n").is_none());
        assert!((1..1_000_000).contains(&clock_step_ns()));
    }

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:27 / /tmp rw shared:3 - tmpfs tmpfs rw
31 30 254:1 / /tmp/disk rw - xfs /dev/vdb rw
32 22 0:28 / /over rw - ext4 /dev/vdc rw
33 32 0:29 / /over rw - overlay overlay rw
";

    #[test]
    fn the_deepest_and_latest_mount_names_the_filesystem() {
        let kind = |dir: &str| mount_type(MOUNTS, Path::new(dir)).expect("found");
        assert_eq!(kind("/srv/data"), "ext4");
        assert_eq!(kind("/tmp/x"), "tmpfs");
        assert_eq!(kind("/tmp/disk/x"), "xfs");
        assert_eq!(kind("/over/x"), "overlay");
        assert_eq!(kind("/tmpx"), "ext4");
    }

    #[test]
    fn the_tightest_of_nested_cgroup_limits_counts_and_dropped_cache_does_not() {
        let root = tempfile::tempdir().expect("a temporary directory");
        let inner = root.path().join("outer/inner");
        fs::create_dir_all(&inner).expect("made");
        fs::write(inner.join("memory.max"), "max\n").expect("written");
        fs::write(inner.join("memory.current"), "50\n").expect("written");
        fs::write(root.path().join("outer/memory.max"), "1000\n").expect("written");
        fs::write(root.path().join("outer/memory.current"), "300\n").expect("written");
        let stat = "anon 1\ninactive_file 100\n";
        fs::write(root.path().join("outer/memory.stat"), stat).expect("written");
        assert_eq!(cgroup_room_in(root.path(), "0::/outer/inner\n"), Some(750));
        assert_eq!(cgroup_room_in(root.path(), "0::/elsewhere\n"), None);

        let v1 = root.path().join("memory/job");
        fs::create_dir_all(&v1).expect("made");
        fs::write(v1.join("memory.limit_in_bytes"), "500\n").expect("written");
        fs::write(v1.join("memory.usage_in_bytes"), "100\n").expect("written");
        assert_eq!(cgroup_room_in(root.path(), "7:cpu,memory:/job\n3:cpuset:/\n"), Some(375));
    }

    #[test]
    fn this_machine_has_memory_and_a_kernel() {
        let machine = Machine::look(Path::new("/"));
        assert!(machine.memory_bytes > 0);
        assert!(memory_available_bytes().is_some_and(|left| left <= machine.memory_bytes));
        assert!(!machine.kernel.is_empty());
    }
}
