//! What the fuzzer does with its bytes; an ordinary test does the same with a bounded number.

use std::sync::OnceLock;

use ng_blackbox::Reader;

const STORED: &[u8] = include_bytes!("../golden/v1.0.ngbb");

/// The stored recording's geometry: two lanes of 64 events.
const NAMES_AT: usize = 4096;
const RINGS_AT: usize = 24576;
const EVENT_BYTES: usize = 64;
const SMALL_RING_EVENTS: usize = 256;
const RING_EVENTS: usize = 64;

/// All of an event but its name and its wall time, which other pieces of the file give.
fn facts(reader: &Reader) -> Vec<String> {
    let fact = |event: ng_blackbox::Recorded<'_>| {
        let place = (event.lane, event.seq, event.time_ns, event.thread);
        format!("{place:?} {:?} {:?} {:?}", event.kind, event.severity, event.fields)
    };
    reader.events().map(fact).collect()
}

fn stored() -> &'static [String] {
    static FACTS: OnceLock<Vec<String>> = OnceLock::new();
    FACTS.get_or_init(|| facts(&Reader::from_bytes(STORED).unwrap()))
}

/// The ring in which an event at this offset stands.
fn ring_of(event_at: usize) -> u32 {
    let index = (event_at - RINGS_AT) / EVENT_BYTES;
    let small = (index / SMALL_RING_EVENTS).min(2);
    small as u32 + ((index - small * SMALL_RING_EVENTS) / RING_EVENTS) as u32
}

fn repair(file: &mut [u8], from: usize, upto: usize, seed: u32) {
    if let Some(piece) = file.get(from..upto) {
        let crc = crc32c::crc32c_append(seed, piece).to_le_bytes();
        if let Some(place) = file.get_mut(upto..upto + 4) {
            place.copy_from_slice(&crc);
        }
    }
}

/// Bytes are a recording, or become changes of a whole one: what is read was recorded, or its
/// checksum was repaired on purpose; whatever is not read is an error that says what is wrong.
pub fn recording(bytes: &[u8]) {
    look(bytes, false);
    let mut file = STORED.to_vec();
    let mut invented = false;
    let mut rest = bytes;
    while let [what, a, b, c, length, tail @ ..] = rest {
        let at = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let at = at % STORED.len();
        let (data, after) = tail.split_at(tail.len().min(usize::from(*length) % 65));
        let end = file.len().min(at + data.len());
        if let Some(place) = file.get_mut(at..end) {
            place.copy_from_slice(&data[..place.len()]);
        }
        match what % 6 {
            0 => file.truncate(at),
            1 if at >= RINGS_AT => {
                let event_at = at / EVENT_BYTES * EVENT_BYTES;
                repair(&mut file, event_at, event_at + 56, ring_of(event_at));
                invented = true;
            }
            2 if file.len() >= 128 => {
                let field_at = 12 + at % 100;
                let data = &data[..data.len().min(124 - field_at)];
                file[field_at..field_at + data.len()].copy_from_slice(data);
                repair(&mut file, 0, 124, 0);
                // Another geometry looks for events in other places; each has its ring's checksum.
            }
            3 if (NAMES_AT..20480).contains(&at) => {
                let entry_at = at / 64 * 64;
                repair(&mut file, entry_at, entry_at + 60, 0);
            }
            4 if data.len() >= 3 => {
                // A whole event in a foreign place.
                let from = usize::from(data[0]) << 16 | usize::from(data[1]) << 8;
                let from = (from | usize::from(data[2])) % STORED.len() / EVENT_BYTES * EVENT_BYTES;
                let to = at / EVENT_BYTES * EVENT_BYTES;
                if from + EVENT_BYTES <= file.len() && to + EVENT_BYTES <= file.len() {
                    file.copy_within(from..from + EVENT_BYTES, to);
                }
            }
            _ => {}
        }
        rest = after;
    }
    look(&file, !invented);
}

fn look(file: &[u8], only_stored: bool) {
    let reader = match Reader::from_bytes(file) {
        Ok(reader) => reader,
        Err(error) => return assert!(error.to_string().len() > 20, "{error:?} says too little"),
    };
    let summary = reader.summary();
    assert_eq!(summary.events, reader.events().len() as u64);
    assert_eq!(summary.torn, summary.lanes.iter().map(|lane| lane.torn).sum::<u64>());
    if only_stored {
        for fact in facts(&reader) {
            assert!(stored().contains(&fact), "invented: {fact}");
        }
    }
    reader.write_jsonl(&mut std::io::sink()).unwrap();
    reader.write_perfetto(&mut std::io::sink()).unwrap();
}
