//! The project's own commands behind `cargo xtask`: run the suite, build the bench report, judge the tree, do all that
//! a merge needs. Imports none of our crates; it starts their programs and reads their sources as text.
#![forbid(unsafe_code)]

#[path = "../../crates/ng-stress/src/console.rs"]
mod console;

/// In place of the standard ones, which panic where nobody reads; the first two end the program then. Every file of
/// xtask has them, since they stand before all of them.
macro_rules! print {
    ($($words:tt)*) => { crate::exit::print(format_args!($($words)*)) };
}
macro_rules! println {
    ($($words:tt)*) => { crate::exit::print(format_args!("{}\n", format_args!($($words)*))) };
}
macro_rules! eprint {
    ($($words:tt)*) => { crate::console::tell(format_args!($($words)*)) };
}
macro_rules! eprintln {
    ($($words:tt)*) => { crate::console::tell(format_args!("{}\n", format_args!($($words)*))) };
}

mod ci;
mod exit;
mod instructions;
mod launch;
mod meanwhile;
mod mutants;
mod pages;
mod profiles;
mod slowed;
mod tidy;
mod torture;
mod workspace;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

use crate::{
    console::Early,
    exit::{Exit, INTERRUPTED},
};

/// The project's own commands.
///
/// Exit codes: 0 good; 1 a check failed, in `ci` a step; 2 wrong usage or bad input; 3 the environment lacks something;
/// 130 interrupted. A missed bar of time is printed and ends with 0; only `stress --enforce`, which `ci` uses too, ends
/// with 1 for one. An instruction count over its limit always ends with 1. Off a terminal, what takes long prints a line
/// each 10 s on stderr.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Task>,
}

#[derive(Subcommand)]
enum Task {
    /// Run the four-phase stress suite in release mode; `stress --help` lists its flags
    ///
    /// Relative paths count from the workspace root.
    #[command(disable_help_flag = true)]
    Stress {
        /// Handed to the suite as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure floors, peers and our figures side by side; `bench-report --help` lists its flags
    ///
    /// Relative paths count from the workspace root.
    #[command(disable_help_flag = true)]
    BenchReport {
        /// Handed to the benches as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check the layering and style rules that a program can judge
    Tidy {
        /// Store the present hash of each `format.rs` in docs/FORMAT.md: say so only after reading the document again
        #[arg(long)]
        bless: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Break the code on purpose, one mutant after the other: the test named for each must go red
    Mutants {
        /// This one alone
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// Through all crash images, not a part of them
        #[arg(long)]
        all_images: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Slow each part by a quarter of the baseline's time a token: the suite's bars must notice, on an idle machine
    ///
    /// Five runs unslowed, each of which must hold every bar, and five with each of guardian, wal, trace, metrics and
    /// blackbox slowed, each of which must miss one. Exit code 1: a run said otherwise, or judged no bar.
    Slowed {
        /// This part alone; `none` for the unslowed runs
        #[arg(long, value_name = "PART")]
        only: Option<String>,
        /// Runs of each
        #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        /// Handed to each run of the suite, behind `--`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// What takes longer than a merge waits for: a sanitizer, random models, kill loops
    Torture {
        /// This step alone, for all the seconds; a wrong name lists them
        #[arg(long, value_name = "STEP")]
        only: Option<String>,
        /// Every kill point and more traced runs: minutes instead of seconds
        #[arg(long)]
        all: bool,
        /// About how long, without the builds and the sanitizer; 60 where not given
        #[arg(long, value_name = "N")]
        seconds: Option<u64>,
        /// All seeds are drawn from it; from the clock where not given, and printed
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Print one JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Build and run programs outside the workspace under profiles that are not ours
    Profiles {
        /// The whole product under every profile, not under three
        #[arg(long)]
        full: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Open the suite's and the benches' pages in Chromium, and read them with axe
    Pages,
    /// Count the instructions of each hot path under valgrind, and hold them to benches/instructions/limits.toml
    Instructions {
        /// Store what was counted, and the limits that go with it: the commit message says why a figure rose
        #[arg(long)]
        bless: bool,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// All that a merge needs, and a table of what passed; `ci --help` lists the steps
    ///
    /// The steps, in their order: tests, fmt, clippy, docs, tidy, each crate alone, packages, other systems, loom,
    /// shuttle, mutants, torture, profiles, benchmarks (with --full), instructions, metrics checkers, examples, stress,
    /// pages, deny. It goes on after a failed step. One that cannot run here is skipped, and the table says what would
    /// make it run. Exit code 1: a step failed.
    Ci {
        /// The longer proofs too: the whole product under every profile, and each benchmark once
        #[arg(long)]
        full: bool,
        /// Leave out `cargo test --workspace`: the caller has just run it
        #[arg(long)]
        skip_tests: bool,
        /// Print one JSON document on stdout; everything else goes to stderr
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    // Without a handler an interrupt ends it all the same, only in silence.
    let _ = ctrlc::set_handler(|| {
        eprintln!("xtask: interrupted");
        std::process::exit(INTERRUPTED);
    });
    let args = match console::read::<Args>(env::args_os()) {
        Ok(args) => args,
        Err(Early::Asked(text)) => {
            print!("{text}");
            return Exit::Good.into();
        }
        Err(Early::Wrong(line)) => {
            eprintln!("xtask: {line}");
            return Exit::Usage.into();
        }
    };
    let exit = match args.command {
        None => list(),
        Some(Task::Stress { args }) => launch::stress(&args),
        Some(Task::BenchReport { args }) => launch::bench_report(&args),
        Some(Task::Tidy { bless, json }) => tidy::run(bless, json),
        Some(Task::Mutants { only, all_images, json }) => {
            mutants::run(only.as_deref(), all_images, json)
        }
        Some(Task::Slowed { only, times, json, args }) => {
            slowed::run(&slowed::Request { only, times, args, as_json: json })
        }
        Some(Task::Torture { only, all, seconds, seed, json }) => {
            torture::run(&torture::Request { seconds, seed, all, only, as_json: json })
        }
        Some(Task::Profiles { full, json }) => profiles::run(full, json),
        Some(Task::Pages) => pages::run(),
        Some(Task::Instructions { bless, json }) => instructions::run(bless, json),
        Some(Task::Ci { full, skip_tests, json }) => ci::run(full, skip_tests, json),
    };
    exit.into()
}

/// `cargo xtask` alone: what there is.
fn list() -> Exit {
    print!("{}", Args::command().render_help());
    Exit::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stress_takes_every_argument_as_it_is_also_help_and_unknown_flags() {
        let args = ["xtask", "stress", "--help", "--tokens", "5", "--no-such-flag", "--", "x"];
        let Some(Task::Stress { args }) = Args::try_parse_from(args).unwrap().command else {
            panic!("not parsed as stress");
        };
        assert_eq!(args[..4], ["--help", "--tokens", "5", "--no-such-flag"]);
    }

    /// Of the command's help and of CONTRIBUTING.md, in the order of the run.
    #[test]
    fn each_step_of_ci_is_told_and_no_other() {
        let source = include_str!("ci.rs");
        let run = source.split_once("pub(crate) fn run(").unwrap().1;
        let run = run.split_once("run.finish()").unwrap().0;
        let calls = ["run.step(\"", "run.cargo(\"", "run.table(\""];
        let calls =
            run.lines().filter_map(|line| calls.iter().find_map(|call| line.split_once(call)));
        let mut steps: Vec<&str> = calls.map(|(_, rest)| rest.split('"').next().unwrap()).collect();
        steps.dedup(); // the tests stand there twice, done and left out
        assert!(steps.len() > 15, "{steps:?}");

        let mut args = Args::command();
        let help = args.find_subcommand_mut("ci").unwrap().render_long_help().to_string();
        let words: Vec<_> = help.split_whitespace().collect();
        let told = words.join(" ").replace(" (with --full)", "");
        let told = told.split_once("in their order: ").unwrap().1.split_once('.').unwrap().0;
        assert_eq!(told.split(", ").collect::<Vec<_>>(), steps);

        let page = include_str!("../../CONTRIBUTING.md");
        let table = page.split_once("| step | what it does |\n|---|---|\n").unwrap().1;
        let rows = table.lines().take_while(|line| line.starts_with("| "));
        let told = rows.flat_map(|row| row.split('|').nth(1).unwrap().trim().split(", "));
        assert_eq!(told.collect::<Vec<_>>(), steps);
    }

    #[test]
    fn an_unknown_command_is_wrong_usage() {
        let Err(error) = Args::try_parse_from(["xtask", "frobnicate"]) else { panic!("accepted") };
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn no_command_at_all_is_accepted() {
        assert!(Args::try_parse_from(["xtask"]).unwrap().command.is_none());
    }
}
