//! A process of its own in a memory cgroup of its own: the kernel's real figures refuse before the kernel kills, and
//! its real stall time rings the alarm. Each test starts itself again as that process.
//!
//! Making a cgroup takes rights and a memory controller; where they are missing a test says so and ends. The cgroup is
//! made inside the one that the tests run in, so whatever holds for that goes on holding, and is removed at the end.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout, reason = "says what it could not make, and what it saw")]

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ng_guardian::{Guardian, GuardianConfig, Level, PressureMode, Refusal, Source, Woken};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;

/// Set for the process inside the cgroup; holds its limit.
const INSIDE: &str = "NG_GUARDIAN_INSIDE";

/// A memory cgroup, removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(limit_bytes: u64) -> Result<Self, String> {
        let own = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        let path = |prefix: &str| {
            own.lines().find_map(|line| line.split_once(prefix).map(|(_, path)| path.to_owned()))
        };
        let (mount, path, limit) = match (path(":memory:/"), path("0::/")) {
            (Some(path), _) => ("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"),
            (None, Some(path)) => ("/sys/fs/cgroup", path, "memory.max"),
            (None, None) => return Err("this process is in no cgroup".into()),
        };
        let dir = Path::new(mount).join(path).join(format!("ng-guardian-{}", fastrand::u64(..)));
        fs::create_dir(&dir).map_err(|error| says(&dir, &error))?;
        let cgroup = Self(dir); // from here on it is removed
        let limit = cgroup.0.join(limit);
        // Opened, not made: a missing controller must not become a file.
        let set = fs::OpenOptions::new()
            .write(true)
            .open(&limit)
            .and_then(|mut file| file.write_all(limit_bytes.to_string().as_bytes()));
        set.map_err(|error| says(&limit, &error))?;
        Ok(cgroup)
    }

    /// Starts `test` of this program again, inside; it begins once it is there.
    fn run(&self, test: &str) -> io::Result<Inside> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut inside = Inside(child);
        fs::write(self.0.join("cgroup.procs"), inside.0.id().to_string())?;
        drop(inside.0.stdin.take()); // the sign to begin
        Ok(inside)
    }
}

fn says(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes have ended, but the kernel may take a moment to notice.
        for _ in 0..1_000 {
            match fs::remove_dir(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::yield_now();
                }
                _ => return,
            }
        }
    }
}

/// The process inside; killed and reaped when dropped.
struct Inside(Child);

impl Inside {
    /// All it printed, once it has ended well.
    fn end(mut self) -> String {
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().expect("piped");
        stdout.read_to_string(&mut said).expect("text");
        let status = self.0.wait().expect("a child");
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _status = self.0.wait();
    }
}

/// `None` in the process inside, once it may begin.
fn outside(limit_bytes: u64) -> Option<Result<Cgroup, String>> {
    if env::var_os(INSIDE).is_none() {
        return Some(Cgroup::make(limit_bytes));
    }
    io::stdin().read_to_end(&mut Vec::new()).expect("a pipe");
    None
}

#[test]
fn in_a_cgroup_a_process_is_refused_before_the_kernel_kills_it_and_admitted_again_after() {
    match outside(LIMIT) {
        Some(Ok(cgroup)) => {
            let test = "in_a_cgroup_a_process_is_refused_before_the_kernel_kills_it_and_admitted_again_after";
            let said = cgroup.run(test).expect("a process inside").end();
            assert!(said.contains("refused: memory pressure: cgroup v"), "{said}");
            print!("{said}");
        }
        Some(Err(reason)) => println!("not tried: {reason}"),
        None => fill_until_refused(),
    }
}

fn fill_until_refused() {
    let mut config = GuardianConfig::default();
    config.max_memory_bytes = None; // only what the kernel says can refuse
    config.pressure = PressureMode::Process;
    let guardian = Guardian::new(config.clone()).expect("a valid config");
    let figure = guardian.pulse().reading.cgroup.expect("a limit is set");
    assert!(matches!(figure.source, Source::CgroupV1 | Source::CgroupV2));
    assert_eq!(figure.limit_bytes, Some(LIMIT));

    let (mut held, mut levels) = (Vec::new(), vec![guardian.level()]);
    let refusal = loop {
        assert!((held.len() as u64) < LIMIT / MIB, "more than the limit was admitted");
        if let Err(refusal) = guardian.commit(MIB) {
            break refusal;
        }
        held.push(vec![1_u8; MIB as usize]);
        levels.extend(guardian.pulse().changed.map(|change| change.to));
    };
    println!("{} MiB held, levels {levels:?}, refused: {refusal}", held.len());
    assert!(matches!(refusal, Refusal::Pressure { limit_bytes: LIMIT, .. }), "{refusal}");
    assert!(held.len() as u64 > LIMIT / MIB / 2, "refused far from the limit");
    assert!(levels.ends_with(&[Level::Normal, Level::Soft, Level::Hard]), "{levels:?}");

    // The same figures as a mere signal refuse nothing.
    config.pressure = PressureMode::Signal;
    guardian.reconfigure(config.clone()).expect("a valid config");
    assert_eq!(guardian.commit(MIB), Ok(()));
    guardian.uncommit(MIB);
    config.pressure = PressureMode::Process;
    guardian.reconfigure(config).expect("a valid config");

    guardian.uncommit(held.len() as u64 * MIB);
    held.clear();
    assert_eq!(guardian.pulse().level, Level::Normal);
    assert_eq!(guardian.commit(MIB), Ok(()));
}

#[test]
fn the_kernel_rings_the_alarm_when_tasks_wait_for_memory() {
    match outside(LIMIT / 4) {
        Some(Ok(cgroup)) => {
            let guardian = Guardian::new(GuardianConfig::default()).expect("a valid config");
            let alarm = guardian.alarm().expect("a descriptor");
            let Some(source) = alarm.watches() else {
                return println!("not tried: the kernel lets nobody watch stall time here");
            };
            let test = "the_kernel_rings_the_alarm_when_tasks_wait_for_memory";
            let _thrashing = cgroup.run(test).expect("a process inside");
            // An hour: either it rings, or whoever runs the tests gives up.
            let woken = alarm.wait(Duration::from_secs(3_600));
            assert_eq!(woken, Woken::Stall, "{source}");
        }
        Some(Err(reason)) => println!("not tried: {reason}"),
        None => thrash(),
    }
}

/// Reads a file again and again that is four times as large as the memory there is, until killed or orphaned.
fn thrash() {
    let parent = std::os::unix::process::parent_id();
    let mut file = tempfile::tempfile().expect("a temporary file");
    let block = vec![1_u8; MIB as usize];
    for _ in 0..LIMIT / MIB {
        file.write_all(&block).expect("room on the disk");
    }
    let mut block = block;
    while std::os::unix::process::parent_id() == parent {
        io::Seek::rewind(&mut file).expect("a file");
        while file.read(&mut block).expect("a file") > 0 {}
    }
}
