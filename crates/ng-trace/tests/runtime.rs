//! A change while running is obeyed by the first operation begun 100 ms after it, on each thread: at one operation a second, at ten, and at as many millions as the machine has.
//!
//! Threads pace themselves by waiting for their stop until the next operation is due. Of each
//! operation the thread notes when it began and what was decided; the judgement comes afterwards,
//! so a slow machine makes the test longer but not red.

use ng_trace::{LocalSampler, Outcome, SampleContext, Sampler, SamplerConfig, Verdict};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

const OBEYED_WITHIN: Duration = Duration::from_millis(100);

/// Rate 0 keeps nothing and rate 1 all: so each single operation shows which it obeyed.
const OFF: f64 = 0.0;
const ON: f64 = 1.0;

fn fixed(rate: f64) -> SamplerConfig {
    SamplerConfig::fixed_rate(rate)
}

/// One operation as its thread saw it.
struct Seen {
    began: Instant,
    decided: Instant,
    kept: bool,
}

/// A change as its maker saw it.
struct Change {
    called: Instant,
    returned: Instant,
    rate: f64,
}

/// A thread that does an operation each `interval`.
struct Paced {
    stop: Sender<()>,
    thread: thread::JoinHandle<Vec<Seen>>,
}

impl Paced {
    fn start(mut local: LocalSampler, interval: Duration, told: Sender<()>) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut seen = Vec::new();
            loop {
                let began = Instant::now();
                let kept = local.next();
                seen.push(Seen { began, decided: Instant::now(), kept });
                let _ = told.send(());
                let due = began + interval;
                match stopped.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return seen,
                }
            }
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<Seen> {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

fn wait_for(operations: usize, told: &Receiver<()>) {
    for _ in 0..operations {
        told.recv().unwrap();
    }
}

/// Each operation that began well after the newest change it can have seen did as that says.
/// Returns how many were judged.
fn judge(seen: &[Seen], changes: &[Change]) -> usize {
    let mut judged = 0;
    for Seen { began, decided, kept } in seen {
        let newest = changes.iter().rfind(|change| change.called <= *decided);
        let rate = newest.map_or(OFF, |change| change.rate);
        if newest.is_none_or(|change| change.returned + OBEYED_WITHIN <= *began) {
            let after = newest.map(|change| *began - change.returned);
            assert_eq!(*kept, rate == ON, "an operation begun {after:?} after the change");
            judged += 1;
        }
    }
    judged
}

/// `operations` a stretch, the rate switched between them.
fn paced_threads_obey(interval: Duration, operations: usize, changes: usize) {
    let sampler = Arc::new(Sampler::new(fixed(OFF)).unwrap());
    let (told, tells) = channel();
    let thread = Paced::start(sampler.local(), interval, told);
    wait_for(operations, &tells);
    let mut changed = Vec::new();
    for change in 0..changes {
        let rate = if change % 2 == 0 { ON } else { OFF };
        let called = Instant::now();
        sampler.reconfigure(fixed(rate)).unwrap();
        changed.push(Change { called, returned: Instant::now(), rate });
        wait_for(operations, &tells);
    }
    let seen = thread.finish();
    let judged = judge(&seen, &changed);
    assert!(judged > changes, "judged {judged} of {} operations", seen.len());
}

#[test]
fn at_one_operation_a_second_the_first_one_after_a_change_obeys_it() {
    paced_threads_obey(Duration::from_secs(1), 1, 3);
}

#[test]
fn at_ten_operations_a_second_changes_are_obeyed() {
    paced_threads_obey(Duration::from_millis(100), 4, 4);
}

/// Far more operations than can be noted: each stretch counts how many were kept, and how many were
/// not, since the time at which the newest change must be obeyed.
#[test]
fn at_millions_of_operations_a_second_changes_are_obeyed_on_every_thread() {
    const THREADS: usize = 2;
    let sampler = Arc::new(Sampler::new(fixed(OFF)).unwrap());
    let stop = AtomicBool::new(false);
    let operations = [const { AtomicU64::new(0) }; THREADS];
    // Each thread's kept operations, made visible after every thousand.
    let kept = [const { AtomicU64::new(0) }; THREADS];
    thread::scope(|scope| {
        for (operations, kept) in operations.iter().zip(&kept) {
            let (sampler, stop) = (&sampler, &stop);
            scope.spawn(move || {
                let mut local = sampler.local();
                while !stop.load(Relaxed) {
                    let now = (0..1000).filter(|_| local.next()).count() as u64;
                    kept.fetch_add(now, Relaxed);
                    operations.fetch_add(1000, Relaxed);
                }
            });
        }
        let read = || {
            let pairs = operations.iter().zip(&kept);
            pairs.map(|(all, kept)| (kept.load(Relaxed), all.load(Relaxed))).collect::<Vec<_>>()
        };
        let run_on = |millions: u64| {
            let before = read();
            while read()
                .iter()
                .zip(&before)
                .any(|(now, then)| now.1 - then.1 < millions * 1_000_000)
            {
                thread::yield_now();
            }
        };
        for rate in [ON, OFF, ON, OFF] {
            sampler.reconfigure(fixed(rate)).unwrap();
            let changed = Instant::now();
            while changed.elapsed() < OBEYED_WITHIN {
                thread::yield_now();
            }
            run_on(1); // of what was under way then, nothing is left
            let before = read();
            run_on(3);
            for (now, then) in read().iter().zip(&before) {
                let (kept, all) = (now.0 - then.0, now.1 - then.1);
                // The two are read apart; a thousand may lie between.
                if rate == ON {
                    assert!(kept + 2000 >= all, "{kept} of {all} kept at rate 1");
                } else {
                    assert_eq!(kept, 0, "kept at rate 0, of {all}");
                }
            }
        }
        stop.store(true, Relaxed);
    });
}

/// Stricter than what is promised: what happens after a change was made obeys it, by whatever way
/// the other thread learned of it.
#[test]
fn an_operation_that_follows_a_change_obeys_it_however_soon() {
    let sampler = Arc::new(Sampler::new(fixed(OFF)).unwrap());
    let (ask, asked) = channel::<()>();
    let (answer, answers) = channel();
    let mut local = sampler.local();
    let thread = thread::spawn(move || {
        for () in asked {
            answer.send(local.next()).unwrap();
        }
    });
    for change in 0..20_000 {
        let rate = if change % 3 == 0 { ON } else { OFF };
        sampler.reconfigure(fixed(rate)).unwrap();
        ask.send(()).unwrap();
        assert_eq!(answers.recv().unwrap(), rate == ON, "change {change}");
    }
    drop(ask);
    thread.join().unwrap();
}

#[test]
fn the_kill_switch_thresholds_and_budgets_change_under_running_threads() {
    let sampler = Sampler::new(fixed(ON)).unwrap();
    let slow = Outcome::new(false, Duration::from_millis(20));
    let error = Outcome::new(true, Duration::ZERO);
    let on_another = |check: &(dyn Fn() -> bool + Sync)| {
        thread::scope(|scope| scope.spawn(check).join().unwrap())
    };
    let root_kept = || sampler.decide(&SampleContext::root()).verdict == Verdict::Keep;
    assert!(on_another(&root_kept));
    sampler.set_enabled(false);
    assert!(!on_another(&root_kept));
    assert!(!on_another(&|| sampler.decide_end(&error).is_some()));
    sampler.set_enabled(true);
    assert!(on_another(&root_kept));
    assert!(!on_another(&|| sampler.decide_end(&slow).is_some()));
    sampler.update(|config| config.slow_threshold = Some(Duration::from_millis(20))).unwrap();
    assert!(on_another(&|| sampler.decide_end(&slow).is_some()));
    sampler.update(|config| config.error_per_second = 0).unwrap();
    assert!(!on_another(&|| sampler.decide_end(&error).is_some()));
    sampler.update(|config| config.error_per_second = 10).unwrap();
    assert!(on_another(&|| sampler.decide_end(&error).is_some()));
}
