//! The report as others read it: schema "neurograph-stress/1". What was not measured is null, never 0.
//!
//! Fields are added freely; none is renamed or given another meaning.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::ratio::Ratio;
use crate::scenarios::Scenario;

/// Name and version of this shape.
pub const SCHEMA: &str = "neurograph-stress/1";

/// What a run of the suite shows, and what it does not.
pub const PROVES: &str = "proves: a process kill (SIGKILL in mid-write) loses nothing that was \
    acknowledged durable. Does not prove: power loss; the log's own tests do, on a simulated disk";

/// What the published run did, as its public source reads: said wherever a ratio stands beside one of its.
pub const REFERENCE_DID: &str =
    "dropped its tokens as it made them and synced no record, as its public source reads";

/// The whole document.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// [`PROVES`].
    pub proves: &'static str,
    /// Version of this program.
    pub version: &'static str,
    /// Commit, where git knows one.
    pub git: Option<String>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
    /// Seed of tokens and kill.
    pub seed: u64,
    /// Where it ran.
    pub machine: Machine,
    /// What was asked for.
    pub config: RunConfig,
    /// What repeats the run, typed in the project's folder.
    pub command: String,
    /// One entry a phase; null if it did not run.
    pub phases: Phases,
    /// By name: the one that ran, or none.
    pub scenarios: BTreeMap<&'static str, Scenario>,
    /// What must hold; a scenario's too.
    pub checks: Vec<Check>,
    /// The published figures.
    pub reference: BTreeMap<&'static str, f64>,
    /// What should be reached.
    pub bars: Vec<Bar>,
    /// Share of the machine's processor time that its host gave to others meanwhile; null: the kernel does not tell.
    pub stolen_share: Option<f64>,
    /// Why bars of time were not judged, if they were not.
    pub not_judged: Vec<String>,
}

/// The settings of the run.
#[derive(Debug, Serialize)]
pub struct RunConfig {
    /// Tokens a run.
    pub tokens: u64,
    /// Creating threads.
    pub threads: usize,
    /// Each n-th token is logged.
    pub persist: u64,
    /// Level of the log.
    pub durability: &'static str,
    /// Share of creates recorded as spans.
    pub sample_rate: f64,
    /// Interleaved pairs.
    pub runs: usize,
    /// Quota of memory in the full phase.
    pub max_memory_bytes: u64,
}

/// The four phases.
#[derive(Debug, Default, Serialize)]
pub struct Phases {
    /// The arena alone.
    pub baseline: Option<Baseline>,
    /// Everything on.
    pub full: Option<Full>,
    /// The killed child.
    pub recovery: Option<Recovery>,
    /// Cost of spans.
    pub tracing: Option<Tracing>,
}

/// The arena alone, beside the raw fill.
#[derive(Debug, Serialize)]
pub struct Baseline {
    /// Tokens a run.
    pub tokens: u64,
    /// Median run.
    pub elapsed_ns: u64,
    /// The same for one token.
    pub ns_per_token: f64,
    /// The same as a rate.
    pub tokens_per_s: f64,
    /// Growth of the resident set by the tokens, median.
    pub rss_growth_bytes: u64,
    /// Largest resident set seen.
    pub rss_peak_bytes: u64,
    /// Growth for one token.
    pub bytes_per_token: f64,
    /// floor:fill_huge, median.
    pub floor_ns_per_token: f64,
    /// Median of the pairs' ratios to the floor.
    pub times_floor: f64,
    /// What the generator takes of it.
    pub generator_ns_per_token: f64,
    /// Tenth by tenth, medians.
    pub tenths_ns_per_token: Vec<f64>,
    /// Each run.
    pub runs_ns: Vec<u64>,
    /// Each run of the floor.
    pub floor_runs_ns: Vec<u64>,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
}

/// Everything on, beside the baseline. Counts are those of the last run, which is read back.
#[derive(Debug, Serialize)]
pub struct Full {
    /// Tokens a run.
    pub tokens: u64,
    /// Median run.
    pub elapsed_ns: u64,
    /// The same for one token.
    pub ns_per_token: f64,
    /// The same as a rate.
    pub tokens_per_s: f64,
    /// Median of the pairs' ratios, each side's time in units of its pace.
    pub overhead_ratio: f64,
    /// Quartiles of the pairs' ratios.
    pub overhead_ratio_spread: [f64; 2],
    /// The same of the times as they are.
    pub wall_ratio: f64,
    /// Its quartiles.
    pub wall_ratio_spread: [f64; 2],
    /// Baseline and full of each pair, in nanoseconds.
    pub pairs: Vec<[u64; 2]>,
    /// Nanoseconds that fills of one huge page took in between, the same number on both sides.
    pub paces: Vec<[u64; 2]>,
    /// The baseline beside which all ratios of this phase stand, median.
    pub baseline_ns_per_token: f64,
    /// What the ratio adds to one token.
    pub added_ns_per_token: f64,
    /// Token records that the log's reader found, without those of tokens deleted and created again at the quota.
    pub wal_records: u64,
    /// Bytes of frames written.
    pub wal_bytes: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// From the last create to all of the log being on stable storage, median.
    pub durable_after_ns: u64,
    /// Admissions decided, in the timed region and of the creates tried at the quota.
    pub quota_checks: u64,
    /// Refusals for the quota's sake.
    pub quota_exceeded: u64,
    /// Refusals while the model had room.
    pub quota_false_refusals: u64,
    /// Admissions while the model had none.
    pub quota_missed_refusals: u64,
    /// Aggressive cleanups.
    pub cleanups: u64,
    /// Tokens evicted.
    pub evicted: u64,
    /// Spans that reached the ring.
    pub spans_recorded: u64,
    /// Spans that found the ring full.
    pub spans_dropped: u64,
    /// Events in the black box.
    pub blackbox_events: u64,
    /// Scrapes of the metrics page.
    pub metrics_scrapes: u64,
    /// Share of its memory quota that the store holds at the end.
    pub memory_share: f64,
    /// Processor time of all threads, first create to durable, median.
    pub cpu_ns_baseline: u64,
    /// The same with everything on.
    pub cpu_ns_full: u64,
    /// Median of the pairs' ratios.
    pub cpu_ratio: f64,
    /// The facade with every part off ÷ baseline.
    pub facade_off_ratio: f64,
    /// Creators = cores on both sides; null on one core.
    pub two_thread_ratio: Option<f64>,
    /// The store's own shares of memory at the end; `other` is what the kernel counts beyond them.
    pub memory: Memory,
    /// Churn at 95 % full.
    pub steady: Steady,
    /// One part on ÷ the facade with every part off.
    pub components: Components,
    /// What the pairs behind each ratio of this phase say, by the id of its bar.
    pub ratios: Ratios,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
}

/// By the id of a bar; `facade_off` has none.
pub type Ratios = BTreeMap<&'static str, Ratio>;

/// Who holds how many bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs, reason = "the names of the parts")]
pub struct Memory {
    pub arena: u64,
    pub wal: u64,
    pub trace: u64,
    pub metrics: u64,
    pub blackbox: u64,
    pub other: u64,
}

/// Delete and create at 95 % full, in alternating slices.
#[derive(Debug, Serialize)]
pub struct Steady {
    /// Of the full side.
    pub seconds: f64,
    /// Median of the pairs of slices, time for one operation.
    pub overhead_ratio: f64,
    /// Quartiles of the same.
    pub overhead_ratio_spread: [f64; 2],
    /// The same of processor time.
    pub cpu_ratio: f64,
    /// Deletes and creates of the full side.
    pub operations: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Scrapes of the metrics page.
    pub metrics_scrapes: u64,
    /// Steps of the sampling controller.
    pub controller_steps: u64,
    /// Spans that found the ring full.
    pub spans_dropped: u64,
}

/// One part on ÷ the facade with every part off.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the names of the parts")]
pub struct Components {
    pub guardian: f64,
    pub wal: f64,
    pub trace: f64,
    pub metrics: f64,
    pub blackbox: f64,
}

/// A child killed in mid-write.
#[derive(Debug, Serialize)]
pub struct Recovery {
    /// The signal.
    pub killed_by: &'static str,
    /// Operations that the child was told are durable.
    pub records_acknowledged_durable: u64,
    /// Records that recovery read.
    pub records_recovered: u64,
    /// Operations of which the recovered store is the exact result.
    pub operations_recovered: u64,
    /// Tokens alive after recovery.
    pub tokens_recovered: u64,
    /// Acknowledged and not there.
    pub lost_acknowledged: u64,
    /// There and never written.
    pub invented: u64,
    /// There twice.
    pub duplicates: u64,
    /// Records with a wrong checksum below a durable promise.
    pub crc_failures: u64,
    /// Bytes of the torn tail.
    pub torn_bytes: u64,
    /// Opening the killed store.
    pub elapsed_ns: u64,
    /// The same as a rate.
    pub records_per_s: f64,
    /// The published case.
    pub published_case: PublishedCase,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
}

/// Opening a store with a log of 1,000 records.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "two plain figures")]
pub struct PublishedCase {
    pub records: u64,
    pub elapsed_ns: u64,
}

/// Cost of spans; the operation is a body of about 41 ns, the published one.
#[derive(Debug, Serialize)]
pub struct Tracing {
    /// The operation.
    #[serde(flatten)]
    pub body: SpanCost,
    /// The same with `create` on warm memory as the operation.
    pub create: SpanCost,
    /// The published case.
    pub published_case: PublishedTracing,
    /// Errors of the run that became spans.
    pub errors_kept: u64,
    /// Errors of the run.
    pub errors_total: u64,
    /// Slow operations that became spans.
    pub slow_kept: u64,
    /// Slow operations.
    pub slow_total: u64,
    /// The store's own estimate of what tracing costs; null while it has none.
    pub measured_overhead: Option<f64>,
    /// Spans handed to opentelemetry_sdk.
    pub otel_spans: u64,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339.
    pub ended: String,
}

/// Few operations in one go, with tracing off and on for all.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "as in SpanCost")]
pub struct PublishedTracing {
    pub operations: u64,
    pub baseline_ns_per_op: f64,
    pub all_sampled_ns_per_op: f64,
    pub span_ns: f64,
    pub ratio_all: f64,
}

/// One operation with tracing off, on for all and for one in a hundred.
#[derive(Debug, Serialize)]
pub struct SpanCost {
    /// In each of the timed loops.
    pub operations: u64,
    /// Without any sampler.
    pub baseline_ns_per_op: f64,
    /// Each one a span.
    pub all_sampled_ns_per_op: f64,
    /// One in a hundred.
    pub one_percent_ns_per_op: f64,
    /// What a span adds.
    pub span_ns: f64,
    /// What an operation that is not sampled pays.
    pub unsampled_ns: f64,
    /// All ÷ baseline.
    pub ratio_all: f64,
    /// One in a hundred ÷ baseline.
    pub ratio_one_percent: f64,
}

/// Something that must hold.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What must hold, as a sentence.
    pub name: String,
    /// Whether it does.
    pub pass: bool,
    /// The figures behind it.
    pub detail: String,
}

/// Something that should be reached.
#[derive(Clone, Debug, Serialize)]
pub struct Bar {
    /// As in the project's list of bars.
    pub id: &'static str,
    /// In words.
    pub title: &'static str,
    /// Measured.
    pub value: Option<f64>,
    /// 95 % interval of it; null where it is not the median of pairs.
    pub interval: Option<[f64; 2]>,
    /// Pairs behind it; null likewise.
    pub pairs: Option<usize>,
    /// At most this; null if the figure is only reported.
    pub bar: Option<f64>,
    /// Where we are going.
    pub goal: Option<f64>,
    /// Null: not judged.
    pub pass: Option<bool>,
}

impl Report {
    /// Whether every check holds.
    pub fn checks_pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }

    /// Whether no judged bar is missed.
    pub fn bars_hold(&self) -> bool {
        self.bars.iter().all(|bar| bar.pass != Some(false))
    }

    /// The document as text.
    pub fn to_json(&self) -> Result<String, Failure> {
        serde_json::to_string_pretty(self).map_err(Failure::subject("cannot write the report"))
    }

    /// Writes report.json into `out`.
    pub fn write(&self, out: &Path) -> Result<(), Failure> {
        let path = out.join("report.json");
        std::fs::write(&path, self.to_json()? + "\n").map_err(Failure::io("write", path))
    }
}

/// The published run (v0.44.0), beside which ours is printed.
pub fn reference() -> BTreeMap<&'static str, f64> {
    BTreeMap::from([
        ("baseline_elapsed_ns", 430e6),
        ("baseline_ns_per_token", 45.0),
        ("baseline_tokens_per_s", 22.1e6),
        ("baseline_bytes", 608e6),
        ("full_elapsed_ns", 417_843e6),
        ("full_overhead_ratio", 971.0),
        ("full_overhead_ratio_target", 1.16),
        ("metrics_overhead_ratio", 1.05),
        ("recovery_records", 1_000.0),
        ("recovery_elapsed_ns", 2.107e6),
        ("recovery_records_per_s", 475e3),
        ("tracing_span_ns", 697.0),
        ("tracing_ratio_all", 17.0),
    ])
}

/// The time of a figure, for `started` and `ended`.
pub fn now_rfc3339() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}
