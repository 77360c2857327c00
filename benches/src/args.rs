//! What was typed, and the range of each value. Knows std and clap alone: xtask includes this file to refuse wrong flags
//! before it builds.

use std::path::PathBuf;

use clap::{Parser, builder::PossibleValuesParser, value_parser};

/// The ids that `--group` takes, in the order of the report.
pub(crate) const GROUPS: &[&str] = &[
    "create",
    "create_2t",
    "get",
    "delete",
    "iterate",
    "churn",
    "batch",
    "wal_append",
    "wal_durable_1t",
    "wal_durable_8t",
    "wal_replay",
    "log_bytes",
    "wal_queue",
    "counter",
    "counter_2t",
    "histogram",
    "scrape",
    "counter_scraped",
    "record",
    "sample_decision",
    "span",
];

/// Floors, peers and our figures side by side; writes index.html, report.json and report.md.
///
/// Results go to stdout, progress to stderr: in place on a terminal, else a line each 10 s.
/// Exit codes: 0 good, whatever the bars say; 1 a check failed; 2 wrong usage or bad input; 3 the environment lacks
/// something; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "bench-report", bin_name = "cargo xtask bench-report", version)]
pub(crate) struct Args {
    /// Fewer rounds: 15 and not 31 of the rows that a bar needs, more while a bar cannot be told, and 5 of the others
    #[arg(long)]
    pub(crate) quick: bool,
    /// Add the report to `benches/records`, with which later runs on the same kind of processor are compared
    #[arg(long)]
    pub(crate) record: bool,
    /// Print report.json on stdout and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
    /// Folder for the report; `bench-report/<time>` in CARGO_TARGET_DIR, or in `target`, where not given
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
    /// Tokens a round, 1000 to 1000000000; below 9500000 no bar is judged
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "9500000", value_parser = value_parser!(u64).range(1000..=1_000_000_000))]
    pub(crate) tokens: u64,
    /// Seed of the tokens, 0 to 18446744073709551615
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "1", value_parser = value_parser!(u64).range(0..))]
    pub(crate) seed: u64,
    /// Pairs of a delete and a create in each round of the group `churn`, 1000 to 10000000000; as many as tokens where
    /// not given
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = value_parser!(u64).range(1000..=10_000_000_000))]
    pub(crate) churn_operations: Option<u64>,
    /// Records a round of the groups of the log, 10000 to 100000000; below 3000000 none of their bars is judged
    #[arg(long, allow_negative_numbers = true, value_name = "N", default_value = "3000000", value_parser = value_parser!(u64).range(10_000..=100_000_000))]
    pub(crate) records: u64,
    /// Folder in which those groups make their files, in a fresh folder that goes again, and nothing else in it is
    /// touched; `bench-report/data` in CARGO_TARGET_DIR, or in `target`, where not given
    #[arg(long, value_name = "PATH")]
    pub(crate) dir: Option<PathBuf>,
    /// Only the group of this id
    #[arg(long, value_name = "ID", value_parser = PossibleValuesParser::new(GROUPS))]
    pub(crate) group: Option<String>,
    /// Measure what the parent asks for over stdin: rows that need another allocator setting
    #[arg(long, hide = true)]
    pub(crate) serve_rows: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_flags_and_values_out_of_their_range_are_wrong_usage() {
        let bad =
            ["--tokens=5", "--quik", "--seed=-1", "--records=9999", "--group=x", "--tokens=1e9"];
        for bad in bad {
            let Err(error) = Args::try_parse_from(["x", bad]) else { panic!("{bad:?} accepted") };
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn the_help_of_each_number_names_its_range() {
        use clap::CommandFactory;
        let help = Args::command().render_long_help().to_string();
        for range in [
            "1000 to 1000000000",
            "1000 to 10000000000",
            "10000 to 100000000",
            "0 to 18446744073709551615",
        ] {
            assert!(help.contains(range), "{range} in {help}");
        }
    }
}
