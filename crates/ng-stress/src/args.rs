//! What was typed: the command line, word for word. What it means is decided in `plan.rs`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// The command line of `ng-stress`.
#[derive(Parser, Debug)]
#[command(
    name = "ng-stress",
    version,
    about = "Puts millions of real tokens through the whole store and reports what that costs",
    long_about = "Four phases: baseline (the token arena alone), full (log, quotas, tracing, metrics \
                  and black box on), recovery (a child process killed in mid-write) and tracing.\n\
                  Results go to stdout, progress to stderr (only on a terminal), the report to --out.\n\
                  Exit: 0 good, 1 a check or bar failed, 2 wrong usage, 3 the machine lacks something."
)]
pub struct Args {
    /// Tokens to create in each run; 9_500_000 and 9500000 mean the same
    #[arg(long, value_name = "N", default_value = "9_500_000", value_parser = count)]
    pub tokens: u64,

    /// Threads that create tokens in the baseline and full runs
    #[arg(long, value_name = "N", default_value = "1", value_parser = count)]
    pub threads: u64,

    /// Phases to run; several may be given, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    pub phase: Vec<PhaseArg>,

    /// Log each N-th token, or `every` one
    #[arg(long, value_name = "N|every", default_value = "1000", value_parser = persist)]
    pub persist: u64,

    /// Durability level of the log in the full phase
    #[arg(long, value_enum, default_value = "balanced")]
    pub durability: DurabilityArg,

    /// Share of creates recorded as spans, 0.000001 to 1
    #[arg(long, value_name = "F", default_value = "0.01", value_parser = rate)]
    pub sample_rate: f64,

    /// Interleaved pairs of the headline ratio; component ratios take half as many
    #[arg(long, value_name = "N", default_value = "31", value_parser = count)]
    pub runs: u64,

    /// Step of progress and of verification, in tokens
    #[arg(long, value_name = "N", default_value = "100_000", value_parser = count)]
    pub batch: u64,

    /// Directory in which a fresh working directory is made, and removed at the end
    #[arg(long, value_name = "PATH", default_value = "target/stress/data")]
    pub dir: PathBuf,

    /// Directory for report.json; by default `target/stress/<time>`
    #[arg(long, value_name = "PATH")]
    pub out: Option<PathBuf>,

    /// Print the report as one JSON document on stdout, and nothing else there
    #[arg(long)]
    pub json: bool,

    /// Exit with 1 if a judged bar is missed
    #[arg(long)]
    pub enforce: bool,

    /// Seed of the tokens and of the moment of the kill
    #[arg(long, value_name = "N", default_value = "1", value_parser = number)]
    pub seed: u64,

    /// Print one line on stderr when a phase starts, also without a terminal
    #[arg(long, hide = true)]
    pub notices: bool,

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

/// A whole number, with or without underscores.
fn number(text: &str) -> Result<u64, String> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    digits.parse().map_err(|_| "a whole number is needed, such as 9_500_000".into())
}

/// A whole number of at least one.
fn count(text: &str) -> Result<u64, String> {
    match number(text)? {
        0 => Err("must be at least 1".into()),
        n => Ok(n),
    }
}

/// `every` is the same as each first one.
fn persist(text: &str) -> Result<u64, String> {
    if text == "every" { Ok(1) } else { count(text).map_err(|e| format!("{e}, or `every`")) }
}

/// A share that the sampler can hold to.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1e-6..=1.0).contains(&rate) => Ok(rate),
        _ => Err("must be a number from 0.000001 to 1".into()),
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
        assert_eq!(count("9_500_000"), Ok(9_500_000));
        assert_eq!(persist("every"), Ok(1));
        assert!(count("0").is_err());
        assert!(count("-1").is_err());
        assert!(count("1e6").is_err());
        assert!(rate("0").is_err());
        assert!(rate("NaN").is_err());
    }
}
