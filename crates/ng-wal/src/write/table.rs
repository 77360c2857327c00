//! Which segment files there are besides the active one, and the bytes that all of them take:
//! plain numbers that appenders read without a lock.

use std::collections::VecDeque;

use crate::disk::segment::{ActiveSegment, Sealed};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{SegmentId, mutants};

/// Completed segments, the next one, the spares, and their sums.
#[derive(Default)]
pub(crate) struct Table {
    /// Held while files lose their names or get others: one retirement or backup at a time.
    pub(crate) turn: Mutex<()>,
    /// Oldest first.
    older: Mutex<VecDeque<Sealed>>,
    older_bytes: AtomicU64,
    older_count: AtomicU64,
    active_bytes: AtomicU64,
    /// The prepared segment's file.
    next_bytes: AtomicU64,
    /// Retired files that wait to serve again: name and length, oldest first.
    spares: Mutex<VecDeque<(String, u64)>>,
    spare_bytes: AtomicU64,
    /// First LSN kept.
    oldest_lsn: AtomicU64,
    /// Highest segment whose start frame a finished sync covers: older ones may be retired.
    synced_seq: AtomicU64,
}

impl Table {
    pub(crate) fn new(older: Vec<Sealed>, active: &ActiveSegment) -> Self {
        let table = Self::default();
        table.note_synced(active.header.seq.get());
        table.set_active(active.file_bytes());
        table.oldest_lsn.store(active.first_lsn, Ordering::Relaxed);
        *table.older.lock() = older.into();
        table.recount(&table.older.lock());
        table
    }

    fn recount(&self, older: &VecDeque<Sealed>) {
        self.older_bytes.store(older.iter().map(|sealed| sealed.bytes).sum(), Ordering::Release);
        self.older_count.store(older.len() as u64, Ordering::Release);
        if let Some(oldest) = older.front() {
            self.oldest_lsn.store(oldest.first_lsn, Ordering::Release);
        }
    }

    pub(crate) fn add(&self, sealed: Sealed) {
        let mut older = self.older.lock();
        older.push_back(sealed);
        self.recount(&older);
    }

    /// Numbers of the completed segments before `seq`, oldest first.
    pub(crate) fn completed_before(&self, seq: SegmentId) -> Vec<SegmentId> {
        let older = self.older.lock();
        older.iter().map(|sealed| sealed.seq).filter(|found| *found < seq).collect()
    }

    /// The first completed segment, if the log works as well without it: it has a synced
    /// successor, and `is_done` says that nobody needs it.
    pub(crate) fn oldest_if(&self, is_done: impl Fn(&Sealed) -> bool) -> Option<Sealed> {
        let synced_seq = self.synced_seq.load(Ordering::Acquire);
        let is_done = |sealed: &&Sealed| sealed.seq.get() < synced_seq && is_done(sealed);
        let older = self.older.lock();
        if mutants::on("wal-m26-unlink-order") {
            return older.iter().rfind(is_done).cloned();
        }
        older.front().filter(is_done).cloned()
    }

    /// Forgets a completed segment, whose file is gone.
    pub(crate) fn remove(&self, gone: &Sealed) {
        let mut older = self.older.lock();
        older.retain(|sealed| sealed.seq != gone.seq);
        self.oldest_lsn.fetch_max(gone.end_lsn, Ordering::AcqRel);
        self.recount(&older);
    }

    /// A sync returned that covers what was written into segment `seq`, its start frame first.
    pub(crate) fn note_synced(&self, seq: u64) {
        self.synced_seq.fetch_max(seq, Ordering::AcqRel);
    }

    pub(crate) fn set_active(&self, bytes: u64) {
        self.active_bytes.store(bytes, Ordering::Release);
    }

    pub(crate) fn active_bytes(&self) -> u64 {
        self.active_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn set_next(&self, bytes: u64) {
        self.next_bytes.store(bytes, Ordering::Release);
    }

    pub(crate) fn add_spare(&self, name: String, bytes: u64) {
        let mut spares = self.spares.lock();
        spares.push_back((name, bytes));
        self.spare_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(crate) fn take_spare(&self) -> Option<(String, u64)> {
        let spare = self.spares.lock().pop_front()?;
        self.spare_bytes.fetch_sub(spare.1, Ordering::AcqRel);
        Some(spare)
    }

    pub(crate) fn spare_count(&self) -> u64 {
        self.spares.lock().len() as u64
    }

    /// Bytes of the log's segments: completed, active, and the next.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.older_bytes.load(Ordering::Acquire)
            + self.active_bytes()
            + self.next_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn spare_bytes(&self) -> u64 {
        self.spare_bytes.load(Ordering::Acquire)
    }

    pub(crate) fn segments(&self) -> u64 {
        self.older_count.load(Ordering::Acquire) + 1
    }

    pub(crate) fn oldest_lsn(&self) -> u64 {
        self.oldest_lsn.load(Ordering::Acquire)
    }
}
