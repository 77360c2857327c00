//! All short stories, and random long ones.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use ng_wal::sim::CrashPlan;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError, TestError, TestRunner};

use crate::oracle::Looking;
use crate::seed;
use crate::tally::Tally;
use crate::world::{Op, World, config};

/// Distinct images that a full run must see, all sequences together.
const IMAGES: u64 = 300_000;

/// Both tests count here, for they run side by side.
static TALLY: LazyLock<Tally> = LazyLock::new(Tally::default);

/// `NG_IMAGES`, a number or `few`; else everything.
fn images_wanted() -> Option<u64> {
    match std::env::var("NG_IMAGES").ok()?.as_str() {
        "few" => Some(20_000),
        text => text.parse().ok(),
    }
}

fn only() -> Option<(usize, usize)> {
    let text = std::env::var("NG_IMAGE").ok()?;
    let (boundary, index) = text.split_once(':')?;
    Some((boundary.parse().ok()?, index.parse().ok()?))
}

fn looking<'a>(
    schedule: &'static str,
    tally: &'a Tally,
    images_max: usize,
    seed: u64,
) -> Looking<'a> {
    Looking {
        schedule,
        tally,
        plan: CrashPlan { images_max, seed },
        again_each: 4,
        second_each: 16,
        only: only(),
        config: config(),
    }
}

/// Runs a story and judges every crash of it, or only of its last operation.
fn tell(ops: &[Op], seed: u64, last_only: bool, looking: &Looking<'_>) -> Result<(), String> {
    let mut world = World::new(seed, looking.config.clone());
    let told = (|| {
        let new = if last_only { ops.len() - 1 } else { 0 };
        world.run(&ops[..new])?;
        if last_only && new > 0 {
            world.begin_looking();
        }
        world.run(&ops[new..])?;
        world.finish();
        world.legs.iter().try_for_each(|leg| looking.look(leg, &world.lives))
    })();
    told.map_err(|reason| {
        let words: Vec<_> = ops.iter().map(|op| format!("{op:?}").to_lowercase()).collect();
        let again = words.join(" ");
        format!("{reason}\n  again: NG_SEED={seed} NG_OPS=\"{again}\"")
    })
}

/// Every sequence of `length` operations but the power cut, which each image is already.
fn all_of(length: usize) -> Vec<Vec<Op>> {
    let ops = &Op::ALL[..7];
    (0..length).fold(vec![vec![]], |shorter, _| {
        let longer = |story: &Vec<Op>| {
            let story = story.clone();
            ops.iter().map(move |op| [&story[..], &[*op]].concat())
        };
        shorter.iter().flat_map(longer).collect()
    })
}

/// Runs the stories on a few threads (they mostly wait for the log's own), all of them: one fault can
/// break more than one rule, and the first breach of each is told.
fn tell_all(stories: &[Vec<Op>], tell: impl Fn(&[Op], u64) -> Result<(), String> + Sync) {
    let (next, breaches) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let i = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(story) = stories.get(i)
                {
                    if let Err(reason) = tell(story, i as u64) {
                        let rule = reason.split(':').next().unwrap_or_default().to_owned();
                        breaches.lock().unwrap().entry(rule).or_insert(reason);
                    }
                }
            });
        }
    });
    let breaches: Vec<String> = breaches.into_inner().unwrap().into_values().collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
#[allow(clippy::print_stdout)] // the counts are the result
fn each_sequence_of_up_to_three_operations_survives_every_crash() {
    let tally = &*TALLY;
    let seed = seed();
    let images_max = if images_wanted().is_some() { 40 } else { 250 };
    let mut stories: Vec<_> = (1..=3).flat_map(all_of).collect();
    if let Ok(ops) = std::env::var("NG_OPS") {
        stories = vec![ops.split_whitespace().map(|word| Op::parse(word).unwrap()).collect()];
    }
    let one = stories.len() == 1;
    tell_all(&stories, |story, i| {
        let seed = if one { seed } else { seed ^ i };
        tell(story, seed, !one, &looking("up to 3 operations", tally, images_max, seed))
    });
    println!("{tally}");
}

fn long_stories() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => Just(Op::Append),
        4 => Just(Op::Batch),
        3 => Just(Op::Sync),
        1 => Just(Op::Rotate),
        1 => Just(Op::Checkpoint),
        1 => Just(Op::Close),
        1 => Just(Op::Reopen),
        2 => Just(Op::PowerCut),
    ];
    proptest::collection::vec(op, 4..40)
}

#[test]
#[allow(clippy::print_stdout)] // the counts are the result
fn random_sequences_of_up_to_forty_operations_survive_every_crash() {
    let tally = &*TALLY;
    let (seed, wanted) = (seed(), images_wanted().unwrap_or(IMAGES));
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let failed = &failed;
            scope.spawn(move || {
                let enough = || tally.distinct() >= wanted || failed.lock().unwrap().is_some();
                let mut round = 0u64;
                while !enough() {
                    round += 1;
                    let mut runner = TestRunner::new(ProptestConfig {
                        cases: 16,
                        failure_persistence: None,
                        max_shrink_iters: 40,
                        rng_seed: RngSeed::Fixed(seed.wrapping_add(thread + 3 * round)),
                        ..ProptestConfig::default()
                    });
                    let ran = runner.run(&(long_stories(), any::<u64>()), |(ops, seed)| {
                        if enough() {
                            return Ok(());
                        }
                        let looking = looking("random", tally, 40, seed);
                        tell(&ops, seed, false, &looking).map_err(TestCaseError::fail)
                    });
                    if let Err(error) = ran {
                        let reason = match error {
                            TestError::Fail(reason, _) => reason.to_string(),
                            other => other.to_string(),
                        };
                        failed.lock().unwrap().get_or_insert(reason);
                    }
                }
            });
        }
    });
    println!("{tally}");
    if let Some(reason) = failed.into_inner().unwrap() {
        panic!("{reason}");
    }
    assert!(tally.distinct() >= wanted);
    assert!(tally.lossy() * 2 >= tally.distinct(), "most images lost nothing");
}
