//! What the command line means: validated, with defaults filled in and sizes derived from it.

use std::path::PathBuf;
use std::time::Duration;

use crate::args::{Args, DurabilityArg, PhaseArg, ScenarioArg};

/// Bytes of one token in the arena.
pub const TOKEN_BYTES: u64 = 64;

/// The published size: bars of time and memory are judged from here on.
pub const JUDGED_TOKENS: u64 = 9_500_000;

/// Creates tried after the quota is used up; each must be refused.
pub const REFUSED_CREATES: u64 = 1_000;

/// Memory quota of the published run, for the published number of tokens.
const PUBLISHED_MEMORY_BYTES: u64 = 1_024_000_000;

/// Share of a quota at which the store begins to clean up, as published.
pub const CLEANUP_SHARE: f64 = 0.95;

/// Share of its quotas that a run stays below, so that it is no occasion for a cleanup.
const QUIET_SHARE: f64 = 0.9;

/// What the log, the rings and the black box may hold at any size of run.
const FIXED_MEMORY_BYTES: u64 = 64 << 20;

/// Most memory of one session's span ring, as the project's bar allows.
pub const SPAN_RING_BYTES: u64 = 4 << 20;

/// Slots, and credits, that one writer holds ahead at most.
const LEASE_SLOTS: u64 = 1_024;

/// Sessions of a run beside those that create: one reads back, one is the store's own.
const OTHER_SESSIONS: u64 = 2;

/// Slots reserved for each token of the quota, on both sides: address space, not memory.
const SLOTS_PER_TOKEN: u64 = 4;

/// Of a soak, where nothing else is asked for.
const SOAK_MINUTES: u64 = 5;

/// A validated run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tokens a run.
    pub tokens: u64,
    /// Threads that create in baseline and full runs.
    pub threads: usize,
    /// Phases to run.
    pub phases: Phases,
    /// One load in place of the phases.
    pub scenario: Option<ScenarioArg>,
    /// How long a soak takes.
    pub soak: Duration,
    /// Time between two samples of it.
    pub look_every: Duration,
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
    /// Cores, which are the creators of some runs of the full phase.
    pub cores: usize,
    /// Parent of the working directory.
    pub dir: PathBuf,
    /// Directory of report.json and report.html; None stands for `stress/<time>` in the target directory.
    pub out: Option<PathBuf>,
    /// JSON on stdout instead of the table.
    pub json: bool,
    /// A missed bar is exit code 1.
    pub enforce: bool,
    /// Seed of everything random.
    pub seed: u64,
    /// One line a phase on stderr.
    pub notices: bool,
    /// Time between two lines of progress where there is no terminal.
    pub line_every: Duration,
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
    /// Decides what `args` mean. Each value is in its range already.
    pub fn new(args: &Args) -> Self {
        let asked = |phase| {
            let all = args.phase.contains(&PhaseArg::All);
            args.scenario.is_none() && (all || args.phase.contains(&phase))
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let soak = args.soak.map_or(
            Duration::from_secs(60 * args.minutes.unwrap_or(SOAK_MINUTES)),
            Duration::from_millis,
        );
        let mut plan = Self {
            tokens: args.tokens,
            threads: args.threads as usize,
            scenario: args.scenario,
            soak,
            look_every: (soak / 40).min(Duration::from_secs(1)),
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
            cores,
            dir: args.dir.clone().unwrap_or_else(default_dir),
            out: args.out.clone(),
            json: args.json,
            enforce: args.enforce,
            seed: args.seed,
            notices: args.notices,
            line_every: Duration::from_millis(args.line_every),
        };
        match plan.scenario {
            Some(ScenarioArg::TwoThreads) => plan.threads = plan.threads.max(cores).max(2),
            Some(ScenarioArg::Storm) => plan.threads = plan.threads.max(4 * cores).max(16),
            Some(ScenarioArg::Every | ScenarioArg::Churn) => plan.persist = 1,
            Some(ScenarioArg::Pressure | ScenarioArg::Soak) | None => {}
        }
        plan
    }

    /// Whether there are tokens enough to judge by.
    pub fn is_judged(&self) -> bool {
        self.tokens >= JUDGED_TOKENS
    }

    /// The command that repeats this run: every flag that a figure depends on, also where it is the default. The
    /// report's own place is not among them.
    pub fn command(&self) -> String {
        let Phases { baseline, full, recovery, tracing } = self.phases;
        let named =
            [(baseline, "baseline"), (full, "full"), (recovery, "recovery"), (tracing, "tracing")];
        let asked: Vec<&str> = named.iter().filter(|(runs, _)| *runs).map(|(_, n)| *n).collect();
        let phase = if asked.len() == named.len() { "all".into() } else { asked.join(",") };
        let persist = if self.persist == 1 { "every".into() } else { self.persist.to_string() };
        let what = match self.scenario {
            None => format!("--phase {phase}"),
            Some(ScenarioArg::Soak) => {
                format!("--scenario soak --minutes {}", self.soak.as_secs().div_ceil(60))
            }
            Some(scenario) => format!("--scenario {}", scenario.as_str()),
        };
        let mut command = format!(
            "cargo xtask stress {what} --tokens {} --threads {} --persist {persist} \
             --durability {} --sample-rate {} --runs {} --batch {} --seed {}",
            self.tokens,
            self.threads,
            self.durability.as_str(),
            self.sample_rate,
            self.runs,
            self.batch,
            self.seed
        );
        if self.dir != default_dir() {
            command.push_str(&format!(" --dir {}", quoted(&self.dir.to_string_lossy())));
        }
        command
    }

    /// Pairs of a component's ratio: half of the headline's.
    pub fn half_runs(&self) -> usize {
        (self.runs / 2).max(1)
    }

    /// Pairs of a ratio whose bar is wide: a quarter of the headline's.
    pub fn quarter_runs(&self) -> usize {
        self.runs.div_ceil(4)
    }

    /// Whether any phase writes a log.
    pub fn logs(&self) -> bool {
        let Phases { full, recovery, tracing, .. } = self.phases;
        full || recovery || tracing || self.scenario.is_some()
    }

    /// Most threads that create at once.
    pub fn threads_most(&self) -> usize {
        // A storm has one more, who watches.
        let watching = usize::from(self.scenario == Some(ScenarioArg::Storm));
        if self.phases.full { self.threads.max(self.cores) } else { self.threads + watching }
    }

    /// The quota of tokens while a run of `threads` creators is timed: what --tokens tokens and the creators'
    /// leases are [`QUIET_SHARE`] of. Cleanup is on then, and begins at [`CLEANUP_SHARE`].
    pub fn timed_quota(&self, threads: usize) -> u64 {
        beyond(self.tokens.saturating_add(LEASE_SLOTS.saturating_mul(sessions(threads))))
    }

    /// The published memory quota, scaled with the tokens. A session's span ring and leases do not scale,
    /// nor do the fixed parts, so a small run and one of many threads get room for them.
    pub fn max_memory_bytes(&self, threads: usize) -> u64 {
        let scaled = u128::from(PUBLISHED_MEMORY_BYTES) * u128::from(self.tokens)
            / u128::from(JUDGED_TOKENS);
        let scaled = u64::try_from(scaled).unwrap_or(u64::MAX);
        let arena = self.tokens.saturating_mul(TOKEN_BYTES);
        scaled.max(beyond(arena.saturating_add(unscaled_bytes(threads))))
    }

    /// Slots of the arena of a run with `threads` creators: each may have a lease under way and one to come.
    pub fn max_slots(&self, threads: usize) -> u64 {
        let leases = 2 * LEASE_SLOTS * sessions(threads);
        self.tokens.saturating_mul(SLOTS_PER_TOKEN).saturating_add(leases)
    }

    /// Tokens that a run of `tokens` creates marks PERSISTENT.
    pub fn marked(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.persist)
    }

    /// Physical memory needed at the peak: one arena, the ids kept for reading back, and the rest.
    pub fn memory_needed_bytes(&self) -> u64 {
        // 2 % for chunk rounding, headers and bitmaps; the ids twice, since they are sorted to find doubles;
        // 256 MiB for log buffers, the program, and what the recovery phase remembers of its child.
        let arena = self.tokens.saturating_mul(TOKEN_BYTES);
        let ids = self.tokens.saturating_mul(16);
        let rest = unscaled_bytes(self.threads_most()).saturating_add(256 << 20);
        arena.saturating_add(arena / 50).saturating_add(ids).saturating_add(rest)
    }

    /// Address space needed: the arena reserves four times its quota without using it, and beside it as much
    /// memory as the tokens take is mapped for a moment before each run.
    pub fn address_space_needed_bytes(&self) -> u64 {
        // 1 GiB for the program, heaps of threads, the log's buffers; 4 MiB for the stack of each creator.
        let creators = self.threads_most();
        let reserved = self.max_slots(creators).saturating_mul(TOKEN_BYTES);
        let rest = (1 << 30) + ((creators as u64) << 22);
        reserved.saturating_add(self.memory_needed_bytes()).saturating_add(rest)
    }

    /// Threads that run at once: the creators, those that map memory, and the store's own.
    pub fn threads_needed(&self) -> usize {
        self.threads_most().max(self.cores) + 16
    }

    /// Most bytes that one store of the suite may log.
    pub fn log_bytes_max(&self) -> u64 {
        // 73 bytes a record on disk, counted as 80; twice, for the steady run's churn.
        self.marked(self.tokens).saturating_mul(160).max(1 << 30)
    }

    /// Disk space needed in `dir`: logs are removed after each run, so the largest counts.
    pub fn disk_needed_bytes(&self) -> u64 {
        if !self.logs() {
            return 1 << 20;
        }
        // Pressure marks each second token, whatever --persist says.
        let marked = match self.scenario {
            Some(ScenarioArg::Pressure) => self.tokens / 2,
            _ => self.marked(self.tokens),
        };
        let full = marked.saturating_mul(160);
        // 640 MiB: the killed child's log, spare segments and the black box.
        full.saturating_add(640 << 20)
    }
}

/// Where cargo, and so this program, puts what it makes.
pub fn target_dir() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty());
    set.map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn default_dir() -> PathBuf {
    target_dir().join("stress/data")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn sessions(threads: usize) -> u64 {
    threads as u64 + OTHER_SESSIONS
}

/// What a store holds beside its tokens.
fn unscaled_bytes(threads: usize) -> u64 {
    let session = SPAN_RING_BYTES + 2 * LEASE_SLOTS * TOKEN_BYTES;
    FIXED_MEMORY_BYTES.saturating_add(sessions(threads).saturating_mul(session))
}

/// The limit of which `used` is [`QUIET_SHARE`].
fn beyond(used: u64) -> u64 {
    (used as f64 / QUIET_SHARE).ceil() as u64
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plan(args: &[&str]) -> Plan {
        let typed = ["ng-stress"].into_iter().chain(args.iter().copied());
        Plan::new(&Args::try_parse_from(typed).expect("the arguments parse"))
    }

    #[test]
    fn the_defaults_are_the_published_run() {
        let plan = plan(&[]);
        assert_eq!(plan.tokens, 9_500_000);
        assert_eq!(plan.max_memory_bytes(1), 1_024_000_000);
        assert_eq!((plan.runs, plan.half_runs(), plan.quarter_runs()), (31, 15, 8));
        assert_eq!(plan.marked(plan.tokens), 9_500);
        assert!(plan.phases.baseline && plan.phases.full);
        assert!(plan.phases.recovery && plan.phases.tracing);
    }

    #[test]
    fn phases_can_be_chosen_one_by_one() {
        let plan = plan(&["--phase", "baseline,tracing"]);
        assert!(plan.phases.baseline && plan.phases.tracing);
        assert!(!plan.phases.full && !plan.phases.recovery);
    }

    #[test]
    fn the_command_of_a_run_means_the_same_run() {
        for typed in [
            vec![],
            vec!["--phase", "recovery,tracing", "--persist", "every", "--seed", "7"],
            vec!["--tokens", "1000", "--threads", "3", "--durability", "strict", "--runs", "5"],
            vec![
                "--scenario",
                "storm",
                "--threads",
                "40",
                "--runs",
                "3",
                "--durability",
                "relaxed",
            ],
            vec!["--scenario", "soak", "--minutes", "7"],
            vec!["--sample-rate", "0.25", "--batch", "9", "--dir", "a place/with 'quotes'"],
        ] {
            let meant = plan(&typed);
            let command = meant.command();
            let words = command.strip_prefix("cargo xtask stress ").expect("the suite's command");
            let (words, dir) = words.split_once(" --dir ").unwrap_or((words, ""));
            let again = plan(&words.split(' ').collect::<Vec<_>>());
            assert_eq!((again.tokens, again.threads), (meant.tokens, meant.threads));
            assert_eq!((again.phases, again.runs), (meant.phases, meant.runs));
            assert_eq!((again.persist, again.durability), (meant.persist, meant.durability));
            assert_eq!((again.seed, again.batch), (meant.seed, meant.batch));
            assert_eq!((again.scenario, again.soak), (meant.scenario, meant.soak));
            assert_eq!(again.sample_rate, meant.sample_rate);
            let is_elsewhere = typed.contains(&"--dir");
            assert_eq!(dir, if is_elsewhere { r"'a place/with '\''quotes'\'''" } else { "" });
        }
    }

    #[test]
    fn a_scenario_needs_what_its_log_takes() {
        for scenario in ["every", "churn", "pressure", "storm", "two_threads", "soak"] {
            let plan = plan(&["--scenario", scenario]);
            assert!(plan.logs() && plan.disk_needed_bytes() >= 640 << 20, "{scenario}");
        }
        assert!(plan(&["--scenario", "every"]).disk_needed_bytes() > 9_500_000 * 160);
        assert!(plan(&["--scenario", "pressure"]).disk_needed_bytes() > 9_500_000 * 80);
    }

    #[test]
    fn the_largest_run_has_slots_that_the_arena_can_number() {
        let plan = plan(&["--tokens", "1000000000", "--threads", "256"]);
        assert!(plan.max_slots(256) < u64::from(u32::MAX));
        assert!(plan.memory_needed_bytes() > 64_000_000_000);
    }

    #[test]
    fn what_each_thread_holds_has_room_in_both_quotas() {
        for (tokens, threads) in [("1000", 256), ("100000", 48), ("9500000", 256)] {
            let plan = plan(&["--tokens", tokens, "--threads", &threads.to_string()]);
            let rings = SPAN_RING_BYTES * threads as u64;
            let held = plan.tokens * TOKEN_BYTES + rings + FIXED_MEMORY_BYTES;
            let share = |used: u64, limit: u64| used as f64 / limit as f64;
            assert!(share(held, plan.max_memory_bytes(threads)) < CLEANUP_SHARE, "{tokens}");
            let leased = plan.tokens + LEASE_SLOTS * threads as u64;
            assert!(share(leased, plan.timed_quota(threads)) < CLEANUP_SHARE, "{tokens}");
        }
    }
}
