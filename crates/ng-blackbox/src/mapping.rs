//! Memory that outlives its process: a shared mapping of a file, or an anonymous one. All unsafe is here.
//!
//! A file that somebody else cuts while it is mapped ends the process with SIGBUS at the next store
//! beyond the cut. The lock keeps other recorders away, nothing keeps `truncate` away.

use std::{fs::File, io, ptr::NonNull};

use rustix::mm::{self, MapFlags, MsyncFlags, ProtFlags};

use crate::sync::AtomicU64;

#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
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
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel choose an address that nothing else uses.
        let base = unsafe {
            mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
                file,
                0,
            )?
        };
        Mapping::new(base.cast(), bytes)
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
        Ok(Mapping { base, words: bytes / size_of::<AtomicU64>() })
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `base` starts a live mapping of `words` words, page-aligned and readable and
        // writable until `drop`, which needs `&mut self`; any bytes are a valid `AtomicU64`. Other
        // processes that map the file are kept away by the recorder's lock.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }

    /// Waits until the first `bytes` are on the disk; does nothing for anonymous memory.
    pub(crate) fn flush_start(&self, bytes: usize) -> io::Result<()> {
        let bytes = bytes.min(self.bytes());
        // SAFETY: the range lies in this mapping, and msync changes no memory.
        unsafe { mm::msync(self.base.as_ptr().cast(), bytes, MsyncFlags::SYNC) }?;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.words * size_of::<AtomicU64>()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` got this very range from the kernel, and `&mut self` proves that no slice
        // from `words` is left. It can fail only for a bad range, and then nothing is unmapped.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.bytes()) };
    }
}
