//! The whole log over a disk that fails on demand: what is latched, what is waited for.

use std::time::Duration;

use crate::disk::memory_disk::MemoryDir;
use crate::disk::names::{is_spare_name, spare_name};
use crate::format::decode_segment_header;
use crate::observer::{RecoveredEvent, Synced, Written};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex, thread};
use crate::{
    AppendError, CloseError, Durability, Failure, Health, Lsn, OpenError, Recovery, SegmentId,
    WaitError, Wal, WalConfig, WalObserver,
};

const LONG: Duration = Duration::from_secs(30);

fn config() -> WalConfig {
    WalConfig {
        segment_bytes: 64 << 10,
        payload_bytes_max: 10_000,
        max_ahead_bytes: 1 << 20,
        ring_slots: 64,
        full_timeout: LONG,
        ..WalConfig::default()
    }
}

/// For a test that means to see `Full`.
fn impatient() -> WalConfig {
    WalConfig { full_timeout: Duration::from_millis(200), ..config() }
}

fn open(dir: &Arc<MemoryDir>, config: WalConfig) -> Result<(Wal, Recovery), OpenError> {
    Wal::open_over(dir.clone(), None, config, None)
}

/// The log has a record, and the next segment is there: the janitor has nothing to do.
fn first_record(wal: &Wal) {
    assert_eq!(wal.append_durable(1, b"first", Durability::Strict), Ok(Lsn::new(1)));
}

#[test]
fn the_first_failed_sync_is_final_and_everybody_learns_its_cause() {
    #[derive(Default)]
    struct Failures(Mutex<Vec<Failure>>);
    impl WalObserver for Failures {
        fn on_failed(&self, failure: &Failure) {
            self.0.lock().push(failure.clone());
        }
    }
    let dir = MemoryDir::new();
    let told = Arc::new(Failures::default());
    let (wal, _) = open(&dir, WalConfig { observer: Some(told.clone()), ..config() }).unwrap();
    let first = wal.append_durable(1, b"kept", Durability::Strict).unwrap();
    dir.faults.syncs_left.store(0, Ordering::Relaxed);
    let error = wal.append_durable(1, b"lost", Durability::Strict).unwrap_err();
    let AppendError::DurabilityUnknown { lsn, cause: WaitError::Failed(failure) } = &error else {
        panic!("{error}");
    };
    assert_eq!(*lsn, Lsn::new(2));
    assert_eq!((failure.operation, failure.errno), ("fdatasync", Some(5)));
    assert_eq!(failure.file, "wal-0000000001.seg");
    // The disk says Ok from now on; the log must not believe it.
    let syncs = dir.faults.syncs.load(Ordering::Relaxed);
    let frozen = dir.snapshot();
    assert_eq!(wal.append(1, b"x"), Err(AppendError::Failed(failure.clone())));
    assert_eq!(wal.try_append(1, b"x"), Err(AppendError::Failed(failure.clone())));
    assert_eq!(wal.wait_durable(*lsn, LONG), Err(WaitError::Failed(failure.clone())));
    assert_eq!(wal.wait_durable(first, LONG), Ok(()));
    assert_eq!(wal.health(), Health::Failed(failure.clone()));
    assert_eq!((wal.durable_lsn(), wal.stats().failed), (first, 1));
    let expected = CloseError::Failed { durable_lsn: first, failure: failure.clone() };
    assert_eq!(wal.close(), Err(expected));
    assert_eq!(dir.faults.syncs.load(Ordering::Relaxed), syncs, "a sync was tried again");
    assert_eq!(dir.snapshot(), frozen, "the log went on writing");
    assert_eq!(*told.0.lock(), std::slice::from_ref(failure));
    let (_, recovery) = open(&dir, config()).unwrap();
    assert!(!recovery.sealed && recovery.last_lsn >= first);
}

#[test]
fn waiters_of_a_log_that_fails_are_woken() {
    let dir = MemoryDir::new();
    let mut relaxed = config();
    relaxed.durability = Durability::Relaxed;
    let (wal, _) = open(&dir, relaxed).unwrap();
    first_record(&wal);
    dir.faults.syncs_left.store(0, Ordering::Relaxed);
    for _ in 0..20 {
        wal.append(1, b"x").unwrap();
    }
    thread::scope(|scope| {
        let waits: Vec<_> = (2..=5)
            .map(|lsn| {
                let wal = &wal;
                scope.spawn(move || wal.wait_durable(Lsn::new(lsn), LONG))
            })
            .collect();
        for wait in waits {
            assert!(matches!(wait.join().unwrap(), Err(WaitError::Failed(_))));
        }
    });
}

#[test]
fn a_full_disk_is_back_pressure_and_the_log_goes_on_when_space_returns() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, impatient()).unwrap();
    wal.append_durable(1, b"before", Durability::Strict).unwrap();
    dir.faults.full.store(true, Ordering::Relaxed);
    let mut accepted = 1;
    let error = loop {
        match wal.append(1, b"queued") {
            Ok(lsn) => accepted = lsn.get(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AppendError::Full { .. }), "{error}");
    assert_eq!(wal.health(), Health::DiskFull);
    assert_eq!(wal.durable_lsn(), Lsn::new(1));
    dir.faults.full.store(false, Ordering::Relaxed);
    let lsn = wal.append_durable(1, b"after", Durability::Strict).unwrap();
    assert_eq!(lsn.get(), accepted + 1);
    assert_eq!(wal.health(), Health::Healthy);
    wal.close().unwrap();
    let (_, recovery) = open(&dir, config()).unwrap();
    assert_eq!(recovery.replay().filter(|record| record.is_ok()).count() as u64, lsn.get());
}

#[test]
fn a_disk_that_stays_full_ends_a_close_in_an_error_and_not_in_a_hang() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, impatient()).unwrap();
    wal.append_durable(1, b"kept", Durability::Strict).unwrap();
    dir.faults.full.store(true, Ordering::Relaxed);
    wal.append(1, b"nowhere to go").unwrap();
    let CloseError::Failed { durable_lsn, failure } = wal.close().unwrap_err() else {
        panic!("not as failed");
    };
    assert_eq!(durable_lsn, Lsn::new(1));
    assert_eq!(failure.kind, std::io::ErrorKind::StorageFull);
    dir.faults.full.store(false, Ordering::Relaxed);
    let (_, recovery) = open(&dir, config()).unwrap();
    assert_eq!(recovery.last_lsn, Lsn::new(1));
}

#[test]
fn a_panic_in_a_thread_of_the_log_is_an_error_and_not_a_hang() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    first_record(&wal);
    dir.faults.sync_panics.store(true, Ordering::Relaxed);
    let error = wal.append_durable(1, b"x", Durability::Strict).unwrap_err();
    assert!(error.to_string().contains("durability is unknown"), "{error}");
    let Health::Failed(failure) = wal.health() else { panic!("{:?}", wal.health()) };
    // Who syncs is who comes first: the waiter, or the writer thread that happens to look.
    assert!(["leading a sync", "flusher thread"].contains(&failure.operation), "{failure:?}");
    assert!(wal.close().is_err());
}

#[test]
fn a_durable_append_alone_is_one_write_pad_included() {
    const APPENDS: u64 = 100;
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, WalConfig { segment_bytes: 1 << 20, ..config() }).unwrap();
    first_record(&wal);
    let before = dir.faults.changes.load(Ordering::Relaxed);
    for _ in 0..APPENDS {
        wal.append_durable(1, &[7; 64], Durability::Strict).unwrap();
    }
    // A record that the writer thread happens to take before its waiter asks gets its pad later.
    let writes = dir.faults.changes.load(Ordering::Relaxed) - before;
    assert!((APPENDS..APPENDS * 3 / 2).contains(&writes), "{writes}");
    wal.close().unwrap();
}

#[test]
fn short_writes_are_completed() {
    let dir = MemoryDir::new();
    dir.faults.write_at_most.store(33, Ordering::Relaxed);
    let (wal, _) = open(&dir, config()).unwrap();
    for i in 0..500u64 {
        wal.append(1, &[i as u8; 200]).unwrap();
    }
    wal.close().unwrap();
    let (_, recovery) = open(&dir, config()).unwrap();
    for (i, record) in recovery.replay().enumerate() {
        assert_eq!(record.unwrap().payload, [i as u8; 200][..]);
    }
    assert_eq!(recovery.records, 500);
}

#[test]
fn an_idle_log_promises_on_disk_what_the_last_sync_made_durable() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    wal.append_durable(1, b"acknowledged", Durability::Strict).unwrap();
    // Behind a sync point, where a block ends; it may have come before we look.
    let promised = || {
        let block = crate::format::BLOCK_BYTES as usize;
        dir.snapshot().first_key_value().is_some_and(|(_, bytes)| bytes.len() % block != 0)
    };
    let begun = std::time::Instant::now();
    while !promised() {
        thread::yield_now(); // the promise comes by itself
        assert!(begun.elapsed() < LONG, "no promise");
    }
    // A crash now, and rot in the acknowledged record: it must be seen.
    let mut files = dir.snapshot();
    let bytes = files.values_mut().next().unwrap();
    bytes[crate::format::FIRST_FRAME_OFFSET as usize + 70] ^= 1;
    let error = open(&MemoryDir::from_snapshot(&files), config()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn blocks_once_synced_stay_and_segments_are_written_in_order_and_a_close_leaves_nothing_unsynced() {
    let dir = MemoryDir::new();
    for durability in [Durability::Relaxed, Durability::Balanced, Durability::Strict] {
        let (wal, _) = open(&dir, WalConfig { durability, sync_records: 7, ..config() }).unwrap();
        for i in 0..400u64 {
            wal.append(1, &[i as u8; 700]).unwrap();
            if i % 50 == 0 {
                wal.sync().unwrap();
            }
        }
        wal.sync().unwrap();
        let stats = wal.stats();
        assert!(stats.rotations_total >= 4, "{stats:?}");
        let retired = wal.retire_before(wal.last_lsn().next()).unwrap();
        assert!(retired >= 4);
        wal.close().unwrap();
        assert!(dir.faults.unsynced.lock().is_empty(), "{:?}", dir.faults.unsynced.lock());
        assert!(dir.faults.breaches.lock().is_empty(), "{:?}", dir.faults.breaches.lock());
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_an_io_error_and_never_a_shorter_log() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    wal.append(1, b"x").unwrap();
    wal.close().unwrap();
    dir.faults.unreadable.store(true, Ordering::Relaxed);
    let before = dir.snapshot();
    let error = open(&dir, config()).unwrap_err();
    assert!(matches!(error, OpenError::Io { operation: "read", .. }), "{error}");
    assert_eq!(dir.snapshot(), before);
}

/// Appends and retires until `rotations` segments were filled.
fn go_round(wal: &Wal, rotations: u64) {
    while wal.stats().rotations_total < rotations {
        for i in 0..20u64 {
            wal.append(1, &[i as u8; 700]).unwrap();
        }
        let durable = wal.sync().unwrap();
        wal.retire_before(durable).unwrap();
    }
}

#[test]
fn retired_files_serve_again_under_another_salt_and_their_number_is_bounded() {
    let dir = MemoryDir::new();
    let mut salts = std::collections::BTreeMap::new();
    let (wal, _) = open(&dir, config()).unwrap();
    for round in 1..=30 {
        go_round(&wal, round);
        let files = dir.snapshot();
        assert!(files.len() <= 2 + 1 + 3, "{:?}", files.keys());
        assert!(files.keys().filter(|name| is_spare_name(name)).count() <= 2);
        for header in files.values().filter_map(|bytes| decode_segment_header(bytes).ok()) {
            let first = salts.insert(header.salt, header.seq).unwrap_or(header.seq);
            assert_eq!(first, header.seq, "one salt for two segments");
        }
    }
    let stats = wal.stats();
    assert!(stats.segments_recycled_total >= 20, "{stats:?}");
    let last = wal.append_durable(1, b"the last one", Durability::Strict).unwrap();
    assert!(dir.faults.breaches.lock().is_empty(), "{:?}", dir.faults.breaches.lock());
    // A crash now: what the active file held before is not taken for records.
    let (again, recovery) = open(&MemoryDir::from_snapshot(&dir.snapshot()), config()).unwrap();
    assert_eq!(recovery.last_lsn, last);
    let replayed: Vec<_> = recovery.replay().map(|record| record.unwrap().lsn.get()).collect();
    assert_eq!(replayed, (recovery.first_lsn.get()..=last.get()).collect::<Vec<_>>());
    again.close().unwrap();
}

#[test]
fn each_name_is_durable_before_the_next_one_changes_and_the_oldest_segment_goes_first() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    while wal.stats().rotations_total < 5 {
        wal.append(1, &[0; 700]).unwrap();
    }
    let durable = wal.sync().unwrap();
    assert!(wal.retire_before(durable).unwrap() >= 4);
    go_round(&wal, 9);
    wal.close().unwrap();
    let names = dir.faults.names.lock().clone();
    // A segment that goes, and one that gets its name: each is synced before the next of its kind.
    // Between the two kinds there is no order, as two threads do them; but none goes without a sync.
    let (mut retired, mut recycled, mut changes, mut syncs) = (Vec::new(), 0, 0, 0);
    let mut unsynced = [false; 2];
    for words in names.iter().map(|name| name.split(' ').collect::<Vec<_>>()) {
        let (goes, comes) = match words.as_slice() {
            ["sync"] => {
                syncs += 1;
                unsynced = [false; 2];
                continue;
            }
            [_, from, to @ ..] => {
                recycled += u32::from(is_spare_name(from) && !to.is_empty());
                (from.ends_with(".seg"), to.iter().any(|to| to.ends_with(".seg")))
            }
            other => panic!("{other:?}"),
        };
        for (kind, unsynced) in [goes, comes].into_iter().zip(&mut unsynced) {
            assert!(!(kind && *unsynced), "{words:?} before the sync of the one before");
            *unsynced |= kind;
            changes += u32::from(kind);
        }
        if goes {
            retired.push(words[1].to_owned());
        }
    }
    assert!(syncs >= changes, "{syncs} syncs of {changes} changes");
    assert!(recycled > 0 && retired.len() >= 6);
    assert!(retired.is_sorted(), "{retired:?}");
}

#[test]
fn what_a_crash_left_of_recycling_serves_again_or_goes() {
    let dir = MemoryDir::new();
    let spare = spare_name(SegmentId::new(7));
    dir.put(&spare, vec![9; 64 << 10]);
    dir.put(&spare_name(SegmentId::new(8)), vec![9; 100]);
    dir.put("wal-0000000002.seg.tmp", vec![9; 100]);
    dir.put("notes.tmp", vec![9; 100]);
    let (wal, recovery) = open(&dir, config()).unwrap();
    assert_eq!(recovery.unknown_files, ["notes.tmp"]);
    while wal.stats().rotations_total == 0 {
        wal.append(1, &[0; 700]).unwrap();
    }
    assert_eq!(wal.stats().segments_recycled_total, 1);
    wal.close().unwrap();
    let files = dir.snapshot();
    assert!(files.contains_key("notes.tmp"));
    assert!(!files.keys().any(|name| is_spare_name(name)), "{:?}", files.keys());
}

#[test]
fn the_next_segment_is_filled_with_zeroes_while_the_log_has_little_to_do() {
    let dir = MemoryDir::new();
    let large = WalConfig { segment_bytes: 4 << 20, ring_slots: 1024, ..config() };
    let (wal, _) = open(&dir, large.clone()).unwrap();
    for _ in 0..300 {
        wal.append(1, &[1; 5_000]).unwrap();
    }
    wal.sync().unwrap();
    let next = "wal-0000000002.seg";
    let begun = std::time::Instant::now();
    while dir.snapshot().get(next).is_none_or(|bytes| bytes.len() < 4 << 20) {
        assert!(begun.elapsed() < LONG, "not filled");
        thread::yield_now();
    }
    while wal.stats().rotations_total < 2 {
        wal.append(1, &[1; 5_000]).unwrap();
    }
    let last = wal.sync().unwrap();
    assert!(dir.faults.breaches.lock().is_empty(), "{:?}", dir.faults.breaches.lock());
    let (_, recovery) = open(&MemoryDir::from_snapshot(&dir.snapshot()), large).unwrap();
    assert_eq!(recovery.last_lsn, last);
}

#[test]
fn what_is_written_while_a_sync_runs_is_not_covered_by_it() {
    let dir = MemoryDir::new();
    let relaxed = WalConfig { durability: Durability::Relaxed, ..config() };
    let (wal, _) = open(&dir, relaxed).unwrap();
    first_record(&wal);
    let before = dir.faults.syncs.load(Ordering::Relaxed);
    dir.faults.syncs_allowed.store(0, Ordering::Relaxed);
    thread::scope(|scope| {
        let strict = scope.spawn(|| wal.append_durable(1, b"first", Durability::Strict));
        while dir.faults.syncs.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
        wal.append(1, b"second").unwrap();
        while wal.stats().written_records_total < 3 {
            thread::yield_now();
        }
        assert!(wal.stats().oldest_unsynced_ns > 0);
        dir.faults.syncs_allowed.store(1, Ordering::Relaxed);
        let outcome = strict.join().unwrap();
        let durable = wal.durable_lsn();
        dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
        assert_eq!((outcome, durable), (Ok(Lsn::new(2)), Lsn::new(2)));
    });
    assert_eq!(wal.sync(), Ok(Lsn::new(3)));
    assert_eq!(wal.stats().oldest_unsynced_ns, 0);
}

#[test]
fn an_observer_learns_what_was_recovered_written_and_synced_and_a_lone_strict_append_leads() {
    #[derive(Default)]
    struct Seen {
        recovered: Mutex<Vec<RecoveredEvent>>,
        written: Mutex<Vec<Written>>,
        synced: Mutex<Vec<Synced>>,
        threads: Mutex<std::collections::HashSet<thread::ThreadId>>,
    }
    impl WalObserver for Seen {
        fn on_recovered(&self, event: &RecoveredEvent) {
            self.recovered.lock().push(event.clone());
        }
        fn on_written(&self, event: &Written) {
            self.written.lock().push(event.clone());
        }
        fn on_synced(&self, event: &Synced) {
            self.synced.lock().push(event.clone());
            self.threads.lock().insert(thread::current().id());
        }
    }
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    for _ in 0..10 {
        wal.append(1, b"before").unwrap();
    }
    wal.close().unwrap();
    let seen = Arc::new(Seen::default());
    let (wal, _) = open(&dir, WalConfig { observer: Some(seen.clone()), ..config() }).unwrap();
    let recovered = seen.recovered.lock().clone();
    assert_eq!((recovered.len(), recovered[0].records, recovered[0].last_lsn.get()), (1, 10, 10));
    for _ in 0..100 {
        wal.append_durable(1, b"strict", Durability::Strict).unwrap();
    }
    let stats = wal.stats();
    wal.close().unwrap();
    assert!(seen.threads.lock().contains(&thread::current().id()), "never led");
    let written = seen.written.lock();
    assert_eq!(written.iter().map(|event| event.records).sum::<u64>(), 100);
    assert_eq!(written.last().unwrap().last_lsn, Lsn::new(110));
    let synced = seen.synced.lock();
    assert_eq!(synced.iter().map(|event| event.records).sum::<u64>(), 100);
    assert!(synced.is_sorted_by_key(|event| event.durable_lsn));
    assert!(synced.iter().map(|event| event.bytes).sum::<u64>() >= stats.written_bytes_total);
}

#[test]
fn appends_go_on_while_a_full_segment_is_synced() {
    let dir = MemoryDir::new();
    let relaxed = WalConfig {
        durability: Durability::Relaxed,
        segment_bytes: 1 << 20,
        ring_slots: 1024,
        ..impatient()
    };
    let (wal, _) = open(&dir, relaxed).unwrap();
    for _ in 0..600 {
        wal.append(1, &[1; 1000]).unwrap();
    }
    let prepared = || dir.snapshot().contains_key("wal-0000000002.seg");
    while !prepared() {
        thread::yield_now();
    }
    wal.sync().unwrap();
    dir.faults.syncs_allowed.store(0, Ordering::Relaxed);
    // Far more than the first segment and the ring take: it gathers in memory.
    let mut outcome = Ok(Lsn::NONE);
    for i in 0..4_700 {
        let payload: &[u8] = if i < 700 { &[1; 1000] } else { &[2; 80] };
        outcome = outcome.and_then(|_| wal.append(1, payload));
    }
    let rotated = wal.stats().rotations_total;
    dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
    outcome.unwrap();
    assert_eq!(rotated, 0);
    let last = wal.sync().unwrap();
    assert_eq!(wal.stats().rotations_total, 1);
    assert!(dir.faults.breaches.lock().is_empty(), "{:?}", dir.faults.breaches.lock());
    wal.close().unwrap();
    let (_, recovery) = open(&dir, config()).unwrap();
    assert_eq!(recovery.last_lsn, last);
}

#[test]
fn a_log_on_a_full_disk_opens_again_and_again_and_takes_records_when_there_is_space() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, impatient()).unwrap();
    first_record(&wal);
    let mut files = dir.snapshot();
    drop(wal);
    for round in 0..4 {
        let dir = MemoryDir::from_snapshot(&files);
        dir.faults.growth_left.store(0, Ordering::Relaxed);
        let (wal, recovery) = open(&dir, impatient()).unwrap();
        assert_eq!(recovery.last_lsn, Lsn::new(1), "round {round}");
        // In the ring, and no further: there is no file for who opens after it.
        let lsn = wal.append(1, b"waits").unwrap();
        assert!(wal.wait_durable(lsn, Duration::from_millis(20)).is_err());
        files = dir.snapshot();
        dir.faults.growth_left.store(-1, Ordering::Relaxed);
        assert_eq!(wal.wait_durable(lsn, LONG), Ok(()));
        wal.close().unwrap();
    }
}
