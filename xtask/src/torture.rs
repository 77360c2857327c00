//! `cargo xtask torture`: what takes longer than a merge waits for. Each step draws its seeds from one and prints them.
//!
//! 1. ThreadSanitizer over ng-core's tests, where a nightly toolchain with its runtime is at hand. It sees plain accesses
//!    that race and locks taken in two orders. It does not model fences, and the slots' words are atomics: a fence that
//!    is missing there is loom's to find.
//! 2. The threaded model of the arena, with fresh seeds.
//! 3. The kill loop: a child that writes is killed with SIGKILL, and what it left is recovered and compared with an
//!    oracle outside of it.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use serde_json::json;

use crate::{exit::Exit, workspace};

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

/// The command. Exit 1 if a step failed; a step that could not run is told and fails nothing.
pub(crate) fn run(seconds: Option<u64>, seed: Option<u64>, as_json: bool) -> Exit {
    let seed = seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.as_nanos() as u64
    });
    let each = Duration::from_secs(seconds.unwrap_or(SECONDS) / 2);
    eprintln!("torture: --seed {seed}");
    let steps = [
        ("tsan", thread_sanitizer()),
        ("model", repeated(each, seed, model)),
        ("kill loop", repeated(each, seed, kill)),
    ];
    let words = |outcome: &Outcome| match outcome {
        Outcome::Passed(detail) => ("passed", detail.clone()),
        Outcome::Failed(reason) => ("FAILED", reason.clone()),
        Outcome::Lacking(remedy) => ("skipped", remedy.clone()),
    };
    if as_json {
        let rows: Vec<_> = steps
            .iter()
            .map(|(name, outcome)| {
                let (result, detail) = words(outcome);
                json!({"name": name, "result": result, "detail": detail})
            })
            .collect();
        println!("{:#}", json!({"seed": seed, "steps": rows}));
    } else {
        for (name, outcome) in &steps {
            let (result, detail) = words(outcome);
            println!("{name:10} {result:8} {detail}");
        }
    }
    let failed = steps.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
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
