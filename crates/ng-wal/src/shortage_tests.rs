//! What the operating system refuses for a while, beside the disk's space: waited for, and never
//! the end of a log whose records are all where they belong. And the bounds of a full log.

use std::time::Duration;

use crate::disk::memory_disk::MemoryDir;
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Mutex, thread};
use crate::{
    AppendError, Durability, FullCause, FullEvent, Health, Lsn, OpenError, ReadError, Reader,
    Recovery, RetireError, WaitError, Wal, WalConfig, WalObserver,
};

const LONG: Duration = Duration::from_secs(30);

const EPERM: i32 = 1;
const EINTR: i32 = 4;
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

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

fn open(dir: &Arc<MemoryDir>, config: WalConfig) -> Result<(Wal, Recovery), OpenError> {
    Wal::open_over(dir.clone(), None, config, None)
}

fn until(what: &str, come: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !come() {
        assert!(begun.elapsed() < LONG, "{what} did not come");
        thread::yield_now();
    }
}

fn first_record(wal: &Wal) {
    assert_eq!(wal.append_durable(1, b"first", Durability::Strict), Ok(Lsn::new(1)));
}

/// An owner's program had used up its descriptors when the log came to a segment's end; the log was
/// read-only from then on, though nothing durable was in doubt.
#[test]
fn what_is_refused_while_the_next_segment_is_prepared_is_back_pressure_and_never_final() {
    for errno in [EMFILE, ENFILE, ENOMEM, EDQUOT, EINTR, EAGAIN, ENOSPC, EIO, EPERM] {
        let dir = MemoryDir::new();
        let quick = WalConfig { full_timeout: Duration::from_millis(50), ..config() };
        let (wal, _) = open(&dir, quick).unwrap();
        first_record(&wal);
        dir.faults.refuse(-1, errno);
        let mut accepted = 1;
        let error = loop {
            match wal.append(1, &[7; 700]) {
                Ok(lsn) => accepted = lsn.get(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AppendError::Full { .. }), "{errno}: {error}");
        assert_ne!(wal.health(), Health::Healthy, "{errno}");
        assert!(!matches!(wal.health(), Health::Failed(_)), "{errno}: {:?}", wal.health());
        dir.faults.refuse(3, errno);
        let lsn = wal.append_durable(1, b"after", Durability::Strict);
        let lsn = match lsn {
            Err(AppendError::Full { .. }) => {
                until("room", || wal.try_append(1, b"x").is_ok());
                wal.append_durable(1, b"after", Durability::Strict).unwrap()
            }
            other => other.unwrap(),
        };
        assert!(lsn.get() > accepted);
        until("health", || wal.health() == Health::Healthy);
        wal.close().unwrap();
        let (_, recovery) = open(&dir, config()).unwrap();
        assert_eq!(recovery.last_lsn, lsn, "{errno}");
        assert_eq!(recovery.replay().filter(|record| record.is_ok()).count() as u64, lsn.get());
    }
}

#[test]
fn a_failed_sync_of_a_file_that_holds_nothing_costs_the_file_and_not_the_log() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    // The first record waits for the next segment: its file's sync is the next one there is.
    dir.faults.syncs_left.store(0, Ordering::Relaxed);
    first_record(&wal);
    assert_eq!(wal.health(), Health::Healthy);
    let files = dir.snapshot();
    assert!(files.contains_key("wal-0000000002.seg"), "{:?}", files.keys());
    assert!(!files.keys().any(|name| name.ends_with(".tmp")), "{:?}", files.keys());
    wal.close().unwrap();
}

/// It took the janitor's work for a full disk when nobody wanted to wait for room.
#[test]
fn a_close_waits_for_the_next_segment_however_short_the_patience_for_room_is() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, WalConfig { full_timeout: Duration::ZERO, ..config() }).unwrap();
    let before = dir.faults.syncs.load(Ordering::Relaxed);
    dir.faults.syncs_allowed.store(0, Ordering::Relaxed);
    wal.append(1, b"first").unwrap();
    until("the next segment's sync", || dir.faults.syncs.load(Ordering::Relaxed) > before);
    thread::scope(|scope| {
        let closing = scope.spawn(|| wal.shut());
        until("a closed log", || wal.shared().ring.is_closed());
        dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
        closing.join().unwrap().unwrap();
    });
    let (_, recovery) = open(&dir, config()).unwrap();
    assert_eq!((recovery.last_lsn, recovery.sealed), (Lsn::new(1), true));
}

#[test]
fn records_beyond_the_end_cannot_be_retired() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    first_record(&wal);
    let error = wal.retire_before(Lsn::new(3)).unwrap_err();
    let RetireError::NotAppended { lsn, last_lsn } = error else { panic!("{error}") };
    assert_eq!((lsn, last_lsn), (Lsn::new(3), Lsn::new(1)));
    assert_eq!(wal.retire_before(Lsn::new(2)).unwrap(), 0);
}

#[test]
fn the_bytes_that_wait_to_be_written_are_seen() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    first_record(&wal);
    until("an empty queue", || wal.stats().queue_records == 0);
    assert_eq!(wal.stats().queue_bytes, 0);
    dir.faults.full.store(true, Ordering::Relaxed);
    (0..10).for_each(|_| _ = wal.append(1, b"waits").unwrap());
    assert_eq!(wal.stats().queue_bytes, 10 * 128);
    wal.append(1, &[7; 1_000]).unwrap();
    assert_eq!(wal.stats().queue_bytes, 11 * 128 + 1_000);
    dir.faults.full.store(false, Ordering::Relaxed);
    wal.sync().unwrap();
    assert_eq!(wal.stats().queue_bytes, 0);
    wal.close().unwrap();
}

/// Each unclean restart took a segment's first blocks from the reserve that the next one needed.
#[test]
fn a_log_at_its_limit_opens_again_and_again_after_kills_and_does_not_grow() {
    let dir = MemoryDir::new();
    let mut small = WalConfig { full_timeout: Duration::ZERO, ..config() };
    small.reserved_bytes = 64 << 10;
    small.log_bytes_max = 4 * small.segment_bytes + small.reserved_bytes + (128 << 10);
    let (wal, _) = open(&dir, small.clone()).unwrap();
    let mut misses = 0;
    while misses < 20 {
        match wal.append(1, &[7; 70]) {
            Ok(_) => misses = 0,
            Err(_) => {
                misses += 1;
                wal.sync().unwrap();
            }
        }
    }
    let mut last = wal.last_lsn();
    let mut files = dir.snapshot();
    drop(wal);
    let mut first_bytes = 0;
    for round in 1..=300 {
        let dir = MemoryDir::from_snapshot(&files);
        let (wal, recovery) = open(&dir, small.clone()).unwrap();
        assert_eq!(recovery.last_lsn, last, "round {round}");
        last = wal.try_append_reserved(9, b"mine").unwrap_or_else(|e| panic!("{round}: {e}"));
        wal.sync().unwrap();
        files = dir.snapshot(); // killed
        let bytes = wal.stats().log_bytes;
        if round == 2 {
            first_bytes = bytes;
        }
        assert!(round < 2 || bytes <= first_bytes + (16 << 10), "{bytes} in round {round}");
        assert!(bytes <= small.log_bytes_max, "{bytes} in round {round}");
    }
    let (wal, recovery) = open(&MemoryDir::from_snapshot(&files), small).unwrap();
    let kept: Vec<_> = recovery.replay().map(|record| record.unwrap()).collect();
    assert_eq!(kept.len() as u64, last.get());
    assert!(kept[kept.len() - 300..].iter().all(|record| record.payload == b"mine"[..]));
    drop(wal);
}

/// A log at its limit, and its config.
fn full_log(dir: &Arc<MemoryDir>) -> (Wal, WalConfig) {
    let mut small = WalConfig { full_timeout: Duration::from_millis(300), ..config() };
    small.reserved_bytes = 64 << 10;
    small.log_bytes_max = 4 * small.segment_bytes + small.reserved_bytes + (128 << 10);
    let (wal, _) = open(dir, small.clone()).unwrap();
    // Whoever is refused now has waited for all that was on its way.
    while wal.append(1, &[7; 70]).is_ok() {}
    wal.sync().unwrap();
    (wal, small)
}

/// A store's loop: ask, give back what is held, wait for room, ask again.
fn append_patiently(wal: &Wal, payload: &[u8], patience: Duration) -> Result<Lsn, AppendError> {
    let until = std::time::Instant::now() + patience;
    loop {
        match wal.attempt(1, payload, false) {
            Err(AppendError::Full(full)) if wal.wait_for_room(&full, until) => {}
            other => return other,
        }
    }
}

/// Each of them span on a core: the reserve is room, though not for them, and so they were woken as
/// often as they went to sleep. 316,217 refusals were counted for six.
#[test]
fn who_waits_for_room_sleeps_until_there_is_some() {
    let dir = MemoryDir::new();
    let (wal, config) = full_log(&dir);
    for payload in [&[7; 70][..], &[7; 1_000]] {
        let before = wal.stats();
        thread::scope(|scope| {
            let writers = [0; 6].map(|_| {
                scope.spawn(|| append_patiently(&wal, payload, config.full_timeout).unwrap_err())
            });
            for writer in writers {
                let error = writer.join().unwrap();
                let AppendError::Full(full) = error else { panic!("{error}") };
                assert!(matches!(full.cause, FullCause::Log { .. }), "{full}");
            }
        });
        let after = wal.stats();
        assert_eq!(after.full_total - before.full_total, 6, "refusals");
        let waits = after.room_waits_total - before.room_waits_total;
        assert!(waits <= 6 * 4, "{waits} sleeps for six refusals");
    }
    // What they wait for wakes them, long before their time is over.
    thread::scope(|scope| {
        let before = wal.stats().room_waits_total;
        let writers = [0; 6].map(|_| scope.spawn(|| append_patiently(&wal, &[7; 70], LONG)));
        until("waiters", || wal.stats().room_waits_total >= before + 6);
        assert!(wal.retire_before(wal.durable_lsn()).unwrap() > 0);
        for writer in writers {
            writer.join().unwrap().unwrap();
        }
        let waits = wal.stats().room_waits_total - before;
        assert!(waits <= 6 * 8, "{waits} sleeps for six appends");
    });
    wal.close().unwrap();
}

#[test]
fn a_refusal_tells_whether_the_queue_the_log_or_the_disk_has_no_room() {
    let dir = MemoryDir::new();
    let (wal, _) = full_log(&dir);
    let cause = |wal: &Wal| loop {
        match wal.try_append(1, &[7; 70]) {
            Ok(_) => {}
            Err(AppendError::Full(full)) => break (full.to_string(), full.cause),
            Err(other) => panic!("{other}"),
        }
    };
    let (text, FullCause::Log { used, limit, kept, oldest_lsn }) = cause(&wal) else {
        panic!("{}", cause(&wal).0)
    };
    assert!(used <= limit && used + kept + 128 > limit, "{text}");
    assert!(oldest_lsn == Lsn::new(1) && text.contains("retire_before"), "{text}");
    drop(wal);

    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    first_record(&wal);
    // The writer is held up in a rotation's or a sync's wait, or is just slower than we are.
    let held = dir.faults.syncs.load(Ordering::Relaxed);
    dir.faults.syncs_allowed.store(0, Ordering::Relaxed);
    wal.append(1, &[7; 70]).unwrap();
    thread::scope(|scope| {
        let sync = scope.spawn(|| wal.sync());
        until("a held sync", || dir.faults.syncs.load(Ordering::Relaxed) > held);
        let (text, found) = cause(&wal);
        dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
        sync.join().unwrap().unwrap();
        let FullCause::Ring { records, slots, .. } = found else { panic!("{text}") };
        assert!(slots == 64 && records > 0, "{text}");
        assert!(!text.contains("retire"), "{text}");
    });
    wal.sync().unwrap();

    dir.faults.full.store(true, Ordering::Relaxed);
    let (text, found) = loop {
        match cause(&wal) {
            (_, FullCause::Ring { .. }) => thread::yield_now(), // not met yet
            met => break met,
        }
    };
    let FullCause::Disk { failure } = found else { panic!("{text}") };
    assert_eq!((failure.operation, failure.kind), ("write", std::io::ErrorKind::StorageFull));
    assert!(text.contains("wal-0000000001.seg") && !text.contains("retire"), "{text}");
    dir.faults.full.store(false, Ordering::Relaxed);
    wal.close().unwrap();
}

/// The store turned read-only for good when a sync took longer than a call was ready to wait.
#[test]
fn a_sync_slower_than_its_timeout_leaves_nothing_behind_when_it_returns() {
    let dir = MemoryDir::new();
    let impatient = WalConfig { sync_timeout: Duration::from_millis(20), ..config() };
    let (wal, _) = open(&dir, impatient).unwrap();
    first_record(&wal);
    let held = dir.faults.syncs.load(Ordering::Relaxed);
    dir.faults.syncs_allowed.store(0, Ordering::Relaxed);
    thread::scope(|scope| {
        let leads = scope.spawn(|| wal.append_durable(1, b"leads", Durability::Strict));
        until("a held sync", || dir.faults.syncs.load(Ordering::Relaxed) > held);
        let error = wal.append_durable(1, b"follows", Durability::Strict).unwrap_err();
        let AppendError::DurabilityUnknown { lsn, cause: WaitError::TimedOut { .. } } = error
        else {
            panic!("{error}")
        };
        until("a word on it", || matches!(wal.health(), Health::SyncOverdue(_)));
        assert_eq!(lsn, Lsn::new(3));
        dir.faults.syncs_allowed.store(-1, Ordering::Relaxed);
        leads.join().unwrap().unwrap();
        assert_eq!(wal.wait_durable(lsn, LONG), Ok(()));
    });
    until("health", || wal.health() == Health::Healthy);
    assert_eq!(wal.stats().failed, 0);
    wal.append_durable(1, b"goes on", Durability::Strict).unwrap();
    wal.close().unwrap();
}

/// A store that could not be opened on a full disk waited for half a minute, and said no word of it.
#[test]
fn on_a_disk_that_takes_nothing_an_open_says_so_at_once_and_the_records_can_be_read() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    (0..10).for_each(|_| _ = wal.append_durable(1, b"kept", Durability::Strict).unwrap());
    let files = dir.snapshot(); // killed
    drop(wal);
    let dir = MemoryDir::from_snapshot(&files);
    dir.faults.full.store(true, Ordering::Relaxed);
    let error = open(&dir, config()).unwrap_err();
    let OpenError::Io { operation, path, source } = &error else { panic!("{error}") };
    assert_eq!((*operation, source.kind()), ("write", std::io::ErrorKind::StorageFull));
    assert!(path.ends_with("wal-0000000001.seg"), "{}", path.display());
    let read: Vec<_> = Reader::over(dir.clone()).unwrap().map(|record| record.unwrap()).collect();
    assert_eq!(read.len(), 10);
    dir.faults.full.store(false, Ordering::Relaxed);
    let (_, recovery) = open(&dir, config()).unwrap();
    assert_eq!(recovery.last_lsn, Lsn::new(10));
}

/// The directory is opened for its sync, and that takes a descriptor too.
#[test]
fn a_retirement_that_finds_no_descriptor_goes_on_later_and_ends_no_log() {
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, config()).unwrap();
    while wal.stats().rotations_total < 3 {
        wal.append(1, &[7; 700]).unwrap();
    }
    let durable = wal.sync().unwrap();
    dir.faults.refuse(0, EMFILE);
    dir.faults.dir_syncs_refused.store(1, Ordering::Relaxed);
    let before = wal.stats();
    // Either we or the janitor, who prepares a segment, is refused; who asks again is not.
    if let Err(error) = wal.retire_before(durable) {
        let RetireError::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.raw_os_error(), Some(EMFILE));
        wal.retire_before(durable).unwrap();
    }
    assert_eq!(wal.stats().segments, 1);
    assert!(wal.stats().spare_bytes > before.spare_bytes, "{:?}", wal.stats());
    until("health", || wal.health() == Health::Healthy);
    wal.append_durable(1, b"goes on", Durability::Strict).unwrap();
    wal.close().unwrap();
}

/// What a call waited for in vain is named, not only how long; and the observer is told while it lasts.
#[test]
fn a_wait_on_a_full_disk_ends_with_the_disks_word() {
    #[derive(Default)]
    struct Told(Mutex<Vec<FullEvent>>);
    impl WalObserver for Told {
        fn on_full(&self, event: &FullEvent) {
            self.0.lock().push(event.clone());
        }
    }
    let told = Arc::new(Told::default());
    let dir = MemoryDir::new();
    let (wal, _) = open(&dir, WalConfig { observer: Some(told.clone()), ..config() }).unwrap();
    first_record(&wal);
    dir.faults.full.store(true, Ordering::Relaxed);
    let lsn = wal.append(1, b"waits").unwrap();
    until("an obstacle", || wal.health() == Health::DiskFull);
    let error = wal.wait_durable(lsn, Duration::from_millis(20)).unwrap_err();
    let WaitError::TimedOut { refused: Some(failure), .. } = &error else { panic!("{error}") };
    assert_eq!(failure.kind, std::io::ErrorKind::StorageFull);
    assert!(error.to_string().contains("wal-0000000001.seg"), "{error}");
    until("a word to the observer", || !told.0.lock().is_empty());
    assert_eq!(told.0.lock()[0].refused.as_ref(), Some(&**failure));
    dir.faults.full.store(false, Ordering::Relaxed);
    assert_eq!(wal.wait_durable(lsn, LONG), Ok(()));
    wal.close().unwrap();
}

/// A reader has the file open that an open of the log replaces. What it then misses is not damage.
#[test]
fn a_reader_of_a_segment_that_an_open_writes_anew_is_told_to_begin_anew() {
    let dir = MemoryDir::new();
    let mut near = config();
    near.reserved_bytes = 64 << 10;
    near.log_bytes_max = 4 * near.segment_bytes + near.reserved_bytes + (128 << 10);
    let (wal, _) = open(&dir, near.clone()).unwrap();
    while wal.stats().rotations_total < 3 {
        wal.append_durable(1, &[7; 7_000], Durability::Strict).unwrap();
    }
    (0..5).for_each(|_| _ = wal.append(1, b"last ones").unwrap());
    let last = wal.sync().unwrap();
    let mut reader = Reader::over(dir.clone()).unwrap().starting_at(last);
    assert_eq!(reader.next().unwrap().unwrap().lsn, last);
    wal.close().unwrap();
    let (wal, recovery) = open(&dir, near).unwrap();
    assert_eq!((recovery.last_lsn, wal.stats().segments), (last, 4), "not in place");
    assert_eq!(recovery.replay().starting_at(last).next().unwrap().unwrap().lsn, last);
    assert!(wal.retire_before(Lsn::new(15)).unwrap() > 0);
    while wal.stats().rotations_total < 1 {
        wal.append(1, &[7; 700]).unwrap();
    }
    wal.sync().unwrap();
    let rest: Vec<_> = reader.collect();
    let told = rest.last().and_then(|record| record.as_ref().err());
    assert!(matches!(told, Some(ReadError::Retired { .. })), "{told:?} after {}", rest.len());
    wal.close().unwrap();
}
