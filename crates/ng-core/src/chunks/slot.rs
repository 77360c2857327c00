//! One slot: 64 bytes as eight atomic words, read by seqlock, written by one writer at a time.
//!
//! Word 6 is the head: its lower half is the stamp {version 8 bits, generation 20 bits, domain 4
//! bits}, its upper half the weight. The version's lowest bit says "being written", the
//! generation's lowest bit says "live". Legal moves of the head:
//!
//! ```text
//! dead g ──create──▶ live g+1 ──delete──▶ dead g+2 (or higher)
//! dead g ──begin──▶ dead g, writing ──▶ live g+1, or back to dead g
//! live g ──begin──▶ live g, writing ──▶ live g, version + 2, or back, or dead g+1
//! ```
//!
//! A reader accepts words only if the head was the same before and after, live, and not being
//! written. Two heads can only be equal with a write between them if version or generation went all
//! the way round, and before any such write the chunk's epoch rises; readers compare that too.

use crate::mutants;
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    fence,
};
use crate::token::words::{FLAGS, HEAD, Lines, TOKEN_PART, Words};
use crate::token::{Flags, Token};

/// The words beside the head. A model has one, so that all its schedules can be walked.
#[cfg(not(all(test, loom)))]
const BODY: [usize; 7] = [0, 1, 2, 3, 4, 5, 7];
#[cfg(all(test, loom))]
const BODY: [usize; 2] = [0, 1];
const WRITING: u64 = 1;
const VERSION_MASK: u64 = 0xff;
const GENERATION_SHIFT: u32 = 8;
const GENERATION_BITS: u32 = 20;
/// Largest generation that fits the stamp; above it the chunk's side table counts.
pub(crate) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;
const DOMAIN_MASK: u64 = 0xf000_0000;

const _: () = {
    assert!(GENERATION_SHIFT + GENERATION_BITS == 28, "the domain's 4 bits follow");
    assert!(DOMAIN_MASK & ((GENERATION_MASK as u64) << GENERATION_SHIFT | VERSION_MASK) == 0);
};

/// Word 6 as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head(pub(crate) u64);

impl Head {
    /// The stamp's share of the generation.
    #[inline(always)]
    pub(crate) fn generation_bits(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK
    }

    #[inline(always)]
    pub(crate) fn is_live(self) -> bool {
        self.0 >> GENERATION_SHIFT & 1 == 1
    }

    /// Live, and not being written.
    #[inline(always)]
    pub(crate) fn is_live_and_still(self) -> bool {
        self.0 & (1 << GENERATION_SHIFT | WRITING) == 1 << GENERATION_SHIFT
    }

    #[inline(always)]
    pub(crate) fn is_writing(self) -> bool {
        self.0 & WRITING != 0
    }

    /// The next finished version would be 0 again: the epoch must rise first.
    #[inline(always)]
    pub(crate) fn wraps_next(self) -> bool {
        self.0 & VERSION_MASK >= VERSION_MASK - 1
    }

    /// Head of a live token at version 0.
    #[inline(always)]
    pub(crate) fn live(generation_bits: u32, token_part: u64) -> Head {
        Head(token_part | u64::from(generation_bits) << GENERATION_SHIFT)
    }

    /// Head of a dead slot.
    #[inline(always)]
    pub(crate) fn dead(generation_bits: u32) -> Head {
        Head(u64::from(generation_bits) << GENERATION_SHIFT)
    }

    /// Stamp at version 0 of a generation above the base; of one that fits no stamp, what no head has.
    #[inline(always)]
    pub(crate) fn stamp(offset: u32) -> Head {
        Head(u64::from(offset) << GENERATION_SHIFT)
    }

    /// Has the generation of `stamp`, and is not being written?
    #[inline(always)]
    pub(crate) fn has(self, stamp: Head) -> bool {
        self.0 & (u64::from(GENERATION_MASK) << GENERATION_SHIFT | WRITING) == stamp.0
    }

    /// Stamp of the token that follows a dead slot: nothing but the next generation.
    #[inline(always)]
    pub(crate) fn next_stamp(self) -> Head {
        debug_assert!(self == Head::dead(self.generation_bits()) && !self.is_live());
        Head(self.0 + (1 << GENERATION_SHIFT))
    }

    /// The generation's place in an id, if this is a stamp alone.
    #[inline(always)]
    pub(crate) fn id_bits(self) -> u64 {
        self.0 << (32 - GENERATION_SHIFT)
    }

    #[inline(always)]
    fn writing(self) -> Head {
        Head(self.0 | WRITING)
    }

    /// Same token, next version, with the new domain and weight.
    #[inline(always)]
    fn next_version(self, token_part: u64) -> Head {
        let version = (self.0 & VERSION_MASK & !WRITING).wrapping_add(2) & VERSION_MASK;
        let generation = self.0 & u64::from(GENERATION_MASK) << GENERATION_SHIFT;
        Head(token_part | generation | version)
    }
}

/// The eight words.
#[repr(C, align(64))]
pub(crate) struct Slot {
    words: [AtomicU64; 8],
}

impl Default for Slot {
    fn default() -> Slot {
        Slot { words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

#[cfg(not(all(test, any(loom, shuttle))))]
const _: () = {
    assert!(size_of::<Slot>() == 64);
    assert!(align_of::<Slot>() == 64);
};

impl Slot {
    /// The head, ordered before later reads of the words.
    #[inline(always)]
    pub(crate) fn head(&self) -> Head {
        Head(self.words[HEAD].load(Acquire))
    }

    /// The head for a first look by its only owner.
    #[inline(always)]
    pub(crate) fn head_relaxed(&self) -> Head {
        Head(self.words[HEAD].load(Relaxed))
    }

    /// The token whose head was just read as `head`, if the head still is the same after its words.
    #[inline(always)]
    pub(crate) fn copy(&self, head: Head) -> Option<Lines> {
        let (after, lines) = self.load();
        (after == head).then_some(lines)
    }

    /// The token as it is, for who has the writing bit.
    pub(crate) fn current(&self) -> Token {
        Token::from_lines(self.load().1)
    }

    /// The token's flags, for who has the writing bit.
    #[inline(always)]
    pub(crate) fn flags(&self) -> Flags {
        Flags::from_bits(self.words[FLAGS].load(Relaxed) as u16)
    }

    /// Loads all words, the head last of them and ordered before later reads. Returns the head, and
    /// the token that it and the words are if nobody wrote meanwhile.
    ///
    /// A core can wait for some thirty loads at once, also where they want the same line. So the
    /// fewer loads a read takes, the more reads are on their way from memory together: four of 16
    /// bytes where the processor has them.
    #[cfg(all(target_arch = "x86_64", not(all(test, any(loom, shuttle)))))]
    #[inline(always)]
    fn load(&self) -> (Head, Lines) {
        use std::arch::asm;
        use std::arch::x86_64::{__m128i, _mm_and_si128, _mm_cvtsi128_si64, _mm_set_epi64x};
        let (a, b, c, d): (__m128i, __m128i, __m128i, __m128i);
        // SAFETY: reads the 64 aligned bytes of `self`. To the language each line is two relaxed loads
        // of atomic words. To the processor no load passes an earlier one, so the head, in the last
        // line, is read after the others; and the compiler moves the block across no other access,
        // since it may touch any memory.
        unsafe {
            asm!(
                "movdqa {a}, [{slot}]",
                "movdqa {b}, [{slot} + 16]",
                "movdqa {c}, [{slot} + 32]",
                "movdqa {d}, [{slot} + 48]",
                slot = in(reg) self,
                a = out(xmm_reg) a,
                b = out(xmm_reg) b,
                c = out(xmm_reg) c,
                d = out(xmm_reg) d,
                options(nostack, preserves_flags),
            );
        }
        // SAFETY: these belong to the instructions that every x86-64 has.
        let (head, d) = unsafe {
            (_mm_cvtsi128_si64(d) as u64, _mm_and_si128(d, _mm_set_epi64x(-1, TOKEN_PART as i64)))
        };
        (Head(head), [a, b, c, d])
    }

    /// Loads all words, the head last of them and ordered before later reads. Returns the head, and
    /// the token that it and the words are if nobody wrote meanwhile.
    #[cfg(not(all(target_arch = "x86_64", not(all(test, any(loom, shuttle))))))]
    #[inline(always)]
    fn load(&self) -> (Head, Lines) {
        let mut words = [0; 8];
        for i in BODY {
            words[i] = self.words[i].load(Relaxed);
        }
        fence(Acquire);
        let head = Head(self.words[HEAD].load(Acquire));
        words[HEAD] = head.0 & TOKEN_PART;
        (head, words)
    }

    /// Makes a token of a dead slot that only the caller holds, and whose head was `dead`. Returns its stamp.
    #[inline(always)]
    pub(crate) fn fill(&self, dead: Head, words: &Words) -> Head {
        debug_assert!(
            words[HEAD] & !TOKEN_PART == 0,
            "a token's words leave the stamp's bits clear"
        );
        self.store_words(words);
        let stamp = dead.next_stamp();
        self.words[HEAD].store(words[HEAD] | stamp.0, Release);
        stamp
    }

    /// The words of a token that nobody else can write. One by one, as they were stored a moment ago: a wider
    /// load would wait until those stores have left the core.
    #[inline(always)]
    pub(crate) fn words_just_stored(&self) -> Words {
        let mut words: Words = std::array::from_fn(|i| self.words[i].load(Relaxed));
        words[HEAD] &= TOKEN_PART;
        words
    }

    /// Marks a dead slot that only the caller holds as being written.
    pub(crate) fn begin_dead(&self, head: Head) {
        self.words[HEAD].store(head.writing().0, Release);
    }

    /// Takes the writing bit of a slot whose head still is `head`.
    ///
    /// The caller has just loaded `head`: a blind exchange would fault memory in that was given back.
    #[inline(always)]
    pub(crate) fn begin(&self, head: Head) -> bool {
        let marked = if mutants::on("core-writing-bit-skipped") { head } else { head.writing() };
        self.words[HEAD].compare_exchange(head.0, marked.0, AcqRel, Relaxed).is_ok()
    }

    /// Puts the head back as it was before `begin`: no word was changed.
    pub(crate) fn abort(&self, head: Head) {
        self.words[HEAD].store(head.0, Release);
    }

    /// Ends a write begun at `head` with new words.
    #[inline(always)]
    pub(crate) fn finish(&self, head: Head, words: &Words) {
        self.store_words(words);
        self.words[HEAD].store(head.next_version(words[HEAD] & TOKEN_PART).0, Release);
    }

    /// Ends a write begun at any head, or a restore, with a dead slot.
    #[inline(always)]
    pub(crate) fn kill(&self, generation_bits: u32) {
        self.words[HEAD].store(Head::dead(generation_bits).0, Release);
    }

    /// All words but the head, ordered after the head's last change.
    #[inline(always)]
    fn store_words(&self, words: &Words) {
        // A reader that sees one of the stores below and then fences also sees the head's change above.
        if !mutants::on("core-release-fence-dropped") {
            fence(Release);
        }
        for i in BODY {
            self.words[i].store(words[i], Relaxed);
        }
    }

    /// Recovery only, before anybody else sees the arena: a live token with this stamp.
    #[inline]
    pub(crate) fn restore(&self, words: &Words, generation_bits: u32) {
        self.store_words(words);
        let token_part = words[HEAD] & TOKEN_PART;
        self.words[HEAD].store(Head::live(generation_bits, token_part).0, Relaxed);
    }

    /// Recovery only: another stamp for the token that [`Slot::restore`] left.
    pub(crate) fn stamp_live(&self, generation_bits: u32) {
        let token_part = self.words[HEAD].load(Relaxed) & TOKEN_PART;
        self.words[HEAD].store(Head::live(generation_bits, token_part).0, Release);
    }

    /// As memory that went back to the kernel reads: zero, word by word. Who sees that sees all that was
    /// done before: the kernel interrupts each core that may have the page.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(crate) fn forget(&self) {
        fence(Release);
        for word in self.words.iter().filter(|word| word.load(Relaxed) != 0) {
            word.store(0, Relaxed);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_head_keeps_its_four_parts_apart() {
        let head = Head::live(GENERATION_MASK, 0x3f80_0000_f000_0000);
        assert!(head.is_live() && !head.is_writing());
        assert_eq!(head.generation_bits(), GENERATION_MASK);
        let next = head.next_version(0x4000_0000_1000_0000);
        assert_eq!(next.generation_bits(), GENERATION_MASK);
        assert_eq!(next.0 & TOKEN_PART, 0x4000_0000_1000_0000);
        assert_ne!(next.0 & VERSION_MASK, head.0 & VERSION_MASK);
        assert!(!Head::dead(2).is_live());
    }

    #[test]
    fn a_version_wraps_after_128_writes_and_says_so_one_write_before() {
        let mut head = Head::live(1, 0);
        for write in 1..=128 {
            assert_eq!(head.wraps_next(), write == 128, "write {write}");
            head = head.next_version(0);
        }
        assert_eq!(head, Head::live(1, 0));
    }
}
