//! The janitor: what happens to segment files before they are active and after they are complete.
//! It prepares the next one, fills it with zeroes while the log has little to do, retires and
//! recycles. It never touches the active file.
//!
//! Room on the disk goes to records first: a file is kept to serve again, and zeroes are written,
//! only while `log_bytes_max` leaves room for more segments than that; and where a zero cannot be
//! written, the log goes without.

use std::io;
use std::time::Duration;

use crate::disk::names::{TEMPORARY, file_name, spare_name};
use crate::disk::segment;
use crate::disk::segment::Sealed;
use crate::disk::shortage::{is_before_sync, is_want_of_space};
use crate::disk::storage::{Access, write_zeroes};
use crate::format::SegmentHeader;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::write::obstacles::{Who, pause_after};
use crate::write::shared::{JanitorTask, Prepared, Shared};
use crate::{Failure, Lsn, RetireError, mutants};

/// How often the janitor looks whether the log has little to do, and then fills.
const FILL_PAUSE: Duration = Duration::from_millis(100);
/// More than this written since the last look, and the disk is the log's alone. A guess: a tenth of
/// what a slow disk takes in that time.
const FILL_LOAD_BYTES: u64 = 4 << 20;
/// Zeroes at a look: 20 MB/s. A segment is full of them before lone Strict appends fill the other.
const FILL_BYTES: u64 = 2 << 20;
/// Zeroes in one go, which the writer may have to wait for.
const FILL_STEP_BYTES: u64 = 256 << 10;
/// What is smaller is written in the time that a look takes.
const FILL_SEGMENT_BYTES_MIN: u64 = 4 << 20;

/// The janitor's thread.
pub(crate) fn run(shared: &Shared) {
    adopt_leftovers(shared);
    let (mut written_before, mut tries) = (0, 0);
    let mut task = shared.janitor.lock();
    loop {
        if task.stop {
            return;
        }
        if std::mem::take(&mut task.tell) {
            MutexGuard::unlocked(&mut task, || shared.deliver());
        } else if std::mem::take(&mut task.trim) {
            MutexGuard::unlocked(&mut task, || trim(shared));
        } else if let Some(header) = task.prepare {
            match MutexGuard::unlocked(&mut task, || prepare(shared, &header)) {
                Ok(prepared) => {
                    tries = 0;
                    shared.obstacles.overcome(Who::Janitor);
                    shared.table.set_next(prepared.file_bytes);
                    task.prepare = None;
                    task.ready = Some(prepared);
                    shared.wake_writer();
                }
                Err((step, e)) => {
                    let failure = Failure::io(step, &file_name(header.seq), 0, &e);
                    if segment::is_final(step, &e) {
                        drop(task);
                        shared.fail(failure);
                        shared.deliver();
                        return;
                    }
                    MutexGuard::unlocked(&mut task, || {
                        shared.hinder(Who::Janitor, failure);
                        shared.deliver();
                        shared.wake_writer(); // it may have to give up
                    });
                    if !task.stop {
                        shared.janitor_called.wait_for(&mut task, pause_after(tries));
                    }
                    tries += 1;
                }
            }
        } else if task.fill && task.ready.as_ref().is_some_and(|ready| ready.fill) {
            shared.janitor_called.wait_for(&mut task, FILL_PAUSE);
            let written = shared.counters.written_bytes.load(Ordering::Relaxed);
            if written - written_before <= FILL_LOAD_BYTES {
                task = match fill(shared, task) {
                    Some(task) => task,
                    None => return,
                };
            }
            written_before = written;
        } else {
            shared.janitor_called.wait(&mut task);
        }
    }
}

/// What a crash left of preparing goes; spares of an earlier run are ours again.
fn adopt_leftovers(shared: &Shared) {
    let io = &*shared.io;
    let usable = segment::spares(io);
    for entry in io.list().unwrap_or_default() {
        if !entry.regular || !entry.name.ends_with(TEMPORARY) {
            continue;
        }
        let bytes = io.open(&entry.name, Access::Read).and_then(|file| file.len()).unwrap_or(0);
        if usable.contains(&entry.name) && keeps_spare(shared, bytes) {
            shared.table.add_spare(entry.name, bytes);
        } else {
            let _ = io.unlink(&entry.name); // nobody reads it; only gives space back
        }
    }
}

/// The file of the next segment: one that served before, if there is one, else a new one.
fn prepare(shared: &Shared, header: &SegmentHeader) -> segment::StepResult<Prepared> {
    trim(shared);
    let room = shared.has_room_for_segments(2);
    let recycled = if room { recycle(shared, header)? } else { None };
    let prepared = match recycled {
        Some(prepared) => prepared,
        None => match segment::make(&*shared.io, header, None) {
            Ok(file) => Prepared { file, header: *header, file_bytes: 0, fill: false },
            Err((step @ ("create" | "write"), e)) if is_want_of_space(&e) => {
                recycle(shared, header)?.ok_or((step, e))?
            }
            Err(failed) => return Err(failed),
        },
    };
    let file_bytes = prepared.file.len().unwrap_or_default();
    let fill =
        room && header.segment_bytes >= FILL_SEGMENT_BYTES_MIN && file_bytes < header.segment_bytes;
    Ok(Prepared { file_bytes, fill, ..prepared })
}

/// The oldest spare as the next segment.
fn recycle(shared: &Shared, header: &SegmentHeader) -> segment::StepResult<Option<Prepared>> {
    let io = &*shared.io;
    while let Some((name, file_bytes)) = shared.table.take_spare() {
        let mut header = *header;
        if mutants::on("wal-m07-salt-reuse") {
            header.salt = segment::salt_of(io, &name).unwrap_or(header.salt);
        }
        match segment::recycle(io, &name, &header, None) {
            Ok(file) => {
                shared.counters.segments_recycled.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(Prepared { file, header, file_bytes, fill: false }));
            }
            // Somebody took it away.
            Err(("open", e)) if e.kind() == io::ErrorKind::NotFound => {}
            Err(("open", e)) => {
                shared.table.add_spare(name, file_bytes);
                return Err(("open", e));
            }
            Err(failed) => return Err(failed), // it is gone, or has the segment's name
        }
    }
    Ok(None)
}

/// Writes some zeroes ahead into the prepared segment, and syncs them, so that the writer's syncs
/// need not. `None` after a failure.
fn fill<'a>(
    shared: &'a Shared,
    mut task: MutexGuard<'a, JanitorTask>,
) -> Option<MutexGuard<'a, JanitorTask>> {
    let mut left = FILL_BYTES;
    let mut filled = None;
    while left > 0 && !task.stop {
        // Under the lock, so that the writer cannot take the file and write records there.
        let Some(ready) = &mut task.ready else { break };
        let room = ready.header.segment_bytes.saturating_sub(ready.file_bytes);
        let step = room.min(left).min(FILL_STEP_BYTES);
        let bytes = ready.file_bytes..ready.file_bytes + step;
        ready.fill = step > 0
            && shared.has_room_for_segments(2)
            && write_zeroes(&*ready.file, bytes).is_ok();
        if !ready.fill {
            break;
        }
        ready.file_bytes += step;
        left -= step;
        shared.table.set_next(ready.file_bytes);
        filled = Some((ready.file.clone(), ready.header, ready.file_bytes));
        MutexGuard::bump(&mut task);
    }
    let Some((file, header, end)) = filled else { return Some(task) };
    let Err(e) = MutexGuard::unlocked(&mut task, || file.sync_data()) else { return Some(task) };
    let failure = Failure::io("fdatasync", &file_name(header.seq), end, &e);
    if task.ready.take_if(|ready| ready.header.salt == header.salt).is_some() {
        // It holds nothing yet: another file takes its place, and its name when that is durable.
        shared.table.set_next(0);
        task.prepare = Some(SegmentHeader { salt: segment::new_salt(), ..header });
        MutexGuard::unlocked(&mut task, || {
            shared.hinder(Who::Janitor, failure);
            shared.deliver();
        });
        return Some(task);
    }
    drop(task);
    // The writer has it by now, and the error of records there would not be told again.
    shared.fail(failure);
    shared.deliver();
    None
}

/// Gives spares back while the log's limit leaves no room for them.
fn trim(shared: &Shared) {
    while !shared.has_room_for_segments(0) {
        let Some((name, _)) = shared.table.take_spare() else { return };
        let _ = shared.io.unlink(&name); // nobody reads it
    }
}

/// Whether one more file of `bytes` may be kept to serve again.
fn keeps_spare(shared: &Shared, bytes: u64) -> bool {
    let config = &shared.config;
    shared.table.spare_count() < u64::from(config.spare_segments_max)
        // A short one would have to grow again, and a longer one is not read to its end.
        && (config.segment_bytes / 2..=config.segment_bytes).contains(&bytes)
        && shared.has_room_for_segments(1)
}

impl Shared {
    /// Room for `more` segments on top of all files there are?
    fn has_room_for_segments(&self, more: u64) -> bool {
        let config = &self.config;
        let used = self.table.log_bytes() + self.table.spare_bytes();
        let kept = config.reserved_bytes + config.slack_bytes();
        used + kept + more * config.segment_bytes <= config.log_bytes_max
    }

    /// Asks for spares to be given back if they take the room of records.
    pub(crate) fn trim_if_scarce(&self) {
        if self.table.spare_bytes() > 0 && !self.has_room_for_segments(0) {
            self.janitor.lock().trim = true;
            self.janitor_called.notify_one();
        }
    }

    /// Retires completed segments that hold only records below `lsn`, oldest first. Each loses its
    /// name for good before the next one does: a hole in the numbers would be taken for a loss.
    pub(crate) fn retire_before(&self, lsn: Lsn) -> Result<u64, RetireError> {
        let last_lsn = Lsn::new(self.ring.next_lsn() - 1);
        if lsn > last_lsn.next() {
            return Err(RetireError::NotAppended { lsn, last_lsn });
        }
        let _turn = self.table.turn.lock();
        let mut removed = 0;
        let is_done = |sealed: &Sealed| {
            let end =
                if mutants::on("wal-m24-retire-early") { sealed.first_lsn } else { sealed.end_lsn };
            end <= lsn.get()
        };
        while let Some(oldest) = self.table.oldest_if(is_done) {
            self.retire(&oldest).map_err(|(file, operation, source)| RetireError::Io {
                operation,
                file,
                source,
            })?;
            removed += 1;
            self.counters.segments_retired.fetch_add(1, Ordering::Relaxed);
            self.wake_writer(); // there may be room in the log now
        }
        Ok(removed)
    }

    /// One segment's file loses its name: it becomes a spare, or goes.
    fn retire(&self, sealed: &Sealed) -> Result<(), (String, &'static str, io::Error)> {
        let name = file_name(sealed.seq);
        let linked = self.io.is_linked_elsewhere(&name).unwrap_or(true);
        let spare = spare_name(sealed.seq);
        let kept = !linked && keeps_spare(self, sealed.bytes);
        let (step, done) = match kept {
            true => ("rename", self.io.rename(&name, &spare)),
            false => ("unlink", self.io.unlink(&name)),
        };
        let kept = match done {
            Ok(()) => kept,
            // Gone already: perhaps by a call that did not come further.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.io.open(&spare, Access::Read).is_ok()
            }
            Err(e) => return Err((name, step, e)),
        };
        if let Err(e) = self.io.sync_dir() {
            if is_before_sync(&e) {
                return Err((".".into(), "open of the directory", e)); // the next call goes on here
            }
            // Which names the disk has is unknown from now on.
            self.fail(Failure::io("fsync of the directory", ".", 0, &e));
            self.deliver();
            return Err((".".into(), "fsync of the directory", e));
        }
        self.table.remove(sealed);
        if kept {
            self.table.add_spare(spare, sealed.bytes);
        }
        Ok(())
    }
}
