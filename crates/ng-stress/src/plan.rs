//! What the command line means: validated, with defaults filled in and sizes derived from it.

use std::path::PathBuf;

use crate::args::{Args, DurabilityArg, PhaseArg};
use crate::failure::Failure;

/// Bytes of one token in the arena.
pub const TOKEN_BYTES: u64 = 64;

/// The published size: bars of time and memory are judged from here on.
pub const JUDGED_TOKENS: u64 = 9_500_000;

/// Fewest tokens of a run: below, a tenth of a run is shorter than two clock reads can tell.
const TOKENS_MIN: u64 = 1_000;

/// Most threads that create at once; far above any use, to stop a slip of the finger.
const THREADS_MAX: u64 = 256;

/// Creates tried after the quota is used up; each must be refused.
pub const REFUSED_CREATES: u64 = 1_000;

/// Memory quota of the published run, for the published number of tokens.
const PUBLISHED_MEMORY_BYTES: u64 = 1_024_000_000;

/// What the log, the rings and the black box may hold at any size of run.
const FIXED_MEMORY_BYTES: u64 = 64 << 20;

/// A validated run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tokens a run.
    pub tokens: u64,
    /// Threads that create in baseline and full runs.
    pub threads: usize,
    /// Phases to run.
    pub phases: Phases,
    /// Each n-th token is logged; 1 is every one.
    pub persist: u64,
    /// Level of the log in the full phase.
    pub durability: DurabilityArg,
    /// Share of creates recorded as spans.
    pub sample_rate: f64,
    /// Pairs of the headline ratio.
    pub runs: usize,
    /// Tokens between two steps of a verification's progress.
    pub batch: u64,
    /// Parent of the working directory.
    pub dir: PathBuf,
    /// Directory of report.json; None stands for `target/stress/<time>`.
    pub out: Option<PathBuf>,
    /// JSON on stdout instead of the table.
    pub json: bool,
    /// A missed bar is exit code 1.
    pub enforce: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// One line a phase on stderr.
    pub notices: bool,
}

/// Which phases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases {
    /// The arena alone.
    pub baseline: bool,
    /// Everything on.
    pub full: bool,
    /// The killed child.
    pub recovery: bool,
    /// Cost of spans.
    pub tracing: bool,
}

impl Plan {
    /// Decides what `args` mean, or says which value is out of its range.
    pub fn new(args: &Args) -> Result<Self, Failure> {
        if args.tokens < TOKENS_MIN {
            return Err(Failure::Usage(format!(
                "--tokens {} is too few: at least {TOKENS_MIN} are needed",
                args.tokens
            )));
        }
        if args.threads > THREADS_MAX {
            return Err(Failure::Usage(format!(
                "--threads {} is out of range: 1 to {THREADS_MAX}",
                args.threads
            )));
        }
        if args.runs > 10_000 {
            return Err(Failure::Usage(format!(
                "--runs {} is out of range: 1 to 10000",
                args.runs
            )));
        }
        let asked = |phase| args.phase.contains(&phase) || args.phase.contains(&PhaseArg::All);
        Ok(Self {
            tokens: args.tokens,
            threads: args.threads as usize,
            phases: Phases {
                baseline: asked(PhaseArg::Baseline),
                full: asked(PhaseArg::Full),
                recovery: asked(PhaseArg::Recovery),
                tracing: asked(PhaseArg::Tracing),
            },
            persist: args.persist,
            durability: args.durability,
            sample_rate: args.sample_rate,
            runs: args.runs as usize,
            batch: args.batch,
            dir: args.dir.clone(),
            out: args.out.clone(),
            json: args.json,
            enforce: args.enforce,
            seed: args.seed,
            notices: args.notices,
        })
    }

    /// Pairs of a component's ratio: half of the headline's.
    pub fn half_runs(&self) -> usize {
        (self.runs / 2).max(1)
    }

    /// Pairs of a ratio whose bar is wide: a quarter of the headline's.
    pub fn quarter_runs(&self) -> usize {
        self.runs.div_ceil(4)
    }

    /// The published memory quota, scaled with the tokens. The fixed parts do not scale, so a
    /// small run gets room for them.
    pub fn max_memory_bytes(&self) -> u64 {
        let scaled = u128::from(PUBLISHED_MEMORY_BYTES) * u128::from(self.tokens)
            / u128::from(JUDGED_TOKENS);
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        scaled.max(self.tokens.saturating_mul(TOKEN_BYTES).saturating_add(FIXED_MEMORY_BYTES))
    }

    /// Tokens that a run of `tokens` creates marks PERSISTENT.
    pub fn marked(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.persist)
    }

    /// Physical memory needed at the peak: one arena, the ids kept for reading back, and the rest.
    pub fn memory_needed_bytes(&self) -> u64 {
        // 2 % for chunk rounding, headers and bitmaps; 384 MiB for rings, log buffers, the program,
        // and what the recovery phase remembers of its child's operations.
        let arena = self.tokens.saturating_mul(TOKEN_BYTES);
        let ids = self.tokens.saturating_mul(8);
        arena.saturating_add(arena / 50).saturating_add(ids).saturating_add(384 << 20)
    }

    /// Address space needed: the arena reserves four times its quota without using it.
    pub fn address_space_needed_bytes(&self) -> u64 {
        self.tokens.saturating_mul(4 * TOKEN_BYTES).saturating_add(1 << 30)
    }

    /// Most bytes that one store of the suite may log.
    pub fn log_bytes_max(&self) -> u64 {
        // 73 bytes a record on disk, counted as 80; twice, for the steady run's churn.
        self.marked(self.tokens).saturating_mul(160).max(1 << 30)
    }

    /// Disk space needed in `dir`: logs are removed after each run, so the largest counts.
    pub fn disk_needed_bytes(&self) -> u64 {
        let full = self.marked(self.tokens).saturating_mul(160);
        // 512 MiB: the killed child's log, spare segments and the black box.
        full.saturating_add(512 << 20)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(args: &[&str]) -> Result<Plan, Failure> {
        let typed = ["ng-stress"].into_iter().chain(args.iter().copied());
        Plan::new(&Args::try_parse_from(typed).expect("the arguments parse"))
    }

    #[test]
    fn the_defaults_are_the_published_run() {
        let plan = plan(&[]).expect("defaults are valid");
        assert_eq!(plan.tokens, 9_500_000);
        assert_eq!(plan.max_memory_bytes(), 1_024_000_000);
        assert_eq!((plan.runs, plan.half_runs(), plan.quarter_runs()), (31, 15, 8));
        assert_eq!(plan.marked(plan.tokens), 9_500);
        assert!(plan.phases.baseline && plan.phases.full);
        assert!(plan.phases.recovery && plan.phases.tracing);
    }

    #[test]
    fn phases_can_be_chosen_one_by_one() {
        let plan = plan(&["--phase", "baseline,tracing"]).expect("valid");
        assert!(plan.phases.baseline && plan.phases.tracing);
        assert!(!plan.phases.full && !plan.phases.recovery);
    }

    #[test]
    fn sizes_beyond_any_machine_do_not_overflow() {
        let plan = plan(&["--tokens", "18446744073709551615"]).expect("left to the preflight");
        assert_eq!(plan.memory_needed_bytes(), u64::MAX);
    }

    #[test]
    fn too_few_tokens_are_wrong_usage() {
        assert!(matches!(plan(&["--tokens", "999"]), Err(Failure::Usage(_))));
    }
}
