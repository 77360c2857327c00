//! Few whole blocks go to the disk without a stay in the kernel's cache of the file: a durable append of
//! one record is such a write. A sync that follows has no page left to look for, and a write and a
//! sync together take a tenth to a fifth less. Larger writes gain by the cache: they go on while the
//! disk is at them.
//!
//! A second description of the same file, opened at the first such write, does it; where there can be
//! none, the cache serves. What such a write cannot do it says at once. Should the kernel take it
//! through the cache after all, an error of bringing it to the disk is one of the file, and the
//! description that is synced was open before: it hears of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::format::BLOCK_BYTES;
use crate::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::sync::{Mutex, OnceLock};

/// Longest write that goes this way.
const BYTES_MAX: usize = 4 * BLOCK_BYTES as usize;

/// Memory that begins where a block does, as such a write needs it. It is allocated: a frame on the stack
/// that is aligned to a page is what compilers get wrong under some profiles, and the program dies.
struct Blocks {
    memory: Vec<u8>,
    /// Where in it the first whole block begins.
    at: usize,
}

impl Blocks {
    fn new() -> Self {
        let memory = vec![0; BYTES_MAX + BLOCK_BYTES as usize];
        let at = memory.as_ptr().align_offset(BLOCK_BYTES as usize);
        Self { memory, at }
    }

    /// A copy of `data`, of `BYTES_MAX` bytes at most. `None` if there is no such place.
    fn hold(&mut self, data: &[u8]) -> Option<&[u8]> {
        let blocks = self.memory.get_mut(self.at..)?.get_mut(..BYTES_MAX)?.get_mut(..data.len())?;
        blocks.copy_from_slice(data);
        Some(blocks)
    }
}

/// The description that goes around the cache, and what it writes from.
struct Around {
    file: File,
    /// The kernel lets one such write of a file in at a time; so does this.
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
pub(super) struct Handle {
    around: OnceLock<Option<Around>>,
    /// The file system or its disk wants other blocks than ours.
    refused: AtomicBool,
}

impl Handle {
    /// As `write_at` of `file`; `None` if it is not for this way, and nothing was written.
    pub(super) fn write_at(
        &self,
        file: &File,
        data: &[u8],
        offset: u64,
    ) -> Option<io::Result<usize>> {
        let whole = |bytes: u64| bytes.is_multiple_of(BLOCK_BYTES);
        let fits = (1..=BYTES_MAX).contains(&data.len());
        if !fits || !whole(data.len() as u64) || !whole(offset) || self.refused.load(Relaxed) {
            return None;
        }
        let around = self.around.get_or_init(|| Around::of(file)).as_ref()?;
        let mut blocks = around.blocks.lock();
        match around.file.write_at(blocks.hold(data)?, offset) {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Relaxed);
                None
            }
            written => Some(written),
        }
    }
}

impl Around {
    fn of(file: &File) -> Option<Self> {
        Self::through(Path::new("/proc/self/fd"), file)
    }

    /// The very same file, whatever its name has become. `None` where the file system or the system's
    /// settings do not have it, and where no `/proc` is mounted, or something else in its place.
    fn through(descriptors: &Path, file: &File) -> Option<Self> {
        let mut options = OpenOptions::new();
        let flags = OFlags::DIRECT | OFlags::NONBLOCK;
        options.write(true).custom_flags(flags.bits() as i32);
        let again = options.open(descriptors.join(file.as_raw_fd().to_string())).ok()?;
        let (one, other) = (file.metadata().ok()?, again.metadata().ok()?);
        let same = (one.dev(), one.ino()) == (other.dev(), other.ino());
        same.then(|| Self { file: again, blocks: Mutex::new(Blocks::new()) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::thread;

    fn block(byte: u8) -> [u8; BLOCK_BYTES as usize] {
        [byte; BLOCK_BYTES as usize]
    }

    #[test]
    fn blocks_written_either_way_are_read_back_as_they_were_written_last() {
        // Beside the sources: a folder for temporary files may be one in memory.
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("file");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
        let handle = Handle::default();
        let mut read = vec![0; 3 * BLOCK_BYTES as usize];
        file.write_all_at(&[9; BLOCK_BYTES as usize].repeat(3), 0).unwrap();
        std::fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        for round in 1..4 {
            // Into pages that a write or a read has just put into the cache, and beside them.
            let went = handle.write_at(&file, &block(round), BLOCK_BYTES);
            let opened = handle.around.get().is_some_and(Option::is_some);
            if opened && !handle.refused.load(Relaxed) {
                assert_eq!(went.unwrap().unwrap(), BLOCK_BYTES as usize);
            } else {
                // This file system has only its cache.
                file.write_all_at(&block(round), BLOCK_BYTES).unwrap();
            }
            file.read_exact_at(&mut read, 0).unwrap();
            assert_eq!(read[..BLOCK_BYTES as usize], block(if round == 1 { 9 } else { round - 1 }));
            assert_eq!(read[BLOCK_BYTES as usize..][..BLOCK_BYTES as usize], block(round));
            assert_eq!(read[2 * BLOCK_BYTES as usize..], block(9));
            file.write_all_at(&block(round), 0).unwrap();
        }
    }

    #[test]
    fn what_is_written_from_begins_where_a_block_does_and_lies_on_no_stack() {
        let mut blocks = Blocks::new();
        let long = vec![7; BYTES_MAX + 1];
        for bytes in [1, BLOCK_BYTES as usize, BYTES_MAX] {
            let held = blocks.hold(&long[..bytes]).unwrap();
            assert_eq!(held, &long[..bytes]);
            assert!(held.as_ptr().addr().is_multiple_of(BLOCK_BYTES as usize));
        }
        assert!(blocks.hold(&long).is_none());
        assert!(align_of::<Handle>() <= 64 && size_of::<Handle>() <= 256);
    }

    #[test]
    fn without_proc_or_with_something_else_there_the_cache_serves() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = File::create(dir.path().join("file")).unwrap();
        assert!(Around::through(&dir.path().join("absent"), &file).is_none());
        // Another file where the kernel would show this one.
        std::fs::write(dir.path().join(file.as_raw_fd().to_string()), b"another").unwrap();
        assert!(Around::through(dir.path(), &file).is_none());
    }

    #[test]
    fn writers_of_one_handle_do_not_write_each_others_bytes() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let mut options = OpenOptions::new();
        let path = dir.path().join("file");
        let file = options.read(true).write(true).create_new(true).open(path).unwrap();
        let handle = Handle::default();
        let at = |byte: u8| u64::from(byte) * BLOCK_BYTES;
        thread::scope(|scope| {
            for byte in 0..4 {
                let (file, handle) = (&file, &handle);
                scope.spawn(move || {
                    for _ in 0..50 {
                        match handle.write_at(file, &block(byte), at(byte)) {
                            Some(went) => assert_eq!(went.unwrap(), BLOCK_BYTES as usize),
                            None => file.write_all_at(&block(byte), at(byte)).unwrap(),
                        }
                    }
                });
            }
        });
        for byte in 0..4 {
            let mut read = block(9);
            file.read_exact_at(&mut read, at(byte)).unwrap();
            assert_eq!(read, block(byte));
        }
    }

    #[test]
    fn what_is_no_whole_block_or_too_long_is_left_to_the_cache() {
        let file = tempfile::tempfile().unwrap();
        let handle = Handle::default();
        let long = vec![1; BYTES_MAX + BLOCK_BYTES as usize];
        for (data, offset) in
            [(&long[..0], 0), (&long[..100], 0), (&long, 0), (&long[..BLOCK_BYTES as usize], 512)]
        {
            assert!(handle.write_at(&file, data, offset).is_none());
        }
        assert_eq!(file.metadata().unwrap().len(), 0);
        // And who refuses a block is not asked again.
        handle.refused.store(true, Relaxed);
        assert!(handle.write_at(&file, &block(1), 0).is_none());
    }
}
