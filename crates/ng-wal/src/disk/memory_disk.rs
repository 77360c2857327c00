//! A directory in memory for tests, with faults on demand, and with a watch on the order of writes
//! and syncs. It forgets nothing at a crash: what a disk loses is for the simulated disk to say.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use crate::disk::storage::{Access, DirEntry, LogFile, LogIo};
use crate::format::{BLOCK_BYTES, START_OFFSET};
use crate::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, thread};

/// Faults of a disk; all off at first.
#[derive(Default)]
pub(crate) struct Faults {
    /// Writes fail with "no space left".
    pub(crate) full: AtomicBool,
    /// Everything that would change something fails with EROFS.
    pub(crate) read_only: AtomicBool,
    /// So many creates, opens and renames fail with this error number first; negative: all.
    pub(crate) refusals_left: AtomicI64,
    pub(crate) refused_with: AtomicI32,
    /// Syncs of the directory that fail with it too.
    pub(crate) dir_syncs_refused: AtomicU64,
    /// Bytes by which files may still grow; negative: any. A file that shrinks gives back.
    pub(crate) growth_left: AtomicI64,
    /// Syncs of files until one fails with EIO; negative: none does.
    pub(crate) syncs_left: AtomicI64,
    /// Syncs of files that may end, each when it has begun; negative: all.
    pub(crate) syncs_allowed: AtomicI64,
    /// A sync panics: a bug of ours, as seen by the log.
    pub(crate) sync_panics: AtomicBool,
    /// Everything that would change a byte, a name or a length.
    pub(crate) changes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    /// Bytes one call writes at most; 0: no bound.
    pub(crate) write_at_most: AtomicU64,
    /// Reads that reach beyond this offset fail with EIO; 0: none does.
    pub(crate) unreadable_from: AtomicU64,
    /// Reads fail with EIO.
    pub(crate) unreadable: AtomicBool,
    /// Renames, unlinks and syncs of the directory, in order.
    pub(crate) names: Mutex<Vec<String>>,
    /// Files with writes that no sync covers.
    pub(crate) unsynced: Mutex<BTreeSet<String>>,
    /// Breaches of the order that recovery relies on, in words.
    pub(crate) breaches: Mutex<Vec<String>>,
}

#[derive(Default)]
pub(crate) struct MemoryDir {
    files: Mutex<BTreeMap<String, Arc<MemoryFile>>>,
    pub(crate) faults: Arc<Faults>,
}

struct MemoryFile {
    name: Mutex<String>,
    bytes: Mutex<Vec<u8>>,
    /// End of what was written and is not zero, and how much of that a sync covers.
    written_end: AtomicU64,
    synced_end: AtomicU64,
    faults: Arc<Faults>,
}

impl MemoryDir {
    pub(crate) fn new() -> Arc<Self> {
        let dir = Self::default();
        dir.faults.syncs_left.store(-1, Ordering::Relaxed);
        dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
        dir.faults.growth_left.store(-1, Ordering::Relaxed);
        Arc::new(dir)
    }

    pub(crate) fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let files = self.files.lock();
        files.iter().map(|(name, file)| (name.clone(), file.bytes.lock().clone())).collect()
    }

    pub(crate) fn from_snapshot(files: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let dir = Self::new();
        for (name, bytes) in files {
            dir.put(name, bytes.clone());
        }
        dir
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let file = MemoryFile {
            name: Mutex::new(name.to_owned()),
            bytes: Mutex::new(bytes),
            written_end: AtomicU64::new(0),
            synced_end: AtomicU64::new(0),
            faults: self.faults.clone(),
        };
        self.files.lock().insert(name.to_owned(), Arc::new(file));
    }
}

impl Faults {
    fn change(&self) -> io::Result<()> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.read_only.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(30));
        }
        Ok(())
    }
}

impl Faults {
    /// The next `times` steps that need a descriptor or a name fail with `errno`; negative: all.
    pub(crate) fn refuse(&self, times: i64, errno: i32) {
        self.refused_with.store(errno, Ordering::Relaxed);
        self.refusals_left.store(times, Ordering::Relaxed);
    }

    fn admit(&self) -> io::Result<()> {
        let left = self.refusals_left.load(Ordering::Relaxed);
        if left == 0 {
            return Ok(());
        }
        if left > 0 {
            self.refusals_left.fetch_sub(1, Ordering::Relaxed);
        }
        Err(io::Error::from_raw_os_error(self.refused_with.load(Ordering::Relaxed)))
    }

    fn grow(&self, bytes: usize) -> io::Result<()> {
        let left = self.growth_left.load(Ordering::Relaxed);
        if left < 0 {
            return Ok(());
        }
        if left < bytes as i64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.growth_left.fetch_sub(bytes as i64, Ordering::Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: i64) {
        if self.growth_left.load(Ordering::Relaxed) >= 0 {
            self.growth_left.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl LogIo for MemoryDir {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let files = self.files.lock();
        Ok(files.keys().map(|name| DirEntry { name: name.clone(), regular: true }).collect())
    }

    fn open(&self, name: &str, _: Access) -> io::Result<Arc<dyn LogFile>> {
        self.faults.admit()?;
        let files = self.files.lock();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.clone())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        self.faults.admit()?;
        self.faults.change()?;
        self.put(name, Vec::new());
        let files = self.files.lock();
        let file = files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.clone())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.admit()?;
        self.faults.changes.fetch_add(1, Ordering::Relaxed);
        self.faults.names.lock().push(format!("rename {from} {to}"));
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        if self.faults.unsynced.lock().contains(from) {
            self.faults.breaches.lock().push(format!("{from} got its name before a sync"));
        }
        *file.name.lock() = to.to_owned();
        if crate::disk::names::is_spare_name(to) {
            // What it held counts no longer.
            file.written_end.store(0, Ordering::Relaxed);
            file.synced_end.store(0, Ordering::Relaxed);
        }
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.faults.changes.fetch_add(1, Ordering::Relaxed);
        self.faults.names.lock().push(format!("unlink {name}"));
        let file = self.files.lock().remove(name).ok_or(io::ErrorKind::NotFound)?;
        self.faults.give_back(file.bytes.lock().len() as i64);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        if self.faults.dir_syncs_refused.load(Ordering::Relaxed) > 0 {
            self.faults.dir_syncs_refused.fetch_sub(1, Ordering::Relaxed);
            let errno = self.faults.refused_with.load(Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.faults.names.lock().push("sync".into());
        Ok(())
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }
}

impl MemoryFile {
    /// A block that was synced is not written again, except with what it holds; a segment's frames
    /// come when everything of the segments before is synced.
    fn watch(&self, data: &[u8], offset: u64, held: &[u8]) {
        let name = self.name.lock().clone();
        // Of the last block only a part may have been there when the sync began: the writer goes on
        // behind a sync point. That the point itself ends a block, the writer asserts.
        let synced = self.synced_end.load(Ordering::Relaxed) / BLOCK_BYTES * BLOCK_BYTES;
        let again = (synced.saturating_sub(offset) as usize).min(data.len());
        if held[..again] != data[..again] {
            self.faults.breaches.lock().push(format!("{name}: a synced block written at {offset}"));
        }
        if let Some(last) = data.iter().rposition(|byte| *byte != 0) {
            let mut unsynced = self.faults.unsynced.lock();
            let before = unsynced.iter().find(|other| other.ends_with(".seg") && **other < name);
            if let Some(before) = before.filter(|_| offset >= START_OFFSET) {
                self.faults.breaches.lock().push(format!("{name} written before {before} synced"));
            }
            unsynced.insert(name);
            self.written_end.fetch_max(offset + last as u64 + 1, Ordering::Relaxed);
        }
    }
}

impl LogFile for MemoryFile {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        self.faults.change()?;
        let most = self.faults.write_at_most.load(Ordering::Relaxed) as usize;
        let data = if most == 0 { data } else { &data[..data.len().min(most)] };
        let mut bytes = self.bytes.lock();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            self.faults.grow(end - bytes.len())?;
            bytes.resize(end, 0);
        }
        self.watch(data, offset, &bytes[offset as usize..end]);
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(data.len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.faults.unreadable.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let from = self.faults.unreadable_from.load(Ordering::Relaxed);
        if from > 0 && offset + out.len() as u64 > from {
            return Err(io::Error::from_raw_os_error(5));
        }
        let bytes = self.bytes.lock();
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let n = from.len().min(out.len());
        out[..n].copy_from_slice(&from[..n]);
        Ok(n)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.syncs.fetch_add(1, Ordering::Relaxed);
        assert!(!self.faults.sync_panics.load(Ordering::Relaxed), "a panic on demand");
        while self.faults.syncs_allowed.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        self.faults.syncs_allowed.fetch_sub(1, Ordering::Relaxed);
        if self.faults.syncs_left.load(Ordering::Relaxed) >= 0
            && self.faults.syncs_left.fetch_sub(1, Ordering::Relaxed) == 0
        {
            return Err(io::Error::from_raw_os_error(5)); // EIO, once: the next sync says Ok
        }
        self.faults.unsynced.lock().remove(&*self.name.lock());
        let written = self.written_end.load(Ordering::Relaxed);
        self.synced_end.store(written, Ordering::Relaxed);
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.faults.changes.fetch_add(1, Ordering::Relaxed);
        let mut held = self.bytes.lock();
        self.faults.give_back(held.len() as i64 - bytes as i64);
        held.resize(bytes as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
}
