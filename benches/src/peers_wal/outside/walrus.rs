//! walrus (crate walrus-rust): batches of 2,000, its largest. Its schedules are a sync of every batch and one by time,
//! behind the acknowledgement. Neither is "each 10,000", so it runs without a schedule of its own, and
//! its file is synced after 10,000 records through a handle of ours: the kinder of the two honest ways.

use std::{
    env,
    fs::{self, File},
    path::Path,
    sync::{Mutex, PoisonError},
};

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

const TOPIC: &str = "records";
const BATCH: usize = 2_000;
const READ_BYTES: usize = 1 << 20;

pub(crate) struct Log {
    log: Walrus,
    /// Its data file, once it has made it.
    file: Mutex<Option<File>>,
    dir: std::path::PathBuf,
}

impl LogPeer for Log {
    const NAME: &'static str = "walrus-rust";
    const PART: u64 = 30;
    const PART_ALONE: u64 = 2;

    fn create(dir: &Path, _records: u64) -> Outcome<Self> {
        let parent = dir.parent().ok_or("no folder above")?;
        let name = dir.file_name().ok_or("no name")?.to_string_lossy();
        // It has no other way to be told where its files go, and without the second it prints each write.
        // SAFETY: no other thread of this program reads the environment at this time: rows run one after the
        // other on this thread, and Rust's own readers take the lock of the standard library.
        unsafe {
            env::set_var("WALRUS_DATA_DIR", parent);
            env::set_var("WALRUS_QUIET", "1");
        }
        let log = Walrus::with_consistency_and_schedule_for_key(
            &name,
            ReadConsistency::AtLeastOnce { persist_every: u32::MAX },
            FsyncSchedule::NoFsync,
        )?;
        Ok(Log { log, file: Mutex::new(None), dir: dir.to_path_buf() })
    }

    fn append(
        &self,
        _lane: u64,
        _first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let payloads: Vec<_> = payloads.collect();
        for batch in payloads.chunks(BATCH) {
            let batch: Vec<&[u8]> = batch.iter().map(|payload| &payload[..]).collect();
            self.log.batch_append_for_topic(TOPIC, &batch)?;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(data_file(&self.dir)?),
        };
        Ok(file.sync_data()?)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }

    fn replay(dir: &Path, mut read: ReadBack) -> Outcome<ReadBack> {
        let Log { log, .. } = Log::create(dir, 0)?;
        loop {
            let entries = log.batch_read_for_topic(TOPIC, READ_BYTES, true)?;
            if entries.is_empty() {
                return Ok(read);
            }
            entries.iter().for_each(|entry| read.add(&entry.data));
        }
    }
}

/// One file of 1,000 MiB holds a round; its name is the time.
fn data_file(dir: &Path) -> Outcome<File> {
    let found = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_none());
    Ok(File::open(found.ok_or("no data file")?)?)
}
