//! Settings of the sampler and of the collector. Everything has a default, and `validate` names the first bad field.

use crate::error::ConfigError;
use std::{ops::RangeInclusive, time::Duration};

/// Lowest rate that a threshold can express.
const RATE_LOWEST: f64 = 1.0 / (1u64 << 56) as f64;

/// Settings of a [`Sampler`](crate::Sampler). Fields are public: take the default and assign.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SamplerConfig {
    /// The kill switch: when false nothing is sampled, neither at the head nor at the end.
    /// Default: true.
    pub enabled: bool,
    /// Share of operations kept when nothing else decides; where the controller starts if
    /// `adaptive`. Unit: share. Range: 0 to 1; within `min_rate..=max_rate` if `adaptive`.
    /// Default: 0.01.
    pub base_rate: f64,
    /// Lowest rate that the controller and a low priority may set. Unit: share. Range: 2^-56 to
    /// `max_rate`. Default: 0.000001.
    pub min_rate: f64,
    /// Highest rate that the controller and a high priority may set. Unit: share. Range:
    /// `min_rate` to 1. A `base_rate` beyond these two widens them for priorities. Default: 0.1.
    pub max_rate: f64,
    /// Whether the rate follows `spans_per_second`. False: `base_rate` holds strictly.
    /// Default: true.
    pub adaptive: bool,
    /// Spans that the controller aims at. Unit: spans per second, all threads together. Range: 0
    /// (as few as `min_rate` gives) to 4,294,967,295. If `adaptive` there is a ceiling too, twice
    /// this and 16: what the rate keeps beyond it, which the controller's brake makes rare, is not
    /// recorded, and counted in `samples_capped_total`. Above 500 million: no ceiling. Default: 1000.
    pub spans_per_second: u32,
    /// Spans that the controller leaves, whatever they cost and however busy the host is. Unit:
    /// spans per second. Range: 0 and up; more than `spans_per_second` counts as that. Default: 1.
    pub min_spans_per_second: u32,
    /// An operation that took at least this long is kept whatever the head said. Unit: duration.
    /// Range: `None` (no such rule) or more than zero. Default: 100 ms.
    pub slow_threshold: Option<Duration>,
    /// Operations a second which the caller may force to be kept; what exceeds it is counted and
    /// decided as if not forced. Unit: operations per second. Range: 0 (never) and up. Default: 10.
    pub force_per_second: u32,
    /// Operations a second kept because their caller's trace is sampled; what exceeds it is
    /// counted and decided by the further rules. Unit: operations per second. Range: 0 (never)
    /// and up. Default: 100.
    pub parent_per_second: u32,
    /// Failed operations a second kept for their error alone. Unit: operations per second. Range:
    /// 0 (never) and up. Default: 100.
    pub error_per_second: u32,
    /// Slow operations a second kept for their duration alone. Unit: operations per second.
    /// Range: 0 (never) and up. Default: 100.
    pub slow_per_second: u32,
    /// Share of the process's time that spans may cost. What the owner reports to
    /// [`control_step`](crate::Sampler::control_step) says what one costs, and so how many this
    /// affords; there are no more, but for `min_spans_per_second`. Cost that spans do not cause is
    /// not limited by it. Unit: share. Range: above 0, to 1. Default: 0.01.
    pub overhead_budget: f64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            base_rate: 0.01,
            min_rate: 1e-6,
            max_rate: 0.1,
            adaptive: true,
            spans_per_second: 1000,
            min_spans_per_second: 1,
            slow_threshold: Some(Duration::from_millis(100)),
            force_per_second: 10,
            parent_per_second: 100,
            error_per_second: 100,
            slow_per_second: 100,
            overhead_budget: 0.01,
        }
    }
}

impl SamplerConfig {
    /// The default with a strict rate: no controller moves it.
    pub fn fixed_rate(rate: f64) -> Self {
        Self { base_rate: rate, adaptive: false, ..Self::default() }
    }

    /// Names the first field that cannot be used, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        rate("max_rate", self.max_rate, RATE_LOWEST..=1.0)?;
        rate("min_rate", self.min_rate, RATE_LOWEST..=self.max_rate)?;
        if self.adaptive {
            rate("base_rate", self.base_rate, self.min_rate..=self.max_rate)?;
        } else if self.base_rate != 0.0 {
            rate("base_rate", self.base_rate, RATE_LOWEST..=1.0)?;
        }
        if self.slow_threshold == Some(Duration::ZERO) {
            return Err(out_of_range("slow_threshold", "0 s", "none, or more than zero"));
        }
        rate("overhead_budget", self.overhead_budget, f64::MIN_POSITIVE..=1.0)
    }

    /// What priorities are held within.
    pub(crate) fn bounds(&self) -> (f64, f64) {
        (self.min_rate.min(self.base_rate), self.max_rate.max(self.base_rate))
    }
}

/// Settings of a [`Collector`](crate::Collector). Fields are public: take the default and assign.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectorConfig {
    /// Most that may wait in one recorder's ring: spans of 80 bytes each. Its memory comes in
    /// blocks of 4 KiB as spans need them, at most three beyond this, and goes when the drain has
    /// taken the spans. Unit: bytes. Range: 4 KiB to 4 MiB. Default: 1 MiB.
    pub ring_bytes: usize,
    /// The drain looks into the rings this often while spans come; a ring of which a quarter
    /// is waiting wakes it earlier. Unit: duration. Range: 1 ms to `idle_interval`. Default: 10 ms.
    pub drain_interval: Duration,
    /// The drain's waits grow up to this while no spans come. Unit: duration. Range:
    /// `drain_interval` to 10 s. Default: 100 ms.
    pub idle_interval: Duration,
    /// Hard bound above the controller's soft one: spans that all recorders together may record in
    /// a second, at most one second's worth at once; what exceeds it is dropped and counted. A
    /// recorder may hold a hundredth of it unused. Unit: spans per second. Range: `None` (no bound)
    /// or 0 (none at all) and up. Default: none.
    pub spans_per_second_max: Option<u32>,
    /// Most spans that one call of the sink gets. Unit: spans. Range: 1 to 4096. Default: 512.
    pub batch_spans_max: usize,
    /// How long dropping the collector waits for the last spans to reach the sink. Unit:
    /// duration. Range: any. Default: 5 s.
    pub shutdown_timeout: Duration,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 1 << 20,
            drain_interval: Duration::from_millis(10),
            idle_interval: Duration::from_millis(100),
            spans_per_second_max: None,
            batch_spans_max: 512,
            shutdown_timeout: Duration::from_secs(5),
        }
    }
}

impl CollectorConfig {
    /// Names the first field that cannot be used, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(4 << 10..=4 << 20).contains(&self.ring_bytes) {
            return Err(out_of_range("ring_bytes", self.ring_bytes, "4096 to 4194304"));
        }
        let longest = Duration::from_secs(10);
        if !(self.drain_interval..=longest).contains(&self.idle_interval) {
            let allowed = format!("{:?} (`drain_interval`) to 10 s", self.drain_interval);
            return Err(out_of_range(
                "idle_interval",
                format_args!("{:?}", self.idle_interval),
                allowed,
            ));
        }
        if self.drain_interval < Duration::from_millis(1) {
            let value = format!("{:?}", self.drain_interval);
            return Err(out_of_range("drain_interval", value, "1 ms to `idle_interval`"));
        }
        if !(1..=4096).contains(&self.batch_spans_max) {
            return Err(out_of_range("batch_spans_max", self.batch_spans_max, "1 to 4096"));
        }
        Ok(())
    }
}

fn rate(field: &'static str, value: f64, allowed: RangeInclusive<f64>) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(out_of_range(field, value, format_args!("{:e} to {}", allowed.start(), allowed.end())))
}

fn out_of_range(
    field: &'static str,
    value: impl std::fmt::Display,
    allowed: impl std::fmt::Display,
) -> ConfigError {
    ConfigError::OutOfRange { field, value: value.to_string(), allowed: allowed.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad_sampler_field(change: impl FnOnce(&mut SamplerConfig)) -> &'static str {
        let mut config = SamplerConfig::default();
        change(&mut config);
        let ConfigError::OutOfRange { field, .. } = config.validate().unwrap_err();
        field
    }

    fn bad_collector_field(change: impl FnOnce(&mut CollectorConfig)) -> &'static str {
        let mut config = CollectorConfig::default();
        change(&mut config);
        let ConfigError::OutOfRange { field, .. } = config.validate().unwrap_err();
        field
    }

    #[test]
    fn defaults_are_usable() {
        assert_eq!(SamplerConfig::default().validate(), Ok(()));
        assert_eq!(CollectorConfig::default().validate(), Ok(()));
        for rate in [0.0, 1e-9, 0.5, 1.0] {
            assert_eq!(SamplerConfig::fixed_rate(rate).validate(), Ok(()));
        }
    }

    #[test]
    fn the_bad_field_is_named() {
        assert_eq!(bad_sampler_field(|c| c.base_rate = 0.2), "base_rate");
        assert_eq!(bad_sampler_field(|c| c.base_rate = 0.0), "base_rate");
        assert_eq!(bad_sampler_field(|c| c.base_rate = f64::NAN), "base_rate");
        assert_eq!(bad_sampler_field(|c| c.min_rate = 0.5), "min_rate");
        assert_eq!(bad_sampler_field(|c| c.max_rate = 1.5), "max_rate");
        assert_eq!(
            bad_sampler_field(|c| c.slow_threshold = Some(Duration::ZERO)),
            "slow_threshold"
        );
        assert_eq!(bad_sampler_field(|c| c.overhead_budget = 0.0), "overhead_budget");
        assert_eq!(bad_collector_field(|c| c.ring_bytes = 100), "ring_bytes");
        assert_eq!(bad_collector_field(|c| c.ring_bytes = 8 << 20), "ring_bytes");
        assert_eq!(bad_collector_field(|c| c.drain_interval = Duration::ZERO), "drain_interval");
        assert_eq!(bad_collector_field(|c| c.idle_interval = Duration::ZERO), "idle_interval");
        assert_eq!(bad_collector_field(|c| c.batch_spans_max = 0), "batch_spans_max");
    }

    #[test]
    fn the_message_names_field_value_and_range() {
        let error = SamplerConfig { max_rate: 1.5, ..Default::default() }.validate().unwrap_err();
        assert!(error.to_string().starts_with("`max_rate` is 1.5, allowed is "), "{error}");
        assert!(error.to_string().ends_with(" to 1"), "{error}");
    }
}
