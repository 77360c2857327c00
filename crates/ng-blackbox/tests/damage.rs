//! Broken files: typed errors that say what is wrong, or counted gaps; no panic, no invented event.

use ng_blackbox::{Event, Kind, ReadError, Reader, Recorder, Severity};

mod rig;

const EVENTS: usize = 40;

/// A file with one lane of 64, in which 40 events stand, and where its first event is.
fn recording() -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir, rig::config(1, 64), &[(Kind::new(30), "Thirty")]).unwrap();
    let mut lane = recorder.lane();
    for n in 0..EVENTS as u64 {
        lane.record(Event::numbers(Kind::new(30), Severity::INFO, [n, n + 1, n * n, !n]));
    }
    let bytes = std::fs::read(recorder.path().unwrap()).unwrap();
    // The only ring behind this one is none: it ends the file.
    let ring_at = bytes.len() - 64 * 64;
    (bytes, ring_at)
}

fn texts(reader: &Reader) -> Vec<String> {
    reader.events().map(|event| format!("{event:?}")).collect()
}

#[test]
fn any_change_of_a_byte_of_an_event_makes_it_torn_and_changes_no_other() {
    let (good, ring_at) = recording();
    let whole = texts(&Reader::from_bytes(&good).unwrap());
    let event_at = ring_at + 17 * 64;
    let victim = whole.iter().position(|e| e.contains("lane: 3, seq: 18,")).unwrap();
    let mut expected = whole.clone();
    expected.remove(victim);
    for at in event_at..event_at + 64 {
        for flip in (0..8).map(|bit| 1 << bit).chain([0xff]) {
            let mut bad = good.clone();
            bad[at] ^= flip;
            let reader = Reader::from_bytes(&bad).unwrap();
            assert_eq!(reader.summary().torn, 1, "byte {} ^ {flip:#x}", at - event_at);
            assert_eq!(texts(&reader), expected, "byte {} ^ {flip:#x}", at - event_at);
        }
    }
}

#[test]
fn a_whole_event_in_a_foreign_slot_or_lane_is_refused() {
    let (good, ring_at) = recording();
    let shared_at = ring_at - 64 * 64;
    let event = good[ring_at + 5 * 64..][..64].to_vec();
    for foreign_at in [ring_at + 50 * 64, shared_at + 5 * 64] {
        let mut bad = good.clone();
        bad[foreign_at..foreign_at + 64].copy_from_slice(&event);
        let reader = Reader::from_bytes(&bad).unwrap();
        assert_eq!(reader.summary().torn, 1);
        assert_eq!(texts(&reader), texts(&Reader::from_bytes(&good).unwrap()));
    }
}

#[test]
fn a_hole_of_zeroes_is_counted_as_missing() {
    let (mut bytes, ring_at) = recording();
    bytes[ring_at + 64..ring_at + 4 * 64].fill(0);
    let summary = Reader::from_bytes(&bytes).unwrap().summary().clone();
    assert_eq!((summary.torn, summary.missing), (0, 3));
}

#[test]
fn any_change_in_the_header_is_refused_with_offset_found_and_expected() {
    let (good, _) = recording();
    for at in 0..128 {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        let error = Reader::from_bytes(&bad).unwrap_err();
        match (at, &error) {
            (0..8, ReadError::Magic { found, expected }) => assert_ne!(found, expected),
            (8..10, ReadError::Version { found, supported: 1 }) => assert_ne!(*found, 1),
            (10..128, ReadError::HeaderChecksum { offset: 124, stored, computed }) => {
                assert_ne!(stored, computed);
            }
            _ => panic!("byte {at}: {error:?}"),
        }
    }
}

#[test]
fn a_header_that_is_whole_and_impossible_is_refused_by_the_field() {
    let (good, _) = recording();
    let fields =
        [(16, "lanes"), (20, "events_per_lane"), (24, "event_bytes"), (36, "lane_table_at")];
    for (at, name) in fields {
        for value in [0, 3_000_000_001_u32] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let crc = crc32c::crc32c(&bad[..124]);
            bad[124..128].copy_from_slice(&crc.to_le_bytes());
            match Reader::from_bytes(&bad).unwrap_err() {
                ReadError::Header { field, offset, found, .. } => {
                    assert_eq!((field, offset, found), (name, at as u64, value.into()));
                }
                other => panic!("{name} = {value}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_what_is_left_and_says_how_much_is_not() {
    let (good, ring_at) = recording();
    let whole = texts(&Reader::from_bytes(&good).unwrap());
    let start = (0..140).chain((4000..good.len()).step_by(61));
    for len in start.chain(ring_at..ring_at + 200).chain([good.len()]) {
        match Reader::from_bytes(&good[..len]) {
            Err(ReadError::TooShort { found_bytes, expected_bytes: 128 }) => {
                assert!(len < 128 && found_bytes == len as u64);
            }
            Err(other) => panic!("{len}: {other:?}"),
            Ok(reader) => {
                assert_eq!(reader.summary().cut_bytes, (good.len() - len) as u64);
                let left = len.saturating_sub(ring_at) / 64;
                let owned = reader.events().filter(|event| event.lane == 3).count();
                assert_eq!(owned, left.min(EVENTS), "cut at {len}");
                if len >= ring_at {
                    assert!(texts(&reader).iter().all(|event| whole.contains(event)));
                }
            }
        }
    }
}

#[test]
fn random_damage_everywhere_never_panics_and_never_invents() {
    let (good, _) = recording();
    let whole = texts(&Reader::from_bytes(&good).unwrap());
    let mut rng = rig::rng();
    for _ in 0..300 {
        let mut bad = good.clone();
        for _ in 0..rng.usize(1..200) {
            // The anchors decide wall times, and the names table names: only rings from 1 on.
            let at = rng.usize(20480 + 4096 + 256 * 64..bad.len());
            bad[at] = rng.u8(..);
        }
        let reader = Reader::from_bytes(&bad).unwrap();
        assert!(texts(&reader).iter().all(|event| whole.contains(event)));
        let mut anywhere = good.clone();
        for _ in 0..rng.usize(1..200) {
            let at = rng.usize(128..anywhere.len());
            anywhere[at] = rng.u8(..);
        }
        anywhere.truncate(rng.usize(0..anywhere.len() * 2).min(good.len()));
        if let Ok(reader) = Reader::from_bytes(&anywhere) {
            reader.write_jsonl(&mut std::io::sink()).unwrap();
        }
    }
}

#[test]
fn extreme_values_in_any_place_behind_the_header_never_panic() {
    let (good, ring_at) = recording();
    // Names, lane headers, the control ring's first events, and the lane's.
    let places =
        [4096..4096 + 9 * 64, 20480..20480 + 512, 24576..24576 + 192, ring_at..ring_at + 192];
    for at in places.into_iter().flat_map(|place| place.step_by(8)) {
        for value in [u64::MAX, u64::MAX - 1, 1 << 63, 1] {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&value.to_le_bytes());
            Reader::from_bytes(&bad).unwrap().write_jsonl(&mut std::io::sink()).unwrap();
        }
    }
    let mut bad = good.clone();
    bad[4096..].fill(0xff);
    let reader = Reader::from_bytes(&bad).unwrap();
    assert_eq!((reader.summary().events, reader.summary().torn), (0, 2 * 256 + 2 * 64));
    assert_eq!(reader.kind_name(Kind::CUSTOM), None);
}

#[test]
fn what_is_no_recording_is_refused_with_its_path_or_its_first_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none.ngbb");
    let error = Reader::open(&missing).unwrap_err();
    assert!(matches!(&error, ReadError::Io { path, .. } if *path == missing), "{error:?}");
    assert!(Reader::open(dir.path()).is_err(), "a directory");
    let text = dir.path().join("text");
    std::fs::write(&text, "x".repeat(500)).unwrap();
    let error = Reader::open(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "not a recording: bytes 0 to 8 are [78, 78, 78, 78, 78, 78, 78, 78], \
         expected [4e, 47, 42, 42, 4f, 58, 0d, 0a]"
    );
}
