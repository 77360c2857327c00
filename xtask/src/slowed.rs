//! `cargo xtask slowed`: whether the suite's bars notice a part that became slower by a quarter of the baseline's time a
//! token. It wants an idle machine and takes 40 seconds for each run, of which there are thirty.
//!
//! The suite is built with `--cfg mutants`, where the store takes the time that NG_SLOWED_PS says for each create, if the
//! part that NG_SLOWED names is on (`crates/neurograph/src/mutants.rs`). Without a slowed part every run must hold its
//! bars, with one every run must miss one; a failed check proves nothing in either case.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    exit::Exit,
    meanwhile,
    workspace::{self, Workspace},
};

/// As the store names them; the first stands for none.
const PARTS: [&str; 6] = ["none", "guardian", "wal", "trace", "metrics", "blackbox"];

/// Share of the baseline's time a token that a slowed part takes more.
const SLOWED_BY: f64 = 0.25;

/// What is asked for.
pub(crate) struct Request {
    /// This part alone, `none` for the runs that must hold.
    pub(crate) only: Option<String>,
    /// Runs of each.
    pub(crate) times: u32,
    /// Handed to each run of the suite.
    pub(crate) args: Vec<String>,
    /// One JSON document on stdout.
    pub(crate) as_json: bool,
}

/// What one run of the suite said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Held,
    /// The bars that were missed.
    Missed(Vec<String>),
    /// Neither, and why.
    Nothing(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Said::Held => write!(f, "every bar holds"),
            Said::Missed(bars) => write!(f, "missed {}", bars.join(", ")),
            Said::Nothing(why) => write!(f, "proves nothing: {why}"),
        }
    }
}

/// The command.
pub(crate) fn run(request: &Request) -> Exit {
    let parts: Vec<&str> = match &request.only {
        None => PARTS.to_vec(),
        Some(only) => match PARTS.iter().find(|part| *part == only) {
            Some(part) => vec![part],
            None => {
                eprintln!("xtask slowed: no part {only:?}; there are {}", PARTS.join(", "));
                return Exit::Usage;
            }
        },
    };
    let out = match Workspace::load() {
        Ok(workspace) => workspace.target_dir.join("slowed"),
        Err(reason) => {
            eprintln!("xtask slowed: {reason}");
            return Exit::Environment;
        }
    };
    match tried(&parts, request, &out) {
        Ok(rows) => print(&rows, request.as_json),
        Err(reason) => {
            eprintln!("xtask slowed: {reason}");
            Exit::Environment
        }
    }
}

type Rows = Vec<(String, Said)>;

fn tried(parts: &[&str], request: &Request, out: &Path) -> Result<Rows, String> {
    let program = build(out)?;
    let report = suite(&program, out, "baseline", &request.args, None)?;
    let ns = report["phases"]["baseline"]["ns_per_token"].as_f64();
    let ps = ns.ok_or("the baseline told no time a token")? * 1000.0 * SLOWED_BY;
    let all = parts.len() * request.times as usize;
    let mut rows = Rows::new();
    for part in parts {
        for time in 1..=request.times {
            let number = rows.len() + 1;
            let how_far = || format!("slowed: run {number} of {all}, {part} {time}");
            let slowed = (*part != "none").then_some((*part, ps as u64));
            let report = meanwhile::meanwhile(how_far, || {
                suite(&program, out, "baseline,full", &request.args, slowed)
            })?;
            rows.push(((*part).to_owned(), said(&report)));
        }
    }
    Ok(rows)
}

/// The suite as a program, built apart so that the usual build stays.
fn build(out: &Path) -> Result<PathBuf, String> {
    let flags = env::var("RUSTFLAGS").unwrap_or_default();
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--locked", "-p", "ng-stress", "--target-dir"]).arg(out);
    cargo.env("RUSTFLAGS", format!("{flags} --cfg mutants").trim_start());
    match meanwhile::build("ng-stress with --cfg mutants", &mut cargo) {
        Ok(status) if status.success() => Ok(out.join("release").join("ng-stress")),
        Ok(_) => Err("the build of ng-stress with --cfg mutants failed, see above".into()),
        Err(error) => Err(format!("cannot start cargo: {error}")),
    }
}

/// The report of one run.
fn suite(
    program: &Path,
    out: &Path,
    phase: &str,
    args: &[String],
    slowed: Option<(&str, u64)>,
) -> Result<Value, String> {
    let report = out.join("report");
    let mut command = Command::new(program);
    command.args(["--enforce", "--phase", phase, "--out"]).arg(&report).args(args);
    command.current_dir(workspace::root()).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).env_remove("NG_SLOWED");
    if let Some((part, ps)) = slowed {
        command.env("NG_SLOWED", part).env("NG_SLOWED_PS", ps.to_string());
    }
    let status = command.status().map_err(|error| format!("cannot start the suite: {error}"))?;
    if !matches!(status.code(), Some(0 | 1)) {
        return Err(format!("the suite ended with {status}"));
    }
    let text = fs::read_to_string(report.join("report.json"));
    let text = text.map_err(|error| format!("the suite left no report: {error}"))?;
    let mut report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    report["exit"] = status.code().into();
    Ok(report)
}

/// What a report says of the bars, if its exit code says the same.
fn said(report: &Value) -> Said {
    let rows = |name: &str| report[name].as_array().into_iter().flatten();
    let failed = rows("checks").find(|check| check["pass"] != true);
    if let Some(check) = failed {
        return Said::Nothing(format!("the check {} failed", check["name"]));
    }
    let missed = rows("bars").filter(|bar| bar["pass"] == false);
    let missed: Vec<_> = missed.filter_map(|bar| bar["id"].as_str()).map(str::to_owned).collect();
    let judged = rows("bars").filter(|bar| bar["pass"].is_boolean()).count();
    match (missed.is_empty(), judged, report["exit"].as_i64()) {
        (_, 0, _) => Said::Nothing(format!("no bar was judged: {}", report["not_judged"])),
        (true, _, Some(0)) => Said::Held,
        (false, _, Some(1)) => Said::Missed(missed),
        (_, _, exit) => Said::Nothing(format!("the exit code is {exit:?}")),
    }
}

fn is_right(part: &str, said: &Said) -> bool {
    match said {
        Said::Held => part == "none",
        Said::Missed(_) => part != "none",
        Said::Nothing(_) => false,
    }
}

fn print(rows: &[(String, Said)], as_json: bool) -> Exit {
    let right = rows.iter().filter(|(part, said)| is_right(part, said)).count();
    if as_json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(part, said)| {
                json!({"part": part, "said": said.to_string(), "pass": is_right(part, said)})
            })
            .collect();
        println!("{:#}", json!({"runs": rows, "pass": right == rows.len()}));
    } else {
        for (part, said) in rows {
            let result = if is_right(part, said) { "right" } else { "FAILED" };
            println!("{part:10} {result:7} {said}");
        }
        println!("{right} of {} runs are right", rows.len());
    }
    if right == rows.len() { Exit::Good } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_right_if_it_holds_unslowed_and_misses_a_bar_slowed_and_a_failed_check_is_neither() {
        let report = |bars: &[Option<bool>], check: bool, exit: i32| {
            let bars: Vec<_> = bars.iter().map(|pass| json!({"id": "P2", "pass": pass})).collect();
            let checks = [json!({"name": "c", "pass": check})];
            said(&json!({"bars": bars, "checks": checks, "exit": exit, "not_judged": ["few"]}))
        };
        let held = report(&[Some(true), None], true, 0);
        let missed = report(&[Some(true), Some(false)], true, 1);
        assert_eq!((&held, &missed), (&Said::Held, &Said::Missed(vec!["P2".into()])));
        let broken = report(&[Some(true)], false, 1);
        let unjudged = report(&[None], true, 0);
        let odd = report(&[Some(false)], true, 0);
        let right = |part| [&held, &missed, &broken, &unjudged, &odd].map(|s| is_right(part, s));
        assert_eq!(right("none"), [true, false, false, false, false]);
        assert_eq!(right("wal"), [false, true, false, false, false]);
    }

    /// A part that the store does not know would slow nothing.
    #[test]
    fn the_store_knows_each_part() {
        let store = include_str!("../../crates/neurograph/src/mutants.rs");
        for part in &PARTS[1..] {
            assert!(store.contains(&format!("\"{part}\" => ")), "{part}");
        }
    }
}
