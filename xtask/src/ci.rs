//! `cargo xtask ci`: all that a merge needs, one step after the other, going on after a failed one so that a single run
//! shows every failure. A step that cannot run here is listed as skipped with what would make it run.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    exit::Exit,
    instructions, pages,
    workspace::{self, Package, Workspace},
};

/// An example that runs longer is stuck: they are the smallest use of a crate.
const EXAMPLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Where `CI=true`, these may not be skipped for want of something.
const NEVER_SKIPPED_IN_CI: &[&str] =
    &["tests", "loom", "shuttle", "tidy", "mutants", "torture", "profiles", "instructions"];

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed(String),
    /// Could not run here; the text says what would make it run.
    Lacking(String),
    /// Left out because the caller said so.
    LeftOut(&'static str),
}

struct Step {
    name: String,
    outcome: Outcome,
    elapsed: Duration,
}

struct Run {
    steps: Vec<Step>,
    /// Stdout belongs to the JSON document: what the steps print goes to stderr.
    as_json: bool,
    in_ci: bool,
}

/// The command.
pub(crate) fn run(full: bool, skip_tests: bool, as_json: bool) -> Exit {
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(reason) => {
            eprintln!("xtask ci: {reason}");
            return Exit::Environment;
        }
    };
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    let mut run = Run { steps: Vec::new(), as_json, in_ci };
    if skip_tests {
        run.step("tests", |_| Outcome::LeftOut("--skip-tests: the caller has run them"));
    } else {
        run.cargo("tests", "test --workspace --locked");
    }
    run.cargo("fmt", "fmt --all -- --check");
    run.cargo("clippy", "clippy --workspace --all-targets --all-features --locked -- -D warnings");
    run.step("docs", |run| {
        let mut doc = cargo("doc --workspace --no-deps --all-features --locked");
        run.succeeds(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    run.cargo("tidy", "run --quiet --package xtask --locked -- tidy");
    run.step("each crate alone", |run| each_alone(run, &workspace));
    run.step("packages", |run| packages(run, &workspace));
    run.step("other systems", |run| other_systems(run, &workspace));
    run.step("loom", |run| models(run, &workspace, "loom"));
    run.step("shuttle", |run| models(run, &workspace, "shuttle"));
    run.table("mutants", "mutants");
    run.table("torture", "torture --seconds 20");
    run.table("profiles", if full { "profiles --full" } else { "profiles" });
    if full {
        // Not measured, only run once each: criterion does that where nobody passes `--bench`.
        run.cargo("benchmarks", "test --workspace --bench hot_paths --locked");
    }
    run.step("instructions", instruction_counts);
    run.step("metrics checkers", |run| checkers(run, &workspace));
    run.step("examples", |run| examples(run, &workspace));
    let small = "--tokens 200000 --runs 5 --enforce";
    run.cargo("stress", &format!("run --release --quiet -p ng-stress --locked -- {small}"));
    run.step("pages", |run| pages(run, &workspace));
    run.step("deny", deny);
    run.finish()
}

impl Run {
    fn step(&mut self, name: &str, body: impl FnOnce(&Run) -> Outcome) {
        eprintln!("== {name}");
        let begin = Instant::now();
        let outcome = body(self);
        if let Outcome::Failed(reason) = &outcome {
            eprintln!("== {name} failed: {reason}");
        }
        self.steps.push(Step { name: name.to_owned(), outcome, elapsed: begin.elapsed() });
    }

    fn cargo(&mut self, name: &str, arguments: &str) {
        self.step(name, |run| run.succeeds(&mut cargo(arguments)));
    }

    /// A command of our own that prints a row a check. The rows of those that failed are told again with
    /// the step, where nobody has to look for them in all that the other steps print.
    fn table(&mut self, name: &str, arguments: &str) {
        self.step(name, |run| run.rows_of(arguments));
    }

    fn rows_of(&self, arguments: &str) -> Outcome {
        let mut command = cargo(&format!("run --quiet --package xtask --locked -- {arguments}"));
        let mut bad = Vec::new();
        let outcome = told(self, &mut command, |row| {
            if is_bad_row(row) {
                bad.push(words(row));
            }
        });
        with_rows(outcome, &bad)
    }

    fn succeeds(&self, command: &mut Command) -> Outcome {
        match command.stdout(self.output()).status() {
            Ok(status) => judge(command, status),
            Err(error) => Outcome::Failed(format!("cannot start {}: {error}", line(command))),
        }
    }

    fn output(&self) -> Stdio {
        if self.as_json { io::stderr().into() } else { Stdio::inherit() }
    }

    fn finish(&self) -> Exit {
        if self.as_json {
            let rows: Vec<_> = self.steps.iter().map(|step| self.row(step)).collect();
            println!("{:#}", json!({"steps": rows, "pass": !self.failed()}));
        } else {
            for step in &self.steps {
                let (result, detail) = self.result(step);
                println!(
                    "{:18} {result:8} {:8.1} s  {detail}",
                    step.name,
                    step.elapsed.as_secs_f64()
                );
            }
        }
        if self.failed() { Exit::Failed } else { Exit::Good }
    }

    fn row(&self, step: &Step) -> serde_json::Value {
        let (result, detail) = self.result(step);
        let seconds = step.elapsed.as_secs_f64();
        json!({"name": step.name, "result": result, "seconds": seconds, "detail": detail})
    }

    fn result<'a>(&self, step: &'a Step) -> (&'static str, &'a str) {
        match &step.outcome {
            Outcome::Passed => ("passed", ""),
            Outcome::Failed(reason) => ("FAILED", reason),
            Outcome::Lacking(remedy) if self.fails(step) => ("FAILED", remedy),
            Outcome::Lacking(remedy) => ("skipped", remedy),
            Outcome::LeftOut(reason) => ("skipped", reason),
        }
    }

    fn fails(&self, step: &Step) -> bool {
        match step.outcome {
            Outcome::Passed | Outcome::LeftOut(_) => false,
            Outcome::Failed(_) => true,
            Outcome::Lacking(_) => self.in_ci && NEVER_SKIPPED_IN_CI.contains(&step.name.as_str()),
        }
    }

    fn failed(&self) -> bool {
        self.steps.iter().any(|step| self.fails(step))
    }
}

/// Each crate by itself, without features and with all: a feature that only a neighbour switches on shows here.
fn each_alone(run: &Run, workspace: &Workspace) -> Outcome {
    all(&workspace.packages, |package| {
        let check = format!("check --quiet --locked -p {}", package.name);
        let bare = run.succeeds(&mut cargo(&format!("{check} --no-default-features")));
        first_bad(bare, || run.succeeds(&mut cargo(&format!("{check} --all-features"))))
    })
}

/// Floor 0 is packed for real. What depends on it cannot be before floor 0 is published: there the list must do.
fn packages(run: &Run, workspace: &Workspace) -> Outcome {
    let published = |name: &str| !["xtask", "benches", "instructions"].contains(&name);
    all(workspace.packages.iter().filter(|package| published(&package.name)), |package| {
        let how = if package.floor == Some(0) { "--no-verify" } else { "--list" };
        let name = &package.name;
        // Offline: all is fetched by now, and nothing newer is wanted.
        let package = format!("package --quiet --allow-dirty --locked --offline {how} -p {name}");
        run.succeeds(&mut cargo(&package))
    })
}

/// The models of each floor-0 crate that has files `src/…/loom_*.rs` or `shuttle_*.rs`.
fn models(run: &Run, workspace: &Workspace, checker: &str) -> Outcome {
    let has_models =
        |package: &&Package| has_models(&workspace::root().join(&package.dir).join("src"), checker);
    let with_models: Vec<_> = workspace.packages.iter().filter(has_models).collect();
    if with_models.is_empty() {
        return Outcome::Lacking(format!("no crate has a file src/{checker}_*.rs"));
    }
    all(with_models, |package| {
        let name = &package.name;
        let command = "test --release --locked --lib --target-dir target";
        let mut test = cargo(&format!("{command}/{checker} -p {name} {checker}_"));
        let flags = env::var("RUSTFLAGS").unwrap_or_default();
        test.env("RUSTFLAGS", format!("{flags} --cfg {checker}"));
        runs_some_tests(run, &mut test)
    })
}

fn has_models(dir: &Path, checker: &str) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let model = name.strip_prefix(checker).is_some_and(|rest| rest.starts_with('_'));
        (model && name.ends_with(".rs")) || has_models(&entry.path(), checker)
    })
}

/// As `succeeds`, and a filter that matched no test at all is a failure too.
fn runs_some_tests(run: &Run, command: &mut Command) -> Outcome {
    let mut tests = 0;
    match told(run, command, |text| tests += tests_announced(text)) {
        Outcome::Passed if tests == 0 => {
            Outcome::Failed(format!("no model ran: {}", line(command)))
        }
        outcome => outcome,
    }
}

/// As `succeeds`; `each` sees each line of what it prints, which is printed as it comes.
fn told(run: &Run, command: &mut Command, mut each: impl FnMut(&str)) -> Outcome {
    let cannot = |command: &Command, error| {
        Outcome::Failed(format!("cannot run {}: {error}", line(command)))
    };
    let mut child = match command.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return cannot(command, error),
    };
    for text in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let Ok(text) = text else { break };
        each(&text);
        if run.as_json {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
    match child.wait() {
        Ok(status) => judge(command, status),
        Err(error) => cannot(command, error),
    }
}

/// Whether a row of `mutants` or `torture` tells of something that failed.
fn is_bad_row(row: &str) -> bool {
    let mut columns = row.split_whitespace();
    columns.any(|word| matches!(word, "SURVIVED" | "INCONCLUSIVE" | "FAILED"))
}

fn with_rows(outcome: Outcome, bad: &[String]) -> Outcome {
    match outcome {
        Outcome::Failed(reason) if !bad.is_empty() => {
            Outcome::Failed(format!("{}; {reason}", bad.join("; ")))
        }
        outcome => outcome,
    }
}

/// Without the blanks that make columns.
fn words(row: &str) -> String {
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number in the test harness's line `running 3 tests`.
fn tests_announced(text: &str) -> usize {
    let number = text.strip_prefix("running ").and_then(|rest| rest.split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs every example to its end, once more where nobody reads what it prints: that ends it silently and well. They are
/// started directly, since a limit can stop a program but not cargo's child.
fn examples(run: &Run, workspace: &Workspace) -> Outcome {
    let build = "build --workspace --exclude benches --examples --all-features --locked";
    first_bad(run.succeeds(&mut cargo(build)), || {
        let names = workspace.packages.iter().flat_map(|package| &package.examples);
        all(names, |name| {
            let path = workspace.target_dir.join("debug/examples").join(name);
            eprintln!("example {name}");
            let example = |stdout: Stdio| {
                let mut example = Command::new(&path);
                example.current_dir(workspace::root()).stdin(Stdio::null()).stdout(stdout);
                example
            };
            first_bad(within(EXAMPLE_TIME_MAX, &mut example(run.output())), || {
                without_reader(&mut example(Stdio::null()))
            })
        })
    })
}

/// Runs a program whose standard output is a pipe that nobody reads: it is to end with 0 and to say nothing of it.
fn without_reader(command: &mut Command) -> Outcome {
    let said = io::pipe().and_then(|(reader, writer)| {
        drop(reader);
        command.stdout(writer).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let status = wait(&mut child, EXAMPLE_TIME_MAX)?;
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            stderr.read_to_string(&mut said)?;
        }
        Ok((status, said))
    });
    let name = line(command);
    match said {
        Ok((Some(status), said)) if status.success() && !said.contains("Broken pipe") => {
            Outcome::Passed
        }
        Ok((Some(status), said)) => {
            Outcome::Failed(format!("{status} where nobody reads: {name}: {}", said.trim()))
        }
        Ok((None, _)) => {
            Outcome::Failed(format!("stopped after {} s: {name}", EXAMPLE_TIME_MAX.as_secs()))
        }
        Err(error) => Outcome::Failed(format!("{error}: {name}")),
    }
}

fn within(limit: Duration, command: &mut Command) -> Outcome {
    let name = line(command);
    match command.spawn().and_then(|mut child| wait(&mut child, limit)) {
        Ok(Some(status)) => judge(command, status),
        Ok(None) => Outcome::Failed(format!("stopped after {} s: {name}", limit.as_secs())),
        Err(error) => Outcome::Failed(format!("{error}: {name}")),
    }
}

/// `None`: the limit passed, and the child was killed.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where the crates of floor 0 are promised to build, besides where this runs.
const OTHER_TARGETS: &[&str] =
    &["aarch64-unknown-linux-gnu", "aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// They are checked for other systems by the compiler alone.
fn other_systems(run: &Run, workspace: &Workspace) -> Outcome {
    let add = format!("target add {}", OTHER_TARGETS.join(" "));
    let rustup = |arguments: &str| {
        let mut command = Command::new("rustup");
        command.args(arguments.split(' ')).current_dir(workspace::root());
        command
    };
    let there = || {
        let listed = rustup("target list --installed").output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        listed.is_ok_and(|listed| OTHER_TARGETS.iter().all(|target| listed.contains(target)))
    };
    if !there() && run.in_ci {
        // What is missing afterwards is told below.
        let _added = run.succeeds(&mut rustup(&add));
    }
    if !there() {
        return Outcome::Lacking(format!("rustup {add}"));
    }
    all(OTHER_TARGETS, |target| {
        let mut check = cargo(&format!("check --locked --target {target}"));
        for package in workspace.packages.iter().filter(|package| package.floor == Some(0)) {
            check.args(["--package", &package.name]);
        }
        run.succeeds(check.env("RUSTFLAGS", "-D warnings"))
    })
}

/// Pages read by other people's programs. The tests leave out what is not here and say it where nobody looks, so it is
/// said here. Where `CI=true` the tests fetch it.
fn checkers(run: &Run, workspace: &Workspace) -> Outcome {
    let script = "crates/ng-metrics/tests/checkers.sh";
    let folder = workspace.target_dir.join("checkers");
    let finds = |program: &str, argument: &str| {
        let fetched = folder.join("usr/bin").join(program);
        let program = if fetched.exists() { fetched } else { program.into() };
        let mut command = Command::new(program);
        command.args(argument.split('|')).env("PYTHONPATH", folder.join("python"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let python = env::var("NG_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let all_there = finds("promtool", "--version")
        && finds("prometheus", "--version")
        && finds(&python, "-c|import prometheus_client");
    if all_there || run.in_ci {
        run.succeeds(&mut cargo("test --quiet --locked -p ng-metrics --test checkers"))
    } else {
        Outcome::Lacking(format!("sh {script} {}", folder.display()))
    }
}

/// The pages in a browser, which not every machine has. Where `CI=true` the command fetches it; a machine that cannot
/// fetch it is told of, and fails nothing.
fn pages(run: &Run, workspace: &Workspace) -> Outcome {
    let lacking = || pages::lacking(&workspace.target_dir.join("pages"));
    if !run.in_ci
        && let Some(remedy) = lacking()
    {
        return Outcome::Lacking(remedy);
    }
    match run.succeeds(&mut cargo("run --quiet --package xtask --locked -- pages")) {
        Outcome::Passed => Outcome::Passed,
        failed => lacking().map_or(failed, Outcome::Lacking),
    }
}

/// Valgrind is installed where `CI=true`.
fn instruction_counts(run: &Run) -> Outcome {
    if !instructions::figures_are_of_this_processor() {
        return Outcome::LeftOut("the limits are of x86-64");
    }
    if run.in_ci {
        until_there(instructions::valgrind_is_there, || {
            // An image without lists, or with old ones, knows no package.
            let _updated = run.succeeds(&mut as_root("apt-get update"));
            let _installed = run.succeeds(&mut as_root("apt-get install -y valgrind"));
        });
    }
    if instructions::valgrind_is_there() {
        run.rows_of("instructions")
    } else {
        Outcome::Lacking(instructions::REMEDY.into())
    }
}

/// Does `attempt` three times at most, until `is_there`. What is missing afterwards, the caller tells.
fn until_there(is_there: impl Fn() -> bool, mut attempt: impl FnMut()) {
    for _ in 0..INSTALL_ATTEMPTS {
        if is_there() {
            return;
        }
        attempt();
    }
}

const INSTALL_ATTEMPTS: u32 = 3;

/// The command as root, who in a container is the user and elsewhere is asked for by sudo.
fn as_root(command: &str) -> Command {
    let id = Command::new("id").arg("-u").output();
    let is_root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    let mut words = command.split(' ');
    let mut command = if is_root {
        Command::new(words.next().unwrap_or_default())
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("-n");
        sudo
    };
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Licences, sources and bans. Advisories need a database from a git host that a build machine may
/// not reach: `cargo deny check advisories` where it can.
fn deny(run: &Run) -> Outcome {
    let there = || {
        let version = cargo("deny --version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if !there() && run.in_ci {
        // What is missing afterwards is told below.
        let _installed = run.succeeds(&mut cargo(INSTALL_DENY));
    }
    if there() {
        run.succeeds(&mut cargo(
            "deny --workspace --all-features check --hide-inclusion-graph bans licenses sources",
        ))
    } else {
        Outcome::Lacking(format!("cargo {INSTALL_DENY}"))
    }
}

const INSTALL_DENY: &str = "install --locked cargo-deny";

/// Does `body` for each, to the end; fails with all that failed.
fn all<T>(items: impl IntoIterator<Item = T>, body: impl Fn(T) -> Outcome) -> Outcome {
    let failed: Vec<String> = items
        .into_iter()
        .filter_map(|item| match body(item) {
            Outcome::Failed(reason) => Some(reason),
            _ => None,
        })
        .collect();
    if failed.is_empty() { Outcome::Passed } else { Outcome::Failed(failed.join("; ")) }
}

fn first_bad(first: Outcome, second: impl FnOnce() -> Outcome) -> Outcome {
    if first == Outcome::Passed { second() } else { first }
}

fn judge(command: &Command, status: ExitStatus) -> Outcome {
    if status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("{status}: {}", line(command)))
    }
}

fn cargo(arguments: &str) -> Command {
    let mut command = workspace::cargo();
    // What cargo says of each crate it builds would hide what the steps say.
    if !io::stderr().is_terminal() {
        command.env("CARGO_TERM_PROGRESS_WHEN", "never");
    }
    // No argument of ours holds a blank; what does goes by environment.
    command.args(arguments.split(' '));
    command
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(in_ci: bool, name: &str, outcome: Outcome) -> Run {
        let step = Step { name: name.into(), outcome, elapsed: Duration::ZERO };
        Run { steps: vec![step], as_json: false, in_ci }
    }

    #[test]
    fn a_step_after_a_failed_one_still_runs_and_the_whole_fails() {
        let mut run = Run { steps: Vec::new(), as_json: false, in_ci: false };
        run.step("a", |_| Outcome::Failed("no".into()));
        run.step("b", |_| Outcome::Passed);
        assert_eq!((run.steps.len(), run.finish()), (2, Exit::Failed));
    }

    #[test]
    fn loom_lacking_fails_in_ci_only_and_deny_lacking_never() {
        let lacking = || Outcome::Lacking("x".into());
        assert!(run_of(true, "loom", lacking()).failed());
        assert!(!run_of(false, "loom", lacking()).failed());
        assert!(run_of(true, "instructions", lacking()).failed());
        assert!(!run_of(true, "deny", lacking()).failed());
        assert!(!run_of(true, "tests", Outcome::LeftOut("--skip-tests")).failed());
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_minds_that_nobody_reads_fails() {
        let script = |text: &str| without_reader(Command::new("sh").args(["-c", text]));
        assert_eq!(script("exit 0"), Outcome::Passed);
        assert!(matches!(script("exit 101"), Outcome::Failed(_)));
        let said = script("echo 'failed printing to stdout: Broken pipe' >&2");
        assert!(
            matches!(&said, Outcome::Failed(reason) if reason.contains("printing")),
            "{said:?}"
        );
    }

    #[test]
    fn a_package_is_asked_for_until_it_is_there_and_three_times_at_most() {
        let attempts_of = |needed| {
            let attempts = std::cell::Cell::new(0);
            until_there(|| attempts.get() >= needed, || attempts.set(attempts.get() + 1));
            attempts.get()
        };
        assert_eq!([0, 2, 3, 100].map(attempts_of), [0, 2, 3, INSTALL_ATTEMPTS]);
    }

    #[test]
    fn all_goes_on_after_a_failure_and_names_each() {
        let outcome = all(["a", "", "b"], |item| match item {
            "" => Outcome::Passed,
            bad => Outcome::Failed(bad.into()),
        });
        assert_eq!(outcome, Outcome::Failed("a; b".into()));
    }

    #[cfg(unix)]
    #[test]
    fn a_run_of_models_that_ran_none_fails() {
        let run = Run { steps: Vec::new(), as_json: true, in_ci: false };
        let said = |text| runs_some_tests(&run, Command::new("echo").arg(text));
        assert_eq!(said("running 1 test"), Outcome::Passed);
        assert!(matches!(said("running 0 tests"), Outcome::Failed(_)));
    }

    #[test]
    fn the_number_of_tests_is_read_from_the_harness() {
        assert_eq!(tests_announced("running 12 tests"), 12);
        assert_eq!(tests_announced("running 0 tests"), 0);
        assert_eq!(tests_announced("test result: ok"), 0);
    }

    #[cfg(unix)]
    #[test]
    fn the_rows_that_failed_stand_with_their_step() {
        let run = Run { steps: Vec::new(), as_json: true, in_ci: false };
        let rows = "a  killed  1.0 s\nb  SURVIVED  1.0 s  lib x\nc  INCONCLUSIVE  late";
        let mut bad = Vec::new();
        let mut print = Command::new("printf");
        let outcome = told(&run, print.arg(rows), |row| {
            bad.extend(is_bad_row(row).then(|| words(row)));
        });
        assert_eq!((outcome, bad.len()), (Outcome::Passed, 2));
        let failed = with_rows(Outcome::Failed("exit 1".into()), &bad);
        let said = "b SURVIVED 1.0 s lib x; c INCONCLUSIVE late; exit 1";
        assert_eq!(failed, Outcome::Failed(said.into()));
        assert_eq!(with_rows(Outcome::Passed, &bad), Outcome::Passed);
    }

    #[cfg(unix)]
    #[test]
    fn a_program_over_its_time_is_killed_and_told() {
        let mut endless = Command::new("sleep");
        endless.arg("1000");
        let outcome = within(Duration::ZERO, &mut endless);
        assert_eq!(outcome, Outcome::Failed("stopped after 0 s: sleep 1000".into()));
    }

    #[test]
    fn models_are_found_in_deeper_folders() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_models(dir.path(), "loom"));
        let deep = dir.path().join("ring");
        fs::create_dir(&deep).unwrap();
        fs::write(deep.join("loom_ring.rs"), "").unwrap();
        assert!(has_models(dir.path(), "loom"));
    }
}
