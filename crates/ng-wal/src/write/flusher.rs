//! The flusher: a sync, and what everybody learns by it. A waiter that leads does the same on its own
//! thread.

use std::time::{Duration, Instant};

use crate::disk::names::file_name;
use crate::observer::{Event, Synced};
use crate::sync::atomic::Ordering;
use crate::write::shared::{DurablePoint, Shared, SyncPoint};
use crate::{Failure, Lsn, mutants};

/// The flusher's thread.
pub(super) fn run(shared: &Shared) {
    loop {
        let mut task = shared.flusher.lock();
        let point = loop {
            if let Some(point) = task.point.take() {
                break point;
            }
            if task.stop {
                return;
            }
            shared.flusher_called.wait(&mut task);
        };
        drop(task);
        flush(shared, &point);
        shared.wake_writer();
        shared.deliver();
    }
}

/// One sync. What it covers was written before it was asked for, so the mark is safe to raise.
pub(super) fn flush(shared: &Shared, point: &SyncPoint) {
    let begun = Instant::now();
    if mutants::on("wal-m03-ack-before-sync") {
        shared.commit.raise(point.lsn);
        shared.commit.tell(Duration::ZERO);
    }
    let mut result = point.file.sync_data();
    if result.is_err() && mutants::on("wal-m17-retry-fsync") {
        result = point.file.sync_data();
    }
    let duration = begun.elapsed();
    let durable_before = shared.commit.durable();
    match result {
        Ok(()) => {
            shared.synced_bytes.store(point.written_bytes, Ordering::Release);
            shared.table.note_synced(point.seq.get());
            *shared.durable_point.lock() = DurablePoint {
                seq: point.seq,
                end_offset: point.end_offset,
                lsn: point.lsn,
                rotated: point.rotated,
            };
            let mut lsn = point.lsn;
            if mutants::on("wal-m04-late-mark") {
                lsn = shared.first_lsn - 1 + shared.counters.written_records.load(Ordering::SeqCst);
            }
            shared.commit.raise(lsn);
            let records = point.lsn.saturating_sub(durable_before);
            let (bytes, durable_lsn) = (point.bytes, Lsn::new(point.lsn));
            shared.counters.add_sync(duration);
            shared.tell(|| Event::Synced(Synced { records, bytes, duration, durable_lsn }));
        }
        Err(e) => {
            let name = file_name(point.seq);
            shared.fail(Failure::io("fdatasync", &name, point.end_offset, &e));
        }
    }
    shared.counters.oldest_syncing_at.store(0, Ordering::Relaxed);
    shared.counters.sync_begun_at.store(0, Ordering::Relaxed);
    shared.syncing.store(false, Ordering::SeqCst);
    // The work is free again: those who have what they wait for go, one of the others leads.
    shared.commit.tell(duration);
}
