//! What an operator does with a damaged log: dump it, salvage the readable prefix.

mod support;

use std::path::Path;

use ng_wal::{Dumped, Durability, Lsn, SalvageError, Wal, dump, inspect, salvage, verify};
use support::{config, replay, restore, snapshot};

/// A log of several segments, closed; returns the number of its records.
fn fill(dir: &Path) -> u64 {
    let (wal, _) = Wal::open(dir, config()).unwrap();
    let payload = |i: u64| vec![i as u8; (i * 131 % 900) as usize];
    for i in 1..=400 {
        wal.append_durable(i as u8, &payload(i), Durability::Relaxed).unwrap();
    }
    let batch: Vec<Vec<u8>> = (401..=420).map(payload).collect();
    let batch: Vec<(u8, &[u8])> = batch.iter().map(|bytes| (9, &bytes[..])).collect();
    wal.append_batch(&batch).unwrap();
    wal.sync().unwrap();
    wal.close().unwrap();
    420
}

#[test]
fn a_whole_log_is_salvaged_whole_under_its_own_numbers() {
    let (dir, dest) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let records = fill(dir.path());
    let before = snapshot(dir.path());
    let report = salvage(dir.path(), dest.path()).unwrap();
    assert_eq!((report.records, report.last_lsn), (records, Lsn::new(records)));
    assert!(report.dropped.is_empty(), "{report:?}");
    assert_eq!(snapshot(dir.path()), before);
    let (_, recovery) = Wal::open(dest.path(), config()).unwrap();
    assert!(recovery.sealed && recovery.torn_bytes == 0);
    let salvaged = replay(&recovery);
    let (_, recovery) = Wal::open(dir.path(), config()).unwrap();
    assert_eq!(salvaged, replay(&recovery));
    // Never into a directory that holds something.
    let again = salvage(dir.path(), dest.path()).unwrap_err();
    assert!(matches!(again, SalvageError::NotEmpty { .. }), "{again}");
}

#[test]
fn damage_anywhere_leaves_an_exact_prefix_and_names_what_is_readable_behind_it() {
    let seed = support::seed();
    let dir = tempfile::tempdir().unwrap();
    let records = fill(dir.path());
    let whole = snapshot(dir.path());
    let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
    let expected = replay(&recovery);
    drop(wal);
    let segments = whole.keys().filter(|name| name.ends_with(".seg")).count();
    assert!(segments > 3, "{segments}");
    let mut random = seed;
    for round in 0..60 {
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize
        };
        let mut files = whole.clone();
        let name = files.keys().nth(next() % files.len()).unwrap().clone();
        let bytes = files.get_mut(&name).unwrap();
        let at = next() % bytes.len();
        let end = (at + 1 + next() % 300).min(bytes.len());
        bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x55);
        if round % 6 == 0 {
            files.remove(&name);
        }
        restore(dir.path(), &files);
        let dest = tempfile::tempdir().unwrap();
        let report = salvage(dir.path(), dest.path()).unwrap();
        let context = format!("NG_SEED={seed} round {round}, {name} at {at}: {report:?}");
        assert_eq!(snapshot(dir.path()), files, "{context}");
        let kept = report.records as usize;
        let (_, recovery) = Wal::open(dest.path(), config()).unwrap();
        let from = report.first_lsn.get().max(1) as usize - 1; // later, if the first file is gone
        assert_eq!(replay(&recovery), expected[from..from + kept], "{context}");
        // Kept, dropped and lost make the whole: ranges do not meet the prefix or each other.
        let mut last = report.last_lsn;
        for range in &report.dropped {
            assert!(range.first_lsn > last && range.last_lsn >= range.first_lsn, "{context}");
            last = range.last_lsn;
        }
        let dropped: u64 =
            report.dropped.iter().map(|r| r.last_lsn.get() - r.first_lsn.get() + 1).sum();
        assert!(last.get() <= records, "{context}");
        // One damage of 300 bytes, or one file: the rest is accounted for.
        let segment = whole.values().map(Vec::len).max().unwrap() as u64 / 8;
        let lost = records - report.records - dropped;
        assert!(lost <= segment, "{context}: {lost} lost");
        if verify(dir.path()).unwrap().outcome.is_ok() && round % 6 != 0 {
            assert_eq!(report.records, records, "{context}");
        }
    }
}

#[test]
fn a_dump_shows_each_record_with_its_place_and_goes_on_behind_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let records = fill(dir.path());
    let mut places = Vec::new();
    for dumped in dump(dir.path()).unwrap() {
        if let Dumped::Frame(frame) = dumped.unwrap() {
            assert!(frame.reachable);
            for (offset, record) in frame.records {
                places.push((record.lsn.get(), frame.file.clone(), offset, record));
            }
        }
    }
    assert_eq!(places.iter().map(|place| place.0).collect::<Vec<_>>(), Vec::from_iter(1..=records));
    for (_, file, offset, record) in &places {
        let bytes = std::fs::read(dir.path().join(file)).unwrap();
        let from = *offset as usize + 4;
        assert_eq!(bytes[from..from + record.payload.len()], record.payload);
        assert_eq!(bytes[from - 1], record.kind);
    }
    // A hole: what is behind it is shown, and marked.
    let (_, file, offset, _) = &places[0];
    let path = dir.path().join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[*offset as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (mut stops, mut unreachable) = (0, 0);
    for dumped in dump(dir.path()).unwrap() {
        match dumped.unwrap() {
            Dumped::Frame(frame) if !frame.reachable => unreachable += 1,
            Dumped::Stop { offset: 8192, .. } => stops += 1,
            _ => {}
        }
    }
    assert!(stops >= 1 && unreachable > 0, "{stops} {unreachable}");
    let seen = inspect(dir.path()).unwrap();
    assert!(seen.segments[0].unreachable_frames > 0);
    assert_eq!(seen.segments[0].contents.as_ref().unwrap().end_offset, 8192);
    assert!(verify(dir.path()).unwrap().outcome.is_err());
}
