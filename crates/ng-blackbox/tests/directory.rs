//! Files and settings at open: what is refused and how, what is kept, and under which names.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use ng_blackbox::{Backing, Event, Fields, Kind, OpenError, Reader, Recorder, Severity};

mod rig;

fn names(dir: &Path) -> Vec<String> {
    let list = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(dir: &Path) -> Result<Recorder, OpenError> {
    Recorder::open(dir, rig::config(1, 64), &[])
}

#[test]
fn a_missing_a_wrong_and_a_read_only_directory_are_refused_with_step_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (bad, named) in [
        (dir.path().join("missing"), dir.path().join("missing")),
        (file.clone(), file),
        ("/sys/kernel".into(), "/sys/kernel/blackbox.lock".into()),
    ] {
        match open(&bad).unwrap_err() {
            OpenError::Io { step: "open", path, source } => {
                assert_eq!(path, named);
                assert_ne!(source.kind(), io::ErrorKind::Other);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(names(dir.path()), ["file"], "nothing is left behind");
}

#[test]
fn files_are_private_and_have_all_their_blocks() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path()).unwrap();
    assert_eq!(recorder.stats().backing, Backing::File);
    assert_eq!(names(dir.path()), ["blackbox-current.ngbb", "blackbox.lock"]);
    for name in names(dir.path()) {
        let mode = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let file = fs::metadata(recorder.path().unwrap()).unwrap();
    assert!(file.blocks() * 512 >= file.len(), "{} of {}", file.blocks() * 512, file.len());
}

#[test]
fn each_run_gets_the_next_number_and_only_the_last_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("blackbox-mine.ngbb"), "not ours").unwrap();
    for run in 1..=6_u64 {
        let mut config = rig::config(1, 64);
        config.keep_files = 2;
        let recorder = Recorder::open(&dir, config, &[]).unwrap();
        let expected = (run > 1).then(|| dir.path().join(format!("blackbox-{}.ngbb", run - 1)));
        assert_eq!(recorder.previous(), expected.as_deref());
        recorder.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [run; 4]));
    }
    let expected = [
        "blackbox-4.ngbb",
        "blackbox-5.ngbb",
        "blackbox-current.ngbb",
        "blackbox-mine.ngbb",
        "blackbox.lock",
    ];
    assert_eq!(names(dir.path()), expected);
    for (name, run) in
        [("blackbox-4.ngbb", 4), ("blackbox-5.ngbb", 5), ("blackbox-current.ngbb", 6)]
    {
        let reader = Reader::open(dir.path().join(name)).unwrap();
        let ours: Vec<_> = reader.events().filter(|e| e.lane == 2).map(|e| e.fields).collect();
        assert_eq!(ours, [Fields::Numbers([run; 4])]);
        assert!(reader.summary().stopped);
    }
}

#[test]
fn a_failed_open_leaves_the_last_recording_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    // The place of the prepared file is taken by a directory.
    fs::create_dir(dir.path().join("blackbox-new.tmp")).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Io { step: "create", .. }), "{error:?}");
    assert!(Reader::open(dir.path().join("blackbox-current.ngbb")).unwrap().summary().stopped);
}

#[test]
fn an_unreadable_file_of_the_run_before_is_kept_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("blackbox-current.ngbb"), "garbage").unwrap();
    let recorder = open(dir.path()).unwrap();
    assert_eq!(fs::read(recorder.previous().unwrap()).unwrap(), b"garbage");
    assert_eq!(recorder.stats().previous_torn, 0);
}

#[test]
fn an_open_counts_the_torn_slots_of_the_run_before_as_a_reader_does() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = open(dir.path()).unwrap();
    let mut lane = recorder.lane();
    for number in 0..100 {
        lane.record(Event::numbers(Kind::new(900), Severity::INFO, [number, 0, 0, 0]));
    }
    drop((lane, recorder));
    let path = dir.path().join("blackbox-current.ngbb");
    let mut bytes = fs::read(&path).unwrap();
    let of_kind = |slot: &&mut [u8]| slot[16..18] == 900_u16.to_le_bytes();
    bytes.chunks_exact_mut(64).filter(of_kind).take(3).for_each(|slot| slot[40] ^= 1);
    bytes.truncate(bytes.len() - 100);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(Reader::open(&path).unwrap().summary().torn, 3);
    assert_eq!(open(dir.path()).unwrap().stats().previous_torn, 3);
}

#[test]
fn a_leftover_of_an_open_that_was_killed_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("blackbox-new.tmp"), vec![0xaa; 1 << 20]).unwrap();
    let recorder = open(dir.path()).unwrap();
    let summary = recorder.snapshot().unwrap().summary().clone();
    assert_eq!((summary.torn, summary.events), (0, 2));
    assert_eq!(names(dir.path()), ["blackbox-current.ngbb", "blackbox.lock"]);
}

#[test]
fn one_recorder_a_directory_until_it_is_dropped_even_while_its_lanes_live_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { .. }), "{error:?}");
    let mut lane = first.lane();
    drop(first);
    let second = open(dir.path()).unwrap();
    lane.record(Event::text(Kind::CUSTOM, Severity::INFO, "from the lane of the first"));
    let old = Reader::open(second.previous().unwrap()).unwrap();
    assert_eq!(old.events().filter(|event| event.lane == 3).count(), 1);
    assert_eq!(second.stats().events_total, 0);
}

#[test]
fn bad_names_and_settings_are_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(49).leak();
    let twice = [(Kind::new(16), "A"), (Kind::new(16), "B")];
    let bad: [&[(Kind, &'static str)]; 4] =
        [&[(Kind::new(15), "A")], &[(Kind::new(16), "")], &[(Kind::new(16), long)], &twice];
    for kinds in bad {
        let error = Recorder::open(&dir, rig::config(1, 64), kinds).unwrap_err();
        assert!(matches!(&error, OpenError::KindName { .. }), "{error:?}");
        assert_eq!(Recorder::check_kinds(kinds).unwrap_err().to_string(), error.to_string());
    }
    let many: Vec<_> = (16..16 + 250).map(|number| (Kind::new(number), "Many")).collect();
    assert!(Recorder::in_memory(rig::config(1, 64), &many).is_err());
    assert!(Recorder::in_memory(rig::config(1, 64), &many[1..]).is_ok());
    assert!(Recorder::check_kinds(&many).is_err() && Recorder::check_kinds(&many[1..]).is_ok());
    let error = Recorder::open(&dir, rig::config(0, 64), &[]).unwrap_err();
    assert!(matches!(&error, OpenError::Config(e) if e.field == "lanes"), "{error:?}");
    assert!(names(dir.path()).is_empty());
}
