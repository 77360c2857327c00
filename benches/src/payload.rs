//! Tokens as the payloads of a log, 64 bytes each, and what is kept of those that are read back.

use std::ops::Range;

use bytes::{Buf, BufMut};

use crate::{
    subject::folded,
    tokens::{self, Checksum, Words},
};

pub(crate) type Payload = [u8; 64];

#[inline(always)]
pub(crate) fn payload(words: &Words) -> Payload {
    let mut payload = [0; 64];
    let mut room = &mut payload[..];
    words.iter().for_each(|word| room.put_u64_le(*word));
    payload
}

/// The payloads of `numbers` in order.
#[inline(always)]
pub(crate) fn stream(seed: u64, numbers: Range<u64>) -> impl Iterator<Item = Payload> {
    tokens::stream(seed, numbers).map(|token| payload(&token.to_words()))
}

/// What was read back from a log. Two are equal if the same records came in the same order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadBack {
    count: u64,
    /// Depends on the order, and costs next to nothing: what a timed reader does with a record.
    sum: u64,
    /// Without an order, and only where it was asked for: outside of a timed region.
    pub(crate) checksum: Option<Checksum>,
}

impl ReadBack {
    /// For a timed region: only counts and adds up.
    pub(crate) fn quick() -> ReadBack {
        ReadBack::default()
    }

    pub(crate) fn thorough() -> ReadBack {
        ReadBack { checksum: Some(Checksum::default()), ..ReadBack::default() }
    }

    /// What there should be.
    pub(crate) fn expected(self, seed: u64, numbers: Range<u64>) -> ReadBack {
        let mut expected = self;
        stream(seed, numbers).for_each(|payload| expected.add(&payload));
        expected
    }

    /// A record of another length counts as one that is not there.
    #[inline(always)]
    pub(crate) fn add(&mut self, mut payload: &[u8]) {
        if payload.len() != size_of::<Payload>() {
            return;
        }
        let words: Words = std::array::from_fn(|_| payload.get_u64_le());
        self.count += 1;
        self.sum = self.sum.rotate_left(1).wrapping_add(folded(&words));
        if let Some(checksum) = &mut self.checksum {
            checksum.add(&words);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(payloads: impl IntoIterator<Item = &'a Payload>) -> ReadBack {
        let mut read = ReadBack::thorough();
        payloads.into_iter().for_each(|payload| read.add(payload));
        read
    }

    #[test]
    fn what_is_read_back_shows_a_missing_changed_or_misplaced_record() {
        let good: Vec<Payload> = stream(1, 0..100).collect();
        let expected = ReadBack::thorough().expected(1, 0..100);
        assert_eq!(read(&good), expected);
        assert_ne!(read(&good[1..]), expected);
        assert_ne!(read(good.iter().rev()), expected);
        assert_eq!(read(good.iter().rev()).checksum, expected.checksum);
        let mut changed = good.clone();
        changed[7][63] ^= 1;
        assert_ne!(read(&changed), expected);
        let mut short = read(&good[1..]);
        short.add(&good[0][1..]);
        assert_eq!(short, read(&good[1..]));
    }
}
