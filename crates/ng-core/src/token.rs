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

#[cfg(feature = "serde")]
mod serial;

use crate::chunks::slot::{HEAD, Lines, TOKEN_PART, Words};
use crate::mutants;
use std::fmt;

const COORDINATES: usize = 24;
const UNDEFINED: i16 = i16::MIN;

/// One of the eight spaces a token lies in, with the scale of its coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
pub enum Space {
    /// L1, scale 100.
    Physical,
    /// L2, scale 10,000.
    Sensory,
    /// L3, scale 1,000.
    Motor,
    /// L4, scale 10,000.
    Emotional,
    /// L5, scale 10,000.
    Cognitive,
    /// L6, scale 10,000.
    Social,
    /// L7, scale 100.
    Temporal,
    /// L8, scale 10,000.
    Abstract,
}

impl Space {
    /// All eight, in order.
    pub const ALL: [Space; 8] = [
        Space::Physical,
        Space::Sensory,
        Space::Motor,
        Space::Emotional,
        Space::Cognitive,
        Space::Social,
        Space::Temporal,
        Space::Abstract,
    ];

    /// Steps per unit: a coordinate is stored as `value × scale`, rounded to the nearest, ties to even.
    pub const fn scale(self) -> f64 {
        match self {
            Space::Physical | Space::Temporal => 100.0,
            Space::Motor => 1_000.0,
            Space::Sensory
            | Space::Emotional
            | Space::Cognitive
            | Space::Social
            | Space::Abstract => 10_000.0,
        }
    }
}

/// What a token stands for: bits 8 to 11 of its flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are their own documentation; contracts fix their order")]
pub enum EntityType {
    #[default]
    Undefined,
    Object,
    Event,
    State,
    Process,
    Concept,
    Relation,
    Pattern,
    Rule,
    Goal,
    Memory,
    Sensor,
    Actuator,
    Controller,
    Buffer,
    Reserved,
}

impl EntityType {
    const ALL: [EntityType; 16] = [
        EntityType::Undefined,
        EntityType::Object,
        EntityType::Event,
        EntityType::State,
        EntityType::Process,
        EntityType::Concept,
        EntityType::Relation,
        EntityType::Pattern,
        EntityType::Rule,
        EntityType::Goal,
        EntityType::Memory,
        EntityType::Sensor,
        EntityType::Actuator,
        EntityType::Controller,
        EntityType::Buffer,
        EntityType::Reserved,
    ];
}

/// The 16 flag bits; bits 8 to 11 hold the [`EntityType`].
///
/// Text form: the names of the bits that are set, joined by `|`, or `none`. It leaves the entity type out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Flags(u16);

/// A text that names a flag which is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no flag; expected names such as ACTIVE|LOCKED|USER_1, or none")]
pub struct ParseFlagsError {
    /// The name.
    pub name: String,
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Flags::NAMES.iter().filter(|(flag, _)| self.contains(*flag));
        match names.next() {
            None => f.write_str("none"),
            Some((_, first)) => {
                f.write_str(first)?;
                names.try_for_each(|(_, name)| write!(f, "|{name}"))
            }
        }
    }
}

impl std::str::FromStr for Flags {
    type Err = ParseFlagsError;

    fn from_str(text: &str) -> Result<Flags, ParseFlagsError> {
        if text == "none" {
            return Ok(Flags(0));
        }
        text.split('|').try_fold(Flags(0), |flags, name| {
            match Flags::NAMES.iter().find(|(_, known)| *known == name) {
                Some((flag, _)) => Ok(flags.with(*flag)),
                None => Err(ParseFlagsError { name: name.chars().take(64).collect() }),
            }
        })
    }
}

impl Flags {
    const NAMES: [(Flags, &str); 12] = [
        (Flags::ACTIVE, "ACTIVE"),
        (Flags::PERSISTENT, "PERSISTENT"),
        (Flags::MUTABLE, "MUTABLE"),
        (Flags::SYNCHRONIZED, "SYNCHRONIZED"),
        (Flags::COMPRESSED, "COMPRESSED"),
        (Flags::ENCRYPTED, "ENCRYPTED"),
        (Flags::DIRTY, "DIRTY"),
        (Flags::LOCKED, "LOCKED"),
        (Flags::USER_1, "USER_1"),
        (Flags::USER_2, "USER_2"),
        (Flags::USER_3, "USER_3"),
        (Flags::USER_4, "USER_4"),
    ];

    /// In use.
    pub const ACTIVE: Flags = Flags(0x0001);
    /// Logged also where only marked tokens are; never evicted.
    pub const PERSISTENT: Flags = Flags(0x0002);
    /// May be changed.
    pub const MUTABLE: Flags = Flags(0x0004);
    /// In step with other copies.
    pub const SYNCHRONIZED: Flags = Flags(0x0008);
    /// Content is compressed elsewhere.
    pub const COMPRESSED: Flags = Flags(0x0010);
    /// Content is encrypted elsewhere.
    pub const ENCRYPTED: Flags = Flags(0x0020);
    /// Changed since last written elsewhere.
    pub const DIRTY: Flags = Flags(0x0040);
    /// Never evicted.
    pub const LOCKED: Flags = Flags(0x0080);
    /// Free for the user.
    pub const USER_1: Flags = Flags(0x1000);
    /// Free for the user.
    pub const USER_2: Flags = Flags(0x2000);
    /// Free for the user.
    pub const USER_3: Flags = Flags(0x4000);
    /// Free for the user.
    pub const USER_4: Flags = Flags(0x8000);

    /// Every pattern of 16 bits is valid.
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// The 16 bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Are all bits of `other` set?
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    /// Bits 8 to 11.
    pub fn entity_type(self) -> EntityType {
        EntityType::ALL[usize::from(self.0 >> 8 & 0xf)]
    }

    /// With other bits 8 to 11.
    #[must_use]
    pub const fn with_entity_type(self, entity: EntityType) -> Flags {
        Flags(self.0 & !0x0f00 | (entity as u16) << 8)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        self.with(other)
    }
}

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
        let undefined = u64::from(UNDEFINED as u16);
        let four = undefined << 48 | undefined << 32 | undefined << 16 | undefined;
        let mut words = [four; 8];
        (words[6], words[7]) = (0, u64::from(Flags::ACTIVE.0));
        TokenBuilder { token: Token { words }, error: None }
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
        Flags(self.words[7] as u16)
    }

    /// The same token with other flags.
    #[must_use]
    pub fn with_flags(mut self, flags: Flags) -> Token {
        self.words[7] = self.words[7] & !0xffff | u64::from(flags.0);
        self
    }

    /// The domain, 0 to 15.
    pub fn domain(&self) -> u8 {
        (self.words[HEAD] >> 28 & 0xf) as u8
    }

    /// The v2.0 exchange image, little-endian, with local id 0.
    #[allow(clippy::wrong_self_convention, reason = "64 bytes go by reference")]
    pub fn to_image(&self) -> [u8; 64] {
        self.to_image_with_id(0)
    }

    /// The v2.0 exchange image with a local id: 24 bits that old readers know the token by; higher
    /// bits are cut off.
    #[allow(clippy::wrong_self_convention, reason = "64 bytes go by reference")]
    pub fn to_image_with_id(&self, local_id: u32) -> [u8; 64] {
        let mut image = [0; 64];
        for (bytes, word) in image.chunks_exact_mut(8).zip(&self.words[..6]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let flags = self.flags();
        let id = local_id & 0x00ff_ffff
            | (flags.entity_type() as u32) << 24
            | u32::from(self.domain()) << 28;
        image[48..52].copy_from_slice(&id.to_le_bytes());
        image[52..54].copy_from_slice(&flags.bits().to_le_bytes());
        image[54..58].copy_from_slice(&self.weight().to_le_bytes());
        image[58] = (self.words[7] >> 16) as u8;
        image[59] = self.raw_strength();
        image[60..64].copy_from_slice(&self.timestamp().to_le_bytes());
        image
    }

    /// The v2.0 exchange image as another source wants it; see [`ImageOptions`].
    ///
    /// Errors: a temporal Z that does not fit the finer scale.
    #[allow(clippy::wrong_self_convention, reason = "64 bytes go by reference")]
    pub fn to_image_with(
        &self,
        local_id: u32,
        options: ImageOptions,
    ) -> Result<[u8; 64], TokenError> {
        let mut token = *self;
        let z = self.raw(Space::Temporal, 2);
        if options.temporal_z_1000 && z != UNDEFINED {
            let finer = i32::from(z) * TEMPORAL_Z_STEPS;
            if !(-i32::from(i16::MAX)..=i32::from(i16::MAX)).contains(&finer) {
                let high = f64::from(i16::MAX) / 1_000.0;
                let value = f64::from(z) / Space::Temporal.scale();
                let (space, axis, low) = (Space::Temporal, 2, -high);
                return Err(TokenError::Coordinate { space, axis, value, low, high });
            }
            token.set_raw(Space::Temporal, 2, finer as i16);
        }
        Ok(token.to_image_with_id(local_id))
    }

    /// From a v2.0 exchange image. The entity type is taken from the id's bits, as the image has it twice.
    ///
    /// Errors: a weight that is negative or not finite. A weight of −0 becomes 0.
    pub fn from_image(image: &[u8; 64], options: ImageOptions) -> Result<Token, TokenError> {
        Ok(Token::from_image_counted(image, options)?.token)
    }

    /// As [`Token::from_image`], and how many coordinates could mean two things.
    pub fn from_image_counted(
        image: &[u8; 64],
        options: ImageOptions,
    ) -> Result<Imported, TokenError> {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(image.chunks_exact(8)).take(6) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        let id = u32::from_le_bytes([image[48], image[49], image[50], image[51]]);
        let flags = Flags(u16::from_le_bytes([image[52], image[53]]))
            .with_entity_type(EntityType::ALL[(id >> 24 & 0xf) as usize]);
        let weight = f32::from_le_bytes([image[54], image[55], image[56], image[57]]);
        let weight = decoded_weight(weight)?;
        let seconds = u32::from_le_bytes([image[60], image[61], image[62], image[63]]);
        words[6] = u64::from(id >> 28) << 28 | u64::from(weight.to_bits()) << 32;
        words[7] = u64::from(flags.0)
            | u64::from(image[58]) << 16
            | u64::from(image[59]) << 24
            | u64::from(seconds) << 32;
        let mut token = Token { words };
        let mut ambiguous = 0;
        for (space, axis) in all_axes() {
            if token.raw(space, axis) == 127 {
                ambiguous += 1;
                if options.undefined_127 {
                    token.set_raw(space, axis, UNDEFINED);
                }
            }
        }
        let z = token.raw(Space::Temporal, 2);
        if options.temporal_z_1000 && z != UNDEFINED {
            let coarser = (f64::from(z) / f64::from(TEMPORAL_Z_STEPS)).round_ties_even();
            token.set_raw(Space::Temporal, 2, coarser as i16);
        }
        Ok(Imported { token, ambiguous })
    }

    fn set_raw(&mut self, space: Space, axis: usize, raw: i16) {
        let index = space as usize * 3 + axis;
        let shift = index % 4 * 16;
        let word = &mut self.words[index / 4];
        *word = *word & !(0xffff << shift) | u64::from(raw as u16) << shift;
    }
}

/// How images of other sources are read and written.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ImageOptions {
    /// Some old writers put 127 where they meant "undefined"; read it so. Such an image can't tell
    /// it from a real 127. Default: false.
    pub undefined_127: bool,
    /// The Z axis of [`Space::Temporal`] counts thousandths in the image, as some sources have it, and
    /// not hundredths. Reading rounds it to the token's hundredths, ties to even; writing is exact,
    /// and possible from −32.767 to 32.767. Default: false.
    pub temporal_z_1000: bool,
}

/// Steps of the finer temporal Z in one of a token's.
const TEMPORAL_Z_STEPS: i32 = 10;

/// A token from an image; see [`Token::from_image_counted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The token.
    pub token: Token,
    /// Coordinates that were 127: a value, or "undefined" to an old writer. Counted whatever the options say.
    pub ambiguous: u32,
}

fn all_axes() -> impl Iterator<Item = (Space, usize)> {
    Space::ALL.into_iter().flat_map(|space| (0..3).map(move |axis| (space, axis)))
}

/// A weight that the builder takes: 0 to 1, −0 being 0.
fn built_weight(value: f32) -> Result<f32, TokenError> {
    // NaN is in no range. Adding 0 makes −0 a 0, and changes nothing else.
    if (0.0..=1.0).contains(&value) { Ok(value + 0.0) } else { Err(TokenError::Weight { value }) }
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

/// Nearest step of 0 to 255, ties to even; `None` if it does not fit or `value` is no number.
fn encode_byte(steps_per_unit: f32, value: f32) -> Option<u8> {
    let step = (value * steps_per_unit).round_ties_even();
    (0.0..=255.0).contains(&step).then_some(step as u8)
}

/// Nearest step, ties to even; `None` if it does not fit or `value` is no number.
fn encode(space: Space, value: f64) -> Option<i16> {
    let step = (value * space.scale()).round_ties_even();
    // i16::MIN means undefined, so the range is symmetric.
    if step >= f64::from(-i16::MAX) && step <= f64::from(i16::MAX) {
        return Some(step as i16);
    }
    None
}

/// Makes valid tokens only: the first bad value is kept and comes back from [`TokenBuilder::build`].
///
/// A value that is stored in steps is rounded first, to the nearest step and from a tie to the even
/// one, and then held against its range: a radius of −0.004 is 0, one of 2.556 is refused. −0 is 0.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    token: Token,
    error: Option<TokenError>,
}

impl TokenBuilder {
    /// Sets the three coordinates of a space.
    ///
    /// A value that is not a number, or whose nearest step lies outside ±32,767, is an error at `build`.
    #[must_use]
    pub fn coordinates(mut self, space: Space, values: [f64; 3]) -> Self {
        for (axis, value) in values.into_iter().enumerate() {
            self.set_coordinate(space, axis, value);
        }
        self
    }

    /// Sets one coordinate, `axis` 0, 1 or 2.
    ///
    /// Errors as for [`TokenBuilder::coordinates`]. Panics if `axis` is above 2.
    #[must_use]
    pub fn coordinate(mut self, space: Space, axis: usize, value: f64) -> Self {
        assert!(axis < 3, "axis {axis} of 0 to 2");
        self.set_coordinate(space, axis, value);
        self
    }

    fn set_coordinate(&mut self, space: Space, axis: usize, value: f64) {
        match encode(space, value) {
            Some(raw) => self.token.set_raw(space, axis, raw),
            None => {
                let high = f64::from(i16::MAX) / space.scale();
                self.fail(TokenError::Coordinate { space, axis, value, low: -high, high });
            }
        }
    }

    /// As [`TokenBuilder::coordinates`], but what does not fit becomes the nearest step that does; not a
    /// number becomes undefined.
    #[must_use]
    pub fn coordinates_saturating(mut self, space: Space, values: [f64; 3]) -> Self {
        for (axis, value) in values.into_iter().enumerate() {
            let high = f64::from(i16::MAX) / space.scale();
            let raw = encode(space, value.clamp(-high, high)).unwrap_or(UNDEFINED);
            self.token.set_raw(space, axis, raw);
        }
        self
    }

    /// Sets the weight, 0 to 1; it is not rounded.
    #[must_use]
    pub fn weight(self, value: f32) -> Self {
        self.with_weight(built_weight(value))
    }

    /// Sets a weight that was decoded: any finite one of at least 0.
    #[cfg(feature = "serde")]
    pub(crate) fn weight_decoded(self, value: f32) -> Self {
        self.with_weight(decoded_weight(value))
    }

    fn with_weight(mut self, weight: Result<f32, TokenError>) -> Self {
        match weight {
            Ok(weight) => {
                let low = self.token.words[HEAD] & 0xffff_ffff;
                self.token.words[HEAD] = low | u64::from(weight.to_bits()) << 32;
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sets the field radius, 0 to 2.55 in steps of 0.01.
    #[must_use]
    pub fn radius(mut self, value: f32) -> Self {
        match encode_byte(100.0, value) {
            Some(step) => {
                self.token.words[7] = self.token.words[7] & !0xff_0000 | u64::from(step) << 16;
            }
            None => self.fail(TokenError::Radius { value }),
        }
        self
    }

    /// Sets the field strength, 0 to 1 in steps of 1/255.
    #[must_use]
    pub fn strength(mut self, value: f32) -> Self {
        match encode_byte(255.0, value) {
            Some(step) => {
                self.token.words[7] = self.token.words[7] & !0xff00_0000 | u64::from(step) << 24;
            }
            None => self.fail(TokenError::Strength { value }),
        }
        self
    }

    /// Sets the time in Unix seconds; 0 lets the store set it.
    #[must_use]
    pub fn timestamp(mut self, seconds: u32) -> Self {
        self.token = self.token.with_timestamp(seconds);
        self
    }

    /// Sets all flags but the entity type.
    #[must_use]
    pub fn flags(mut self, flags: Flags) -> Self {
        let entity = self.token.flags().entity_type();
        self.token = self.token.with_flags(flags.with_entity_type(entity));
        self
    }

    /// Sets the entity type.
    #[must_use]
    pub fn entity_type(mut self, entity: EntityType) -> Self {
        self.token = self.token.with_flags(self.token.flags().with_entity_type(entity));
        self
    }

    /// Sets the domain, 0 to 15.
    #[must_use]
    pub fn domain(mut self, domain: u8) -> Self {
        if domain > 15 {
            self.fail(TokenError::Domain { value: domain });
            return self;
        }
        let word = self.token.words[HEAD] & !0xf000_0000;
        self.token.words[HEAD] = word | u64::from(domain) << 28;
        self
    }

    /// The token.
    ///
    /// Errors: the first value that was out of its range.
    pub fn build(self) -> Result<Token, TokenError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.token),
        }
    }

    fn fail(&mut self, error: TokenError) {
        self.error.get_or_insert(error);
    }
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

    fn sample() -> Token {
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
    fn the_exchange_image_has_each_field_at_its_place() {
        let image = sample().to_image_with_id(0x00ab_cdef);
        assert_eq!(image[..6], [100, 0, 0x06, 0xff, 0xff, 0x7f], "L1: 100, -250, 32767");
        assert_eq!(image[6..8], [0, 0x80], "undefined is i16::MIN");
        assert_eq!(image[48..52], [0xef, 0xcd, 0xab, 0x9a], "id 24 bits, entity 10, domain 9");
        assert_eq!(image[52..54], [0x03, 0x8a]);
        assert_eq!(image[54..58], 0.75f32.to_le_bytes());
        assert_eq!(image[58..60], [255, 255]);
        assert_eq!(image[60..64], [0x00, 0x21, 0x43, 0x65]);
        assert_eq!(Token::from_image(&image, ImageOptions::default()), Ok(sample()));
    }

    #[test]
    fn an_old_image_may_say_undefined_by_127() {
        let token =
            Token::builder().coordinates(Space::Physical, [1.27, 0.0, 0.0]).build().unwrap();
        let image = token.to_image();
        let strict = Token::from_image(&image, ImageOptions::default()).unwrap();
        assert_eq!(strict.coordinate(Space::Physical, 0), Some(1.27));
        let old = Token::from_image(
            &image,
            ImageOptions { undefined_127: true, ..ImageOptions::default() },
        )
        .unwrap();
        assert_eq!(old.coordinate(Space::Physical, 0), None);
    }

    #[test]
    fn ambiguous_coordinates_are_counted_whatever_is_made_of_them() {
        let token = Token::builder().coordinates(Space::Physical, [1.27, 1.27, 0.0]);
        let image = token.build().unwrap().to_image();
        for undefined_127 in [false, true] {
            let options = ImageOptions { undefined_127, ..ImageOptions::default() };
            assert_eq!(Token::from_image_counted(&image, options).unwrap().ambiguous, 2);
        }
    }

    #[test]
    fn a_temporal_z_of_thousandths_is_converted_both_ways() {
        let options = ImageOptions { temporal_z_1000: true, ..ImageOptions::default() };
        let at = |z| Token::builder().coordinates(Space::Temporal, [1.0, 2.0, z]).build().unwrap();
        for z in [0.0, 0.01, -12.34, 32.76, -32.76] {
            let image = at(z).to_image_with(7, options).unwrap();
            assert_eq!(Token::from_image(&image, options), Ok(at(z)), "{z}");
        }
        // 1.235 and 1.245 thousandths lie between two hundredths: to the even one.
        let mut image = at(1.23).to_image_with(0, options).unwrap();
        let place = (Space::Temporal as usize * 3 + 2) * 2;
        for (finer, hundredths) in [(1235i16, 124), (1245, 124), (1234, 123), (-1235, -124)] {
            image[place..place + 2].copy_from_slice(&finer.to_le_bytes());
            let token = Token::from_image(&image, options).unwrap();
            assert_eq!(token.raw(Space::Temporal, 2), hundredths, "{finer}");
        }
        let error = at(100.0).to_image_with(0, options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "coordinate 2 of Temporal is 100, expected -32.767 to 32.767"
        );
        let undefined = Token::builder().build().unwrap();
        let image = undefined.to_image_with(0, options).unwrap();
        assert_eq!(Token::from_image(&image, options), Ok(undefined));
    }

    #[test]
    fn a_token_and_its_flags_read_as_a_person_would_write_them() {
        let text = "Memory domain=9 weight=0.75 radius=2.55 strength=1.000 t=1698898176 \
                    flags=ACTIVE|PERSISTENT|USER_4 Physical=(1, -2.5, 327.67) Abstract=(0.5, 0, 3.2767)";
        assert_eq!(sample().to_string(), text);
        let flags = Flags::ACTIVE | Flags::DIRTY | Flags::USER_2;
        assert_eq!(flags.to_string().parse(), Ok(flags));
        assert_eq!((Flags::default().to_string().as_str(), "none".parse()), ("none", Ok(Flags(0))));
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

        #[test]
        fn any_64_bytes_are_a_token_or_refused_with_a_reason(low in proptest::array::uniform32(proptest::num::u8::ANY), high in proptest::array::uniform32(proptest::num::u8::ANY)) {
            let mut image = [0u8; 64];
            image[..32].copy_from_slice(&low);
            image[32..].copy_from_slice(&high);
            let weight = f32::from_le_bytes([image[54], image[55], image[56], image[57]]);
            match Token::from_image(&image, ImageOptions::default()) {
                Ok(token) => proptest::prop_assert!(weight >= 0.0 && token.weight() == weight),
                Err(error) => {
                    proptest::prop_assert!(!weight.is_finite() || weight < 0.0);
                    proptest::prop_assert!(error.to_string().starts_with("weight is "), "{}", error);
                }
            }
        }

        #[test]
        fn any_image_that_is_accepted_comes_back_byte_for_byte(bytes in proptest::array::uniform32(proptest::num::u8::ANY), weight in 0.0f32..=1.0) {
            let mut image = [0u8; 64];
            image[..32].copy_from_slice(&bytes);
            image[32..].copy_from_slice(&bytes);
            image[54..58].copy_from_slice(&weight.to_le_bytes());
            // The entity type stands twice in an image; make both agree.
            image[53] = image[53] & 0xf0 | image[51] & 0x0f;
            let id = u32::from_le_bytes([image[48], image[49], image[50], 0]);
            let token = Token::from_image(&image, ImageOptions::default()).unwrap();
            proptest::prop_assert_eq!(token.to_image_with_id(id), image);
            proptest::prop_assert_eq!(Token::from_words(token.to_words()), Ok(token));
        }
    }
}
