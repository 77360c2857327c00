//! The drain: one thread that carries spans from all rings to the sink. It never makes a recorder wait; a slow sink costs dropped spans, which are counted.
//!
//! It looks by itself, at short intervals while spans come and at longer ones while none do, so a
//! recorder needs to wake it only when a quarter of its ring is waiting. Rings are copied out before the
//! sink is called, so the sink's time uses up the sink's batch and not the ring's room.

use crate::{
    clock::{Clock, WallAnchor},
    config::CollectorConfig,
    error::{FlushError, SinkError, StartError},
    ring::{Producer, Push, SpanRing},
    sink::{FinishedSpan, Sink},
    span::{NameId, SPAN_ATTRIBUTES_MAX, SpanRecord},
    stats::CollectorStats,
    sync::{
        Arc, Condvar, Mutex, OnceLock, RwLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
        thread,
    },
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

const THREAD_NAME: &str = "ng-trace-drain";
/// Rings of dropped recorders kept for the next ones: making one touches all its memory.
const SPARE_RINGS_MAX: usize = 4;
/// Names that a collector takes. Operations are named in the source, so this is plenty.
const NAMES_MAX: usize = 4096;

/// Owns the drain's thread and the sink. Dropping it drains what is there, within
/// [`shutdown_timeout`](CollectorConfig::shutdown_timeout).
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    config: CollectorConfig,
    thread: Option<thread::JoinHandle<()>>,
}

/// Writes the spans of one thread. `Send`; made by [`Collector::recorder`]. Dropping it leaves its
/// spans to the drain.
#[derive(Debug)]
pub struct SpanRecorder {
    producer: Producer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    rings: Mutex<Rings>,
    names: RwLock<Vec<&'static str>>,
    counts: Counts,
    /// Tickets handed out by `flush`.
    flushes_asked: AtomicU64,
    stop: AtomicBool,
    progress: Mutex<Progress>,
    progressed: Condvar,
    /// Somebody wants the drain to look now. Not left to the thread's parking token alone: a sink
    /// that waits for something may park on this thread too, and use the token up.
    due: AtomicBool,
    /// Set before the first recorder can exist.
    drain: OnceLock<thread::Thread>,
}

/// Rings in use or spare, and what those removed have counted: under one lock, so no total falls.
#[derive(Debug, Default)]
struct Rings {
    all: Vec<Arc<SpanRing>>,
    retired_recorded: u64,
    retired_dropped: u64,
}

#[derive(Debug, Default)]
struct Progress {
    /// Highest ticket of a flush that is done.
    flushed: u64,
    finished: bool,
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    lost: AtomicU64,
    drains: AtomicU64,
    batches: AtomicU64,
    sink_errors: AtomicU64,
    sink_panics: AtomicU64,
    names_refused: AtomicU64,
}

impl Collector {
    /// Starts the drain's thread, which carries spans to `sink`.
    pub fn start(config: CollectorConfig, sink: Box<dyn Sink>) -> Result<Self, StartError> {
        config.validate()?;
        let shared = Arc::new(Shared {
            clock: Clock::new(),
            rings: Mutex::default(),
            names: RwLock::new(vec!["unnamed"]),
            counts: Counts::default(),
            flushes_asked: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            due: AtomicBool::new(false),
            drain: OnceLock::new(),
        });
        let drain = Drain::new(Arc::clone(&shared), config.clone(), sink);
        let thread = thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || drain.run())
            .map_err(|source| StartError::Thread { name: THREAD_NAME, source })?;
        shared.drain.get_or_init(|| thread.thread().clone());
        Ok(Self { shared, config, thread: Some(thread) })
    }

    /// The number of a span's or an attribute's name; the same text has the same number. There is
    /// room for 4,095; what exceeds it is counted and called `unnamed`. Takes a lock: ask once.
    pub fn name(&self, text: &'static str) -> NameId {
        let mut names = self.shared.names.write();
        let known = names.iter().position(|name| *name == text);
        let place = known.unwrap_or(names.len());
        if place >= NAMES_MAX {
            self.shared.counts.names_refused.fetch_add(1, Relaxed);
            return NameId::UNNAMED;
        }
        if known.is_none() {
            names.push(text);
        }
        NameId(place as u16)
    }

    /// A recorder for one thread, with a ring of its own. Allocates and touches
    /// [`ring_bytes`](CollectorConfig::ring_bytes), unless a dropped recorder left its ring.
    pub fn recorder(&self) -> SpanRecorder {
        let producer = self.shared.adopt_spare_ring().unwrap_or_else(|| {
            let ring = Arc::new(SpanRing::new(self.config.ring_bytes));
            let producer = Producer::open(Arc::clone(&ring));
            self.shared.rings.lock().all.push(ring);
            producer
        });
        SpanRecorder { producer, shared: Arc::clone(&self.shared) }
    }

    /// The clock that spans are to be timed with.
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// Returns when all spans recorded before this call were given to the sink and the sink was
    /// flushed. Blocks for at most `timeout`. What the sink itself failed at is in the stats.
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let ticket = self.shared.flushes_asked.fetch_add(1, AcqRel) + 1;
        self.shared.wake_drain();
        self.shared.wait_until(timeout, |progress| {
            if progress.flushed >= ticket {
                return Some(Ok(()));
            }
            progress.finished.then_some(Err(FlushError::Stopped))
        })
    }

    /// Drains what is there, shuts the sink down and ends the thread. Blocks for at most
    /// `timeout`; after it the thread is left to itself and ends when its sink returns. Spans
    /// recorded later stay in their rings.
    pub fn shutdown(mut self, timeout: Duration) -> Result<(), FlushError> {
        self.stop(timeout)
    }

    /// What happened so far.
    pub fn stats(&self) -> CollectorStats {
        let counts = &self.shared.counts;
        // Exported before recorded: the difference, spans in the rings, is never negative.
        let exported = counts.exported.load(Acquire);
        let lost = counts.lost.load(Acquire);
        let rings = self.shared.rings.lock();
        let sum = |of: fn(&SpanRing) -> u64| rings.all.iter().map(|ring| of(ring)).sum::<u64>();
        CollectorStats {
            spans_recorded_total: rings.retired_recorded + sum(SpanRing::written),
            spans_dropped_total: rings.retired_dropped + sum(SpanRing::dropped),
            spans_exported_total: exported,
            spans_lost_total: lost,
            drains_total: counts.drains.load(Relaxed),
            batches_total: counts.batches.load(Relaxed),
            sink_errors_total: counts.sink_errors.load(Relaxed),
            sink_panics_total: counts.sink_panics.load(Relaxed),
            names_refused_total: counts.names_refused.load(Relaxed),
            recorders: sum(|ring| u64::from(ring.is_open())),
            ring_bytes: sum(|ring| ring.bytes() as u64),
        }
    }

    fn stop(&mut self, timeout: Duration) -> Result<(), FlushError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.stop.store(true, Release);
        self.shared.wake_drain();
        self.shared.wait_until(timeout, |progress| progress.finished.then_some(Ok(())))?;
        // It has said that it is finished; a panic of the sink was caught and counted before.
        let _ = thread.join();
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Without an owner to tell; `shutdown` is there for those who want to know.
        let _ = self.stop(self.config.shutdown_timeout);
    }
}

impl SpanRecorder {
    /// Puts a finished span into the ring; false: the ring was full, and the span is dropped and
    /// counted. Never blocks; no lock, no allocation, and a system call at most once
    /// in a quarter of the ring.
    #[inline]
    pub fn record(&mut self, span: SpanRecord) -> bool {
        match self.producer.push(&span.to_words()) {
            Push::Stored => true,
            Push::StoredAndDue => {
                self.shared.wake_drain();
                true
            }
            Push::Full => false,
        }
    }
}

impl Shared {
    #[cold]
    fn wake_drain(&self) {
        self.due.store(true, Release);
        if let Some(drain) = self.drain.get() {
            drain.unpark();
        }
    }

    /// A closed ring that the drain has emptied; its positions go on, so its counts do too.
    fn adopt_spare_ring(&self) -> Option<Producer> {
        let rings = self.rings.lock();
        let spare = rings.all.iter().find(|ring| !ring.is_open() && is_empty(ring))?;
        Some(Producer::open(Arc::clone(spare)))
    }

    /// Forgets empty closed rings beyond the spare ones.
    fn retire_rings(&self) {
        let mut rings = self.rings.lock();
        let Rings { all, retired_recorded, retired_dropped } = &mut *rings;
        let mut spare = 0;
        all.retain(|ring| {
            if ring.is_open() || !is_empty(ring) {
                return true;
            }
            spare += 1;
            if spare <= SPARE_RINGS_MAX {
                return true;
            }
            *retired_recorded += ring.written();
            *retired_dropped += ring.dropped();
            false
        });
    }

    fn wait_until(
        &self,
        timeout: Duration,
        done: impl Fn(&Progress) -> Option<Result<(), FlushError>>,
    ) -> Result<(), FlushError> {
        let started = Instant::now();
        let mut progress = self.progress.lock();
        loop {
            if let Some(result) = done(&progress) {
                return result;
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(FlushError::TimedOut { waited: timeout });
            }
            // Capped: a deadline that far away would overflow the clock.
            self.progressed.wait_for(&mut progress, left.min(Duration::from_secs(3600)));
        }
    }
}

fn is_empty(ring: &SpanRing) -> bool {
    ring.drained() == ring.written()
}

/// What the drain's thread owns.
struct Drain {
    shared: Arc<Shared>,
    config: CollectorConfig,
    sink: Box<dyn Sink>,
    batch: Vec<FinishedSpan>,
    rings: Vec<Arc<SpanRing>>,
    flushed: u64,
}

impl Drain {
    fn new(shared: Arc<Shared>, config: CollectorConfig, sink: Box<dyn Sink>) -> Self {
        let batch = Vec::with_capacity(config.batch_spans_max);
        Self { shared, config, sink, batch, rings: Vec::new(), flushed: 0 }
    }

    fn run(mut self) {
        // Whatever ends this thread, nobody waits for it afterwards.
        let _finish = Finish(Arc::clone(&self.shared));
        let mut wait = self.config.drain_interval;
        loop {
            // Both before the rings are read, so that what was recorded before them is seen.
            let stop = self.shared.stop.load(Acquire);
            let ticket = self.shared.flushes_asked.load(Acquire);
            let drained = self.drain_rings();
            if stop {
                self.call_sink(0, |sink, _| sink.shutdown());
            } else if ticket > self.flushed {
                self.call_sink(0, |sink, _| sink.flush());
            }
            self.confirm(ticket);
            if stop {
                return;
            }
            let idle = drained == 0;
            wait = if idle { wait * 2 } else { self.config.drain_interval };
            wait = wait.min(self.config.idle_interval);
            // Set after this swap, `due` comes with a token that nobody can use up any more.
            if !self.shared.due.swap(false, AcqRel) {
                thread::park_timeout(wait);
            }
        }
    }

    /// Carries to the sink what the rings held when it came to them; returns how many.
    fn drain_rings(&mut self) -> usize {
        let mut rings = std::mem::take(&mut self.rings);
        rings.extend(self.shared.rings.lock().all.iter().cloned());
        let anchor = self.shared.clock.anchor();
        let mut drained = 0;
        let mut closed = 0;
        for ring in &rings {
            closed += usize::from(!ring.is_open());
            let until = ring.written();
            while ring.drained() < until {
                drained += self.fill_batch(ring, until, anchor);
                if self.batch.len() == self.config.batch_spans_max {
                    self.export_batch();
                }
            }
        }
        self.export_batch();
        self.shared.counts.drains.fetch_add(1, Relaxed);
        rings.clear();
        self.rings = rings;
        if closed > SPARE_RINGS_MAX {
            self.shared.retire_rings();
        }
        drained
    }

    fn fill_batch(&mut self, ring: &SpanRing, until: u64, anchor: WallAnchor) -> usize {
        let room = self.config.batch_spans_max - self.batch.len();
        let clock = &self.shared.clock;
        let names = self.shared.names.read();
        let batch = &mut self.batch;
        ring.drain(until, room, |words| {
            batch.push(finish(SpanRecord::from_words(words), &names, clock, anchor));
        })
    }

    fn export_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let spans = self.batch.len() as u64;
        self.shared.counts.batches.fetch_add(1, Relaxed);
        self.call_sink(spans, |sink, batch| sink.export(batch));
        self.batch.clear();
    }

    /// Calls the sink and counts what became of the `spans` it was given.
    fn call_sink(
        &mut self,
        spans: u64,
        call: impl FnOnce(&mut dyn Sink, &[FinishedSpan]) -> Result<(), SinkError>,
    ) {
        let counts = &self.shared.counts;
        let (sink, batch) = (&mut *self.sink, &self.batch[..]);
        // The sink's own state after a panic is the sink's own affair; ours is not touched by it.
        match catch_unwind(AssertUnwindSafe(|| call(sink, batch))) {
            Ok(Ok(())) => {
                counts.exported.fetch_add(spans, Release);
            }
            Ok(Err(_)) => {
                counts.sink_errors.fetch_add(1, Relaxed);
                counts.lost.fetch_add(spans, Release);
            }
            Err(_) => {
                counts.sink_panics.fetch_add(1, Relaxed);
                counts.lost.fetch_add(spans, Release);
            }
        }
    }

    fn confirm(&mut self, ticket: u64) {
        if ticket > self.flushed {
            self.flushed = ticket;
            self.shared.progress.lock().flushed = ticket;
            self.shared.progressed.notify_all();
        }
    }
}

fn finish(
    record: SpanRecord,
    names: &[&'static str],
    clock: &Clock,
    anchor: WallAnchor,
) -> FinishedSpan {
    let name = |id: NameId| names.get(usize::from(id.0)).copied().unwrap_or(names[0]);
    let mut attributes = [None; SPAN_ATTRIBUTES_MAX];
    for (place, (key, value)) in attributes.iter_mut().zip(record.attributes()) {
        *place = Some((name(key), value));
    }
    let start_unix_ns = anchor.unix_ns(clock, record.start);
    FinishedSpan {
        name: name(record.name),
        start_unix_ns,
        // From the start, not from the anchor: a duration is exact to the tick.
        end_unix_ns: start_unix_ns.saturating_add(clock.elapsed_ns(record.start, record.end)),
        attributes,
        record,
    }
}

/// Tells all who wait that the drain has ended.
struct Finish(Arc<Shared>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.progress.lock().finished = true;
        self.0.progressed.notify_all();
    }
}
