//! Settings of a guardian and their check; nothing here acts on them.

use std::path::PathBuf;

use crate::error::ConfigError;

/// Which members a cleanup evicts first. Exhaustive: a population has to have a key for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CleanupPolicy {
    /// Those with the smallest timestamp.
    #[default]
    Oldest,
    /// Those with the smallest weight.
    Lightest,
    /// Those with the smallest strength.
    Weakest,
}

/// Which members a cleanup may evict. Pinned members are never evicted, whatever stands here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Evict {
    /// Only members that would not survive a restart of their owner anyway. Where all members would,
    /// nothing is evicted, and what does not fit into a limit is refused.
    #[default]
    Unlogged,
    /// Durable members too: **what was stored durably is deleted for good** when a limit is near,
    /// lowest key first, whether or not a member is durable. For owners who use durable members
    /// as a cache.
    All,
}

/// What the kernel's figures may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PressureMode {
    /// They raise the level, at most to [`Level::Hard`](crate::Level::Hard), and refuse nothing.
    #[default]
    Signal,
    /// They refuse commits too: the whole process is held against `max_memory_bytes` and the
    /// cgroup against its own limit, with a budget of bytes from one reading to the next.
    Process,
}

/// Which of the kernel's figures are read. A file that is missing is normal, whatever stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PressureSources {
    /// Resident bytes of the process. Default: `true`.
    pub process: bool,
    /// The cgroup's use and limit, ancestors included. Default: `true`.
    pub cgroup: bool,
    /// Time lost waiting for memory; also whether an [`Alarm`](crate::Alarm) made from now on
    /// watches for it. Default: `true`.
    pub stall: bool,
}

impl PressureSources {
    /// None of them: only the two quotas set the level.
    pub const NONE: Self = Self { process: false, cgroup: false, stall: false };
}

impl Default for PressureSources {
    fn default() -> Self {
        Self { process: true, cgroup: true, stall: true }
    }
}

/// The two limits that can be changed while running, with
/// [`Guardian::set_limits`](crate::Guardian::set_limits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most credits out at a time. Unit: credits. Range: any; 2^60 and more mean `None`.
    /// Default: as in [`GuardianConfig::max_tokens`].
    pub max_tokens: Option<u64>,
    /// Most bytes committed at a time. Unit: bytes. Range: any; 2^60 and more mean `None`.
    /// Default: as in [`GuardianConfig::max_memory_bytes`].
    pub max_memory_bytes: Option<u64>,
}

/// Settings of a [`Guardian`](crate::Guardian). Start from `Default` and assign fields.
///
/// ```
/// let mut config = ng_guardian::GuardianConfig::default();
/// config.max_tokens = Some(1_000);
/// config.memory_threshold = 0.9;
/// assert!(config.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GuardianConfig {
    /// Most credits out at a time; `None` is unlimited. Unit: credits. Range: any, 0 refuses all.
    /// Default: `Some(10_000_000)`.
    pub max_tokens: Option<u64>,
    /// Most bytes committed at a time; `None` is unlimited. Unit: bytes. Range: any, 0 refuses
    /// all. Default: `Some(1_024_000_000)`.
    pub max_memory_bytes: Option<u64>,
    /// The soft threshold: share of either limit at which the level leaves normal and cleanup is
    /// due; nothing is refused there. Unit: share. Range: 0.1 to 1. Default: 0.8.
    pub memory_threshold: f64,
    /// Whether a cleanup is ever due; what it may evict says `evict`. Default: `true`.
    pub enable_aggressive_cleanup: bool,
    /// Which members a cleanup evicts first. Default: `CleanupPolicy::Oldest`.
    pub cleanup_policy: CleanupPolicy,
    /// Share of either limit down to which a cleanup goes. Unit: share. Range: 0 up to, but not
    /// including, `memory_threshold`. Default: 0.7.
    pub low_water: f64,
    /// Most members evicted by one call into the population. Unit: members. Range: 1 to
    /// 1,048,576. Default: 1,024.
    pub cleanup_batch: u32,
    /// Which members a cleanup may evict; pinned ones never. With the default, members that would
    /// survive a restart are never evicted, also not under a lowered limit: then the limit refuses
    /// until there is room. Default: `Evict::Unlogged`.
    pub evict: Evict,
    /// Most credits that one reservation hands out. Unit: credits. Range: 1 to 1,048,576.
    /// Default: 1,024.
    pub lease_credits_max: u32,
    /// What the kernel's figures may do. Default: `PressureMode::Signal`.
    pub pressure: PressureMode,
    /// Which of the kernel's figures are read. Default: all of them.
    pub pressure_sources: PressureSources,
    /// Directory under which `proc` and `sys` are looked for; another one serves tests and hosts
    /// that mount them elsewhere. Fixed when the guardian is made. Default: `/`.
    pub kernel_root: PathBuf,
}

impl Default for GuardianConfig {
    fn default() -> Self {
        Self {
            max_tokens: Some(10_000_000),
            max_memory_bytes: Some(1_024_000_000),
            memory_threshold: 0.8,
            enable_aggressive_cleanup: true,
            cleanup_policy: CleanupPolicy::Oldest,
            low_water: 0.7,
            cleanup_batch: 1024,
            evict: Evict::Unlogged,
            lease_credits_max: 1024,
            pressure: PressureMode::Signal,
            pressure_sources: PressureSources::default(),
            kernel_root: PathBuf::from("/"),
        }
    }
}

impl GuardianConfig {
    /// Checks each field and their relations.
    ///
    /// Errors: the first field out of its range, with its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let out_of_range =
            |field, value: String, allowed| Err(ConfigError::OutOfRange { field, value, allowed });
        // Written so that NaN fails too.
        if !(0.1..=1.0).contains(&self.memory_threshold) {
            return out_of_range("memory_threshold", self.memory_threshold.to_string(), "0.1 to 1");
        }
        if !(0.0..self.memory_threshold).contains(&self.low_water) {
            let allowed = "0 up to, but not including, memory_threshold";
            return out_of_range("low_water", self.low_water.to_string(), allowed);
        }
        let counts =
            [("cleanup_batch", self.cleanup_batch), ("lease_credits_max", self.lease_credits_max)];
        for (field, value) in counts {
            if !(1..=1 << 20).contains(&value) {
                return out_of_range(field, value.to_string(), "1 to 1048576");
            }
        }
        Ok(())
    }

    /// The two limits of these settings.
    pub fn limits(&self) -> Limits {
        Limits { max_tokens: self.max_tokens, max_memory_bytes: self.max_memory_bytes }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_published_ones_and_valid() {
        let config = GuardianConfig::default();
        config.validate().expect("defaults are valid");
        assert_eq!(config.max_tokens, Some(10_000_000));
        assert_eq!(config.max_memory_bytes, Some(1_024_000_000));
        assert_eq!(config.memory_threshold, 0.8);
        assert!(config.enable_aggressive_cleanup);
        assert_eq!(config.evict, Evict::Unlogged);
    }

    type Spoil = fn(&mut GuardianConfig);

    #[test]
    fn each_bad_value_is_refused_by_the_name_of_its_field() {
        let cases: [(&str, Spoil); 9] = [
            ("memory_threshold", |c| c.memory_threshold = 0.0),
            ("memory_threshold", |c| c.memory_threshold = 1.01),
            ("memory_threshold", |c| c.memory_threshold = f64::NAN),
            ("low_water", |c| c.low_water = 0.8),
            ("low_water", |c| c.low_water = -0.1),
            ("low_water", |c| c.low_water = f64::NAN),
            ("cleanup_batch", |c| c.cleanup_batch = 0),
            ("lease_credits_max", |c| c.lease_credits_max = 0),
            ("lease_credits_max", |c| c.lease_credits_max = u32::MAX),
        ];
        for (name, spoil) in cases {
            let mut config = GuardianConfig::default();
            spoil(&mut config);
            let ConfigError::OutOfRange { field, .. } = config.validate().expect_err(name);
            assert_eq!(field, name);
        }
    }
}
