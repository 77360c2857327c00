//! `cargo xtask torture`: what takes longer than a merge waits for. Each step draws its seeds from one and prints them.
//!
//! 1. ThreadSanitizer over ng-core's tests, where a nightly toolchain with its runtime is at hand. It sees plain accesses
//!    that race and locks taken in two orders. It does not model fences, and the slots' words are atomics: a fence that
//!    is missing there is loom's to find.
//! 2. The threaded model of the arena, with fresh seeds.
//! 3. The store's kill loop: a child that writes is killed with SIGKILL, and what it left is recovered and compared with
//!    an oracle outside of it.
//! 4. The log's own, with three producers, and an oracle of every record.
//! 5. Kills at the n-th system call, errors injected into calls, and a linter over the trace of them, all by strace.
//! 6. A full disk, on small file systems of its own, where they may be mounted.
//! 7. The flight recorder's kill loop.

mod blackbox;
mod child;
mod kill;
mod lint;
mod oracle;
mod space;
mod strace;
mod trace;

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;

use self::child::Program;
use crate::{exit::Exit, meanwhile::meanwhile, workspace};

const SECONDS: u64 = 60;
/// The test that reads the process's memory.
const RESIDENT: &str = "memory_given_back_really_leaves_the_process";
/// The test of step 2.
const MODEL: &str = "four_threads_of_creates_updates_and_deletes_agree_with_their_models";
/// A target that the sanitizer has a runtime for.
const TSAN_TARGET: &str = "x86_64-unknown-linux-gnu";

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed(String),
    Failed(String),
    /// What would make it run.
    Lacking(String),
}

/// What a step counted, in the order it is told.
#[derive(Debug, Default)]
struct Counts(Vec<(&'static str, u64)>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {name}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// What the caller asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) seconds: Option<u64>,
    pub(crate) seed: Option<u64>,
    /// Every point, where a merge is content with some.
    pub(crate) all: bool,
    /// This step alone.
    pub(crate) only: Option<String>,
    pub(crate) as_json: bool,
}

/// What the steps share.
struct Torture {
    seed: u64,
    /// How long a step that could go on for ever goes on.
    each: Duration,
    all: bool,
    in_ci: bool,
    program: OnceLock<Result<Program, String>>,
}

impl Torture {
    /// The log's child, built once.
    fn program(&self) -> Result<&Program, String> {
        self.program.get_or_init(Program::build).as_ref().map_err(Clone::clone)
    }
}

struct Step {
    name: &'static str,
    run: fn(&Torture) -> (Outcome, Counts),
    /// Where `CI=true`, what is lacking for it is a failure.
    needed: bool,
}

const fn step(name: &'static str, run: fn(&Torture) -> (Outcome, Counts)) -> Step {
    Step { name, run, needed: false }
}

const fn needed(name: &'static str, run: fn(&Torture) -> (Outcome, Counts)) -> Step {
    Step { name, run, needed: true }
}

const STEPS: &[Step] = &[
    step("tsan", |_| (thread_sanitizer(), Counts::default())),
    step("model", |t| (repeated(t.each, t.seed, model), Counts::default())),
    step("store kill loop", |t| (repeated(t.each, t.seed, kill), Counts::default())),
    needed("wal kill loop", |t| kill::run(t, t.each)),
    needed("wal kill points", strace::kill_points),
    needed("wal faults", strace::faults),
    needed("wal trace", strace::lint_trace),
    step("wal full disk", space::run),
    needed("blackbox kills", blackbox::run),
];

/// Steps that go on until their time is over.
const TIMED_STEPS: u32 = 3;

/// The command. Exit 1 if a step failed; a step that could not run is told and fails nothing.
pub(crate) fn run(request: &Request) -> Exit {
    let seed = request.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.as_nanos() as u64
    });
    let only = request.only.as_deref();
    let steps: Vec<_> = STEPS.iter().filter(|s| only.is_none_or(|only| only == s.name)).collect();
    if steps.is_empty() {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        eprintln!("xtask torture: no such step; there are: {}", names.join(", "));
        return Exit::Usage;
    }
    eprintln!("torture: --seed {seed}");
    let whole = Duration::from_secs(request.seconds.unwrap_or(SECONDS));
    let each = if only.is_some() { whole } else { whole / TIMED_STEPS };
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    let torture = Torture { seed, each, all: request.all, in_ci, program: OnceLock::new() };
    let mut rows = Vec::new();
    let mut failed = false;
    for step in steps {
        let begin = Instant::now();
        let what = || format!("torture: {}", step.name);
        let (mut outcome, counts) = meanwhile(what, || (step.run)(&torture));
        if let (Outcome::Lacking(remedy), true) = (&outcome, in_ci && step.needed) {
            outcome = Outcome::Failed(format!("lacking: {remedy}"));
        }
        let (result, detail) = match &outcome {
            Outcome::Passed(detail) => ("passed", detail),
            Outcome::Failed(reason) => ("FAILED", reason),
            Outcome::Lacking(remedy) => ("skipped", remedy),
        };
        failed |= matches!(outcome, Outcome::Failed(_));
        let seconds = begin.elapsed().as_secs_f64();
        if request.as_json {
            let counted: serde_json::Map<_, _> = counts
                .0
                .iter()
                .map(|(name, count)| (name.replace(' ', "_"), json!(count)))
                .collect();
            rows.push(json!({
                "name": step.name, "result": result, "detail": detail, "seconds": seconds,
                "counts": counted,
            }));
        } else {
            let blank = if detail.is_empty() || counts.0.is_empty() { "" } else { "; " };
            println!("{:16} {result:8} {seconds:7.1} s  {detail}{blank}{counts}", step.name);
        }
    }
    if request.as_json {
        println!("{:#}", json!({"seed": seed, "steps": rows}));
    }
    if failed { Exit::Failed } else { Exit::Good }
}

fn thread_sanitizer() -> Outcome {
    let nightly = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly"]).args(arguments).current_dir(workspace::root());
        command
    };
    let sysroot = nightly(&["rustc", "--print", "sysroot"]).stderr(Stdio::null()).output();
    let sysroot = match sysroot {
        Ok(output) if output.status.success() => {
            PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => return Outcome::Lacking("rustup toolchain install nightly".into()),
    };
    let libraries = sysroot.join("lib/rustlib").join(TSAN_TARGET).join("lib");
    if !has_runtime(&libraries) {
        return Outcome::Lacking(format!("a nightly with a sanitizer runtime for {TSAN_TARGET}"));
    }
    let mut test = nightly(&["cargo", "test", "--locked", "-p", "ng-core", "--lib", "--tests"]);
    test.args(["--target", TSAN_TARGET, "--target-dir", "target/tsan"]);
    // One test after the other: the harness hands results over by a channel of the standard library.
    // What the process holds cannot be judged: the sanitizer keeps a shadow of it.
    test.args(["--", "--test-threads=1", "--skip", RESIDENT]);
    // The standard library comes without instrumentation, which the compiler wants to be told.
    test.env("RUSTFLAGS", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer");
    // `cargo xtask` has set these to its own.
    test.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC");
    let suppressions = workspace::root().join("xtask/tsan.supp");
    test.env("TSAN_OPTIONS", format!("halt_on_error=1 suppressions={}", suppressions.display()));
    test.stdout(Stdio::null());
    finish(test, "ng-core's tests without a report")
}

fn has_runtime(libraries: &Path) -> bool {
    std::fs::read_dir(libraries).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().ends_with("_rt.tsan.a")
    })
}

fn model(seed: u64) -> Command {
    let mut test = workspace::cargo();
    test.args(["test", "--quiet", "--release", "--locked", "-p", "ng-core", "--test", "ids"]);
    test.args(["--", "--exact", MODEL]).env("NG_SEED", seed.to_string()).stdout(Stdio::null());
    test
}

fn kill(seed: u64) -> Command {
    let mut stress = workspace::cargo();
    stress.args(["run", "--quiet", "--release", "--locked", "-p", "ng-stress", "--"]);
    stress.args(["--phase", "recovery", "--tokens", "100000", "--seed", &seed.to_string()]);
    stress.stdout(Stdio::null());
    stress
}

/// Runs with one seed after the other until the time is over, at least once.
fn repeated(time: Duration, seed: u64, command: impl Fn(u64) -> Command) -> Outcome {
    let begin = Instant::now();
    let mut runs = 0;
    loop {
        // The step of a generator: neighbouring seeds of two torture runs must not overlap.
        let own = seed.wrapping_add(runs).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let failed @ Outcome::Failed(_) = finish(command(own), "") {
            return match failed {
                Outcome::Failed(reason) => Outcome::Failed(format!("seed {own}: {reason}")),
                other => other,
            };
        }
        runs += 1;
        if begin.elapsed() >= time {
            return Outcome::Passed(format!("{runs} runs, the last with seed {own}"));
        }
    }
}

fn finish(mut command: Command, detail: &str) -> Outcome {
    let line = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed(detail.into()),
        Ok(status) => Outcome::Failed(format!("{status}: {}", short(&line))),
        Err(error) => Outcome::Failed(format!("cannot start {}: {error}", short(&line))),
    }
}

/// The command as one would type it, without the folders of this machine.
fn short(line: &str) -> String {
    let home = env::var("HOME").unwrap_or_default();
    line.replace('"', "").replace(&home, "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_step_runs_at_least_once_and_a_failure_names_its_seed() {
        let passes = repeated(Duration::ZERO, 7, |_| Command::new("true"));
        assert!(matches!(&passes, Outcome::Passed(detail) if detail.starts_with("1 runs")));
        let fails = repeated(Duration::from_secs(60), 7, |_| Command::new("false"));
        let Outcome::Failed(reason) = fails else { panic!("{fails:?}") };
        assert!(reason.starts_with("seed "), "{reason}");
        let lost = repeated(Duration::ZERO, 7, |_| Command::new("/no/such/program"));
        assert!(matches!(lost, Outcome::Failed(_)));
    }

    #[test]
    fn the_runtime_is_looked_for_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_runtime(dir.path()));
        std::fs::write(dir.path().join("librustc-nightly_rt.tsan.a"), "").unwrap();
        assert!(has_runtime(dir.path()));
    }
}
