//! `Config`: the settings of all rooms in one. Each section is the room's own config, or what the facade adds to it.

use ng_guardian::GuardianConfig;
use ng_trace::{CollectorConfig, SamplerConfig};
use ng_wal::Durability;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a store. Begin with `Config::default()` and assign.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// Which tokens are logged. Default: `Persist::All`.
    pub persist: Persist,
    /// Memory of the tokens. Default: four times the quota of address space, huge pages.
    pub arena: ArenaSection,
    /// Quotas, levels and cleanup. Default: 10,000,000 tokens, 1,024,000,000 bytes, threshold 0.8,
    /// aggressive cleanup on.
    pub guardian: GuardianConfig,
    /// The write-ahead log. Default: on where there is a directory, Balanced.
    pub wal: WalSection,
    /// Sampling and spans. Default: 1 %, adaptive.
    pub trace: TraceSection,
    /// The flight recorder. Default: on.
    pub blackbox: BlackboxSection,
}

/// Which tokens of a store with a directory survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Persist {
    /// Every token is logged.
    #[default]
    All,
    /// Tokens with the PERSISTENT flag are logged; the others live in memory only.
    Flagged,
}

/// Memory of the tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArenaSection {
    /// Slots to reserve address space for. Unit: slots of 64 bytes. Range: 1 to 2^32 − 32,768, at
    /// least the quota; `None` for four times the quota, or 40,000,000 without one. Default: None.
    pub max_slots: Option<u64>,
    /// Ask the kernel for huge pages. Default: true.
    pub huge_pages: bool,
    /// Memory that a thread takes ahead of the sessions' creates. Unit: bytes. Range: 0 (no thread) to
    /// 16 MiB. Counts towards the memory quota while it is ahead, and goes back before a create would be
    /// refused because of it. See `ng_core::ArenaConfig::commit_ahead_bytes`. Default: 0.
    pub commit_ahead_bytes: u64,
}

/// The write-ahead log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WalSection {
    /// Keep a log; without one a store in a directory keeps only its flight recorder there.
    /// Default: true.
    pub enabled: bool,
    /// What an operation may assume on return. Default: Balanced.
    pub durability: Durability,
    /// Sync after this many records. Unit: records. Range: 1 to 1,000,000,000. Default: 10,000.
    pub sync_records: u64,
    /// Sync when the oldest unsynced record is this old. Range: 1 ms to 60 s. Default: 100 ms.
    pub sync_interval: Duration,
    /// Most disk that the log takes. Unit: bytes. Range: see `ng_wal::WalConfig`. Default: 4 GiB.
    pub log_bytes_max: u64,
    /// Size of a segment file. Unit: bytes. Range: 64 KiB to 1 GiB. Default: 64 MiB.
    pub segment_bytes: u64,
    /// How long an operation waits for room in the log before `LogFull`; 0 = not at all. Default: 1 s.
    pub full_timeout: Duration,
    /// How long a Strict operation and `sync` wait for the disk. Default: 30 s.
    pub sync_timeout: Duration,
}

/// Sampling and spans.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceSection {
    /// The sampler's own settings; its `enabled` is the kill switch. Default: 1 %, adaptive.
    pub sampler: SamplerConfig,
    /// The span collector's own settings. Default: a ring of 1 MiB for each session.
    pub collector: CollectorConfig,
    /// Have a sampler and a collector at all. Default: true.
    pub enabled: bool,
}

/// The flight recorder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlackboxSection {
    /// Record. Default: true.
    pub enabled: bool,
    /// The recorder's own settings. Default: 16 lanes of 4,096 events, 3 old files kept.
    pub recorder: ng_blackbox::RecorderConfig,
    /// Record panics of the process too, by a hook that calls the earlier one. Default: true.
    pub panic_hook: bool,
    /// A directory into which the first panic copies the whole recording, also one that is in memory
    /// only. It must exist; needs `panic_hook`. Default: None, no copy.
    pub dump_dir: Option<PathBuf>,
    /// Have a recording that is cut by somebody else, or whose copy-on-write filesystem is full, cost
    /// pages of it and not the process, by a handler of SIGBUS that passes on all others. It stays for
    /// as long as the process. Default: true.
    pub bus_guard: bool,
    /// Record one in so many creates of a session, where tracing is off; where it is on, those that
    /// become spans. Unit: creates. Range: any; 0 for none. Default: 1,000.
    pub create_every: u32,
    /// Kinds of one's own with their names, of 1 to 48 bytes, for `Store::blackbox`. Range: numbers
    /// from 64 on; those below belong to the store. Default: none.
    pub kinds: Vec<(ng_blackbox::Kind, &'static str)>,
}

impl Default for ArenaSection {
    fn default() -> Self {
        ArenaSection { max_slots: None, huge_pages: true, commit_ahead_bytes: 0 }
    }
}

impl Default for WalSection {
    fn default() -> Self {
        let wal = ng_wal::WalConfig::default();
        WalSection {
            enabled: true,
            durability: wal.durability,
            sync_records: wal.sync_records,
            sync_interval: wal.sync_interval,
            log_bytes_max: wal.log_bytes_max,
            segment_bytes: wal.segment_bytes,
            full_timeout: wal.full_timeout,
            sync_timeout: wal.sync_timeout,
        }
    }
}

impl Default for TraceSection {
    fn default() -> Self {
        TraceSection {
            sampler: SamplerConfig::default(),
            collector: CollectorConfig::default(),
            enabled: true,
        }
    }
}

impl Default for BlackboxSection {
    fn default() -> Self {
        BlackboxSection {
            enabled: true,
            recorder: ng_blackbox::RecorderConfig::default(),
            panic_hook: true,
            dump_dir: None,
            bus_guard: true,
            create_every: 1000,
            kinds: Vec::new(),
        }
    }
}

/// A setting that can't be used. Nothing was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The arena's.
    #[error("config: {0}")]
    Arena(#[from] ng_core::ConfigError),
    /// The guardian's.
    #[error("config: guardian.{0}")]
    Guardian(#[from] ng_guardian::ConfigError),
    /// The log's.
    #[error("config: wal.{0}")]
    Wal(#[from] ng_wal::ConfigError),
    /// The sampler's or the collector's.
    #[error("config: trace.{0}")]
    Trace(#[from] ng_trace::ConfigError),
    /// The flight recorder's.
    #[error("config: blackbox.{0}")]
    Blackbox(#[from] ng_blackbox::ConfigError),
    /// A kind of event that the flight recorder does not take.
    #[error("config: blackbox.kinds: {0}")]
    BlackboxKinds(#[source] ng_blackbox::OpenError),
    /// Fewer slots than the quota admits.
    #[error("config: arena.max_slots is {slots}, below the quota guardian.max_tokens of {quota}")]
    SlotsBelowQuota {
        /// `arena.max_slots`.
        slots: u64,
        /// `guardian.max_tokens`.
        quota: u64,
    },
    /// Not TOML, or not these settings.
    #[error("config: {0}")]
    Toml(#[from] toml::de::Error),
    /// A variable of the environment can't be used.
    #[error("config: environment variable {name} is {value:?}, expected {expected}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it should.
        expected: &'static str,
    },
}

impl Config {
    /// Everything off but the tokens themselves: no log, no limits, no look at the kernel's figures, no
    /// tracing, no flight recorder.
    pub fn bare() -> Config {
        let mut config = Config::default();
        config.guardian.max_tokens = None;
        config.guardian.max_memory_bytes = None;
        config.guardian.enable_aggressive_cleanup = false;
        config.guardian.pressure_sources = ng_guardian::PressureSources::NONE;
        config.wal.enabled = false;
        config.trace.enabled = false;
        config.blackbox.enabled = false;
        config
    }

    /// Checks every section. Errors: the first bad field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.arena_config(0).validate()?;
        self.guardian.validate()?;
        self.wal_config().validate()?;
        self.trace.sampler.validate()?;
        self.trace.collector.validate()?;
        self.blackbox.recorder.validate()?;
        if let (Some(slots), Some(quota)) = (self.arena.max_slots, self.guardian.max_tokens)
            && slots < quota
        {
            return Err(ConfigError::SlotsBelowQuota { slots, quota });
        }
        Ok(())
    }

    /// The default settings with those of a TOML text in place of them: the sections and names of
    /// the store's settings file (`[guardian]`, `[tokens]`, `[wal]`, `[trace]`).
    ///
    /// Errors: the first unknown or bad setting, with line and column.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let file: File = toml::from_str(text)?;
        let mut config = Config::default();
        file.apply(&mut config);
        config.validate()?;
        Ok(config)
    }

    /// The default settings with NEUROGRAPH_MAX_TOKENS and NEUROGRAPH_MAX_MEMORY_BYTES of the
    /// environment in place of theirs, where set. `unlimited` is no limit.
    ///
    /// Errors: a variable that is neither a number nor `unlimited`.
    pub fn from_env() -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(limit) = limit_from_env("NEUROGRAPH_MAX_TOKENS")? {
            config.guardian.max_tokens = limit;
        }
        if let Some(limit) = limit_from_env("NEUROGRAPH_MAX_MEMORY_BYTES")? {
            config.guardian.max_memory_bytes = limit;
        }
        config.validate()?;
        Ok(config)
    }

    /// The arena's config, with room for at least `slots`.
    pub(crate) fn arena_config(&self, slots: u64) -> ng_core::ArenaConfig {
        let mut arena = ng_core::ArenaConfig::default();
        let wanted = match (self.arena.max_slots, self.guardian.max_tokens) {
            (Some(slots), _) => slots,
            (None, Some(quota)) => quota.saturating_mul(4).min(1 << 31).max(quota),
            (None, None) => arena.max_slots,
        };
        arena.max_slots = wanted.max(slots);
        arena.huge_pages = self.arena.huge_pages;
        arena.commit_ahead_bytes = self.arena.commit_ahead_bytes;
        arena
    }

    pub(crate) fn wal_config(&self) -> ng_wal::WalConfig {
        let mut wal = ng_wal::WalConfig::default();
        wal.durability = self.wal.durability;
        wal.sync_records = self.wal.sync_records;
        wal.sync_interval = self.wal.sync_interval;
        wal.log_bytes_max = self.wal.log_bytes_max;
        wal.segment_bytes = self.wal.segment_bytes;
        wal.full_timeout = self.wal.full_timeout;
        wal.sync_timeout = self.wal.sync_timeout;
        wal
    }
}

fn limit_from_env(name: &'static str) -> Result<Option<Option<u64>>, ConfigError> {
    let expected = "a number or \"unlimited\"";
    let value = match std::env::var(name) {
        Ok(value) => value,
        Err(std::env::VarError::NotPresent) => return Ok(None),
        Err(std::env::VarError::NotUnicode(value)) => {
            let value = value.to_string_lossy().into_owned();
            return Err(ConfigError::Environment { name, value, expected });
        }
    };
    parse_limit(&value).map(Some).ok_or(ConfigError::Environment { name, value, expected })
}

fn parse_limit(text: &str) -> Option<Option<u64>> {
    if text == "unlimited" {
        return Some(None);
    }
    text.replace('_', "").parse().ok().map(Some)
}

/// The settings file: every field optional, nothing unknown.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    version: Option<u32>,
    guardian: GuardianFile,
    tokens: TokensFile,
    wal: WalFile,
    trace: TraceFile,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GuardianFile {
    max_tokens: Option<Limit>,
    max_memory_bytes: Option<Limit>,
    memory_threshold: Option<f64>,
    enable_aggressive_cleanup: Option<bool>,
    cleanup_policy: Option<Policy>,
    low_water: Option<f64>,
    cleanup_batch: Option<u32>,
    evict: Option<EvictWord>,
    pressure: Option<Pressure>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TokensFile {
    persist: Option<Persist>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WalFile {
    durability: Option<Level>,
    sync_records: Option<u64>,
    sync_interval: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TraceFile {
    enabled: Option<bool>,
    base_rate: Option<f64>,
    min_rate: Option<f64>,
    max_rate: Option<f64>,
    spans_per_second: Option<u32>,
    slow_threshold: Option<Span>,
    overhead_budget: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Policy {
    Oldest,
    Lightest,
    Weakest,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EvictWord {
    Unlogged,
    All,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pressure {
    Signal,
    Process,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Relaxed,
    Balanced,
    Strict,
}

/// A number, or "unlimited".
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "NumberOrText")]
struct Limit(Option<u64>);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl TryFrom<NumberOrText> for Limit {
    type Error = String;
    fn try_from(value: NumberOrText) -> Result<Limit, String> {
        match value {
            NumberOrText::Number(number) => Ok(Limit(Some(number))),
            NumberOrText::Text(text) if text == "unlimited" => Ok(Limit(None)),
            NumberOrText::Text(text) => {
                Err(format!("limit is {text:?}, expected a number or \"unlimited\""))
            }
        }
    }
}

/// A length of time: a number and one of us, ms, s, m.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;
    fn try_from(text: String) -> Result<Span, String> {
        let bad = || format!("duration is {text:?}, expected a number and us, ms, s or m");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let duration = match text[digits..].trim() {
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            _ => return Err(bad()),
        };
        Ok(Span(duration))
    }
}

impl File {
    fn apply(self, config: &mut Config) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        // Version 1 is the only one; a number is accepted so that a store's own file can be given.
        let _version = self.version;
        let guardian = &mut config.guardian;
        set(&mut guardian.max_tokens, self.guardian.max_tokens.map(|limit| limit.0));
        set(&mut guardian.max_memory_bytes, self.guardian.max_memory_bytes.map(|limit| limit.0));
        set(&mut guardian.memory_threshold, self.guardian.memory_threshold);
        set(&mut guardian.enable_aggressive_cleanup, self.guardian.enable_aggressive_cleanup);
        let policy = self.guardian.cleanup_policy.map(|policy| match policy {
            Policy::Oldest => ng_guardian::CleanupPolicy::Oldest,
            Policy::Lightest => ng_guardian::CleanupPolicy::Lightest,
            Policy::Weakest => ng_guardian::CleanupPolicy::Weakest,
        });
        set(&mut guardian.cleanup_policy, policy);
        set(&mut guardian.low_water, self.guardian.low_water);
        set(&mut guardian.cleanup_batch, self.guardian.cleanup_batch);
        let evict = self.guardian.evict.map(|evict| match evict {
            EvictWord::Unlogged => ng_guardian::Evict::Unlogged,
            EvictWord::All => ng_guardian::Evict::All,
        });
        set(&mut guardian.evict, evict);
        let pressure = self.guardian.pressure.map(|pressure| match pressure {
            Pressure::Signal => ng_guardian::PressureMode::Signal,
            Pressure::Process => ng_guardian::PressureMode::Process,
        });
        set(&mut guardian.pressure, pressure);
        set(&mut config.persist, self.tokens.persist);
        let level = self.wal.durability.map(|level| match level {
            Level::Relaxed => Durability::Relaxed,
            Level::Balanced => Durability::Balanced,
            Level::Strict => Durability::Strict,
        });
        set(&mut config.wal.durability, level);
        set(&mut config.wal.sync_records, self.wal.sync_records);
        set(&mut config.wal.sync_interval, self.wal.sync_interval.map(|span| span.0));
        let sampler = &mut config.trace.sampler;
        set(&mut sampler.enabled, self.trace.enabled);
        set(&mut sampler.base_rate, self.trace.base_rate);
        set(&mut sampler.min_rate, self.trace.min_rate);
        set(&mut sampler.max_rate, self.trace.max_rate);
        set(&mut sampler.spans_per_second, self.trace.spans_per_second);
        set(&mut sampler.slow_threshold, self.trace.slow_threshold.map(|span| Some(span.0)));
        set(&mut sampler.overhead_budget, self.trace.overhead_budget);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_settings_file_is_the_default() {
        let text = r#"
            version = 1
            [guardian]
            max_tokens = 10_000_000
            max_memory_bytes = 1_024_000_000
            memory_threshold = 0.8
            enable_aggressive_cleanup = true
            cleanup_policy = "oldest"
            [tokens]
            persist = "all"
            [wal]
            durability = "balanced"
            sync_records = 10_000
            sync_interval = "100ms"
            [trace]
            enabled = true
            base_rate = 0.01
            min_rate = 0.000001
            max_rate = 0.1
            spans_per_second = 1000
            slow_threshold = "100ms"
            overhead_budget = 0.01
        "#;
        let config = Config::from_toml(text).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn settings_of_a_file_take_the_place_of_the_defaults() {
        let text = "[guardian]\nmax_tokens = \"unlimited\"\n[tokens]\npersist = \"flagged\"\n[wal]\nsync_interval = \"2s\"";
        let config = Config::from_toml(text).unwrap();
        assert_eq!(config.guardian.max_tokens, None);
        assert_eq!(config.persist, Persist::Flagged);
        assert_eq!(config.wal.sync_interval, Duration::from_secs(2));
    }

    #[test]
    fn a_file_says_how_far_a_cleanup_goes_and_what_the_kernel_may_do() {
        let text = "[guardian]\nlow_water = 0.5\ncleanup_batch = 64\nevict = \"all\"\npressure = \"process\"";
        let guardian = Config::from_toml(text).unwrap().guardian;
        assert_eq!((guardian.low_water, guardian.cleanup_batch), (0.5, 64));
        assert_eq!(guardian.evict, ng_guardian::Evict::All);
        assert_eq!(guardian.pressure, ng_guardian::PressureMode::Process);
    }

    #[test]
    fn what_a_file_may_not_say_is_named() {
        for (text, part) in [
            ("[guardian]\nmax_tokens = \"many\"", "many"),
            ("[guardian]\nmax_token = 1", "max_token"),
            ("[wal]\nsync_interval = \"fast\"", "fast"),
            ("[wal]\nsync_records = 0", "sync_records"),
            ("[trace]\nbase_rate = 2.0", "base_rate"),
            ("[guardian]\nmemory_threshold = 1.5", "memory_threshold"),
            ("[guardian]\nlow_water = 0.9", "low_water"),
            ("[guardian]\npressure = \"panic\"", "panic"),
        ] {
            let error = Config::from_toml(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?} gave {error:?}");
        }
        let mut config = Config::default();
        config.arena.max_slots = Some(5);
        assert!(config.validate().unwrap_err().to_string().contains("below the quota"));
    }

    #[test]
    fn a_limit_is_a_number_or_unlimited() {
        assert_eq!(parse_limit("12_000"), Some(Some(12_000)));
        assert_eq!(parse_limit("unlimited"), Some(None));
        assert_eq!(parse_limit("-1"), None);
        assert_eq!(parse_limit(""), None);
    }
}
