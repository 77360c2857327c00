//! Recordings that dead processes left, kept as files: what today's reader finds in them, and that
//! today's recorder still writes the like.
//!
//! `NG_BLESS_GOLDEN=1` writes `golden/v1.0.ngbb` anew from a child of today, and `v1.1.ngbb` from it.

use std::{env, fs, path::Path, thread};

use ng_blackbox::{Event, Fields, Kind, Phase, ReadError, Reader, Recorder, Severity};
use serde_json::Value;

mod rig;

const SYNC: Kind = Kind::new(16);
const VALVE: Kind = Kind::new(17);

/// A kind, a shape and bytes of the header that only a made-up version 1.1 knows.
const LATER_KIND: u16 = 300;
const LATER_SHAPE: u8 = 100;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// No test of its own: leaves a recording with something of everything, and aborts.
#[test]
fn child() {
    let Some((_, dir)) = rig::my_role() else { return };
    let names = [(SYNC, "Sync"), (VALVE, "ValveOpened")];
    let recorder = Recorder::open(dir, rig::config(2, 64), &names).unwrap();
    let _hook = ng_blackbox::install_panic_hook(&recorder);
    let fly = || {
        let mut lane = recorder.lane();
        for n in 1..=70 {
            lane.record(Event::numbers(VALVE, Severity::INFO, [n, n * n, 0, u64::MAX - n]));
        }
        lane.record(Event::end(SYNC, Severity::WARN, [0; 4]));
        lane.record(Event::begin(SYNC, Severity::INFO, [1, 0, 0, 0]));
        lane.record(Event::begin(VALVE, Severity::INFO, [2, 0, 0, 0]));
        lane.record(Event::end(SYNC, Severity::INFO, [1, 0, 0, 0]));
        lane.record(Event::begin(SYNC, Severity::ERROR, [3, 0, 0, 0]));
        panic!("out of fuel");
    };
    thread::scope(|scope| {
        let pilot = thread::Builder::new().name("pilot".into()).spawn_scoped(scope, fly).unwrap();
        assert!(pilot.join().is_err());
    });
    recorder.record(Event::text(Kind::CUSTOM, Severity::WARN, "Größe \"0\""));
    recorder.record(Event::text(Kind::new(999), Severity::new(77), ""));
    std::process::abort();
}

/// The file of such a child; the second half of its last event is missing, as after a kill.
fn left_by_a_child() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    assert!(!rig::child("die", dir.path()).status().unwrap().success());
    let mut bytes = fs::read(dir.path().join("blackbox-current.ngbb")).unwrap();
    let shared_at = bytes.len() - 3 * 64 * 64;
    bytes[shared_at + 64 + 32..shared_at + 128].fill(0);
    bytes
}

/// What a later minor version might write: a larger minor, a byte of the header in use, a kind and a
/// shape that are unknown here.
fn of_a_later_minor(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[10] = 1;
    bytes[80..88].copy_from_slice(&7_u64.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..124]);
    bytes[124..128].copy_from_slice(&crc.to_le_bytes());
    let event_at = bytes.len() - 3 * 64 * 64;
    let event = &mut bytes[event_at..event_at + 64];
    event[16..18].copy_from_slice(&LATER_KIND.to_le_bytes());
    event[19] = LATER_SHAPE;
    let crc = crc32c::crc32c_append(2, &event[..56]);
    event[56..60].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Each event's line without what differs between two runs.
fn lines(reader: &Reader) -> Vec<Value> {
    let mut dump = Vec::new();
    reader.write_jsonl(&mut dump).unwrap();
    let lines = dump.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut line: Value = serde_json::from_slice(line).unwrap();
            let of_run = ["thread", "time_ns", "wall_unix_ns"];
            of_run.into_iter().for_each(|key| drop(line.as_object_mut().unwrap().remove(key)));
            // Process and clocks; a line's number moves with the test's text.
            if line["kind"].as_u64() <= Some(3) || line["name"] == "PanicPlace" {
                line.as_object_mut().unwrap().retain(|key, _| key == "kind" || key == "lane");
            }
            line
        })
        .collect()
}

#[test]
fn the_stored_recording_reads_as_on_the_day_it_was_made_and_todays_are_like_it() {
    let today = left_by_a_child();
    if env::var_os("NG_BLESS_GOLDEN").is_some() {
        fs::write(golden("v1.1.ngbb"), of_a_later_minor(today.clone())).unwrap();
        fs::write(golden("v1.0.ngbb"), &today).unwrap();
    }
    let stored = Reader::open(golden("v1.0.ngbb")).unwrap();
    assert_eq!(lines(&Reader::from_bytes(&today).unwrap()), lines(&stored));

    let summary = stored.summary();
    assert_eq!((summary.format_version, summary.stopped, summary.panics), ((1, 0), false, 1));
    assert_eq!((summary.torn, summary.missing), (1, 0));
    let pilot = summary.lanes.iter().find(|lane| lane.lane == 3).unwrap();
    assert_eq!(pilot.thread_name.as_deref(), Some("pilot"));
    assert_eq!((pilot.recorded, pilot.events), (75, 64));
    let phases: Vec<_> = stored.events().filter(|e| e.lane == 3).map(|e| e.phase).collect();
    let last = [Phase::End, Phase::Begin, Phase::Begin, Phase::End, Phase::Begin];
    assert_eq!(phases[59..], last);
    let texts: Vec<String> = stored
        .events()
        .filter_map(|event| match event.fields {
            Fields::Text(text) => Some(text.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!((&*texts[0], &*texts[2], &*texts[3]), ("out of fuel", "pilot", "Größe \"0\""));
}

#[test]
fn a_file_of_a_later_minor_version_gives_all_it_holds_and_shows_as_it_stands_what_is_unknown() {
    let bytes = fs::read(golden("v1.1.ngbb")).unwrap();
    let later = Reader::from_bytes(&bytes).unwrap();
    let earlier = Reader::open(golden("v1.0.ngbb")).unwrap();
    assert_eq!(later.summary().format_version, (1, 1));
    assert_eq!(later.events().len(), earlier.events().len());
    assert_eq!(later.summary().torn, earlier.summary().torn);
    let unknown = later.events().find(|event| event.kind.number() == LATER_KIND).unwrap();
    assert!(matches!(unknown.fields, Fields::Unknown { shape: LATER_SHAPE, .. }), "{unknown:?}");
    let others = |reader: &Reader| -> Vec<String> {
        reader.events().filter(|e| e.lane != 2).map(|event| format!("{event:?}")).collect()
    };
    assert_eq!(others(&later), others(&earlier));
    let mut trace = Vec::new();
    later.write_perfetto(&mut trace).unwrap();
    assert!(!trace.is_empty());
}

#[test]
fn a_file_of_another_major_version_is_refused_by_its_number() {
    let mut bytes = fs::read(golden("v1.0.ngbb")).unwrap();
    bytes[8] = 2;
    let error = Reader::from_bytes(&bytes).unwrap_err();
    assert!(matches!(error, ReadError::Version { found: 2, supported: 1 }), "{error:?}");
    assert_eq!(error.to_string(), "recording has format version 2, this reader knows 1");
}
