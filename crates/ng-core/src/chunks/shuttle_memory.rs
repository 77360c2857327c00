//! The reservation of a model: slots on the heap, whose memory goes back by becoming zero, word by word and not at once.

use crate::chunks::slot::Slot;
use crate::config::CHUNK_SLOTS;
use std::io;

/// The slots.
pub(crate) struct Reservation {
    slots: Box<[Slot]>,
}

/// Nothing is committed ahead in a model.
#[derive(Clone, Copy)]
pub(crate) struct ChunkMemory;

impl ChunkMemory {
    pub(crate) const POPULATES: bool = false;

    pub(crate) fn populate(self, _chunk: u32) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    pub(crate) fn give_back(self, _chunk: u32) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
}

impl Reservation {
    pub(crate) const GIVES_BACK: bool = true;

    pub(crate) fn new(chunks: u32, _huge_pages: bool) -> io::Result<Reservation> {
        Ok(Reservation { slots: (0..chunks * CHUNK_SLOTS).map(|_| Slot::default()).collect() })
    }

    pub(crate) fn slots(&self) -> *const Slot {
        self.slots.as_ptr()
    }

    pub(crate) fn chunk_memory(&self) -> ChunkMemory {
        ChunkMemory
    }

    pub(crate) fn give_back(&self, chunk: u32) -> io::Result<()> {
        let first = (chunk * CHUNK_SLOTS) as usize;
        for slot in &self.slots[first..first + CHUNK_SLOTS as usize] {
            slot.forget();
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.slots.len() as u64 * 64
    }
}

pub(crate) fn prefetch<T>(_place: *const T) {}
