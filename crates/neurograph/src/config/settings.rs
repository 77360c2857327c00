//! The one table of settings. The parser, the messages, `Config::to_toml` and docs/SETTINGS.md are made from it.

use super::Config;
use super::value::{
    CLEANUP_POLICY, DURABILITY, EVICT, Field, Kind, PERSIST, PRESSURE, Step, Value,
};
use std::time::Duration;

/// When a changed setting can take force by its nature. [`Setting::call`] tells what this build can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Changes {
    /// Nothing hinders a store from taking the new value while it runs. Where [`Setting::call`] is `None`, no call does
    /// so yet, and the value is taken at the next open.
    Running,
    /// At the next open.
    Open,
    /// Never: it is fixed when the store is created.
    Never,
}

/// One setting: its name, what it may be, and the field of [`Config`] that it stands for. See [`SETTINGS`].
#[derive(Debug)]
pub struct Setting {
    name: &'static str,
    field: &'static str,
    kind: Kind,
    /// Ends the range: how it depends on other settings, or what a bound means.
    also: &'static str,
    changes: Changes,
    call: Option<&'static str>,
    variable: Option<&'static str>,
    doc: &'static str,
    get: fn(&Config) -> Value,
    set: fn(&mut Config, Value),
}

impl Setting {
    /// As a settings file and every message have it: `guardian.max_tokens`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The field of [`Config`]; the same as the name but for `tokens.persist` and the sampler's.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Unit of a number: `tokens`, `bytes`, `share`, …; `time` for text with a unit of its own; else empty.
    pub fn unit(&self) -> &'static str {
        self.kind.unit()
    }

    /// What it may be, as a sentence's part.
    pub fn range(&self) -> String {
        let range = self.kind.range();
        let range = match self.kind.none() {
            Some("") => format!("{range}, or \"\" for none"),
            Some(word) => format!("{range}, or \"{word}\""),
            None => range,
        };
        if self.also.is_empty() { range } else { format!("{range}; {}", self.also) }
    }

    /// The value of [`Config::default`], as a settings file has it.
    pub fn default(&self) -> String {
        self.get(&Config::default()).unwrap_or_default()
    }

    /// When a changed value can take force.
    pub fn changes(&self) -> Changes {
        self.changes
    }

    /// The method of [`Store`](crate::Store) that changes it while the store runs; `None`: there is none.
    pub fn call(&self) -> Option<&'static str> {
        self.call
    }

    /// The variable of the environment that sets it, see [`Config::merge_env`].
    pub fn variable(&self) -> Option<&'static str> {
        self.variable
    }

    /// What it is, in one sentence or two.
    pub fn doc(&self) -> &'static str {
        self.doc
    }

    /// The value in `config` as a settings file has it. `None`: a path that is not Unicode, which TOML cannot hold.
    pub fn get(&self, config: &Config) -> Option<String> {
        self.kind.write(&self.value(config))
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    pub(crate) fn value(&self, config: &Config) -> Value {
        (self.get)(config)
    }

    pub(crate) fn set(&self, config: &mut Config, value: Value) {
        (self.set)(config, value);
    }

    const fn also(mut self, also: &'static str) -> Setting {
        self.also = also;
        self
    }

    const fn call_is(mut self, name: &'static str) -> Setting {
        self.call = Some(name);
        self
    }

    const fn variable_is(mut self, name: &'static str) -> Setting {
        self.variable = Some(name);
        self
    }
}

/// The setting of this name.
pub(crate) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// A row: the name where it is not the field's, the field, kind, when a change takes force, and what it is.
macro_rules! row {
    ($name:literal is $head:ident$(.$tail:ident)*, $kind:expr, $changes:ident, $doc:literal) => {
        Setting {
            name: $name,
            field: concat!(stringify!($head)$(, ".", stringify!($tail))*),
            kind: $kind,
            also: "",
            changes: Changes::$changes,
            call: None,
            variable: None,
            doc: $doc,
            get: |config| Field::get(&config.$head$(.$tail)*),
            set: |config, value| Field::set(&mut config.$head$(.$tail)*, value),
        }
    };
    ($head:ident$(.$tail:ident)*, $kind:expr, $changes:ident, $doc:literal) => {{
        let mut row = row!("" is $head$(.$tail)*, $kind, $changes, $doc);
        row.name = row.field;
        row
    }};
}

const fn whole(unit: &'static str, least: u64, most: u64) -> Kind {
    Kind::Whole { unit, least, most, step: Step::Any, none: None }
}

const fn power_of_two(unit: &'static str, least: u64, most: u64) -> Kind {
    Kind::Whole { unit, least, most, step: Step::PowerOfTwo, none: None }
}

/// A limit on what may be there at a time.
const fn limit(unit: &'static str, most: u64) -> Kind {
    Kind::Whole { unit, least: 0, most, step: Step::Any, none: Some("unlimited") }
}

const fn share(least: f64, most: f64) -> Kind {
    Kind::Share { least, most, zero: false }
}

const fn time(least: Duration, most: Duration) -> Kind {
    Kind::Time { least, most, none: None }
}

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const U32: u64 = u32::MAX as u64;
/// Most slots that an id can name.
pub(crate) const SLOTS_MAX: u64 = (1 << 32) - ng_core::CHUNK_SLOTS as u64;
/// Lowest rate that ng-trace's thresholds of 56 bits can express.
const RATE_LEAST: f64 = 1.0 / (1u64 << 56) as f64;
/// Blocks at both ends and one frame with the largest record that the log takes, in whole blocks.
const SEGMENT_LEAST: u64 = 1_069_056;
/// Two frames with the largest record that the log takes.
const AHEAD_LEAST: u64 = 2_097_424;

/// Every setting that a file can hold, in the order of [`Config::to_toml`].
pub const SETTINGS: &[Setting] = &[
    row!(guardian.max_tokens, limit("tokens", u64::MAX), Running, "Most tokens at a time; 0 refuses every create.")
        .also("at most `arena.max_slots` where that is set; from 2^60 on it is no limit")
        .call_is("set_limits")
        .variable_is("NEUROGRAPH_MAX_TOKENS"),
    row!(guardian.max_memory_bytes, limit("bytes", u64::MAX), Running, "Most memory that the store holds; 0 refuses every create.")
        .also("from 2^60 on it is no limit")
        .call_is("set_limits")
        .variable_is("NEUROGRAPH_MAX_MEMORY_BYTES"),
    row!(guardian.memory_threshold, share(0.1, 1.0), Running, "Share of either quota at which cleanup becomes due; nothing is refused there."),
    row!(guardian.enable_aggressive_cleanup, Kind::Switch, Running, "Whether a cleanup is ever due.")
        .call_is("set_aggressive_cleanup"),
    row!(guardian.cleanup_policy, Kind::Choice(CLEANUP_POLICY), Running, "Which tokens a cleanup evicts first: smallest timestamp, weight or strength."),
    row!(guardian.low_water, share(0.0, 1.0), Running, "Share of either quota down to which a cleanup goes.")
        .also("below `guardian.memory_threshold`"),
    row!(guardian.cleanup_batch, whole("tokens", 1, 1 << 20), Running, "Most tokens that one step of a cleanup evicts."),
    row!(guardian.evict, Kind::Choice(EVICT), Running, "Which tokens a cleanup may evict: those that are not logged, which a restart would lose anyway, or logged ones too; never those marked PERSISTENT or LOCKED."),
    row!(guardian.lease_credits_max, whole("tokens", 1, 1 << 20), Running, "Most creates that a session reserves room for at a time."),
    row!(guardian.pressure, Kind::Choice(PRESSURE), Running, "What the kernel's figures may do: raise the level, or refuse memory for the whole process too."),
    row!(guardian.kernel_root, Kind::Path { optional: false }, Open, "Directory under which `proc` and `sys` are looked for."),
    row!(guardian.pressure_sources.process, Kind::Switch, Running, "Read the resident bytes of the process."),
    row!(guardian.pressure_sources.cgroup, Kind::Switch, Running, "Read the cgroup's use and limit."),
    row!(guardian.pressure_sources.stall, Kind::Switch, Running, "Read the time lost waiting for memory."),
    row!("tokens.persist" is persist, Kind::Choice(PERSIST), Never, "Which tokens of a store with a directory are logged and so survive a restart: all, or those with the PERSISTENT flag."),
    row!(arena.max_slots, Kind::Whole { unit: "slots of 64 bytes", least: 1, most: SLOTS_MAX, step: Step::Any, none: Some("auto") }, Open, "Slots to reserve address space for; \"auto\" is four times the quota, as far as ids reach, or 40000000 without a quota.")
        .also("at least `guardian.max_tokens`"),
    row!(arena.huge_pages, Kind::Switch, Open, "Ask the kernel for huge pages."),
    row!(arena.commit_ahead_bytes, whole("bytes", 0, 16 << 20), Open, "Memory that a thread takes ahead of the creates; 0 is no thread."),
    row!(wal.enabled, Kind::Switch, Open, "Keep a log; without one no token of the store survives a restart."),
    row!(wal.durability, Kind::Choice(DURABILITY), Running, "What an operation may assume on return: queued, queued and synced soon, or on stable storage."),
    row!(wal.sync_records, whole("records", 1, 1_000_000_000), Running, "Balanced: sync after this many records."),
    row!(wal.sync_interval, time(MS, Duration::from_secs(60)), Running, "Balanced: sync when the oldest unsynced record is this old."),
    row!(wal.segment_bytes, Kind::Whole { unit: "bytes", least: SEGMENT_LEAST, most: 1 << 30, step: Step::Multiple(4096), none: None }, Open, "Size of a segment file.")
        .also("the least has room for the largest record that the log takes, of 1 MiB"),
    row!(wal.log_bytes_max, whole("bytes", 1, u64::MAX), Open, "Most disk that the log takes.")
        .also("at least four times `wal.segment_bytes`, `wal.reserved_bytes` and the records of `wal.ring_slots` together"),
    row!(wal.reserved_bytes, whole("bytes", 0, 1 << 60), Open, "The last part of `wal.log_bytes_max`, which only deletes and the store's own records may use.")
        .also("see `wal.log_bytes_max`"),
    row!(wal.spare_segments_max, whole("files", 0, 1024), Open, "Retired segment files kept to serve again."),
    row!(wal.ring_slots, power_of_two("slots of 128 bytes", 8, 1 << 20), Open, "Records that can be on their way between the sessions and the log's writer.")
        .also("see `wal.log_bytes_max`"),
    row!(wal.max_ahead_bytes, whole("bytes", AHEAD_LEAST, 1 << 30), Open, "How far writing may run ahead of the last finished sync; recovery takes damage wider than twice this for corruption.")
        .also("the least has room for two of the largest records that the log takes, of 1 MiB"),
    row!(wal.full_timeout, time(Duration::ZERO, HOUR), Open, "How long an operation waits for room in the log before `LogFull`; 0s is not at all."),
    row!(wal.sync_timeout, time(MS, HOUR), Open, "How long a Strict operation and `sync` wait for the disk."),
    row!("trace.enabled" is trace.sampler.enabled, Kind::Switch, Running, "The kill switch: whether anything is sampled."),
    row!(trace.installed, Kind::Switch, Open, "Have a sampler and a collector at all; without them `trace.enabled` has nothing to switch."),
    row!("trace.base_rate" is trace.sampler.base_rate, Kind::Share { least: RATE_LEAST, most: 1.0, zero: true }, Running, "Share of operations kept when nothing else decides; where the controller starts.")
        .also("where `trace.adaptive` is true, `trace.min_rate` to `trace.max_rate`"),
    row!("trace.min_rate" is trace.sampler.min_rate, share(RATE_LEAST, 1.0), Running, "Lowest rate that the controller and a low priority may set.")
        .also("at most `trace.max_rate`"),
    row!("trace.max_rate" is trace.sampler.max_rate, share(RATE_LEAST, 1.0), Running, "Highest rate that the controller and a high priority may set.")
        .also("at least `trace.min_rate`"),
    row!("trace.adaptive" is trace.sampler.adaptive, Kind::Switch, Running, "Whether the rate follows `trace.spans_per_second`; false holds `trace.base_rate`."),
    row!("trace.spans_per_second" is trace.sampler.spans_per_second, whole("spans a second", 0, U32), Running, "Spans that the controller aims at, all threads together; above 500 million there is no ceiling."),
    row!("trace.min_spans_per_second" is trace.sampler.min_spans_per_second, whole("spans a second", 0, U32), Running, "Spans that the controller leaves, whatever they cost; more than `trace.spans_per_second` counts as that."),
    row!("trace.slow_threshold" is trace.sampler.slow_threshold, Kind::Time { least: Duration::from_nanos(1), most: Duration::MAX, none: Some("off") }, Running, "An operation that took at least this long is kept whatever the rate."),
    row!("trace.force_per_second" is trace.sampler.force_per_second, whole("operations a second", 0, U32), Running, "Operations that callers may force to be kept; 0 is never."),
    row!("trace.parent_per_second" is trace.sampler.parent_per_second, whole("operations a second", 0, U32), Running, "Operations kept because their caller's trace is sampled; 0 is never."),
    row!("trace.error_per_second" is trace.sampler.error_per_second, whole("operations a second", 0, U32), Running, "Failed operations kept for their error alone; 0 is never."),
    row!("trace.slow_per_second" is trace.sampler.slow_per_second, whole("operations a second", 0, U32), Running, "Slow operations kept for their duration alone; 0 is never."),
    row!("trace.overhead_budget" is trace.sampler.overhead_budget, share(f64::MIN_POSITIVE, 1.0), Running, "Share of the process's time that tracing may cost before the rate is lowered."),
    row!(trace.collector.ring_bytes, whole("bytes", 4 << 10, 4 << 20), Open, "Most memory of one session's ring of spans; it is taken as spans come, and goes back."),
    row!(trace.collector.drain_interval, time(MS, Duration::from_secs(10)), Open, "How often the rings are looked into while spans come.")
        .also("at most `trace.collector.idle_interval`"),
    row!(trace.collector.idle_interval, time(MS, Duration::from_secs(10)), Open, "How long the looks may lie apart while no spans come.")
        .also("at least `trace.collector.drain_interval`"),
    row!(trace.collector.spans_per_second_max, limit("spans a second", U32), Open, "Hard bound above the controller's soft one; what exceeds it is dropped and counted."),
    row!(trace.collector.batch_spans_max, whole("spans", 1, 4096), Open, "Most spans that one call of the sink gets."),
    row!(trace.collector.shutdown_timeout, time(Duration::ZERO, Duration::MAX), Open, "How long closing waits for the last spans to reach the sink."),
    row!(blackbox.enabled, Kind::Switch, Open, "Have a flight recorder."),
    row!(blackbox.panic_hook, Kind::Switch, Open, "Record panics of the process too, by a hook that calls the earlier one."),
    row!(blackbox.dump_dir, Kind::Path { optional: true }, Open, "An existing directory into which the first panic copies the recording.")
        .also("only where `blackbox.panic_hook` is true"),
    row!(blackbox.bus_guard, Kind::Switch, Open, "Let a recording that is cut or cannot grow cost pages and not the process, by a handler of SIGBUS."),
    row!(blackbox.create_every, whole("creates", 0, U32), Running, "Record one in so many creates of a session where tracing is off; 0 is none."),
    row!(blackbox.recorder.lanes, whole("lanes", 1, 1024), Open, "Threads that can have a lane of their own at one time.")
        .also("with `blackbox.recorder.events_per_lane` a file of at most 1 GiB"),
    row!(blackbox.recorder.events_per_lane, power_of_two("events of 64 bytes", 64, 1 << 20), Open, "Events that a lane remembers.")
        .also("with `blackbox.recorder.lanes` a file of at most 1 GiB"),
    row!(blackbox.recorder.keep_files, whole("files", 1, 1000), Open, "Recordings of earlier runs that are kept."),
];

/// A key that settings files had once. It warns, and is no error.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) name: &'static str,
    /// The setting that takes its value now; `None`: the value is not used.
    pub(crate) now: Option<&'static str>,
    /// What became of it, and what to write in its place.
    pub(crate) advice: &'static str,
}

/// Keys that were renamed or removed.
pub(crate) const RETIRED: &[Retired] = &[Retired {
    name: "guardian.evict_persistent",
    now: None,
    advice: "it has no effect: tokens marked PERSISTENT are never evicted; guardian.evict = \"all\" lets a \
             cleanup evict logged tokens",
}];
