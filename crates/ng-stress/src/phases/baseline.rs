//! Phase 1: the token arena alone, interleaved with the raw fill of the same memory, read back whole.

use crate::failure::Failure;
use crate::floors;
use crate::lab::{Checks, Lab};
use crate::phases::{Leaks, in_turn};
use crate::report::{Baseline, now_rfc3339};
use crate::runs;
use crate::statistics::{median, median_u64};

/// Runs the phase.
pub fn run(lab: &Lab<'_>, checks: &mut Checks) -> Result<Baseline, Failure> {
    lab.progress.notice("phase baseline");
    let started = now_rfc3339();
    let (tokens, pairs) = (lab.plan.tokens, lab.plan.half_runs());
    let bar = lab.progress.bar("baseline", "floor and arena, pairs", pairs as u64);
    let (mut floor_runs, mut timings) = (Vec::new(), Vec::new());
    let mut leaks = Leaks::default();
    // Thrown away: the first run of so many threads makes stacks and heaps that stay.
    runs::baseline(lab, lab.plan.threads, false)?;
    for turn in 0..pairs {
        let last = turn + 1 == pairs;
        let (floor, (timing, readback)) = in_turn(
            lab,
            turn,
            || floors::fill_huge(tokens, &lab.workload),
            || runs::baseline(lab, lab.plan.threads, last),
        )?;
        if let Some(readback) = readback {
            readback.check("baseline", checks);
        }
        leaks.add(&timing);
        floor_runs.push(floor);
        timings.push(timing);
        bar.step();
    }
    leaks.check("baseline", checks);

    let per_token = |ns: f64| ns / tokens as f64;
    let ratios: Vec<f64> = timings
        .iter()
        .zip(&floor_runs)
        .map(|(timing, floor)| timing.elapsed.over(*floor))
        .collect();
    let elapsed_ns = median_u64(timings.iter().map(|t| t.elapsed.ns)).unwrap_or(0);
    let floor_ns = median_u64(floor_runs.iter().map(|floor| floor.ns)).unwrap_or(0);
    let rss_growth_bytes = median_u64(timings.iter().map(|t| t.rss.growth_bytes())).unwrap_or(0);
    let generator_ns = floors::generator_ns(tokens, &lab.workload);
    let tenths = (0..crate::pace::TENTHS).map(|tenth| {
        let ns = median_u64(timings.iter().map(|t| t.tenths_ns[tenth])).unwrap_or(0);
        ns as f64 * 10.0 * lab.plan.threads as f64 / tokens as f64
    });
    Ok(Baseline {
        tokens,
        elapsed_ns,
        ns_per_token: per_token(elapsed_ns as f64),
        tokens_per_s: tokens as f64 * 1e9 / elapsed_ns as f64,
        rss_growth_bytes,
        rss_peak_bytes: timings.iter().map(|t| t.rss.peak_bytes).max().unwrap_or(0),
        bytes_per_token: rss_growth_bytes as f64 / tokens as f64,
        floor_ns_per_token: per_token(floor_ns as f64),
        times_floor: median(&ratios).unwrap_or(f64::MAX),
        generator_ns_per_token: per_token(generator_ns as f64),
        tenths_ns_per_token: tenths.collect(),
        runs_ns: timings.iter().map(|t| t.elapsed.ns).collect(),
        floor_runs_ns: floor_runs.iter().map(|floor| floor.ns).collect(),
        started,
        ended: now_rfc3339(),
    })
}
