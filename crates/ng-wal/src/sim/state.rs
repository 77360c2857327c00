//! What a disk holds: for each file what reads see, what is durable, and each sector between the
//! two; for each directory the same of its names. Applied event by event, live and again later.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a disk writes whole or, in a crash, not at all; larger units may be torn.
pub(crate) const SECTOR: usize = 512;
pub(crate) const BLOCK: usize = 4096;

/// 4 KiB of a file, shared by all that hold the same, with their digest once it was asked for.
pub(crate) struct Block {
    bytes: [u8; BLOCK],
    /// 0: not known.
    digest: AtomicU64,
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes, digest: AtomicU64::new(0) }
    }
}

/// Bytes of one file. Cheap to clone: blocks are shared until one of the two is written to.
#[derive(Clone, Default)]
pub(crate) struct Content {
    /// `None`: zeroes.
    blocks: Vec<Option<Arc<Block>>>,
    len: u64,
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes read: fewer than asked for at the end.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> usize {
        let bytes = (out.len() as u64).min(self.len.saturating_sub(offset)) as usize;
        let mut done = 0;
        while done < bytes {
            let (block, at) = split(offset + done as u64);
            let part = (BLOCK - at).min(bytes - done);
            let to = &mut out[done..done + part];
            match self.blocks.get(block).and_then(Option::as_ref) {
                Some(from) => to.copy_from_slice(&from.bytes[at..at + part]),
                None => to.fill(0),
            }
            done += part;
        }
        bytes
    }

    /// Writes without a change of length: what lies beyond it is dropped.
    fn put(&mut self, bytes: &[u8], offset: u64) {
        let room = self.len.saturating_sub(offset).min(bytes.len() as u64) as usize;
        let mut done = 0;
        while done < room {
            let (block, at) = split(offset + done as u64);
            let part = (BLOCK - at).min(room - done);
            let to = self.block(block);
            to.bytes[at..at + part].copy_from_slice(&bytes[done..done + part]);
            *to.digest.get_mut() = 0;
            done += part;
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.grow(offset + bytes.len() as u64);
        self.put(bytes, offset);
    }

    pub(crate) fn grow(&mut self, len: u64) {
        if len > self.len {
            self.blocks.resize((len as usize).div_ceil(BLOCK), None);
            self.len = len;
        }
    }

    pub(crate) fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.blocks.truncate((len as usize).div_ceil(BLOCK));
            let (block, at) = split(len);
            if at > 0 && self.blocks[block].is_some() {
                let last = self.block(block);
                last.bytes[at..].fill(0);
                *last.digest.get_mut() = 0;
            }
            self.len = len;
        }
        self.grow(len);
    }

    fn block(&mut self, index: usize) -> &mut Block {
        let zero = || Arc::new(Block { bytes: [0; BLOCK], digest: AtomicU64::new(0) });
        Arc::make_mut(self.blocks[index].get_or_insert_with(zero))
    }

    /// One sector, with zeroes beyond the end.
    pub(crate) fn sector(&self, sector: u64) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        self.read(&mut out, sector * SECTOR as u64);
        out
    }

    pub(crate) fn digest(&self, into: &mut DefaultHasher) {
        into.write_u64(self.len);
        for block in &self.blocks {
            into.write_u64(block.as_ref().map_or(0, |block| block.digest()));
        }
    }
}

impl Block {
    fn digest(&self) -> u64 {
        let known = self.digest.load(Ordering::Relaxed);
        if known != 0 {
            return known;
        }
        let mut hasher = DefaultHasher::new();
        let zero = self.bytes.iter().all(|byte| *byte == 0);
        hasher.write(&self.bytes);
        let digest = if zero { 0 } else { hasher.finish() | 1 };
        self.digest.store(digest, Ordering::Relaxed);
        digest
    }
}

fn split(offset: u64) -> (usize, usize) {
    ((offset / BLOCK as u64) as usize, (offset % BLOCK as u64) as usize)
}

/// One change of a file that no sync covers yet.
#[derive(Clone)]
pub(crate) struct Pending {
    /// Number of the event that made it.
    pub(crate) at: usize,
    pub(crate) change: Change,
    /// A failed sync dropped it: no later sync makes it durable, though it may have got there.
    pub(crate) dropped: bool,
}

#[derive(Clone)]
pub(crate) enum Change {
    /// What reads of this sector saw after the write, and the file's length then.
    Sector { sector: u64, bytes: Bytes, len: u64 },
    /// A new length.
    Len(u64),
}

impl Change {
    pub(crate) fn apply(&self, content: &mut Content) {
        match self {
            Change::Sector { sector, bytes, len } => {
                let offset = sector * SECTOR as u64;
                content.grow((offset + SECTOR as u64).min(*len));
                content.put(bytes, offset);
            }
            Change::Len(len) => content.set_len(*len),
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Inode {
    /// What reads see.
    pub(crate) cache: Content,
    pub(crate) durable: Content,
    pub(crate) pending: Vec<Pending>,
}

/// A change of a directory's names.
#[derive(Clone, Debug)]
pub(crate) enum EntryOp {
    Link { name: Arc<str>, inode: usize },
    Unlink { name: Arc<str> },
    Rename { from: Arc<str>, to: Arc<str>, inode: usize },
}

pub(crate) type Names = BTreeMap<Arc<str>, usize>;

impl EntryOp {
    pub(crate) fn apply(&self, names: &mut Names) {
        match self {
            EntryOp::Link { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            EntryOp::Unlink { name } => {
                names.remove(name);
            }
            EntryOp::Rename { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct Dir {
    pub(crate) cache: Names,
    pub(crate) durable: Names,
    pub(crate) pending: Vec<(usize, EntryOp)>,
}

/// What happened. A sync is two events: what was written before the first is durable after the
/// second; what came between may be either.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A new inode, its name linked.
    Create {
        dir: usize,
        name: Arc<str>,
    },
    Write {
        inode: usize,
        offset: u64,
        bytes: Bytes,
    },
    SetLen {
        inode: usize,
        len: u64,
    },
    Entry {
        dir: usize,
        op: EntryOp,
    },
    SyncBegin {
        inode: usize,
    },
    SyncEnd {
        inode: usize,
        begun: usize,
    },
    /// What was written before `begun` is dropped; reads see it on, or no longer.
    SyncFailed {
        inode: usize,
        begun: usize,
        reverts: bool,
    },
    DirSyncBegin {
        dir: usize,
    },
    DirSyncEnd {
        dir: usize,
        begun: usize,
    },
    DirSyncFailed {
        dir: usize,
    },
    /// A process died here; what it had written stays to be read.
    Killed,
    Mark {
        label: u64,
        value: u64,
    },
}

#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) inodes: Vec<Inode>,
    pub(crate) dirs: Vec<(Arc<str>, Dir)>,
    /// Events applied so far.
    pub(crate) now: usize,
}

impl State {
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { dir, name } => {
                let inode = self.inodes.len();
                self.inodes.push(Inode::default());
                self.entry(*dir, &EntryOp::Link { name: name.clone(), inode });
            }
            Event::Write { inode, offset, bytes } => self.write(*inode, *offset, bytes),
            Event::SetLen { inode, len } => {
                let inode = &mut self.inodes[*inode];
                inode.cache.set_len(*len);
                let (at, change) = (self.now, Change::Len(*len));
                inode.pending.push(Pending { at, change, dropped: false });
            }
            Event::Entry { dir, op } => self.entry(*dir, op),
            Event::SyncEnd { inode, begun } => self.inodes[*inode].synced(*begun),
            Event::SyncFailed { inode, begun, reverts } => {
                self.inodes[*inode].sync_failed(*begun, *reverts);
            }
            Event::DirSyncEnd { dir, begun } => {
                let dir = &mut self.dirs[*dir].1;
                let (done, left) = std::mem::take(&mut dir.pending)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(at, _)| at < begun);
                done.iter().for_each(|(_, op)| op.apply(&mut dir.durable));
                dir.pending = left;
            }
            Event::SyncBegin { .. }
            | Event::DirSyncBegin { .. }
            | Event::DirSyncFailed { .. }
            | Event::Killed
            | Event::Mark { .. } => {}
        }
        self.now += 1;
    }

    fn entry(&mut self, dir: usize, op: &EntryOp) {
        let dir = &mut self.dirs[dir].1;
        op.apply(&mut dir.cache);
        dir.pending.push((self.now, op.clone()));
    }

    fn write(&mut self, inode: usize, offset: u64, bytes: &[u8]) {
        let inode = &mut self.inodes[inode];
        let before = inode.cache.len();
        inode.cache.write(bytes, offset);
        let (at, len) = (self.now, inode.cache.len());
        let mut add = |change| inode.pending.push(Pending { at, change, dropped: false });
        if len > before {
            add(Change::Len(len)); // a file may be longer before its data is there
        }
        let last = (offset + bytes.len() as u64).div_ceil(SECTOR as u64);
        for sector in offset / SECTOR as u64..last {
            let bytes = Bytes::copy_from_slice(&inode.cache.sector(sector));
            add(Change::Sector { sector, bytes, len });
        }
    }
}

impl Inode {
    fn synced(&mut self, begun: usize) {
        let pending = std::mem::take(&mut self.pending);
        let mut written = Vec::new();
        for change in &pending {
            if change.at < begun && !change.dropped {
                change.change.apply(&mut self.durable);
                if let Change::Sector { sector, .. } = change.change {
                    written.push((sector, change.at));
                }
            }
        }
        // What an earlier sync dropped and a later write covered is history.
        let covered = |change: &Pending| match &change.change {
            Change::Sector { sector, .. } => {
                written.iter().any(|(s, at)| s == sector && *at > change.at)
            }
            Change::Len(_) => !written.is_empty(),
        };
        self.pending = pending
            .into_iter()
            .filter(|change| match change.dropped {
                true => !covered(change),
                false => change.at >= begun,
            })
            .collect();
    }

    fn sync_failed(&mut self, begun: usize, reverts: bool) {
        for change in &mut self.pending {
            change.dropped |= change.at < begun;
        }
        if reverts {
            self.cache = self.durable.clone();
            let later = self.pending.iter().filter(|change| !change.dropped);
            later.for_each(|change| change.change.apply(&mut self.cache));
        }
    }
}
