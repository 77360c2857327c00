//! `Config`: the settings of all rooms in one. Each section is the room's own config, or what the facade adds to it.
//!
//! [`SETTINGS`] is the one table of them, which the parser, the messages and docs/SETTINGS.md are made from.

mod error;
mod layers;
mod read;
mod rules;
mod settings;
mod value;
mod write;

#[cfg(test)]
mod random_tests;

pub use error::{ConfigError, Origin, Problem, ProblemKind, Warning};
pub use layers::Source;
pub use settings::{Changes, SETTINGS, Setting};

use layers::Layers;
use ng_guardian::GuardianConfig;
use ng_trace::{CollectorConfig, SamplerConfig};
use ng_wal::Durability;
use settings::SLOTS_MAX;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a store. Begin with `Config::default()`, put a file and the environment over it if there are any
/// ([`Config::merge_toml`], [`Config::merge_env`]), and assign.
///
/// A settings file has the names of [`SETTINGS`]. They are the paths of these fields, with two exceptions that
/// [`Setting::field`] tells: `tokens.persist` is `persist`, and what stands in `trace.sampler` is in `[trace]` itself.
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
    /// What files and the environment named.
    layers: Layers,
}

/// Which tokens of a store with a directory survive a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persist {
    /// Every token is logged.
    #[default]
    All,
    /// Tokens with the PERSISTENT flag are logged; the others live in memory only.
    Flagged,
}

impl std::fmt::Display for Persist {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Persist::All => "all",
            Persist::Flagged => "flagged",
        })
    }
}

impl std::str::FromStr for Persist {
    type Err = String;

    fn from_str(text: &str) -> Result<Persist, String> {
        match text {
            "all" => Ok(Persist::All),
            "flagged" => Ok(Persist::Flagged),
            other => Err(format!("persist is {other:?}")),
        }
    }
}

/// Memory of the tokens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ArenaSection {
    /// Slots to reserve address space for. Unit: slots of 64 bytes. Range: 1 to 4,294,934,528 (2^32 − 32,768), at
    /// least `guardian.max_tokens`; `None` is four times the quota, as far as ids reach, or 40,000,000 without one. A
    /// quota beyond what ids reach can never be used up: creates are refused as `ArenaFull` before. Default: None.
    pub max_slots: Option<u64>,
    /// Ask the kernel for huge pages. Default: true.
    pub huge_pages: bool,
    /// Memory that a thread takes ahead of the sessions' creates. Unit: bytes. Range: 0 (no thread) to
    /// 16,777,216. Counts towards the memory quota while it is ahead, and goes back before a create would be
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
    /// Sync when the oldest unsynced record is this old. Range: 1 ms to 1 m (60 s). Default: 100 ms.
    pub sync_interval: Duration,
    /// Size of a segment file. Unit: bytes. Range: 1,069,056 to 1,073,741,824, a multiple of 4,096: a segment has room
    /// for the largest record that the log takes, of 1 MiB. Default: 67,108,864.
    pub segment_bytes: u64,
    /// Most disk that the log takes. Unit: bytes. Range: 1 to 18,446,744,073,709,551,615, at least four times
    /// `segment_bytes`, `reserved_bytes` and the records of `ring_slots` together. Default: 4,294,967,296.
    pub log_bytes_max: u64,
    /// The last part of `log_bytes_max`, which only deletes and the store's own records may use, so that making room is
    /// possible in a full log. Unit: bytes. Range: 0 to 1,152,921,504,606,846,976, within `log_bytes_max`.
    /// Default: 2,097,152.
    pub reserved_bytes: u64,
    /// Retired segment files kept to serve again. Unit: files. Range: 0 to 1,024. Default: 2.
    pub spare_segments_max: u32,
    /// Records that can be on their way between the sessions and the log's writer, 128 bytes each. Unit: slots.
    /// Range: 8 to 1,048,576, a power of two. Default: 16,384.
    pub ring_slots: u32,
    /// How far writing may run ahead of the last finished sync; recovery takes damage wider than twice this for
    /// corruption. Unit: bytes. Range: 2,097,424 to 1,073,741,824: it has room for two of the largest records that the
    /// log takes, of 1 MiB. Default: 33,554,432.
    pub max_ahead_bytes: u64,
    /// How long an operation waits for room in the log before `LogFull`; 0 = not at all. Range: 0 s to 1 h. Default: 1 s.
    pub full_timeout: Duration,
    /// How long a Strict operation and `sync` wait for the disk. Range: 1 ms to 1 h. Default: 30 s.
    pub sync_timeout: Duration,
}

/// Sampling and spans.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceSection {
    /// The sampler's own settings, in a settings file directly in `[trace]`; its `enabled`, there `trace.enabled`, is the
    /// kill switch. Default: 1 %, adaptive.
    pub sampler: SamplerConfig,
    /// The span collector's own settings. Default: at most 1 MiB for the spans of a session.
    pub collector: CollectorConfig,
    /// Have a sampler and a collector at all. Without them `sampler.enabled` has nothing to switch. Default: true.
    pub installed: bool,
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
    /// only. It must exist. Refused while `panic_hook` is false. Default: None, no copy.
    pub dump_dir: Option<PathBuf>,
    /// Have a recording that is cut by somebody else, or whose copy-on-write filesystem is full, cost
    /// pages of it and not the process, by a handler of SIGBUS that passes on all others. It stays for
    /// as long as the process. Default: true.
    pub bus_guard: bool,
    /// Record one in so many creates of a session, where tracing is off; where it is on, those that
    /// become spans. Unit: creates. Range: 0 (none) to 4,294,967,295. Default: 1,000.
    pub create_every: u32,
    /// Kinds of one's own with their names, of 1 to 48 bytes, for `Store::blackbox`. Range: numbers
    /// from 64 on, each once, at most 233 of them; those below 64 belong to the store. Default: none.
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
            segment_bytes: wal.segment_bytes,
            log_bytes_max: wal.log_bytes_max,
            reserved_bytes: wal.reserved_bytes,
            spare_segments_max: wal.spare_segments_max,
            ring_slots: wal.ring_slots,
            max_ahead_bytes: wal.max_ahead_bytes,
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
            installed: true,
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
        config.trace.installed = false;
        config.blackbox.enabled = false;
        config
    }

    /// `guardian.max_tokens`, if it is a limit: to the guardian 2^60 and more are none.
    fn token_quota(&self) -> Option<u64> {
        self.guardian.max_tokens.filter(|quota| *quota < 1 << 60)
    }

    /// The arena's config, with room for at least `slots`.
    pub(crate) fn arena_config(&self, slots: u64) -> ng_core::ArenaConfig {
        let mut arena = ng_core::ArenaConfig::default();
        let wanted = match (self.arena.max_slots, self.token_quota()) {
            (Some(slots), _) => slots,
            // An arena has at least one slot, though a quota of 0 uses none, and no more than ids can name.
            (None, Some(quota)) => {
                quota.saturating_mul(4).min(1 << 31).max(quota).clamp(1, SLOTS_MAX)
            }
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
        wal.segment_bytes = self.wal.segment_bytes;
        wal.log_bytes_max = self.wal.log_bytes_max;
        wal.reserved_bytes = self.wal.reserved_bytes;
        wal.spare_segments_max = self.wal.spare_segments_max;
        wal.ring_slots = self.wal.ring_slots;
        wal.max_ahead_bytes = self.wal.max_ahead_bytes;
        wal.full_timeout = self.wal.full_timeout;
        wal.sync_timeout = self.wal.sync_timeout;
        wal
    }
}
