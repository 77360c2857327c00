//! The four-phase stress suite: real tokens through the whole store, every result checked and not
//! only timed. Knows nothing of the single crates but through the facade's re-exports.

mod activity;
mod admissions;
mod args;
mod bars;
mod child;
mod failure;
mod fill;
mod floors;
mod format;
mod fresh;
mod interrupt;
mod lab;
mod machine;
mod oracle;
mod pace;
mod phases;
mod plan;
mod preflight;
mod progress;
mod readback;
mod report;
mod runs;
mod scraper;
mod statistics;
mod subject;
mod suite;
mod table;
mod usage;
mod workdir;
mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::failure::{EXIT_FAILED, EXIT_GOOD, Failure};
use crate::plan::Plan;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    let ended = match &args.recovery_child {
        Some(dir) => child::run(dir, args.seed).map(|()| EXIT_GOOD),
        None => run(&args),
    };
    interrupt::yield_to_handler();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // If stderr is gone, the exit code still says it.
            let _ = writeln!(std::io::stderr(), "ng-stress: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<u8, Failure> {
    let plan = Plan::new(args)?;
    usage::with_plain_heap()?;
    let prepared = suite::prepare(&plan)?;
    if !plan.json {
        print(&table::head())?;
    }
    let (report, out) = suite::run(&plan, prepared)?;
    if plan.json {
        print(&(report.to_json()? + "\n"))?;
    } else {
        print(&table::table(&report, &out))?;
    }
    let good = report.checks_pass() && (!plan.enforce || report.bars_hold());
    Ok(if good { EXIT_GOOD } else { EXIT_FAILED })
}

/// Help and version as they are; anything else in one line.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::from(EXIT_GOOD);
    }
    let text = error.to_string();
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        said.filter(|line| !line.is_empty() && !line.contains("--help")).collect();
    let line = said.join(" ");
    let failure = Failure::Usage(line.strip_prefix("error: ").unwrap_or(&line).to_owned());
    let _ = writeln!(std::io::stderr(), "ng-stress: {failure} (--help shows the flags)");
    ExitCode::from(failure.exit_code())
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(Failure::io("write to", "stdout"))
}
