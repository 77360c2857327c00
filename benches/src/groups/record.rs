//! Group `record`: what one event of the flight recorder costs the thread that records it.
//!
//! The floor is what cannot be left out: a read of the same clock, a CRC32C of 56 bytes, a store of 64 bytes, into a
//! plain ring of the same size. Ours writes into a mapped file. The shared lane is a figure beside it, without a bar.

use std::{cell::Cell, hint, time::Instant};

use bytes::BufMut;
use ng_blackbox::{Event, Kind as EventKind, Lane, Recorder, RecorderConfig, Severity};
use tempfile::TempDir;

use crate::{
    files::fresh_dir,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::sample,
};

/// Of this crate's own kinds, the owner's first.
const EVENT: EventKind = EventKind::new(16);
/// As many as a lane has by default: both stay within the same caches.
const RING_EVENTS: u64 = 4096;
const EVENT_WORDS: usize = 8;

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let (mut kept, mut shared, mut ring) = (None, None, None);
    let rows = vec![
        Row::new("neurograph", Kind::Ours, version, move |work| ours(work, &mut kept)),
        Row::new("neurograph:shared", Kind::Ours, version, move |work| {
            ours_shared(work, &mut shared)
        }),
        Row::new("floor:record", Kind::Floor, "", move |work| Ok(floor(work, &mut ring))),
    ];
    let side = Side::AtMost;
    let bar = Bar {
        id: "record",
        over: "neurograph",
        under: "floor:record",
        side,
        bar: 2.0,
        goal: Some(1.3),
    };
    Group::in_memory("record", "Record one event in the flight recorder", rows, vec![bar])
}

struct Ours {
    lane: Lane,
    recorder: Recorder,
    _dir: TempDir,
}

impl Ours {
    fn make(work: &Work) -> Result<Ours, Failure> {
        let dir = fresh_dir(work)?;
        let names = [(EVENT, "Measured")];
        let recorder = Recorder::open(&dir, RecorderConfig::default(), &names)
            .map_err(|error| Failure::Environment(error.to_string()))?;
        Ok(Ours { lane: recorder.lane(), recorder, _dir: dir })
    }

    /// The newest events of `lane` are the last of this round.
    fn check(&self, work: &Work, lane: impl Fn(u32) -> bool) -> Result<(), Failure> {
        if !work.verify {
            return Ok(());
        }
        let failed = |error: ng_blackbox::ReadError| Failure::Check(error.to_string());
        let reader = self.recorder.snapshot().map_err(failed)?;
        let found = reader.events().filter(|event| lane(event.lane));
        let numbers = found.map(|event| match event.fields {
            ng_blackbox::Fields::Numbers([n, ..]) => n,
            _ => u64::MAX,
        });
        let expected = work.tokens.saturating_sub(RING_EVENTS)..work.tokens;
        let newest: Vec<u64> =
            numbers.rev().take((expected.end - expected.start) as usize).collect();
        if !newest.iter().rev().copied().eq(expected) || reader.summary().torn > 0 {
            return Err(Failure::Check(
                "neurograph: the ring does not hold the last events".into(),
            ));
        }
        Ok(())
    }
}

fn made<'k>(work: &Work, kept: &'k mut Option<Ours>) -> Result<&'k mut Ours, Failure> {
    match kept {
        Some(kept) => Ok(kept),
        None => Ok(kept.insert(Ours::make(work)?)),
    }
}

fn ours(work: &Work, kept: &mut Option<Ours>) -> Result<Sample, Failure> {
    let ours = made(work, kept)?;
    let begin = Instant::now();
    record(&mut ours.lane, work.tokens);
    let sample = sample(begin, work.tokens);
    ours.check(work, |lane| lane == 3)?;
    Ok(sample)
}

// Out of line, like each of the loops below: the same registers for all.
#[inline(never)]
fn record(lane: &mut Lane, events: u64) {
    for n in 0..events {
        lane.record(Event::numbers(EVENT, Severity::INFO, [n, !n, 0, 7]));
    }
}

fn ours_shared(work: &Work, kept: &mut Option<Ours>) -> Result<Sample, Failure> {
    let ours = made(work, kept)?;
    let begin = Instant::now();
    record_shared(&ours.recorder, work.tokens);
    let sample = sample(begin, work.tokens);
    ours.check(work, |lane| lane == 2)?;
    Ok(sample)
}

#[inline(never)]
fn record_shared(recorder: &Recorder, events: u64) {
    for n in 0..events {
        recorder.record(Event::numbers(EVENT, Severity::INFO, [n, !n, 0, 7]));
    }
}

/// One cache line, as an event is.
#[repr(align(64))]
#[derive(Clone)]
struct Line([Cell<u64>; EVENT_WORDS]);

struct Plain {
    clock: quanta::Clock,
    ring: Vec<Line>,
}

fn floor(work: &Work, kept: &mut Option<Plain>) -> Sample {
    let line = Line([const { Cell::new(0) }; EVENT_WORDS]);
    let make = || Plain { clock: quanta::Clock::new(), ring: vec![line; RING_EVENTS as usize] };
    let Plain { clock, ring } = kept.get_or_insert_with(make);
    let begin = Instant::now();
    plain(clock, ring, work.tokens);
    let sample = sample(begin, work.tokens);
    hint::black_box(&ring);
    sample
}

#[repr(align(8))]
struct Summed([u8; 56]);

#[inline(never)]
fn plain(clock: &quanta::Clock, ring: &[Line], events: u64) {
    let mask = ring.len() - 1;
    for n in 0..events {
        let words = [n, clock.raw(), 16, n, !n, 0, 7];
        let mut bytes = Summed([0; 56]);
        for (mut to, word) in bytes.0.chunks_exact_mut(8).zip(words) {
            to.put_u64_le(word);
        }
        let crc = u64::from(crc32c::crc32c(&bytes.0));
        let line = &ring[n as usize & mask].0;
        for (cell, word) in line.iter().zip(words.into_iter().chain([crc])) {
            cell.set(word);
        }
    }
}
