//! Reads a recording, of a dead process or of a live one: events of all lanes in the order of time.
//!
//! Nothing in a file is believed without its checksum. A damaged event is left out and counted; what
//! makes the whole file unreadable is an error. Reading takes no lock and changes nothing.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use crate::{
    error::ReadError,
    event::{Fields, Kind, Phase, Severity},
    format::{self, EVENT_BYTES, Geometry, Header, Slot, Stamped},
    mutants,
    retention::Ending,
};

/// What is read at once where slots are only counted.
const COUNT_BYTES: usize = 64 << 10;
/// What is passed over at once if it is empty.
const SKIPPED_BYTES: usize = 4 << 10;

/// A recording, read whole into memory.
#[derive(Debug)]
pub struct Reader {
    events: Vec<Placed>,
    names: BTreeMap<Kind, String>,
    summary: Summary,
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    lane: u32,
    wall_unix_ns: u64,
    stamped: Stamped,
}

/// One event as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded<'r> {
    /// Which lane it stands in: 0 control, 1 panics, 2 shared, from 3 on the threads' own.
    pub lane: u32,
    /// Its number in its lane, dense from 1.
    pub seq: u64,
    /// Nanoseconds since the recorder was opened, by the recorder's clock.
    pub time_ns: u64,
    /// The same moment as wall time, by the nearest anchor: nanoseconds since the Unix epoch.
    pub wall_unix_ns: u64,
    /// The kernel's number of the thread that recorded it.
    pub thread: u32,
    /// What it is about.
    pub kind: Kind,
    /// The name that the recording gives to its kind.
    pub name: Option<&'r str>,
    /// How bad it is.
    pub severity: Severity,
    /// Whether it is a moment, or one end of something that lasts.
    pub phase: Phase,
    /// What it carries.
    pub fields: Fields,
}

/// What a recording holds, and what is wrong with it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Version of the format it was written in: major, which this reader knows, and minor, of which
    /// it may know less than its writer did.
    pub format_version: (u16, u16),
    /// The process that wrote it.
    pub pid: u32,
    /// Wall time at open: nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// The monotonic clock at open, in nanoseconds: comparable while the machine stays up.
    pub started_monotonic_ns: u64,
    /// Which boot of the machine that was; zeroes if unknown.
    pub boot_id: [u8; 16],
    /// The recorder was dropped in good order.
    pub stopped: bool,
    /// Panics whose message is still there.
    pub panics: u64,
    /// Whole events.
    pub events: u64,
    /// Slots that hold something, but no whole event: half written at a kill, or damaged since.
    pub torn: u64,
    /// Events that should be there, by the numbers of their neighbours, and are not.
    pub missing: u64,
    /// How much of the file's end is not there. Unit: bytes.
    pub cut_bytes: u64,
    /// The lanes that hold anything, in the order of the file.
    pub lanes: Vec<LaneSummary>,
}

/// What one lane holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LaneSummary {
    /// Its number: 0 control, 1 panics, 2 shared, from 3 on the threads' own.
    pub lane: u32,
    /// The kernel's number of the thread that recorded in it last, or took it and has not recorded.
    pub thread: Option<u32>,
    /// That thread's name, up to 32 bytes.
    pub thread_name: Option<String>,
    /// How many events the recorder counted in it, those overwritten included.
    pub recorded: u64,
    /// Whole events.
    pub events: u64,
    /// Slots that hold something, but no whole event.
    pub torn: u64,
    /// Events that should be there, by the numbers of their neighbours, and are not.
    pub missing: u64,
    /// Number of its newest whole event.
    pub newest_seq: u64,
}

impl Reader {
    /// Reads a file that a dead process left, or one that is being written.
    ///
    /// Errors: it cannot be read, or its header is not that of a recording this version knows.
    /// A file whose end is cut off gives what is left.
    pub fn open(path: impl AsRef<Path>) -> Result<Reader, ReadError> {
        let path = path.as_ref();
        let failed = |source| ReadError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        let start_bytes = format::HEADER_BYTES as u64;
        file.by_ref().take(start_bytes).read_to_end(&mut bytes).map_err(failed)?;
        // Judged before the rest is read: what is no recording may be of any size.
        let header = format::decode_header(&bytes)?;
        let rest = header.geometry.file_bytes() - start_bytes;
        file.take(rest).read_to_end(&mut bytes).map_err(failed)?;
        Reader::from_bytes(&bytes)
    }

    /// Reads the bytes of a file. Errors: as [`Reader::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Reader, ReadError> {
        let header = format::decode_header(bytes)?;
        let mut names = BTreeMap::new();
        for (kind, name) in format::decode_names(bytes) {
            // The table is append-only, so the first is the one that its writer meant.
            names.entry(kind).or_insert_with(|| name.to_owned());
        }
        let mut events = Vec::new();
        let mut lanes = Vec::new();
        for number in 0..header.geometry.rings() {
            let (lane, found) = read_ring(bytes, &header.geometry, number);
            if lane.recorded > 0 || lane.events > 0 || lane.torn > 0 {
                lanes.push(lane);
            }
            events.extend(found.into_iter().map(|stamped| (number, stamped)));
        }
        let events = in_order_of_time(&header, events);
        let summary = summarize(bytes, &header, &events, lanes);
        Ok(Reader { events, names, summary })
    }

    /// All whole events in the order of time; within a lane, in the order in which they were
    /// recorded.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Recorded<'_>> + DoubleEndedIterator {
        self.events.iter().map(|placed| {
            let Stamped { seq, time_ns, thread, event } = placed.stamped;
            Recorded {
                lane: placed.lane,
                seq,
                time_ns,
                wall_unix_ns: placed.wall_unix_ns,
                thread,
                kind: event.kind(),
                name: self.kind_name(event.kind()),
                severity: event.severity(),
                phase: event.phase(),
                fields: event.fields(),
            }
        })
    }

    /// The name that this recording gives to a kind.
    pub fn kind_name(&self, kind: Kind) -> Option<&str> {
        self.names.get(&kind).map(String::as_str)
    }

    /// What it holds, and what is wrong with it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

/// How the run of a recording ended, by the two rings that tell, without reading the others.
pub(crate) fn ending_of(mut file: File) -> io::Result<Ending> {
    let geometry = geometry_of(&mut file)?;
    let mut ending = Ending::default();
    for number in [format::CONTROL_RING, format::PANIC_RING] {
        let (start, end) = (geometry.ring_at(number), geometry.ring_at(number + 1));
        file.seek(SeekFrom::Start(start as u64))?;
        let mut bytes = Vec::new();
        file.by_ref().take((end - start) as u64).read_to_end(&mut bytes)?;
        let capacity = geometry.ring_events(number);
        for (index, slot) in (0..).zip(bytes.as_chunks::<EVENT_BYTES>().0) {
            if let Slot::Whole(stamped) = format::decode_slot(number, capacity, index, slot) {
                ending.stopped |= stamped.event.kind() == Kind::STOPPED;
                ending.panicked |= stamped.event.kind() == Kind::PANICKED;
            }
        }
    }
    Ok(ending)
}

/// Of a file from its start.
fn geometry_of(file: &mut File) -> io::Result<Geometry> {
    let mut bytes = Vec::new();
    file.by_ref().take(format::HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(format::decode_header(&bytes).map_err(io::Error::other)?.geometry)
}

/// How many slots of a recording are torn, as its [`Summary`] has it, without keeping what they hold:
/// an open asks no more of the recording before.
pub(crate) fn torn_in(mut file: File) -> io::Result<u64> {
    let geometry = geometry_of(&mut file)?;
    let mut torn = 0;
    let mut part = vec![0; COUNT_BYTES];
    for number in 0..geometry.rings() {
        let capacity = geometry.ring_events(number);
        file.seek(SeekFrom::Start(geometry.ring_at(number) as u64))?;
        let mut index = 0;
        while index < capacity {
            let left = (capacity - index) as usize * EVENT_BYTES;
            part.clear();
            let read = file.by_ref().take(left.min(COUNT_BYTES) as u64).read_to_end(&mut part)?;
            if read < EVENT_BYTES {
                return Ok(torn); // cut off
            }
            // Most of a recording is empty, and seen to be that in large pieces.
            for some in part.chunks(SKIPPED_BYTES) {
                let (slots, _) = some.as_chunks::<EVENT_BYTES>();
                if some.iter().fold(0, |all, byte| all | byte) != 0 {
                    let judged = (index..)
                        .zip(slots)
                        .map(|(index, slot)| format::decode_slot(number, capacity, index, slot));
                    torn += judged.filter(|slot| matches!(slot, Slot::Torn)).count() as u64;
                }
                index += slots.len() as u32;
            }
        }
    }
    Ok(torn)
}

/// The whole events of one ring in the order of their numbers, and what its slots say together.
fn read_ring(file: &[u8], geometry: &Geometry, number: u32) -> (LaneSummary, Vec<Stamped>) {
    let mut lane = LaneSummary { lane: number, ..LaneSummary::default() };
    let header = file.get(geometry.lane_header_at(number)..).unwrap_or_default();
    if let Some((recorded, owner)) = format::decode_lane(header) {
        lane.recorded = recorded;
        lane.thread = owner.map(|(thread, _)| thread);
        lane.thread_name = owner.map(|(_, name)| name.to_string()).filter(|name| !name.is_empty());
    }
    let (start, end) = (geometry.ring_at(number), geometry.ring_at(number + 1));
    let slots = file.get(start..end.min(file.len())).unwrap_or_default();
    let capacity = geometry.ring_events(number);
    let mut events = Vec::new();
    let mut torn = Vec::new();
    for (index, bytes) in (0..).zip(slots.as_chunks::<EVENT_BYTES>().0) {
        match format::decode_slot(number, capacity, index, bytes) {
            Slot::Empty => {}
            Slot::Torn => torn.push(u64::from(index)),
            Slot::Whole(stamped) => events.push(stamped),
        }
    }
    events.sort_unstable_by_key(|stamped| stamped.seq);
    lane.events = events.len() as u64;
    lane.torn = torn.len() as u64;
    lane.newest_seq = events.last().map_or(0, |stamped| stamped.seq);
    // The window is what a ring of this size should hold; a torn slot in it explains one absence.
    let window = lane.newest_seq.min(capacity.into());
    let oldest = lane.newest_seq - window;
    let present = events.iter().filter(|stamped| stamped.seq > oldest).count() as u64;
    let explained = torn.iter().filter(|index| **index < window).count() as u64;
    lane.missing = window.saturating_sub(present + explained);
    (lane, events)
}

/// Merges the lanes. A lane's own order wins over its times, which may step back by a little when
/// its thread moves to another core: its clock is held at the latest value seen.
fn in_order_of_time(header: &Header, events: Vec<(u32, Stamped)>) -> Vec<Placed> {
    let walls = wall_anchors(header, &events);
    let mut latest = (u32::MAX, 0);
    let mut keyed: Vec<(u64, Placed)> = events
        .into_iter()
        .map(|(lane, stamped)| {
            let before = if latest.0 == lane { latest.1 } else { 0 };
            latest = (lane, stamped.time_ns.max(before));
            let wall_unix_ns = wall_at(&walls, stamped.time_ns);
            (latest.1, Placed { lane, wall_unix_ns, stamped })
        })
        .collect();
    if !mutants::on("blackbox-lanes-not-merged") {
        keyed.sort_by_key(|(time_ns, placed)| (*time_ns, placed.lane, placed.stamped.seq));
    }
    keyed.into_iter().map(|(_, placed)| placed).collect()
}

/// Pairs of recorder's time and wall time, ascending, from the header and the anchors.
fn wall_anchors(header: &Header, events: &[(u32, Stamped)]) -> Vec<(u64, u64)> {
    let anchors = events.iter().filter_map(|(lane, stamped)| match stamped.event.fields() {
        Fields::Numbers([unix_ns, ..])
            if *lane == format::CONTROL_RING && stamped.event.kind() == Kind::ANCHOR =>
        {
            Some((stamped.time_ns, unix_ns))
        }
        _ => None,
    });
    let mut walls: Vec<_> = std::iter::once((0, header.started_unix_ns)).chain(anchors).collect();
    walls.sort_unstable();
    walls
}

/// `walls` is never empty: the header is its first.
fn wall_at(walls: &[(u64, u64)], time_ns: u64) -> u64 {
    let after = walls.partition_point(|(at, _)| *at <= time_ns).max(1);
    let nearest = match (walls[after - 1], walls.get(after)) {
        (before, Some(&next)) if next.0 - time_ns < time_ns - before.0 => next,
        (before, _) => before,
    };
    nearest.1.saturating_add(time_ns).saturating_sub(nearest.0)
}

fn summarize(file: &[u8], header: &Header, events: &[Placed], lanes: Vec<LaneSummary>) -> Summary {
    let of_kind =
        |kind| events.iter().filter(move |placed| placed.stamped.event.kind() == kind).count();
    Summary {
        format_version: (format::MAJOR, header.minor),
        pid: header.pid,
        started_unix_ns: header.started_unix_ns,
        started_monotonic_ns: header.started_monotonic_ns,
        boot_id: header.boot_id,
        stopped: of_kind(Kind::STOPPED) > 0,
        panics: of_kind(Kind::PANICKED) as u64,
        events: events.len() as u64,
        torn: lanes.iter().map(|lane| lane.torn).sum(),
        missing: lanes.iter().map(|lane| lane.missing).sum(),
        cut_bytes: header.geometry.file_bytes().saturating_sub(file.len() as u64),
        lanes,
    }
}
