//! The recorder: maps the rings, hands out lanes, writes anchors. It never reads what was recorded,
//! but for a snapshot.

use std::{
    collections::VecDeque,
    fs::File,
    io, mem,
    path::{Path, PathBuf},
};

use crate::{
    clock::{self, Clock},
    config::RecorderConfig,
    directory::{self, Directory},
    error::{OpenError, ReadError},
    event::{Event, Kind, Severity},
    folder::Folder,
    format::{self, Geometry, Header, Stamped},
    lane::Lane,
    mapping::Mapping,
    mutants,
    process::Birth,
    reader::{Reader, torn_in},
    ring::Ring,
    stats::{Backing, BlackboxStats},
    sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering, thread},
};

/// A flight recorder. Shared between threads by reference or in an `Arc`; each thread that records
/// often takes a [`Lane`].
#[derive(Debug)]
pub struct Recorder {
    core: Arc<Core>,
    /// None for memory of this process. The lock in it goes with the recorder, not with its lanes.
    directory: Option<Directory>,
    previous: Option<Arc<Previous>>,
    /// Does what an open need not wait for.
    tending: Mutex<Option<thread::JoinHandle<()>>>,
    closed: AtomicBool,
}

/// The recording of the run before.
#[derive(Debug)]
struct Previous {
    folder: Arc<Folder>,
    name: String,
    path: PathBuf,
    torn: OnceLock<u64>,
}

impl Previous {
    /// Slots in the middle of being written when that run ended; 0 if it cannot be read, and its reader will say why.
    fn torn(&self) -> u64 {
        *self.torn.get_or_init(|| self.folder.read(&self.name).and_then(torn_in).unwrap_or(0))
    }
}

impl Recorder {
    /// Checks the owner's kinds as an open does, and touches nothing.
    ///
    /// Errors: [`OpenError::KindName`] of the first that is refused.
    pub fn check_kinds(kinds: &[(Kind, &'static str)]) -> Result<(), OpenError> {
        names(kinds).map(drop)
    }

    /// Makes `blackbox-current.ngbb` in `dir`, which must exist, with all its blocks. What is there
    /// from an earlier run becomes `blackbox-<n>.ngbb`. Only when the new file has its place, and on a
    /// thread of its own, older ones go as [`keep_files`](RecorderConfig::keep_files) has it.
    ///
    /// `dir` is resolved once: a directory that is renamed afterwards keeps its recorder, and what takes its
    /// place is left alone.
    ///
    /// `kinds` are the owner's own, with names of 1 to 48 bytes, numbers from [`Kind::RESERVED`] on.
    ///
    /// Blocks for file operations, and once in a process for up to 200 ms to measure the cycle
    /// counter. Errors: a bad setting or name, the directory locked by another recorder, or a step
    /// that the system refused; the files of earlier runs are then where they were, and
    /// [`Recorder::in_memory`] is the way to go on.
    ///
    /// A child of this process that `fork` made inherits the recorder, and can do no harm with it: what it
    /// records is thrown away and counted, and its drop closes nothing. It keeps the directory locked as
    /// long as it lives, should its parent be killed.
    pub fn open(
        dir: impl AsRef<Path>,
        config: RecorderConfig,
        kinds: &[(Kind, &'static str)],
    ) -> Result<Recorder, OpenError> {
        let folder = || {
            let dir = dir.as_ref();
            Folder::open(dir).map_err(directory::failed("open", dir))
        };
        Recorder::in_folder(folder, config, kinds)
    }

    /// As [`Recorder::open`], in a directory that is open already: no path is resolved at all. `dir` may be
    /// any descriptor of it, and may be closed afterwards; `shown` is what messages and
    /// [`Recorder::path`] call it.
    #[cfg(unix)]
    pub fn create_in(
        dir: impl std::os::fd::AsFd,
        shown: impl AsRef<Path>,
        config: RecorderConfig,
        kinds: &[(Kind, &'static str)],
    ) -> Result<Recorder, OpenError> {
        let shown = shown.as_ref();
        let folder = || Folder::of(dir, shown).map_err(directory::failed("open", shown));
        Recorder::in_folder(folder, config, kinds)
    }

    fn in_folder(
        folder: impl FnOnce() -> Result<Folder, OpenError>,
        config: RecorderConfig,
        kinds: &[(Kind, &'static str)],
    ) -> Result<Recorder, OpenError> {
        config.validate()?;
        let names = names(kinds)?;
        let birth = birth()?;
        let directory = Directory::lock(folder()?, birth)?;
        let bytes = config.geometry().file_bytes();
        let file = directory.prepare(bytes)?;
        let mapping = Mapping::of_file(&file, bytes as usize).map_err(|source| {
            directory.discard();
            OpenError::Map { bytes, source }
        })?;
        let core = Arc::new(Core::new(mapping, config.geometry(), &names, birth));
        let published = directory.publish().inspect_err(|_| directory.discard())?;
        let previous = published.previous.clone().map(|name| {
            let (folder, path) = (Arc::clone(directory.folder()), directory.path(&name));
            Arc::new(Previous { folder, name, path, torn: OnceLock::new() })
        });
        let (mapped, before) = (Arc::clone(&core), previous.clone());
        let tend = move || {
            mapped.mapping.populate();
            if published.remove_outdated(config.keep_files).is_err() {
                mapped.faults.retention_errors.fetch_add(1, Ordering::Relaxed);
            }
            before.map(|previous| previous.torn());
        };
        // Without it, pages come as events need them, and the rest at the next open or when it is asked for.
        let tending = thread::Builder::new().name("ng-blackbox-map".into()).spawn(tend).ok();
        Ok(Recorder {
            core,
            directory: Some(directory),
            previous,
            tending: Mutex::new(tending),
            closed: AtomicBool::new(false),
        })
    }

    /// Records into memory of this process, for those without a directory: it does not survive a
    /// kill, but [`Recorder::snapshot`] and the panic hook work.
    pub fn in_memory(
        config: RecorderConfig,
        kinds: &[(Kind, &'static str)],
    ) -> Result<Recorder, OpenError> {
        config.validate()?;
        let names = names(kinds)?;
        let bytes = config.geometry().file_bytes();
        let mapping = Mapping::anonymous(bytes as usize)
            .map_err(|source| OpenError::Map { bytes, source })?;
        let core = Arc::new(Core::new(mapping, config.geometry(), &names, birth()?));
        Ok(Recorder {
            core,
            directory: None,
            previous: None,
            tending: Mutex::new(None),
            closed: AtomicBool::new(false),
        })
    }

    /// A lane for the calling thread, whose name a reader will show: the one given back longest ago,
    /// or, if all are taken, one that writes to the shared lane. Takes a lock for a moment.
    pub fn lane(&self) -> Lane {
        if self.core.is_inherited() {
            // The list may be locked for good, by a thread that this process does not have.
            return Lane::shared(Arc::clone(&self.core));
        }
        let Some(free) = self.core.free.lock().pop_front() else {
            self.core.shared_lanes.fetch_add(1, Ordering::Relaxed);
            return Lane::shared(Arc::clone(&self.core));
        };
        Lane::owned(Arc::clone(&self.core), free.ring, free.next_seq)
    }

    /// Records a rare event from any thread, in the lane that all share. No lock, no allocation.
    pub fn record(&self, event: Event) {
        self.core.record_shared(event, self.core.now_ns());
    }

    /// Ties the recorder's clock to wall time. To be called about once a second: a reader takes the
    /// nearest anchor, so this bounds what a drifting clock can do to the wall times it gives.
    pub fn anchor(&self) {
        self.core.record_anchor();
    }

    /// Waits until all recorded so far is on the disk, so that it survives even a power failure.
    /// For what a kill must not take, this is not needed.
    ///
    /// Errors: the system's, which are counted, or [`Unsupported`](io::ErrorKind::Unsupported) in a child of
    /// the process that opened the recorder.
    pub fn flush(&self) -> io::Result<()> {
        if self.core.birth.is_elsewhere_by_the_kernel() {
            let what = "this recording belongs to the process that forked this one";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        self.core.flush_start(self.core.mapping.bytes())?;
        let named = self.directory.as_ref().map_or(Ok(()), |directory| directory.folder().sync());
        self.core.count_flush(named)
    }

    /// What is in the rings now, while others go on recording: an event in the middle of being
    /// written counts as torn.
    pub fn snapshot(&self) -> Result<Reader, ReadError> {
        let words = self.core.words().iter().map(|word| word.load(Ordering::Acquire));
        Reader::from_bytes(&words.flat_map(format::bytes_of).collect::<Vec<u8>>())
    }

    /// Ends the recording as its drop would, though others still hold the recorder, and gives the
    /// directory's lock back, so that another recorder can be opened there. What is recorded afterwards
    /// stands behind the event that says so. A second call does nothing, nor does one in a forked child.
    pub fn close(&self) {
        let is_elsewhere = self.core.birth.is_elsewhere_by_the_kernel();
        if is_elsewhere || self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(tending) = self.tending.lock().take() {
            // Its panic, told by the hook, would leave nothing undone: the next open removes, `stats` counts.
            let _ = tending.join();
        }
        let stats = self.stats();
        let event = Event::numbers(Kind::STOPPED, Severity::INFO, [stats.events_total, 0, 0, 0]);
        self.core.record_many(format::CONTROL_RING, [event]);
        if let Some(directory) = &self.directory {
            directory.unlock();
        }
    }

    /// Size of the mapping. Unit: bytes.
    pub fn bytes(&self) -> u64 {
        self.core.mapping.bytes() as u64
    }

    /// The file being written, in its directory as that was called at the open; None for memory.
    pub fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(Directory::current)
    }

    /// Where the recording of the run before went, if there was one; as [`Recorder::path`] in what its
    /// directory was called.
    pub fn previous(&self) -> Option<&Path> {
        self.previous.as_ref().map(|previous| previous.path.as_path())
    }

    /// Plain numbers, cheap enough to ask for at each scrape.
    pub fn stats(&self) -> BlackboxStats {
        let core = &self.core;
        let inherited = core.is_inherited();
        let told = |total: &AtomicU64| total.load(Ordering::Relaxed);
        // In a child its lock may be held for good, by a thread that this process does not have.
        let free = if inherited { core.geometry.lanes } else { core.free.lock().len() as u32 };
        let mut stats = BlackboxStats {
            dropped_total: told(&core.dropped),
            shared_lanes_total: told(&core.shared_lanes),
            lanes_in_use: u64::from(core.geometry.lanes - free),
            flush_errors_total: told(&core.faults.flush_errors),
            dump_errors_total: told(&core.faults.dump_errors),
            retention_errors_total: told(&core.faults.retention_errors),
            inherited_events_total: told(&core.faults.inherited_events),
            backing: match (&self.directory, core.mapping.lost_pages()) {
                _ if inherited => Backing::Inherited,
                (None, _) => Backing::Anonymous,
                (Some(_), 0) => Backing::File,
                (Some(_), _) => Backing::CutFile,
            },
            lost_pages: core.mapping.lost_pages(),
            previous_torn: self.previous.as_ref().map_or(0, |previous| previous.torn()),
            ..BlackboxStats::default()
        };
        for number in format::PANIC_RING..core.geometry.rings() {
            let ring = Ring::new(&core.geometry, number);
            let written = ring.cursor(core.words());
            let overwritten = written.saturating_sub(ring.events().into());
            stats.events_total = stats.events_total.saturating_add(written);
            stats.overwritten_total = stats.overwritten_total.saturating_add(overwritten);
        }
        stats.events_total = stats.events_total.saturating_sub(stats.dropped_total);
        stats
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.core.birth.is_elsewhere_by_the_kernel() {
            // A thread of the parent's: nothing here can wait for it, nor let it go.
            return mem::forget(mem::replace(&mut self.tending, Mutex::new(None)));
        }
        self.close();
    }
}

/// What lanes and the panic hook share; lives as long as the last of them.
#[derive(Debug)]
pub(crate) struct Core {
    mapping: Mapping,
    geometry: Geometry,
    clock: Clock,
    /// Lanes without an owner, the one given back longest ago first: it has the oldest evidence.
    free: Mutex<VecDeque<FreeLane>>,
    dropped: AtomicU64,
    shared_lanes: AtomicU64,
    birth: Birth,
    pub(crate) faults: Faults,
}

/// What went wrong where nobody could be told, or was left out, counted for [`Recorder::stats`].
#[derive(Debug, Default)]
pub(crate) struct Faults {
    flush_errors: AtomicU64,
    pub(crate) dump_errors: AtomicU64,
    retention_errors: AtomicU64,
    inherited_events: AtomicU64,
}

#[derive(Debug)]
struct FreeLane {
    ring: Ring,
    next_seq: u64,
}

impl Core {
    fn new(mapping: Mapping, geometry: Geometry, names: &[(Kind, &str)], birth: Birth) -> Core {
        let clock = Clock::start();
        let anchor = clock.anchor();
        let header = Header {
            minor: format::MINOR,
            geometry,
            pid: std::process::id(),
            started_unix_ns: anchor.unix_ns.saturating_sub(anchor.time_ns),
            started_monotonic_ns: anchor.monotonic_ns.saturating_sub(anchor.time_ns),
            boot_id: clock::boot_id(),
        };
        let start = format::encode_start(&header, names);
        for (cell, word) in mapping.words().iter().zip(format::words_of(&start)) {
            cell.store(word, Ordering::Relaxed);
        }
        let free = (format::FIRST_OWNED_RING..geometry.rings())
            .map(|number| FreeLane { ring: Ring::new(&geometry, number), next_seq: 1 })
            .collect();
        let core = Core {
            mapping,
            geometry,
            clock,
            free: Mutex::new(free),
            dropped: AtomicU64::new(0),
            shared_lanes: AtomicU64::new(0),
            birth,
            faults: Faults::default(),
        };
        let Geometry { lanes, events_per_lane } = geometry;
        let about = [header.pid.into(), lanes.into(), events_per_lane.into(), format::MAJOR.into()];
        let started = Event::numbers(Kind::STARTED, Severity::INFO, about);
        core.record_many(format::CONTROL_RING, [started]);
        core.record_anchor();
        core
    }

    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        self.mapping.words()
    }

    /// Is this the recorder of the process that forked this one? Then it is left alone.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.birth.is_elsewhere()
    }

    pub(crate) fn birth(&self) -> Birth {
        self.birth
    }

    #[cold]
    pub(crate) fn throw_away(&self, events: u64) {
        self.faults.inherited_events.fetch_add(events, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    #[inline]
    pub(crate) fn ns_at(&self, counter: u64) -> u64 {
        self.clock.ns_at(counter)
    }

    pub(crate) fn record_shared(&self, event: Event, time_ns: u64) {
        self.record_at(format::SHARED_RING, time_ns, [event]);
    }

    /// A panic as neighbours in their own ring, where no other traffic can overwrite them; then to
    /// the disk, best effort, with all that stands before the shared ring in the file.
    pub(crate) fn record_panic<const N: usize>(&self, events: [Event; N]) {
        self.record_many(format::PANIC_RING, events);
        let _counted = self.flush_start(self.geometry.ring_at(format::SHARED_RING));
    }

    fn flush_start(&self, bytes: usize) -> io::Result<()> {
        self.count_flush(self.mapping.flush_start(bytes))
    }

    fn count_flush(&self, flushed: io::Result<()>) -> io::Result<()> {
        if flushed.is_err() {
            self.faults.flush_errors.fetch_add(1, Ordering::Relaxed);
        }
        flushed
    }

    /// The whole recording as it is now, without an allocation.
    pub(crate) fn write_to(&self, file: &File) -> io::Result<()> {
        self.mapping.write_to(file)
    }

    fn record_anchor(&self) {
        if mutants::on("blackbox-no-anchors") {
            return;
        }
        let anchor = self.clock.anchor();
        let numbers = [anchor.unix_ns, anchor.monotonic_ns, 0, 0];
        let event = Event::numbers(Kind::ANCHOR, Severity::DEBUG, numbers);
        self.record_at(format::CONTROL_RING, anchor.time_ns, [event]);
    }

    fn record_many<const N: usize>(&self, ring: u32, events: [Event; N]) {
        self.record_at(ring, self.now_ns(), events);
    }

    /// Into a ring with many writers: no lock anywhere, so a panic in here cannot hang its hook.
    fn record_at<const N: usize>(&self, ring: u32, time_ns: u64, events: [Event; N]) {
        if self.is_inherited() {
            return self.throw_away(N as u64);
        }
        let ring = Ring::new(&self.geometry, ring);
        let first = ring.claim(self.words(), N as u64);
        for (offset, event) in (0..).zip(events) {
            let (seq, thread) = (first.wrapping_add(offset), clock::thread_number());
            let stamped = Stamped { seq, time_ns, thread, event };
            if !ring.write_claimed(self.words(), &stamped) {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Gives a lane the name of the calling thread, whose number is returned.
    #[cold]
    pub(crate) fn name_lane(&self, ring: &Ring) -> u32 {
        self.write_owner(ring, thread::current().name().unwrap_or_default());
        clock::thread_number()
    }

    fn write_owner(&self, ring: &Ring, name: &str) {
        let at = self.geometry.lane_header_at(ring.number()) / 8 + 1;
        let words = format::encode_owner(clock::thread_number(), name);
        for (cell, word) in self.words()[at..].iter().zip(words) {
            cell.store(word, Ordering::Relaxed);
        }
    }

    /// Panics, and is caught, with every lock held and a slot of each many-writer ring half written.
    #[cfg(test)]
    pub(crate) fn panic_while_locked(&self) {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _free = self.free.lock();
            for ring in [format::PANIC_RING, format::SHARED_RING] {
                let ring = Ring::new(&self.geometry, ring);
                ring.leave_half_written(self.words());
            }
            panic!("inside the recorder");
        }));
        assert!(caught.is_err());
    }

    pub(crate) fn give_back(&self, ring: Ring, next_seq: u64) {
        if self.is_inherited() {
            return; // as in `Recorder::lane`
        }
        let next_seq = if mutants::on("blackbox-lane-starts-over") { 1 } else { next_seq };
        self.free.lock().push_back(FreeLane { ring, next_seq });
    }
}

fn birth() -> Result<Birth, OpenError> {
    Birth::here().map_err(|source| OpenError::Fork { source })
}

/// This crate's names and the owner's, checked.
fn names(kinds: &[(Kind, &'static str)]) -> Result<Vec<(Kind, &'static str)>, OpenError> {
    let mut names = Kind::OWN.to_vec();
    for &(kind, name) in kinds {
        let problem = if kind.number() < Kind::RESERVED {
            "numbers below 16 belong to the recorder"
        } else if name.is_empty() || name.len() > format::NAME_TEXT_BYTES_MAX {
            "a name has 1 to 48 bytes"
        } else if names.iter().any(|(other, _)| *other == kind) {
            "this number has a name already"
        } else if names.len() == format::NAMES_MAX {
            "the table of names is full: 249 of the owner's own"
        } else {
            names.push((kind, name));
            continue;
        };
        return Err(OpenError::KindName { kind, name: name.to_owned(), problem });
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_whose_slot_is_still_being_written_is_dropped_and_counted() {
        let mut config = RecorderConfig::default();
        (config.lanes, config.events_per_lane) = (1, 64);
        let recorder = Recorder::in_memory(config, &[]).unwrap();
        let shared = Ring::new(&recorder.core.geometry, format::SHARED_RING);
        shared.leave_half_written(recorder.core.words());
        for n in 2..=65 {
            assert_eq!(recorder.stats().dropped_total, 0, "before event {n}");
            recorder.record(Event::numbers(Kind::CUSTOM, Severity::INFO, [n; 4]));
        }
        assert_eq!(recorder.stats().dropped_total, 1, "a lap later");
        assert_eq!(recorder.stats().events_total, 64);
        let summary = recorder.snapshot().unwrap().summary().clone();
        assert_eq!((summary.torn, summary.missing), (1, 0), "63 whole ones and the one in between");
    }
}
