//! The countdown's statistics and counts. Each run draws from one seed: `NG_SEED`, or 7.

use super::*;
use crate::{ControlInput, Reason, SamplerConfig};
use std::time::Duration;

const OPS: u64 = 2_000_000;

fn fixed(rate: f64) -> Arc<Sampler> {
    Arc::new(Sampler::new(SamplerConfig::fixed_rate(rate)).unwrap())
}

/// Printed by the harness when a test fails.
#[allow(clippy::print_stdout)]
fn seed() -> u64 {
    let seed = std::env::var("NG_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("NG_SEED={seed}");
    seed
}

/// Which operations are kept, asking for each.
fn kept_by_next(local: &mut LocalSampler, ops: u64) -> Vec<u64> {
    (0..ops).filter(|_| local.next()).collect()
}

/// The same, asking only at stops, in both ways, with gaps run in pieces as an owner with other limits does.
fn kept_by_stops(local: &mut LocalSampler, ops: u64) -> Vec<u64> {
    let mut pieces = fastrand::Rng::with_seed(3);
    let mut kept = Vec::new();
    let mut op = 0;
    while op < ops {
        let gap = local.gap();
        if gap > 0 {
            let run = pieces.u32(1..=gap);
            local.advance(run);
            op += u64::from(run);
        } else {
            let sampled = if pieces.bool() { local.arrive() } else { local.arrive_as_drawn() };
            kept.extend(sampled.map(|_| op));
            op += 1;
            // Now and then one asks where there is no stop.
            if local.gap() > 0 && pieces.u8(..4) == 0 {
                assert!(!local.next());
                op += 1;
            }
        }
    }
    kept
}

fn assert_share(kept: usize, ops: u64, rate: f64) {
    let mean = ops as f64 * rate;
    let sigma = (mean * (1.0 - rate)).sqrt();
    let off = kept as f64 - mean;
    assert!(off.abs() <= 4.0 * sigma, "{kept} of {ops} at {rate}: {:.1} sigma", off / sigma);
}

#[test]
fn the_kept_share_is_the_rate_from_one_to_a_ten_thousandth() {
    let seed = seed();
    for rate in [1.0, 0.9, 0.5, 0.1, 0.01, 1e-3, 1e-4] {
        let exact = Threshold::from_rate(rate).unwrap().rate();
        let sampler = fixed(rate);
        let kept = kept_by_next(&mut sampler.local_with_seed(seed), OPS);
        assert_share(kept.len(), OPS, exact);
        let kept = kept_by_stops(&mut sampler.local_with_seed(seed + 1), OPS);
        assert_share(kept.len(), OPS, exact);
    }
}

#[test]
fn asking_each_time_and_asking_at_stops_choose_the_same_operations() {
    let seed = seed();
    for rate in [1.0, 0.3, 0.01, 2e-4] {
        let sampler = fixed(rate);
        let each = kept_by_next(&mut sampler.local_with_seed(seed), 500_000);
        let mut stops = kept_by_stops(&mut sampler.local_with_seed(seed), 500_000);
        stops.retain(|op| *op < 500_000);
        assert_eq!(each, stops, "rate {rate}");
    }
}

/// Chi-square over 20 cells of equal probability; 19 degrees of freedom, 43.8 is p = 0.001. At the
/// lower rate four gaps in five are longer than a chunk, so it covers the cut as well.
#[test]
fn gaps_are_geometric_also_across_chunk_ends() {
    let seed = seed();
    for (rate, ops) in [(0.01, 4_000_000), (5e-5, 60_000_000)] {
        let mut local = fixed(rate).local_with_seed(seed);
        let kept = kept_by_stops(&mut local, ops);
        let rate = Threshold::from_rate(rate).unwrap().rate();
        let mut cells = [0.0f64; 20];
        let mut expected = [0.0f64; 20];
        // Cell of a gap by the probability that one is shorter; whole gaps make uneven cells.
        let cell = |gap: f64| ((1.0 - (1.0 - rate).powf(gap)) * 20.0) as usize;
        let mut gap = 0.0;
        while gap * rate < 40.0 {
            expected[cell(gap).min(19)] += rate * (1.0 - rate).powf(gap);
            gap += 1.0;
        }
        for pair in kept.windows(2) {
            cells[cell((pair[1] - pair[0] - 1) as f64).min(19)] += 1.0;
        }
        let gaps = (kept.len() - 1) as f64;
        let chi_square: f64 = cells
            .iter()
            .zip(expected)
            .map(|(cell, share)| (cell - share * gaps).powi(2) / (share * gaps))
            .sum();
        assert!(chi_square < 43.8, "chi-square {chi_square} over {gaps} gaps at {rate}");
    }
}

#[test]
fn the_first_operation_is_sampled_no_more_often_than_any_other() {
    let sampler = fixed(0.01);
    let seed = seed();
    let first = (0..20_000).filter(|n| sampler.local_with_seed(seed + n).next()).count();
    assert_share(first, 20_000, Threshold::from_rate(0.01).unwrap().rate());
}

#[test]
fn a_changed_rate_is_obeyed_by_the_very_next_operation() {
    let sampler = fixed(1e-6);
    let mut local = sampler.local_with_seed(1);
    assert!(!local.next());
    sampler.reconfigure(SamplerConfig::fixed_rate(1.0)).unwrap();
    assert!((0..100).all(|_| local.next()));
    assert_eq!(local.arrive().unwrap().threshold(), Some(Threshold::ALWAYS));
    sampler.reconfigure(SamplerConfig::fixed_rate(0.0)).unwrap();
    assert!(kept_by_next(&mut local, 100_000).is_empty());
}

#[test]
fn the_kill_switch_is_obeyed_by_the_very_next_operation() {
    let sampler = fixed(1.0);
    let mut local = sampler.local_with_seed(1);
    assert!(local.next());
    sampler.set_enabled(false);
    assert!(kept_by_next(&mut local, 100_000).is_empty());
    sampler.set_enabled(true);
    assert!(local.next());
}

#[test]
fn an_owner_that_schedules_obeys_when_it_asks_and_at_once_after_a_refresh() {
    let sampler = fixed(1e-6);
    let (mut asking, mut told) = (sampler.local_with_seed(1), sampler.local_with_seed(2));
    let gap = asking.gap();
    assert!(gap > 1000 && told.gap() > 1000);
    sampler.reconfigure(SamplerConfig::fixed_rate(1.0)).unwrap();
    assert_eq!((asking.gap(), told.gap()), (0, 0), "a ring leaves no gap");
    asking.advance(gap); // it was free when the gap was read
    assert!(asking.arrive().is_some());
    told.refresh();
    assert!(told.next());
    drop((asking, told));
    assert_eq!(sampler.stats().samples_total, u64::from(gap) + 2);
    let mut drawn = fixed(1e-6).local_with_seed(1);
    drawn.advance(gap);
    assert!(drawn.arrive_as_drawn().is_none(), "the chunk's end, at the old rate");
}

#[test]
fn a_ring_that_changes_nothing_changes_no_choice() {
    let seed = seed();
    let sampler = fixed(0.01);
    let undisturbed = kept_by_next(&mut sampler.local_with_seed(seed), 100_000);
    let mut local = sampler.local_with_seed(seed);
    let disturbed: Vec<u64> = (0..100_000)
        .filter(|op| {
            if op % 7 == 0 {
                sampler.set_enabled(true);
            }
            local.next()
        })
        .collect();
    assert_eq!(undisturbed, disturbed);
    local.refresh();
    assert_eq!(sampler.stats().samples_total, 200_000);
}

#[test]
fn priorities_on_one_countdown_get_their_own_rates_and_thresholds() {
    let seed = seed();
    let sampler = fixed(0.01);
    let mut local = sampler.local_with_priorities();
    local.countdown.rng = fastrand::Rng::with_seed(seed);
    let priorities = [Priority::High, Priority::Normal, Priority::Low];
    let mut kept = [0usize; 3];
    for op in 0..3 * OPS {
        let which = (op % 3) as usize;
        let Some(sampled) = local.arrive_with(priorities[which]) else { continue };
        let rate = 0.01 * priorities[which].factor();
        assert_eq!(sampled.threshold(), Threshold::from_rate(rate));
        let reason = if which == 1 { Reason::Base } else { Reason::Priority };
        assert_eq!(sampled.reason, reason);
        kept[which] += 1;
    }
    for (kept, priority) in kept.into_iter().zip(priorities) {
        let threshold = Threshold::from_rate(0.01 * priority.factor()).unwrap();
        assert_share(kept, OPS, threshold.rate());
    }
}

#[test]
fn weights_of_thinned_operations_add_up_to_the_operations() {
    let seed = seed();
    let sampler = fixed(0.01);
    let mut local = sampler.local_up_to(5.0);
    local.countdown.rng = fastrand::Rng::with_seed(seed);
    let (mut weights, mut variance) = ([0.0; 3], [0.0f64; 3]);
    let factors = [5.0, 1.0, 0.2];
    for op in 0..3 * OPS {
        let which = (op % 3) as usize;
        if let Some(sampled) = local.arrive_at(factors[which]) {
            weights[which] += sampled.weight().unwrap();
        }
        let rate = Threshold::from_rate(0.01 * factors[which]).unwrap().rate();
        variance[which] += (1.0 - rate) / rate;
    }
    for (weights, variance) in weights.into_iter().zip(variance) {
        let off = weights - OPS as f64;
        assert!(off.abs() < 4.0 * variance.sqrt(), "{weights} for {OPS}");
    }
}

#[test]
fn a_factor_above_what_the_countdown_was_made_for_counts_as_that() {
    let sampler = fixed(0.05);
    let mut local = sampler.local_with_seed(3);
    let sampled = (0..10_000).find_map(|_| local.arrive_with(Priority::High)).unwrap();
    assert_eq!((sampled.reason, sampled.threshold()), (Reason::Base, Threshold::from_rate(0.05)));
    let mut off = sampler.local_up_to(f64::NAN);
    assert!((0..10_000).any(|_| off.arrive_at(f64::NAN).is_some()));
}

/// At rate 1 an operation of factor 1 is decided without a look; the others take the way that all take below.
#[test]
fn at_rate_one_only_a_lower_factor_is_thinned_and_all_are_counted() {
    let seed = seed();
    let sampler = fixed(1.0);
    let mut local = sampler.local_with_seed(seed);
    let factors = [1.0, 0.25, 7.0, f64::NAN];
    let mut kept = [0usize; 4];
    for op in 0..4 * OPS {
        let which = (op % 4) as usize;
        let Some(sampled) = local.arrive_at(factors[which]) else { continue };
        let rate = if which == 1 { 0.25 } else { 1.0 };
        assert_eq!(sampled.threshold(), Threshold::from_rate(rate));
        kept[which] += 1;
    }
    assert_share(kept[1], OPS, 0.25);
    assert_eq!([kept[0], kept[2], kept[3]], [OPS as usize; 3]);
    let stats = sampler.stats();
    assert_eq!(stats.samples_total, 4 * OPS);
    assert_eq!(stats.samples_recorded_total, kept.iter().sum::<usize>() as u64);
}

#[test]
fn ids_of_operations_that_the_head_did_not_keep_agree_with_that() {
    let seed = seed();
    let sampler = fixed(0.25);
    let mut local = sampler.local_with_seed(seed);
    let threshold = sampler.threshold().unwrap();
    let mut quarters = [0; 4];
    for _ in 0..40_000 {
        let id = match local.arrive() {
            Some(sampled) => local.new_trace_id(sampled),
            None => local.new_unsampled_trace_id(),
        };
        quarters[(id.randomness().get() >> 54) as usize] += 1;
    }
    for quarter in quarters {
        assert_share(quarter, 40_000, 0.25); // uniform, whatever the rate
    }
    assert!((0..1000).all(|_| !threshold.keeps(local.new_unsampled_trace_id().randomness())));
    sampler.reconfigure(SamplerConfig::fixed_rate(1.0)).unwrap();
    local.refresh();
    local.new_unsampled_trace_id(); // none agrees; there is one all the same
}

#[test]
fn redrawing_at_any_point_keeps_the_share() {
    let seed = seed();
    let sampler = fixed(0.01);
    let mut local = sampler.local_with_seed(seed);
    let (mut kept, mut mean, mut variance) = (0, 0.0, 0.0);
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..4000 {
        let rate = [0.01, 0.05, 0.002][round % 3];
        sampler.reconfigure(SamplerConfig::fixed_rate(rate)).unwrap();
        local.refresh();
        let ops = rng.u64(1..500);
        kept += kept_by_next(&mut local, ops).len();
        let rate = Threshold::from_rate(rate).unwrap().rate();
        mean += ops as f64 * rate;
        variance += ops as f64 * rate * (1.0 - rate);
    }
    let off = kept as f64 - mean;
    assert!(off.abs() < 4.0 * f64::sqrt(variance), "{kept} kept, {mean} expected");
}

#[test]
fn trace_ids_agree_with_the_threshold_and_weights_add_up_to_the_operations() {
    let seed = seed();
    let sampler = fixed(0.01);
    let mut local = sampler.local_with_seed(seed);
    let (mut weights, mut high_half) = (0.0, 0u64);
    let mut kept = 0;
    for _ in 0..OPS {
        let Some(sampled) = local.arrive() else { continue };
        let threshold = sampled.threshold().unwrap();
        let randomness = local.new_trace_id(sampled).randomness();
        assert!(threshold.keeps(randomness));
        let middle = threshold.get() + ((1 << 56) - threshold.get()) / 2;
        high_half += u64::from(randomness.get() >= middle);
        weights += sampled.weight().unwrap();
        kept += 1;
    }
    let rate = Threshold::from_rate(0.01).unwrap().rate();
    let sigma = (OPS as f64 * (1.0 - rate) / rate).sqrt();
    assert!((weights - OPS as f64).abs() < 4.0 * sigma, "{weights} for {OPS}");
    assert_share(high_half as usize, kept, 0.5);
}

#[test]
fn the_controllers_rate_reaches_the_countdown_and_its_reason() {
    let sampler = Arc::new(Sampler::new(SamplerConfig::default()).unwrap());
    let mut local = sampler.local_with_seed(1);
    let input = ControlInput::new(1_000_000, 100_000_000, Duration::from_secs(1));
    let rate = sampler.control_step(&input);
    assert!(rate < 2e-5, "{rate}");
    local.refresh();
    let sampled = (0..10_000_000).find_map(|_| local.arrive()).unwrap();
    assert_eq!(sampled.reason, Reason::Adaptive);
    assert_eq!(sampled.threshold(), Threshold::from_rate(rate));
    assert_eq!(sampler.stats().controller_steps_total, 1);
    assert_eq!(sampler.stats().rate_changes_total, 1);
}

#[test]
fn every_operation_is_counted_and_totals_do_not_fall_when_threads_go() {
    let sampler = fixed(0.01);
    let (mut kept, mut last) = (0, 0);
    for ops in [1, 50, 5000, 123_456] {
        let mut local = sampler.local_with_seed(ops);
        kept += kept_by_next(&mut local, ops).len() as u64;
        local.refresh();
        let total = sampler.stats().samples_total;
        assert_eq!(total - last, ops);
        last = total;
        drop(local);
        assert_eq!(sampler.stats().samples_total, last);
    }
    let stats = sampler.stats();
    assert_eq!((stats.samples_recorded_total, stats.local_samplers), (kept, 0));
    assert_eq!(stats.samples_skipped_total, last - kept);
}

#[test]
fn an_unfinished_run_is_counted_when_its_thread_goes() {
    let sampler = fixed(1e-6);
    let mut local = sampler.local_with_seed(1);
    local.advance(100);
    assert_eq!(sampler.stats().samples_total, 0);
    drop(local);
    assert_eq!(sampler.stats().samples_total, 100);
}
