//! `cargo xtask profiles`: programs outside the workspace, built by path as a user would, under profiles that are not ours.
//!
//! What a user's `[profile.release]` says is the user's, and a compiler gets things wrong under one profile that are right
//! under another: a frame aligned to a page was entered without its prologue under `overflow-checks = true` alone. Eight
//! profiles cover each pair of values of two settings; only optimisation and LTO have more pairs (12) than there are profiles.

use std::{
    env, fs, io,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    ci::wait,
    exit::Exit,
    workspace::{self, Workspace},
};

/// A program that runs longer is stuck: each writes some fifty records.
const RUN_TIME_MAX: Duration = Duration::from_secs(60);

/// What a user may write below `[profile.release]`.
#[derive(Clone, Copy, Debug)]
struct Profile {
    opt_level: &'static str,
    lto: &'static str,
    codegen_units: u8,
    panic: &'static str,
    overflow_checks: bool,
    debug_assertions: bool,
}

const fn profile(
    opt_level: &'static str,
    lto: &'static str,
    codegen_units: u8,
    panic: &'static str,
    overflow_checks: bool,
    debug_assertions: bool,
) -> Profile {
    Profile { opt_level, lto, codegen_units, panic, overflow_checks, debug_assertions }
}

/// The first is cargo's own with `overflow-checks = true`. The first three are quite unlike each other.
const PROFILES: [Profile; 8] = [
    profile("3", "false", 16, "unwind", true, false),
    profile("\"s\"", "\"fat\"", 16, "abort", false, false),
    profile("1", "\"thin\"", 16, "abort", true, true),
    profile("1", "false", 1, "unwind", false, false),
    profile("2", "\"thin\"", 1, "unwind", false, false),
    profile("2", "false", 16, "abort", true, true),
    profile("3", "\"thin\"", 1, "abort", false, true),
    profile("\"s\"", "\"fat\"", 1, "unwind", true, true),
];

/// Under so many of the profiles the whole product is built, unless all is asked for.
const WITH_STORE: usize = 3;

/// A package outside: its name, what it depends on, its one file.
struct Outside {
    name: &'static str,
    dependency: &'static str,
    main: &'static str,
}

const LOG: Outside =
    Outside { name: "outside-log", dependency: "ng-wal", main: include_str!("../outside/log.rs") };
const STORE: Outside = Outside {
    name: "outside-store",
    dependency: "neurograph",
    main: include_str!("../outside/store.rs"),
};

impl Profile {
    /// As it is told, and as a user's manifest has it.
    fn settings(&self) -> [(&'static str, String); 6] {
        [
            ("opt-level", self.opt_level.to_owned()),
            ("lto", self.lto.to_owned()),
            ("codegen-units", self.codegen_units.to_string()),
            ("panic", format!("\"{}\"", self.panic)),
            ("overflow-checks", self.overflow_checks.to_string()),
            ("debug-assertions", self.debug_assertions.to_string()),
        ]
    }

    fn name(&self) -> String {
        let settings = self.settings().map(|(name, value)| format!("{name}={value}"));
        settings.join(" ").replace('"', "")
    }

    /// The manifest of the outside workspace.
    fn manifest(&self) -> String {
        let mut text = "[workspace]\nresolver = \"3\"\nmembers = [\"outside-*\"]\n".to_owned();
        text.push_str("\n[profile.release]\n");
        for (name, value) in self.settings() {
            text.push_str(&format!("{name} = {value}\n"));
        }
        // Build scripts and macros are the same under all profiles, and so built once.
        text.push_str("\n[profile.release.build-override]\nopt-level = 0\ncodegen-units = 16\n");
        text.push_str("overflow-checks = false\ndebug-assertions = false\n");
        text
    }
}

impl Outside {
    fn manifest(&self, workspace: &Workspace) -> Result<String, String> {
        let package = workspace.package(self.dependency);
        let package = package.ok_or_else(|| format!("no member is called {}", self.dependency))?;
        let path = workspace::root().join(&package.dir);
        let (name, dependency) = (self.name, self.dependency);
        Ok(format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             \n[dependencies]\n{dependency} = {{ path = {path:?} }}\n"
        ))
    }
}

/// How one program fared under one profile.
struct Row {
    profile: String,
    program: &'static str,
    fault: Option<String>,
    elapsed: Duration,
}

/// The command. `full`: the whole product under every profile.
pub(crate) fn run(full: bool, as_json: bool) -> Exit {
    let workspace = match Workspace::load() {
        Ok(workspace) => workspace,
        Err(reason) => {
            eprintln!("xtask profiles: {reason}");
            return Exit::Environment;
        }
    };
    let place = workspace.target_dir.join(format!("profiles-{}", std::process::id()));
    let made = lay_out(&place, &workspace);
    let rows = made.map(|()| go_through(&place, full, as_json));
    // It is large, and nothing of it is of use to anybody later.
    let removed = fs::remove_dir_all(&place);
    if let Err(error) = removed {
        eprintln!("xtask profiles: cannot remove {}: {error}", place.display());
    }
    match rows {
        Ok(rows) => {
            if as_json {
                print_json(&rows);
            }
            if rows.iter().all(|row| row.fault.is_none()) { Exit::Good } else { Exit::Failed }
        }
        Err(reason) => {
            eprintln!("xtask profiles: {reason}");
            Exit::Environment
        }
    }
}

/// Writes the outside workspace, but for its own manifest.
fn lay_out(place: &Path, workspace: &Workspace) -> Result<(), String> {
    for outside in [LOG, STORE] {
        let dir = place.join(outside.name);
        let put = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
        };
        let source = dir.join("src");
        fs::create_dir_all(&source)
            .map_err(|e| format!("cannot make {}: {e}", source.display()))?;
        put("Cargo.toml", &outside.manifest(workspace)?)?;
        put("src/main.rs", outside.main)?;
    }
    // The very versions that the workspace is tested with.
    let lock = workspace::root().join("Cargo.lock");
    match fs::copy(&lock, place.join("Cargo.lock")) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot copy {}: {error}", lock.display())),
    }
}

fn go_through(place: &Path, full: bool, as_json: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (at, profile) in PROFILES.iter().enumerate() {
        let programs = if full || at < WITH_STORE { &[LOG, STORE][..] } else { &[LOG][..] };
        for program in programs {
            let begin = Instant::now();
            let fault = one(place, profile, program).err();
            let row = Row {
                profile: profile.name(),
                program: program.name,
                fault,
                elapsed: begin.elapsed(),
            };
            if !as_json {
                println!("{}", line(&row));
            }
            rows.push(row);
        }
    }
    rows
}

fn line(row: &Row) -> String {
    let result = if row.fault.is_some() { "FAILED" } else { "passed" };
    let fault = row.fault.as_deref().unwrap_or_default();
    let seconds = row.elapsed.as_secs_f64();
    let line = format!("{:100} {:14} {result} {seconds:6.1} s  {fault}", row.profile, row.program);
    line.trim_end().to_owned()
}

fn print_json(rows: &[Row]) {
    let pass = rows.iter().all(|row| row.fault.is_none());
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let seconds = row.elapsed.as_secs_f64();
            let Row { profile, program, fault, .. } = row;
            json!({"profile": profile, "program": program, "fault": fault, "seconds": seconds})
        })
        .collect();
    println!("{:#}", json!({"rows": rows, "pass": pass}));
}

/// Builds and runs `program` under `profile`. The error says what went wrong, in a few words.
fn one(place: &Path, profile: &Profile, program: &Outside) -> Result<(), String> {
    let manifest = place.join("Cargo.toml");
    fs::write(&manifest, profile.manifest())
        .map_err(|e| format!("cannot write {}: {e}", manifest.display()))?;
    build(place, program)?;
    let executable = format!("{}{}", program.name, env::consts::EXE_SUFFIX);
    // On the disk that the build is on: not every file system has a way around the cache.
    let data = place.join("data");
    let mut command = Command::new(place.join("target/release").join(executable));
    command.arg(&data).stdin(Stdio::null()).stdout(Stdio::null());
    let ended = command.spawn().and_then(|mut child| wait(&mut child, RUN_TIME_MAX));
    match fs::remove_dir_all(&data) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(format!("cannot remove {}: {e}", data.display()));
        }
        _ => {}
    }
    match ended {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{} ended with {status}", program.name)),
        Ok(None) => Err(format!("{} was stopped after {} s", program.name, RUN_TIME_MAX.as_secs())),
        Err(error) => Err(format!("cannot run {}: {error}", program.name)),
    }
}

fn build(place: &Path, program: &Outside) -> Result<(), String> {
    let mut cargo = workspace::cargo();
    // Offline: all is fetched by now, and nothing newer is wanted.
    cargo.args(["build", "--release", "--quiet", "--offline", "--package", program.name]);
    // Whose flags these are, they are not a user's.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.current_dir(place).arg("--target-dir").arg(place.join("target"));
    cargo.stdout(io::stderr());
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("building {} ended with {status}", program.name)),
        Err(error) => Err(format!("cannot start cargo: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::PathBuf};

    use super::*;

    /// All values that a setting takes, in all profiles.
    fn values(setting: usize) -> BTreeSet<String> {
        PROFILES.iter().map(|profile| profile.settings()[setting].1.clone()).collect()
    }

    #[test]
    fn each_pair_of_values_of_two_settings_is_in_some_profile() {
        let counts: Vec<_> = (0..6).map(|setting| values(setting).len()).collect();
        assert_eq!(counts, [4, 3, 2, 2, 2, 2]);
        for first in 0..6 {
            for second in first + 1..6 {
                let pairs: BTreeSet<_> = PROFILES
                    .iter()
                    .map(|profile| {
                        let settings = profile.settings();
                        (settings[first].1.clone(), settings[second].1.clone())
                    })
                    .collect();
                // Of the 12 pairs of optimisation and LTO, as many as eight profiles have with all others.
                let all = counts[first] * counts[second];
                let wanted = if (first, second) == (0, 1) { 7 } else { all };
                assert_eq!(pairs.len(), wanted, "settings {first} and {second}: {pairs:?}");
            }
        }
    }

    #[test]
    fn the_profile_that_made_a_program_die_is_the_first() {
        let name = PROFILES[0].name();
        let cargos = "opt-level=3 lto=false codegen-units=16 panic=unwind";
        assert_eq!(name, format!("{cargos} overflow-checks=true debug-assertions=false"));
        let stores = PROFILES[..WITH_STORE].iter().map(|profile| profile.opt_level);
        assert_eq!(stores.collect::<BTreeSet<_>>().len(), WITH_STORE);
    }

    #[test]
    fn manifests_are_whole_and_lead_to_our_crates() {
        let workspace = Workspace::load().unwrap();
        for profile in PROFILES {
            let manifest: toml::Table = profile.manifest().parse().unwrap();
            let release = manifest["profile"]["release"].as_table().unwrap();
            assert_eq!(release.len(), 7, "{release:?}");
        }
        for outside in [LOG, STORE] {
            let manifest: toml::Table = outside.manifest(&workspace).unwrap().parse().unwrap();
            let path = manifest["dependencies"][outside.dependency]["path"].as_str().unwrap();
            assert!(PathBuf::from(path).join("Cargo.toml").exists(), "{path}");
        }
    }

    #[test]
    fn a_row_that_failed_is_told_as_one_that_the_step_repeats() {
        let fault = Some("outside-log ended with signal: 11 (SIGSEGV)".to_owned());
        let row =
            Row { profile: "p".into(), program: LOG.name, fault, elapsed: Duration::from_secs(2) };
        assert!(
            line(&row).ends_with("FAILED    2.0 s  outside-log ended with signal: 11 (SIGSEGV)")
        );
        let row = Row { fault: None, ..row };
        assert!(line(&row).ends_with("passed    2.0 s"), "{}", line(&row));
    }
}
