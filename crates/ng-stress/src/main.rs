//! The four-phase stress suite: real tokens through the whole store, every result checked and not
//! only timed. Knows nothing of the single crates but through the facade's re-exports.

mod activity;
mod admissions;
mod args;
mod bars;
mod child;
mod console;
mod failure;
mod figures;
mod fill;
mod floors;
mod format;
mod fresh;
mod html;
mod interrupt;
mod lab;
mod machine;
mod oracle;
mod pace;
mod page;
mod phases;
mod plan;
mod preflight;
mod progress;
mod ratio;
mod readback;
mod report;
mod runs;
mod scenarios;
mod scraper;
mod statistics;
mod subject;
mod suite;
mod table;
mod usage;
mod verdict;
mod workdir;
mod workload;

use std::process::ExitCode;

use crate::args::{Args, ScenarioArg};
use crate::console::Early;
use crate::failure::{EXIT_FAILED, EXIT_GOOD, Failure};
use crate::plan::Plan;

fn main() -> ExitCode {
    let ended = match console::read::<Args>(std::env::args_os()) {
        Ok(args) => match &args.recovery_child {
            Some(dir) => child::run(dir, args.seed).map(|()| EXIT_GOOD),
            None => run(&args),
        },
        Err(Early::Asked(text)) => print(&text).map(|()| EXIT_GOOD),
        Err(Early::Wrong(line)) => Err(Failure::Usage(line)),
    };
    interrupt::yield_to_handler();
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if let Some(line) = failure.line() {
                console::tell(format_args!("ng-stress: {line}\n"));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(args: &Args) -> Result<u8, Failure> {
    if args.minutes.is_some() && args.scenario != Some(ScenarioArg::Soak) {
        return Err(Failure::Usage("--minutes goes with --scenario soak alone".into()));
    }
    let plan = Plan::new(args);
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

fn print(text: &str) -> Result<(), Failure> {
    Ok(console::print(format_args!("{text}"))?)
}
