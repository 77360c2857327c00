//! Making a token from numbers: each is rounded to its step and held against its range.

use crate::token::words::HEAD;
use crate::token::{EntityType, Flags, Space, Token, TokenError, UNDEFINED};

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
    pub(super) fn new() -> TokenBuilder {
        let undefined = u64::from(UNDEFINED as u16);
        let four = undefined << 48 | undefined << 32 | undefined << 16 | undefined;
        let mut words = [four; 8];
        (words[6], words[7]) = (0, u64::from(Flags::ACTIVE.bits()));
        TokenBuilder { token: Token { words }, error: None }
    }

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
        self.with_weight(crate::token::decoded_weight(value))
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

/// A weight that the builder takes: 0 to 1, −0 being 0.
fn built_weight(value: f32) -> Result<f32, TokenError> {
    // NaN is in no range. Adding 0 makes −0 a 0, and changes nothing else.
    if (0.0..=1.0).contains(&value) { Ok(value + 0.0) } else { Err(TokenError::Weight { value }) }
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
