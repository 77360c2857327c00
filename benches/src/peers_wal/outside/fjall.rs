//! fjall: a write batch a batch, with `PersistMode::SyncData`: an fdatasync of its journal before the commit returns.
//! Keys are the numbers. It is a store and not only a log: its tree in memory is part of the work.

use std::path::Path;

use bytes::BufMut;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

pub(crate) struct Log {
    database: Database,
    records: Keyspace,
}

impl LogPeer for Log {
    const NAME: &'static str = "fjall";
    const PART: u64 = 30;
    const PART_ALONE: u64 = 4;

    fn create(dir: &Path, _records: u64) -> Outcome<Self> {
        let database = Database::builder(dir).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Log { database, records })
    }

    fn append(
        &self,
        _lane: u64,
        first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (payload, number) in payloads.zip(first..) {
            let mut key = [0; 8];
            // Sorted as bytes, so the highest byte comes first.
            (&mut key[..]).put_u64(number);
            batch.insert(&self.records, key, payload);
        }
        Ok(batch.commit()?)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }

    fn replay(dir: &Path, mut read: ReadBack) -> Outcome<ReadBack> {
        let Log { records, .. } = Log::create(dir, 0)?;
        for record in records.iter() {
            read.add(&record.value()?);
        }
        Ok(read)
    }
}
