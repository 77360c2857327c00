//! The dump for Perfetto, decoded by Perfetto's own message classes, where Python and its package are.
//!
//! With `CI=true` the package is installed into an environment of the build's own; elsewhere a check
//! that is left out says what would make it run. `NG_PYTHON` names the Python to take.
#![allow(clippy::print_stderr)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use ng_blackbox::{Event, Kind, Reader, Recorder, Severity};

mod rig;

const PACKAGE: &str = "perfetto==0.59.1";
const OUTER: Kind = Kind::new(16);
const INNER: Kind = Kind::new(17);

fn has_package(python: &Path) -> bool {
    let probe = Command::new(python).args(["-c", "import perfetto.protos.perfetto.trace"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// A Python with the package; installed where that is asked for, and once for all tests.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON.get_or_init(look_for_python).as_deref()
}

fn look_for_python() -> Option<PathBuf> {
    let named = env::var_os("NG_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    if has_package(&named) {
        return Some(named);
    }
    if env::var("CI").is_ok_and(|value| value == "true") {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("perfetto-python");
        let own = place.join("bin/python3");
        if !has_package(&own) {
            let made = Command::new(&named).args(["-m", "venv"]).arg(&place).status().unwrap();
            assert!(made.success(), "python3 -m venv (Debian's package python3-venv)");
            let pip = Command::new(&own).args(["-m", "pip", "-q", "install", PACKAGE]).status();
            assert!(pip.unwrap().success(), "pip install {PACKAGE}");
        }
        return Some(own);
    }
    let name = named.display();
    eprintln!(
        "left out: `{name}` has no package perfetto; it runs after: {name} -m pip install {PACKAGE}"
    );
    None
}

/// Judged by `check_perfetto.py`; what it says, unless it is left out.
fn judged(reader: &Reader) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let (trace, jsonl) = (dir.path().join("trace"), dir.path().join("jsonl"));
    reader.write_perfetto(&mut fs::File::create(&trace).unwrap()).unwrap();
    reader.write_jsonl(&mut fs::File::create(&jsonl).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check_perfetto.py");
    let output = Command::new(python()?).arg(script).args([trace, jsonl]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn each_thread_has_a_track_with_all_its_events_and_slices_that_nest() {
    let names = [(OUTER, "Outer"), (INNER, "Inner")];
    let recorder = Recorder::in_memory(rig::config(3, 1024), &names).unwrap();
    let numbers = [u64::MAX, 2, 3, 4];
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let work = || {
                let mut lane = recorder.lane();
                // Lost begins, ends crosswise, and one that never ends.
                lane.record(Event::end(INNER, Severity::WARN, numbers));
                for n in 0..100 {
                    lane.record(Event::begin(OUTER, Severity::INFO, [n; 4]));
                    lane.record(Event::begin(INNER, Severity::DEBUG, numbers));
                    recorder.record(Event::text(Kind::CUSTOM, Severity::INFO, "ein Wört"));
                    if n % 3 != 0 {
                        lane.record(Event::end(INNER, Severity::DEBUG, numbers));
                    }
                    lane.record(Event::end(OUTER, Severity::INFO, numbers));
                    lane.record(Event::end(INNER, Severity::WARN, numbers));
                }
                lane.record(Event::begin(OUTER, Severity::INFO, numbers));
                lane.record(Event::begin(Kind::new(900), Severity::new(9), numbers));
            };
            let name = format!("worker {thread}");
            thread::Builder::new().name(name).spawn_scoped(scope, work).unwrap();
            recorder.anchor();
        }
    });
    let reader = recorder.snapshot().unwrap();
    let events = reader.events().len();
    if let Some(said) = judged(&reader) {
        assert_eq!(said, format!("{events} events on 5 tracks, 6 clock snapshots\n"));
    }
}

#[test]
fn the_recording_of_a_dead_process_becomes_a_trace_too() {
    for name in ["v1.0.ngbb", "v1.1.ngbb"] {
        let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        judged(&Reader::open(stored).unwrap());
    }
}

/// Seen without any other program: each begin of a slice has its end, in a trace of few bytes.
#[test]
fn an_end_without_a_begin_is_a_moment_and_a_begin_without_an_end_is_closed() {
    let recorder = Recorder::in_memory(rig::config(1, 64), &[]).unwrap();
    let mut lane = recorder.lane();
    lane.record(Event::end(OUTER, Severity::INFO, [0; 4]));
    lane.record(Event::begin(OUTER, Severity::INFO, [0; 4]));
    lane.record(Event::begin(INNER, Severity::INFO, [0; 4]));
    let mut trace = Vec::new();
    recorder.snapshot().unwrap().write_perfetto(&mut trace).unwrap();
    // Field 9 is the type, field 11 the track, whose number starts with the thread's low bits.
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as u8;
    let mark = |kind: u8| [9 << 3, kind, 11 << 3, thread | 0x80];
    let count = |kind| trace.windows(4).filter(|bytes| *bytes == mark(kind)).count();
    // Start, anchor and the lost end are moments.
    assert_eq!([1, 2, 3].map(count), [2, 2, 3]);
}

/// A lane is often made by one thread and used by another.
#[test]
fn a_lane_that_moved_gives_its_name_to_the_thread_that_records() {
    let recorder = Recorder::in_memory(rig::config(2, 64), &[]).unwrap();
    let mut lane = recorder.lane();
    let other = recorder.lane();
    let work = move || {
        lane.record(Event::text(Kind::CUSTOM, Severity::INFO, "from where it is used"));
        lane
    };
    let name = "the-one-that-flies";
    let lane = thread::Builder::new().name(name.into()).spawn(work).unwrap().join().unwrap();
    drop((lane, other));
    let reader = recorder.snapshot().unwrap();
    let event = reader.events().find(|event| event.kind == Kind::CUSTOM).unwrap();
    let lanes = &reader.summary().lanes;
    let owner = lanes.iter().find(|lane| lane.lane == event.lane).unwrap();
    assert_eq!((owner.thread, owner.thread_name.as_deref()), (Some(event.thread), Some(name)));
    let mut trace = Vec::new();
    reader.write_perfetto(&mut trace).unwrap();
    assert!(trace.windows(name.len()).any(|bytes| bytes == name.as_bytes()));
}
