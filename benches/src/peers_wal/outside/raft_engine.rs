//! raft-engine: one log batch a batch, one entry a record, a region for each lane. `write(.., sync = true)` returns
//! after an fdatasync of its file. Files are filled with zeroes beforehand, and nothing is compressed:
//! random coordinates do not shrink. It keeps an index of all entries in memory, which is part of
//! what it does.

use std::path::Path;

use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

/// Entries fetched at once: a reader would not take all into memory.
const FETCH: u64 = 10_000;
const FILE_BYTES: u64 = 32 << 20;
/// Payload, index, tags, and its share of the batch.
const BYTES_PER_RECORD: u64 = 90;

/// A message of the protobuf crate itself that has a number and bytes, so that none need be generated.
struct Numbered;

impl MessageExt for Numbered {
    type Entry = UninterpretedOption;
    fn index(entry: &UninterpretedOption) -> u64 {
        entry.get_positive_int_value()
    }
}

pub(crate) struct Log(Engine);

impl LogPeer for Log {
    const NAME: &'static str = "raft-engine";
    const PART: u64 = 15;
    const PART_ALONE: u64 = 1;

    fn create(dir: &Path, records: u64) -> Outcome<Self> {
        let mut config = configured(dir);
        let files = (records * BYTES_PER_RECORD).div_ceil(FILE_BYTES) + 1;
        config.prefill_for_recycle = true;
        config.prefill_limit = Some(ReadableSize(files * FILE_BYTES));
        Ok(Log(Engine::open(config)?))
    }

    fn append(
        &self,
        lane: u64,
        first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let mut batch = LogBatch::with_capacity(payloads.len());
        let entries: Vec<_> = payloads
            .zip(first + 1..)
            .map(|(payload, index)| {
                let mut entry = UninterpretedOption::new();
                entry.set_positive_int_value(index);
                entry.set_string_value(payload.to_vec());
                entry
            })
            .collect();
        batch.add_entries::<Numbered>(lane + 1, &entries)?;
        self.0.write(&mut batch, true)?;
        Ok(())
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }

    fn replay(dir: &Path, mut read: ReadBack) -> Outcome<ReadBack> {
        let engine = Engine::open(configured(dir))?;
        let mut regions = engine.raft_groups();
        regions.sort_unstable();
        let mut entries = Vec::new();
        for region in regions {
            let (Some(first), Some(last)) = (engine.first_index(region), engine.last_index(region))
            else {
                continue;
            };
            for from in (first..=last).step_by(FETCH as usize) {
                entries.clear();
                let to = (from + FETCH).min(last + 1);
                engine.fetch_entries_to::<Numbered>(region, from, to, None, &mut entries)?;
                entries.iter().for_each(|entry| read.add(entry.get_string_value()));
            }
        }
        Ok(read)
    }
}

fn configured(dir: &Path) -> Config {
    Config {
        dir: dir.to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(FILE_BYTES),
        ..Config::default()
    }
}
