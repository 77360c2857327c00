//! Memory that is fresh: in huge pages, filled by plain stores, given back and fresh again.

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::thread;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::failure::Failure;
use crate::plan::TOKEN_BYTES;
use crate::workload::Workload;

/// A huge page of x86-64, and of aarch64 with 4 KiB base pages.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Fresh anonymous memory, advised for huge pages and aligned to them.
#[derive(Debug)]
pub struct Fresh {
    base: NonNull<c_void>,
    mapped_bytes: usize,
    aligned: NonNull<[u64; 8]>,
    tokens: u64,
}

// SAFETY: the mapping is this value's alone, and belongs to no thread.
unsafe impl Send for Fresh {}

impl Fresh {
    /// Reserves addresses for so many tokens; memory comes with the stores.
    pub fn map(tokens: u64) -> Result<Self, Failure> {
        // One page more than needed, so that an aligned start can be chosen.
        let mapped_bytes = usize::try_from(tokens * TOKEN_BYTES)
            .map_err(|_| Failure::Broken(format!("{tokens} tokens exceed the address space")))?
            .next_multiple_of(HUGE_PAGE_BYTES)
            + HUGE_PAGE_BYTES;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapped_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        };
        let base = base.map_err(|e| Failure::Environment(format!("cannot map memory: {e}")))?;
        // SAFETY: the range is the mapping just made; advice does not change its contents. A kernel
        // without huge pages refuses, and the floor is then that of small pages.
        let _ = unsafe { madvise(base, mapped_bytes, Advice::LinuxHugepage) };
        let offset = base.addr().next_multiple_of(HUGE_PAGE_BYTES) - base.addr();
        // SAFETY: `offset` is below HUGE_PAGE_BYTES, by which the mapping is longer than needed.
        let aligned = unsafe { base.byte_add(offset) }.cast();
        let null = || Failure::Broken("a mapping at address 0".into());
        Ok(Self {
            base: NonNull::new(base).ok_or_else(null)?,
            mapped_bytes,
            aligned: NonNull::new(aligned).ok_or_else(null)?,
            tokens,
        })
    }

    /// Takes the memory on all cores.
    pub fn populate(&mut self) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let share = self.mapped_bytes.div_ceil(cores).next_multiple_of(HUGE_PAGE_BYTES);
        let base = self.base.as_ptr().expose_provenance();
        thread::scope(|scope| {
            for start in (0..self.mapped_bytes).step_by(share) {
                let bytes = share.min(self.mapped_bytes - start);
                let take = move || populate(base + start, bytes);
                if thread::Builder::new().spawn_scoped(scope, take).is_err() {
                    // No thread to be had: slower, and the same in the end.
                    take();
                }
            }
        });
    }

    /// Stores the tokens `numbers`, each in its own place.
    pub fn fill(&mut self, numbers: Range<u64>, workload: &Workload) {
        assert!(numbers.end <= self.tokens, "{numbers:?} go beyond the {} mapped", self.tokens);
        // SAFETY: `map` made room for `tokens` words of 64 bytes from `aligned` on.
        let mut slot = unsafe { self.aligned.as_ptr().add(numbers.start as usize) };
        for token in workload.stream(numbers) {
            // SAFETY: the numbers end within that room, and nobody else knows this memory.
            unsafe {
                slot.write(token.to_words());
                slot = slot.add(1);
            }
        }
    }

    /// Gives the memory back to the kernel and keeps the addresses: it is fresh again.
    pub fn give_back(&mut self) {
        // SAFETY: the range is the mapping made in `map`; no reference into it exists, and what is
        // read there later are zeroes.
        let given =
            unsafe { madvise(self.base.as_ptr(), self.mapped_bytes, Advice::LinuxDontNeed) };
        debug_assert!(given.is_ok(), "a private mapping can be given back: {given:?}");
    }
}

/// Maps `bytes` of addresses as an arena reserves them, and gives them back.
pub fn try_addresses(bytes: u64) -> std::io::Result<()> {
    let bytes = usize::try_from(bytes).map_err(std::io::Error::other)?;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new private mapping at an address of the kernel's choice overlaps nothing.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, protection, flags)? };
    // SAFETY: exactly the mapping just made, which nobody else knows.
    unsafe { munmap(base, bytes)? };
    Ok(())
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`, and no reference into it exists.
        let _ = unsafe { munmap(self.base.as_ptr(), self.mapped_bytes) };
    }
}

/// Takes the pages of a part of a [`Fresh`].
fn populate(address: usize, bytes: usize) {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(address);
    // SAFETY: the range lies in the mapping whose owner waits for this; populating keeps its zeroes.
    if unsafe { madvise(start, bytes, Advice::LinuxPopulateWrite) }.is_err() {
        // A kernel before 5.14: one byte of each small page.
        for offset in (0..bytes).step_by(4096) {
            // SAFETY: as above, and `offset` lies inside the range.
            unsafe { start.cast::<u8>().add(offset).write_volatile(0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_in_its_place_and_gone_once_the_memory_is_given_back() {
        let workload = Workload::new(1, 1000);
        let mut fresh = Fresh::map(10_000).expect("mapped");
        fresh.fill(0..5_000, &workload);
        fresh.fill(5_000..10_000, &workload);
        for number in [0, 1, 5_000, 9_999] {
            // SAFETY: `number` is below the 10,000 that were mapped and filled.
            let words = unsafe { fresh.aligned.as_ptr().add(number).read() };
            assert_eq!(words, workload.token(number as u64).to_words());
        }
        fresh.give_back();
        // SAFETY: the first of the 10,000 that were mapped; fresh memory is zero.
        assert_eq!(unsafe { fresh.aligned.as_ptr().read() }, [0; 8]);
    }
}
