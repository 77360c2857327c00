//! The token: a plain 64-byte value with 8 spaces of coordinates, weight, field, flags and time.
//!
//! A `Token` can only be made by ways that check it, so a token at hand is a valid one. The words are
//! those of a slot, so storing one moves eight words and converts nothing.
//!
//! One rule for numbers at each door, the builder, images, words and serde. Coordinates, radius and
//! strength are stored in steps: the value times the steps of a unit, computed in the value's own
//! precision, is rounded to the nearest step, ties to the even one, and *that step* is held against the
//! range. So what rounds to an end of the range is that end, and −0 is 0. A weight is stored as it is:
//! it is held against its range unrounded, and −0 is stored as 0. The builder takes weights from 0 to 1;
//! whatever decodes takes any finite weight from 0 on, because other writers may use other ranges.

mod builder;
mod flags;
mod image;
#[cfg(feature = "serde")]
mod serial;
mod space;
pub(crate) mod words;

pub use self::builder::TokenBuilder;
pub use self::flags::{EntityType, Flags, ParseFlagsError};
pub use self::image::{ImageOptions, Imported};
pub use self::space::Space;

use crate::mutants;
use crate::token::words::{HEAD, Lines, TOKEN_PART, Words};
use std::fmt;

const COORDINATES: usize = 24;
const UNDEFINED: i16 = i16::MIN;

/// A value that no token may have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// A coordinate is not a number or beyond its space.
    #[error("coordinate {axis} of {space:?} is {value}, expected {low} to {high}")]
    Coordinate {
        /// Its space.
        space: Space,
        /// Axis 0, 1 or 2.
        axis: usize,
        /// What was given.
        value: f64,
        /// Least allowed.
        low: f64,
        /// Most allowed.
        high: f64,
    },
    /// The weight is not a number or outside the builder's range.
    #[error("weight is {value}, expected 0 to 1")]
    Weight {
        /// What was given.
        value: f32,
    },
    /// A weight that was decoded is negative or not finite.
    #[error("weight is {value}, expected a finite number of at least 0")]
    DecodedWeight {
        /// What was found.
        value: f32,
    },
    /// The field radius is outside its range.
    #[error("field radius is {value}, expected 0 to 2.55")]
    Radius {
        /// What was given.
        value: f32,
    },
    /// The field strength is outside its range.
    #[error("field strength is {value}, expected 0 to 1")]
    Strength {
        /// What was given.
        value: f32,
    },
    /// The domain does not fit 4 bits.
    #[error("domain is {value}, expected 0 to 15")]
    Domain {
        /// What was given.
        value: u8,
    },
    /// Bits that no token has are set: these are not a token's words.
    #[error("word 6 is {word:#018x}, expected bits 0 to 27 to be zero")]
    Words {
        /// The word found.
        word: u64,
    },
}

/// 64 bytes: 24 coordinates, weight, field radius and strength, flags, domain and a time in seconds.
///
/// A time of 0 means "not set": a store sets it when it creates the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub struct Token {
    words: Words,
}

const _: () = {
    assert!(size_of::<Token>() == 64);
    assert!(align_of::<Token>() == 64);
};

impl Token {
    /// Starts a token: coordinates undefined, weight 0, no flags but ACTIVE, time not set.
    pub fn builder() -> TokenBuilder {
        TokenBuilder::new()
    }

    /// The token's eight words: six of coordinates (four each, lowest bits first), then {28 zero
    /// bits, domain 4 bits, weight's 32 bits} and {flags 16, radius 8, strength 8, seconds 32}.
    #[allow(clippy::wrong_self_convention, reason = "64 bytes go by reference")]
    pub const fn to_words(&self) -> [u64; 8] {
        self.words
    }

    /// From what [`Token::to_words`] gave.
    ///
    /// Errors: bits that no token has; a weight that is negative or not finite. A weight of −0 becomes 0.
    #[inline]
    pub fn from_words(mut words: [u64; 8]) -> Result<Token, TokenError> {
        if words[HEAD] & !TOKEN_PART != 0 {
            return Err(TokenError::Words { word: words[HEAD] });
        }
        // Made once for each token that is read back: the usual weight costs one compare.
        if !is_plain_weight((words[HEAD] >> 32) as u32) {
            let weight = decoded_weight(f32::from_bits((words[HEAD] >> 32) as u32))?;
            words[HEAD] = words[HEAD] & 0xffff_ffff | u64::from(weight.to_bits()) << 32;
        }
        Ok(Token { words })
    }

    /// As read from a slot, without its stamp: it was a token when it was written.
    #[inline(always)]
    pub(crate) fn from_lines(lines: Lines) -> Token {
        // SAFETY: 64 bytes of plain integers either way.
        Token { words: unsafe { std::mem::transmute::<Lines, Words>(lines) } }
    }

    #[inline(always)]
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// Coordinate `axis` (0 to 2) of `space`, or `None` if undefined.
    ///
    /// Panics if `axis` is above 2.
    pub fn coordinate(&self, space: Space, axis: usize) -> Option<f64> {
        match self.raw(space, axis) {
            UNDEFINED => None,
            raw => Some(f64::from(raw) / space.scale()),
        }
    }

    /// The stored step of a coordinate; `i16::MIN` means undefined.
    ///
    /// Panics if `axis` is above 2.
    pub fn raw(&self, space: Space, axis: usize) -> i16 {
        assert!(axis < 3, "axis {axis} of 0 to 2");
        let index = space as usize * 3 + axis;
        (self.words[index / 4] >> (index % 4 * 16)) as i16
    }

    /// Weight: finite, never negative and never −0; from 0 to 1, unless it was decoded from elsewhere.
    pub fn weight(&self) -> f32 {
        f32::from_bits((self.words[HEAD] >> 32) as u32)
    }

    /// Field radius, 0 to 2.55.
    pub fn radius(&self) -> f32 {
        f32::from((self.words[7] >> 16) as u8) / 100.0
    }

    /// Field strength, 0 to 1.
    pub fn strength(&self) -> f32 {
        f32::from(self.raw_strength()) / 255.0
    }

    /// The stored step of the field strength.
    pub fn raw_strength(&self) -> u8 {
        (self.words[7] >> 24) as u8
    }

    /// Unix seconds; 0 means not set.
    #[inline(always)]
    pub fn timestamp(&self) -> u32 {
        (self.words[7] >> 32) as u32
    }

    /// The same token at another time.
    #[must_use]
    #[inline(always)]
    pub fn with_timestamp(mut self, seconds: u32) -> Token {
        self.words[7] = self.words[7] & 0xffff_ffff | u64::from(seconds) << 32;
        self
    }

    /// The flags.
    #[inline(always)]
    pub fn flags(&self) -> Flags {
        Flags::from_bits(self.words[7] as u16)
    }

    /// The same token with other flags.
    #[must_use]
    pub fn with_flags(mut self, flags: Flags) -> Token {
        self.words[7] = self.words[7] & !0xffff | u64::from(flags.bits());
        self
    }

    /// The domain, 0 to 15.
    pub fn domain(&self) -> u8 {
        (self.words[HEAD] >> 28 & 0xf) as u8
    }

    fn set_raw(&mut self, space: Space, axis: usize, raw: i16) {
        let index = space as usize * 3 + axis;
        let shift = index % 4 * 16;
        let word = &mut self.words[index / 4];
        *word = *word & !(0xffff << shift) | u64::from(raw as u16) << shift;
    }
}

/// Whether these are the bits of a finite weight from +0 up.
#[inline(always)]
fn is_plain_weight(bits: u32) -> bool {
    // Bits of floats from +0 up are ordered as the floats are; −0, NaN and the negative lie above them all.
    bits < f32::INFINITY.to_bits()
}

/// A weight that may come from elsewhere: finite and at least 0, −0 being 0.
fn decoded_weight(value: f32) -> Result<f32, TokenError> {
    if is_plain_weight(value.to_bits()) {
        return Ok(value);
    }
    let zero = if mutants::on("core-zero-keeps-its-sign") { value } else { 0.0 };
    if value == 0.0 { Ok(zero) } else { Err(TokenError::DecodedWeight { value }) }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = self.flags();
        write!(
            f,
            "{:?} domain={} weight={} radius={} strength={:.3} t={} flags={}",
            flags.entity_type(),
            self.domain(),
            self.weight(),
            self.radius(),
            self.strength(),
            self.timestamp(),
            flags
        )?;
        for space in Space::ALL {
            let at = |axis| match self.coordinate(space, axis) {
                Some(value) => value.to_string(),
                None => "-".to_string(),
            };
            if (0..3).any(|axis| self.raw(space, axis) != UNDEFINED) {
                write!(f, " {space:?}=({}, {}, {})", at(0), at(1), at(2))?;
            }
        }
        Ok(())
    }
}

const _: () = assert!(COORDINATES == Space::ALL.len() * 3);

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Token {
        Token::builder()
            .coordinates(Space::Physical, [1.0, -2.5, 327.67])
            .coordinates(Space::Abstract, [0.5, -0.00005, 3.2767])
            .weight(0.75)
            .radius(2.55)
            .strength(1.0)
            .entity_type(EntityType::Memory)
            .flags(Flags::ACTIVE | Flags::PERSISTENT | Flags::USER_4)
            .domain(9)
            .timestamp(0x6543_2100)
            .build()
            .unwrap()
    }

    #[test]
    fn what_was_built_is_read_back() {
        let token = sample();
        assert_eq!(token.coordinate(Space::Physical, 1), Some(-2.5));
        assert_eq!(token.raw(Space::Abstract, 1), 0, "ties go to even: -0.5 steps becomes 0");
        assert_eq!(token.coordinate(Space::Motor, 0), None);
        assert_eq!((token.weight(), token.radius(), token.strength()), (0.75, 2.55, 1.0));
        assert_eq!(token.flags().entity_type(), EntityType::Memory);
        assert!(
            token.flags().contains(Flags::PERSISTENT) && !token.flags().contains(Flags::LOCKED)
        );
        assert_eq!((token.domain(), token.timestamp()), (9, 0x6543_2100));
    }

    #[test]
    fn the_first_value_out_of_range_is_named() {
        let error = Token::builder().weight(f32::NAN).domain(16).build().unwrap_err();
        assert!(matches!(error, TokenError::Weight { .. }));
        let error =
            Token::builder().coordinates(Space::Motor, [0.0, 0.0, 33.0]).build().unwrap_err();
        assert_eq!(error.to_string(), "coordinate 2 of Motor is 33, expected -32.767 to 32.767");
        for weight in [-0.1, 1.1, f32::INFINITY, -f32::MIN_POSITIVE] {
            assert!(Token::builder().weight(weight).build().is_err(), "{weight}");
        }
        assert!(Token::builder().coordinates(Space::Physical, [f64::NAN; 3]).build().is_err());
        assert!(Token::builder().radius(2.56).build().is_err());
        assert!(Token::builder().strength(-0.1).build().is_err());
    }

    #[test]
    fn saturating_clamps_and_makes_nan_undefined() {
        let token = Token::builder()
            .coordinates_saturating(Space::Motor, [1e9, -1e9, f64::NAN])
            .build()
            .unwrap();
        assert_eq!(token.raw(Space::Motor, 0), i16::MAX);
        assert_eq!(token.raw(Space::Motor, 1), -i16::MAX);
        assert_eq!(token.coordinate(Space::Motor, 2), None);
    }

    #[test]
    fn a_token_and_its_flags_read_as_a_person_would_write_them() {
        let text = "Memory domain=9 weight=0.75 radius=2.55 strength=1.000 t=1698898176 \
                    flags=ACTIVE|PERSISTENT|USER_4 Physical=(1, -2.5, 327.67) Abstract=(0.5, 0, 3.2767)";
        assert_eq!(sample().to_string(), text);
        let flags = Flags::ACTIVE | Flags::DIRTY | Flags::USER_2;
        assert_eq!(flags.to_string().parse(), Ok(flags));
        assert_eq!(
            (Flags::default().to_string().as_str(), "none".parse()),
            ("none", Ok(Flags::default()))
        );
        let error = "ACTIVE|SHINY".parse::<Flags>().unwrap_err();
        assert!(error.to_string().starts_with("\"SHINY\" is no flag"), "{error}");
    }

    #[test]
    fn words_that_no_token_has_are_refused() {
        let mut words = sample().to_words();
        assert_eq!(Token::from_words(words), Ok(sample()));
        words[6] |= 1;
        assert!(matches!(Token::from_words(words), Err(TokenError::Words { .. })));
        words[6] = u64::from(f32::NAN.to_bits()) << 32;
        assert!(matches!(Token::from_words(words), Err(TokenError::DecodedWeight { .. })));
    }

    proptest::proptest! {
        #[test]
        fn a_coordinate_comes_back_within_half_a_step_and_its_step_exactly(space in 0usize..8, step in -32_767i16..=32_767, part in -0.49f64..0.49) {
            let space = Space::ALL[space];
            let value = f64::from(step) / space.scale();
            let token = Token::builder().coordinates(space, [value; 3]).build().unwrap();
            proptest::prop_assert_eq!(token.raw(space, 1), step);
            proptest::prop_assert_eq!(token.coordinate(space, 2), Some(value));
            let near = Token::builder().coordinates_saturating(space, [value + part / space.scale(); 3]);
            proptest::prop_assert_eq!(near.build().unwrap().raw(space, 0), step);
        }
    }
}
