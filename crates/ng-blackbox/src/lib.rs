//! A flight recorder: the last events of each thread, in a mapped file that survives a kill.
//!
//! Recording is a clock read, a checksum and a few stores into a 64-byte slot of the thread's own
//! ring: no lock, no system call. The kernel keeps the file's pages when the process dies, so a
//! [`Reader`] finds all of them after SIGKILL, abort or a panic; an event that was being written is
//! recognised by its checksum.
//!
//! Must not know: tokens, quotas, metrics names, logs, HTTP, any other `ng-*` crate.
//!
//! ```
//! use ng_blackbox::{Event, Fields, Kind, Recorder, RecorderConfig, Severity};
//!
//! const DOOR_OPENED: Kind = Kind::new(16);
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recorder = Recorder::in_memory(RecorderConfig::default(), &[(DOOR_OPENED, "DoorOpened")])?;
//! let mut lane = recorder.lane(); // one for each thread
//! lane.record(Event::numbers(DOOR_OPENED, Severity::INFO, [7, 0, 0, 0]));
//!
//! let seen = recorder.snapshot()?;
//! let last = seen.events().next_back().ok_or("nothing recorded")?;
//! assert_eq!(last.name, Some("DoorOpened"));
//! assert_eq!(last.fields, Fields::Numbers([7, 0, 0, 0]));
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs)]
// The models drive the ring alone.
#![cfg_attr(all(test, loom), allow(dead_code, unused_imports))]

#[cfg(all(unix, not(all(test, loom))))]
mod bus_guard;
#[cfg(not(all(test, loom)))]
mod clock;
mod config;
#[cfg(not(all(test, loom)))]
mod directory;
mod dump;
mod error;
mod event;
#[cfg(all(unix, not(all(test, loom))))]
mod folder;
#[cfg(not(unix))]
mod folder_path;
mod format;
#[cfg(not(all(test, loom)))]
mod lane;
#[cfg(all(test, loom))]
mod loom_ring;
#[cfg(all(unix, not(all(test, loom))))]
mod mapping;
#[cfg(not(unix))]
mod mapping_heap;
mod mutants;
#[cfg(not(all(test, loom)))]
mod panic_hook;
mod perfetto;
#[cfg(not(all(test, loom)))]
mod process;
mod reader;
#[cfg(not(all(test, loom)))]
mod recorder;
mod retention;
mod ring;
mod stats;
mod sync;

#[cfg(all(unix, not(all(test, loom))))]
pub use crate::bus_guard::install_bus_guard;
#[cfg(not(unix))]
pub use crate::mapping_heap::install_bus_guard;
pub use crate::{
    config::RecorderConfig,
    error::{ConfigError, OpenError, ReadError},
    event::{Event, Fields, Kind, Phase, Severity, Text},
    reader::{LaneSummary, Reader, Recorded, Summary},
    stats::{Backing, BlackboxStats},
};
#[cfg(not(unix))]
use crate::{folder_path as folder, mapping_heap as mapping};
#[cfg(not(all(test, loom)))]
pub use crate::{
    lane::Lane,
    panic_hook::{PanicDump, PanicHookGuard, install_panic_hook, install_panic_hook_with_dump},
    recorder::Recorder,
};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDoctests;
