//! Memory that outlives its process: a shared mapping of a file, or an anonymous one.
//!
//! A file that somebody else cuts while it is mapped ends the process with SIGBUS at the next store
//! beyond the cut, unless the bus guard stands. The lock keeps other recorders away, nothing keeps
//! `truncate` away.

use std::{
    fs::File,
    io::{self, Write},
    ptr::NonNull,
};

use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

use crate::{
    bus_guard::{self, Place},
    format,
    sync::{AtomicU64, Ordering},
};

/// What goes to a dump at a time: it stands on the stack of a thread that panics.
const DUMP_WORDS: usize = 512;

#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
    /// Where the bus guard knows it from; none for memory without a file.
    place: Option<Place>,
}

// SAFETY: the mapping belongs to no thread: it is unmapped by `drop` alone, and `words` hands out
// nothing but atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; all access through `&Mapping` is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of a file whose blocks are allocated already, so that no store can
    /// find the disk full.
    pub(crate) fn of_file(file: &File, bytes: usize) -> io::Result<Mapping> {
        // SAFETY: a null hint lets the kernel choose an address that nothing else uses.
        let base = unsafe {
            mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        let mut mapping = Mapping::new(base.cast(), bytes)?;
        mapping.place = bus_guard::watch(base.addr(), bytes);
        // Until `populate` each touch brings its own page, and not all those around it: the first few take
        // microseconds and not a millisecond.
        mapping.advise(mm::Advice::Random);
        Ok(mapping)
    }

    /// A hint: what the mapping holds stays.
    fn advise(&self, advice: mm::Advice) {
        // SAFETY: the range lies in this mapping; nobody calls this with advice that drops or frees pages.
        let _hint = unsafe { mm::madvise(self.base.as_ptr().cast(), self.bytes(), advice) };
    }

    /// Zeroed memory of this process.
    pub(crate) fn anonymous(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: a null hint lets the kernel choose an address that nothing else uses.
        let base = unsafe {
            mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        Mapping::new(base.cast(), bytes)
    }

    fn new(base: *mut AtomicU64, bytes: usize) -> io::Result<Mapping> {
        let base = NonNull::new(base).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapping { base, words: bytes / size_of::<AtomicU64>(), place: None })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `base` starts a live mapping of `words` words, page-aligned and readable and
        // writable until `drop`, which needs `&mut self`; any bytes are a valid `AtomicU64`. Other
        // processes that map the file are kept away by the recorder's lock.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }

    /// Brings all of its pages into memory, so that no event has to wait for one; takes milliseconds.
    /// Where the kernel can't (Linux before 5.14), they come as events need them.
    pub(crate) fn populate(&self) {
        self.advise(mm::Advice::Normal);
        #[cfg(target_os = "linux")]
        self.advise(mm::Advice::LinuxPopulateRead);
    }

    /// Waits until the first `bytes` are on the disk; does nothing for anonymous memory.
    pub(crate) fn flush_start(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min(self.bytes());
        // SAFETY: the range lies in this mapping, and msync changes no memory.
        unsafe { mm::msync(self.base.as_ptr().cast(), bytes, MsyncFlags::SYNC) }?;
        Ok(())
    }

    /// How many pages of the file were lost to it and are memory of this process since.
    pub(crate) fn lost_pages(&self) -> u64 {
        self.place.as_ref().map_or(0, Place::lost_pages)
    }

    /// Writes all of it, without an allocation.
    pub(crate) fn write_to(&self, mut file: &File) -> io::Result<()> {
        for words in self.words().chunks(DUMP_WORDS) {
            let mut bytes = [0; DUMP_WORDS * size_of::<u64>()];
            for (to, word) in bytes.chunks_exact_mut(size_of::<u64>()).zip(words) {
                to.copy_from_slice(&format::bytes_of(word.load(Ordering::Acquire)));
            }
            file.write_all(&bytes[..size_of_val(words)])?;
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words * size_of::<AtomicU64>()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the range is anybody else's.
        self.place = None;
        // SAFETY: `new` got this very range from the kernel, and `&mut self` proves that no slice
        // from `words` is left. It can fail only for a bad range, and then nothing is unmapped.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.bytes()) };
    }
}
