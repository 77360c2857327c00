//! Bursts and what comes after a spike, in real time: the rate is back soon, and each burst gets spans. Judged by counts.
#![allow(clippy::print_stdout)] // the counts, for whoever sees a test fail

use ng_trace::{ControlInput, LocalSampler, Sampler, SamplerConfig};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

/// The owner's, as a store has it.
const STEP: Duration = Duration::from_millis(100);

fn wait(time: Duration) {
    let (_never, wait) = channel::<()>();
    let _ = wait.recv_timeout(time);
}

/// Runs `work` beside an owner that steps; `work` gets the count of its steps.
fn with_owner<T>(sampler: &Sampler, work: impl FnOnce(&AtomicU64) -> T) -> T {
    let (steps, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut last, mut before) = (Instant::now(), 0);
            while !stop.load(Relaxed) {
                wait(STEP);
                let (now, stats) = (Instant::now(), sampler.stats());
                let offered = stats.samples_recorded_total + stats.samples_capped_total;
                let input = ControlInput::new(offered - before, 0, now - last);
                sampler.control_step(&input.with_sampled(offered - before));
                (last, before) = (now, offered);
                steps.fetch_add(1, Relaxed);
            }
        });
        let result = work(&steps);
        stop.store(true, Relaxed);
        result
    })
}

fn wait_for(steps: &AtomicU64, more: u64) {
    let until = steps.load(Relaxed) + more;
    while steps.load(Relaxed) < until {
        wait(STEP / 10);
    }
}

/// What the spans of some operations say.
#[derive(Default)]
struct Kept {
    spans: u64,
    weights: f64,
    variance: f64,
    unknown: u64,
}

impl Kept {
    fn run(&mut self, local: &mut LocalSampler, ops: u64) {
        for sampled in (0..ops).filter_map(|_| local.arrive()) {
            self.spans += 1;
            let Some(weight) = sampled.weight() else {
                self.unknown += 1;
                continue;
            };
            self.weights += weight;
            self.variance += (weight - 1.0) * weight;
        }
    }
}

/// Bursts of 200,000 operations each 5 s got 44 spans a second: the rate that the brake left came back too
/// slowly. Here they come each 2 s.
#[test]
fn each_burst_gets_hundreds_of_spans_and_the_weights_add_up() {
    const BURSTS: u64 = 3;
    const OPS: u64 = 200_000;
    let sampler = Arc::new(Sampler::new(SamplerConfig::default()).unwrap());
    let mut kept = Kept::default();
    with_owner(&sampler, |steps| {
        let mut local = sampler.local();
        for _ in 0..BURSTS {
            wait_for(steps, 20);
            let before = kept.spans;
            kept.run(&mut local, OPS);
            println!("{} spans, rate {}", kept.spans - before, sampler.rate());
        }
    });
    // 1,200 each; 500 in the first and a tenth of that in the others, if the rate does not come back.
    assert!(kept.spans >= BURSTS * 500, "{} spans", kept.spans);
    assert!(kept.spans <= BURSTS * 3000, "{} spans", kept.spans);
    assert_eq!(kept.unknown, 0, "the ceiling is behind the brake");
    let off = (kept.weights - (BURSTS * OPS) as f64) / kept.variance.sqrt();
    assert!(off.abs() < 6.0, "weights of {}, {off:+.1} sigma", kept.weights);
}

/// After a spike 94 operations a second had no span in 5 s, and then few for ten more.
#[test]
fn after_a_spike_a_quiet_thread_is_sampled_again_at_the_highest_rate() {
    let sampler = Arc::new(Sampler::new(SamplerConfig::default()).unwrap());
    let (mut spike, mut quiet) = (Kept::default(), Kept::default());
    with_owner(&sampler, |steps| {
        let mut local = sampler.local();
        wait_for(steps, 5);
        let until = steps.load(Relaxed) + 15;
        while steps.load(Relaxed) < until {
            spike.run(&mut local, 10_000);
        }
        println!("spike: {} spans, rate {}", spike.spans, sampler.rate());
        for _ in 0..400 {
            quiet.run(&mut local, 1);
            wait(Duration::from_millis(10));
        }
    });
    println!("after: {} spans, rate {}", quiet.spans, sampler.rate());
    // A tenth of all but the first second's.
    assert!(quiet.spans >= 8, "{} spans of 400 operations, rate {}", quiet.spans, sampler.rate());
    assert!(sampler.rate() >= 0.05, "{}", sampler.rate());
}
