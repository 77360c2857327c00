//! Steady state: churn (a random victim deleted, a token created) at 95 % full, in slices that
//! alternate between the arena alone and the full stack. Long enough for every background part to
//! do its share of the work inside the measured time. One arena is alive at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neurograph::{Lsn, TokenId};

use crate::activity::Activity;
use crate::args::DurabilityArg;
use crate::bars;
use crate::failure::Failure;
use crate::fill::{Subject, fill};
use crate::lab::{Checks, Lab};
use crate::phases::{enough, in_turn};
use crate::plan::Plan;
use crate::ratio::Ratio;
use crate::report::Steady;
use crate::runs::close;
use crate::scraper::Scraper;
use crate::statistics::median;
use crate::subject::{self, Parts};
use crate::usage;

/// Slices of each side at the judged size: 5 of 2.1 s are more than the 10 s that the bar asks for.
const JUDGED_SLICES: Slices = Slices { count: 5, length: Duration::from_millis(2100) };

/// Slices of smaller runs, which are not judged.
const SMALL_SLICES: Slices = Slices { count: 3, length: Duration::from_millis(350) };

/// The same where the log syncs once a second: a slice must see a sync.
const RELAXED_SLICES: Slices = Slices { count: 2, length: Duration::from_millis(1300) };

/// Deletes and creates between two looks at the clock.
const BURST: u64 = 4096;

/// The same for each record that is synced before its call returns: a slice is to end near its length.
const SYNCED_BURST: u64 = 64;

/// Records in all slices from which on the log has to have synced in them. They are spread evenly, so each
/// slice has many more syncs due, by time alone, than the one that may come after its end.
const RECORDS_SURE: u64 = 1_000;

/// Most records that a slice may log; only --persist every gets there.
const SLICE_RECORDS_MAX: u64 = 8_000_000;

#[derive(Clone, Copy, Debug)]
struct Slices {
    count: usize,
    length: Duration,
}

impl Slices {
    fn of(plan: &Plan) -> Self {
        match (plan.is_judged(), plan.durability) {
            (true, _) => JUDGED_SLICES,
            (false, DurabilityArg::Relaxed) => RELAXED_SLICES,
            (false, _) => SMALL_SLICES,
        }
    }
}

/// What one slice did.
#[derive(Debug)]
struct Slice {
    operations: u64,
    elapsed: Duration,
    cpu_ns: u64,
}

impl Slice {
    fn ns_per_operation(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations as f64
    }

    fn cpu_ns_per_operation(&self) -> f64 {
        self.cpu_ns as f64 / self.operations as f64
    }
}

/// Runs the slices. The second value is what their pairs say.
pub fn run(lab: &Lab<'_>, checks: &mut Checks) -> Result<(Steady, Option<Ratio>), Failure> {
    let slices = Slices::of(lab.plan);
    let bar = lab.progress.bar("full", "steady churn at 95 % full", 2 * slices.count as u64);
    let (mut ratios, mut cpu_ratios) = (Vec::new(), Vec::new());
    let mut quiet = Quiet::default();
    let mut steady = Steady {
        seconds: 0.0,
        overhead_ratio: 0.0,
        overhead_ratio_spread: [0.0; 2],
        cpu_ratio: 0.0,
        operations: 0,
        wal_syncs: 0,
        metrics_scrapes: 0,
        controller_steps: 0,
        spans_dropped: 0,
    };
    let is_told = |ratios: &[f64]| bars::is_told("P2s", ratios);
    for turn in 0.. {
        if enough(lab, turn, slices.count, || is_told(&ratios)) {
            break;
        }
        let seed = lab.plan.seed ^ turn as u64;
        let (baseline, full) = in_turn(
            lab,
            turn,
            || baseline_slice(lab, slices.length, seed),
            || full_slice(lab, slices.length, seed, &mut steady, &mut quiet),
        )?;
        bar.steps(2);
        ratios.push(full.ns_per_operation() / baseline.ns_per_operation());
        cpu_ratios.push(full.cpu_ns_per_operation() / baseline.cpu_ns_per_operation());
        steady.seconds += full.elapsed.as_secs_f64();
        steady.operations += full.operations;
    }
    let ratio = Ratio::of(&ratios);
    steady.overhead_ratio = ratio.map_or(f64::MAX, |ratio| ratio.median);
    steady.overhead_ratio_spread = ratio.map_or([f64::MAX; 2], |ratio| ratio.quartiles);
    steady.cpu_ratio = median(&cpu_ratios).unwrap_or(f64::MAX);
    checks.equal("steady: cleanups", quiet.cleanups, 0);
    lab.none_dropped("steady", steady.spans_dropped, checks);
    if quiet.records >= RECORDS_SURE {
        checks.active("steady", "syncs of the log", steady.wal_syncs);
    }
    checks.active("steady", "scrapes", steady.metrics_scrapes);
    checks.active("steady", "controller steps", steady.controller_steps);
    Ok((steady, ratio))
}

/// What tells whether a part had reason to be active, or to stay quiet.
#[derive(Debug, Default)]
struct Quiet {
    cleanups: u64,
    /// Records that the slices logged.
    records: u64,
}

fn baseline_slice(lab: &Lab<'_>, length: Duration, seed: u64) -> Result<Slice, Failure> {
    let arena = subject::arena(lab.plan, 1)?;
    let mut writer = arena.writer();
    let mut churn = Churn::fill(lab, &mut writer, seed)?;
    churn.run(&mut writer, length)
}

fn full_slice(
    lab: &Lab<'_>,
    length: Duration,
    seed: u64,
    steady: &mut Steady,
    quiet: &mut Quiet,
) -> Result<Slice, Failure> {
    const STORE: &str = "steady";
    let store = Arc::new(subject::store(lab.plan, Parts::ALL, 1, &lab.workdir.join(STORE))?);
    let mut session = store.session();
    let mut churn = Churn::fill(lab, &mut session, seed)?;
    let scraper = Scraper::start(&store)?;
    let before = Activity::from(&store.stats());
    let last = store.last_lsn();
    scraper.go();
    let slice = churn.run(&mut session, length)?;
    let after = Activity::from(&store.stats());
    quiet.cleanups += after.cleanups;
    quiet.records += records_between(last, store.last_lsn());
    steady.metrics_scrapes += scraper.stop().scrapes;
    steady.wal_syncs += after.wal_syncs - before.wal_syncs;
    steady.controller_steps += after.controller_steps - before.controller_steps;
    steady.spans_dropped += after.spans_dropped;
    drop(session);
    close(store)?;
    lab.workdir.remove(STORE)?;
    Ok(slice)
}

/// The tokens alive, and what comes next.
struct Churn<'a> {
    lab: &'a Lab<'a>,
    live: Vec<TokenId>,
    next: u64,
    rng: fastrand::Rng,
    operations_max: u64,
    burst: u64,
}

impl<'a> Churn<'a> {
    /// Fills to 95 %, untimed.
    fn fill<S: Subject>(lab: &'a Lab<'a>, subject: &mut S, seed: u64) -> Result<Self, Failure> {
        let tokens = full_95(lab.plan);
        let subjects = std::slice::from_mut(subject);
        let filled = fill("steady", subjects, &lab.workload, 0..tokens, true, || {})?;
        Ok(Self {
            lab,
            live: filled.ids,
            next: tokens,
            rng: fastrand::Rng::with_seed(seed),
            operations_max: SLICE_RECORDS_MAX.saturating_mul(lab.plan.persist),
            burst: burst(lab.plan),
        })
    }

    fn run<S: Subject>(&mut self, subject: &mut S, length: Duration) -> Result<Slice, Failure> {
        let cpu = usage::cpu_ns();
        let start = Instant::now();
        let mut operations = 0;
        let mut elapsed = Duration::ZERO;
        while elapsed < length && operations < self.operations_max {
            self.burst(subject)?;
            operations += 2 * self.burst;
            elapsed = start.elapsed();
        }
        Ok(Slice { operations, elapsed, cpu_ns: usage::cpu_ns() - cpu })
    }

    #[inline(never)]
    fn burst<S: Subject>(&mut self, subject: &mut S) -> Result<(), Failure> {
        for token in self.lab.workload.stream(self.next..self.next + self.burst) {
            let index = self.rng.usize(..self.live.len());
            let victim = &mut self.live[index];
            subject.delete(*victim).map_err(Failure::subject("steady: delete of a live token"))?;
            *victim = subject
                .create(&token)
                .map_err(Failure::subject("steady: create after a delete"))?;
        }
        self.next += self.burst;
        Ok(())
    }
}

fn records_between(first: Lsn, last: Lsn) -> u64 {
    last.get().saturating_sub(first.get())
}

fn burst(plan: &Plan) -> u64 {
    match plan.durability {
        DurabilityArg::Strict => SYNCED_BURST.saturating_mul(plan.persist).min(BURST),
        DurabilityArg::Relaxed | DurabilityArg::Balanced => BURST,
    }
}

fn full_95(plan: &Plan) -> u64 {
    plan.tokens / 100 * 95
}
