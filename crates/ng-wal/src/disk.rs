//! What lies on the disk: the files of a log, what they are called, and the one door to real ones.
//! Knows no thread of the log, no replay and no decision; all other rooms stand on this one.

#[cfg(all(test, not(loom)))]
pub(crate) mod memory_disk;
pub(crate) mod names;
pub(crate) mod segment;
pub(crate) mod shortage;
pub(crate) mod storage;
