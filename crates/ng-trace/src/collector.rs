//! The drain: one thread that carries spans from all rings to the sink. It never makes a recorder wait; a slow sink costs dropped spans, which are counted.
//!
//! It looks by itself, at short intervals while spans come and at longer ones while none do, so a
//! recorder needs to wake it only when a quarter of its ring is waiting. It looks only into the rings
//! that were announced to it, so idle recorders cost it nothing. Rings are copied out before the
//! sink is called, so the sink's time uses up the sink's batch and not the ring's room.

use crate::{
    block::{Block, Chain, Held, MemoryBudget, Words},
    calibration,
    ceiling::Ceiling,
    clock::{Clock, Ticks, WallAnchor},
    config::CollectorConfig,
    cpu,
    error::{FlushError, SinkError, StartError},
    mutants,
    overhead::{self, Dose, Overhead, RoundCost, SpanCost, Spent},
    pool::Pool,
    ring::{Producer, Room, SpanRing, Stored, Taken},
    sink::{FinishedSpan, Sink},
    span::{NameId, SPAN_ATTRIBUTES_MAX, SPAN_WORDS, SpanRecord, StateOf},
    states::States,
    stats::CollectorStats,
    summons::{Asked, Summons},
    sync::{
        Arc, Condvar, Mutex, OnceLock, RwLock,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
        mpsc::{Receiver, Sender, channel},
        thread,
    },
    threshold::Threshold,
    tracestate::TraceState,
};
use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

const THREAD_NAME: &str = "ng-trace-drain";
/// Looks into a ring whose spans are in its recorder's hands, before the drain does something else.
const LOOKS_MAX: usize = 100;
/// And then it comes back this soon: the recorder's thread lost its core within a push.
const SOON: Duration = Duration::from_millis(1);
/// Names that a collector takes. Operations are named in the source, so this is plenty.
const NAMES_MAX: usize = 4096;

/// Owns the drain's thread and the sink. Dropping it drains what is there, within
/// [`shutdown_timeout`](CollectorConfig::shutdown_timeout).
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    config: CollectorConfig,
    thread: Option<thread::JoinHandle<()>>,
    /// An owner that waited in vain has waited long enough: the drop waits no more.
    waited: AtomicBool,
}

/// Writes the spans of one thread. `Send`; made by [`Collector::recorder`]. Dropping it leaves its
/// spans to the drain.
///
/// It takes less than 1 KiB, with its share of the collector. Memory for spans it has only while
/// some wait for the drain: blocks of 4 KiB, each for 51 spans, up to
/// [`ring_bytes`](CollectorConfig::ring_bytes).
#[derive(Debug)]
pub struct SpanRecorder {
    producer: Producer,
    /// Of the ceiling, when permits were last asked for.
    ceiling_version: u64,
    dose: Dose,
    drill: Duration,
    /// A span that was not stored at once.
    kept: [u64; SPAN_WORDS],
    scratch: [u64; SPAN_WORDS],
    shared: Arc<Shared>,
}

/// Makes recorders; a clone makes recorders of the same collector. Made by
/// [`Collector::recorders`]. It does not keep the collector's thread alive: spans recorded after
/// that ended stay in their rings.
#[derive(Clone, Debug)]
pub struct Recorders {
    shared: Arc<Shared>,
    ring_bytes: usize,
}

impl Recorders {
    /// As [`Collector::recorder`].
    pub fn recorder(&self) -> SpanRecorder {
        let ring = Arc::new(SpanRing::new(self.ring_bytes));
        let producer = Producer::open(Arc::clone(&ring));
        self.shared.rings.lock().all.push(ring);
        SpanRecorder {
            producer,
            ceiling_version: self.shared.ceiling.version(),
            dose: Dose::Off,
            drill: Duration::ZERO,
            kept: [0; SPAN_WORDS],
            scratch: [0; SPAN_WORDS],
            shared: Arc::clone(&self.shared),
        }
    }

    /// As [`Collector::name`].
    pub fn name(&self, text: &'static str) -> NameId {
        self.shared.name(text)
    }

    /// As [`Collector::clock`].
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    ceiling: Ceiling,
    account: Mutex<Account>,
    /// CPU time that the drain's thread has used, and the part of it that spans caused.
    drain_cpu_ns: AtomicU64,
    drain_spans_ns: AtomicU64,
    rings: Mutex<Rings>,
    held: Arc<Held>,
    pool: Pool,
    /// To the drain: rings with a chain that it has not taken, and rings that were closed.
    announce: Sender<Arc<SpanRing>>,
    names: RwLock<Vec<&'static str>>,
    states: States,
    /// What the sink's newest error said.
    last_error: Mutex<Option<String>>,
    counts: Counts,
    summons: Summons,
    progress: Mutex<Progress>,
    progressed: Condvar,
    /// Set before the first recorder can exist.
    drain: OnceLock<thread::Thread>,
}

/// Rings of recorders, and what those removed have counted: under one lock, so no total falls.
#[derive(Debug, Default)]
struct Rings {
    all: Vec<Arc<SpanRing>>,
    retired_recorded: u64,
    retired_dropped: u64,
    retired_refused: u64,
    retired_capped: u64,
    retired_waking: u64,
}

/// What the account of the overhead knew at its last look.
#[derive(Debug)]
struct Account {
    /// Two clock readings next to each other, as a span's timing has them. Unit: ticks.
    empty_pair: u64,
    /// What choosing an operation by a draw costs. Unit: nanoseconds. `None` before the first look.
    deciding_ns: Option<f64>,
    correction: f64,
    recorded: u64,
    waking_ns: u64,
    drain_ns: u64,
    drain_spans_ns: u64,
    process_ns: Option<u64>,
    looked_at_ns: u64,
    last: Option<Overhead>,
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
        Self::start_within(config, sink, Box::new(()))
    }

    /// As [`start`](Self::start); all memory for spans is asked of `budget` before it is allocated,
    /// and given back to it when it is freed: what recorders needed and then did not for some
    /// seconds, and the rest when the collector and the last recorder are dropped.
    pub fn start_within(
        config: CollectorConfig,
        sink: Box<dyn Sink>,
        budget: Box<dyn MemoryBudget>,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let clock = Clock::new();
        let held = Arc::new(Held::new(budget));
        let (announce, announced) = channel();
        let shared = Arc::new(Shared {
            ceiling: Ceiling::new(config.spans_per_second_max),
            account: Mutex::new(Account::new(&clock)),
            drain_cpu_ns: AtomicU64::new(0),
            drain_spans_ns: AtomicU64::new(0),
            clock,
            rings: Mutex::default(),
            pool: Pool::new(Arc::clone(&held)),
            held,
            announce,
            names: RwLock::new(vec!["unnamed"]),
            states: States::default(),
            last_error: Mutex::default(),
            counts: Counts::default(),
            summons: Summons::new(),
            progress: Mutex::default(),
            progressed: Condvar::new(),
            drain: OnceLock::new(),
        });
        let drain = Drain::new(Arc::clone(&shared), config.clone(), sink, announced);
        let thread = thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || drain.run())
            .map_err(|source| StartError::Thread { name: THREAD_NAME, source })?;
        shared.drain.get_or_init(|| thread.thread().clone());
        Ok(Self { shared, config, thread: Some(thread), waited: AtomicBool::new(false) })
    }

    /// The number of a span's or an attribute's name; the same text has the same number. There is
    /// room for 4,095; what exceeds it is counted and called `unnamed`. Takes a lock: ask once.
    pub fn name(&self, text: &'static str) -> NameId {
        self.shared.name(text)
    }

    /// A recorder for one thread, with a ring of its own, which has no memory for spans before the
    /// first one.
    pub fn recorder(&self) -> SpanRecorder {
        self.recorders().recorder()
    }

    /// A handle that makes recorders elsewhere, for threads that come and go.
    pub fn recorders(&self) -> Recorders {
        Recorders { shared: Arc::clone(&self.shared), ring_bytes: self.config.ring_bytes }
    }

    /// The clock that spans are to be timed with.
    pub fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    /// Changes [`spans_per_second_max`](CollectorConfig::spans_per_second_max) while running.
    /// Each recorder obeys within 64 spans.
    pub fn set_spans_per_second_max(&self, spans: Option<u32>) {
        self.shared.ceiling.set(spans);
    }

    /// Looks what tracing has cost since the last look: a step of the account. For the owner to
    /// call about once a second and to hand on, as [`Overhead::budgeted_share`] has it, in
    /// [`ControlInput::overhead`](crate::ControlInput::overhead). `background` is CPU time that
    /// spans have cost other threads since then, an exporter's; the drain's own, with all that its
    /// sink does on it, is known. `None` at the first look, if the process used less than 2 % of
    /// a core, and where the operating system does not tell CPU times.
    pub fn measure_overhead(&self, background: Duration) -> Option<Overhead> {
        let mut account = self.shared.account.lock();
        let overhead = account.step(&self.shared, background);
        account.last = overhead.or(account.last);
        overhead
    }

    /// What the last [`measure_overhead`](Self::measure_overhead) that found something found.
    pub fn overhead(&self) -> Option<Overhead> {
        self.shared.account.lock().last
    }

    /// Corrects what the account takes a span to cost by what an experiment found, within half
    /// and five times. Returns the factor in force; a cost that was not detected changes nothing.
    pub fn correct_overhead(&self, found: &SpanCost) -> f64 {
        let mut account = self.shared.account.lock();
        if let Some(factor) = overhead::correction(found, account.span_ns(&self.shared)) {
            account.correction = factor;
        }
        account.correction
    }

    /// Returns when all spans recorded before this call were given to the sink and the sink was
    /// flushed. Blocks for at most `timeout`. What the sink itself failed at is in the stats.
    pub fn flush(&self, timeout: Duration) -> Result<(), FlushError> {
        let ticket = self.shared.summons.ask();
        self.shared.wake_drain();
        self.shared.wait_until(timeout, |progress| {
            if progress.flushed >= ticket {
                return Some(Ok(()));
            }
            progress.finished.then_some(Err(FlushError::Stopped))
        })
    }

    /// For an owner that ends while recorders may live on: waits until what was recorded is with the sink, at most
    /// [`shutdown_timeout`](CollectorConfig::shutdown_timeout). If that was in vain, the drop waits for nothing.
    ///
    /// Errors: spans were on their way, and still are.
    pub fn finish(&self) -> Result<(), FlushError> {
        let flushed = self.flush(self.config.shutdown_timeout);
        self.waited.store(flushed.is_err(), Relaxed);
        flushed.or_else(|error| match self.stats().spans_in_flight {
            0 => Ok(()),
            _ => Err(error),
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
        let recorded = rings.retired_recorded + sum(SpanRing::written);
        let dropped = rings.retired_dropped + sum(SpanRing::dropped);
        let capped = rings.retired_capped + sum(SpanRing::capped);
        CollectorStats {
            spans_offered_total: recorded + dropped + capped,
            spans_recorded_total: recorded,
            spans_dropped_total: dropped,
            spans_refused_total: rings.retired_refused + sum(SpanRing::refused),
            spans_capped_total: capped,
            spans_exported_total: exported,
            spans_lost_total: lost,
            spans_in_flight: recorded - exported - lost,
            drains_total: counts.drains.load(Relaxed),
            batches_total: counts.batches.load(Relaxed),
            sink_errors_total: counts.sink_errors.load(Relaxed),
            sink_panics_total: counts.sink_panics.load(Relaxed),
            last_sink_error: self.shared.last_error.lock().clone(),
            names_refused_total: counts.names_refused.load(Relaxed),
            trace_states_dropped_total: self.shared.states.dropped_total(),
            recorders: sum(|ring| u64::from(ring.is_open())),
            ring_bytes: self.shared.held.bytes(),
            ring_bytes_max: self.shared.held.bytes_max(),
        }
    }

    fn stop(&mut self, timeout: Duration) -> Result<(), FlushError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.summons.order_stop();
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
        let waited = self.waited.load(Relaxed);
        let _ = self.stop(if waited { Duration::ZERO } else { self.config.shutdown_timeout });
    }
}

impl SpanRecorder {
    /// Puts a finished span into the ring; false: the ring was full, its memory refused or the
    /// ceiling reached, and the span is dropped and counted. Never blocks; an allocation at most
    /// once in 51 spans and once in a round of the drain, and only if the collector has no block to
    /// spare; a system call at most once in a quarter of the ring.
    // `always`: across a call the span is in memory, and its small fields are read together, wider than
    // they were stored, which waits for those stores.
    #[inline(always)]
    pub fn record(&mut self, span: SpanRecord) -> bool {
        // The place is chosen before the span is written to it: a slow path that took the span would
        // have it in memory on the fast one too.
        if self.producer.store_or_keep(&span.to_words(), &mut self.kept) {
            return true;
        }
        self.record_at_limit()
    }

    /// The same for a span that goes on with a caller's trace, with the tracestate that its operation
    /// told others ([`TraceContext::child`](crate::TraceContext::child)): sinks get it, so that what
    /// they export agrees with what was told. It takes a lock and allocates. There is room for 4,096
    /// on their way; a span that finds none arrives without, and is counted.
    pub fn record_with_state(&mut self, span: SpanRecord, state: &TraceState) -> bool {
        if state.is_empty() {
            return self.record(span);
        }
        let (trace_id, span_id) = (span.trace_id, span.span_id);
        let kept = self.shared.states.keep(trace_id, span_id, state);
        let mut span = span;
        span.state = if kept { StateOf::Kept } else { StateOf::Dropped };
        let recorded = self.record(span);
        if !recorded && kept {
            self.shared.states.take(trace_id, span_id);
        }
        recorded
    }

    /// Records each span once or twice from now on, for an
    /// [`OverheadExperiment`](crate::OverheadExperiment). Twice does not mean that two arrive.
    pub fn set_dose(&mut self, dose: Dose) {
        self.dose = dose;
        self.producer.stop_here();
    }

    /// Makes each span take this much longer to record, by spinning: a drill, to see whether the
    /// account notices and the controller obeys. Zero ends it.
    pub fn set_drill(&mut self, spin: Duration) {
        self.drill = spin;
        self.producer.stop_here();
    }

    #[cold]
    #[inline(never)]
    fn record_at_limit(&mut self) -> bool {
        let span = SpanRecord::from_words(&std::hint::black_box(self.kept));
        let ceiling = &self.shared.ceiling;
        let version = ceiling.version();
        if version != self.ceiling_version {
            self.ceiling_version = version;
            self.producer.forget_permits();
        }
        let now_ns = || self.shared.clock.monotonic_ns();
        let room = self.producer.make_room(|wanted| match mutants::on("trace-ceiling-ignored") {
            true => wanted,
            false => ceiling.permit(wanted, now_ns),
        });
        let Room::Free { timed, due } = room else { return false };
        let start = if timed { self.shared.clock.now() } else { Ticks::default() };
        if !self.store(span) {
            return false;
        }
        if timed {
            let end = self.shared.clock.now();
            self.producer.note_cost(noted_cost(ticks(start, end), &span));
        }
        if due {
            // Not by the clock: whoever is woken may take this processor first.
            let start_ns = cpu::thread_ns();
            self.shared.wake_drain();
            let spent =
                cpu::thread_ns().zip(start_ns).map(|(end, start)| end.saturating_sub(start));
            self.producer.note_waking(spent.unwrap_or(0));
        }
        true
    }

    /// Stores a span with all that an experiment or a drill adds to it; false: there is no memory
    /// for it.
    fn store(&mut self, span: SpanRecord) -> bool {
        match self.producer.store(&span.to_words(), || self.shared.pool.take()) {
            Stored::Added => {}
            // An error: the drain has ended, and the spans stay where they are.
            Stored::Begun => drop(self.shared.announce.send(Arc::clone(self.producer.ring()))),
            Stored::Refused => return false,
        }
        let clock = &self.shared.clock;
        if self.dose == Dose::Double {
            let mut again = span;
            (again.start, again.end) = (clock.now(), clock.now());
            self.scratch = std::hint::black_box(again.to_words());
        }
        if !self.drill.is_zero() {
            let start = clock.now();
            while clock.elapsed(start, clock.now()) < self.drill {
                std::hint::spin_loop();
            }
        }
        if self.dose != Dose::Off || !self.drill.is_zero() {
            self.producer.stop_here();
        }
        true
    }
}

impl Drop for SpanRecorder {
    fn drop(&mut self) {
        self.producer.close();
        if self.shared.announce.send(Arc::clone(self.producer.ring())).is_err() {
            // No drain to do it.
            self.shared.forget_closed_rings(Leftover::Lost);
        }
    }
}

impl Account {
    fn new(clock: &Clock) -> Self {
        let mut pairs: Vec<u64> =
            (0..1000).map(|_| clock.now()).map(|start| ticks(start, clock.now())).collect();
        pairs.sort_unstable();
        Self {
            empty_pair: pairs[pairs.len() / 2],
            deciding_ns: None,
            correction: 1.0,
            recorded: 0,
            waking_ns: 0,
            drain_ns: 0,
            drain_spans_ns: 0,
            process_ns: None,
            looked_at_ns: 0,
            last: None,
        }
    }

    /// The account since the step before, and what the next one will begin from.
    fn step(&mut self, shared: &Shared, background: Duration) -> Option<Overhead> {
        let (recorded, waking_ns, costs) = shared.spent_by_recorders();
        let deciding_ns =
            *self.deciding_ns.get_or_insert_with(|| calibration::deciding_ns(&shared.clock));
        // The part before the whole, so that it is never the larger.
        let drain_spans_ns = shared.drain_spans_ns.load(Acquire);
        let drain_ns = shared.drain_cpu_ns.load(Relaxed);
        let process_ns = cpu::process_ns();
        let now_ns = shared.clock.monotonic_ns();
        let process_delta =
            process_ns.zip(self.process_ns).map(|(now, then)| now.saturating_sub(then));
        let spent = Spent {
            spans: recorded - self.recorded,
            span_costs_ns: self.costs_ns(&shared.clock, &costs),
            beside_ns: self.beside_ns(&shared.clock) + deciding_ns * drawn_share(&costs),
            correction: self.correction,
            waking_ns: (waking_ns - self.waking_ns) as f64,
            drain_ns: (drain_ns - self.drain_ns) as f64,
            drain_spans_ns: (drain_spans_ns - self.drain_spans_ns) as f64,
            background_ns: background.as_nanos() as f64,
            process_ns: process_delta.unwrap_or(0) as f64,
            elapsed_ns: now_ns.saturating_sub(self.looked_at_ns) as f64,
        };
        self.looked_at_ns = now_ns;
        (self.recorded, self.waking_ns) = (recorded, waking_ns);
        (self.drain_ns, self.drain_spans_ns) = (drain_ns, drain_spans_ns);
        self.process_ns = process_ns;
        spent.overhead()
    }

    /// What the account takes a span to cost, before any correction.
    fn span_ns(&self, shared: &Shared) -> f64 {
        let (_, _, costs) = shared.spent_by_recorders();
        let spent = Spent {
            span_costs_ns: self.costs_ns(&shared.clock, &costs),
            beside_ns: self.beside_ns(&shared.clock),
            correction: 1.0,
            process_ns: 1.0,
            ..Spent::default()
        };
        spent.overhead().map_or(0.0, |overhead| overhead.span_ns)
    }

    fn costs_ns(&self, clock: &Clock, costs: &[u32]) -> Vec<f64> {
        let less_pair = |cost: &u32| u64::from(*cost & !DRAWN).saturating_sub(self.empty_pair);
        costs.iter().map(|cost| clock.ticks_as_ns(less_pair(cost))).collect()
    }

    /// A span's own two clock readings: a pair of readings has one within.
    fn beside_ns(&self, clock: &Clock) -> f64 {
        2.0 * clock.ticks_as_ns(self.empty_pair)
    }
}

/// Set in a noted cost if a draw chose the span's operation.
const DRAWN: u32 = 1 << 31;

/// A span's cost in ticks, and whether a draw chose its operation: at rate 1 and at an operation's end
/// none does.
fn noted_cost(ticks: u64, span: &SpanRecord) -> u32 {
    let drawn = span.threshold().is_some_and(|threshold| threshold != Threshold::ALWAYS);
    let cost = u32::try_from(ticks).unwrap_or(u32::MAX) & !DRAWN;
    if drawn { cost | DRAWN } else { cost }
}

fn drawn_share(costs: &[u32]) -> f64 {
    let drawn = costs.iter().filter(|cost| **cost & DRAWN != 0).count();
    drawn as f64 / costs.len().max(1) as f64
}

fn ticks(start: Ticks, end: Ticks) -> u64 {
    end.get().saturating_sub(start.get())
}

impl Shared {
    fn name(&self, text: &'static str) -> NameId {
        let mut names = self.names.write();
        let known = names.iter().position(|name| *name == text);
        let place = known.unwrap_or(names.len());
        if place >= NAMES_MAX {
            self.counts.names_refused.fetch_add(1, Relaxed);
            return NameId::UNNAMED;
        }
        if known.is_none() {
            names.push(text);
        }
        NameId(place as u16)
    }

    #[cold]
    fn wake_drain(&self) {
        self.summons.call(|| {
            if let Some(drain) = self.drain.get() {
                drain.unpark();
            }
        });
    }

    /// Spans recorded, CPU time spent in waking the drain, and the newest costs of spans as noted.
    fn spent_by_recorders(&self) -> (u64, u64, Vec<u32>) {
        let rings = self.rings.lock();
        let sum = |of: fn(&SpanRing) -> u64| rings.all.iter().map(|ring| of(ring)).sum::<u64>();
        let costs = rings.all.iter().flat_map(|ring| ring.costs()).collect();
        let recorded = rings.retired_recorded + sum(SpanRing::written);
        (recorded, rings.retired_waking + sum(SpanRing::waking), costs)
    }

    /// Forgets the rings of dropped recorders, but for their counts.
    fn forget_closed_rings(&self, leftover: Leftover) {
        let mut rings = self.rings.lock();
        let mut gone = Vec::new();
        rings.all.retain(|ring| {
            let waits = leftover == Leftover::Waits && ring.drained() != ring.written();
            let stays = ring.is_open() || waits;
            if !stays {
                gone.push(Arc::clone(ring));
            }
            stays
        });
        for ring in &gone {
            rings.retired_recorded += ring.written();
            rings.retired_dropped += ring.dropped();
            rings.retired_refused += ring.refused();
            rings.retired_capped += ring.capped();
            rings.retired_waking += ring.waking();
            self.counts.lost.fetch_add(ring.written() - ring.drained(), Release);
        }
        drop(rings);
        // Without the lock: their memory goes back to a budget that is somebody else's code.
        drop(gone);
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

/// What becomes of spans that a dropped recorder left in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leftover {
    /// They wait for the drain.
    Waits,
    /// The drain has ended: they are lost, and counted as that.
    Lost,
}

/// What the drain's thread owns.
struct Drain {
    shared: Arc<Shared>,
    config: CollectorConfig,
    sink: Box<dyn Sink>,
    batch: Vec<FinishedSpan>,
    announced: Receiver<Arc<SpanRing>>,
    /// Rings to look into: announced, and not found with their spans in them yet.
    rings: Vec<Arc<SpanRing>>,
    rounds: RoundCost,
    rings_seen: usize,
    /// Since the account was told last.
    carried: u64,
    cpu_ns: u64,
    /// For ids that the recording thread left to us.
    rng: fastrand::Rng,
    flushed: u64,
}

impl Drain {
    fn new(
        shared: Arc<Shared>,
        config: CollectorConfig,
        sink: Box<dyn Sink>,
        announced: Receiver<Arc<SpanRing>>,
    ) -> Self {
        let batch = Vec::with_capacity(config.batch_spans_max);
        let (rings, rng) = (Vec::new(), fastrand::Rng::new());
        let rounds = RoundCost::default();
        Self {
            shared,
            config,
            sink,
            batch,
            announced,
            rings,
            rounds,
            rings_seen: 0,
            carried: 0,
            cpu_ns: 0,
            rng,
            flushed: 0,
        }
    }

    fn run(mut self) {
        // Whatever ends this thread, nobody waits for it afterwards.
        let _finish = Finish(Arc::clone(&self.shared));
        let mut wait = self.config.drain_interval;
        loop {
            let Asked { stop, ticket } = self.shared.summons.asked();
            let drained = self.drain_rings();
            // Spans in a recorder's hands may be among those that were asked for: come back first.
            let complete = self.rings.is_empty();
            if stop && complete {
                self.call_sink(0, |sink, _| sink.shutdown());
            } else if ticket > self.flushed && complete {
                self.call_sink(0, |sink, _| sink.flush());
            }
            if complete {
                self.confirm(ticket);
            }
            self.account();
            if stop && complete {
                return self.end();
            }
            let idle = drained == 0;
            wait = if idle { wait * 2 } else { self.config.drain_interval };
            wait = wait.min(self.config.idle_interval);
            if self.shared.summons.may_park() {
                thread::park_timeout(if complete { wait } else { SOON });
            }
        }
    }

    /// Nobody comes to the rings any more.
    fn end(&mut self) {
        // First: a recorder that is dropped from now on finds that it has to forget its ring itself.
        let (_, deaf) = channel();
        drop(std::mem::replace(&mut self.announced, deaf));
        self.shared.forget_closed_rings(Leftover::Lost);
        self.shared.pool.close();
    }

    /// Tells what was spent since the call before, and what of it the spans cost that were carried to
    /// the sink meanwhile. After each batch, or a long round would be told in a second that it was not
    /// spent in.
    fn account(&mut self) {
        let Some(cpu_ns) = cpu::thread_ns() else { return };
        let ns = cpu_ns.saturating_sub(std::mem::replace(&mut self.cpu_ns, cpu_ns));
        let spans = std::mem::take(&mut self.carried);
        let spans_ns = self.rounds.note(spans, self.rings_seen, ns);
        self.shared.drain_cpu_ns.store(cpu_ns, Relaxed);
        let total_ns = &self.shared.drain_spans_ns;
        total_ns.store(total_ns.load(Relaxed) + spans_ns as u64, Release);
    }

    /// Carries to the sink what the rings held when it came to them; returns how many.
    fn drain_rings(&mut self) -> usize {
        let mut drained = 0;
        for _ in 0..LOOKS_MAX {
            drained += self.look_once();
            if self.rings.is_empty() {
                break;
            }
            thread::yield_now();
        }
        self.shared.counts.drains.fetch_add(1, Relaxed);
        self.shared.pool.round();
        drained
    }

    fn look_once(&mut self) -> usize {
        let mut rings = std::mem::take(&mut self.rings);
        rings.extend(self.announced.try_iter());
        self.rings_seen = rings.len();
        let anchor = self.shared.clock.anchor();
        let mut drained = 0;
        let mut closed = false;
        rings.retain(|ring| {
            let taken = ring.take();
            closed |= !ring.is_open();
            match taken {
                Taken::Chain(chain) => drained += self.carry(ring, chain, anchor),
                Taken::Closed => {}
                Taken::InHands => return true,
            }
            false
        });
        self.export_batch();
        self.rings = rings;
        if closed {
            self.shared.forget_closed_rings(Leftover::Waits);
        }
        drained
    }

    /// Carries on what was taken from a ring. Its memory goes back block by block.
    fn carry(&mut self, ring: &SpanRing, mut chain: Chain, anchor: WallAnchor) -> usize {
        let mut carried = 0;
        while let Some(block) = chain.next_block() {
            carried += self.carry_block(ring, &block, anchor);
            self.shared.pool.keep(block);
            if self.batch.len() == self.config.batch_spans_max {
                self.export_batch();
                self.account();
            }
        }
        carried
    }

    fn carry_block(&mut self, ring: &SpanRing, block: &Block, anchor: WallAnchor) -> usize {
        let mut rest = block.spans();
        while !rest.is_empty() {
            if self.batch.len() == self.config.batch_spans_max {
                self.export_batch();
                self.account();
            }
            let (now, later) = rest.split_at(rest.len().min(self.room()));
            self.fill_batch(now, anchor);
            ring.carried(now.len() as u64);
            rest = later;
        }
        block.spans().len()
    }

    fn room(&self) -> usize {
        self.config.batch_spans_max - self.batch.len()
    }

    fn fill_batch(&mut self, spans: &[Words], anchor: WallAnchor) {
        let clock = &self.shared.clock;
        let names = self.shared.names.read();
        let (batch, rng, states) = (&mut self.batch, &mut self.rng, &self.shared.states);
        for words in spans {
            let span = SpanRecord::from_words(words).with_ids_drawn(rng);
            let state = match span.state {
                StateOf::Kept => states.take(span.trace_id, span.span_id),
                StateOf::None | StateOf::Dropped => None,
            };
            batch.push(finish(span, state.unwrap_or_default(), &names, clock, anchor));
        }
    }

    fn export_batch(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let spans = self.batch.len() as u64;
        self.carried += spans;
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
            Ok(Err(error)) => {
                *self.shared.last_error.lock() = Some(told(&error));
                let lost = match error {
                    SinkError::Export { spans: refused, .. } => spans.min(refused as u64),
                    SinkError::Flush { .. } => spans,
                };
                counts.sink_errors.fetch_add(1, Relaxed);
                counts.exported.fetch_add(spans - lost, Release);
                counts.lost.fetch_add(lost, Release);
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

/// An error and its causes.
fn told(error: &SinkError) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn finish(
    record: SpanRecord,
    trace_state: TraceState,
    names: &[&'static str],
    clock: &Clock,
    anchor: WallAnchor,
) -> FinishedSpan {
    let name = |id: NameId| names.get(usize::from(id.0)).copied().unwrap_or(names[0]);
    let mut attributes = [None; SPAN_ATTRIBUTES_MAX];
    for (place, (key, value)) in attributes.iter_mut().zip(record.attributes()) {
        *place = Some((name(key), value.map_text(name)));
    }
    let start_unix_ns = anchor.unix_ns(clock, record.start);
    FinishedSpan {
        name: name(record.name),
        start_unix_ns,
        // From the start, not from the anchor: a duration is exact to the tick.
        end_unix_ns: start_unix_ns.saturating_add(clock.elapsed_ns(record.start, record.end)),
        trace_state,
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
