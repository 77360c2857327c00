//! `cargo xtask instructions`: how many instructions each hot path takes, counted by valgrind and held to a table.
//!
//! A count does not depend on how busy a machine is, so it can be a gate where a time cannot. It says nothing of cache
//! misses, wrong guesses or system calls: those remain with the benches.
//!
//! Only what a thread runs inside one function is counted (`--toggle-collect`); threads in the background are not.

mod table;

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::json;

use self::table::{Limit, Verdict};
use crate::{
    ci::wait,
    exit::Exit,
    meanwhile,
    workspace::{self, Workspace},
};

const PROGRAM: &str = "instructions";
const TABLE: &str = "benches/instructions/limits.toml";
/// What is counted: `measured` of the program, in any of its instances.
const COUNTED: &str = "instructions::measured*";
/// A path with one multiplication more, and the path it is made from: the first must be over the limit of the second.
const SLOWED: (&str, &str) = ("counter_slowed", "counter");
/// A path takes a second or two.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);
/// What makes the command run where valgrind is not there.
pub(crate) const REMEDY: &str = "apt-get install valgrind";

/// What one path took.
#[derive(Debug)]
struct Row {
    path: String,
    operations: u64,
    collected: u64,
    /// `None`: the table has no row for it.
    limit: Option<Limit>,
    /// It has to be over the limit, or nothing would be.
    slowed: bool,
}

impl Row {
    fn instructions(&self) -> f64 {
        self.collected as f64 / self.operations as f64
    }

    fn verdict(&self) -> Option<Verdict> {
        self.limit.as_ref().map(|limit| limit.judge(self.instructions()))
    }

    fn passes(&self) -> bool {
        match self.verdict() {
            Some(Verdict::Over) => self.slowed,
            Some(Verdict::Within | Verdict::Lower) => !self.slowed,
            None => false,
        }
    }

    /// What a reader must know beside the figures.
    fn remark(&self) -> String {
        match (self.verdict(), &self.limit) {
            (None, _) | (_, None) => format!("add its row to {TABLE}"),
            (Some(Verdict::Over), _) if self.slowed => "slowed on purpose, and it was seen".into(),
            (Some(_), _) if self.slowed => "slowed on purpose, and it was not seen".into(),
            (Some(Verdict::Over), Some(limit)) => format!("{}. {}", limit.what, limit.reason),
            (Some(Verdict::Lower), _) => "the limit can be lowered: --bless".into(),
            (Some(Verdict::Within), _) => String::new(),
        }
    }
}

/// Whether valgrind can be started.
pub(crate) fn valgrind_is_there() -> bool {
    let mut command = Command::new("valgrind");
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether the table's figures are of this kind of processor.
pub(crate) const fn figures_are_of_this_processor() -> bool {
    cfg!(target_arch = "x86_64")
}

/// The command. `bless`: the figures found become the table's.
pub(crate) fn run(bless: bool, as_json: bool) -> Exit {
    if !valgrind_is_there() {
        eprintln!("xtask instructions: valgrind is not there; {REMEDY}");
        return Exit::Environment;
    }
    if !figures_are_of_this_processor() {
        eprintln!("xtask instructions: the limits are of x86-64, and this is another processor");
        return Exit::Environment;
    }
    let counted = Workspace::load().and_then(|workspace| count_all(&workspace, as_json));
    let done = counted.and_then(|rows| {
        if as_json {
            print_json(&rows);
        }
        if bless { store(&rows).map(|()| Exit::Good) } else { Ok(judge(&rows)) }
    });
    done.unwrap_or_else(|reason| {
        eprintln!("xtask instructions: {reason}");
        Exit::Failed
    })
}

fn judge(rows: &[Row]) -> Exit {
    if rows.iter().all(Row::passes) { Exit::Good } else { Exit::Failed }
}

fn count_all(workspace: &Workspace, as_json: bool) -> Result<Vec<Row>, String> {
    let mut limits = table::read(&table_text()?).map_err(|reason| format!("{TABLE}: {reason}"))?;
    let program = build(workspace)?;
    let paths = paths(&program)?;
    let mut rows = Vec::new();
    for (path, operations) in paths {
        let collected = count(&program, &path, workspace)?;
        let slowed = path == SLOWED.0;
        let limit = if slowed { rows_limit(&rows, SLOWED.1) } else { limits.remove(&path) };
        let row = Row { path, operations, collected, limit, slowed };
        if !as_json {
            println!("{}", line(&row));
        }
        rows.push(row);
    }
    if !rows.iter().any(|row| row.slowed) {
        return Err(format!("{PROGRAM} has no path {}, which proves the gate", SLOWED.0));
    }
    match limits.keys().next() {
        Some(left) => Err(format!("{TABLE}: {left} is no path of {PROGRAM}")),
        None => Ok(rows),
    }
}

fn rows_limit(rows: &[Row], path: &str) -> Option<Limit> {
    rows.iter().find(|row| row.path == path).and_then(|row| row.limit.clone())
}

fn line(row: &Row) -> String {
    let result = if row.passes() { "passed" } else { "FAILED" };
    let (found, remark) = (row.instructions(), row.remark());
    let figures = row.limit.as_ref().map_or_else(String::new, |limit| {
        format!("measured {:7.2}  limit {:7.2}", limit.measured, limit.limit)
    });
    let line = format!("{:16} {found:7.2}  {figures:34} {result}  {remark}", row.path);
    line.trim_end().to_owned()
}

fn print_json(rows: &[Row]) {
    let pass = rows.iter().all(Row::passes);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let limit = row.limit.as_ref();
            json!({
                "path": row.path,
                "operations": row.operations,
                "collected": row.collected,
                "instructions": row.instructions(),
                "measured": limit.map(|limit| limit.measured),
                "limit": limit.map(|limit| limit.limit),
                "slowed_on_purpose": row.slowed,
                "pass": row.passes(),
                "remark": row.remark(),
            })
        })
        .collect();
    println!("{:#}", json!({"unit": "instructions", "rows": rows, "pass": pass}));
}

/// Writes what was found into the table. A path without a row gets none: what its limit is for, a person has to say.
fn store(rows: &[Row]) -> Result<(), String> {
    if let Some(row) = rows.iter().find(|row| row.limit.is_none()) {
        return Err(format!("{} has no row: {}", row.path, row.remark()));
    }
    let figures: BTreeMap<String, f64> = rows
        .iter()
        .filter(|row| !row.slowed)
        .map(|row| (row.path.clone(), row.instructions()))
        .collect();
    let text = table::blessed(&table_text()?, &figures);
    fs::write(table_path(), text).map_err(|error| format!("cannot write {TABLE}: {error}"))?;
    eprintln!("{TABLE}: {} figures stored", figures.len());
    Ok(())
}

fn table_path() -> PathBuf {
    workspace::root().join(TABLE)
}

fn table_text() -> Result<String, String> {
    fs::read_to_string(table_path()).map_err(|error| format!("cannot read {TABLE}: {error}"))
}

fn build(workspace: &Workspace) -> Result<PathBuf, String> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--locked", "--package", PROGRAM]);
    // Other flags, other instructions.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").stdout(io::stderr());
    match meanwhile::build(PROGRAM, &mut cargo) {
        Ok(status) if status.success() => {}
        Ok(status) => return Err(format!("building {PROGRAM} ended with {status}")),
        Err(error) => return Err(format!("cannot start cargo: {error}")),
    }
    Ok(workspace.target_dir.join("release").join(format!("{PROGRAM}{}", env::consts::EXE_SUFFIX)))
}

/// The paths that the program has, with their numbers of operations.
fn paths(program: &Path) -> Result<Vec<(String, u64)>, String> {
    let output = Command::new(program).output();
    let output = output.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| {
        let (name, operations) = line.split_once(' ')?;
        Some((name.to_owned(), operations.parse().ok()?))
    };
    let paths: Option<Vec<_>> = text.lines().map(path).collect();
    paths.filter(|paths| !paths.is_empty()).ok_or(format!("{PROGRAM} listed no paths: {text:?}"))
}

/// Instructions inside the loop of one path.
fn count(program: &Path, path: &str, workspace: &Workspace) -> Result<u64, String> {
    let log = workspace.target_dir.join(format!("{PROGRAM}-{path}.log"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect={COUNTED}"));
    command.arg(format!("--log-file={}", log.display()));
    command.arg(program).arg(path).stdin(Stdio::null()).stdout(io::stderr());
    let ended = command.spawn().and_then(|mut child| wait(&mut child, RUN_TIME_MAX));
    match ended {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => return Err(format!("{path} ended with {status}; {}", log.display())),
        Ok(None) => return Err(format!("{path} was stopped after {} s", RUN_TIME_MAX.as_secs())),
        Err(error) => return Err(format!("cannot run valgrind: {error}")),
    }
    let text = fs::read_to_string(&log);
    let text = text.map_err(|error| format!("cannot read {}: {error}", log.display()))?;
    match collected(&text) {
        Some(collected) if collected > 0 => Ok(collected),
        _ => Err(format!("{path}: valgrind counted nothing in {COUNTED}; {}", log.display())),
    }
}

/// The number in callgrind's line `==123== Collected : 456`.
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(" Collected : "))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(instructions: u64, slowed: bool) -> Row {
        let (what, reason) = ("a count".to_owned(), "It is two moves.".to_owned());
        let limit = Some(Limit { what, measured: 9.0, limit: 9.5, reason });
        let collected = instructions * 1000;
        Row { path: "counter".into(), operations: 1000, collected, limit, slowed }
    }

    #[test]
    fn a_path_over_its_limit_fails_and_its_row_says_what_it_is() {
        let over = row(10, false);
        let line = line(&over);
        assert!(
            line.starts_with("counter            10.00  measured    9.00  limit    9.50"),
            "{line}"
        );
        assert!(line.ends_with("FAILED  a count. It is two moves."), "{line}");
        assert_eq!(judge(&[row(9, false), over]), Exit::Failed);
    }

    #[test]
    fn a_path_within_its_limit_passes_and_one_far_below_says_that_the_limit_can_be_lowered() {
        assert_eq!(judge(&[row(9, false), row(8, false)]), Exit::Good);
        assert!(line(&row(9, false)).ends_with("passed"));
        assert!(line(&row(8, false)).ends_with("passed  the limit can be lowered: --bless"));
    }

    #[test]
    fn a_slowing_that_is_not_seen_fails() {
        assert_eq!(judge(&[row(9, false), row(14, true)]), Exit::Good);
        assert_eq!(judge(&[row(9, false), row(9, true)]), Exit::Failed);
    }

    #[test]
    fn a_path_without_a_limit_fails_and_cannot_be_blessed() {
        let bare = || Row { limit: None, ..row(9, false) };
        assert_eq!(judge(&[bare()]), Exit::Failed);
        assert!(store(&[bare()]).unwrap_err().starts_with("counter has no row"));
    }

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 9000020\n==7== \n==7== I   refs:      9,000,020\n";
        assert_eq!(collected(said), Some(9_000_020));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn the_real_table_is_whole() {
        let limits = table::read(&table_text().unwrap()).unwrap();
        for (name, limit) in &limits {
            assert!(limit.measured > 0.0 && limit.limit > limit.measured, "{name}: {limit:?}");
        }
        assert!(limits.contains_key(SLOWED.1) && !limits.contains_key(SLOWED.0));
    }
}
