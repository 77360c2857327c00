//! The program that `cargo xtask torture` kills while it records as fast as it can; and the one that
//! reads what is left. Without arguments it does a little of both in a temporary directory.
//!
//! `recorder_child DIR SEED write` records from several threads, for ever: each event's four numbers
//! are thread, number, and two words made of both and SEED. `recorder_child FILE read` prints it.
//!
//! Lines: `O` recording; `A thread n` all up to n have been recorded. From read: `S torn missing`,
//! `L lane recorded newest torn missing`, `E lane seq kind a b c d`, `T lane` for a text.

use std::{
    error::Error,
    io::{self, Write},
    path::Path,
    thread,
};

use ng_blackbox::{Event, Fields, Kind, Reader, Recorder, RecorderConfig, Severity};
use quietly::quietly;

#[path = "console/quietly.rs"]
mod quietly;

const COUNTED: Kind = Kind::new(16);
const THREADS: u64 = 3;
/// Of these one has no lane of its own.
const LANES: u32 = 2;
const RING_EVENTS: u32 = 1024;
const ACK_EVENTS: u64 = 1000;

fn event(seed: u64, thread: u64, n: u64) -> Event {
    let check = (n ^ thread << 60 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Event::numbers(COUNTED, Severity::INFO, [thread, n, check, !check])
}

fn recorder(dir: &Path) -> Result<Recorder, Box<dyn Error>> {
    let mut config = RecorderConfig::default();
    (config.lanes, config.events_per_lane) = (LANES, RING_EVENTS);
    Ok(Recorder::open(dir, config, &[(COUNTED, "Counted")])?)
}

fn write(dir: &Path, seed: u64, events: u64) -> Result<(), Box<dyn Error>> {
    let recorder = recorder(dir)?;
    writeln!(io::stdout(), "O")?;
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let mut lane = recorder.lane();
            thread::spawn(move || {
                for n in 1..=events {
                    lane.record(event(seed, number, n));
                    if n % ACK_EVENTS == 0 && writeln!(io::stdout(), "A {number} {n}").is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    Ok(())
}

fn read(file: &Path) -> Result<(), Box<dyn Error>> {
    let reader = Reader::open(file)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let summary = reader.summary();
    writeln!(out, "S {} {}", summary.torn, summary.missing)?;
    for lane in &summary.lanes {
        let (recorded, newest) = (lane.recorded, lane.newest_seq);
        writeln!(out, "L {} {recorded} {newest} {} {}", lane.lane, lane.torn, lane.missing)?;
    }
    for event in reader.events() {
        match event.fields {
            Fields::Numbers([a, b, c, d]) => {
                let kind = event.kind.number();
                writeln!(out, "E {} {} {kind} {a} {b} {c} {d}", event.lane, event.seq)?;
            }
            _ => writeln!(out, "T {}", event.lane)?,
        }
    }
    Ok(out.flush()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [dir, seed, "write"] => write(Path::new(dir), seed.parse()?, u64::MAX),
        [file, "read"] => read(Path::new(file)),
        [] => {
            let dir = tempfile::tempdir()?;
            write(dir.path(), 1, 2 * ACK_EVENTS)?;
            read(&dir.path().join("blackbox-current.ngbb"))
        }
        _ => Err("usage: recorder_child DIR SEED write | FILE read".into()),
    }
}
