//! A process forks while it records: its child has a copy of the recorder, and can neither write into
//! the parent's recording nor close it nor give back its lock.
#![cfg(unix)]
#![allow(clippy::print_stderr)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use ng_blackbox::{
    Backing, Event, Kind, OpenError, PanicDump, Reader, Recorder, Severity,
    install_panic_hook_with_dump,
};

mod rig;

const PARENTS: Kind = Kind::new(20);
const CHILDS: Kind = Kind::new(21);
/// More than a lane holds, so that a child that records leaves nothing of what was there.
const MANY: u64 = 200;
/// How long a forked child may live, should it hang. Unit: seconds.
const CHILD_SECONDS_MAX: u32 = 20;

fn event(kind: Kind, number: u64) -> Event {
    Event::numbers(kind, Severity::INFO, [number; 4])
}

/// Runs `body` in a forked child and gives its exit code: 0 for true.
fn in_fork(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child runs `body`, which takes no lock that another thread of this process can hold at
    // this moment, and ends without returning to the test harness.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: both take plain numbers; `_exit` runs no destructor of the parent's.
            unsafe {
                libc::alarm(CHILD_SECONDS_MAX);
                let good = catch_unwind(AssertUnwindSafe(body)).unwrap_or(false);
                libc::_exit(if good { 0 } else { 1 })
            }
        }
        child => {
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: waits for the child just made, and writes to a number of ours.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -status }
        }
    }
}

/// No test of its own: what the children of this file's tests run.
#[test]
fn child() {
    let Some((role, dir)) = rig::my_role() else { return };
    match role.as_str() {
        "fork while recording" => fork_while_recording(&dir),
        "own recorder" => own_recorder(&dir),
        other => panic!("no such role: {other}"),
    }
}

fn fork_while_recording(dir: &Path) {
    let names = [(PARENTS, "Parents"), (CHILDS, "Childs")];
    let recorder = Recorder::open(dir, rig::config(2, 64), &names).unwrap();
    let dump = PanicDump::into_dir(dir);
    let hook = install_panic_hook_with_dump(&recorder, &dump).unwrap();
    let mut lane = recorder.lane();
    lane.record(event(PARENTS, 1));
    recorder.record(event(PARENTS, 2));
    // Read back where the child ends: nothing is moved into it that this process drops too.
    let mut inherited = Some((recorder, lane, hook));
    let code = in_fork(|| {
        let (recorder, mut lane, hook) = inherited.take().unwrap();
        for number in 0..MANY {
            lane.record(event(CHILDS, number));
            recorder.record(event(CHILDS, number));
        }
        recorder.anchor();
        let more = recorder.lane();
        catch_unwind(|| panic!("in the forked child")).unwrap_err();
        let stats = recorder.stats();
        let told = stats.backing == Backing::Inherited
            && stats.inherited_events_total > 2 * MANY
            && recorder.flush().is_err();
        drop((more, hook, lane));
        drop(recorder);
        told
    });
    assert_eq!(code, 0);
    let (recorder, mut lane, hook) = inherited.take().unwrap();
    let open = Reader::open(recorder.path().unwrap()).unwrap();
    assert!(!open.summary().stopped, "the child closed its parent's recording");
    let again = Recorder::open(dir, rig::config(1, 64), &[]);
    assert!(matches!(again, Err(OpenError::Locked { .. })), "the child gave the lock back");
    lane.record(event(PARENTS, 3));
    recorder.record(event(PARENTS, 4));
    assert_eq!(recorder.stats().inherited_events_total, 0);
    assert_eq!(recorder.stats().backing, Backing::File);
    drop((hook, lane));
    drop(recorder);
}

/// The child forgets the parent's recorder and opens its own.
fn own_recorder(dir: &Path) {
    let recorder = Recorder::open(dir.join("parent"), rig::config(1, 64), &[]).unwrap();
    recorder.record(event(PARENTS, 1));
    let code = in_fork(|| {
        let own = Recorder::open(dir.join("child"), rig::config(1, 64), &[]).unwrap();
        let mut lane = own.lane();
        lane.record(event(CHILDS, 1));
        let seen = own.snapshot().unwrap();
        let Some(last) = seen.events().find(|event| event.kind == CHILDS) else { return false };
        // SAFETY: asks for a number.
        let thread = unsafe { libc::getpid() }.cast_unsigned();
        !cfg!(target_os = "linux") || last.thread == thread
    });
    assert_eq!(code, 0, "it recorded under its own thread's number");
    drop(recorder);
}

fn run(role: &str, dir: &Path) {
    let output = rig::child(role, dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {said}", output.status);
}

#[test]
fn a_forked_child_leaves_its_parents_recording_open_and_writes_nothing_into_it() {
    let dir = tempfile::tempdir().unwrap();
    run("fork while recording", dir.path());
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["blackbox-current.ngbb", "blackbox.lock"], "no dump of the child's panic");
    let reader = Reader::open(dir.path().join("blackbox-current.ngbb")).unwrap();
    let mut parents = Vec::new();
    for event in reader.events() {
        assert_ne!(event.kind, CHILDS);
        if let (PARENTS, ng_blackbox::Fields::Numbers([number, ..])) = (event.kind, event.fields) {
            parents.push(number);
        }
    }
    assert_eq!(parents, [1, 2, 3, 4]);
    let summary = reader.summary();
    assert_eq!((summary.torn, summary.missing, summary.panics), (0, 0, 0));
    let stops = reader.events().filter(|event| event.kind == Kind::STOPPED);
    assert_eq!((stops.count(), summary.stopped), (1, true));
}

#[test]
fn a_forked_child_has_a_recorder_of_its_own_if_it_opens_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("parent")).unwrap();
    std::fs::create_dir(dir.path().join("child")).unwrap();
    run("own recorder", dir.path());
    for (name, kind) in [("parent", PARENTS), ("child", CHILDS)] {
        let reader = Reader::open(dir.path().join(name).join("blackbox-current.ngbb")).unwrap();
        let own: Vec<_> = reader.events().filter(|event| event.kind.number() >= 16).collect();
        assert!(own.len() == 1 && own[0].kind == kind, "{own:?}");
    }
}
