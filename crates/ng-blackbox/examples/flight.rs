//! Records from two threads, lets one of them panic, and prints what a reader finds in the file.
//!
//! `cargo run --example flight -- <file>` prints the recording in `<file>` instead.

use std::{error::Error, io};

use ng_blackbox::{Event, Kind, Reader, Recorder, RecorderConfig, Severity, install_panic_hook};
use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

const ENGINE: Kind = Kind::new(16);

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    if let Some(file) = std::env::args_os().nth(1) {
        return Ok(Reader::open(file)?.write_jsonl(&mut io::stdout().lock())?);
    }
    let dir = tempfile::tempdir()?;
    let recorder = Recorder::open(&dir, RecorderConfig::default(), &[(ENGINE, "EngineSpeed")])?;
    let _panics = install_panic_hook(&recorder);
    std::thread::scope(|scope| {
        for engine in 0..2 {
            let mut lane = recorder.lane();
            let thread = scope.spawn(move || {
                for speed in (0..5_000).step_by(1_000) {
                    lane.record(Event::numbers(ENGINE, Severity::INFO, [engine, speed, 0, 0]));
                }
                assert_ne!(engine, 1, "engine 1 is on fire");
            });
            // A panicking engine is the point of this example.
            let _ = thread.join();
        }
    });
    let path = recorder.path().ok_or("recorded into memory")?;
    drop(recorder);

    let reader = Reader::open(path)?;
    let summary = reader.summary();
    reader.write_jsonl(&mut io::stdout().lock())?;
    assert_eq!((summary.panics, summary.torn, summary.stopped), (1, 0, true));
    Ok(())
}
