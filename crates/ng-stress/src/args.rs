//! What was typed: the command line, word for word, and the range of each value. What it means is decided
//! in `plan.rs`. Knows std and clap alone: xtask includes this file to refuse wrong flags before it builds.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Tokens of a run. Below, a tenth of a run is shorter than two clock reads can tell; above, the slots
/// that the arena reserves for them have no numbers.
const TOKENS: RangeInclusive<u64> = 1_000..=1_000_000_000;

/// Threads that create at once; the end is far above any use, to stop a slip of the finger.
const THREADS: RangeInclusive<u64> = 1..=256;

/// Pairs of the headline ratio.
const RUNS: RangeInclusive<u64> = 1..=10_000;

/// Minutes of a soak: up to a week.
const MINUTES: RangeInclusive<u64> = 1..=10_080;

/// A number of which there is no most.
const COUNT: RangeInclusive<u64> = 1..=u64::MAX;

/// The command line of `ng-stress`.
#[derive(Parser, Debug)]
#[command(
    name = "ng-stress",
    bin_name = "cargo xtask stress",
    version,
    about = "Puts millions of real tokens through the whole store and reports what that costs",
    long_about = "Four phases: baseline (the token arena alone), full (log, quotas, tracing, metrics \
                  and black box on), recovery (a child process killed in mid-write) and tracing.\n\
                  Results go to stdout, progress to stderr (a bar on a terminal, else a line each 10 s), \
                  the report to --out: report.json, and report.html for people.\n\
                  Exit: 0 good, 1 a check failed or with --enforce a judged bar, 2 wrong usage, 3 the machine \
                  lacks something, 130 interrupted."
)]
pub struct Args {
    /// Tokens to create in each run, 1000 to 1000000000; 9_500_000 and 9500000 mean the same
    ///
    /// The phase `recovery` writes until it is killed, whatever this says: after 0.5 to 2 s, or a fifth of that below
    /// 9500000. The scenario `churn` keeps 95 % of this alive, and deletes and creates half as many as this.
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "9_500_000", value_parser = |text: &str| within(text, TOKENS))]
    pub tokens: u64,

    /// Threads that create tokens in the baseline and full runs, 1 to 256
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "1", value_parser = |text: &str| within(text, THREADS))]
    pub threads: u64,

    /// Phases to run; several may be given, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub phase: Vec<PhaseArg>,

    /// Run one load in place of the phases; it has its own checks, and no bar judges it
    #[arg(long, value_enum, conflicts_with = "phase")]
    pub scenario: Option<ScenarioArg>,

    /// Minutes of the scenario `soak`, 1 to 10080; 5 where not given
    #[arg(long, allow_negative_numbers = true, value_name = "N", requires = "scenario", value_parser = |text: &str| within(text, MINUTES))]
    pub minutes: Option<u64>,

    /// Log each N-th token, 1 to 18446744073709551615, or `every` one; the first is always logged
    #[arg(long, allow_negative_numbers = true, value_name = "N|every", default_value = "1000", value_parser = persist)]
    pub persist: u64,

    /// Durability level of the log in the full phase
    #[arg(long, value_enum, default_value = "balanced")]
    pub durability: DurabilityArg,

    /// Share of creates recorded as spans, 0.000001 to 1
    #[arg(long, allow_negative_numbers = true, value_name = "F", default_value = "0.01", value_parser = rate)]
    pub sample_rate: f64,

    /// Interleaved pairs of the headline ratio, 1 to 10000; component ratios take half as many
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "31", value_parser = |text: &str| within(text, RUNS))]
    pub runs: u64,

    /// Step of progress and of verification, in tokens, 1 to 18446744073709551615
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "100_000", value_parser = |text: &str| within(text, COUNT))]
    pub batch: u64,

    /// Directory in which a fresh working directory is made, and removed at the end; by default
    /// `stress/data` in CARGO_TARGET_DIR, or in `target`
    #[arg(long, value_name = "PATH")]
    pub dir: Option<PathBuf>,

    /// Directory for report.json and report.html; by default `stress/<time>` in CARGO_TARGET_DIR, or in `target`
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,

    /// Print the report as one JSON document on stdout, and nothing else there
    #[arg(long)]
    pub json: bool,

    /// Exit with 1 if a judged bar is missed
    #[arg(long)]
    pub enforce: bool,

    /// Seed of the tokens and of the moment of the kill, 0 to 18446744073709551615
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "1", value_parser = |text: &str| within(text, 0..=u64::MAX))]
    pub seed: u64,

    /// Print one line on stderr when a phase starts, also without a terminal
    #[arg(long, hide = true)]
    pub notices: bool,

    /// Milliseconds between two lines of progress where stderr is no terminal
    #[arg(long, hide = true, value_name = "MS", default_value = "10_000", value_parser = |text: &str| within(text, COUNT))]
    pub line_every: u64,

    /// Milliseconds of the scenario `soak`, in place of its minutes
    #[arg(long, hide = true, value_name = "MS", value_parser = |text: &str| within(text, COUNT))]
    pub soak: Option<u64>,

    /// Be the child that is killed: write to this store and acknowledge on stdout
    #[arg(long, hide = true, value_name = "STORE")]
    pub recovery_child: Option<PathBuf>,
}

/// A phase as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseArg {
    /// The token arena alone, beside the raw fill of memory
    Baseline,
    /// Everything on, beside the baseline
    Full,
    /// A killed child, recovered
    Recovery,
    /// The cost of a span, and of none
    Tracing,
    /// All four
    All,
}

/// A scenario as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ScenarioArg {
    /// Creators on all cores, two at least, each token read back
    TwoThreads,
    /// Each token logged, then the store closed and opened again
    Every,
    /// Deletes and creates at 95 % of the quota, each logged, then the store opened again
    Churn,
    /// Many threads at a small quota, sessions opened and dropped all the time
    Storm,
    /// Quotas lowered and raised while tokens are alive
    Pressure,
    /// A steady load for minutes: what grows, and how surely
    Soak,
}

impl ScenarioArg {
    /// The word of the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoThreads => "two_threads",
            Self::Every => "every",
            Self::Churn => "churn",
            Self::Storm => "storm",
            Self::Pressure => "pressure",
            Self::Soak => "soak",
        }
    }
}

/// A durability level as typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// Written soon, synced each second
    Relaxed,
    /// Synced each 10,000 records or 100 ms
    Balanced,
    /// Synced before the call returns
    Strict,
}

impl DurabilityArg {
    /// The word of the report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relaxed => "relaxed",
            Self::Balanced => "balanced",
            Self::Strict => "strict",
        }
    }
}

/// A whole number of a range, with or without underscores.
fn within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let number = digits.parse().ok().filter(|number| range.contains(number));
    number
        .ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// `every` is the same as each first one.
fn persist(text: &str) -> Result<u64, String> {
    if text == "every" {
        Ok(1)
    } else {
        within(text, COUNT).map_err(|expected| format!("{expected}, or `every`"))
    }
}

/// A share that the sampler can hold to.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-6..=1.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0.000001 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_definition_holds_together() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn underscores_in_numbers_are_read_and_nonsense_is_not() {
        assert_eq!(within("9_500_000", TOKENS), Ok(9_500_000));
        assert_eq!(persist("every"), Ok(1));
        for nonsense in ["0", "-1", "1e6", "", "_", "18446744073709551616"] {
            let refused = within(nonsense, COUNT).expect_err(nonsense);
            assert_eq!(refused, "expected a whole number from 1 to 18446744073709551615");
        }
        assert!(rate("0").is_err());
        assert!(rate("NaN").is_err());
    }

    #[test]
    fn the_help_of_each_ranged_flag_names_its_range() {
        use clap::CommandFactory;
        let help = |id: &str| {
            let command = Args::command();
            let flag = command.get_arguments().find(|flag| flag.get_id() == id).expect("a flag");
            flag.get_help().expect("help").to_string()
        };
        for (id, range) in [("tokens", TOKENS), ("threads", THREADS), ("runs", RUNS)] {
            let words = format!("{} to {}", range.start(), range.end());
            assert!(help(id).contains(&words), "{id}: {words}");
        }
        let any = format!("1 to {}", u64::MAX);
        assert!(help("persist").contains(&any) && help("batch").contains(&any));
        assert!(help("seed").contains(&format!("0 to {}", u64::MAX)));
        assert!(help("sample_rate").contains("0.000001 to 1"));
    }
}
