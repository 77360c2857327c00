//! Neither recording nor the panic hook allocates: counted by an allocator of this test's own.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    panic,
};

use ng_blackbox::{Event, Kind, PanicDump, Recorder, Severity, install_panic_hook_with_dump};

mod rig;

struct Counting;

thread_local!(static ALLOCATIONS: Cell<u64> = const { Cell::new(0) });

// SAFETY: passes each call on to the system's allocator unchanged; the counter is a plain cell of
// this thread that needs no allocation itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` is from `alloc` above, with the same layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn recording_and_the_panic_hook_allocate_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::open(&dir, rig::config(1, 64), &[]).unwrap();
    let (mut own, mut shared) = (recorder.lane(), recorder.lane());
    let before = ALLOCATIONS.get();
    for n in 0..1000 {
        own.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [n; 4]));
        shared.record(Event::text(Kind::CUSTOM, Severity::INFO, "a text of some length, cut off"));
        recorder.anchor();
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    drop(Box::new(1));
    assert_eq!(ALLOCATIONS.get() - before, 1, "the counter counts");

    // Ours stands between two hooks that read the counter.
    thread_local!(static AT: Cell<(u64, u64)> = const { Cell::new((0, 0)) });
    panic::set_hook(Box::new(|_| AT.set((AT.get().0, ALLOCATIONS.get()))));
    let dump = PanicDump::into_dir(dir.path());
    let _hook = install_panic_hook_with_dump(&recorder, &dump).unwrap();
    let ours = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        AT.set((ALLOCATIONS.get(), 0));
        ours(info);
    }));
    for round in 1..=3 {
        panic::catch_unwind(|| panic!("round {round}")).unwrap_err();
        let (start, end) = AT.get();
        assert_eq!(end.checked_sub(start), Some(0));
    }
    let _ = panic::take_hook();
    assert_eq!(recorder.snapshot().unwrap().summary().panics, 3);
    let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
    let dumps = names.filter(|name| name.to_string_lossy().starts_with("blackbox-panic-"));
    assert_eq!(dumps.count(), 1, "the first panic wrote the dump");
}
