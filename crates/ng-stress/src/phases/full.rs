//! Phase 2: everything on, interleaved with the baseline; then each part alone, the facade with every
//! part off, creators on all cores, and the steady state.

use std::collections::BTreeMap;

use crate::activity::page_value;
use crate::admissions::Admissions;
use crate::bars;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::pace::Paced;
use crate::phases::{Leaks, enough, in_turn, steady};
use crate::ratio::Ratio;
use crate::report::{Components, Full, Ratios, now_rfc3339};
use crate::runs::{self, FullRun, Proof, Timing};
use crate::statistics::{median, median_u64, quartiles};
use crate::subject::Parts;

/// Runs the phase.
pub fn run(lab: &Lab<'_>, checks: &mut Checks) -> Result<Full, Failure> {
    lab.progress.notice("phase full");
    let started = now_rfc3339();
    // Thrown away: a process's first run of everything makes thread stacks and heaps that stay.
    runs::full(lab, Parts::ALL, lab.plan.threads_most(), false)?;
    let headline = Headline::measure(lab, checks)?;
    let mut said = components(lab, checks)?;
    said.insert("P2t", two_threads(lab, checks)?);
    let (steady, steady_ratio) = steady::run(lab, checks)?;
    said.insert("P2s", steady_ratio);

    let tokens = lab.plan.tokens as f64;
    let Headline { pairs, cpu_pairs, durable_after_ns, last, proof } = headline;
    let (mut activity, admissions) = (proof.activity, proof.admissions);
    let memory_share =
        activity.quota_bytes as f64 / lab.plan.max_memory_bytes(lab.plan.threads) as f64;
    let beyond = last.timing.rss.growth_bytes().saturating_sub(activity.held_bytes());
    activity.memory.other = beyond;
    said.insert("P2", Ratio::of(&ratios(&pairs)));
    said.insert("P2c", Ratio::of(&ratios(&cpu_pairs)));
    let ratios: Ratios = said.into_iter().filter_map(|(id, ratio)| Some((id, ratio?))).collect();
    let middle = |id| ratios.get(id).map(|ratio| ratio.median);
    let ratio = |id| middle(id).unwrap_or(f64::MAX);
    let of = |side: usize| move |pair: &[Paced; 2]| pair[side].ns;
    let wall: Vec<f64> = pairs.iter().map(|[b, full]| full.ns as f64 / b.ns as f64).collect();
    let elapsed_ns = median_u64(pairs.iter().map(of(1))).unwrap_or(0);
    let baseline_ns = median_u64(pairs.iter().map(of(0))).unwrap_or(0);
    let overhead_ratio = ratio("P2");
    let baseline_ns_per_token = baseline_ns as f64 / tokens;
    Ok(Full {
        tokens: lab.plan.tokens,
        elapsed_ns,
        ns_per_token: elapsed_ns as f64 / tokens,
        tokens_per_s: tokens * 1e9 / elapsed_ns as f64,
        overhead_ratio,
        wall_ratio: median(&wall).unwrap_or(f64::MAX),
        wall_ratio_spread: quartiles(&wall).unwrap_or([f64::MAX; 2]),
        overhead_ratio_spread: ratios.get("P2").map_or([f64::MAX; 2], |ratio| ratio.quartiles),
        baseline_ns_per_token,
        added_ns_per_token: (overhead_ratio - 1.0) * baseline_ns_per_token,
        wal_records: proof.wal_records.saturating_sub(Admissions::logged_to_meet(lab.plan)),
        wal_bytes: activity.wal_bytes,
        wal_syncs: activity.wal_syncs,
        durable_after_ns: median_u64(durable_after_ns).unwrap_or(0),
        quota_checks: admissions.checks,
        quota_exceeded: admissions.exceeded,
        quota_false_refusals: admissions.false_refusals,
        quota_missed_refusals: admissions.missed_refusals,
        cleanups: activity.cleanups,
        evicted: activity.evicted,
        spans_recorded: last.activity.spans_recorded,
        spans_dropped: last.activity.spans_dropped,
        blackbox_events: activity.blackbox_events,
        metrics_scrapes: last.scraped.scrapes,
        memory_share,
        cpu_ns_baseline: median_u64(cpu_pairs.iter().map(of(0))).unwrap_or(0),
        cpu_ns_full: median_u64(cpu_pairs.iter().map(of(1))).unwrap_or(0),
        cpu_ratio: ratio("P2c"),
        paces: pairs.iter().map(|pair| pair.map(|time| time.pace_ns)).collect(),
        pairs: pairs.iter().map(|pair| pair.map(|time| time.ns)).collect(),
        facade_off_ratio: ratio(FACADE_OFF),
        two_thread_ratio: middle("P2t"),
        memory: activity.memory,
        steady,
        components: Components {
            guardian: ratio("component.guardian"),
            wal: ratio("component.wal"),
            trace: ratio("component.trace"),
            metrics: ratio("component.metrics"),
            blackbox: ratio("component.blackbox"),
        },
        ratios,
        started,
        ended: now_rfc3339(),
    })
}

/// What the pairs said, by the id of the bar that judges it; `None`: there were none.
type Said = BTreeMap<&'static str, Option<Ratio>>;

/// Its name among the ratios; no bar judges it.
const FACADE_OFF: &str = "facade_off";

fn ratios(pairs: &[[Paced; 2]]) -> Vec<f64> {
    pairs.iter().map(|[baseline, full]| full.over(*baseline)).collect()
}

/// Spans expected in a run, from which on none at all would be a fault: else e^-20 of the runs have none.
const SPANS_SURE: f64 = 20.0;

/// The pairs behind the headline ratio. Every run is counted; the last of those asked for is read back and proved.
#[derive(Debug)]
pub struct Headline {
    pairs: Vec<[Paced; 2]>,
    cpu_pairs: Vec<[Paced; 2]>,
    durable_after_ns: Vec<u64>,
    last: FullRun,
    proof: Proof,
}

impl Headline {
    /// What the pairs say.
    pub fn ratio(&self) -> Option<Ratio> {
        Ratio::of(&ratios(&self.pairs))
    }

    /// Medians of both sides.
    pub fn medians_ns(&self) -> [u64; 2] {
        [0, 1].map(|side| median_u64(self.pairs.iter().map(|pair| pair[side].ns)).unwrap_or(0))
    }

    /// Median time from the last create to all being durable.
    pub fn durable_ms(&self) -> f64 {
        median_u64(self.durable_after_ns.iter().copied()).unwrap_or(0) as f64 / 1e6
    }

    /// Runs the pairs, and proves one of them.
    pub fn measure(lab: &Lab<'_>, checks: &mut Checks) -> Result<Self, Failure> {
        let (count, threads) = (lab.plan.runs, lab.plan.threads);
        let bar = lab.progress.bar("full", "baseline and full stack, pairs", count as u64);
        let (mut pairs, mut cpu_pairs, mut durable_after_ns) = (vec![], vec![], vec![]);
        let (mut sums, mut last) = (Sums::default(), None);
        lab.progress.notice("full pairs");
        for turn in 0.. {
            let is_told = || {
                bars::is_told("P2", &ratios(&pairs)) && bars::is_told("P2c", &ratios(&cpu_pairs))
            };
            if enough(lab, turn, count, is_told) {
                break;
            }
            let prove = turn + 1 == count;
            let ((baseline, readback), full) = in_turn(
                lab,
                turn,
                || runs::baseline(lab, threads, prove),
                || runs::full(lab, Parts::ALL, threads, prove),
            )?;
            if let Some(readback) = readback {
                readback.check("full's baseline", checks);
            }
            pairs.push([baseline.elapsed, full.timing.elapsed]);
            cpu_pairs.push([baseline.cpu, full.timing.cpu]);
            durable_after_ns.push(full.durable_after_ns);
            sums.baseline(&baseline);
            sums.full(&full);
            if turn < count {
                last = Some(full);
            }
            bar.step();
        }
        sums.check("full", lab, checks);
        let none = || Failure::Broken("no pair was run".into());
        let mut last = last.ok_or_else(none)?;
        let proof = last.proof.take().ok_or_else(none)?;
        prove(lab, &last, &proof, checks);
        Ok(Self { pairs, cpu_pairs, durable_after_ns, last, proof })
    }
}

/// What must hold in every run, added up.
#[derive(Default)]
struct Sums {
    cleanups: u64,
    kept: u64,
    spans_recorded: u64,
    spans_dropped: u64,
    leaks: Leaks,
}

impl Sums {
    fn baseline(&mut self, timing: &Timing) {
        self.leaks.add(timing);
    }

    fn full(&mut self, run: &FullRun) {
        self.baseline(&run.timing);
        let (errors, slow) = (run.activity.errors, run.activity.slow);
        self.cleanups += run.activity.cleanups;
        self.kept += run.activity.sampled + errors[1] + slow[1];
        self.spans_recorded += run.activity.spans_recorded;
        self.spans_dropped += run.activity.spans_dropped;
    }

    fn check(&self, phase: &str, lab: &Lab<'_>, checks: &mut Checks) {
        checks.equal(format!("{phase}: cleanups in the timed regions"), self.cleanups, 0);
        checks.equal(
            format!("{phase}: spans recorded or dropped, of the operations sampled or kept for their end"),
            self.spans_recorded + self.spans_dropped,
            self.kept,
        );
        lab.none_dropped(phase, self.spans_dropped, checks);
        self.leaks.check(phase, checks);
    }
}

/// The last run: what it stored, logged, refused and reported.
fn prove(lab: &Lab<'_>, run: &FullRun, proof: &Proof, checks: &mut Checks) {
    proof.readback.check("full", checks);
    proof.admissions.check(checks);
    let logged = lab.plan.marked(lab.plan.tokens) + Admissions::logged(lab.plan);
    checks.equal("full: token records in the log", proof.wal_records, logged);
    checks.equal("full: records that the log's reader refused", proof.wal_errors, 0);
    let expected = lab.plan.tokens as f64 * lab.plan.sample_rate;
    // Bernstein's bound for a Bernoulli process, however few it chooses: outside once in 50 million runs.
    let allowed = 6.0 * (expected * (1.0 - lab.plan.sample_rate)).sqrt() + 12.0;
    let sampled = run.activity.sampled as f64;
    checks.that(
        "full: the sampled share is the rate asked for",
        (sampled - expected).abs() <= allowed,
        format!(
            "found {sampled} of {} creates, expected {expected:.0} ± {allowed:.0}",
            lab.plan.tokens
        ),
    );
    if expected >= SPANS_SURE {
        checks.active("full", "spans recorded", run.activity.spans_recorded);
    }
    checks.active("full", "syncs of the log", proof.activity.wal_syncs);
    checks.active("full", "black-box events", proof.activity.blackbox_events);
    checks.active("full", "scrapes", run.scraped.scrapes);
    counts(lab, proof, checks);
    page(lab, proof, checks);
}

/// The store's own counts, beside those of the suite.
fn counts(lab: &Lab<'_>, proof: &Proof, checks: &mut Checks) {
    let created = lab.plan.tokens + Admissions::created(lab.plan);
    checks.equal("full: tokens created, says the store", proof.activity.created, created);
    checks.equal("full: tokens alive, says the store", proof.activity.live, lab.plan.tokens);
    let exceeded = proof.admissions.exceeded;
    // At least: a create that finds no room in the log gives its slot back and is decided again.
    let decided = proof.activity.checks;
    // Without the last one, which `checks` has too.
    let tried = proof.admissions.checks + Admissions::created(lab.plan) - 1;
    checks.that(
        "full: every admission was decided, says the store",
        decided >= tried,
        format!("found {decided} decided, expected at least the {tried} tried"),
    );
    checks.equal("full: creates refused, says the store", proof.activity.exceeded, exceeded);
}

/// The metrics page, beside what the suite counted itself.
fn page(lab: &Lab<'_>, proof: &Proof, checks: &mut Checks) {
    let expected = [
        ("neurograph_tokens_created_total", lab.plan.tokens + Admissions::created(lab.plan)),
        ("neurograph_tokens_deleted_total", Admissions::created(lab.plan)),
        ("neurograph_tokens_active", lab.plan.tokens),
        ("neurograph_quota_exceeded_total", proof.admissions.exceeded),
        ("neurograph_aggressive_cleanups_total", 0),
        ("neurograph_tracing_samples_recorded_total", proof.activity.sampled),
    ];
    for (name, expected) in expected {
        let found = page_value(&proof.page, name);
        checks.that(
            format!("full: the metrics page agrees: {name}"),
            found == Some(expected as f64),
            format!("found {}, expected {expected}", shown(found)),
        );
    }
    let (name, least) = ("neurograph_wal_syncs_total", proof.activity.wal_syncs);
    let found = page_value(&proof.page, name);
    // The log may have synced once more since.
    checks.that(
        format!("full: the metrics page agrees: {name}"),
        found.is_some_and(|value| value >= least as f64),
        format!("found {}, expected at least {least}", shown(found)),
    );
}

/// A value of the page.
fn shown(found: Option<f64>) -> String {
    found.map_or_else(|| "nothing".into(), |value| value.to_string())
}

/// What a round of single parts runs, and its name among the ratios; the last is what the others are held against.
const ALONE: [(&str, Parts); 6] = [
    ("component.guardian", Parts::GUARDIAN),
    ("component.wal", Parts::WAL),
    ("component.trace", Parts::TRACE),
    ("component.metrics", Parts::METRICS),
    ("component.blackbox", Parts::BLACKBOX),
    (FACADE_OFF, Parts::NONE),
];

/// Each part alone beside the facade with none, and that beside the baseline, once a round. The order is drawn: what a
/// run leaves the kernel to do, such as the blocks of a file that is gone, goes on into the next.
fn components(lab: &Lab<'_>, checks: &mut Checks) -> Result<Said, Failure> {
    let (rounds, threads) = (lab.plan.half_runs(), lab.plan.threads);
    let bar = lab.progress.bar("full", "one part at a time, rounds", rounds as u64);
    let mut ratios = [const { Vec::new() }; ALONE.len()];
    let mut sums = Sums::default();
    let mut events_min = u64::MAX;
    let mut rng = fastrand::Rng::with_seed(lab.plan.seed);
    let mut order: [usize; ALONE.len() + 1] = std::array::from_fn(|place| place);
    for round in 0.. {
        let is_told = || {
            let mut all = ALONE.iter().zip(&ratios);
            all.all(|((id, _), ratios)| bars::is_told(id, ratios))
        };
        if enough(lab, round, rounds, is_told) {
            break;
        }
        let mut baseline = Paced::default();
        let mut alone = [Paced::default(); ALONE.len()];
        rng.shuffle(&mut order);
        for place in order {
            match ALONE.get(place) {
                Some((_, parts)) => {
                    let run = runs::full(lab, *parts, threads, false)?;
                    alone[place] = run.timing.elapsed;
                    if parts.blackbox {
                        events_min = events_min.min(run.activity.blackbox_events);
                    }
                    sums.full(&run);
                }
                None => {
                    let (timing, _) = runs::baseline(lab, threads, false)?;
                    baseline = timing.elapsed;
                    sums.baseline(&timing);
                }
            }
        }
        let [.., off] = alone;
        for ((ratios, part), (id, _)) in ratios.iter_mut().zip(alone).zip(ALONE) {
            ratios.push(part.over(if id == FACADE_OFF { baseline } else { off }));
        }
        bar.step();
    }
    sums.check("components", lab, checks);
    // Each thread counts for itself.
    let expected = (lab.plan.tokens / 1000).saturating_sub(threads as u64);
    checks.that(
        "components: the black box alone recorded one create in 1,000",
        events_min >= expected,
        format!("found {events_min} events in the run with fewest, expected at least {expected}"),
    );
    Ok(ALONE.iter().zip(ratios).map(|((id, _), ratios)| (*id, Ratio::of(&ratios))).collect())
}

/// Creators on all cores, on both sides.
fn two_threads(lab: &Lab<'_>, checks: &mut Checks) -> Result<Option<Ratio>, Failure> {
    let (cores, count) = (lab.machine.cores, lab.plan.quarter_runs());
    if cores < 2 {
        return Ok(None);
    }
    let bar = lab.progress.bar("full", "creators on all cores, pairs", count as u64);
    let (mut pairs, mut sums) = (Vec::new(), Sums::default());
    for turn in 0.. {
        if enough(lab, turn, count, || bars::is_told("P2t", &self::ratios(&pairs))) {
            break;
        }
        let ((baseline, _), full) = in_turn(
            lab,
            turn,
            || runs::baseline(lab, cores, false),
            || runs::full(lab, Parts::ALL, cores, false),
        )?;
        sums.baseline(&baseline);
        sums.full(&full);
        pairs.push([baseline.elapsed, full.timing.elapsed]);
        bar.step();
    }
    sums.check("all cores", lab, checks);
    Ok(Ratio::of(&ratios(&pairs)))
}
