//! Trace and span ids as W3C Trace Context counts them, with their one text form. Never zero.

use crate::{error::ParseIdError, threshold::Randomness};
use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
    str::FromStr,
};

/// Id of a whole trace: 128 bits, never zero. Text: 32 lower-case hexadecimal digits.
///
/// Its low 56 bits are the trace's [`Randomness`], by which every consistent sampler decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// The id with this value; `None` for zero, which W3C reserves for "no trace".
    pub const fn new(value: u128) -> Option<Self> {
        match NonZeroU128::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value; read from the left as W3C writes it.
    pub const fn get(self) -> u128 {
        self.0.get()
    }

    /// The low 56 bits, which decide about this trace wherever it goes.
    pub const fn randomness(self) -> Randomness {
        Randomness::from_low_bits(self.get() as u64)
    }

    /// A new id that agrees with a decision already made: its low 56 bits are `randomness`.
    #[inline]
    pub(crate) fn draw(rng: &mut fastrand::Rng, randomness: Randomness) -> Self {
        loop {
            let high = rng.u128(..) << 56;
            // Zero has probability 2^-72, and only if the randomness is zero too.
            if let Some(id) = Self::new(high | u128::from(randomness.get())) {
                return id;
            }
        }
    }
}

/// Id of one span: 64 bits, never zero. Text: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// The id with this value; `None` for zero, which W3C reserves for "no span".
    pub const fn new(value: u64) -> Option<Self> {
        match NonZeroU64::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The value; read from the left as W3C writes it.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// A new random id.
    #[inline]
    pub(crate) fn draw(rng: &mut fastrand::Rng) -> Self {
        loop {
            // Zero has probability 2^-64; to ask for a range without it costs more than the draw.
            if let Some(id) = Self::new(rng.u64(..)) {
                return id;
            }
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.get())
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.get())
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl FromStr for TraceId {
    type Err = ParseIdError;

    /// Strict: exactly 32 lower-case digits, not all zero.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        hex(text, 32).and_then(|value| Self::new(value).ok_or(ParseIdError::Zero))
    }
}

impl FromStr for SpanId {
    type Err = ParseIdError;

    /// Strict: exactly 16 lower-case digits, not all zero.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        hex(text, 16).and_then(|value| Self::new(value as u64).ok_or(ParseIdError::Zero))
    }
}

/// Value of exactly `digits` lower-case digits. The standard parser would also take `+` and capitals.
fn hex(text: &str, digits: usize) -> Result<u128, ParseIdError> {
    if text.len() != digits {
        return Err(ParseIdError::Length { expected: digits, found: text.len() });
    }
    let mut value = 0;
    for (offset, byte) in text.bytes().enumerate() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return Err(ParseIdError::Digit { offset }),
        };
        value = value << 4 | u128::from(digit);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_their_text_form_and_refuse_every_other() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
        assert_eq!("b7ad6b7169203331".parse::<SpanId>().unwrap().get(), 0xb7ad_6b71_6920_3331);
        assert_eq!("00".parse::<SpanId>(), Err(ParseIdError::Length { expected: 16, found: 2 }));
        assert_eq!("0000000000000000".parse::<SpanId>(), Err(ParseIdError::Zero));
        assert_eq!("B7ad6b7169203331".parse::<SpanId>(), Err(ParseIdError::Digit { offset: 0 }));
        assert_eq!("+7ad6b7169203331".parse::<SpanId>(), Err(ParseIdError::Digit { offset: 0 }));
    }

    #[test]
    fn a_drawn_trace_id_carries_the_randomness_it_was_drawn_for() {
        let mut rng = fastrand::Rng::with_seed(1);
        let randomness = Randomness::from_low_bits(0x00ff_1234_5678_9abc);
        let (a, b) = (TraceId::draw(&mut rng, randomness), TraceId::draw(&mut rng, randomness));
        assert_eq!(a.randomness(), randomness);
        assert_ne!(a, b);
    }
}
