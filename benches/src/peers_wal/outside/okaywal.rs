//! okaywal: one entry a batch, one chunk a record. A commit returns after a `sync_data` of its file and the directory
//! (its `log_file.rs`), as ours does. One file, filled with zeroes beforehand, takes the round: no
//! checkpoint, which would leave nothing to be read back.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use okaywal::{
    Configuration, Entry, EntryId, LogManager, ReadChunkResult, SegmentReader, WriteAheadLog,
};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

/// A chunk has 9 bytes beside its payload.
const BYTES_PER_RECORD: u64 = 64 + 9;
/// Its own 16 KiB would mean a write for each 200 records.
const BUFFER_BYTES: usize = 256 << 10;

pub(crate) struct Log(WriteAheadLog);

impl LogPeer for Log {
    const NAME: &'static str = "okaywal";
    const PART: u64 = 3;
    const PART_ALONE: u64 = 1;

    fn create(dir: &Path, records: u64) -> Outcome<Self> {
        let bytes = (records * BYTES_PER_RECORD * 11 / 10 + (1 << 20)).next_multiple_of(1 << 20);
        Ok(Log(configured(dir, u32::try_from(bytes)?).open(Collect::default())?))
    }

    fn append(
        &self,
        _lane: u64,
        _first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let mut entry = self.0.begin_entry()?;
        for payload in payloads {
            entry.write_chunk(&payload)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(self.0.shutdown()?)
    }

    fn replay(dir: &Path, read: ReadBack) -> Outcome<ReadBack> {
        let collect = Collect(Arc::new(Mutex::new(read)));
        let found = Arc::clone(&collect.0);
        // It fills the file it found up to a multiple of this; the smallest does the least.
        configured(dir, 1 << 20).open(collect)?.shutdown()?;
        let read = *found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(read)
    }
}

fn configured(dir: &Path, preallocate_bytes: u32) -> Configuration {
    Configuration::default_for(dir)
        .preallocate_bytes(preallocate_bytes)
        .checkpoint_after_bytes(u64::MAX)
        .buffer_bytes(BUFFER_BYTES)
}

/// Takes what is recovered.
#[derive(Clone, Default)]
struct Collect(Arc<Mutex<ReadBack>>);

impl fmt::Debug for Collect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collect")
    }
}

impl LogManager for Collect {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut payload: Payload = [0; 64];
        loop {
            match entry.read_chunk()? {
                ReadChunkResult::Chunk(mut chunk) => {
                    io::Read::read_exact(&mut chunk, &mut payload)?;
                    // Without this nothing is checked; the others check as they read.
                    if chunk.check_crc()? {
                        read.add(&payload);
                    }
                }
                ReadChunkResult::EndOfEntry | ReadChunkResult::AbortedEntry => return Ok(()),
            }
        }
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        _entries: &mut SegmentReader,
        _wal: &WriteAheadLog,
    ) -> io::Result<()> {
        Ok(())
    }
}
