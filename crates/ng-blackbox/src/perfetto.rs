//! The dump for Perfetto's viewer: a protobuf trace with one track for each thread, begins and ends nested.
//!
//! Written by hand, since a trace is a few dozen kinds of fields. Source: perfetto's `trace_packet.proto`,
//! `track_event.proto`, `track_descriptor.proto`, `clock_snapshot.proto`.

use std::{collections::BTreeMap, io};

use crate::{
    event::{Fields, Kind, Phase, UNNAMED},
    mutants,
    reader::{Reader, Recorded},
};

/// Any number but 0: the file has one writer.
const SEQUENCE: u64 = 1;
const PROCESS_TRACK: u64 = 1;
/// Kernel clocks as Perfetto numbers them.
const REALTIME: u64 = 1;
const BOOTTIME: u64 = 6;

const TYPE_BEGIN: u64 = 1;
const TYPE_END: u64 = 2;
const TYPE_INSTANT: u64 = 3;

impl Reader {
    /// Writes all events as a Perfetto trace, to be opened at ui.perfetto.dev: one track a thread,
    /// moments as instants, begins and ends as nested slices.
    ///
    /// Times are those of the monotonic clock at open, continued by the recorder's clock; each anchor
    /// ties them to wall time. An end whose begin is gone becomes an instant, and what had not ended
    /// at the last event ends there, so slices always nest.
    pub fn write_perfetto(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut writer = Writer { out, tracks: BTreeMap::new(), begun: Vec::new() };
        writer.describe_tracks(self)?;
        let start_ns = self.summary().started_monotonic_ns;
        writer.tie_clocks(start_ns, self.summary().started_unix_ns)?;
        let mut last_ns = 0;
        for event in self.events() {
            last_ns = last_ns.max(event.time_ns);
            let at_ns = start_ns.saturating_add(event.time_ns);
            if let (Kind::ANCHOR, Fields::Numbers([unix_ns, ..])) = (event.kind, event.fields) {
                writer.tie_clocks(at_ns, unix_ns)?;
            }
            writer.event(at_ns, &event)?;
        }
        writer.end_all(start_ns.saturating_add(last_ns))
    }
}

/// Who recorded anything, with what is known of their names: a lane has that of the thread that recorded in
/// it last, and a panic tells its thread's.
fn threads(reader: &Reader) -> BTreeMap<u32, Option<String>> {
    let mut threads = BTreeMap::new();
    for event in reader.events() {
        let name: &mut Option<String> = threads.entry(event.thread).or_default();
        if let (Kind::PANIC_THREAD, Fields::Text(told)) = (event.kind, event.fields) {
            *name = (told.as_str() != UNNAMED).then(|| told.as_str().to_owned());
        }
    }
    for lane in &reader.summary().lanes {
        let named = lane.thread.and_then(|thread| threads.get_mut(&thread));
        if let (Some(name), Some(told)) = (named, &lane.thread_name) {
            *name = Some(told.clone());
        }
    }
    threads
}

struct Writer<'w, W> {
    out: &'w mut W,
    tracks: BTreeMap<u32, Track>,
    /// The packet being made; kept for its memory.
    begun: Vec<u8>,
}

/// What is going on in one thread.
#[derive(Default)]
struct Track {
    open: Vec<Kind>,
    /// Time of the latest packet: a viewer wants a track's times to rise.
    latest_ns: u64,
}

impl<W: io::Write> Writer<'_, W> {
    fn describe_tracks(&mut self, reader: &Reader) -> io::Result<()> {
        let summary = reader.summary();
        let pid = u64::from(summary.pid);
        self.packet(None, |packet| {
            message(packet, 60, |track| {
                number(track, 1, PROCESS_TRACK);
                message(track, 3, |process| {
                    number(process, 1, pid);
                    text(process, 6, &format!("process {pid}"));
                });
            });
        })?;
        for (thread, name) in threads(reader) {
            self.packet(None, |packet| {
                message(packet, 60, |track| {
                    number(track, 1, track_of(thread));
                    number(track, 5, PROCESS_TRACK);
                    message(track, 4, |descriptor| {
                        number(descriptor, 1, pid);
                        number(descriptor, 2, thread.into());
                        if let Some(name) = &name {
                            text(descriptor, 5, name);
                        }
                    });
                });
            })?;
        }
        Ok(())
    }

    fn tie_clocks(&mut self, at_ns: u64, unix_ns: u64) -> io::Result<()> {
        self.packet(None, |packet| {
            message(packet, 6, |snapshot| {
                for (clock, ns) in [(BOOTTIME, at_ns), (REALTIME, unix_ns)] {
                    message(snapshot, 1, |reading| {
                        number(reading, 1, clock);
                        number(reading, 2, ns);
                    });
                }
            });
        })
    }

    fn event(&mut self, at_ns: u64, event: &Recorded<'_>) -> io::Result<()> {
        let track = self.tracks.entry(event.thread).or_default();
        track.latest_ns = track.latest_ns.max(at_ns);
        let at_ns = track.latest_ns;
        let depth = track.open.iter().rposition(|kind| *kind == event.kind);
        match (event.phase, depth) {
            (Phase::Begin, _) => {
                track.open.push(event.kind);
                self.named(at_ns, TYPE_BEGIN, event)
            }
            (Phase::End, Some(depth)) => {
                // What began inside and has no end of its own ends here too.
                let inner = track.open.len() - depth - 1;
                track.open.truncate(depth);
                for _ in 0..inner {
                    self.packet(Some(at_ns), |packet| track_event(packet, event.thread, TYPE_END))?;
                }
                self.named(at_ns, TYPE_END, event)
            }
            (Phase::End, None) if mutants::on("blackbox-end-without-begin") => {
                self.named(at_ns, TYPE_END, event)
            }
            (Phase::End | Phase::Instant, _) => self.named(at_ns, TYPE_INSTANT, event),
        }
    }

    fn named(&mut self, at_ns: u64, kind: u64, event: &Recorded<'_>) -> io::Result<()> {
        let unnamed;
        let name = match event.name {
            Some(name) => name,
            None => {
                unnamed = format!("kind {}", event.kind);
                &unnamed
            }
        };
        self.packet(Some(at_ns), |packet| {
            message(packet, 11, |out| {
                number(out, 9, kind);
                number(out, 11, track_of(event.thread));
                text(out, 22, event.severity.name());
                // An end has the name of its begin.
                if kind != TYPE_END {
                    text(out, 23, name);
                }
                annotate(out, "lane", event.lane.into());
                annotate(out, "seq", event.seq);
                match &event.fields {
                    Fields::Numbers(numbers) => {
                        for (name, value) in ["n1", "n2", "n3", "n4"].iter().zip(numbers) {
                            annotate(out, name, *value);
                        }
                    }
                    Fields::Text(words) => message(out, 4, |annotation| {
                        text(annotation, 10, "text");
                        text(annotation, 6, words.as_str());
                    }),
                    Fields::Unknown { shape, words } => {
                        annotate(out, "shape", (*shape).into());
                        for (name, value) in ["w1", "w2", "w3", "w4"].iter().zip(words) {
                            annotate(out, name, *value);
                        }
                    }
                }
            });
        })
    }

    fn end_all(&mut self, at_ns: u64) -> io::Result<()> {
        for (thread, track) in std::mem::take(&mut self.tracks) {
            for _ in track.open {
                let at_ns = at_ns.max(track.latest_ns);
                self.packet(Some(at_ns), |packet| track_event(packet, thread, TYPE_END))?;
            }
        }
        Ok(())
    }

    /// One `packet` of the trace.
    fn packet(&mut self, at_ns: Option<u64>, fill: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        self.begun.clear();
        message(&mut self.begun, 1, |packet| {
            if let Some(at_ns) = at_ns {
                number(packet, 8, at_ns);
            }
            number(packet, 10, SEQUENCE);
            fill(packet);
        });
        self.out.write_all(&self.begun)
    }
}

fn track_of(thread: u32) -> u64 {
    1 << 32 | u64::from(thread)
}

fn track_event(packet: &mut Vec<u8>, thread: u32, kind: u64) {
    message(packet, 11, |event| {
        number(event, 9, kind);
        number(event, 11, track_of(thread));
    });
}

fn annotate(event: &mut Vec<u8>, name: &str, value: u64) {
    message(event, 4, |annotation| {
        text(annotation, 10, name);
        number(annotation, 3, value);
    });
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn text(out: &mut Vec<u8>, field: u64, value: &str) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Its length stands before it, so it is made apart.
fn message(out: &mut Vec<u8>, field: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    varint(out, field << 3 | 2);
    varint(out, inner.len() as u64);
    out.append(&mut inner);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_seven_bits_at_a_time() {
        // The example of protobuf's encoding guide, and the ends.
        for (value, bytes) in [(150, &[0x96, 0x01][..]), (0, &[0]), (127, &[127]), (128, &[128, 1])]
        {
            let mut out = Vec::new();
            varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
        let mut out = Vec::new();
        varint(&mut out, u64::MAX);
        assert_eq!(out.len(), 10);
    }
}
