//! `TokenId`: a slot and the generation that makes it unique. A stale id never resolves to another token.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Names one token for as long as the store lives, and across its restarts.
///
/// Made of the slot's index (counted from 0) and the slot's generation, which is odd while a token
/// lives there. So no id is zero, and `Option<TokenId>` takes 8 bytes.
///
/// Text form: 16 hexadecimal digits, generation first: `0000000100000000` is slot 0, generation 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId(NonZeroU64);

const _: () = {
    assert!(size_of::<TokenId>() == 8);
    assert!(size_of::<Option<TokenId>>() == 8);
};

/// A text or number that is no token id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Not 16 lower-case hexadecimal digits.
    #[error("token id {text:?} is not 16 lower-case hexadecimal digits")]
    Text {
        /// What was given.
        text: String,
    },
    /// The generation is even: no token ever had this id.
    #[error(
        "token id {raw:016x} has the even generation {generation}; ids of tokens are odd there"
    )]
    Generation {
        /// The whole number.
        raw: u64,
        /// Its upper half.
        generation: u32,
    },
}

impl TokenId {
    /// From its parts. `None` if the generation is even, which no token's is.
    pub const fn new(slot: u32, generation: u32) -> Option<TokenId> {
        if generation & 1 == 0 {
            return None;
        }
        match NonZeroU64::new((generation as u64) << 32 | slot as u64) {
            Some(raw) => Some(TokenId(raw)),
            None => None,
        }
    }

    /// From the number that [`TokenId::to_u64`] gave.
    ///
    /// Errors: an even generation.
    #[inline]
    pub fn from_u64(raw: u64) -> Result<TokenId, ParseIdError> {
        let (slot, generation) = (raw as u32, (raw >> 32) as u32);
        TokenId::new(slot, generation).ok_or(ParseIdError::Generation { raw, generation })
    }

    /// The id as one number: generation in the upper half, slot in the lower.
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// Index of the slot, counted from 0.
    pub const fn slot(self) -> u32 {
        self.0.get() as u32
    }

    /// Generation of the slot. Always odd.
    pub const fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    /// The caller knows that `generation` is odd: it has just made a token of it.
    #[inline(always)]
    pub(crate) fn of_live(slot: u32, generation: u32) -> TokenId {
        TokenId::of_live_raw(u64::from(generation) << 32 | u64::from(slot))
    }

    /// As [`TokenId::of_live`], from the whole number.
    #[inline(always)]
    pub(crate) fn of_live_raw(raw: u64) -> TokenId {
        debug_assert!(raw >> 32 & 1 == 1, "a live slot has an odd generation");
        // SAFETY: the callers' generation is odd, so the number is not zero.
        TokenId(unsafe { NonZeroU64::new_unchecked(raw) })
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.get())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({}@{})", self.slot(), self.generation())
    }
}

impl FromStr for TokenId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<TokenId, ParseIdError> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 16 || !digits {
            return Err(ParseIdError::Text { text: text.chars().take(64).collect() });
        }
        let raw = u64::from_str_radix(text, 16)
            .map_err(|_| ParseIdError::Text { text: text.to_string() })?;
        TokenId::from_u64(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        for (slot, generation) in [(0, 1), (7, 3), (u32::MAX, u32::MAX), (1 << 31, 0x8000_0001)] {
            let id = TokenId::new(slot, generation).unwrap();
            assert_eq!((id.slot(), id.generation()), (slot, generation));
            assert_eq!(id.to_string().parse::<TokenId>(), Ok(id));
            assert_eq!(TokenId::from_u64(id.to_u64()), Ok(id));
            assert_eq!(TokenId::of_live(slot, generation), id);
        }
    }

    #[test]
    fn texts_and_numbers_that_no_token_has_are_refused() {
        assert!(TokenId::new(3, 2).is_none());
        assert!(matches!(
            TokenId::from_u64(9),
            Err(ParseIdError::Generation { raw: 9, generation: 0 })
        ));
        for text in [
            "",
            "1",
            "000000010000000",
            "00000001000000000",
            "000000010000000G",
            "+000000100000000",
            "0000000A00000001",
        ] {
            assert!(matches!(text.parse::<TokenId>(), Err(ParseIdError::Text { .. })), "{text:?}");
        }
    }
}
