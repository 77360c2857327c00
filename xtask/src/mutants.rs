//! `cargo xtask mutants`: each deliberate breakage must turn the test red that is named for it.
//!
//! A crate lists its breakages in `mutants.toml`. All crates are built once with `--cfg mutants`, once more for each
//! model checker, and the test executables are started directly, with NG_MUTANT naming the breakage. A kill counts only
//! if the same test passes without a breakage, and if the row says what the red test must say, that was the reason; a
//! test that dies otherwise, or runs out of time, proves nothing and fails, as a survivor does. Tests that go through
//! crash images take a part of them (NG_IMAGES=few), unless all are asked for.

mod table;

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, IsTerminal, Read, Seek},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    exit::Exit,
    meanwhile::meanwhile,
    workspace::{self, Workspace},
};

pub(crate) use table::{Build, Mutant, all, parse};

/// A test that runs longer is stuck.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// What became of one breakage.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Killed,
    Survived,
    Inconclusive(String),
}

/// How a run of one test ended.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    Passed,
    Red,
    Odd(String),
}

/// The command.
pub(crate) fn run(only: Option<&str>, all_images: bool, as_json: bool) -> Exit {
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(reason) => return environment(&reason),
    };
    let mut mutants = match all(&workspace) {
        Ok(mutants) => mutants,
        Err(reason) => {
            eprintln!("xtask mutants: {reason}");
            return Exit::Failed;
        }
    };
    if let Some(only) = only {
        let names: Vec<_> = mutants.iter().map(|mutant| mutant.name.clone()).collect();
        mutants.retain(|mutant| mutant.name == only);
        if mutants.is_empty() {
            eprintln!("xtask mutants: no mutant {only:?}; there are {}", names.join(", "));
            return Exit::Usage;
        }
    }
    let mut executables = BTreeMap::new();
    let mut builds: Vec<Build> = mutants.iter().map(|mutant| mutant.check.build()).collect();
    builds.sort_unstable();
    builds.dedup();
    for build in builds {
        match compile(build, &mutants) {
            Ok(found) => {
                executables.extend(found.into_iter().map(|(key, path)| ((build, key), path)))
            }
            Err(reason) => {
                eprintln!("xtask mutants: {reason}");
                return Exit::Failed;
            }
        }
    }
    let mut sound = BTreeMap::new();
    let mut rows = Vec::new();
    let tried = AtomicUsize::new(0);
    let how_far = || {
        let number = tried.load(Ordering::Relaxed);
        let name = mutants.get(number).map_or("the end", |mutant| mutant.name.as_str());
        format!("mutants: {number} of {} tried, now {name}", mutants.len())
    };
    meanwhile(how_far, || {
        for mutant in &mutants {
            if io::stderr().is_terminal() {
                eprint!("\r\x1b[K{}", mutant.name);
            }
            let begin = Instant::now();
            let verdict = try_one(mutant, &executables, all_images, &mut sound);
            rows.push((mutant, verdict, begin.elapsed()));
            tried.fetch_add(1, Ordering::Relaxed);
        }
    });
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    print(&rows, as_json);
    let all_killed = rows.iter().all(|(_, verdict, _)| *verdict == Verdict::Killed);
    if all_killed { Exit::Good } else { Exit::Failed }
}

fn environment(reason: &str) -> Exit {
    eprintln!("xtask mutants: {reason}");
    Exit::Environment
}

/// A package and one of its test targets.
type Target = (String, String);
type Executables = BTreeMap<(Build, Target), PathBuf>;

/// Builds the test programs of every crate with a mutant of this build: (package, target) to path.
fn compile(build: Build, mutants: &[Mutant]) -> Result<Vec<(Target, PathBuf)>, String> {
    let mut names: Vec<&str> = mutants
        .iter()
        .filter(|mutant| mutant.check.build() == build)
        .map(|mutant| mutant.package.as_str())
        .collect();
    names.dedup();
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    cargo.args(build.arguments()).args(["--target-dir", build.target_dir()]);
    cargo.args(names.iter().flat_map(|name| ["-p", *name]));
    cargo.env("RUSTFLAGS", format!("{flags} --cfg mutants {}", build.flags()).trim_end());
    if !io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let what = || format!("building the {build:?} programs of {} crates", names.len());
    let output = meanwhile(what, || cargo.stderr(Stdio::inherit()).output())
        .map_err(|error| format!("cannot start cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the {build:?} build with --cfg mutants failed, see above"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(artifact).collect())
}

/// Package, target and path of a test program, from one of cargo's messages.
fn artifact(line: &str) -> Option<(Target, PathBuf)> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let package = Path::new(message["manifest_path"].as_str()?).parent()?.file_name()?;
    let target = &message["target"];
    let is_lib = target["kind"].as_array()?.iter().any(|kind| kind == "lib");
    let name = if is_lib { "lib" } else { target["name"].as_str()? };
    Some(((package.to_str()?.to_owned(), name.to_owned()), executable))
}

fn try_one(
    mutant: &Mutant,
    executables: &Executables,
    all_images: bool,
    sound: &mut BTreeMap<(PathBuf, String), bool>,
) -> Verdict {
    let key = (mutant.check.build(), (mutant.package.clone(), mutant.check.target().to_owned()));
    let Some(program) = executables.get(&key) else {
        return Verdict::Inconclusive(format!("no test program {}", mutant.check));
    };
    let dir = workspace::root().join(&mutant.dir);
    let is_sound = *sound
        .entry((program.clone(), mutant.test.clone()))
        .or_insert_with(|| test(program, &mutant.test, &dir, all_images, None) == Run::Passed);
    if !is_sound {
        return Verdict::Inconclusive(format!("{} does not pass without it", mutant.test));
    }
    match test(program, &mutant.test, &dir, all_images, Some(mutant)) {
        Run::Red => Verdict::Killed,
        Run::Passed => Verdict::Survived,
        Run::Odd(reason) => Verdict::Inconclusive(reason),
    }
}

fn test(program: &Path, name: &str, dir: &Path, all_images: bool, mutant: Option<&Mutant>) -> Run {
    let mut command = Command::new(program);
    command.args(["--exact", name]).current_dir(dir).env("RUST_BACKTRACE", "0");
    // What a breakage makes a random test find is no regression to be kept.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
    command.env_remove("NG_MUTANT").envs(mutant.map(|mutant| ("NG_MUTANT", &mutant.name)));
    command.env_remove("NG_IMAGES").envs((!all_images).then_some(("NG_IMAGES", "few")));
    let limit = if all_images { 10 * RUN_TIME_MAX } else { RUN_TIME_MAX };
    let says = mutant.map_or(&[][..], |mutant| &mutant.says);
    match within(limit, &mut command) {
        Ok((status, said)) => because(says, judge(name, status, &said), &said),
        Err(error) => Run::Odd(error.to_string()),
    }
}

/// Red is: the harness ran exactly this test and says that it failed. A model checker's own objects may not be dropped
/// outside of it, so a model that failed can end in an abort: that counts if the test's own panic was told before.
fn judge(name: &str, status: Option<ExitStatus>, said: &str) -> Run {
    let Some(status) = status else {
        return Run::Odd(format!("stopped after {} s", RUN_TIME_MAX.as_secs()));
    };
    if !said.contains("running 1 test") {
        return Run::Odd(format!("there is no test {name}"));
    }
    let failed = said.contains(&format!("test {name} ... FAILED"));
    // The thread's number may stand between its name and the word.
    let panicked = said
        .lines()
        .any(|line| line.starts_with(&format!("thread '{name}'")) && line.contains("panicked at"));
    match status.code() {
        Some(0) => Run::Passed,
        Some(101) if failed => Run::Red,
        None if panicked => Run::Red,
        _ => Run::Odd(format!("ended by {status}")),
    }
}

/// A red test counts only for the reason that the row names.
fn because(says: &[String], run: Run, said: &str) -> Run {
    let named = says.is_empty() || says.iter().any(|oracle| said.contains(&format!("{oracle}:")));
    match run {
        Run::Red if !named => Run::Odd(format!("red, but not by {}", says.join(" or "))),
        run => run,
    }
}

/// Runs to the end or the limit; `None` for a run that had to be killed. Output goes to a file, which never blocks.
fn within(limit: Duration, command: &mut Command) -> io::Result<(Option<ExitStatus>, String)> {
    let mut log = unnamed_file()?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let mut child = command.spawn()?;
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut said = Vec::new();
    log.rewind()?;
    log.read_to_end(&mut said)?;
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}

/// A file that goes with its last handle.
fn unnamed_file() -> io::Result<File> {
    let path = env::temp_dir().join(format!("neurograph-mutants-{}", std::process::id()));
    let file = File::options().read(true).append(true).create(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn print(rows: &[(&Mutant, Verdict, Duration)], as_json: bool) {
    let words = |verdict: &Verdict| match verdict {
        Verdict::Killed => ("killed", String::new()),
        Verdict::Survived => ("SURVIVED", String::new()),
        Verdict::Inconclusive(reason) => ("INCONCLUSIVE", reason.clone()),
    };
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(mutant, verdict, elapsed)| {
                let (result, detail) = words(verdict);
                json!({"name": mutant.name, "crate": mutant.package, "breaks": mutant.breaks,
                    "check": mutant.check.to_string(), "test": mutant.test, "says": mutant.says, "result": result, "detail": detail,
                    "seconds": elapsed.as_secs_f64()})
            })
            .collect();
        println!("{:#}", json!({"mutants": rows}));
        return;
    }
    for (mutant, verdict, elapsed) in rows {
        let (result, detail) = words(verdict);
        let says = mutant.says.join("/");
        let check = format!("{} {} {says}", mutant.check, mutant.test);
        let seconds = elapsed.as_secs_f64();
        println!("{:34} {result:8} {seconds:6.1} s  {check} {detail}", mutant.name);
    }
    let killed = rows.iter().filter(|(_, verdict, _)| *verdict == Verdict::Killed).count();
    println!("mutants: {killed} of {} killed", rows.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    fn script(text: &str) -> Run {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        let (status, said) = within(Duration::from_secs(20), &mut command).unwrap();
        judge("a::b", status, &said)
    }

    #[test]
    fn a_red_test_that_gives_another_reason_proves_nothing() {
        let says = ["O2".to_owned(), "O9".to_owned()];
        assert_eq!(because(&says, Run::Red, "x: O9: it fell"), Run::Red);
        assert!(matches!(because(&says, Run::Red, "O12: y"), Run::Odd(_)));
        assert_eq!(because(&says, Run::Passed, ""), Run::Passed);
        assert_eq!(because(&[], Run::Red, ""), Run::Red);
    }

    #[cfg(unix)]
    #[test]
    fn only_a_named_test_that_failed_is_red() {
        assert_eq!(script("echo running 1 test; echo test a::b ... ok"), Run::Passed);
        assert_eq!(script("echo running 1 test; echo test a::b ... FAILED; exit 101"), Run::Red);
        assert!(matches!(script("echo running 0 tests"), Run::Odd(_)));
        assert!(matches!(script("echo running 1 test; exit 101"), Run::Odd(_)));
        assert!(matches!(script("echo running 1 test; kill -SEGV $$"), Run::Odd(_)));
        let aborted =
            "echo running 1 test; echo \"thread 'a::b' (7) panicked at x.rs\"; kill -ABRT $$";
        assert_eq!(script(aborted), Run::Red);
        assert!(matches!(judge("a::b", None, ""), Run::Odd(_)));
    }

    #[test]
    fn test_programs_are_found_in_cargos_messages() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/crates/ng-core/Cargo.toml","target":{"kind":["test"],"name":"ids"},"profile":{"test":true},"executable":"/w/ids-1"}"#;
        let (key, path) = artifact(line).unwrap();
        assert_eq!((key.0.as_str(), key.1.as_str()), ("ng-core", "ids"));
        assert_eq!(path, Path::new("/w/ids-1"));
        assert!(artifact("{}").is_none() && artifact("x").is_none());
    }
}
