//! The tokens: number i of a seed is always the same token, every field of it varies, and any order
//! of reading them back gives the same checksum.
//!
//! The idea: two multiplications make 128 mixed bits of (seed, i); rotations of them fill the 512.
//! That is cheap enough to stand inside a timed loop, and its cost is measured and printed.

use std::fmt;
use std::ops::Range;

use neurograph::Token;

/// PERSISTENT: set on each marked token and on no other.
const MARK: u64 = 0x0002;
/// ACTIVE: every token is.
const ACTIVE: u64 = 0x0001;
/// Flags that vary: all but ACTIVE, PERSISTENT and LOCKED (which would forbid eviction).
const VARYING_FLAGS: u64 = 0xff7c;

/// Odd constants with bits set all over; taken from the digits of the golden ratio, pi and e.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const PI: u64 = 0x2437_54a8_885a_308d;
const E: u64 = 0xb7e1_5162_8aed_2a6b;

/// A seeded, endless, repeatable sequence of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    seed: u64,
    persist: u64,
}

impl Workload {
    /// The sequence of `seed`; each token whose number divides by `persist` is marked PERSISTENT.
    pub fn new(seed: u64, persist: u64) -> Self {
        Self { seed: fold(seed ^ PI, GOLDEN), persist }
    }

    /// Token number `number`.
    pub fn token(&self, number: u64) -> Token {
        token(self.seed, number, number.is_multiple_of(self.persist))
    }

    /// The tokens of a range of numbers, in order.
    pub fn stream(&self, numbers: Range<u64>) -> Stream {
        let until_mark = numbers.start.next_multiple_of(self.persist) - numbers.start;
        Stream { seed: self.seed, persist: self.persist, numbers, until_mark }
    }
}

/// Tokens in order; counts down to the next mark where a division would cost more than the token.
#[derive(Clone, Debug)]
pub struct Stream {
    seed: u64,
    persist: u64,
    numbers: Range<u64>,
    until_mark: u64,
}

impl Stream {
    /// Number of the token that came last.
    pub fn last_number(&self) -> u64 {
        self.numbers.start.saturating_sub(1)
    }
}

impl Iterator for Stream {
    type Item = Token;

    #[inline(always)]
    fn next(&mut self) -> Option<Token> {
        let number = self.numbers.next()?;
        let marked = self.until_mark == 0;
        self.until_mark = if marked { self.persist - 1 } else { self.until_mark - 1 };
        Some(token(self.seed, number, marked))
    }
}

#[inline(always)]
fn token(seed: u64, number: u64, marked: bool) -> Token {
    let a = fold(number.wrapping_mul(GOLDEN) ^ seed, PI);
    let b = fold(a ^ E, number ^ GOLDEN);
    // Four coordinates a word; the lowest bit of each is set, so that none is i16::MIN (undefined).
    let coordinates =
        |x: u32, y: u32| (a.rotate_left(x) ^ b.rotate_left(y)) | 0x0001_0001_0001_0001;
    let weight = (b >> 40) as f32 / (1_u64 << 24) as f32;
    let domain = (a >> 60) << 28;
    let mark = if marked { MARK } else { 0 };
    let flags = (a & VARYING_FLAGS) | ACTIVE | mark;
    let field = (b & 0xffff) << 16;
    // From 2017 on for 17 years; never 0, which a store would replace by its own clock.
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

/// What a set of tokens adds up to, in whatever order they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Tokens.
    pub count: u64,
    /// Sum of their hashes: a token twice shows here.
    sum: u64,
    /// Exclusive or of their hashes: two errors do not cancel in both.
    xor: u64,
}

impl Checksum {
    /// Adds one token.
    pub fn add(&mut self, token: &Token) {
        let hash = hash(token);
        self.count += 1;
        self.sum = self.sum.wrapping_add(hash);
        self.xor ^= hash;
    }

    /// Takes one token back out.
    pub fn remove(&mut self, token: &Token) {
        let hash = hash(token);
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(hash);
        self.xor ^= hash;
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens, sum {:016x}, xor {:016x}", self.count, self.sum, self.xor)
    }
}

impl FromIterator<Token> for Checksum {
    fn from_iter<I: IntoIterator<Item = Token>>(tokens: I) -> Self {
        let mut checksum = Self::default();
        tokens.into_iter().for_each(|token| checksum.add(&token));
        checksum
    }
}

/// All 64 bytes, and the place of each word in them.
pub fn hash(token: &Token) -> u64 {
    let words = token.to_words();
    let pairs = [GOLDEN, PI, E, GOLDEN ^ PI];
    words
        .chunks_exact(2)
        .zip(pairs)
        .fold(0, |hash, (pair, key)| fold(pair[0] ^ key ^ hash, pair[1] ^ key.rotate_left(32)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use neurograph::core::{Flags, Space};

    use super::*;

    #[test]
    fn every_field_varies_and_stays_valid() {
        let tokens: Vec<Token> = Workload::new(7, 1000).stream(0..4096).collect();
        let different =
            |field: &dyn Fn(&Token) -> u64| tokens.iter().map(field).collect::<HashSet<_>>().len();
        for space in Space::ALL {
            for axis in 0..3 {
                assert!(different(&|t| t.raw(space, axis) as u64) > 3000, "{space:?} {axis}");
                assert!(tokens.iter().all(|t| t.coordinate(space, axis).is_some()));
            }
        }
        assert!(different(&|t| u64::from(t.weight().to_bits())) > 3000);
        assert!(different(&|t| u64::from(t.radius().to_bits())) > 200);
        assert!(different(&|t| u64::from(t.raw_strength())) > 200);
        assert!(different(&|t| u64::from(t.timestamp())) > 3000);
        assert_eq!(different(&|t| u64::from(t.domain())), 16);
        assert_eq!(different(&|t| t.flags().entity_type() as u64), 16);
        assert!(different(&|t| u64::from(t.flags().bits())) > 2000);
        assert!(tokens.iter().all(|t| t.timestamp() != 0));
        assert!(tokens.iter().all(|t| !t.flags().contains(Flags::LOCKED)));
        assert_eq!(different(&hash), 4096);
    }

    #[test]
    fn each_nth_token_is_marked_and_no_other_wherever_a_stream_begins() {
        let workload = Workload::new(1, 10);
        for start in [0, 1, 9, 10, 11] {
            for (token, number) in workload.stream(start..start + 40).zip(start..) {
                assert_eq!(token.flags().contains(Flags::PERSISTENT), number % 10 == 0, "{number}");
                assert_eq!(token, workload.token(number));
            }
        }
        let every = Workload::new(1, 1);
        assert!(every.stream(0..50).all(|t| t.flags().contains(Flags::PERSISTENT)));
    }

    #[test]
    fn the_checksum_ignores_order_and_sees_any_other_change() {
        let workload = Workload::new(3, 1000);
        let checksum = |numbers| -> Checksum { workload.stream(numbers).collect() };
        let sum = checksum(0..100);
        let tokens: Vec<Token> = workload.stream(0..100).collect();
        assert_eq!(sum, tokens.iter().rev().copied().collect());
        assert_ne!(sum, tokens[1..].iter().copied().collect());
        assert_ne!(sum, checksum(1..101));
        let mut doubled = tokens.clone();
        doubled[0] = doubled[1];
        assert_ne!(sum, doubled.iter().copied().collect());
        let mut changed = tokens;
        changed[5] = changed[5].with_timestamp(changed[5].timestamp() ^ 1);
        assert_ne!(sum, changed.iter().copied().collect());
    }

    #[test]
    fn another_seed_gives_other_tokens() {
        assert_ne!(Workload::new(1, 10).token(5), Workload::new(2, 10).token(5));
    }
}
