//! Fresh memory straight from the kernel, advised for huge pages: what the floors write to. Given back when dropped.

use std::{ffi::c_void, io, ptr::NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::tokens::Words;

/// A huge page of x86-64, and of aarch64 with 4 KiB base pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Room for tokens, never written before, aligned to huge pages.
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    mapped_bytes: usize,
    first: NonNull<Words>,
    tokens: usize,
}

impl Mapping {
    pub(crate) fn new(tokens: u64) -> io::Result<Mapping> {
        let tokens = usize::try_from(tokens).map_err(io::Error::other)?;
        // One page more than needed, so that an aligned start can be chosen.
        let mapped_bytes =
            (tokens * size_of::<Words>()).next_multiple_of(HUGE_PAGE_BYTES) + HUGE_PAGE_BYTES;
        let (protection, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::NORESERVE);
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let base =
            unsafe { mmap_anonymous(std::ptr::null_mut(), mapped_bytes, protection, flags)? };
        // SAFETY: the range is the mapping just made; advice does not change its contents. A kernel without huge pages
        // refuses, and the floor is then that of small pages, which the report shows as `thp`.
        let _ = unsafe { madvise(base, mapped_bytes, Advice::LinuxHugepage) };
        let offset = base.addr().next_multiple_of(HUGE_PAGE_BYTES) - base.addr();
        // SAFETY: `offset` is below HUGE_PAGE_BYTES, by which the mapping is longer than needed.
        let first = unsafe { base.byte_add(offset) }.cast();
        let null = || io::Error::other("a mapping at address 0");
        Ok(Mapping {
            base: NonNull::new(base).ok_or_else(null)?,
            mapped_bytes,
            first: NonNull::new(first).ok_or_else(null)?,
            tokens,
        })
    }

    /// Has the host of a virtual machine back as much memory as `tokens` take anywhere, a quarter more than here, and
    /// gives it back to the kernel at once. Before each row alike: a guest that reports its free pages loses them
    /// to the host at any pause, and the first touch after it would be charged to the row. See docs/decisions/0002.
    pub(crate) fn back(tokens: u64) -> io::Result<()> {
        let mapping = Mapping::new(tokens + tokens / 4)?;
        // SAFETY: the range is the mapping just made; populating it keeps its zeroes. A kernel before 5.14 refuses,
        // and rows are then as noisy as their host makes them.
        let _ = unsafe {
            madvise(mapping.base.as_ptr(), mapping.mapped_bytes, Advice::LinuxPopulateWrite)
        };
        Ok(())
    }

    /// The memory as tokens, zero at first. Touches nothing.
    pub(crate) fn tokens(&mut self) -> &mut [Words] {
        // SAFETY: `new` mapped at least `tokens` of them from `first` on, zero bytes are valid words, `first` is aligned
        // to a huge page, and the exclusive borrow of `self` keeps every other reference away.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.tokens) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`, and no borrow of it outlives `self`.
        let _ = unsafe { munmap(self.base.as_ptr(), self.mapped_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zero_aligned_and_holds_what_is_written_to_its_ends() {
        let mut mapping = Mapping::new(100_000).unwrap();
        let tokens = mapping.tokens();
        assert_eq!((tokens.len(), tokens.as_ptr().addr() % HUGE_PAGE_BYTES), (100_000, 0));
        assert_eq!((tokens[0], tokens[99_999]), ([0; 8], [0; 8]));
        (tokens[0], tokens[99_999]) = ([1; 8], [2; 8]);
        assert_eq!((mapping.tokens()[0], mapping.tokens()[99_999]), ([1; 8], [2; 8]));
    }
}
