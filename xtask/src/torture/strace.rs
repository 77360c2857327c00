//! Steps that stand between the log and the kernel: a kill at the n-th call of a kind, errors where the kernel would
//! give none, and a trace for the linter. All by `strace`, which counts the calls of each thread by themselves.
//!
//! A call can be tampered with only if it is in the set that is traced: else strace silently does nothing.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Counts, Outcome, Torture,
    child::{NOT_OPENED, Running, Said},
    lint::{self, Verdict},
    oracle::Oracle,
};

/// Kinds of calls at which the child is killed. The question mark: not each machine has each.
const KILLED_IN: &[(&str, &str)] = &[
    ("pwrite64", "pwrite64"),
    ("fdatasync", "fdatasync"),
    ("fsync", "fsync"),
    ("rename", "?rename,?renameat,renameat2"),
    ("unlink", "?unlink,unlinkat"),
    ("ftruncate", "?ftruncate"),
    ("openat", "openat"),
];
/// Which call of its kind. Denser at first: there the log is opened.
const POINTS: &[u64] = &[1, 2, 3, 4, 6, 9, 13, 20, 33, 60];
/// With `--all`, every point up to this.
const POINTS_ALL: u64 = 400;
/// What the linter needs to see.
const TRACED: &str = "openat,pwrite64,pwritev,?pwritev2,fdatasync,fsync,?ftruncate,write,?rename,?renameat,renameat2,\
                      ?unlink,unlinkat";
/// More than the largest write of the child: a mark that is not shown is not found.
const SHOWN_BYTES: &str = "4000000";

/// Whether strace is there and may be used, as an outcome to end with if not. CI installs it.
pub(super) fn lacking(in_ci: bool) -> Option<Outcome> {
    let runs = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=none", "true"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    if runs() {
        return None;
    }
    if in_ci {
        for words in [["update", "-q"], ["install", "-qy"]] {
            let mut install = Command::new("apt-get");
            install.args(words).args((words[0] == "install").then_some("strace"));
            // What is missing afterwards is told below.
            let _installed = install.stdout(Stdio::null()).status();
        }
    }
    if runs() { None } else { Some(Outcome::Lacking("apt-get install -y strace".into())) }
}

/// How one child under strace ended.
struct Ended {
    said: Said,
    code: Option<i32>,
}

impl Ended {
    /// It was not killed: it came to its own end.
    fn by_itself(&self) -> bool {
        self.said.end.is_some() || self.said.not_opened.is_some()
    }
}

struct Bench<'a> {
    torture: &'a Torture,
    oracle: Oracle,
    verdict: Verdict,
}

impl<'a> Bench<'a> {
    fn new(torture: &'a Torture) -> Self {
        Self { torture, oracle: Oracle::default(), verdict: Verdict::default() }
    }

    /// One writing child whose calls `set` are traced into `output` and tampered with as said.
    fn child(
        &self,
        log: &Path,
        (set, inject): (&str, Option<&str>),
        output: &Path,
        words: &[&str],
    ) -> Result<Ended, String> {
        let mut strace: Vec<String> =
            ["strace", "-f", "-qq", "-y", "-xx", "-s", SHOWN_BYTES, "-o"].map(String::from).into();
        strace.push(output.display().to_string());
        strace.extend(["-e".into(), format!("trace={set}")]);
        if let Some(inject) = inject {
            strace.extend(["-e".into(), format!("inject={inject}")]);
        }
        strace.extend(self.torture.program()?.writer(log, self.torture.seed, words));
        let (text, status) = Running::start(&strace)?.finish()?;
        Ok(Ended { said: Said::parse(&text), code: status.code() })
    }

    fn judge(&mut self, log: &Path, run: u64, said: &Said) -> Result<(), String> {
        let found =
            self.torture.program()?.verify(log, self.torture.seed, run.is_multiple_of(3))?;
        self.oracle.judge(run, said, &found)
    }

    fn lint(&mut self, trace: &Path, log: &Path) -> Result<(), String> {
        let text = std::fs::read(trace).map_err(|e| format!("cannot read the trace: {e}"))?;
        let verdict = lint::lint(&String::from_utf8_lossy(&text), &log.display().to_string());
        self.verdict.writes += verdict.writes;
        self.verdict.syncs += verdict.syncs;
        self.verdict.names += verdict.names;
        self.verdict.acked += verdict.acked;
        match verdict.wrong.as_slice() {
            [] => Ok(()),
            [first, ..] => Err(format!("{first} ({} in all)", verdict.wrong.len())),
        }
    }
}

fn outcome(result: Result<(), String>) -> Outcome {
    match result {
        Ok(()) => Outcome::Passed(String::new()),
        Err(reason) => Outcome::Failed(reason),
    }
}

/// Step: killed at the n-th call of each kind; the next run goes on in what was left.
pub(super) fn kill_points(torture: &Torture) -> (Outcome, Counts) {
    if let Some(lacking) = lacking(torture.in_ci) {
        return (lacking, Counts::default());
    }
    let (mut bench, mut kills) = (Bench::new(torture), 0);
    let result = KILLED_IN.iter().try_for_each(|(name, set)| {
        kill_in(&mut bench, &mut kills, name, set).map_err(|reason| format!("{name}: {reason}"))
    });
    let mut counts = bench.oracle.tally.counts();
    counts.0.insert(0, ("kills", kills));
    (outcome(result), counts)
}

fn kill_in(bench: &mut Bench<'_>, kills: &mut u64, name: &str, set: &str) -> Result<(), String> {
    let dir = bench.torture.program()?.fresh("points")?;
    let log = dir.join("log");
    bench.oracle = bench.oracle.renewed();
    let all: Vec<u64> = (1..=POINTS_ALL).collect();
    let points = if bench.torture.all { all.as_slice() } else { POINTS };
    let mut here = 0;
    for (run, point) in (1..).zip(points) {
        let told = |reason: String| format!("call {point} in {}: {reason}", log.display());
        let inject = format!("{set}:signal=KILL:when={point}");
        let words = [&format!("run={run}"), "producers=1", "ops=200", "keep=100"];
        let ended = bench
            .child(&log, (set, Some(&inject)), Path::new("/dev/null"), &words)
            .map_err(told)?;
        if let Some(reason) = &ended.said.not_opened {
            return Err(told(reason.clone()));
        }
        bench.judge(&log, run, &ended.said).map_err(told)?;
        if ended.by_itself() {
            break; // it makes fewer calls than that
        }
        here += 1;
    }
    *kills += here;
    // Each kind occurs in every run, but removals and cuts, of which there may be none.
    if here == 0 && !matches!(name, "unlink" | "ftruncate") {
        return Err("no kill happened".into());
    }
    Ok(())
}

/// What must come of an error.
enum Expected {
    /// The log is not opened; the reason names this.
    Refused(&'static str),
    /// The log fails for good at this operation, and stays so.
    Fails(&'static str),
    /// Either of both, as it depends on which call of the thread meets the error.
    RefusedOrFails(&'static str),
    /// Refused while the log is opened; later it is tried again, and nothing is seen of it.
    RefusedOrGoesOn,
    /// Nothing is seen of it.
    GoesOn,
    /// Appends find no room, and the close says that the disk is full.
    NoRoom,
    /// The disk lied. Recovery may refuse; what it gives back is whole or a prefix, never invented.
    Lied,
}

struct Fault {
    name: &'static str,
    /// After the name of the call: what strace does to it.
    inject: &'static str,
    /// The log exists already.
    again: bool,
    expected: Expected,
}

const fn fault(name: &'static str, inject: &'static str, again: bool, expected: Expected) -> Fault {
    Fault { name, inject, again, expected }
}

const FAULTS: &[Fault] = &[
    fault(
        "first fdatasync EIO",
        "fdatasync:error=EIO:when=1",
        false,
        Expected::Refused("fdatasync"),
    ),
    fault("one fdatasync EIO", "fdatasync:error=EIO:when=5", false, Expected::Fails("fdatasync")),
    fault(
        "fdatasync EIO, old log",
        "fdatasync:error=EIO:when=4",
        true,
        Expected::Fails("fdatasync"),
    ),
    fault("fdatasync ENOSPC", "fdatasync:error=ENOSPC:when=5", false, Expected::Fails("fdatasync")),
    fault("fdatasync EINTR", "fdatasync:error=EINTR:when=3", false, Expected::GoesOn),
    fault("slow fdatasync", "fdatasync:delay_exit=300000:when=4..6", false, Expected::GoesOn),
    fault("first fsync EIO", "fsync:error=EIO:when=1", false, Expected::Refused("")),
    fault("second fsync EIO", "fsync:error=EIO:when=2", true, Expected::RefusedOrFails("fsync")),
    fault("pwrite ENOSPC for ever", "pwrite64:error=ENOSPC:when=5+", false, Expected::NoRoom),
    fault("pwrite ENOSPC for a while", "pwrite64:error=ENOSPC:when=5..25", false, Expected::GoesOn),
    fault("pwrite EDQUOT for a while", "pwrite64:error=EDQUOT:when=5..9", false, Expected::GoesOn),
    fault("pwrite EINTR", "pwrite64:error=EINTR:when=5..7", false, Expected::GoesOn),
    fault("pwrite EIO", "pwrite64:error=EIO:when=6", false, Expected::Fails("write")),
    fault("pwrite of nothing", "pwrite64:retval=0:when=6", false, Expected::Fails("write")),
    fault("lost write", "pwrite64:retval=64:when=5", false, Expected::Lied),
    fault("lost write, old log", "pwrite64:retval=64:when=9", true, Expected::Lied),
    fault("openat EMFILE", "openat:error=EMFILE:when=2", true, Expected::RefusedOrGoesOn),
];

/// Step: errors injected; each has one outcome that is right, and recovery confirms it.
pub(super) fn faults(torture: &Torture) -> (Outcome, Counts) {
    if let Some(lacking) = lacking(torture.in_ci) {
        return (lacking, Counts::default());
    }
    let (mut bench, mut done) = (Bench::new(torture), 0);
    let result = FAULTS.iter().try_for_each(|fault| {
        done += 1;
        suffer(&mut bench, fault).map_err(|reason| format!("{}: {reason}", fault.name))
    });
    let mut counts = bench.oracle.tally.counts();
    counts.0.insert(0, ("faults", done));
    counts.0.push(("acks linted", bench.verdict.acked));
    (outcome(result), counts)
}

fn suffer(bench: &mut Bench<'_>, fault: &Fault) -> Result<(), String> {
    let dir = bench.torture.program()?.fresh("faults")?;
    let (log, trace) = (dir.join("log"), dir.join("trace"));
    bench.oracle = bench.oracle.renewed();
    if fault.again {
        let ended =
            bench.child(&log, ("none", None), &trace, &["run=1", "producers=1", "ops=40"])?;
        bench.judge(&log, 1, &ended.said)?;
    }
    let words = ["run=2", "producers=1", "ops=400", "keep=200", "patience=5", "close"];
    let ended = bench.child(&log, (TRACED, Some(fault.inject)), &trace, &words)?;
    let Ended { said, code } = &ended;
    meets(&fault.expected, said, *code)
        .map_err(|reason| format!("{reason}; exit {code:?}, it said {:?}", last_words(said)))?;
    if matches!(fault.expected, Expected::Lied) {
        return recovers_from_lie(bench, &log, said);
    }
    bench.lint(&trace, &log)?;
    bench.judge(&log, 2, said)
}

fn last_words(said: &Said) -> impl std::fmt::Debug {
    let words = [&said.not_opened, &said.failed, &said.sticky, &said.end];
    words.into_iter().flatten().cloned().collect::<Vec<_>>()
}

fn meets(expected: &Expected, said: &Said, code: Option<i32>) -> Result<(), String> {
    let refused = |part: &str| {
        let reason = said.not_opened.as_deref().filter(|reason| reason.contains(part));
        reason.is_some() && code == Some(NOT_OPENED)
    };
    let fails = |part: &str| {
        said.failed.as_deref().is_some_and(|failure| failure.contains(part))
            && said.sticky.as_deref() == Some("ok")
            && code == Some(4)
    };
    let closed = said.end.as_deref() == Some("closed") && code == Some(0);
    let (good, should) = match expected {
        Expected::Refused(part) => (refused(part), "it should refuse to open"),
        Expected::Fails(part) => (fails(part), "it should fail for good"),
        Expected::RefusedOrFails(part) => (refused("") || fails(part), "it should refuse or fail"),
        Expected::RefusedOrGoesOn => {
            (refused("") || closed && said.failed.is_none(), "it should refuse or go on")
        }
        Expected::GoesOn => (closed && said.failed.is_none(), "it should go on"),
        Expected::NoRoom => {
            let told = said.end.as_deref().is_some_and(|end| end.contains("not closed cleanly"));
            (said.no_room > 0 && said.failed.is_none() && told, "it should be full, no more")
        }
        Expected::Lied => (said.end.is_some(), "it should come to its end"),
    };
    if good { Ok(()) } else { Err(should.into()) }
}

/// A write that never happened, though the kernel said so. After a clean close that is corruption, wherever it was; a log
/// that failed or ended otherwise may be cut, but never hold what was not appended.
fn recovers_from_lie(bench: &mut Bench<'_>, log: &Path, said: &Said) -> Result<(), String> {
    let found = bench.torture.program()?.verify(log, bench.torture.seed, false)?;
    if let Some(reason) = &found.not_opened {
        let told = reason.contains("corrupt") || reason.contains("missing");
        return if told { Ok(()) } else { Err(format!("refused, but not as damage: {reason}")) };
    }
    let mut honest = Oracle::default();
    // Nothing is promised after a lie; what is there must be what was appended.
    let unpromised = Said { durable: 0, appended: said.appended.clone(), ..Said::default() };
    if said.end.as_deref() == Some("closed") && found.last < said.durable {
        return Err(format!("a sealed log was cut from LSN {} to {}", said.durable, found.last));
    }
    if found.records.iter().any(|(_, mark)| mark.as_ref().is_ok_and(|mark| mark.run == 1)) {
        return Ok(()); // two runs in one look: the oracle judges one
    }
    let judged = honest.judge(2, &unpromised, &found);
    match judged {
        Err(reason) if !reason.starts_with("O2") => Err(reason),
        _ => Ok(()),
    }
}

/// Step: what the log asks of the kernel, in which order.
pub(super) fn lint_trace(torture: &Torture) -> (Outcome, Counts) {
    if let Some(lacking) = lacking(torture.in_ci) {
        return (lacking, Counts::default());
    }
    let mut bench = Bench::new(torture);
    let result = lint_runs(&mut bench);
    let mut counts = Counts(vec![
        ("acks linted", bench.verdict.acked),
        ("writes", bench.verdict.writes),
        ("syncs", bench.verdict.syncs),
        ("names", bench.verdict.names),
    ]);
    counts.0.extend(bench.oracle.tally.counts().0);
    (outcome(result), counts)
}

fn lint_runs(bench: &mut Bench<'_>) -> Result<(), String> {
    let dir = bench.torture.program()?.fresh("lint")?;
    let (log, trace) = (dir.join("log"), dir.join("trace"));
    let runs = if bench.torture.all { 20 } else { 4 };
    for run in 1..=runs {
        let producers = format!("producers={}", 1 + run % 3);
        let number = format!("run={run}");
        let mut words = vec![number.as_str(), &producers, "ops=400", "keep=200"];
        words.extend((run % 2 == 0).then_some("close"));
        let told = |reason: String| format!("run {run}, trace {}: {reason}", trace.display());
        let ended = bench.child(&log, (TRACED, None), &trace, &words).map_err(told)?;
        if ended.code != Some(0) {
            return Err(told(format!("the child ended with {:?}", ended.code)));
        }
        let before = bench.verdict.acked;
        bench.lint(&trace, &log).map_err(told)?;
        if bench.verdict.acked == before {
            return Err(told("no acknowledgement was found in the trace".into()));
        }
        bench.judge(&log, run, &ended.said).map_err(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_forgotten_or_not_sticky_is_not_what_was_expected() {
        let says = |expected: &Expected, text: &str, code| {
            meets(expected, &Said::parse(text), Some(code)).is_ok()
        };
        let fails = Expected::Fails("fdatasync");
        assert!(says(&fails, "F fdatasync 5 wal-1.seg\nS ok\nE not\n", 4));
        assert!(!says(&fails, "F fdatasync 5 wal-1.seg\nS it took a record\nE not\n", 4));
        assert!(!says(&fails, "D 7\nE closed\n", 0));
        assert!(says(&Expected::GoesOn, "D 7\nE closed\n", 0));
        assert!(!says(&Expected::GoesOn, "F write 28 wal-1.seg\nE not\n", 4));
        assert!(says(&Expected::Refused("fsync"), "N fsync failed: EIO\n", 3));
        assert!(!says(&Expected::Refused("fsync"), "O 0 0\nE closed\n", 0));
        assert!(says(&Expected::NoRoom, "X\nE log was not closed cleanly\n", 4));
        assert!(!says(&Expected::NoRoom, "X\nE closed\n", 0));
        let either = Expected::RefusedOrGoesOn;
        assert!(
            says(&either, "N openat failed: EMFILE\n", 3) && says(&either, "D 7\nE closed\n", 0)
        );
        assert!(!says(&either, "F open 28 wal-1.seg\nE not\n", 4));
    }
}
