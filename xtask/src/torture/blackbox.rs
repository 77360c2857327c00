//! The flight recorder's kill loop: a process that records from three threads as fast as it can is killed with SIGKILL,
//! and another one reads its file. Judged here, from what the first had said before: nothing invented, no hole below the
//! newest event of a lane, all that was acknowledged there or overwritten by newer ones of the same lane, at most one
//! event a writer torn.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use super::{Counts, Outcome, Torture, child::Running};
use crate::workspace::{self, Workspace};

/// Cycles at least, however short the time.
const CYCLES_MIN: u64 = 500;
/// A process needs most of its life to find out how fast the cycle counter runs, and that on one core.
const WORKERS: u64 = 2;
/// A new directory after so many, which in between keeps files of the runs before.
const CYCLES_PER_DIRECTORY: u64 = 50;
/// Time from its first word to the kill, at most.
const KILL_AFTER_MAX: Duration = Duration::from_millis(12);
const PATIENCE: Duration = Duration::from_secs(30);

/// As the child has them.
const THREADS: usize = 3;
const RING_EVENTS: u64 = 1024;
const COUNTED: u64 = 16;
const SHARED_LANE: u64 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cycles: u64,
    acked: u64,
    read: u64,
    torn: u64,
    lost: u64,
    invented: u64,
}

impl Tally {
    fn counts(self) -> Counts {
        Counts(vec![
            ("cycles", self.cycles),
            ("acked", self.acked),
            ("read", self.read),
            ("torn", self.torn),
            ("lost", self.lost),
            ("invented", self.invented),
        ])
    }
}

pub(super) fn run(torture: &Torture) -> (Outcome, Counts) {
    let tally = Mutex::default();
    let outcome = match build().and_then(|program| all(torture, &program, &tally)) {
        Ok(()) => Outcome::Passed(String::new()),
        Err(reason) => Outcome::Failed(reason),
    };
    (outcome, tally.into_inner().unwrap_or_default().counts())
}

/// The program, and a directory for what it writes.
fn build() -> Result<(PathBuf, PathBuf), String> {
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--release", "--locked", "-p", "ng-blackbox"]);
    let status = build.args(["--example", "recorder_child"]).status();
    if !status.is_ok_and(|status| status.success()) {
        return Err("cannot build the example recorder_child of ng-blackbox".into());
    }
    let target = Workspace::load()?.target_dir;
    Ok((target.join("release/examples/recorder_child"), target.join("torture/blackbox")))
}

fn all(
    torture: &Torture,
    (program, scratch): &(PathBuf, PathBuf),
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let begin = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let scratch = scratch.join(worker.to_string());
                scope.spawn(move || cycles(torture, begin, worker, program, &scratch, tally))
            })
            .collect();
        let mut ended = workers.into_iter().map(|worker| worker.join());
        ended.try_for_each(|end| end.unwrap_or_else(|_| Err("the judge panicked".into())))
    })
}

fn cycles(
    torture: &Torture,
    begin: Instant,
    worker: u64,
    program: &Path,
    scratch: &Path,
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(torture.seed.wrapping_add(worker));
    let mut cycle = 0;
    while cycle < CYCLES_MIN.div_ceil(WORKERS) || (torture.all && begin.elapsed() < torture.each) {
        let dir = scratch.join((cycle / CYCLES_PER_DIRECTORY).to_string());
        if cycle % CYCLES_PER_DIRECTORY == 0 {
            let _gone = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        cycle += 1;
        let seed = random.u64(..);
        let words = [dir.display().to_string(), seed.to_string(), "write".into()];
        let running = Running::start(&[&[program.display().to_string()], &words[..]].concat())?;
        running.until_line(PATIENCE)?;
        let after = KILL_AFTER_MAX.mul_f64(random.f64().powi(2));
        let (said, _) = running.killed_after(after)?;
        let file = dir.join("blackbox-current.ngbb");
        let words = [program, &file, Path::new("read")].map(|word| word.display().to_string());
        let (found, status) = Running::start(&words)?.finish()?;
        let told = |reason| format!("cycle {cycle} with {}: {reason}", file.display());
        if !status.success() {
            return Err(told(format!("the reader ended with {status}")));
        }
        let mut own = Tally { cycles: 1, ..Tally::default() };
        let judged = judge(&said, &found, seed, &mut own);
        if let Ok(mut sum) = tally.lock() {
            sum.cycles += 1;
            sum.acked += own.acked;
            sum.read += own.read;
            sum.torn += own.torn;
            sum.lost += own.lost;
            sum.invented += own.invented;
        }
        judged.map_err(told)?;
    }
    Ok(())
}

/// What an event must carry, made anew.
fn expected(seed: u64, thread: u64, n: u64) -> [u64; 4] {
    let check = (n ^ thread << 60 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [thread, n, check, !check]
}

fn numbers(line: &str) -> Option<Vec<u64>> {
    line.split(' ').skip(1).map(|word| word.parse().ok()).collect()
}

fn judge(said: &str, found: &str, seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut acked = [0; THREADS];
    // Its last line may be cut off by its death.
    for line in said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        if let (Some('A'), Some([thread, n])) = (line.chars().next(), numbers(line).as_deref()) {
            *acked.get_mut(*thread as usize).ok_or("an acknowledgement of no thread")? = *n;
        }
    }
    tally.acked += acked.iter().sum::<u64>();
    let mut lanes: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
    let (mut newest, mut latest) = (BTreeMap::new(), [0; THREADS]);
    for line in found.lines() {
        let fields = numbers(line).ok_or_else(|| format!("cannot read {line:?}"))?;
        match (line.chars().next(), &fields[..]) {
            (Some('L'), [lane, _, newest_seq, torn, missing]) if *lane >= SHARED_LANE => {
                let writers = if *lane == SHARED_LANE { THREADS as u64 } else { 1 };
                tally.torn += torn;
                if torn + missing > writers {
                    return Err(format!("lane {lane} has {torn} torn and {missing} missing"));
                }
                newest.insert(*lane, *newest_seq);
            }
            (Some('E'), [lane, seq, kind, event @ ..]) if *lane >= SHARED_LANE => {
                tally.read += 1;
                let [thread, n, ..] = *event else { return Err(format!("cannot read {line:?}")) };
                if *kind != COUNTED || event != expected(seed, thread, n) {
                    tally.invented += 1;
                    return Err(format!("invented: {line}"));
                }
                let latest = latest.get_mut(thread as usize).ok_or("an event of no thread")?;
                *latest = n.max(*latest);
                lanes.entry(*lane).or_default().push((*seq, thread, n));
            }
            (Some('T'), [lane]) if *lane >= SHARED_LANE => {
                tally.invented += 1;
                return Err(format!("invented: a text in lane {lane}"));
            }
            _ => {}
        }
    }
    for (thread, (acked, latest)) in acked.iter().zip(latest).enumerate() {
        if latest < *acked {
            tally.lost += acked - latest;
            return Err(format!("thread {thread}: newest {latest}, acknowledged {acked}"));
        }
    }
    for (lane, mut events) in lanes {
        events.sort_unstable();
        let holes = holes(&events, newest.get(&lane).copied().unwrap_or(0));
        let own = events.iter().all(|(seq, thread, n)| *thread == events[0].1 && n == seq);
        if lane != SHARED_LANE && !own {
            return Err(format!("lane {lane} has events of two threads, or out of their order"));
        }
        if holes > if lane == SHARED_LANE { THREADS as u64 } else { 0 } {
            tally.lost += holes;
            return Err(format!("lane {lane} has {holes} holes below its newest event"));
        }
    }
    Ok(())
}

/// Numbers that are absent below the newest. A kill may take the one after it, whose slot had the oldest.
fn holes(events: &[(u64, u64, u64)], newest: u64) -> u64 {
    let oldest = (newest + 2).saturating_sub(RING_EVENTS).max(1);
    let kept = events.iter().filter(|(seq, ..)| (oldest..=newest).contains(seq)).count() as u64;
    (newest + 1 - oldest) - kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seed: u64, lane: u64, thread: u64, n: u64) -> String {
        let [a, b, c, d] = expected(seed, thread, n);
        format!("E {lane} {n} {COUNTED} {a} {b} {c} {d}\n")
    }

    fn judged(said: &str, found: &str) -> Result<(), String> {
        judge(said, found, 7, &mut Tally::default())
    }

    #[test]
    fn what_was_lost_or_invented_is_told_and_what_a_kill_may_do_is_not() {
        let whole: String = (1..=5).map(|n| event(7, 3, 0, n)).collect();
        let lane = "L 3 5 5 0 0\n";
        let good = format!("S 0 0\n{lane}{whole}");
        assert_eq!(judged("O\nA 0 5\nA 0 9", &good), Ok(()), "the last line is cut off");
        assert!(judged("A 0 6\n", &good).unwrap_err().contains("acknowledged 6"));
        let hole = good.replace(&event(7, 3, 0, 3), "");
        assert!(judged("", &hole).unwrap_err().contains("1 holes"));
        let foreign = good.replace(&event(7, 3, 0, 3), &event(8, 3, 0, 3));
        assert!(judged("", &foreign).unwrap_err().contains("invented"));
        let torn = good.replace(lane, "L 3 5 5 2 0\n");
        assert!(judged("", &torn).unwrap_err().contains("2 torn"));
        let shared = format!("L 2 2 2 1 0\n{}{}", event(7, 2, 2, 1), event(7, 2, 1, 2));
        assert_eq!(judged("A 1 2\n", &shared), Ok(()));
        assert!(judged("A 1 3\n", &shared).unwrap_err().contains("thread 1: newest 2"));
    }
}
