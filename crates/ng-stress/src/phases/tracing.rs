//! Phase 4: what a span costs, and what it costs not to record one. Two operations: a body of about
//! 41 ns, as published, driven by the sampler and recorder alone; and `create` on warm memory.
//!
//! Spans are drained between timed stretches of at most half a ring, so that none is dropped and the
//! drain's work on the other core is no part of the figure.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use neurograph::trace::otel::OtelSink;
use neurograph::trace::{
    Collector, CollectorConfig, CountingSink, LocalSampler, NameId, Sampler, SamplerConfig,
    SpanRecord, SpanRecorder,
};
use neurograph::{Session, Store, TokenId};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::InMemorySpanExporter;

use crate::activity::Activity;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::report::{PublishedTracing, SpanCost, Tracing, now_rfc3339};
use crate::statistics::median;
use crate::subject;

/// Operations between two drains: their spans fill less than half of a 4 MiB ring.
const STRETCH: u64 = 20_000;

/// Stretches of one timed loop.
const STRETCHES: u64 = 5;

/// Operations of one timed loop.
const OPERATIONS: u64 = STRETCH * STRETCHES;

/// Operations of the published run.
const PUBLISHED_OPERATIONS: u64 = 10_000;

/// Rounds of all four modes; the medians count.
const ROUNDS: usize = 15;

/// The published operation.
const BODY_NS: f64 = 41.0;

/// Failing and slow operations made on purpose: below what the sampler keeps of each in a second.
const MADE: u64 = 50;

/// Longest wait for the drain; it needs milliseconds.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);

/// Longest wait for the account of what tracing costs; it answers at its second look, in two seconds.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(6);

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    /// No sampler at all.
    Off,
    /// A sampler that keeps one in a million: what the unsampled pay.
    Unsampled,
    /// One in a hundred.
    OnePercent,
    /// All.
    All,
}

impl Mode {
    const EACH: [Self; 4] = [Self::Off, Self::Unsampled, Self::OnePercent, Self::All];

    /// A strict rate and no rule about latency.
    fn sampler(self) -> Option<SamplerConfig> {
        let rate = match self {
            Self::Off => return None,
            Self::Unsampled => 1e-6,
            Self::OnePercent => 0.01,
            Self::All => 1.0,
        };
        let mut config = SamplerConfig::fixed_rate(rate);
        config.slow_threshold = None;
        Some(config)
    }
}

/// Runs the phase.
pub fn run(lab: &Lab<'_>, checks: &mut Checks) -> Result<Tracing, Failure> {
    lab.progress.notice("phase tracing");
    let started = now_rfc3339();
    let bar = lab.progress.bar("tracing", "body and create, rounds", 2 * ROUNDS as u64);
    let mut body = BodyLoop::new()?;
    let published_case = body.published_case()?;
    let body = measure(&bar, |mode| body.run(mode))?;
    let mut create = CreateLoop::new(lab)?;
    let create = measure(&bar, |mode| create.run(mode))?;
    checks.that(
        "tracing: no span was dropped",
        body.dropped + create.dropped == 0,
        format!("found {} of the body and {} of create, expected 0", body.dropped, create.dropped),
    );
    checks.equal("tracing: spans of the body, all sampled", body.recorded_all, body.expected_all());
    checks.equal(
        "tracing: spans of create, all sampled",
        create.recorded_all,
        create.expected_all(),
    );

    let [errors_total, errors_kept] = errors()?;
    checks.equal("tracing: failed operations seen", errors_total, MADE);
    checks.equal("tracing: failed operations kept as spans", errors_kept, errors_total);
    let [slow_total, slow_kept] = slow(lab)?;
    checks.equal("tracing: slow operations seen", slow_total, MADE);
    checks.equal("tracing: slow operations kept as spans", slow_kept, slow_total);
    let otel_spans = otel(lab, checks)?;
    let measured_overhead = overhead(lab)?;
    Ok(Tracing {
        body: body.cost(),
        published_case,
        create: create.cost(),
        errors_kept,
        errors_total,
        slow_kept,
        slow_total,
        measured_overhead,
        otel_spans,
        started,
        ended: now_rfc3339(),
    })
}

/// What one timed loop did.
struct Timed {
    ns_per_op: f64,
    recorded: u64,
    dropped: u64,
}

/// All rounds of one operation.
#[derive(Default)]
struct Rounds {
    /// By mode, in the order of [`Mode::EACH`].
    ns_per_op: [Vec<f64>; 4],
    recorded_all: u64,
    dropped: u64,
}

fn measure(
    bar: &crate::progress::Bar,
    mut timed: impl FnMut(Mode) -> Result<Timed, Failure>,
) -> Result<Rounds, Failure> {
    let mut rounds = Rounds::default();
    for round in 0..ROUNDS {
        for turn in 0..Mode::EACH.len() {
            let place = (round + turn) % Mode::EACH.len();
            let timed = timed(Mode::EACH[place])?;
            rounds.ns_per_op[place].push(timed.ns_per_op);
            rounds.dropped += timed.dropped;
            if Mode::EACH[place] == Mode::All {
                rounds.recorded_all += timed.recorded;
            }
        }
        bar.step();
    }
    Ok(rounds)
}

impl Rounds {
    fn expected_all(&self) -> u64 {
        OPERATIONS * ROUNDS as u64
    }

    /// Medians of what the rounds give one by one.
    fn cost(&self) -> SpanCost {
        let [off, unsampled, one_percent, all] = &self.ns_per_op;
        let middle = |values: &[f64]| median(values).unwrap_or(f64::MAX);
        let against_off = |values: &[f64], figure: fn(f64, f64) -> f64| {
            let rounds: Vec<f64> =
                values.iter().zip(off).map(|(v, off)| figure(*v, *off)).collect();
            middle(&rounds)
        };
        SpanCost {
            operations: OPERATIONS,
            baseline_ns_per_op: middle(off),
            all_sampled_ns_per_op: middle(all),
            one_percent_ns_per_op: middle(one_percent),
            span_ns: against_off(all, |v, off| v - off),
            unsampled_ns: against_off(unsampled, |v, off| v - off),
            ratio_all: against_off(all, |v, off| v / off),
            ratio_one_percent: against_off(one_percent, |v, off| v / off),
        }
    }
}

/// A loop around the body, with the sampler and recorder used directly.
struct BodyLoop {
    collector: Collector,
    name: NameId,
    recorder: SpanRecorder,
    samplers: Vec<(Mode, LocalSampler)>,
    body: Body,
}

/// Multiplications, each of which needs the one before.
#[derive(Clone, Copy)]
struct Body {
    steps: u32,
}

impl Body {
    /// As many as take about [`BODY_NS`] here.
    fn calibrated() -> Self {
        let one = Self { steps: 1_000_000 };
        let start = Instant::now();
        black_box(one.run(black_box(1)));
        let step_ns = start.elapsed().as_nanos() as f64 / f64::from(one.steps);
        Self { steps: (BODY_NS / step_ns).round().max(1.0) as u32 }
    }

    #[inline(always)]
    fn run(self, mut x: u64) -> u64 {
        for _ in 0..self.steps {
            // Not a power series that a compiler could fold: the shift is not linear.
            x = (x ^ (x >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        x
    }
}

impl BodyLoop {
    fn new() -> Result<Self, Failure> {
        let mut config = CollectorConfig::default();
        config.ring_bytes = 4 << 20;
        let collector = Collector::start(config, Box::new(CountingSink::new()))
            .map_err(Failure::subject("cannot start the span drain"))?;
        let name = collector.name("stress.body");
        let recorder = collector.recorder();
        let mut samplers = Vec::new();
        for mode in Mode::EACH {
            let Some(config) = mode.sampler() else { continue };
            let sampler =
                Sampler::new(config).map_err(Failure::subject("cannot make a sampler"))?;
            samplers.push((mode, Arc::new(sampler).local()));
        }
        Ok(Self { collector, name, recorder, samplers, body: Body::calibrated() })
    }

    fn run(&mut self, mode: Mode) -> Result<Timed, Failure> {
        let before = self.collector.stats();
        let mut elapsed = Duration::ZERO;
        let mut x = 1;
        for _ in 0..STRETCHES {
            let start = Instant::now();
            x = self.operate(x, mode, STRETCH);
            elapsed += start.elapsed();
            self.drain()?;
        }
        black_box(x);
        let after = self.collector.stats();
        Ok(Timed {
            ns_per_op: elapsed.as_nanos() as f64 / OPERATIONS as f64,
            recorded: after.spans_recorded_total - before.spans_recorded_total,
            dropped: after.spans_dropped_total - before.spans_dropped_total,
        })
    }

    /// The published run: so few operations once, each of them traced, beside the same without; the median of the rounds.
    fn published_case(&mut self) -> Result<PublishedTracing, Failure> {
        let (mut off, mut all) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut modes = [(Mode::Off, &mut off), (Mode::All, &mut all)];
            if round % 2 == 1 {
                modes.reverse();
            }
            for (mode, times) in modes {
                let start = Instant::now();
                black_box(self.operate(1, mode, PUBLISHED_OPERATIONS));
                times.push(start.elapsed().as_nanos() as f64 / PUBLISHED_OPERATIONS as f64);
                self.drain()?;
            }
        }
        let pairs = || off.iter().zip(&all);
        let middle = |values: Vec<f64>| median(&values).unwrap_or(f64::MAX);
        Ok(PublishedTracing {
            operations: PUBLISHED_OPERATIONS,
            span_ns: middle(pairs().map(|(off, all)| all - off).collect()),
            ratio_all: middle(pairs().map(|(off, all)| all / off).collect()),
            baseline_ns_per_op: middle(off.clone()),
            all_sampled_ns_per_op: middle(all.clone()),
        })
    }

    fn drain(&self) -> Result<(), Failure> {
        let drained = self.collector.flush(DRAINED_WITHIN);
        drained.map_err(Failure::subject("the spans do not drain"))
    }

    fn operate(&mut self, x: u64, mode: Mode, operations: u64) -> u64 {
        if mode == Mode::Off { self.plain(x, operations) } else { self.traced(x, mode, operations) }
    }

    #[inline(never)]
    fn plain(&self, mut x: u64, operations: u64) -> u64 {
        for _ in 0..operations {
            x = self.body.run(x);
        }
        x
    }

    #[inline(never)]
    fn traced(&mut self, mut x: u64, mode: Mode, operations: u64) -> u64 {
        let Self { collector, name, recorder, samplers, body } = self;
        let clock = collector.clock();
        let Some((_, sampler)) = samplers.iter_mut().find(|(of, _)| *of == mode) else { return x };
        for _ in 0..operations {
            let Some(sampled) = sampler.arrive() else {
                x = body.run(x);
                continue;
            };
            let start = clock.now();
            x = body.run(x);
            let end = clock.now();
            let (trace_id, span_id) = (sampler.new_trace_id(sampled), sampler.new_span_id());
            recorder.record(SpanRecord::new(trace_id, span_id, *name, sampled, start, end));
        }
        x
    }
}

/// Creates in a store whose memory has been there for long.
struct CreateLoop<'a> {
    lab: &'a Lab<'a>,
    /// In the order of [`Mode::EACH`].
    stores: Vec<WarmStore>,
}

struct WarmStore {
    session: Session,
    ids: Vec<TokenId>,
    // After the session, which must go first.
    store: Store,
}

impl<'a> CreateLoop<'a> {
    fn new(lab: &'a Lab<'a>) -> Result<Self, Failure> {
        let mut stores = Vec::new();
        for mode in Mode::EACH {
            let store = subject::warm_store(mode.sampler())?;
            let mut session = store.session();
            // Fills every slot once, so that each later create finds memory. One token in a
            // hundred stays, so that no chunk empties and is given back.
            let mut slots = Vec::new();
            for token in lab.workload.stream(0..subject::WARM_SLOTS) {
                let id = session.create(&token).map_err(Failure::subject("create"))?;
                slots.push(id);
            }
            for (place, id) in slots.into_iter().enumerate() {
                if place % 100 != 0 {
                    session.delete(id).map_err(Failure::subject("delete"))?;
                }
            }
            let ids = Vec::with_capacity(OPERATIONS as usize);
            stores.push(WarmStore { session, ids, store });
        }
        Ok(Self { lab, stores })
    }

    fn run(&mut self, mode: Mode) -> Result<Timed, Failure> {
        // The store without spans waits for the others' drains too: a thread that has just slept finds its
        // core and caches cold, and all modes are to pay that.
        let place = Mode::EACH.iter().position(|of| *of == mode).unwrap_or(0);
        let before = self.drained(place)?;
        let mut elapsed = Duration::ZERO;
        for stretch in 0..STRETCHES {
            let warm = &mut self.stores[place];
            let start = Instant::now();
            for token in self.lab.workload.stream(stretch * STRETCH..(stretch + 1) * STRETCH) {
                warm.ids.push(warm.session.create(&token).map_err(Failure::subject("create"))?);
            }
            elapsed += start.elapsed();
            self.drained(place)?;
        }
        let after = self.drained(place)?;
        let warm = &mut self.stores[place];
        for id in warm.ids.drain(..) {
            warm.session.delete(id).map_err(Failure::subject("delete"))?;
        }
        Ok(Timed {
            ns_per_op: elapsed.as_nanos() as f64 / OPERATIONS as f64,
            recorded: after.spans_recorded - before.spans_recorded,
            dropped: after.spans_dropped - before.spans_dropped,
        })
    }
}

impl CreateLoop<'_> {
    /// What the store at `place` says once every store is drained.
    fn drained(&self, place: usize) -> Result<Activity, Failure> {
        for warm in &self.stores {
            drained(&warm.store)?;
        }
        drained(&self.stores[place].store)
    }
}

/// What the store says once the sink has every span recorded so far.
fn drained(store: &Store) -> Result<Activity, Failure> {
    store.flush_spans(DRAINED_WITHIN).map_err(Failure::subject("the spans do not drain"))?;
    Ok(Activity::from(&store.stats()))
}

/// Deletes that find nothing: seen and kept.
fn errors() -> Result<[u64; 2], Failure> {
    let store = subject::warm_store(Mode::Unsampled.sampler())?;
    let mut session = store.session();
    let token = crate::workload::Workload::new(1, 1).token(0);
    let stale = session.create(&token).map_err(Failure::subject("create"))?;
    session.delete(stale).map_err(Failure::subject("delete"))?;
    for _ in 0..MADE {
        if session.delete(stale).is_ok() {
            return Err(Failure::Broken("a stale id was deleted again".into()));
        }
    }
    Ok(drained(&store)?.errors)
}

/// Logged creates in a store to which a nanosecond is slow: seen and kept.
fn slow(lab: &Lab<'_>) -> Result<[u64; 2], Failure> {
    const STORE: &str = "slow";
    let mut sampler = SamplerConfig::fixed_rate(1e-6);
    sampler.slow_threshold = Some(Duration::from_nanos(1));
    let store = subject::traced_logged_store(&lab.workdir.join(STORE), Some(sampler))?;
    let mut session = store.session();
    for token in lab.workload.stream(0..MADE) {
        session.create(&token).map_err(Failure::subject("create"))?;
    }
    let slow = drained(&store)?.slow;
    drop(session);
    store.close().map_err(Failure::subject("close"))?;
    lab.workdir.remove(STORE)?;
    Ok(slow)
}

/// The share of the processor's time that the store itself says tracing takes, while a thread creates
/// and deletes and one create in a hundred becomes a span. `None` if it says nothing.
fn overhead(lab: &Lab<'_>) -> Result<Option<f64>, Failure> {
    let store = subject::warm_store(Mode::OnePercent.sampler())?;
    let mut session = store.session();
    let begun = Instant::now();
    while begun.elapsed() < ACCOUNT_WITHIN {
        let mut ids = Vec::new();
        for token in lab.workload.stream(0..STRETCH) {
            ids.push(session.create(&token).map_err(Failure::subject("create"))?);
        }
        for id in ids {
            session.delete(id).map_err(Failure::subject("delete"))?;
        }
        if let Some(overhead) = store.stats().overhead {
            return Ok(Some(overhead.share));
        }
    }
    Ok(None)
}

/// Hands real spans to opentelemetry_sdk and counts what arrives there.
fn otel(lab: &Lab<'_>, checks: &mut Checks) -> Result<u64, Failure> {
    const SPANS: u64 = 1_000;
    let exporter = InMemorySpanExporter::default();
    let resource = Resource::builder().with_service_name("ng-stress").build();
    let sink = OtelSink::new(exporter.clone(), &resource);
    let store = subject::store_with_sink(Mode::All.sampler(), Box::new(sink))?;
    let mut session = store.session();
    for token in lab.workload.stream(0..SPANS) {
        session.create(&token).map_err(Failure::subject("create"))?;
    }
    drained(&store)?;
    let arrived = exporter.get_finished_spans();
    let arrived = arrived.map_err(Failure::subject("the exporter has no spans"))?;
    let valid = arrived.iter().filter(|span| span.span_context.is_valid());
    let timed = valid.filter(|span| span.start_time <= span.end_time).count() as u64;
    checks.equal("tracing: valid spans that reached opentelemetry_sdk", timed, SPANS);
    drop(session);
    store.close().map_err(Failure::subject("close"))?;
    Ok(arrived.len() as u64)
}
