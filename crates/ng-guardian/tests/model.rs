//! No false refusal and none missed, in more than ten million decisions by eight threads, judged
//! afterwards from what each call could have seen between its begin and its end.

#![allow(clippy::print_stdout, reason = "a random test prints its seed")]

#[path = "holder/sessions.rs"]
mod sessions;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use ng_guardian::Limits;
use sessions::{Session, Store};

#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    Admitted,
    Refused,
    Deleted,
    Limit(u64),
}

/// One call, with the moments before it began and after it ended.
#[derive(Clone, Copy)]
struct Call {
    begin: usize,
    end: usize,
    what: What,
}

/// What the calls could have seen at each moment: use at most and at least, limit likewise.
struct Bounds {
    used_max: Vec<i64>,
    used_min: Vec<i64>,
    limit_max: Vec<i64>,
    limit_min: Vec<i64>,
}

impl Bounds {
    fn of(calls: &[Call], first_limit: u64) -> Self {
        let moments = calls.iter().map(|call| call.end).max().map_or(0, |last| last + 2);
        let (mut used_max, mut used_min) = (vec![0; moments], vec![0; moments]);
        let mut limits: Vec<(&Call, u64)> = Vec::new();
        for call in calls {
            match call.what {
                What::Admitted => {
                    used_max[call.begin] += 1; // earliest
                    used_min[call.end + 1] += 1; // latest
                }
                What::Deleted => {
                    used_max[call.end + 1] -= 1;
                    used_min[call.begin] -= 1;
                }
                What::Limit(limit) => limits.push((call, limit)),
                What::Refused => {}
            }
        }
        for used in [&mut used_max, &mut used_min] {
            let mut sum = 0;
            for value in used {
                sum += *value;
                *value = sum;
            }
        }
        let mut limit_max = vec![first_limit as i64; moments];
        let mut limit_min = limit_max.clone();
        limits.sort_by_key(|(call, _)| call.begin); // one thread changes them: no two overlap
        for (call, limit) in limits {
            let (old, new) = (limit_max[call.begin], limit as i64);
            limit_max[call.begin..=call.end].fill(old.max(new));
            limit_min[call.begin..=call.end].fill(old.min(new));
            limit_max[call.end + 1..].fill(new);
            limit_min[call.end + 1..].fill(new);
        }
        Self { used_max, used_min, limit_max, limit_min }
    }

    /// Refused though at no moment of the call everything could have been taken.
    fn is_false_refusal(&self, call: &Call) -> bool {
        call.what == What::Refused
            && (call.begin..=call.end).all(|at| self.used_max[at] < self.limit_min[at])
    }

    /// Admitted though at each moment of the call everything was taken.
    fn is_missed_refusal(&self, call: &Call) -> bool {
        call.what == What::Admitted
            && (call.begin..=call.end).all(|at| self.used_min[at] >= self.limit_max[at])
    }
}

#[test]
fn the_judge_knows_a_false_and_a_missed_refusal() {
    let call = |begin, end, what| Call { begin, end, what };
    let calls = [
        call(0, 1, What::Admitted),
        call(2, 3, What::Refused), // limit 2, one in use: false
        call(4, 7, What::Refused), // overlaps an admission that fills it: right
        call(5, 6, What::Admitted),
        call(8, 9, What::Admitted),   // two in use: missed
        call(10, 11, What::Limit(4)), // three in use
        call(12, 13, What::Refused),  // false
        call(14, 15, What::Admitted),
    ];
    let bounds = Bounds::of(&calls, 2);
    let found = |judge: fn(&Bounds, &Call) -> bool| -> Vec<usize> {
        calls.iter().filter(|call| judge(&bounds, call)).map(|call| call.begin).collect()
    };
    assert_eq!(found(Bounds::is_false_refusal), [2, 12]);
    assert_eq!(found(Bounds::is_missed_refusal), [8]);
}

const THREADS: usize = 8;
const LIMIT: u64 = 3_000;

fn seed() -> u64 {
    let seed = std::env::var("NG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    seed
}

/// Moments of the run, and what happened between them.
#[derive(Default)]
struct Clock(AtomicU64);

impl Clock {
    fn time<R>(&self, calls: &mut Vec<Call>, run: impl FnOnce() -> (What, R)) -> R {
        let begin = self.0.fetch_add(1, SeqCst) as usize;
        let (what, result) = run();
        let end = self.0.fetch_add(1, SeqCst) as usize;
        calls.push(Call { begin, end, what });
        result
    }
}

/// One thread's work: phases of growing, of shrinking and of doing nothing with a full lease. Its
/// session ends now and then, or the thread dies with it; what they created lives on.
struct Worker<'a> {
    store: &'a Store,
    clock: &'a Clock,
    random: fastrand::Rng,
    calls: Vec<Call>,
    live: u64,
    decided: usize,
}

impl<'a> Worker<'a> {
    fn new(store: &'a Store, clock: &'a Clock, decisions: usize, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { store, clock, random, calls: Vec::with_capacity(2 * decisions), live: 0, decided: 0 }
    }

    fn work(mut self, decisions: usize) -> Vec<Call> {
        while self.decided < decisions {
            thread::scope(|scope| {
                let life = scope.spawn(|| self.live_until_death(decisions));
                // The panic of a thread that dies is no failure, an assertion's is.
                if let Err(panic) = life.join()
                    && !panic.is::<Death>()
                {
                    std::panic::resume_unwind(panic);
                }
            });
        }
        self.calls
    }

    fn live_until_death(&mut self, decisions: usize) {
        let mut session = self.store.session();
        while self.decided < decisions {
            let creates_percent = self.random.u8(10..=90);
            for _ in 0..self.random.u32(1..2_000) {
                self.step(&mut session, creates_percent);
            }
            match self.random.u8(0..30) {
                0..3 => session = self.store.session(),
                3..6 => (0..200).for_each(|_| thread::yield_now()),
                // No message on the terminal; the session is dropped by the unwinding.
                6 => std::panic::resume_unwind(Box::new(Death)),
                // Never dropped: its credits stay idle until somebody asks.
                7 => std::mem::forget(std::mem::replace(&mut session, self.store.session())),
                _ => {}
            }
        }
    }

    fn step(&mut self, session: &mut Session, creates_percent: u8) {
        if self.random.u8(0..100) < creates_percent {
            self.decided += 1;
            self.live += self.clock.time(&mut self.calls, || match session.create() {
                Ok(()) => (What::Admitted, 1),
                Err(_) => (What::Refused, 0),
            });
        } else if self.live > 0 {
            self.live -= 1;
            self.clock.time(&mut self.calls, || (What::Deleted, session.delete()));
        }
    }
}

/// What a thread dies of on purpose.
struct Death;

/// Returns how many decisions there were, and credits recalled.
fn judge(store: &Store, calls: &[Call]) -> (usize, u64) {
    let bounds = Bounds::of(calls, LIMIT);
    let count = |what| calls.iter().filter(|call| call.what == what).count();
    let (admitted, refused) = (count(What::Admitted), count(What::Refused));
    let stats = store.guardian.stats();
    let recalled = stats.recalled_credits_total;
    println!("{admitted} admitted, {refused} refused, {recalled} recalled");
    assert!(refused > 1_000, "a run that hardly refuses proves nothing");
    assert_eq!(stats.refusals_tokens_total, refused as u64);
    assert_eq!(calls.iter().filter(|call| bounds.is_false_refusal(call)).count(), 0);
    assert_eq!(calls.iter().filter(|call| bounds.is_missed_refusal(call)).count(), 0);
    // All sessions are gone or forgotten: what is out once those are recalled is what lives.
    store.guardian.recall_idle();
    let used = store.guardian.stats().tokens_used as usize;
    assert_eq!(used, admitted - count(What::Deleted));
    (admitted + refused, recalled)
}

fn run_threads(store: &Store, clock: &Clock, decisions: usize, seed: u64) -> Vec<Call> {
    thread::scope(|scope| {
        let spawn = |thread| {
            let worker = Worker::new(store, clock, decisions, seed ^ thread);
            scope.spawn(move || worker.work(decisions))
        };
        let threads: Vec<_> = (0..THREADS as u64).map(spawn).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn under_one_limit_there_is_no_false_and_no_missed_refusal() {
    let (seed, mut recalled, mut round) = (seed(), 0, 0);
    // How often a thread finds others idle is up to the machine.
    while recalled <= RECALLED_MIN {
        assert!(round < 20, "runs that hardly recall prove nothing: {recalled} in {round}");
        let (store, clock) = (Store::new(LIMIT), Clock::default());
        let calls = run_threads(&store, &clock, 60_000, seed.wrapping_add(round << 8));
        recalled += judge(&store, &calls).1;
        round += 1;
    }
}

/// Credits that a test has to see recalled.
const RECALLED_MIN: u64 = 100;

/// Decisions that all rounds together make at least.
const DECISIONS_MIN: usize = 10_000_000;

#[test]
fn ten_million_decisions_under_limits_that_change_meanwhile_have_no_false_and_no_missed_refusal() {
    let seed = seed();
    let (mut decisions, mut round) = (0, 0);
    while decisions < DECISIONS_MIN {
        // Rounds, because a million calls are as many as can be judged in a few hundred megabytes.
        decisions += changing_limits(seed.wrapping_add(round << 8));
        round += 1;
    }
}

fn changing_limits(seed: u64) -> usize {
    let (store, clock) = (Store::new(LIMIT), Clock::default());
    let done = AtomicBool::new(false);
    let calls = thread::scope(|scope| {
        let changer = scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(!seed);
            let mut calls = Vec::new();
            while !done.load(SeqCst) {
                let limit = random.u64(0..2 * LIMIT);
                let limits = Limits { max_tokens: Some(limit), max_memory_bytes: None };
                clock.time(&mut calls, || (What::Limit(limit), store.guardian.set_limits(limits)));
                // Let some thousand operations pass.
                let until = clock.0.load(SeqCst) + 20_000;
                while clock.0.load(SeqCst) < until && !done.load(SeqCst) {
                    thread::yield_now();
                }
            }
            calls
        });
        let mut calls = run_threads(&store, &clock, 100_000, seed);
        done.store(true, SeqCst);
        let changes = changer.join().expect("no panic");
        assert!(changes.len() > 10, "only {} changes", changes.len());
        calls.extend(changes);
        calls
    });
    let (decisions, recalled) = judge(&store, &calls);
    assert!(recalled > RECALLED_MIN, "a run that hardly recalls proves nothing");
    decisions
}
