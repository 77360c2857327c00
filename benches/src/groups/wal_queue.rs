//! Group `wal_queue`: what an append costs the thread that makes it, when it waits for nothing.
//!
//! `neurograph` appends in bursts that the ring has room for, while the writer thread takes them out; between bursts,
//! untimed, the writer catches up. The queue of crossbeam takes the same bursts, alone and beside a thread that pops.
//! `neurograph:rotation` is the slowest append around each change of segments, by an appender that the disk
//! keeps up with; its floor is one sync.

use std::{
    cell::RefCell,
    hint,
    os::unix::fs::FileExt,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ng_wal::{Durability, Rotated, Wal, WalConfig, WalObserver};
use tempfile::TempDir;

use crate::{
    files::{Raw, failed, fresh_dir},
    log::{self, KIND},
    payload::{self, Payload},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    tokens,
};

/// Half a ring of the default size.
const BURST: u64 = 8192;
/// One record of this many is part of a burst.
const PART: u64 = 6;
/// Changes of segments a round: a hundred in the 15 rounds of a quick run.
const ROTATIONS: u64 = 7;
const SEGMENT_BYTES: u64 = 4 << 20;
/// 64 MB a second: a tenth of what the disk of numbers.md takes.
const PACE_RECORDS_PER_S: u64 = 1_000_000;
/// Appends between two looks at the clock.
const PACE_STEP: u64 = 100;
/// Syncs a round of the floor; their median counts.
const SYNCS: u64 = 51;
const BLOCK_BYTES: u64 = 4096;

pub(crate) fn group() -> Group {
    let slowest = Rc::new(RefCell::new(Vec::new()));
    let (told, mut bursts_log, mut rotating, mut raw) = (Rc::clone(&slowest), None, None, None);
    let version = env!("CARGO_PKG_VERSION");
    #[allow(unused_mut, reason = "without the feature there is no peer")]
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, version, move |work| ours(work, &mut bursts_log)),
        Row::new("neurograph:rotation", Kind::Ours, version, move |work| {
            rotation(work, &mut rotating, &mut slowest.borrow_mut())
        }),
        Row::new("floor:raw_sync", Kind::Floor, "", move |work| raw_sync(work, &mut raw)),
    ];
    #[cfg(feature = "peers")]
    {
        let version = crate::machine::version_in_lock("crossbeam-queue");
        rows.push(Row::new("ArrayQueue", Kind::Peer, version, |work| queue(work, false)));
        rows.push(Row::new("ArrayQueue:popped", Kind::Peer, version, |work| queue(work, true)));
    }
    let side = Side::AtMost;
    let bars = vec![
        Bar {
            id: "queue",
            over: "neurograph",
            under: "ArrayQueue",
            side,
            bar: 3.0,
            goal: Some(1.5),
        },
        Bar {
            id: "rotation",
            over: "neurograph:rotation",
            under: "floor:raw_sync",
            side,
            bar: 1.0,
            goal: Some(0.1),
        },
    ];
    let title = "Append 64 bytes without waiting";
    let notes = Box::new(move || rotation_note(&mut told.borrow_mut()));
    Group { notes, ..Group::on_disk("wal_queue", title, rows, bars) }
}

fn bursts(work: &Work) -> u64 {
    (work.records / PART / BURST).max(2)
}

fn payloads(work: &Work) -> Vec<Payload> {
    payload::stream(work.seed, 0..BURST).collect()
}

fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn ours(work: &Work, kept: &mut Option<(Wal, TempDir)>) -> Result<Sample, Failure> {
    let (wal, _) = match kept {
        Some(kept) => kept,
        None => {
            let dir = fresh_dir(work)?;
            kept.insert((log::open(dir.path(), Durability::Relaxed)?, dir))
        }
    };
    let payloads = payloads(work);
    let first = wal.last_lsn().get();
    let mut elapsed = Duration::ZERO;
    for _ in 0..bursts(work) {
        let begin = Instant::now();
        for payload in &payloads {
            wal.try_append(KIND, payload).map_err(log::refused)?;
        }
        elapsed += begin.elapsed();
        wal.sync().map_err(log::refused)?;
    }
    let operations = bursts(work) * BURST;
    if wal.durable_lsn().get() - first != operations {
        return Err(Failure::Check("neurograph: an append of a burst is not durable".into()));
    }
    wal.retire_before(wal.durable_lsn()).map_err(log::refused)?;
    Ok(Sample { elapsed_ns: elapsed.as_nanos() as u64, operations })
}

#[cfg(feature = "peers")]
fn queue(work: &Work, popped: bool) -> Result<Sample, Failure> {
    use crossbeam_queue::ArrayQueue;

    let payloads = payloads(work);
    let queue = ArrayQueue::new(2 * BURST as usize);
    let mut elapsed = Duration::ZERO;
    let operations = bursts(work) * BURST;
    let taken = AtomicU64::new(0);
    std::thread::scope(|scope| {
        if popped {
            scope.spawn(|| {
                while taken.load(Ordering::Relaxed) < operations {
                    match queue.pop() {
                        Some(payload) => {
                            hint::black_box(payload);
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                        None => hint::spin_loop(),
                    }
                }
            });
        }
        for burst in 1..=bursts(work) {
            let begin = Instant::now();
            for payload in &payloads {
                // There is room for two bursts.
                let _ = hint::black_box(queue.push(*payload));
            }
            elapsed += begin.elapsed();
            while popped && taken.load(Ordering::Relaxed) < burst * BURST {
                hint::spin_loop();
            }
            while let Some(payload) = queue.pop() {
                hint::black_box(payload);
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    if taken.into_inner() != operations {
        return Err(Failure::Check("ArrayQueue lost a payload".into()));
    }
    Ok(Sample { elapsed_ns: elapsed.as_nanos() as u64, operations })
}

/// Counts the changes of segments, on the log's own thread.
#[derive(Default)]
struct Rotations(AtomicU64);

impl WalObserver for Rotations {
    fn on_rotated(&self, _event: &Rotated) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

struct Rotating {
    wal: Wal,
    seen: Arc<Rotations>,
    _dir: TempDir,
}

impl Rotating {
    fn make(work: &Work) -> Result<Rotating, Failure> {
        let dir = fresh_dir(work)?;
        let seen = Arc::new(Rotations::default());
        let wal = open_rotating(dir.path(), Arc::clone(&seen))?;
        Ok(Rotating { wal, seen, _dir: dir })
    }
}

fn open_rotating(dir: &Path, seen: Arc<Rotations>) -> Result<Wal, Failure> {
    let mut config = WalConfig::default();
    config.durability = Durability::Relaxed;
    config.segment_bytes = SEGMENT_BYTES;
    config.observer = Some(seen);
    Ok(Wal::open(dir, config).map_err(log::refused)?.0)
}

/// The slowest append from the middle of one segment to the middle of the next, a change of segments in between.
fn rotation(
    work: &Work,
    kept: &mut Option<Rotating>,
    slowest: &mut Vec<u64>,
) -> Result<Sample, Failure> {
    // As with every row, the first round is thrown away.
    let is_first = kept.is_none();
    let Rotating { wal, seen, .. } = match kept {
        Some(kept) => kept,
        None => kept.insert(Rotating::make(work)?),
    };
    let payload = payload::payload(&tokens::one(work.seed, 0).to_words());
    let rotations = if work.records < 1_000_000 { 1 } else { ROTATIONS };
    let mut round = Vec::new();
    let begin = Instant::now();
    let (mut sent, mut slow, mut before) = (0, 0, seen.0.load(Ordering::Acquire));
    let mut middle_at = None;
    while (round.len() as u64) < rotations {
        for _ in 0..PACE_STEP {
            let at = Instant::now();
            wal.append(KIND, &payload).map_err(log::refused)?;
            slow = slow.max(at.elapsed().as_nanos() as u64);
        }
        sent += PACE_STEP;
        let due = Duration::from_nanos(sent * 1_000_000_000 / PACE_RECORDS_PER_S);
        while begin.elapsed() < due {
            hint::spin_loop();
        }
        let now = seen.0.load(Ordering::Acquire);
        if now != before {
            before = now;
            middle_at = Some(sent + SEGMENT_BYTES / 72 / 2);
        }
        if middle_at.is_some_and(|middle| sent >= middle) {
            middle_at = None;
            round.push(std::mem::take(&mut slow));
        }
    }
    wal.sync().map_err(log::refused)?;
    wal.retire_before(wal.durable_lsn()).map_err(log::refused)?;
    if !is_first {
        slowest.extend_from_slice(&round);
    }
    Ok(Sample { elapsed_ns: median(round), operations: 1 })
}

fn rotation_note(slowest: &mut [u64]) -> Vec<String> {
    slowest.sort_unstable();
    let (Some(most), Some(median)) = (slowest.last(), slowest.get(slowest.len() / 2)) else {
        return Vec::new();
    };
    vec![format!(
        "Slowest append around each of {} changes of segments, at {PACE_RECORDS_PER_S} records a second: \
         median {median} ns, maximum {most} ns. Each sample of the row is the median of one round; \
         neurograph:rotation and floor:raw_sync are nanoseconds of one append and of one sync of 4 KiB.",
        slowest.len()
    )]
}

fn raw_sync(work: &Work, kept: &mut Option<Raw>) -> Result<Sample, Failure> {
    let raw = match kept {
        Some(raw) => raw,
        None => kept.insert(Raw::make(work, SYNCS * BLOCK_BYTES)?),
    };
    let mut times = Vec::new();
    for number in 0..SYNCS {
        let block = [number as u8; BLOCK_BYTES as usize];
        raw.file.write_all_at(&block, number * BLOCK_BYTES).map_err(failed("write"))?;
        let begin = Instant::now();
        raw.file.sync_data().map_err(failed("sync a file"))?;
        times.push(begin.elapsed().as_nanos() as u64);
    }
    Ok(Sample { elapsed_ns: median(times), operations: 1 })
}
