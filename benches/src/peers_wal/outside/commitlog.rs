//! commitlog: a message buffer a batch. Its `flush` hands the messages to the kernel and syncs only its index: nothing
//! in the crate syncs the messages themselves. So that it does what the others do, each flush is
//! followed by an fdatasync of its segment file, through a handle of ours.

use std::{
    fs::{self, File},
    path::Path,
    sync::{Mutex, PoisonError},
};

use commitlog::{
    CommitLog, LogOptions, ReadLimit,
    message::{MessageBuf, MessageSet},
};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

/// A batch of 10,000 is one message set.
const MESSAGES_BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 1 << 20;

pub(crate) struct Log {
    log: Mutex<CommitLog>,
    /// The one segment, for the sync.
    segment: File,
}

impl LogPeer for Log {
    const NAME: &'static str = "commitlog";
    const PART: u64 = 3;
    const PART_ALONE: u64 = 1;

    fn create(dir: &Path, records: u64) -> Outcome<Self> {
        let mut options = LogOptions::new(dir);
        options.message_max_bytes(MESSAGES_BYTES_MAX);
        // Room for all from the start: its index is mapped, and growing it would be part of the time.
        options.index_max_items(records as usize + 1000);
        let log = CommitLog::new(options)?;
        let segment = fs::read_dir(dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "log"))
            .ok_or("no segment")?;
        Ok(Log { log: Mutex::new(log), segment: File::open(segment)? })
    }

    fn append(
        &self,
        _lane: u64,
        _first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut messages: MessageBuf = payloads.collect();
        log.append(&mut messages).map_err(|error| format!("{error:?}"))?;
        log.flush()?;
        Ok(self.segment.sync_data()?)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }

    fn replay(dir: &Path, mut read: ReadBack) -> Outcome<ReadBack> {
        let log = CommitLog::new(LogOptions::new(dir))?;
        let mut next = 0;
        loop {
            let messages = log
                .read(next, ReadLimit::max_bytes(READ_BYTES))
                .map_err(|error| format!("{error:?}"))?;
            if messages.is_empty() {
                return Ok(read);
            }
            for message in messages.iter() {
                read.add(message.payload());
                next = message.offset() + 1;
            }
        }
    }
}
