//! The kill loop: a process that appends is killed with SIGKILL, a third one opens what it left, the oracle judges, and
//! the next writer goes on in the same directory. It shows what a dead process leaves, not a power cut: the page cache
//! lives on.

use std::time::{Duration, Instant};

use super::{
    Counts, Outcome, Torture,
    child::{Running, Said},
    oracle::Oracle,
};

/// Cycles at least, however short the time.
const CYCLES_MIN: u64 = 200;
/// A new directory after so many: the birth of a log is a place to die too.
const CYCLES_PER_LOG: u64 = 64;
/// Time until the kill, shortest and longest. Drawn by its logarithm: most of what can go wrong is early.
const KILL_AFTER_MS: (f64, f64) = (1.0, 300.0);

pub(super) fn run(torture: &Torture, time: Duration) -> (Outcome, Counts) {
    let mut oracle = Oracle::default();
    let outcome = match cycles(torture, time, &mut oracle) {
        Ok(()) => Outcome::Passed(String::new()),
        Err(reason) => Outcome::Failed(reason),
    };
    (outcome, oracle.tally.counts())
}

fn cycles(torture: &Torture, time: Duration, oracle: &mut Oracle) -> Result<(), String> {
    let begin = Instant::now();
    let program = torture.program()?;
    let mut random = fastrand::Rng::with_seed(torture.seed);
    let mut dir = program.fresh("kill")?;
    let mut cycle = 0;
    while cycle < CYCLES_MIN || begin.elapsed() < time {
        if cycle > 0 && cycle % CYCLES_PER_LOG == 0 {
            dir = program.fresh("kill")?;
            *oracle = oracle.renewed();
        }
        cycle += 1;
        let log = dir.join("log");
        let run = format!("run={cycle}");
        let words = program.writer(&log, torture.seed, &[&run, "producers=3"]);
        let (low, high) = (KILL_AFTER_MS.0.ln(), KILL_AFTER_MS.1.ln());
        let after = Duration::from_secs_f64((low + random.f64() * (high - low)).exp() / 1e3);
        let (text, status) = Running::start(&words)?.killed_after(after)?;
        let told = |reason: String| format!("cycle {cycle} in {}: {reason}", log.display());
        let said = Said::parse(&text);
        alive_until_killed(&said).map_err(|reason| told(format!("{reason} ({status})")))?;
        if random.u8(..8) == 0 {
            let after = Duration::from_micros(random.u64(..6_000));
            program.verify_killed(&log, torture.seed, after)?;
        }
        let found = program.verify(&log, torture.seed, random.u8(..4) == 0).map_err(told)?;
        oracle.judge(cycle, &said, &found).map_err(told)?;
    }
    Ok(())
}

/// The writer does not end by itself, and nothing but a kill happens to it.
pub(super) fn alive_until_killed(said: &Said) -> Result<(), String> {
    let ended = [&said.failed, &said.not_opened, &said.end];
    if let Some(reason) = ended.into_iter().flatten().next() {
        return Err(format!("the writer ended by itself: {reason}"));
    }
    match said.unknown.iter().find(|line| line.starts_with("retire")) {
        Some(line) => Err(line.clone()),
        None => Ok(()),
    }
}
