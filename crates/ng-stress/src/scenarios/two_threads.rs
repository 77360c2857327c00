//! Creators on several cores at once, in pairs with the arena; the plan says how many.

use super::Told;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::phases::full::Headline;
use crate::runs;
use crate::subject::Parts;

/// Runs the load.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let headline = measure(lab, checks)?;
    told.figure("creators_count", lab.plan.threads as f64);
    pairs(lab, &headline, told);
    Ok(())
}

/// Pairs of the arena and the full stack, after one of each that is thrown away: a process's first runs make thread stacks
/// and heaps that stay.
pub fn measure(lab: &Lab<'_>, checks: &mut Checks) -> Result<Headline, Failure> {
    runs::baseline(lab, lab.plan.threads, false)?;
    runs::full(lab, Parts::ALL, lab.plan.threads, false)?;
    Headline::measure(lab, checks)
}

/// The figures of full beside baseline.
pub fn pairs(lab: &Lab<'_>, headline: &Headline, told: &mut Told) {
    let Some(ratio) = headline.ratio() else { return };
    told.figure("full_over_baseline_ratio", ratio.median);
    told.figure("full_over_baseline_low_ratio", ratio.interval[0]);
    told.figure("full_over_baseline_high_ratio", ratio.interval[1]);
    told.figure("pairs_count", ratio.pairs as f64);
    let [baseline, full] = headline.medians_ns().map(|ns| ns as f64 / lab.plan.tokens as f64);
    told.figure("baseline_token_ns", baseline);
    told.figure("full_token_ns", full);
}
