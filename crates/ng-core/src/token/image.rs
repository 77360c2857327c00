//! The v2.0 exchange image: the only file of this crate that knows bytes.

use crate::token::{EntityType, Flags, Space, Token, TokenError, UNDEFINED, decoded_weight};

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

/// A token from an image; see [`Token::from_image_counted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The token.
    pub token: Token,
    /// Coordinates that were 127: a value, or "undefined" to an old writer. Counted whatever the options say.
    pub ambiguous: u32,
}

/// Steps of the finer temporal Z in one of a token's.
const TEMPORAL_Z_STEPS: i32 = 10;

impl Token {
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
        let flags = Flags::from_bits(u16::from_le_bytes([image[52], image[53]]))
            .with_entity_type(EntityType::ALL[(id >> 24 & 0xf) as usize]);
        let weight = f32::from_le_bytes([image[54], image[55], image[56], image[57]]);
        let weight = decoded_weight(weight)?;
        let seconds = u32::from_le_bytes([image[60], image[61], image[62], image[63]]);
        words[6] = u64::from(id >> 28) << 28 | u64::from(weight.to_bits()) << 32;
        words[7] = u64::from(flags.bits())
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
}

fn all_axes() -> impl Iterator<Item = (Space, usize)> {
    Space::ALL.into_iter().flat_map(|space| (0..3).map(move |axis| (space, axis)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::sample;

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

    proptest::proptest! {
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
