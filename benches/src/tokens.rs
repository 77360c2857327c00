//! The tokens that every row writes: number i of a seed is always the same, and every field of it varies. The same
//! arithmetic as the stress suite's workload, repeated here because programs do not import each other.

use std::ops::Range;

use ng_core::Token;

/// One token as plain words.
pub(crate) type Words = [u64; 8];

/// ACTIVE, which every token has.
const ACTIVE: u64 = 0x0001;
/// All flags but ACTIVE, PERSISTENT and LOCKED.
const VARYING_FLAGS: u64 = 0xff7c;

/// Odd constants with bits set all over; taken from the digits of the golden ratio, pi and e.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const PI: u64 = 0x2437_54a8_885a_308d;
const E: u64 = 0xb7e1_5162_8aed_2a6b;

/// The tokens of `numbers` in order.
#[inline(always)]
pub(crate) fn stream(seed: u64, numbers: Range<u64>) -> impl Iterator<Item = Token> {
    let seed = fold(seed ^ PI, GOLDEN);
    numbers.map(move |number| token(seed, number))
}

/// The token of one number.
pub(crate) fn one(seed: u64, number: u64) -> Token {
    token(fold(seed ^ PI, GOLDEN), number)
}

/// What the tokens of `numbers` add up to, in whatever order they are read back.
pub(crate) fn checksum(seed: u64, numbers: Range<u64>) -> Checksum {
    stream(seed, numbers).map(|token| token.to_words()).collect()
}

#[inline(always)]
fn token(seed: u64, number: u64) -> Token {
    let a = fold(number.wrapping_mul(GOLDEN) ^ seed, PI);
    let b = fold(a ^ E, number ^ GOLDEN);
    // Four coordinates a word; the lowest bit of each is set, so that none is i16::MIN (undefined).
    let coordinates =
        |x: u32, y: u32| (a.rotate_left(x) ^ b.rotate_left(y)) | 0x0001_0001_0001_0001;
    let weight = (b >> 40) as f32 / (1_u64 << 24) as f32;
    let domain = (a >> 60) << 28;
    let flags = (a & VARYING_FLAGS) | ACTIVE;
    let field = (b & 0xffff) << 16;
    let seconds = 1_500_000_000 + ((a >> 20) & 0x1fff_ffff);
    let words = [
        coordinates(0, 17),
        coordinates(7, 41),
        coordinates(19, 3),
        coordinates(29, 53),
        coordinates(37, 11),
        coordinates(47, 23),
        domain | u64::from(weight.to_bits()) << 32,
        flags | field | seconds << 32,
    ];
    Token::from_words(words).expect("masked to a valid token")
}

/// Multiplies to 128 bits and folds the halves: each bit of the result depends on all of both.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ (wide >> 64) as u64
}

/// Count and two sums over all words: no order, but a missing, doubled or changed token shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checksum {
    count: u64,
    sum: u64,
    xor: u64,
}

impl Checksum {
    pub(crate) fn add(&mut self, words: &Words) {
        let pairs = [GOLDEN, PI, E, GOLDEN ^ PI];
        let hash = words
            .chunks_exact(2)
            .zip(pairs)
            .fold(0, |hash, (pair, key)| fold(pair[0] ^ key ^ hash, pair[1] ^ key.rotate_left(32)));
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.xor ^= hash;
    }
}

impl FromIterator<Words> for Checksum {
    fn from_iter<I: IntoIterator<Item = Words>>(tokens: I) -> Checksum {
        let mut checksum = Checksum::default();
        for words in tokens {
            checksum.add(&words);
        }
        checksum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_repeat_for_a_seed_and_differ_between_numbers_and_seeds() {
        let words = |seed| stream(seed, 0..100).map(|token| token.to_words()).collect::<Vec<_>>();
        assert_eq!(words(1), words(1));
        for (index, token) in words(1).iter().enumerate() {
            assert!(!words(1)[..index].contains(token) && !words(2).contains(token));
        }
    }

    #[test]
    fn the_checksum_ignores_order_and_sees_a_missing_doubled_or_changed_token() {
        let good: Vec<Words> = stream(1, 0..100).map(|token| token.to_words()).collect();
        let of = |tokens: &[Words]| tokens.iter().copied().collect::<Checksum>();
        let mut reversed = good.clone();
        reversed.reverse();
        assert_eq!(of(&reversed), checksum(1, 0..100));
        let mut changed = good.clone();
        changed[7][3] ^= 1;
        let mut doubled = good.clone();
        doubled[0] = doubled[1];
        for bad in [&changed, &doubled, &good[1..].to_vec()] {
            assert_ne!(of(bad), checksum(1, 0..100));
        }
    }
}
