//! `cargo xtask bench-report`: floors, peers and our figures side by side, measured in interleaved rounds of one run.
//! Only ratios inside one run mean anything; nanoseconds stand beside them as information.
//!
//! A new group is one file under `groups/` and one line in `groups.rs`.

mod args;
mod child;
#[path = "../../crates/ng-stress/src/console.rs"]
mod console;
mod files;
mod groups;
#[path = "../../crates/ng-stress/src/html.rs"]
mod html;
mod log;
mod machine;
mod mapping;
mod payload;
mod peers;
mod peers_trace;
mod peers_wal;
mod progress;
mod records;
mod report;
mod rounds;
mod row;
#[path = "../../crates/ng-stress/src/statistics.rs"]
#[allow(dead_code, reason = "the suite asks for more of it")]
mod statistics;
mod subject;
mod tokens;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use crate::{
    args::Args,
    console::Early,
    machine::Machine,
    progress::Progress,
    report::Report,
    rounds::Rounds,
    row::{Failure, Work},
};

/// Rounds of a full run: enough to tell half a percent (docs of the stress suite say how that was found).
const ROUNDS: Rounds = Rounds { beside: 31, least: 31, most: 62 };
const ROUNDS_QUICK: Rounds = Rounds { beside: 5, least: 15, most: 31 };
/// Bytes a token may cost at the peak: a peer's slot of up to 80, ids twice while they are shuffled, and more.
const PEAK_BYTES_PER_TOKEN: u64 = 120;
const SLACK_BYTES: u64 = 64 << 20;

fn main() -> ExitCode {
    let ended = match console::read::<Args>(env::args_os()) {
        Ok(args) => run(&args),
        Err(Early::Asked(text)) => print(&text),
        Err(Early::Wrong(line)) => Err(Failure::Input(line)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.line() {
                console::tell(format_args!("bench-report: {line}\n"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    console::print(format_args!("{text}")).map_err(Failure::Stdout)
}

fn run(args: &Args) -> Result<(), Failure> {
    let churn = args.churn_operations.unwrap_or(args.tokens);
    let (tokens, seed, records) = (args.tokens, args.seed, args.records);
    let mut work = Work { tokens, seed, verify: true, churn, records, dir: Path::new("") };
    if args.serve_rows {
        return child::serve(groups::all(), work);
    }
    enough_memory(&work)?;
    let dir = args.dir.clone().unwrap_or_else(|| target_dir().join("bench-report/data"));
    let data = files::Data::make(&dir)?;
    data.go_when_interrupted()?;
    work.dir = data.dir();
    let started = SystemTime::now();
    let out = args.out.clone().unwrap_or_else(|| default_out(&target_dir(), started));
    fs::create_dir_all(&out).map_err(|error| cannot_write(&out, &error))?;
    let report = measure(args, &work, started, &out).and_then(|report| {
        report.write(&out).map_err(|error| cannot_write(&out, &error))?;
        Ok(report)
    });
    if report.is_err() {
        // Takes only an empty folder: what lay there before stays.
        let _ = fs::remove_dir(&out);
    }
    let report = report?;
    if args.record {
        report.record(Path::new(records::DIR))?;
    }
    if args.json {
        print(&(report.json()? + "\n"))
    } else {
        print(&format!("{}\n{}\n", report.markdown(), out.join("index.html").display()))
    }
}

fn measure(args: &Args, work: &Work, started: SystemTime, out: &Path) -> Result<Report, Failure> {
    let rounds = if args.quick { ROUNDS_QUICK } else { ROUNDS };
    let progress = Progress::start();
    let mut groups = Vec::new();
    let wanted = |id: &str| args.group.as_deref().is_none_or(|only| only == id);
    for group in groups::all().into_iter().filter(|group| wanted(group.id)) {
        groups.push(rounds::measure(group, work, rounds, &progress)?);
    }
    let machine = Machine::look(out);
    let before = records::load(Path::new(records::DIR), &machine.cpu).map_err(Failure::Input)?;
    Ok(Report::new(machine, started, work, args.quick, groups).compared_with(&before))
}

fn enough_memory(work: &Work) -> Result<(), Failure> {
    let needed = work.tokens * PEAK_BYTES_PER_TOKEN + SLACK_BYTES;
    match machine::memory_available_bytes() {
        Some(available) if available < needed => Err(Failure::Environment(format!(
            "{} tokens need {} MiB of memory and {} MiB are available; use a smaller --tokens",
            work.tokens,
            needed >> 20,
            available >> 20
        ))),
        _ => Ok(()),
    }
}

/// Where cargo, and so this program, puts what it makes.
fn target_dir() -> PathBuf {
    let set = env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    set.map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn default_out(target: &Path, started: SystemTime) -> PathBuf {
    // Colons would be refused by some file systems.
    let time = humantime::format_rfc3339_seconds(started).to_string().replace(':', "-");
    target.join("bench-report").join(time)
}

fn cannot_write(out: &Path, error: &io::Error) -> Failure {
    Failure::of_path(format!("cannot write to {}: {error}", out.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_knows_the_groups_and_the_sizes() {
        let ids: Vec<_> = groups::all().iter().map(|group| group.id).collect();
        assert_eq!(ids, args::GROUPS);
        let defaults = console::read::<Args>(["bench-report".into()]).unwrap();
        let sizes = (defaults.tokens, defaults.records);
        assert_eq!(sizes, (row::TOKENS_TO_JUDGE, row::RECORDS_TO_JUDGE));
    }

    #[test]
    fn a_path_through_a_file_is_bad_input_and_one_that_may_not_be_written_is_the_environments() {
        let failure = |code| cannot_write(Path::new("x"), &io::Error::from_raw_os_error(code));
        let codes = [20, 17, 13, 28, 30].map(|code| failure(code).exit_code());
        assert_eq!(codes, [2, 2, 3, 3, 3], "ENOTDIR, EEXIST, EACCES, ENOSPC, EROFS");
    }

    #[test]
    fn more_tokens_than_memory_is_refused_before_anything_is_measured() {
        let work = Work { tokens: u64::MAX / 1024, ..Work::small() };
        let failure = enough_memory(&work).unwrap_err();
        assert_eq!(failure.exit_code(), 3);
    }
}
