//! Files that are taken away under the recorder: with the guard the process goes on and says so.
#![cfg(target_os = "linux")]

use std::{fs, os::unix::process::ExitStatusExt, path::Path};

use ng_blackbox::{Backing, Event, Kind, Reader, Recorder, Severity, install_bus_guard};

mod rig;

/// As the kernel numbers it.
const SIGBUS: i32 = 7;
const LEFT_BYTES: u64 = 8192;

fn record(recorder: &Recorder) {
    let mut lane = recorder.lane();
    (0..1000).for_each(|n| lane.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [n; 4])));
}

fn cut(file: &Path) {
    fs::File::options().write(true).open(file).unwrap().set_len(LEFT_BYTES).unwrap();
}

/// No test of its own: what the children of this file's tests run.
#[test]
fn child() {
    let Some((role, dir)) = rig::my_role() else { return };
    let recorder = Recorder::open(&dir, rig::config(1, 1024), &[]).unwrap();
    record(&recorder);
    let guarded = role != "cut without a guard";
    if guarded {
        install_bus_guard().unwrap();
        install_bus_guard().unwrap();
    }
    if role == "fault elsewhere" {
        return fault_elsewhere(&dir);
    }
    assert_eq!((recorder.stats().backing, recorder.stats().lost_pages), (Backing::File, 0));
    cut(&recorder.path().unwrap());
    record(&recorder);
    let stats = recorder.stats();
    assert_eq!(stats.backing, Backing::CutFile);
    assert!(stats.lost_pages > 15, "{stats:?}");
    let reader = recorder.snapshot().unwrap();
    let numbers = reader.events().filter(|event| event.lane == 3).map(|event| event.seq);
    assert!(numbers.eq(1001..=2000), "all that was recorded since");
    recorder.anchor();
    recorder.flush().unwrap();
    let other = dir.join("other");
    fs::create_dir(&other).unwrap();
    let next = Recorder::open(other, rig::config(1, 1024), &[]).unwrap();
    assert_eq!(next.stats().backing, Backing::File);
}

/// Reads a page of a file that is shorter than its mapping.
fn fault_elsewhere(dir: &Path) {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    fs::write(dir.join("elsewhere"), "").unwrap();
    let file = fs::File::open(dir.join("elsewhere")).unwrap();
    let null = std::ptr::null_mut();
    // SAFETY: a new mapping, of which only this function knows.
    let page = unsafe { mmap(null, 4096, ProtFlags::READ, MapFlags::SHARED, &file, 0) }.unwrap();
    // SAFETY: mapped for reading; the fault that comes of it is what the test is about.
    let byte = unsafe { page.cast::<u8>().read_volatile() };
    panic!("read {byte} from an empty file");
}

#[test]
fn a_file_cut_by_somebody_else_costs_pages_and_not_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("cut with a guard", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {said}", output.status);
    let left = Reader::open(dir.path().join("blackbox-current.ngbb")).unwrap();
    assert!(left.summary().cut_bytes > 0);
}

#[test]
fn without_the_guard_a_cut_file_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("cut without a guard", dir.path()).output().unwrap();
    assert_eq!(output.status.signal(), Some(SIGBUS));
}

#[test]
fn a_fault_outside_of_a_recording_ends_the_process_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let output = rig::child("fault elsewhere", dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGBUS), "{said}");
}
