//! Every magic, offset, length and checksum of a recording; pure functions over slices and words.
//!
//! All integers are little-endian. A file is: a header page, a table of kind names, a table of lane
//! headers, then one ring of 64-byte events for each lane. Each piece has its own CRC32C, so a reader
//! can tell what is whole from what is not without trusting anything else.

use std::ops::RangeInclusive;

use crate::{
    error::ReadError,
    event::{Event, Kind, Severity, Text},
    mutants,
};

#[cfg(any(target_endian = "big", not(target_pointer_width = "64")))]
compile_error!(
    "mapped words are those of the file, so this crate needs a little-endian 64-bit machine"
);

pub(crate) const MAGIC: [u8; 8] = *b"NGBBOX\r\n";
/// A reader refuses another major. A later minor may use bytes that are zero here, and give events
/// new kinds and shapes; nothing that is there may move.
pub(crate) const MAJOR: u16 = 1;
pub(crate) const MINOR: u16 = 0;

pub(crate) const EVENT_BYTES: usize = 64;
pub(crate) const EVENT_WORDS: usize = EVENT_BYTES / 8;
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;
pub(crate) const LANES: RangeInclusive<u32> = 1..=1024;

/// Values of the shape byte of an event with numbers; a text has its length there.
pub(crate) const SHAPE_NUMBERS: u8 = 0xff;
pub(crate) const SHAPE_BEGIN: u8 = 0xfe;
pub(crate) const SHAPE_END: u8 = 0xfd;

/// Sequence word of a slot of a many-writer ring while somebody writes into it.
pub(crate) const SEQ_BUSY: u64 = u64::MAX;

const PAGE: usize = 4096;
pub(crate) const HEADER_BYTES: usize = 128;
const HEADER_CRC_AT: usize = HEADER_BYTES - 4;
const NAMES_AT: usize = PAGE;
const NAME_BYTES: usize = 64;
const NAME_CRC_AT: usize = NAME_BYTES - 4;
const NAME_HEAD_BYTES: usize = 4;
pub(crate) const NAME_TEXT_BYTES_MAX: usize = 48;
pub(crate) const NAMES_MAX: usize = 256;
const LANE_TABLE_AT: usize = NAMES_AT + NAMES_MAX * NAME_BYTES;
/// Two cache lines: x86 prefetches lines in pairs, and each lane's owner writes its header always.
const LANE_HEADER_BYTES: usize = 128;
const LANE_OWNER_WORDS: usize = 5;

/// Rings that no thread owns; they come before the threads' own.
pub(crate) const CONTROL_RING: u32 = 0;
pub(crate) const PANIC_RING: u32 = 1;
pub(crate) const SHARED_RING: u32 = 2;
pub(crate) const FIRST_OWNED_RING: u32 = 3;
/// Anchors come once a second and panics hardly ever: four minutes, and 85 panics.
const SMALL_RING_EVENTS: u32 = 256;

const _: () = {
    assert!(size_of::<[u64; EVENT_WORDS]>() == EVENT_BYTES);
    assert!(NAME_HEAD_BYTES + NAME_TEXT_BYTES_MAX <= NAME_CRC_AT);
    assert!(LANE_TABLE_AT.is_multiple_of(PAGE));
    assert!((1 + LANE_OWNER_WORDS + 1) * 8 <= LANE_HEADER_BYTES);
    // Each ring is whole pages, so that a ring never shares a page with another.
    assert!((SMALL_RING_EVENTS as usize * EVENT_BYTES).is_multiple_of(PAGE));
};

/// True for a power of two that makes whole pages and stays addressable.
pub(crate) fn is_ring_size(events: u32) -> bool {
    events.is_power_of_two() && (64..=1 << 20).contains(&events)
}

/// All offsets follow from these two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) lanes: u32,
    pub(crate) events_per_lane: u32,
}

impl Geometry {
    pub(crate) fn rings(&self) -> u32 {
        FIRST_OWNED_RING + self.lanes
    }

    pub(crate) fn ring_events(&self, ring: u32) -> u32 {
        if ring < SHARED_RING { SMALL_RING_EVENTS } else { self.events_per_lane }
    }

    /// Offset of a lane's header. Unit: bytes.
    pub(crate) fn lane_header_at(&self, ring: u32) -> usize {
        LANE_TABLE_AT + ring as usize * LANE_HEADER_BYTES
    }

    /// Offset of a ring's first event; of the end of the file for `ring == rings()`. Unit: bytes.
    pub(crate) fn ring_at(&self, ring: u32) -> usize {
        let first = self.lane_header_at(self.rings()).next_multiple_of(PAGE);
        let small = ring.min(SHARED_RING) as usize * SMALL_RING_EVENTS as usize;
        let large = ring.saturating_sub(SHARED_RING) as usize * self.events_per_lane as usize;
        first + (small + large) * EVENT_BYTES
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.ring_at(self.rings()) as u64
    }
}

/// What is written once, before anybody can see the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Of the format that the file was written in.
    pub(crate) minor: u16,
    pub(crate) geometry: Geometry,
    pub(crate) pid: u32,
    /// Wall time at which the recorder's clock showed 0.
    pub(crate) started_unix_ns: u64,
    pub(crate) started_monotonic_ns: u64,
    /// Zero where the system has none.
    pub(crate) boot_id: [u8; 16],
}

const HEADER_FIELDS: [(&str, usize, u64); 5] = [
    ("event_bytes", 24, EVENT_BYTES as u64),
    ("small_ring_events", 28, SMALL_RING_EVENTS as u64),
    ("names_at", 32, NAMES_AT as u64),
    ("lane_table_at", 36, LANE_TABLE_AT as u64),
    ("lane_header_bytes", 40, LANE_HEADER_BYTES as u64),
];

pub(crate) fn encode_header(header: &Header) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    put(&mut out, 0, MAGIC);
    put(&mut out, 8, MAJOR.to_le_bytes());
    put(&mut out, 10, header.minor.to_le_bytes());
    put(&mut out, 12, header.pid.to_le_bytes());
    put(&mut out, 16, header.geometry.lanes.to_le_bytes());
    put(&mut out, 20, header.geometry.events_per_lane.to_le_bytes());
    for (_, at, value) in HEADER_FIELDS {
        put(&mut out, at, (value as u32).to_le_bytes());
    }
    put(&mut out, 48, header.started_unix_ns.to_le_bytes());
    put(&mut out, 56, header.started_monotonic_ns.to_le_bytes());
    put(&mut out, 64, header.boot_id);
    let crc = crc32c::crc32c(&out[..HEADER_CRC_AT]);
    put(&mut out, HEADER_CRC_AT, crc.to_le_bytes());
    out
}

/// Checks in the order in which an operator wants to know: is it ours, is it whole, do we know it.
pub(crate) fn decode_header(bytes: &[u8]) -> Result<Header, ReadError> {
    let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
        let (found_bytes, expected_bytes) = (bytes.len() as u64, HEADER_BYTES as u64);
        return Err(ReadError::TooShort { found_bytes, expected_bytes });
    };
    let found = take::<8>(bytes, 0);
    if found != MAGIC {
        return Err(ReadError::Magic { found, expected: MAGIC });
    }
    // Before the checksum, which another version may keep elsewhere.
    let (major, minor) = (u16_at(bytes, 8), u16_at(bytes, 10));
    if major != MAJOR {
        return Err(ReadError::Version { found: major, supported: MAJOR });
    }
    let (stored, computed) =
        (u32_at(bytes, HEADER_CRC_AT), crc32c::crc32c(&bytes[..HEADER_CRC_AT]));
    if stored != computed {
        return Err(ReadError::HeaderChecksum { offset: HEADER_CRC_AT as u64, stored, computed });
    }
    let refuse = |field, at: usize, expected| {
        let found = u32_at(bytes, at).into();
        Err(ReadError::Header { field, offset: at as u64, found, expected })
    };
    let geometry = Geometry { lanes: u32_at(bytes, 16), events_per_lane: u32_at(bytes, 20) };
    if !LANES.contains(&geometry.lanes) {
        return refuse("lanes", 16, "1 to 1024");
    }
    if !is_ring_size(geometry.events_per_lane) || geometry.file_bytes() > FILE_BYTES_MAX {
        let expected = "a power of two from 64 to 1048576, and a file of at most 1 GiB";
        return refuse("events_per_lane", 20, expected);
    }
    for (field, at, value) in HEADER_FIELDS {
        if u64::from(u32_at(bytes, at)) != value {
            return refuse(field, at, "the value of format version 1");
        }
    }
    Ok(Header {
        minor,
        geometry,
        pid: u32_at(bytes, 12),
        started_unix_ns: u64_at(bytes, 48),
        started_monotonic_ns: u64_at(bytes, 56),
        boot_id: take(bytes, 64),
    })
}

/// The start of a file: header, zeroes, names. `names` must be within the limits of this file.
pub(crate) fn encode_start(header: &Header, names: &[(Kind, &str)]) -> Vec<u8> {
    assert!(names.len() <= NAMES_MAX, "the caller has checked the number of names");
    let mut out = vec![0; NAMES_AT + names.len() * NAME_BYTES];
    put(&mut out, 0, encode_header(header));
    for (entry, (kind, name)) in out[NAMES_AT..].chunks_exact_mut(NAME_BYTES).zip(names) {
        assert!(name.len() <= NAME_TEXT_BYTES_MAX, "the caller has checked each name's length");
        put(entry, 0, kind.number().to_le_bytes());
        entry[2] = name.len() as u8;
        entry[NAME_HEAD_BYTES..][..name.len()].copy_from_slice(name.as_bytes());
        let crc = crc32c::crc32c(&entry[..NAME_CRC_AT]);
        put(entry, NAME_CRC_AT, crc.to_le_bytes());
    }
    out
}

/// The names that are whole, in the order of the table.
pub(crate) fn decode_names(file: &[u8]) -> impl Iterator<Item = (Kind, &str)> {
    let table = file.get(NAMES_AT..file.len().min(LANE_TABLE_AT)).unwrap_or_default();
    table.chunks_exact(NAME_BYTES).filter_map(|entry| {
        let whole = u32_at(entry, NAME_CRC_AT) == crc32c::crc32c(&entry[..NAME_CRC_AT]);
        let text = entry[NAME_HEAD_BYTES..NAME_CRC_AT].get(..entry[2].into())?;
        let name = std::str::from_utf8(text).ok().filter(|name| whole && !name.is_empty())?;
        Some((Kind::new(u16_at(entry, 0)), name))
    })
}

/// Words of a lane header after its cursor: thread and length of the name, name, checksum.
pub(crate) fn encode_owner(thread: u32, name: &str) -> [u64; LANE_OWNER_WORDS + 1] {
    let text = Text::start_of(name);
    let head = u64::from(thread) | (text.as_str().len() as u64) << 32;
    let mut bytes = [0; Text::BYTES_MAX];
    bytes[..text.as_str().len()].copy_from_slice(text.as_str().as_bytes());
    let [a, b, c, d] = pack_text(&bytes);
    let crc = owner_crc([head, a, b, c, d]);
    [head, a, b, c, d, crc.into()]
}

/// A lane's count of events and its last owner, where that is whole.
pub(crate) fn decode_lane(header: &[u8]) -> Option<(u64, Option<(u32, Text)>)> {
    let header = header.get(..LANE_HEADER_BYTES)?;
    let words: [u64; LANE_OWNER_WORDS] = std::array::from_fn(|i| u64_at(header, 8 + i * 8));
    let crc = u64_at(header, 8 + LANE_OWNER_WORDS * 8);
    let [head, name @ ..] = words;
    let len = (head >> 32).min(Text::BYTES_MAX as u64) as usize;
    let owner = (crc == u64::from(owner_crc(words)) && head != 0)
        .then(|| (head as u32, Text::copied(&unpack_text(&name)[..len])));
    Some((u64_at(header, 0), owner))
}

fn owner_crc(words: [u64; LANE_OWNER_WORDS]) -> u32 {
    words.iter().fold(0, |crc, word| crc32c::crc32c_append(crc, &word.to_le_bytes()))
}

/// An event as it stands in a file, with what recording added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamped {
    pub(crate) seq: u64,
    pub(crate) time_ns: u64,
    pub(crate) thread: u32,
    pub(crate) event: Event,
}

/// The words of a slot, in the order of memory. The checksum is seeded with the ring's number, so an
/// event that strayed into another ring is refused.
#[inline]
pub(crate) fn encode_event(ring: u32, stamped: &Stamped) -> [u64; EVENT_WORDS] {
    let event = &stamped.event;
    let what = u64::from(event.kind().number())
        | u64::from(event.severity().number()) << 16
        | u64::from(event.shape()) << 24
        | u64::from(stamped.thread) << 32;
    let [a, b, c, d] = *event.words();
    let mut words = [stamped.seq, stamped.time_ns, what, a, b, c, d, 0];
    words[EVENT_WORDS - 1] = event_crc(ring, &words).into();
    words
}

/// The checksum takes eight bytes at a step only where they are aligned.
#[repr(align(8))]
struct Aligned([[u8; 8]; EVENT_WORDS - 1]);

#[inline]
fn event_crc(ring: u32, words: &[u64; EVENT_WORDS]) -> u32 {
    let bytes = Aligned(std::array::from_fn(|i| words[i].to_le_bytes()));
    if mutants::on("blackbox-crc-without-sequence") {
        return crc32c::crc32c_append(ring, bytes.0[1..].as_flattened());
    }
    crc32c::crc32c_append(ring, bytes.0.as_flattened())
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Never written.
    Empty,
    /// Written halfway, or damaged since.
    Torn,
    Whole(Stamped),
}

/// Judges slot number `index` of a ring of `events` slots.
pub(crate) fn decode_slot(ring: u32, events: u32, index: u32, bytes: &[u8; EVENT_BYTES]) -> Slot {
    let words: [u64; EVENT_WORDS] = std::array::from_fn(|i| u64_at(bytes, i * 8));
    if words == [0; EVENT_WORDS] {
        return Slot::Empty;
    }
    let [seq, time_ns, what, a, b, c, d, crc] = words;
    let in_place = seq != 0 && seq != SEQ_BUSY && slot_of(seq, events) == index;
    // The upper half of the checksum's word is zero, so it is compared too.
    let whole = crc == u64::from(event_crc(ring, &words));
    if !in_place || !(whole || mutants::on("blackbox-torn-accepted")) {
        return Slot::Torn;
    }
    let (kind, severity) = (Kind::new(what as u16), Severity::new((what >> 16) as u8));
    let event = Event::from_parts(kind, severity, (what >> 24) as u8, [a, b, c, d]);
    Slot::Whole(Stamped { seq, time_ns, thread: (what >> 32) as u32, event })
}

/// Where in its ring the event with that number stands; numbers are dense from 1.
#[inline]
pub(crate) fn slot_of(seq: u64, events: u32) -> u32 {
    (seq.wrapping_sub(1) & u64::from(events - 1)) as u32
}

pub(crate) fn pack_text(bytes: &[u8; Text::BYTES_MAX]) -> [u64; 4] {
    std::array::from_fn(|i| u64_at(bytes, i * 8))
}

pub(crate) fn unpack_text(words: &[u64; 4]) -> [u8; Text::BYTES_MAX] {
    let mut bytes = [0; Text::BYTES_MAX];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The words of a mapping that has these bytes, cut to whole words.
pub(crate) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|chunk| u64_at(chunk, 0))
}

/// The bytes of a mapping that has this word.
pub(crate) fn bytes_of(word: u64) -> [u8; 8] {
    word.to_le_bytes()
}

fn put<const N: usize>(out: &mut [u8], at: usize, value: [u8; N]) {
    out[at..at + N].copy_from_slice(&value);
}

/// Panics outside `bytes`: each caller has a slice of known length.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(take(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(take(bytes, at))
}
