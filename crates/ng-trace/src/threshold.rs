//! The 56-bit rejection threshold of OpenTelemetry's consistent sampling: kept exactly if R ≥ T. A threshold never means "none": rate 0 has no code.
//!
//! T is rounded when it is made, and both the decision and the weight use the rounded one, so the
//! two cannot disagree.

use crate::error::ParseThresholdError;
use std::{fmt, str::FromStr};

/// One more than the highest threshold and the highest randomness.
const RANGE: u64 = 1 << 56;
/// Hexadecimal digits of a whole threshold.
const DIGITS: u32 = 14;
/// Significant digits kept after the leading `f`s: OpenTelemetry's default for SDKs.
const PRECISION: i32 = 4;

/// The 56 random bits R of a trace: the low bits of its id, unless its `rv` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Randomness(u64);

impl Randomness {
    /// The low 56 bits of `value`; the others are ignored.
    pub const fn from_low_bits(value: u64) -> Self {
        Self(value & (RANGE - 1))
    }

    /// The value, below 2^56.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Uniform over all values.
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        Self::from_low_bits(rng.u64(..))
    }

    /// Uniform over the values which `threshold` does not keep; over all if it keeps each.
    pub(crate) fn draw_not_kept(rng: &mut fastrand::Rng, threshold: Threshold) -> Self {
        match threshold {
            Threshold::ALWAYS => Self::draw(rng),
            Threshold(first_kept) => Self(rng.u64(0..first_kept)),
        }
    }

    /// Uniform over the values which `threshold` keeps.
    #[inline]
    pub(crate) fn draw_kept(rng: &mut fastrand::Rng, threshold: Threshold) -> Self {
        Self(rng.u64(threshold.0..RANGE))
    }
}

/// Rejection threshold T, below 2^56: a trace is kept exactly if its [`Randomness`] is at least T.
///
/// Text, as in the `th` of a tracestate: 1 to 14 lower-case hexadecimal digits without trailing
/// zeros. Source: OpenTelemetry specification, "TraceState: Probability Sampling".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Keeps everything: rate 1, `th:0`.
    pub const ALWAYS: Self = Self(0);

    /// The threshold with this value; `None` from 2^56 on.
    pub const fn new(value: u64) -> Option<Self> {
        if value < RANGE { Some(Self(value)) } else { None }
    }

    /// The value, below 2^56.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The threshold of a sampling rate, rounded to four digits after the leading `f`s.
    ///
    /// `rate` is a share from 2^-56 to 1; `None` outside of it, so for 0 and NaN too.
    pub fn from_rate(rate: f64) -> Option<Self> {
        if !(rate >= (RANGE as f64).recip() && rate <= 1.0) {
            return None;
        }
        let exact = RANGE - (rate * RANGE as f64).round() as u64;
        // rate = m * 2^exponent with m in [0.5, 1): such a T begins with about -exponent/4 `f`s.
        let exponent = (rate.to_bits() >> 52) as i32 - 1022;
        let digits = (PRECISION + (-exponent).div_euclid(4)).clamp(1, 12) as u32;
        let shift = 4 * (DIGITS - digits);
        let rounded = ((exact + (1 << (shift - 1))) >> shift) << shift;
        // Next to 2^-56 rounding would reach "never"; there the exact value stands.
        Some(Self(if rounded < RANGE { rounded } else { exact }))
    }

    /// The rate which this threshold keeps, 2^-56 to 1.
    pub fn rate(self) -> f64 {
        (RANGE - self.0) as f64 / RANGE as f64
    }

    /// How many traces one kept by this threshold stands for: the inverse of the rate.
    pub fn weight(self) -> f64 {
        self.rate().recip()
    }

    /// Whether a trace with this randomness is kept.
    pub const fn keeps(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zeros = (self.0 | RANGE).trailing_zeros() / 4;
        let digits = (DIGITS - zeros).max(1);
        let width = digits as usize;
        write!(f, "{:0width$x}", self.0 >> (4 * (DIGITS - digits)))
    }
}

impl FromStr for Threshold {
    type Err = ParseThresholdError;

    fn from_str(text: &str) -> Result<Self, ParseThresholdError> {
        if text.is_empty() || text.len() > DIGITS as usize {
            return Err(ParseThresholdError::Length { found: text.len() });
        }
        let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if let Some(offset) = text.bytes().position(|byte| !lower_hex(byte)) {
            return Err(ParseThresholdError::Digit { offset });
        }
        let digits = u64::from_str_radix(text, 16)
            .map_err(|_| ParseThresholdError::Length { found: text.len() })?;
        Ok(Self(digits << (4 * (DIGITS as usize - text.len()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_have_the_thresholds_of_the_specification() {
        for (rate, th) in [
            (1.0, "0"),
            (0.5, "8"),
            (1.0 / 3.0, "aaab"),
            (0.25, "c"),
            (0.2, "cccd"),
            (0.125, "e"),
            (0.1, "e666"),
            (1.0 / 16.0, "f"),
            (0.01, "fd70a"),
            (1e-3, "ffbe77"),
            (1e-4, "fff9724"),
            (1e-5, "ffff583a"),
            (1e-6, "ffffef39"),
            (0.999_999_9, "0"),
        ] {
            assert_eq!(Threshold::from_rate(rate).unwrap().to_string(), th, "rate {rate}");
        }
    }

    #[test]
    fn rates_outside_the_range_have_no_threshold() {
        for rate in [0.0, -0.1, 1.000_001, f64::NAN, f64::INFINITY, 1e-18] {
            assert_eq!(Threshold::from_rate(rate), None, "rate {rate}");
        }
        let least = Threshold::from_rate((RANGE as f64).recip()).unwrap();
        assert_eq!((least.to_string().as_str(), least.weight()), ("ffffffffffffff", RANGE as f64));
    }

    #[test]
    fn the_specification_example_is_kept_exactly_from_its_own_rate_on() {
        let randomness = Randomness::from_low_bits(0x6e_6d1a_7583_2a2f);
        assert!(Threshold::from_rate(0.569).unwrap().keeps(randomness));
        assert!(!Threshold::from_rate(0.5686).unwrap().keeps(randomness));
        assert!(Threshold::new(0x6e_6d1a_7583_2a2f).unwrap().keeps(randomness));
        assert!(!Threshold::new(0x6e_6d1a_7583_2a30).unwrap().keeps(randomness));
    }

    #[test]
    fn malformed_th_values_are_refused() {
        assert_eq!("".parse::<Threshold>(), Err(ParseThresholdError::Length { found: 0 }));
        let long = "000000000000000";
        assert_eq!(long.parse::<Threshold>(), Err(ParseThresholdError::Length { found: 15 }));
        assert_eq!("fD".parse::<Threshold>(), Err(ParseThresholdError::Digit { offset: 1 }));
        assert_eq!("+1".parse::<Threshold>(), Err(ParseThresholdError::Digit { offset: 0 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn every_threshold_survives_its_text(value in 0..RANGE) {
            let threshold = Threshold::new(value).unwrap();
            prop_assert_eq!(threshold.to_string().parse::<Threshold>(), Ok(threshold));
        }

        #[test]
        fn rounding_moves_a_rate_by_less_than_four_digits_do(exponent in -32.0..0.0f64) {
            let rate = exponent.exp2();
            let rounded = Threshold::from_rate(rate).unwrap().rate();
            prop_assert!((rounded / rate - 1.0).abs() < 1.0 / 4096.0, "{rate} became {rounded}");
        }
    }
}
