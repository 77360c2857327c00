//! One reservation of address space, read-write from the start; memory comes with the first touch and goes back by chunk.
//!
//! It stays mapped for the arena's life, so a reader with an old index reads zeroes, which mean "not live".

use crate::chunks::slot::Slot;
use crate::config::CHUNK_BYTES;
use std::io;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("ng-core needs a 64-bit target: it reserves several GiB of address space");

/// The mapped slots.
pub(crate) struct Reservation {
    slots: *const Slot,
    #[cfg(target_os = "linux")]
    map: (*mut core::ffi::c_void, usize),
    #[cfg(not(target_os = "linux"))]
    layout: std::alloc::Layout,
    bytes: u64,
}

// SAFETY: the memory holds atomics only, is never moved, and is unmapped by the last owner's drop.
unsafe impl Send for Reservation {}
// SAFETY: as above; all access goes through atomics.
unsafe impl Sync for Reservation {}

/// The chunks' memory by address, for a thread that ends before the reservation does.
// Only madvise asks where it is.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[derive(Clone, Copy)]
pub(crate) struct ChunkMemory {
    slots: *const Slot,
    bytes: u64,
}

// SAFETY: an address; what is done with it is thread-safe, and its holder ends before the mapping.
unsafe impl Send for ChunkMemory {}
// SAFETY: as above.
unsafe impl Sync for ChunkMemory {}

#[cfg(target_os = "linux")]
impl ChunkMemory {
    /// Can memory be taken without writing to it?
    pub(crate) const POPULATES: bool = true;

    /// Takes the memory of one chunk; what it holds stays.
    pub(crate) fn populate(self, chunk: u32) -> io::Result<()> {
        self.advise(chunk, rustix::mm::Advice::LinuxPopulateWrite)
    }

    /// Gives the memory of one chunk back to the kernel; it reads as zeroes afterwards.
    pub(crate) fn give_back(self, chunk: u32) -> io::Result<()> {
        self.advise(chunk, rustix::mm::Advice::LinuxDontNeed)
    }

    fn advise(self, chunk: u32, advice: rustix::mm::Advice) -> io::Result<()> {
        let start = u64::from(chunk) * CHUNK_BYTES;
        assert!(start < self.bytes, "chunk {chunk} lies beyond the reservation");
        let address = self.slots.cast_mut().wrapping_byte_add(start as usize).cast();
        // SAFETY: the range is one chunk inside the mapping; readers use atomics and accept zeroes.
        unsafe { rustix::mm::madvise(address, CHUNK_BYTES as usize, advice) }?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
impl ChunkMemory {
    pub(crate) const POPULATES: bool = false;

    pub(crate) fn populate(self, _chunk: u32) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub(crate) fn give_back(self, _chunk: u32) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

#[cfg(target_os = "linux")]
impl Reservation {
    /// Can memory go back to the kernel while the address space stays?
    pub(crate) const GIVES_BACK: bool = true;

    pub(crate) fn new(chunks: u32, huge_pages: bool) -> io::Result<Reservation> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let bytes = u64::from(chunks) * CHUNK_BYTES;
        // One chunk more than needed, so that the first can be aligned to a huge page.
        let len = (bytes + CHUNK_BYTES) as usize;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nobody's memory.
        let start = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let skip = start.align_offset(CHUNK_BYTES as usize);
        let slots = start.wrapping_byte_add(skip);
        let advice = if huge_pages { Advice::LinuxHugepage } else { Advice::LinuxNoHugepage };
        // SAFETY: the range lies inside the mapping just made. A kernel without huge pages says
        // EINVAL, which changes nothing but the speed.
        let _advised = unsafe { madvise(slots, bytes as usize, advice) };
        Ok(Reservation { slots: slots.cast(), map: (start, len), bytes })
    }
}

#[cfg(not(target_os = "linux"))]
impl Reservation {
    pub(crate) const GIVES_BACK: bool = false;

    /// Without madvise the allocator's zeroed memory serves; it is touched lazily on common systems.
    pub(crate) fn new(chunks: u32, _huge_pages: bool) -> io::Result<Reservation> {
        let bytes = u64::from(chunks) * CHUNK_BYTES;
        let layout = std::alloc::Layout::from_size_align(bytes as usize, 4096)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: the layout has a size above zero.
        let slots = unsafe { std::alloc::alloc_zeroed(layout) };
        if slots.is_null() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        Ok(Reservation { slots: slots.cast(), layout, bytes })
    }
}

impl Reservation {
    /// First slot.
    #[inline(always)]
    pub(crate) fn slots(&self) -> *const Slot {
        self.slots
    }

    /// The chunks' memory; its holder must end before the reservation.
    pub(crate) fn chunk_memory(&self) -> ChunkMemory {
        ChunkMemory { slots: self.slots, bytes: self.bytes }
    }

    /// Gives the memory of one chunk back to the kernel; it reads as zeroes afterwards.
    ///
    /// The caller holds every slot of the chunk.
    pub(crate) fn give_back(&self, chunk: u32) -> io::Result<()> {
        self.chunk_memory().give_back(chunk)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping is ours, and no reference outlives the arena that owns it. It can only
        // fail for a bad range, and then leaks address space at worst.
        let _unmapped = unsafe { rustix::mm::munmap(self.map.0, self.map.1) };
        #[cfg(not(target_os = "linux"))]
        // SAFETY: allocated with this layout in `new`.
        unsafe {
            std::alloc::dealloc(self.slots.cast_mut().cast(), self.layout)
        };
    }
}

/// Asks the processor for the line that `place` lies in, for reading. A hint: any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the instruction changes no register and no memory.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) place, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _no_hint = place;
}
