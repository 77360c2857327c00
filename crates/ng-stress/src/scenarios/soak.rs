//! A steady load for minutes, with everything on: what grows, and how surely. The pace is held, so that a log that keeps
//! every record lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use neurograph::Store;

use super::held::Held;
use super::{Slope, Told};
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::runs::close;
use crate::scraper::Scraper;
use crate::subject::{self, Parts};
use crate::usage;

const STORE: &str = "soak";
/// Deletes and creates of a burst, and bursts a second.
const BURST: u64 = 4096;
const BURSTS_PER_SECOND: u32 = 128;
/// Of the samples so many are left out at the beginning: caches fill, threads start.
const WARM_UP: f64 = 0.2;
/// What resident memory may surely grow by, over the whole load.
const GROWTH_MAX_BYTES: f64 = (8 << 20) as f64;
/// By how much an operation may surely become slower, over the whole load.
const DRIFT_MAX: f64 = 0.1;

/// Of a longer load some samples are left out of what is drawn.
const POINTS_MAX: usize = 300;

/// What is looked at each second.
#[derive(Clone, Copy, Debug)]
struct Sample {
    second: f64,
    rss_bytes: f64,
    held_bytes: f64,
    descriptors: f64,
    threads: f64,
    operation_ns: f64,
    /// Written to the log so far.
    log_bytes: f64,
}

/// Runs the load.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let dir = lab.workdir.join(STORE);
    let store = Arc::new(subject::store(lab.plan, Parts::ALL, 1, &dir)?);
    let scraper = Scraper::start(&store)?;
    scraper.go();
    let (samples, held) = load(lab, &store)?;
    let scrapes = scraper.stop().scrapes;
    checks.active("soak", "scrapes", scrapes);
    let session = store.session();
    held.check("soak", &lab.workload, |id| session.get(id), store.iter(), checks);
    drop(session);
    judge(&samples, checks, told);
    tell_series(&samples, told);
    let stats = store.stats();
    told.figure("log_bytes", stats.wal.map_or(0, |wal| wal.written_bytes_total) as f64);
    checks.equal("soak: evicted", stats.guardian.evicted_total, 0);
    close(store)?;
    lab.workdir.remove(STORE)
}

fn load(lab: &Lab<'_>, store: &Store) -> Result<(Vec<Sample>, Held), Failure> {
    let alive = lab.plan.tokens / 100 * 95;
    let mut session = store.session();
    let mut held = Held::default();
    let refused = || Failure::subject("soak: a create below the quota");
    for number in 0..alive {
        held.created(session.create(&lab.workload.token(number)).map_err(refused())?, number);
    }
    let length = lab.plan.soak;
    let bar = lab.progress.bar("soak", "seconds of steady load", length.as_secs().max(1));
    let mut rng = fastrand::Rng::with_seed(lab.plan.seed);
    let (begin, mut samples, mut number) = (Instant::now(), Vec::new(), alive);
    let (mut busy, mut operations, mut bursts) = (Duration::ZERO, 0, 0_u32);
    let mut looked = Instant::now();
    while begin.elapsed() < length {
        let burst = Instant::now();
        for _ in 0..BURST {
            let place = rng.usize(..);
            let Some(victim) = held.victim(place) else { break };
            session.delete(victim).map_err(Failure::subject("soak: a delete of a live token"))?;
            held.deleted(place);
            held.created(session.create(&lab.workload.token(number)).map_err(refused())?, number);
            number += 1;
        }
        busy += burst.elapsed();
        operations += 2 * BURST;
        bursts += 1;
        if looked.elapsed() >= lab.plan.look_every {
            let ns = busy.as_nanos() as f64 / operations as f64;
            samples.push(Sample::now(begin, store, ns));
            (busy, operations, looked) = (Duration::ZERO, 0, Instant::now());
            bar.at(begin.elapsed().as_secs());
        }
        let due = Duration::from_secs(1) * bursts / BURSTS_PER_SECOND;
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
    }
    Ok((samples, held))
}

type Figure = fn(&Sample) -> f64;

impl Sample {
    fn now(begin: Instant, store: &Store, operation_ns: f64) -> Self {
        Self {
            second: begin.elapsed().as_secs_f64(),
            rss_bytes: usage::rss_bytes() as f64,
            held_bytes: store.stats().guardian.committed_bytes as f64,
            descriptors: usage::entries("/proc/self/fd") as f64,
            threads: usage::entries("/proc/self/task") as f64,
            operation_ns,
            log_bytes: store.stats().wal.map_or(0.0, |wal| wal.written_bytes_total as f64),
        }
    }
}

fn judge(samples: &[Sample], checks: &mut Checks, told: &mut Told) {
    let cold = (samples.len() as f64 * WARM_UP) as usize;
    let warm = &samples[cold..];
    let minutes = match (warm.first(), warm.last()) {
        (Some(first), Some(last)) => (last.second - first.second) / 60.0,
        _ => 0.0,
    };
    told.figure("samples_count", warm.len() as f64);
    told.figure("judged_minutes", minutes);
    let figures: [(&'static str, Figure); 5] = [
        ("rss_bytes", |sample| sample.rss_bytes),
        ("held_bytes", |sample| sample.held_bytes),
        ("descriptors", |sample| sample.descriptors),
        ("threads", |sample| sample.threads),
        ("operation_ns", |sample| sample.operation_ns),
    ];
    for (name, of) in figures {
        let points: Vec<(f64, f64)> =
            warm.iter().map(|sample| (sample.second, of(sample))).collect();
        let Some(slope) = Slope::of(&points) else {
            checks.that(
                format!("soak: enough samples for the slope of {name}"),
                false,
                format!("found {}, expected at least 4", points.len()),
            );
            continue;
        };
        told.slopes.insert(name, slope);
        let surely = slope.interval[0] * minutes;
        let may = match name {
            "operation_ns" => DRIFT_MAX * slope.mean,
            "rss_bytes" | "held_bytes" => GROWTH_MAX_BYTES,
            _ => 0.5,
        };
        checks.that(
            format!("soak: {name} does not grow"),
            surely <= may,
            format!(
                "grew by {surely:.1} at least in {minutes:.1} minutes, expected at most {may:.1}"
            ),
        );
    }
}

/// Memory, and the log's pace, over the whole time of the load.
fn tell_series(samples: &[Sample], told: &mut Told) {
    let apart = samples.len().div_ceil(POINTS_MAX).max(1);
    let kept: Vec<&Sample> = samples.iter().step_by(apart).collect();
    let memory: [(&'static str, Figure); 2] =
        [("rss_bytes", |sample| sample.rss_bytes), ("held_bytes", |sample| sample.held_bytes)];
    for (name, of) in memory {
        told.series.insert(name, kept.iter().map(|sample| [sample.second, of(sample)]).collect());
    }
    let paces = kept.windows(2).map(|pair| {
        let [from, to] = [pair[0], pair[1]];
        let seconds = to.second - from.second;
        [to.second, if seconds > 0.0 { (to.log_bytes - from.log_bytes) / seconds } else { 0.0 }]
    });
    told.series.insert("log_bytes_per_second", paces.collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(of: impl Fn(f64) -> Sample) -> Vec<String> {
        let samples: Vec<Sample> = (0..600).map(|second| of(f64::from(second))).collect();
        let (mut checks, mut told) = (Checks::default(), Told::default());
        judge(&samples, &mut checks, &mut told);
        assert_eq!(told.slopes.len(), 5);
        checks.into_vec().into_iter().filter(|check| !check.pass).map(|check| check.name).collect()
    }

    #[test]
    fn a_leak_of_a_megabyte_a_minute_or_of_a_descriptor_is_seen_and_a_steady_load_passes() {
        let steady = |second: f64| Sample {
            second,
            rss_bytes: 6e8 + 1e5 * (second % 7.0),
            held_bytes: 6e8,
            descriptors: 12.0,
            threads: 7.0,
            operation_ns: 60.0 + second % 3.0,
            log_bytes: 2e6 * second,
        };
        assert!(failed(steady).is_empty());
        let samples: Vec<Sample> = (0..7_000).map(|second| steady(f64::from(second))).collect();
        let mut told = Told::default();
        tell_series(&samples, &mut told);
        let paces = &told.series["log_bytes_per_second"];
        assert!(
            paces.len() < POINTS_MAX && paces.iter().all(|[_, pace]| *pace == 2e6),
            "{paces:?}"
        );
        let rss = &told.series["rss_bytes"];
        assert!(rss.len() <= POINTS_MAX && rss[0] == [0.0, 6e8] && rss[1][0] == 24.0, "{rss:?}");
        let leaks = |second| Sample { rss_bytes: 6e8 + second * 2e4, ..steady(second) };
        assert_eq!(failed(leaks), ["soak: rss_bytes does not grow"]);
        let opens =
            |second: f64| Sample { descriptors: 12.0 + (second / 200.0).floor(), ..steady(second) };
        assert_eq!(failed(opens), ["soak: descriptors does not grow"]);
        let slows = |second| Sample { operation_ns: 60.0 + second / 50.0, ..steady(second) };
        assert_eq!(failed(slows), ["soak: operation_ns does not grow"]);
    }
}
