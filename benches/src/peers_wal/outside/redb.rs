//! redb: a write transaction a batch, `Durability::Immediate` (its default): the commit returns after its syncs. Keys
//! are the numbers. It is a store and not only a log: its tree on disk is part of the work.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{
    payload::{Payload, ReadBack},
    peers_wal::outside::{LogPeer, Outcome},
};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

pub(crate) struct Log(Database);

impl LogPeer for Log {
    const NAME: &'static str = "redb";
    const PART: u64 = 15;
    const PART_ALONE: u64 = 4;

    fn create(dir: &Path, _records: u64) -> Outcome<Self> {
        Ok(Log(Database::create(path(dir))?))
    }

    fn append(
        &self,
        _lane: u64,
        first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for (payload, number) in payloads.zip(first..) {
                table.insert(number, &payload[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn close(self) -> Outcome<()> {
        Ok(())
    }

    fn replay(dir: &Path, mut read: ReadBack) -> Outcome<ReadBack> {
        let database = Database::open(path(dir))?;
        let table = database.begin_read()?.open_table(RECORDS)?;
        for record in table.iter()? {
            read.add(record?.1.value());
        }
        Ok(read)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}
