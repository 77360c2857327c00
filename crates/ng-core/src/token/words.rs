//! Which word of a token is which, and the forms in which a slot takes and gives them.

/// Words of a token. Word 6 holds the head, so only its domain and weight are the token's.
pub(crate) type Words = [u64; 8];

/// A token as a reader loads it.
#[cfg(all(target_arch = "x86_64", not(all(test, any(loom, shuttle)))))]
pub(crate) type Lines = [std::arch::x86_64::__m128i; 4];
/// A token as a reader loads it.
#[cfg(not(all(target_arch = "x86_64", not(all(test, any(loom, shuttle))))))]
pub(crate) type Lines = Words;

/// The word that holds the head.
pub(crate) const HEAD: usize = 6;
/// The word whose lowest bits are the flags.
pub(crate) const FLAGS: usize = 7;
/// What of word 6 belongs to the token: its domain and its weight.
pub(crate) const TOKEN_PART: u64 = 0xffff_ffff_f000_0000;
