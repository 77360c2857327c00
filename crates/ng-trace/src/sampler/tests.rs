//! The rules in their order, the buckets, and what is told to those further on. Time is given, not read, wherever it decides.

use super::*;
use crate::{Parent, Propagate, TraceId, sync::thread};
use std::time::Duration;

const RANDOM: Randomness = Randomness::from_low_bits(u64::MAX);
const NOW_NS: u64 = 5_000_000_000;

fn sampler(change: impl FnOnce(&mut SamplerConfig)) -> Sampler {
    let mut config = SamplerConfig::default();
    change(&mut config);
    Sampler::new(config).unwrap()
}

fn parent(sampled: bool) -> Parent {
    Parent::new(TraceId::new(u128::MAX).unwrap(), sampled)
}

fn decide(sampler: &Sampler, context: &SampleContext) -> Decision {
    let randomness = context.parent.map_or(RANDOM, |parent| parent.randomness());
    sampler.decide_at(context, randomness, || NOW_NS)
}

type Rule = fn(&mut SampleContext, &mut SamplerConfig);

/// The head's rules as switches on a context, in the order in which they must win.
const RULES: [(Reason, Rule); 7] = [
    (Reason::KillSwitch, |_, config| config.enabled = false),
    (Reason::Force, |context, _| context.force = true),
    (Reason::ParentSampled, |context, _| context.parent = Some(parent(true))),
    (Reason::CustomRate, |context, _| context.custom_rate = Some(0.5)),
    (Reason::Priority, |context, _| context.priority = Priority::High),
    (Reason::Adaptive, |_, config| config.adaptive = true),
    (Reason::Base, |_, _| {}),
];

#[test]
fn of_any_two_rules_the_earlier_one_decides() {
    for (first, (reason, earlier)) in RULES.iter().enumerate() {
        for (_, later) in &RULES[first..] {
            let mut context = SampleContext::root();
            let mut config = SamplerConfig { adaptive: false, ..Default::default() };
            later(&mut context, &mut config);
            earlier(&mut context, &mut config);
            let sampler = Sampler::new(config).unwrap();
            assert_eq!(decide(&sampler, &context).reason, *reason, "{context:?}");
        }
    }
}

#[test]
fn an_unsampled_parent_beats_custom_rate_and_priority_but_not_force() {
    let sampler = sampler(|_| {});
    let context =
        SampleContext::child_of(parent(false)).with_custom_rate(1.0).with_priority(Priority::High);
    let decision = decide(&sampler, &context);
    assert_eq!((decision.verdict, decision.reason), (Verdict::LocalTail, Reason::ParentUnsampled));
    assert_eq!(decision.propagate, Propagate::Unsampled);
    assert_eq!(decide(&sampler, &context.forced()).reason, Reason::Force);
}

#[test]
fn an_unsampled_parent_drops_the_head_but_keeps_errors_and_slow_operations() {
    let sampler = sampler(|_| {});
    let decision = decide(&sampler, &SampleContext::child_of(parent(false)));
    assert_eq!((decision.verdict, decision.sampled()), (Verdict::LocalTail, None));
    assert_eq!(decision.propagate, Propagate::Unsampled);
    let (quick, long) = (Duration::from_millis(1), Duration::from_millis(100));
    let certain = |reason| Some(Sampled { reason, odds: Odds::CERTAIN });
    assert_eq!(sampler.decide_end(&Outcome::new(true, quick)), certain(Reason::Error));
    assert_eq!(sampler.decide_end(&Outcome::new(false, long)), certain(Reason::Slow));
    assert_eq!(sampler.decide_end(&Outcome::new(true, long)), certain(Reason::Error));
    assert_eq!(sampler.decide_end(&Outcome::new(false, quick)), None);
    let stats = sampler.stats();
    assert_eq!((stats.error_operations_total, stats.error_kept_total), (2, 2));
    assert_eq!((stats.slow_operations_total, stats.slow_kept_total), (2, 1));
}

#[test]
fn the_kill_switch_is_absolute_and_passes_headers_on() {
    let sampler = Arc::new(sampler(|config| config.enabled = false));
    let context = SampleContext::child_of(parent(true)).forced().with_custom_rate(1.0);
    let decision = sampler.decide(&context);
    assert_eq!((decision.verdict, decision.propagate), (Verdict::Drop, Propagate::Untouched));
    assert_eq!(sampler.decide_end(&Outcome::new(true, Duration::from_secs(9))), None);
    let mut local = sampler.local();
    assert!((0..20_000).all(|_| !local.next()));
    assert_eq!((sampler.rate(), sampler.stats().samples_recorded_total), (0.0, 0));
    sampler.set_enabled(true);
    assert_eq!(sampler.decide(&context).reason, Reason::Force);
}

#[test]
fn forced_operations_are_kept_with_th_zero_until_their_bucket_is_empty() {
    let sampler = sampler(|config| config.force_per_second = 3);
    let context = SampleContext::root().forced();
    for _ in 0..3 {
        let decision = decide(&sampler, &context);
        assert_eq!(decision.verdict, Verdict::Keep);
        let always = Propagate::Sampled { threshold: Some(Threshold::ALWAYS) };
        assert_eq!((decision.propagate, decision.odds.weight()), (always, Some(1.0)));
    }
    assert_eq!(decide(&sampler, &context).reason, Reason::Adaptive, "decided as if not forced");
    let half_a_second_later = NOW_NS + 500_000_000;
    let lucky = sampler.decide_at(&context, RANDOM, || half_a_second_later);
    assert_eq!((lucky.reason, lucky.odds), (Reason::Force, Odds::UNKNOWN));
    assert_eq!(lucky.propagate, Propagate::Sampled { threshold: None });
    let stats = sampler.stats();
    assert_eq!((stats.forced_total, stats.force_capped_total), (4, 1));
}

#[test]
fn a_sampled_parents_threshold_is_handed_on_only_if_its_trace_id_bears_it_out() {
    let sampler = sampler(|_| {});
    let threshold = Threshold::from_rate(0.25).unwrap();
    let mut context = SampleContext::child_of(parent(true));
    let with = |context: &SampleContext| decide(&sampler, context);
    assert_eq!(with(&context).odds, Odds::UNKNOWN, "no th");
    context.parent.as_mut().unwrap().threshold = Some(threshold);
    assert_eq!(with(&context).odds, Odds::from_threshold(threshold));
    assert_eq!(with(&context).propagate, Propagate::Sampled { threshold: Some(threshold) });
    let low = Some(Randomness::from_low_bits(5));
    context.parent.as_mut().unwrap().explicit_randomness = low;
    assert_eq!(with(&context).odds, Odds::UNKNOWN, "rv contradicts th");
    assert_eq!(with(&context).propagate, Propagate::Sampled { threshold: None });
    assert_eq!(with(&context).verdict, Verdict::Keep, "the flag stands");
}

#[test]
fn sampled_parents_beyond_their_bucket_are_decided_by_their_own_trace_id() {
    let sampler = sampler(|config| config.parent_per_second = 1);
    let mut context = SampleContext::child_of(parent(true));
    assert_eq!(decide(&sampler, &context).reason, Reason::ParentSampled);
    let by_rate = decide(&sampler, &context);
    assert_eq!((by_rate.reason, by_rate.verdict), (Reason::Adaptive, Verdict::Keep));
    context.parent = Some(Parent::new(TraceId::new(1).unwrap(), true));
    assert_eq!(decide(&sampler, &context).verdict, Verdict::LocalTail);
    assert_eq!(sampler.stats().parent_capped_total, 2);
}

#[test]
fn what_a_caller_chose_stays_chosen_when_its_bucket_is_empty() {
    let sampler = sampler(|config| {
        *config = SamplerConfig::fixed_rate(0.5);
        config.parent_per_second = 0;
    });
    let own = Threshold::from_rate(0.5).unwrap();
    let stricter = Threshold::from_rate(0.1).unwrap();
    let laxer = Threshold::from_rate(0.9).unwrap();
    let mut context = SampleContext::child_of(parent(true));
    let with = |context: &SampleContext, threshold| {
        let mut context = *context;
        context.parent.as_mut().unwrap().threshold = threshold;
        decide(&sampler, &context)
    };
    let strict = with(&context, Some(stricter));
    assert_eq!(strict.odds, Odds::from_threshold(stricter), "only these came here sampled");
    assert_eq!(strict.propagate, Propagate::Sampled { threshold: Some(stricter) });
    assert_eq!(with(&context, Some(laxer)).odds, Odds::from_threshold(own));
    let unknown = with(&context, None);
    assert_eq!((unknown.verdict, unknown.odds), (Verdict::Keep, Odds::UNKNOWN));
    assert_eq!(unknown.propagate, Propagate::Sampled { threshold: None }, "no th can be true");
    assert_eq!(unknown.threshold, Some(own));
    let middle = Randomness::from_low_bits(1 << 54);
    context.parent.as_mut().unwrap().explicit_randomness = Some(middle);
    assert_eq!(with(&context, Some(laxer)).verdict, Verdict::LocalTail);
}

#[test]
fn a_caller_without_the_random_flag_is_believed_and_counted() {
    let sampler = sampler(|_| {});
    let mut context = SampleContext::child_of(parent(true));
    decide(&sampler, &context);
    assert_eq!(sampler.stats().parent_not_random_total, 0);
    context.parent.as_mut().unwrap().random = false;
    assert_eq!(decide(&sampler, &context).reason, Reason::ParentSampled);
    assert_eq!(sampler.stats().parent_not_random_total, 1);
}

#[test]
fn a_decision_says_the_threshold_that_it_compared_kept_or_not() {
    let sampler = Sampler::new(SamplerConfig::fixed_rate(0.25)).unwrap();
    let quarter = Threshold::from_rate(0.25);
    let low = sampler.decide_at(&SampleContext::root(), Randomness::from_low_bits(0), || NOW_NS);
    assert_eq!((low.verdict, low.threshold), (Verdict::LocalTail, quarter));
    assert_eq!(decide(&sampler, &SampleContext::root()).threshold, quarter);
    let unsampled = decide(&sampler, &SampleContext::child_of(parent(false)));
    assert_eq!(unsampled.threshold, None, "nothing was compared");
}

/// The rules are a function: asked again, whatever was asked between, they say the same.
#[test]
fn equal_questions_have_equal_answers_and_only_the_buckets_remember() {
    let sampler = sampler(|_| {});
    let rules = sampler.rules();
    let take = |_| Take::Certain;
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..2000 {
        let mut context = SampleContext::root();
        context.force = rng.u8(..4) == 0;
        context.priority = *rng.choice(&[Priority::High, Priority::Normal, Priority::Low]).unwrap();
        context.custom_rate = rng.bool().then(|| rng.f64() * 1.2 - 0.1);
        if rng.bool() {
            let mut parent = Parent::new(TraceId::new(rng.u128(1..)).unwrap(), rng.bool());
            parent.threshold = rng.bool().then(|| Threshold::new(rng.u64(..1 << 56)).unwrap());
            context.parent = Some(parent);
        }
        let randomness = context.parent.map_or(RANDOM, |parent| parent.randomness());
        let decision = rules::head(&rules, &context, randomness, take);
        assert_eq!(rules::head(&rules, &context, randomness, take), decision);
        // What is told to others is never more than what is known.
        match (decision.verdict, decision.propagate) {
            (Verdict::Keep, Propagate::Sampled { threshold }) => {
                assert!(threshold.is_none_or(|threshold| threshold.keeps(randomness)));
                assert!(decision.odds.threshold().is_none_or(|own| Some(own) == threshold));
            }
            (Verdict::LocalTail, told) => assert_eq!(told, Propagate::Unsampled),
            other => panic!("{other:?} of {context:?}"),
        }
    }
}

#[test]
fn custom_rates_decide_from_zero_to_one_and_others_are_ignored_and_counted() {
    let sampler = sampler(|_| {});
    let with = |rate| decide(&sampler, &SampleContext::root().with_custom_rate(rate));
    assert_eq!((with(1.0).verdict, with(1.0).odds.weight()), (Verdict::Keep, Some(1.0)));
    assert_eq!((with(0.0).verdict, with(0.0).reason), (Verdict::LocalTail, Reason::CustomRate));
    assert_eq!(with(0.5).odds.threshold(), Threshold::from_rate(0.5));
    for rate in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert_eq!(with(rate).reason, Reason::Adaptive, "{rate}");
    }
    assert_eq!(sampler.stats().custom_rate_ignored_total, 4);
}

#[test]
fn priorities_move_the_rate_tenfold_within_the_bounds() {
    let threshold = |sampler: &Sampler, priority| {
        decide(sampler, &SampleContext::root().with_priority(priority)).odds.threshold()
    };
    let free = sampler(|config| config.base_rate = 0.005);
    assert_eq!(threshold(&free, Priority::High), Threshold::from_rate(0.05));
    assert_eq!(threshold(&free, Priority::Normal), Threshold::from_rate(0.005));
    assert_eq!(threshold(&free, Priority::Low), Threshold::from_rate(0.0005));
    let held = sampler(|config| (config.min_rate, config.max_rate) = (0.008, 0.02));
    assert_eq!(threshold(&held, Priority::High), Threshold::from_rate(0.02));
    assert_eq!(threshold(&held, Priority::Low), Threshold::from_rate(0.008));
    let all = Sampler::new(SamplerConfig::fixed_rate(1.0)).unwrap();
    assert_eq!(threshold(&all, Priority::High), Some(Threshold::ALWAYS));
    let none = Sampler::new(SamplerConfig::fixed_rate(0.0)).unwrap();
    let high = decide(&none, &SampleContext::root().with_priority(Priority::High));
    assert_eq!(high.verdict, Verdict::LocalTail);
}

#[test]
fn an_error_storm_is_capped_counted_and_marked() {
    let sampler = sampler(|config| (config.error_per_second, config.slow_threshold) = (5, None));
    let storm = Outcome::new(true, Duration::ZERO);
    let kept = (0..1000).filter_map(|_| sampler.decide_tail(&storm, false, NOW_NS)).count();
    let later_ns = NOW_NS + 300_000_000;
    let lucky = sampler.decide_tail(&storm, false, later_ns).unwrap();
    assert_eq!((kept, lucky.odds), (5, Odds::UNKNOWN));
    let stats = sampler.stats();
    assert_eq!((stats.error_operations_total, stats.error_kept_total), (1001, 6));
    assert_eq!(stats.error_capped_total, 995);
}

#[test]
fn an_error_that_the_head_kept_stands_for_itself_and_takes_no_token() {
    let sampler = sampler(|config| config.error_per_second = 1);
    let kept = Outcome::new(true, Duration::ZERO).of_kept();
    for _ in 0..10 {
        let sampled = sampler.decide_tail(&kept, false, NOW_NS).unwrap();
        assert_eq!((sampled.reason, sampled.odds), (Reason::Error, Odds::CERTAIN));
    }
    let storm = Outcome::new(true, Duration::ZERO);
    assert!(sampler.decide_tail(&storm, false, NOW_NS).is_some(), "its token is still there");
    assert!(sampler.decide_tail(&storm, false, NOW_NS).is_none());
    assert_eq!(sampler.decide_tail(&kept, false, NOW_NS), None, "the head's odds stay");
}

#[test]
fn without_a_slow_rule_nothing_is_slow() {
    let sampler = sampler(|config| config.slow_threshold = None);
    assert_eq!(sampler.decide_end(&Outcome::new(false, Duration::MAX)), None);
    let (start, end) = (Ticks::from_raw(0), Ticks::from_raw(u64::MAX - 1));
    assert_eq!(sampler.decide_end_between(false, start, end, false), None);
}

#[test]
fn an_end_given_in_ticks_is_judged_as_one_given_as_a_duration() {
    fastrand::seed(5);
    let sampler = sampler(|config| config.slow_per_second = u32::MAX);
    let clock = Clock::new();
    let threshold_ns = 100_000_000;
    let start = clock.now();
    // Ticks around the threshold, found by bisection, and others far from it.
    let (mut below, mut above) = (0, 1 << 40);
    while above - below > 1 {
        let middle = (below + above) / 2;
        let end = Ticks::from_raw(start.get() + middle);
        let slow = clock.elapsed_ns(start, end) >= threshold_ns;
        if slow { above = middle } else { below = middle }
    }
    let near = (0..2000).map(|step| above - 1000 + step);
    let far = (0..2000).map(|_| fastrand::u64(..1 << 40));
    for ticks in near.chain(far).chain([0]) {
        let end = Ticks::from_raw(start.get() + ticks);
        let kept = sampler.decide_end_between(false, start, end, false).is_some();
        assert_eq!(kept, clock.elapsed_ns(start, end) >= threshold_ns, "{ticks} ticks");
    }
    let failed = sampler.decide_end_between(true, start, start, false).unwrap();
    assert_eq!((failed.reason, failed.odds), (Reason::Error, Odds::CERTAIN));
    assert_eq!(sampler.decide_end_between(false, start, Ticks::from_raw(0), false), None);
    sampler.set_enabled(false);
    assert_eq!(sampler.decide_end_between(true, start, start, false), None);
}

#[test]
fn roots_are_kept_at_the_rate_with_ids_that_agree() {
    fastrand::seed(11);
    let sampler = sampler(|config| config.adaptive = false);
    let decisions: Vec<Decision> =
        (0..200_000).map(|_| sampler.decide(&SampleContext::root())).collect();
    let kept: Vec<&Decision> = decisions.iter().filter(|d| d.verdict == Verdict::Keep).collect();
    let off = kept.len() as f64 - 2000.0;
    assert!(off.abs() < 4.0 * f64::sqrt(1980.0), "{} kept", kept.len());
    for decision in kept {
        let trace_id = decision.new_trace_id();
        assert!(decision.odds.threshold().unwrap().keeps(trace_id.randomness()));
    }
    assert_eq!(sampler.stats().samples_total, 200_000);
}

#[test]
fn bad_settings_change_nothing_while_good_ones_apply_at_once() {
    let sampler = sampler(|_| {});
    let mut config = sampler.config();
    config.base_rate = 7.0;
    assert!(sampler.reconfigure(config.clone()).is_err());
    assert_eq!((sampler.rate(), sampler.config()), (0.01, SamplerConfig::default()));
    config.base_rate = 0.1;
    sampler.reconfigure(config.clone()).unwrap();
    assert_eq!((sampler.rate(), sampler.config()), (0.1, config));
}

#[test]
fn changes_made_one_by_one_at_once_by_many_threads_are_all_there() {
    let sampler = sampler(|_| {});
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    sampler.update(|config| config.force_per_second += 1).unwrap();
                }
            });
        }
    });
    assert_eq!(sampler.config().force_per_second, 10 + 1000);
    assert!(sampler.update(|config| config.max_rate = 3.0).is_err());
    assert_eq!(sampler.config().max_rate, 0.1);
}

#[test]
fn budgets_and_thresholds_change_while_running() {
    let sampler = sampler(|config| config.error_per_second = 0);
    let error = Outcome::new(true, Duration::from_millis(50));
    assert_eq!(sampler.decide_end(&error), None);
    sampler.update(|config| config.error_per_second = 1).unwrap();
    assert_eq!(sampler.decide_end(&error).unwrap().reason, Reason::Error);
    let slow = Outcome::new(false, Duration::from_millis(50));
    assert_eq!(sampler.decide_end(&slow), None);
    sampler.update(|config| config.slow_threshold = Some(Duration::from_millis(50))).unwrap();
    assert_eq!(sampler.decide_end(&slow).unwrap().reason, Reason::Slow);
    sampler.update(|config| config.force_per_second = 0).unwrap();
    assert_ne!(sampler.decide(&SampleContext::root().forced()).reason, Reason::Force);
}

#[test]
fn settings_that_keep_the_base_rate_keep_the_controllers_rate() {
    let sampler = sampler(|_| {});
    let input = ControlInput::new(10_000, 1_000_000, Duration::from_secs(1));
    let rate = sampler.control_step(&input);
    assert!(rate < 0.01);
    let mut config = sampler.config();
    config.force_per_second = 1;
    sampler.reconfigure(config.clone()).unwrap();
    assert_eq!(sampler.rate(), rate);
    config.adaptive = false;
    sampler.reconfigure(config).unwrap();
    assert_eq!(sampler.control_step(&input), 0.01, "a strict rate does not move");
}

#[test]
fn a_step_of_the_controller_stops_countdowns_only_if_the_rate_moved() {
    let sampler = Arc::new(sampler(|_| {}));
    let local = sampler.local();
    let on_budget = ControlInput::new(1000, 100_000, Duration::from_secs(1));
    let (before, after) = (sampler.rate(), sampler.control_step(&on_budget));
    assert_eq!((after, local.has_news()), (before, false));
    let busy = ControlInput::new(10_000, 1_000_000, Duration::from_secs(1));
    assert!(sampler.control_step(&busy) < before && local.has_news());
}

/// After an idle night a burst offered 59,877 spans in its first second, against a budget of 1,000.
#[test]
#[allow(clippy::print_stdout)] // the seed, for whoever sees it fail
fn a_burst_is_braked_within_its_first_spans_and_its_weights_add_up() {
    let seed = std::env::var("NG_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("NG_SEED={seed}");
    let sampler = Arc::new(sampler(|config| config.base_rate = 0.1));
    let mut local = sampler.local_with_seed(seed);
    // A step of the owner, so that there is somebody to raise the rate again.
    sampler.control_step(&ControlInput::new(0, 0, Duration::from_millis(100)));
    let (clock, ops) = (Clock::new(), 20_000_000u64);
    let start = clock.now();
    let (mut kept, mut weights, mut variance, mut unknown) = (0u64, 0.0, 0.0, 0);
    for _ in 0..ops {
        let Some(sampled) = local.arrive() else { continue };
        kept += 1;
        let Some(weight) = sampled.weight() else {
            unknown += 1;
            continue;
        };
        weights += weight;
        variance += (weight - 1.0) * weight;
    }
    let seconds = clock.elapsed(start, clock.now()).as_secs_f64();
    let stats = sampler.stats();
    assert!(stats.brakes_total > 0 && sampler.rate() < 0.1, "{stats:?}");
    // The ceiling, which holds whatever the brake does: one second's worth, and what came back.
    assert!(kept as f64 <= 2016.0 * (1.0 + seconds) + 1.0, "{kept} in {seconds} s");
    assert_eq!(unknown, 0, "{} refused", stats.samples_capped_total);
    let off = (weights - ops as f64) / f64::sqrt(variance);
    assert!(off.abs() < 5.0, "{weights} for {ops}, {off:.1} sigma");
}

/// Without an owner that steps there is no brake; the ceiling refuses, and what it lets through in
/// the same second has no weight, for nobody knows how many like it were refused.
#[test]
fn what_the_ceiling_refuses_is_counted_and_what_it_thins_has_no_weight() {
    let sampler = Arc::new(sampler(|config| {
        (config.base_rate, config.max_rate, config.spans_per_second) = (1.0, 1.0, 100);
    }));
    let mut local = sampler.local_with_seed(1);
    let ops = 100_000;
    let sampled: Vec<Sampled> = (0..ops).filter_map(|_| local.arrive()).collect();
    let decided = (0..ops).map(|_| sampler.decide(&SampleContext::root()));
    let decided: Vec<Decision> = decided.filter(|d| d.verdict == Verdict::Keep).collect();
    local.refresh();
    let stats = sampler.stats();
    let kept = (sampled.len() + decided.len()) as u64;
    assert_eq!((stats.samples_recorded_total, stats.samples_total), (kept, 2 * ops));
    assert_eq!(stats.samples_capped_total, 2 * ops - kept);
    let known = sampled.iter().filter(|sampled| sampled.weight().is_some()).count();
    assert_eq!(known, 216, "a second's worth, before the first was refused");
    for decision in decided {
        assert_eq!(
            (decision.odds, decision.propagate),
            (Odds::UNKNOWN, Propagate::Sampled { threshold: None })
        );
    }
    // A strict rate has no ceiling, and an operation that was forced one of its own.
    let forced = sampler.decide(&SampleContext::root().forced());
    assert_eq!((forced.verdict, forced.reason), (Verdict::Keep, Reason::Force));
    sampler.reconfigure(SamplerConfig::fixed_rate(1.0)).unwrap();
    assert!(
        (0..10_000).all(|_| local.arrive().is_some_and(|sampled| sampled.weight() == Some(1.0)))
    );
}

/// What a thread does while another has put a rate into force and not rung yet, over and over: its
/// operations are decided by the old rate or by the new one, each of them wholly.
#[test]
#[allow(clippy::print_stdout)] // the seed, for whoever sees it fail
fn weights_add_up_though_a_change_is_in_force_before_it_is_heard_of() {
    let seed = std::env::var("NG_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("NG_SEED={seed}");
    let sampler = Arc::new(sampler(|config| *config = SamplerConfig::fixed_rate(0.5)));
    let mut asking = sampler.local_with_seed(seed);
    let mut scheduling = sampler.local_with_seed(seed + 1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut weights, mut of_gaps, mut ops, mut variance) = (0.0, 0.0, 0.0, 0.0);
    let mut gap = scheduling.gap();
    for round in 0..40_000 {
        let rate = [0.5, 0.02, 0.1, 1.0, 0.01][round % 5];
        {
            let mut control = sampler.control.lock();
            control.config = SamplerConfig::fixed_rate(rate);
            control.rate = rate;
            sampler.put_into_force(&control);
        }
        let before = rng.u32(0..100);
        for op in 0..before + 20 {
            if op == before {
                sampler.ring();
            }
            weights += asking.arrive().map_or(0.0, |sampled| sampled.weight().unwrap());
            // Told only after ten more.
            if op == before + 10 {
                scheduling.refresh();
                gap = scheduling.gap();
            }
            if gap == 0 {
                let sampled = scheduling.arrive_as_drawn();
                of_gaps += sampled.map_or(0.0, |sampled| sampled.weight().unwrap());
                gap = scheduling.gap();
            } else {
                gap -= 1;
                scheduling.advance(1);
            }
        }
        ops += f64::from(before + 20);
        variance += f64::from(before + 20) * 99.0;
    }
    for (who, weights) in [("asking", weights), ("scheduling", of_gaps)] {
        let off = (weights - ops) / f64::sqrt(variance);
        assert!(off.abs() < 4.0, "{who}: {weights} for {ops}, {off:.1} sigma");
    }
}
