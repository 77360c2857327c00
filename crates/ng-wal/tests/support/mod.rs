//! What the tests of this crate share: small geometry, snapshots of a directory.
#![allow(dead_code)] // each test file uses a part
#![allow(clippy::print_stdout)] // a seed, shown when the test fails

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use ng_wal::{Lsn, Recovery, Synced, WalConfig, WalObserver};

/// Small, so that every boundary is met often.
pub fn config() -> WalConfig {
    let mut config = WalConfig::default();
    config.segment_bytes = 64 << 10;
    config.payload_bytes_max = 10_000;
    config.ring_slots = 256;
    config.max_ahead_bytes = 1 << 20;
    config.full_timeout = std::time::Duration::from_secs(30); // a busy machine is not a full log
    config.store_uuid = Some(7);
    config
}

pub fn replay(recovery: &Recovery) -> Vec<(u64, u8, Vec<u8>)> {
    let records = recovery.replay().map(|record| record.unwrap());
    records.map(|record| (record.lsn.get(), record.kind, record.payload.to_vec())).collect()
}

/// Every file of a directory but the lock, as they were at one moment: files of a log only grow,
/// so two equal looks in a row mean that nothing changed between them.
pub fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let look = || -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        entries
            .filter(|entry| entry.file_name() != "LOCK")
            .filter_map(|entry| {
                let bytes = std::fs::read(entry.path()).ok()?; // renamed meanwhile
                Some((entry.file_name().into_string().unwrap(), bytes))
            })
            .collect()
    };
    let mut before = look();
    loop {
        let after = look();
        if before == after {
            return after;
        }
        before = after;
    }
}

pub fn restore(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
}

/// Seed of a random test: from `NG_SEED`, else a new one; printed either way.
pub fn seed() -> u64 {
    let seed = std::env::var("NG_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64
    });
    println!("NG_SEED={seed}");
    seed
}

/// Waits for syncs by being told of them.
#[derive(Clone, Default)]
pub struct Syncs(Arc<(Mutex<Lsn>, Condvar)>);

impl Syncs {
    pub fn observer(&self) -> Arc<dyn WalObserver> {
        Arc::new(self.clone())
    }

    pub fn until(&self, lsn: Lsn) {
        let (durable, changed) = &*self.0;
        drop(changed.wait_while(durable.lock().unwrap(), |durable| *durable < lsn).unwrap());
    }
}

impl WalObserver for Syncs {
    fn on_synced(&self, event: &Synced) {
        *self.0.0.lock().unwrap() = event.durable_lsn;
        self.0.1.notify_all();
    }
}
