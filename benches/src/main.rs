//! `cargo xtask bench-report`: floors, peers and our figures side by side, measured in interleaved rounds of one run.
//! Only ratios inside one run mean anything; nanoseconds stand beside them as information.
//!
//! A new group is one file under `groups/` and one line in `groups.rs`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

mod child;
mod files;
mod groups;
mod log;
mod machine;
mod mapping;
mod payload;
mod peers;
mod peers_trace;
mod peers_wal;
mod report;
mod rounds;
mod row;
mod subject;
mod tokens;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use clap::{Parser, value_parser};

use crate::{
    machine::Machine,
    report::Report,
    row::{Failure, Work},
};

/// Rounds of a full run: enough to tell half a percent (docs of the stress suite say how that was found).
const ROUNDS: usize = 31;
const ROUNDS_QUICK: usize = 15;
/// Bytes a token may cost at the peak: a peer's slot of up to 80, ids twice while they are shuffled, and more.
const PEAK_BYTES_PER_TOKEN: u64 = 120;
const SLACK_BYTES: u64 = 64 << 20;

/// Floors, peers and our figures side by side; writes index.html, report.json and report.md.
///
/// Exit codes: 0 good; 1 a check failed; 2 wrong usage or bad input; 3 the environment lacks something.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench-report", version)]
struct Args {
    /// Fewer rounds: 15 and not 31
    #[arg(long)]
    quick: bool,
    /// Print report.json on stdout and nothing else there
    #[arg(long)]
    json: bool,
    /// Folder for the report; `target/bench-report/<time>` where not given
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Tokens a round; below 9,500,000 no bar is judged
    #[arg(long, value_name = "N", default_value_t = row::TOKENS_TO_JUDGE, value_parser = value_parser!(u64).range(1000..=1_000_000_000))]
    tokens: u64,
    /// Seed of the tokens
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Pairs of a delete and a create in each round of the group `churn`; as many as tokens where not given
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1000..=10_000_000_000))]
    churn_operations: Option<u64>,
    /// Records a round of the groups of the log; below 3,000,000 none of their bars is judged
    #[arg(long, value_name = "N", default_value_t = row::RECORDS_TO_JUDGE, value_parser = value_parser!(u64).range(10_000..=100_000_000))]
    records: u64,
    /// Folder in which those groups make their files, in a fresh folder that goes again; nothing else in it is touched
    #[arg(long, value_name = "PATH", default_value = "target/bench-report/data")]
    dir: PathBuf,
    /// Only the group of this id
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// Measure what the parent asks for over stdin: rows that need another allocator setting
    #[arg(long, hide = true)]
    serve_rows: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-report: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let churn = args.churn_operations.unwrap_or(args.tokens);
    let (tokens, seed, records) = (args.tokens, args.seed, args.records);
    let mut work = Work { tokens, seed, verify: true, churn, records, dir: Path::new("") };
    if args.serve_rows {
        return child::serve(groups::all(), work);
    }
    let ids: Vec<_> = groups::all().iter().map(|group| group.id).collect();
    if let Some(group) = args.group.as_deref().filter(|only| !ids.contains(only)) {
        return Err(Failure::Input(format!("no group {group:?}; there are {}", ids.join(", "))));
    }
    enough_memory(&work)?;
    let data = files::Data::make(&args.dir)?;
    data.go_when_interrupted()?;
    work.dir = data.dir();
    let started = SystemTime::now();
    let out = args.out.clone().unwrap_or_else(|| default_out(started));
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
    if args.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.markdown());
        println!("{}", out.join("index.html").display());
    }
    Ok(())
}

fn measure(args: &Args, work: &Work, started: SystemTime, out: &Path) -> Result<Report, Failure> {
    let rounds = if args.quick { ROUNDS_QUICK } else { ROUNDS };
    let mut groups = Vec::new();
    let wanted = |id: &str| args.group.as_deref().is_none_or(|only| only == id);
    for group in groups::all().into_iter().filter(|group| wanted(group.id)) {
        groups.push(rounds::measure(group, work, rounds)?);
    }
    Ok(Report::new(Machine::look(out), started, work, rounds, groups))
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

fn default_out(started: SystemTime) -> PathBuf {
    // Colons would be refused by some file systems.
    let time = humantime::format_rfc3339_seconds(started).to_string().replace(':', "-");
    Path::new("target/bench-report").join(time)
}

fn cannot_write(out: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("cannot write to {}: {error}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_flags_and_too_few_tokens_are_wrong_usage() {
        for bad in [["x", "--tokens=5"], ["x", "--quik"], ["x", "--seed=-1"]] {
            let Err(error) = Args::try_parse_from(bad) else { panic!("{bad:?} accepted") };
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn more_tokens_than_memory_is_refused_before_anything_is_measured() {
        let work = Work { tokens: u64::MAX / 1024, ..Work::small() };
        let failure = enough_memory(&work).unwrap_err();
        assert_eq!(failure.exit_code(), 3);
    }
}
