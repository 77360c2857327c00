//! The live disk: what the log's threads talk to. It carries each call out on the state, keeps it
//! in the trace, and fails it when a test asked for that.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::images::{Image, Trace};
use super::state::{EntryOp, Event, Inode, State};
use crate::disk::storage::{Access, DirEntry, LogFile, LogIo};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What reads see after a failed sync; on the disk is the old state either way, and the next sync
/// returns as if all were well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSync {
    /// The new bytes: ext4 and XFS.
    KeepsCache,
    /// The old bytes: Btrfs.
    Reverts,
}

type Probe = Box<dyn Fn() -> u64 + Send>;

#[derive(Default)]
struct Faults {
    /// File syncs until the one that fails, and how.
    fail_sync: Option<(u64, FailedSync)>,
    fail_dir_sync: Option<u64>,
    /// Bytes that may still be written before "no space left".
    space: Option<u64>,
    write_at_most: usize,
    /// Every n-th write is interrupted first.
    interrupt: u64,
    fail_reads: bool,
    fail_writes: bool,
    hold_syncs: bool,
}

struct Live {
    state: State,
    initial: State,
    events: Vec<Event>,
    traced: bool,
    /// Handles of an earlier one are dead.
    generation: u64,
    faults: Faults,
    writes: u64,
    /// Files with a sync that failed, and writes to them since.
    failed_syncs: BTreeSet<usize>,
    writes_after_failed_sync: u64,
    held: u64,
    probe: Option<(u64, Probe)>,
    probed: u64,
}

/// A disk in memory that remembers everything that was done to it. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<(Mutex<Live>, Condvar)>);

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::over(State::default(), true)
    }

    /// A disk that holds what a crash left, all of it durable. It keeps no trace until
    /// [`SimDisk::traced`].
    pub fn from_image(image: &Image) -> Self {
        Self::over(image.to_state(), false)
    }

    /// Keeps a trace from here on.
    pub fn traced(self) -> Self {
        let mut live = self.live();
        live.traced = true;
        live.initial = live.state.clone();
        drop(live);
        self
    }

    fn over(state: State, traced: bool) -> Self {
        let initial = if traced { state.clone() } else { State::default() };
        let live = Live {
            state,
            initial,
            events: Vec::new(),
            traced,
            generation: 0,
            faults: Faults::default(),
            writes: 0,
            failed_syncs: BTreeSet::new(),
            writes_after_failed_sync: 0,
            held: 0,
            probe: None,
            probed: 0,
        };
        Self(Arc::new((Mutex::new(live), Condvar::new())))
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.0.lock()
    }

    /// One of its directories, made if absent; its own name is durable at once.
    pub fn dir(&self, name: &str) -> Arc<dyn LogIo> {
        let mut live = self.live();
        let generation = live.generation;
        let known = live.state.dirs.iter().position(|(known, _)| **known == *name);
        let dir = known.unwrap_or_else(|| {
            live.state.dirs.push((name.into(), Default::default()));
            live.initial.dirs.push((name.into(), Default::default()));
            live.state.dirs.len() - 1
        });
        drop(live);
        Arc::new(SimDir { disk: self.clone(), dir, generation, path: name.into() })
    }

    /// Kills the process: every handle given out so far fails from now on and changes nothing.
    /// What was written stays to be read. Directories opened later are a new process's.
    pub fn kill(&self) {
        let mut live = self.live();
        live.generation += 1;
        live.faults.hold_syncs = false;
        live.probe = None;
        live.push(Event::Killed);
        drop(live);
        self.0.1.notify_all();
    }

    /// Puts a mark into the trace: what the test learnt at this moment.
    pub fn mark(&self, label: u64, value: u64) {
        self.live().push(Event::Mark { label, value });
    }

    /// Asks `probe` before each operation and marks each new value with `label`: so an
    /// acknowledgement is seen at the earliest moment. It runs under the disk's lock and must not
    /// call the disk.
    pub fn probe(&self, label: u64, probe: impl Fn() -> u64 + Send + 'static) {
        let mut live = self.live();
        live.probed = probe();
        live.probe = Some((label, Box::new(probe)));
    }

    /// The `n`-th next sync of a file fails (1: the next) and drops what it should have brought
    /// to the disk; later ones return Ok.
    pub fn fail_sync(&self, n: u64, how: FailedSync) {
        self.live().faults.fail_sync = Some((n, how));
    }

    /// The `n`-th next sync of a directory fails.
    pub fn fail_dir_sync(&self, n: u64) {
        self.live().faults.fail_dir_sync = Some(n);
    }

    /// Bytes that may still be written before writes fail for want of space; `None`: any.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.live().faults.space = bytes;
    }

    /// One write takes at most this many bytes; 0: no bound.
    pub fn set_write_at_most(&self, bytes: usize) {
        self.live().faults.write_at_most = bytes;
    }

    /// Every `n`-th write fails with EINTR first; 0: none.
    pub fn interrupt_writes(&self, n: u64) {
        self.live().faults.interrupt = n;
    }

    /// Reads fail with EIO.
    pub fn fail_reads(&self, fail: bool) {
        self.live().faults.fail_reads = fail;
    }

    /// Writes fail with EIO.
    pub fn fail_writes(&self, fail: bool) {
        self.live().faults.fail_writes = fail;
    }

    /// Syncs of files begin and do not return until this is called with `false`.
    pub fn hold_syncs(&self, hold: bool) {
        self.live().faults.hold_syncs = hold;
        self.0.1.notify_all();
    }

    /// Waits until a sync is held; `false` when the time is over.
    pub fn until_held(&self, timeout: Duration) -> bool {
        self.until(timeout, |live| live.held > 0)
    }

    /// Waits until `n` writes were done in all; `false` when the time is over.
    pub fn until_writes(&self, n: u64, timeout: Duration) -> bool {
        self.until(timeout, |live| live.writes >= n)
    }

    fn until(&self, timeout: Duration, come: impl Fn(&Live) -> bool) -> bool {
        let mut live = self.live();
        !self.0.1.wait_while_for(&mut live, |live| !come(live), timeout).timed_out()
    }

    /// Writes done so far.
    pub fn writes(&self) -> u64 {
        self.live().writes
    }

    /// Writes done to a file after a sync of it has failed.
    pub fn writes_after_failed_sync(&self) -> u64 {
        self.live().writes_after_failed_sync
    }

    /// Events in the trace so far.
    pub fn operations(&self) -> usize {
        self.live().events.len()
    }

    /// All that was done so far.
    pub fn trace(&self) -> Trace {
        let live = self.live();
        Trace::new(live.initial.clone(), live.events.clone())
    }

    /// What reads would see now: the disk after a crash of the process alone.
    pub fn image(&self) -> Image {
        Image::of_cache(&self.live().state)
    }
}

impl Live {
    /// Carries an event out; returns its number.
    fn push(&mut self, event: Event) -> usize {
        self.state.apply(&event);
        if self.traced {
            self.events.push(event);
        }
        self.state.now - 1
    }

    /// A handle's call begins.
    fn enter(&mut self, generation: u64) -> io::Result<()> {
        if generation != self.generation {
            return Err(io::Error::other("the process was killed"));
        }
        if let Some((label, probe)) = self.probe.take() {
            let value = probe();
            if value != self.probed {
                self.probed = value;
                self.push(Event::Mark { label, value });
            }
            self.probe = Some((label, probe));
        }
        Ok(())
    }

    fn inode(&self, inode: usize) -> &Inode {
        &self.state.inodes[inode]
    }
}

fn countdown(left: &mut Option<u64>) -> bool {
    let Some(n) = left else { return false };
    *n = n.saturating_sub(1);
    let now = *n == 0;
    if now {
        *left = None;
    }
    now
}

/// EIO, as the operating system says it.
fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

struct SimDir {
    disk: SimDisk,
    dir: usize,
    generation: u64,
    path: PathBuf,
}

impl SimDir {
    fn enter(&self) -> io::Result<MutexGuard<'_, Live>> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        Ok(live)
    }

    fn file(&self, inode: usize) -> Arc<dyn LogFile> {
        Arc::new(SimFile { disk: self.disk.clone(), inode, generation: self.generation })
    }
}

impl LogIo for SimDir {
    fn list(&self) -> io::Result<Vec<DirEntry>> {
        let live = self.enter()?;
        let names = live.state.dirs[self.dir].1.cache.keys();
        Ok(names.map(|name| DirEntry { name: name.to_string(), regular: true }).collect())
    }

    fn open(&self, name: &str, _: Access) -> io::Result<Arc<dyn LogFile>> {
        let live = self.enter()?;
        let inode = live.state.dirs[self.dir].1.cache.get(name).copied();
        Ok(self.file(inode.ok_or(io::ErrorKind::NotFound)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let mut live = self.enter()?;
        let known = live.state.dirs[self.dir].1.cache.get(name).copied();
        let inode = match known {
            Some(inode) => {
                live.push(Event::SetLen { inode, len: 0 });
                inode
            }
            None => {
                live.push(Event::Create { dir: self.dir, name: name.into() });
                live.state.inodes.len() - 1
            }
        };
        Ok(self.file(inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut live = self.enter()?;
        let inode = live.state.dirs[self.dir].1.cache.get(from).copied();
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        let op = EntryOp::Rename { from: from.into(), to: to.into(), inode };
        live.push(Event::Entry { dir: self.dir, op });
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut live = self.enter()?;
        if !live.state.dirs[self.dir].1.cache.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        live.push(Event::Entry { dir: self.dir, op: EntryOp::Unlink { name: name.into() } });
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut live = self.enter()?;
        let dir = self.dir;
        let begun = live.push(Event::DirSyncBegin { dir });
        if countdown(&mut live.faults.fail_dir_sync) {
            live.push(Event::DirSyncFailed { dir });
            return Err(eio());
        }
        live.push(Event::DirSyncEnd { dir, begun });
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    generation: u64,
}

impl LogFile for SimFile {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<usize> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        live.writes += 1;
        live.writes_after_failed_sync += u64::from(live.failed_syncs.contains(&self.inode));
        self.disk.0.1.notify_all();
        if live.faults.fail_writes {
            return Err(eio());
        }
        if live.faults.interrupt > 0 && live.writes.is_multiple_of(live.faults.interrupt) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut bytes = data.len();
        if live.faults.write_at_most > 0 {
            bytes = bytes.min(live.faults.write_at_most);
        }
        if let Some(space) = &mut live.faults.space {
            if *space == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes = bytes.min(*space as usize);
            *space -= bytes as u64;
        }
        let bytes = Bytes::copy_from_slice(&data[..bytes]);
        let written = bytes.len();
        live.push(Event::Write { inode: self.inode, offset, bytes });
        Ok(written)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        if live.faults.fail_reads {
            return Err(eio());
        }
        Ok(live.inode(self.inode).cache.read(out, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        let inode = self.inode;
        let begun = live.push(Event::SyncBegin { inode });
        if live.faults.hold_syncs {
            live.held += 1;
            self.disk.0.1.notify_all();
            self.disk.0.1.wait_while(&mut live, |live| live.faults.hold_syncs);
            live.held -= 1;
            live.enter(self.generation)?;
        }
        let mut left = live.faults.fail_sync.map(|(n, _)| n);
        let fails = countdown(&mut left);
        let how = live.faults.fail_sync.take();
        live.faults.fail_sync = left.zip(how).map(|(n, (_, how))| (n, how));
        if let Some((_, how)) = how.filter(|_| fails) {
            let reverts = how == FailedSync::Reverts;
            live.failed_syncs.insert(inode);
            live.push(Event::SyncFailed { inode, begun, reverts });
            return Err(eio());
        }
        live.push(Event::SyncEnd { inode, begun });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        live.push(Event::SetLen { inode: self.inode, len });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut live = self.disk.live();
        live.enter(self.generation)?;
        Ok(live.inode(self.inode).cache.len())
    }
}
