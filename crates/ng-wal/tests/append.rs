//! Appending: what comes back, in which order, at which level, and what is refused.

mod support;

use std::time::Duration;

use ng_wal::{
    AppendError, BackupError, Durability, FullCause, Lsn, OpenError, Reader, WaitError, Wal,
};
use support::{config, replay};

#[test]
fn records_of_all_sizes_come_back_across_rotations_and_reopens() {
    let dir = tempfile::tempdir().unwrap();
    let payload = |i: usize| vec![i as u8; [0, 1, 7, 64, 80, 81, 500, 9_000][i % 8]];
    let mut expected = Vec::new();
    for round in 0..3 {
        let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
        assert_eq!(replay(&recovery), expected, "round {round}");
        assert_eq!(recovery.sealed, round > 0);
        for i in 0..200 {
            let lsn = wal.append(i as u8, &payload(i)).unwrap();
            expected.push((lsn.get(), i as u8, payload(i)));
        }
        wal.sync().unwrap();
        assert!(wal.stats().rotations_total >= 2, "{:?}", wal.stats());
        wal.close().unwrap();
    }
    let lsns: Vec<u64> = expected.iter().map(|(lsn, ..)| *lsn).collect();
    assert_eq!(lsns, (1..=600).collect::<Vec<_>>());
    let read: Vec<_> = Reader::open(dir.path())
        .unwrap()
        .map(|record| record.unwrap())
        .map(|record| (record.lsn.get(), record.kind, record.payload.to_vec()))
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn eight_threads_get_dense_numbers_and_each_keeps_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    const EACH: u32 = 3_000;
    std::thread::scope(|scope| {
        for producer in 0..8u8 {
            let wal = &wal;
            scope.spawn(move || {
                for i in 0..EACH {
                    let text = format!("{i}");
                    if i % 100 == 0 {
                        let first = [(producer, text.as_bytes())];
                        wal.append_batch(&first).unwrap();
                    } else {
                        wal.append(producer, text.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(wal.last_lsn().get(), 8 * u64::from(EACH));
    wal.close().unwrap();
    let (_wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    let mut next = [0u32; 8];
    for (i, (lsn, producer, payload)) in replay(&recovery).into_iter().enumerate() {
        assert_eq!(lsn, i as u64 + 1);
        let expected = &mut next[usize::from(producer)];
        assert_eq!(payload, expected.to_string().into_bytes());
        *expected += 1;
    }
    assert_eq!(next, [EACH; 8]);
}

#[test]
fn a_strict_append_is_durable_on_return_and_sync_covers_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.durability = Durability::Relaxed;
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    assert_eq!(wal.durable_lsn(), Lsn::NONE);
    let lsn = wal.append_durable(1, b"strict", Durability::Strict).unwrap();
    assert!(wal.durable_lsn() >= lsn);
    for _ in 0..10 {
        wal.try_append(1, b"queued").unwrap();
    }
    assert_eq!(wal.sync().unwrap(), Lsn::new(11));
    assert_eq!(wal.durable_lsn(), Lsn::new(11));
    assert!(wal.stats().syncs_total >= 2);
}

#[test]
fn a_balanced_log_becomes_durable_by_itself_and_a_raised_record_in_a_relaxed_one_too() {
    let dir = tempfile::tempdir().unwrap();
    let seen = support::Syncs::default();
    let mut config = config();
    config.observer = Some(seen.observer());
    let (wal, _) = Wal::open(dir.path(), config.clone()).unwrap();
    let lsn = wal.append(1, b"balanced").unwrap();
    seen.until(lsn); // nobody asked for a sync
    wal.close().unwrap();

    let seen = support::Syncs::default();
    config.observer = Some(seen.observer());
    config.durability = Durability::Relaxed;
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    let lsn = wal.append_durable(1, b"raised", Durability::Balanced).unwrap();
    seen.until(lsn);
    assert!(wal.durable_lsn() >= lsn);
}

#[test]
fn waiting_for_a_record_that_does_not_exist_is_refused_and_a_wait_can_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let error = wal.wait_durable(Lsn::new(1), Duration::from_secs(60)).unwrap_err();
    assert_eq!(error, WaitError::NotAppended { lsn: Lsn::new(1), last_lsn: Lsn::NONE });
    wal.append(1, b"x").unwrap();
    // No disk is that fast; and if it were, `Ok` would be true as well.
    match wal.wait_durable(Lsn::new(1), Duration::ZERO) {
        Ok(()) => assert_eq!(wal.durable_lsn(), Lsn::new(1)),
        Err(error) => assert!(matches!(error, WaitError::TimedOut { .. }), "{error}"),
    }
    wal.wait_durable(Lsn::new(1), Duration::from_secs(60)).unwrap();
    assert_eq!(wal.durable_lsn(), Lsn::new(1));
}

#[test]
fn what_is_too_large_is_refused_and_takes_no_number() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let limit = u64::from(config().payload_bytes_max);
    let large = vec![0; limit as usize + 1];
    assert_eq!(wal.append(1, &large), Err(AppendError::TooLarge { bytes: limit + 1, limit }));
    let batch: Vec<(u8, &[u8])> = vec![(1, &[0; 64]); 910];
    assert!(matches!(wal.try_append_batch(&batch), Err(AppendError::TooLarge { .. })));
    assert_eq!(wal.last_lsn(), Lsn::NONE);
    assert_eq!(wal.append(1, &large[1..]).unwrap(), Lsn::new(1));
}

#[test]
fn a_batch_holds_as_many_records_as_the_log_says_and_not_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    for (segment_bytes, ring_slots) in [(64 << 20, 16_384), (64 << 10, 16_384), (64 << 20, 256)] {
        (config.segment_bytes, config.ring_slots) = (segment_bytes, ring_slots);
        config.max_ahead_bytes = 32 << 20;
        let dir = dir.path().join(format!("{segment_bytes} {ring_slots}"));
        let (wal, _) = Wal::open(dir, config.clone()).unwrap();
        for payload_bytes in [0, 8, 72, 80, 9_000] {
            let payload = vec![7; payload_bytes];
            let most = wal.batch_records_max(payload_bytes);
            let batch = vec![(1, &payload[..]); most];
            wal.append_batch(&batch).unwrap_or_else(|e| panic!("{most} of {payload_bytes}: {e}"));
            let batch = vec![(1, &payload[..]); most + 1];
            let refused = wal.append_batch(&batch);
            assert!(
                matches!(refused, Err(AppendError::TooLarge { .. })),
                "{most} + 1: {refused:?}"
            );
        }
    }
}

#[test]
fn a_batch_that_leads_to_room_may_use_the_last_part_of_a_full_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.log_bytes_max = 8 << 20;
    config.reserved_bytes = 1 << 20;
    config.full_timeout = Duration::ZERO;
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    let batch: Vec<(u8, &[u8])> = vec![(1, &[7; 64]); 100];
    let refused = loop {
        match wal.attempt_batch(&batch, false) {
            Ok(_) => {}
            Err(AppendError::Full(full)) if matches!(full.cause, FullCause::Ring { .. }) => {
                std::thread::yield_now();
            }
            Err(refused) => break refused,
        }
    };
    let AppendError::Full(full) = refused else { panic!("{refused}") };
    assert!(matches!(full.cause, FullCause::Log { .. }), "{full}");
    assert_eq!(wal.stats().full_total, 0, "nobody was refused for good");
    let last = wal.last_lsn();
    assert_eq!(wal.attempt_batch(&batch, true).unwrap().get(), last.get() + 100);
    wal.close().unwrap();
}

#[test]
fn a_batch_of_909_records_of_64_bytes_is_one_frame() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), ng_wal::WalConfig::default()).unwrap();
    let batch: Vec<(u8, &[u8])> = vec![(1, &[7; 64]); 909];
    assert_eq!(wal.append_batch(&batch).unwrap(), Lsn::new(909));
    assert_eq!(wal.append_batch(&[]).unwrap(), Lsn::new(909));
    wal.sync().unwrap();
    assert_eq!(wal.stats().frames_total, 1);
}

#[test]
fn a_log_at_its_limit_says_full_takes_reserved_records_and_goes_on_after_retiring() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.full_timeout = Duration::from_millis(500);
    config.log_bytes_max = 4 * config.segment_bytes + (1 << 20);
    config.reserved_bytes = 256 << 10;
    let limit = config.log_bytes_max;
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    let error = loop {
        // The first refusal may only mean a slow disk; after a sync it is the log's limit.
        if wal.append(1, &[0; 1000]).is_err() {
            wal.sync().unwrap();
            if let Err(error) = wal.append(1, &[0; 1000]) {
                break error;
            }
        }
    };
    wal.sync().unwrap();
    let AppendError::Full(full) = &error else { panic!("{error}") };
    let FullCause::Log { used, limit: said, oldest_lsn, .. } = &full.cause else {
        panic!("{full}")
    };
    assert_eq!((*said, *oldest_lsn), (limit, Lsn::new(1)));
    assert!(*used <= limit);
    assert!(error.to_string().contains("retire_before"), "{error}");
    assert!(wal.stats().full_total >= 1);
    // The reserve lets a delete through, and is itself bounded.
    wal.try_append_reserved(2, b"delete").unwrap();
    while wal.try_append_reserved(2, &[0; 1000]).is_ok() {
        wal.sync().unwrap();
    }
    assert!(wal.stats().log_bytes <= limit, "{:?}", wal.stats());
    wal.sync().unwrap();
    let durable = wal.durable_lsn();
    assert!(wal.retire_before(durable).unwrap() > 0);
    assert!(wal.oldest_lsn() > Lsn::new(1));
    assert_eq!(wal.append(1, b"again").unwrap(), wal.last_lsn());
}

#[test]
fn the_whole_reserve_of_a_full_log_is_there_for_reserved_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.segment_bytes = 4 << 20;
    config.log_bytes_max = 30 << 20;
    config.reserved_bytes = 2 << 20;
    config.full_timeout = Duration::ZERO;
    let (limit, reserve) = (config.log_bytes_max, config.reserved_bytes);
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    let fill = |append: &dyn Fn() -> bool| {
        let mut records = 0_u64;
        loop {
            if append() {
                records += 1;
                continue;
            }
            // A ring that is full is no full log: look again when it is empty.
            wal.sync().unwrap();
            if !append() {
                return records;
            }
            records += 1;
        }
    };
    fill(&|| wal.append(1, &[0; 64]).is_ok());
    // Until the log has nothing to do, and has used that time as it likes.
    let pads = wal.stats().pad_bytes_total;
    while wal.stats().pad_bytes_total == pads {
        std::thread::yield_now();
    }
    let bytes = 72 * fill(&|| wal.try_append_reserved(2, &[0; 64]).is_ok());
    assert!(bytes > reserve / 4 * 3, "{bytes} of {reserve}");
    let stats = wal.stats();
    assert!(stats.log_bytes <= limit, "{stats:?}");
}

#[test]
fn a_full_ring_refuses_at_once_and_an_append_waits_for_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.ring_slots = 8;
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    // Faster than any writer thread drains eight slots, sooner or later.
    let mut full = false;
    for _ in 0..1_000_000 {
        if let Err(error) = wal.try_append(1, b"x") {
            assert!(matches!(error, AppendError::Full { .. }), "{error}");
            full = true;
            break;
        }
    }
    assert!(full);
    let before = wal.last_lsn();
    for _ in 0..100 {
        wal.append(1, b"x").unwrap();
    }
    assert_eq!(wal.last_lsn().get(), before.get() + 100);
}

#[test]
fn retiring_keeps_the_numbers_and_what_is_still_needed() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    for _ in 0..1_000 {
        wal.append(1, &[3; 200]).unwrap();
    }
    wal.sync().unwrap();
    assert_eq!(wal.retire_before(Lsn::new(1)).unwrap(), 0);
    assert!(wal.retire_before(Lsn::new(500)).unwrap() > 0);
    wal.close().unwrap();
    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert!(recovery.first_lsn > Lsn::new(1) && recovery.first_lsn <= Lsn::new(500));
    assert_eq!(recovery.last_lsn, Lsn::new(1_000));
    let kept = replay(&recovery);
    assert_eq!(kept.len() as u64, recovery.records);
    assert_eq!(kept[0].0, recovery.first_lsn.get());
    let from = recovery.replay().starting_at(Lsn::new(900));
    assert_eq!(
        from.map(|record| record.unwrap().lsn.get()).collect::<Vec<_>>(),
        (900..=1_000).collect::<Vec<_>>()
    );
    // Even when nothing is left, numbers go on.
    assert!(wal.retire_before(wal.last_lsn().next()).unwrap() > 0);
    wal.close().unwrap();
    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert_eq!((recovery.records, recovery.last_lsn), (0, Lsn::new(1_000)));
    assert_eq!(wal.append(1, b"x").unwrap(), Lsn::new(1_001));
}

#[test]
fn a_second_handle_is_told_who_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let error = Wal::open(dir.path(), config()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    drop(wal);
    Wal::open(dir.path(), config()).unwrap();
}

const CHILD_DIR: &str = "NG_WAL_LOCK_TEST_DIR";

/// The child of the next test; without the variable it has nothing to do.
#[test]
#[allow(clippy::print_stdout, reason = "tells its parent")]
fn child_opens_what_its_parent_may_have_open() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    match Wal::open(&dir, config()) {
        Ok((_, recovery)) => println!("opened: {} records", recovery.records),
        Err(error @ OpenError::Locked { .. }) => println!("locked: {error}"),
        Err(error) => println!("failed: {error}"),
    }
}

#[test]
fn another_process_is_told_who_holds_the_lock_and_waits_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let child = || {
        let program = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(program);
        child.args(["--exact", "child_opens_what_its_parent_may_have_open", "--nocapture"]);
        let output = child.env(CHILD_DIR, dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    wal.append(1, b"x").unwrap();
    let said = child();
    let locked = said.lines().find_map(|line| line.split_once("locked: ")).map(|(_, told)| told);
    let told = locked.unwrap_or_else(|| panic!("not refused: {said}"));
    assert!(told.contains(&std::process::id().to_string()), "{told}");
    wal.append(1, b"y").unwrap();
    wal.close().unwrap();
    assert!(child().contains("opened: 2 records"));
}

#[test]
fn opening_and_closing_again_and_again_uses_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    wal.append(1, b"x").unwrap();
    drop(wal);
    let mut sizes = Vec::new();
    for _ in 0..10 {
        let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
        assert!(recovery.sealed);
        assert_eq!(recovery.records, 1);
        wal.close().unwrap();
        sizes.push(support::snapshot(dir.path()).values().map(Vec::len).sum::<usize>());
    }
    assert_eq!(sizes.first(), sizes.last());
    assert!(sizes[0] < 64 << 10, "{sizes:?}");
}

#[test]
fn a_reader_of_a_large_log_reads_ahead_and_may_stop_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert_eq!(recovery.replay().count(), 0);
    const RECORDS: u64 = 60_000;
    for i in 1..=RECORDS {
        wal.append(i as u8, &i.to_le_bytes().repeat(8)).unwrap();
    }
    wal.close().unwrap();
    let check = |(lsn, record): (u64, Result<ng_wal::Record, ng_wal::ReadError>)| {
        let record = record.unwrap();
        assert_eq!((record.lsn, record.kind), (Lsn::new(lsn), lsn as u8));
        assert_eq!(record.payload, lsn.to_le_bytes().repeat(8));
        record.payload
    };
    // Payloads that are kept stay what they were.
    let kept: Vec<_> = (1..).zip(Reader::open(dir.path()).unwrap()).map(check).collect();
    assert_eq!(kept.len() as u64, RECORDS);
    for (lsn, payload) in (1..).zip(&kept) {
        assert_eq!(*payload, u64::to_le_bytes(lsn).repeat(8));
    }
    for stop in [1, 20_000, 40_000, 59_999] {
        let reader = Reader::open(dir.path()).unwrap();
        assert_eq!((1..).zip(reader).take(stop).map(check).count(), stop);
    }
    let later = Reader::open(dir.path()).unwrap().starting_at(Lsn::new(30_001));
    assert_eq!((30_001..).zip(later).map(check).count(), 30_000);
    // Damage found ahead is told at its place, after every record before it.
    let file = dir.path().join("wal-0000000050.seg");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[9000] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mut seen = 0;
    let mut end = None;
    for record in Reader::open(dir.path()).unwrap() {
        match record {
            Ok(_) => seen += 1,
            Err(e) => end = Some(e),
        }
    }
    let Some(ng_wal::ReadError::Corrupt { file, lsn, .. }) = end else { panic!("{end:?}") };
    assert_eq!((file.as_str(), lsn.get()), ("wal-0000000050.seg", seen + 1));
    assert!(seen > 20_000, "{seen}");
}

#[test]
fn a_reader_beside_a_live_writer_sees_a_prefix_and_never_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for i in 0..20_000u64 {
                wal.append(1, i.to_string().as_bytes()).unwrap();
            }
            wal.sync().unwrap();
        });
        let mut looks = 0;
        while !writer.is_finished() || looks == 0 {
            for (next, record) in (1..).zip(Reader::open(dir.path()).unwrap()) {
                let record = record.unwrap();
                assert_eq!(record.lsn, Lsn::new(next));
                assert_eq!(record.payload, (next - 1).to_string().as_bytes());
            }
            looks += 1;
        }
    });
    assert_eq!(Reader::open(dir.path()).unwrap().count(), 20_000);
}

#[test]
fn a_reader_whose_segments_are_retired_under_it_says_so_and_never_ends_early() {
    // Small segments go between two reads of whole ones, large ones in the middle, written anew.
    for segment_bytes in [64 << 10, 2 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config();
        config.segment_bytes = segment_bytes;
        config.log_bytes_max = 64 << 20;
        let (wal, _) = Wal::open(dir.path(), config).unwrap();
        let fill = || {
            let before = wal.stats().segments;
            while wal.stats().segments < before + 4 {
                for _ in 0..100 {
                    let lsn = wal.last_lsn().get() + 1;
                    wal.append(1, &lsn.to_le_bytes().repeat(8)).unwrap();
                }
            }
            wal.sync().unwrap();
        };
        fill();
        let mut reader = Reader::open(dir.path()).unwrap();
        let first = reader.next().unwrap().unwrap();
        assert_eq!(first.lsn, Lsn::new(1));
        assert!(wal.retire_before(wal.durable_lsn()).unwrap() >= 3);
        fill(); // into the files that were retired
        assert!(wal.stats().segments_recycled_total > 0);
        let mut due = 2;
        let end = loop {
            match reader.next() {
                Some(Ok(record)) => {
                    assert_eq!(record.lsn, Lsn::new(due));
                    assert_eq!(record.payload, due.to_le_bytes().repeat(8));
                    due += 1;
                }
                other => break other,
            }
        };
        let Some(Err(ng_wal::ReadError::Retired { lsn, .. })) = end else {
            panic!("{segment_bytes}: after {due}: {end:?}")
        };
        assert_eq!(lsn, Lsn::new(due), "{segment_bytes}");
        assert!(reader.next().is_none());
    }
}

#[test]
fn an_observer_that_panics_is_detached_and_the_log_lives() {
    struct Panics;
    impl ng_wal::WalObserver for Panics {
        fn on_synced(&self, _: &ng_wal::Synced) {
            panic!("an observer's own fault");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.observer = Some(std::sync::Arc::new(Panics));
    let (wal, _) = Wal::open(dir.path(), config).unwrap();
    for _ in 0..3 {
        wal.append_durable(1, b"x", Durability::Strict).unwrap();
    }
    assert_eq!(wal.health(), ng_wal::Health::Healthy);
    wal.append_durable(1, b"x", Durability::Strict).unwrap();
    // It is told after the waiters are woken.
    while wal.stats().observer_panics_total == 0 {
        std::thread::yield_now();
    }
    wal.append_durable(1, b"x", Durability::Strict).unwrap();
    assert_eq!(wal.stats().observer_panics_total, 1);
    wal.close().unwrap();
}

#[test]
fn a_retired_segment_that_has_a_hard_link_elsewhere_is_not_written_into_again() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let fill = |rotations| {
        while wal.stats().rotations_total < rotations {
            wal.append(1, &[3; 200]).unwrap();
        }
        wal.sync().unwrap()
    };
    let last = fill(1);
    let link = elsewhere.path().join("kept");
    std::fs::hard_link(dir.path().join("wal-0000000001.seg"), &link).unwrap();
    let before = std::fs::read(&link).unwrap();
    assert!(wal.retire_before(last).unwrap() >= 1);
    for rotations in 5..20 {
        wal.retire_before(fill(rotations)).unwrap();
    }
    assert!(wal.stats().segments_recycled_total > 0);
    assert_eq!(std::fs::read(&link).unwrap(), before);
}

#[test]
fn a_backup_of_a_log_in_use_opens_as_its_durable_prefix_and_shares_no_fate_with_it() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let payload = |lsn: u64| vec![lsn as u8; (lsn % 300) as usize];
    let mut next = 1;
    let mut append = |records: u64| {
        for _ in 0..records {
            wal.append(1, &payload(next)).unwrap();
            next += 1;
        }
    };
    let mut copies = Vec::new();
    for round in 0..12 {
        append(round * 97);
        if round % 3 == 0 {
            wal.sync().unwrap();
        }
        let to = elsewhere.path().join(round.to_string());
        let before = wal.durable_lsn();
        let last = wal.backup(&to).unwrap();
        assert!(before <= last && last <= wal.durable_lsn());
        copies.push((to, last, wal.oldest_lsn()));
        append(50);
        if round % 4 == 3 {
            wal.retire_before(last).unwrap();
        }
    }
    // What no backup has may be written into again; the copies do not notice.
    for _ in 0..3 {
        append(2_000);
        let durable = wal.sync().unwrap();
        wal.retire_before(durable).unwrap();
    }
    append(2_000);
    assert!(wal.stats().segments_recycled_total > 0);
    assert!(matches!(wal.backup(&copies[0].0), Err(BackupError::NotEmpty { .. })));
    for (to, last, oldest) in copies {
        let (copy, recovery) = Wal::open(&to, config()).unwrap();
        assert_eq!((recovery.last_lsn, recovery.torn_bytes), (last, 0));
        let mut expected = oldest.get();
        for (lsn, _, found) in replay(&recovery) {
            assert_eq!((lsn, found), (expected, payload(expected)));
            expected += 1;
        }
        assert_eq!(expected, last.get() + 1);
        // The copy is a log of its own: it may retire and write again.
        copy.append_durable(1, &[0; 300], Durability::Strict).unwrap();
        copy.retire_before(copy.last_lsn().next()).unwrap();
        copy.close().unwrap();
    }
    let recovered = wal.last_lsn();
    let oldest = wal.oldest_lsn();
    wal.close().unwrap();
    let (_, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert_eq!((recovery.first_lsn, recovery.last_lsn), (oldest, recovered));
    assert_eq!(replay(&recovery).len() as u64, recovered.get() + 1 - oldest.get());
}
