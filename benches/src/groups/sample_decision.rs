//! Group `sample_decision`: what an operation pays to learn that it is not sampled. The operation itself is nothing, so
//! each row is a loop around the question alone, and `floor:loop` is what the loop costs.
//!
//! All samplers keep one in a million. `neurograph:slow_rule` has a latency rule besides, so each operation is timed and
//! judged at its end; its floor is the loop with the two clock readings. `neurograph:2t` are two threads at once, each
//! with its own countdown of the same sampler, in nanoseconds of one thread; `floor:load_store:2t` says what two threads
//! that share nothing cost each other on this machine.

use std::{
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use ng_trace::{Clock, LocalSampler, SampleContext, Sampler, SamplerConfig, Verdict};

use crate::{
    peers_trace::{self, RARE},
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
    subject::sample,
};

/// A loop of half a nanosecond a turn goes round so often for each token, or a moment's noise would be all that is seen.
const TURNS: u64 = 8;
/// Single decisions draw a number each: a tenth of the tokens are enough.
const PART: u64 = 10;
const THREADS: usize = 2;

pub(crate) fn group() -> Group {
    let version = env!("CARGO_PKG_VERSION");
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, version, countdown),
        Row::new("neurograph:slow_rule", Kind::Ours, version, slow_rule),
        Row::new("neurograph:2t", Kind::Ours, version, countdown_two_threads),
        Row::new("neurograph:decide", Kind::Ours, version, decide),
        Row::new("floor:loop", Kind::Floor, "", bare_loop),
        Row::new("floor:load_store", Kind::Floor, "", load_store),
        Row::new("floor:load_store:2t", Kind::Floor, "", load_store_two_threads),
        Row::new("floor:two_clocks", Kind::Floor, "", two_clocks),
    ];
    rows.extend(peers_trace::unsampled_rows());
    let at_most = |id, over, under, bar, goal| {
        let side = Side::AtMost;
        Bar { id, over, under, side, bar, goal: Some(goal) }
    };
    let at_least = |id, over, bar, goal| {
        let (under, side) = ("neurograph", Side::AtLeast);
        Bar { id, over, under, side, bar, goal: Some(goal) }
    };
    let bars = vec![
        at_most("P6", "neurograph - floor:loop", "floor:load_store", 2.0, 1.0),
        at_most(
            "P6:slow_rule",
            "neurograph:slow_rule - floor:two_clocks",
            "floor:load_store",
            3.0,
            1.0,
        ),
        at_most("P6:2t", "neurograph:2t", "neurograph", 1.2, 1.0),
        at_least("P6:fastrace", "fastrace", 5.0, 20.0),
        at_least("P6:otel", "opentelemetry_sdk", 20.0, 50.0),
    ];
    let title = "Learn that an operation is not sampled";
    let note = "P6:2t means something only where floor:load_store:2t is near floor:load_store: two threads that share \
                nothing slow each other down where the machine's cores are two halves of one.";
    let notes = Box::new(move || vec![note.to_owned()]);
    Group { notes, ..Group::in_memory("sample_decision", title, rows, bars) }
}

fn sampler(slow_rule: bool) -> Result<Arc<Sampler>, Failure> {
    let mut config = SamplerConfig::fixed_rate(RARE);
    if !slow_rule {
        config.slow_threshold = None;
    }
    Ok(Arc::new(Sampler::new(config).map_err(|error| Failure::Input(error.to_string()))?))
}

/// One in a million is expected of a million; hundreds are not.
fn few(kept: u64, operations: u64) -> Result<(), Failure> {
    if kept <= 20 + operations / 100_000 {
        return Ok(());
    }
    Err(Failure::Check(format!("{kept} of {operations} were kept at one in a million")))
}

fn turns(work: &Work) -> u64 {
    work.tokens * TURNS
}

fn countdown(work: &Work) -> Result<Sample, Failure> {
    let (local, operations) = (sampler(false)?.local(), turns(work));
    let begin = Instant::now();
    let kept = ask(local, operations);
    let sample = sample(begin, operations);
    few(kept, operations)?;
    Ok(sample)
}

/// By value, as a loop of its own has it.
#[inline(never)]
fn ask(mut local: LocalSampler, operations: u64) -> u64 {
    let mut kept = 0;
    for _ in 0..operations {
        if local.next() {
            kept += 1;
        }
        black_box(()); // the operation: nothing, but no compiler knows
    }
    kept
}

fn slow_rule(work: &Work) -> Result<Sample, Failure> {
    let (sampler, clock) = (sampler(true)?, Clock::new());
    let begin = Instant::now();
    let kept = ask_timed(sampler.local(), &sampler, &clock, work.tokens);
    let sample = sample(begin, work.tokens);
    few(kept, work.tokens)?;
    Ok(sample)
}

#[inline(never)]
fn ask_timed(mut local: LocalSampler, sampler: &Sampler, clock: &Clock, operations: u64) -> u64 {
    let mut kept = 0;
    for _ in 0..operations {
        let head = local.arrive();
        let start = clock.now();
        black_box(());
        let end = clock.now();
        if sampler.decide_end_between(false, start, end, head.is_some()).or(head).is_some() {
            kept += 1;
        }
    }
    kept
}

/// Runs `timed` on two threads at once, each with its own of what `make` makes. The slower of the two counts.
fn two_threads<T>(
    work: &Work,
    make: impl Fn() -> T + Sync,
    timed: impl Fn(T, u64) -> u64 + Sync,
) -> (Sample, u64) {
    let (start, operations) = (Barrier::new(THREADS), turns(work));
    let sampled = thread::scope(|scope| {
        let threads = [(); THREADS].map(|()| {
            scope.spawn(|| {
                let own = make();
                start.wait();
                let begin = Instant::now();
                let counted = timed(own, operations);
                (sample(begin, operations), counted)
            })
        });
        threads.map(|thread| thread.join().expect("the loop does not panic"))
    });
    let elapsed_ns = sampled.iter().map(|(sample, _)| sample.elapsed_ns).max().unwrap_or_default();
    let counted = sampled.iter().map(|(_, counted)| counted).sum();
    (Sample { elapsed_ns, operations }, counted)
}

fn countdown_two_threads(work: &Work) -> Result<Sample, Failure> {
    let sampler = sampler(false)?;
    let (sample, kept) = two_threads(work, || sampler.local(), ask);
    few(kept, turns(work) * THREADS as u64)?;
    Ok(sample)
}

fn load_store_two_threads(work: &Work) -> Result<Sample, Failure> {
    let add = |cell: Box<CachePadded>, operations| {
        load_and_store(&cell.0, operations);
        cell.0.load(Relaxed)
    };
    let (sample, counted) = two_threads(work, Box::default, add);
    if counted != turns(work) * THREADS as u64 {
        return Err(Failure::Check("floor:load_store:2t lost an addition".into()));
    }
    Ok(sample)
}

/// A cell with its cache lines for itself.
#[derive(Default)]
#[repr(align(128))]
struct CachePadded(AtomicU64);

fn decide(work: &Work) -> Result<Sample, Failure> {
    let (sampler, operations) = (sampler(false)?, (work.tokens / PART).max(1));
    let begin = Instant::now();
    let mut kept = 0;
    for _ in 0..operations {
        let decision = sampler.decide(black_box(&SampleContext::root()));
        kept += u64::from(decision.verdict == Verdict::Keep);
    }
    let sample = sample(begin, operations);
    few(kept, operations)?;
    Ok(sample)
}

fn bare_loop(work: &Work) -> Result<Sample, Failure> {
    let begin = Instant::now();
    loop_only(turns(work));
    Ok(sample(begin, turns(work)))
}

#[inline(never)]
fn loop_only(operations: u64) {
    for _ in 0..operations {
        black_box(());
    }
}

fn load_store(work: &Work) -> Result<Sample, Failure> {
    let cell = Box::<CachePadded>::default();
    let begin = Instant::now();
    load_and_store(&cell.0, turns(work));
    let sample = sample(begin, turns(work));
    if cell.0.into_inner() != turns(work) {
        return Err(Failure::Check("floor:load_store lost an addition".into()));
    }
    Ok(sample)
}

#[inline(never)]
fn load_and_store(cell: &AtomicU64, operations: u64) {
    for _ in 0..operations {
        cell.store(cell.load(Relaxed) + 1, Relaxed);
        black_box(());
    }
}

fn two_clocks(work: &Work) -> Result<Sample, Failure> {
    let clock = Clock::new();
    let begin = Instant::now();
    black_box(read_clocks(&clock, work.tokens));
    Ok(sample(begin, work.tokens))
}

#[inline(never)]
fn read_clocks(clock: &Clock, operations: u64) -> u64 {
    let mut longest = 0;
    for _ in 0..operations {
        let start = clock.now();
        black_box(());
        let end = clock.now();
        longest = end.get().wrapping_sub(start.get()).max(longest);
    }
    longest
}
