//! The program that is tortured, as seen from outside: how it is built and started, and what its lines say. They are
//! described where they are written, in the head of `crates/ng-wal/examples/torture_child.rs`.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::workspace::{self, Workspace};

/// Exit code of a child that could not open the log; what it says of it follows `N`.
pub(super) const NOT_OPENED: i32 = 3;

/// Which record: run, producer, number within both, place in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark {
    pub(super) run: u64,
    pub(super) producer: u64,
    pub(super) seq: u64,
    pub(super) index: u64,
    pub(super) count: u64,
}

impl Mark {
    /// What every mark begins with, and how long it is.
    pub(super) const PREFIX: &str = "ngt:";
    pub(super) const BYTES: usize = 28;

    /// Reads `ngt:000001:01:00000001:00/01`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.strip_prefix(Self::PREFIX)?.split([':', '/']).collect();
        let [run, producer, seq, index, count] = parts.as_slice() else { return None };
        Some(Self {
            run: run.parse().ok()?,
            producer: producer.parse().ok()?,
            seq: seq.parse().ok()?,
            index: index.parse().ok()?,
            count: count.parse().ok()?,
        })
    }
}

/// What a writing child said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) opened: bool,
    /// Highest LSN that it was promised, by an open or by the log.
    pub(super) durable: u64,
    /// Records below this may be gone.
    pub(super) retired: u64,
    pub(super) appended: BTreeMap<u64, Mark>,
    /// An LSN that was given to two records of this run.
    pub(super) given_twice: Option<u64>,
    /// `operation errno file` of the failure.
    pub(super) failed: Option<String>,
    pub(super) sticky: Option<String>,
    pub(super) not_opened: Option<String>,
    pub(super) no_room: u64,
    pub(super) unknown: Vec<String>,
    pub(super) end: Option<String>,
}

impl Said {
    pub(super) fn parse(text: &str) -> Self {
        let mut said = Self::default();
        for line in whole_lines(text) {
            said.hear(line);
        }
        said
    }

    fn hear(&mut self, line: &str) {
        let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
        match tag {
            "O" => {
                self.opened = true;
                let last = rest.split(' ').next_back().and_then(|last| last.parse().ok());
                self.durable = self.durable.max(last.unwrap_or(0));
            }
            "A" => {
                if let Some((lsn, mark)) = numbered(rest) {
                    let before = self.appended.insert(lsn, mark);
                    if before.is_some_and(|before| before != mark) {
                        self.given_twice = Some(lsn);
                    }
                }
            }
            "D" => self.durable = self.durable.max(rest.parse().unwrap_or(0)),
            "R" => self.retired = self.retired.max(rest.parse().unwrap_or(0)),
            "X" => self.no_room += 1,
            "U" => self.unknown.push(rest.to_owned()),
            "F" => self.failed = Some(rest.to_owned()),
            "S" => self.sticky = Some(rest.to_owned()),
            "N" => self.not_opened = Some(rest.to_owned()),
            "E" => self.end = Some(rest.to_owned()),
            _ => self.unknown.push(line.to_owned()),
        }
    }
}

/// What a verifying child found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// First record, or the next to come.
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) torn_bytes: u64,
    pub(super) dropped_frames: u64,
    /// In the order of the replay.
    pub(super) records: Vec<(u64, Result<Mark, String>)>,
    pub(super) not_opened: Option<String>,
    /// It came to its end.
    pub(super) whole: bool,
}

impl Found {
    pub(super) fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in whole_lines(text) {
            let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
            match tag {
                "V" => {
                    let words: Vec<&str> = rest.split(' ').collect();
                    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
                    found.last = number(1).unwrap_or(0);
                    found.first = number(0).filter(|first| *first > 0).unwrap_or(found.last + 1);
                    found.torn_bytes = number(3).unwrap_or(0);
                    found.dropped_frames = number(4).unwrap_or(0);
                }
                "r" => match numbered(rest) {
                    Some((lsn, mark)) => found.records.push((lsn, Ok(mark))),
                    None => found.records.push((0, Err(line.to_owned()))),
                },
                "b" => {
                    let lsn = rest.split(' ').next().and_then(|lsn| lsn.parse().ok()).unwrap_or(0);
                    found.records.push((lsn, Err(rest.to_owned())));
                }
                "N" => found.not_opened = Some(rest.to_owned()),
                "E" => found.whole = true,
                _ => {}
            }
        }
        found
    }
}

/// A line cut off by the death of its writer tells nothing.
fn whole_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

/// `lsn mark`.
fn numbered(text: &str) -> Option<(u64, Mark)> {
    let (lsn, mark) = text.split_once(' ')?;
    Some((lsn.parse().ok()?, Mark::parse(mark)?))
}

/// The built program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// Where logs of the torture are kept: on the file system of the build, which is a real one.
    pub(super) scratch: PathBuf,
}

impl Program {
    pub(super) fn build() -> Result<Self, String> {
        let mut build = workspace::cargo();
        build.args(["build", "--quiet", "--release", "--locked", "-p", "ng-wal"]);
        let status = build.args(["--example", "torture_child"]).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err("cannot build the example torture_child of ng-wal".into());
        }
        let target = Workspace::load()?.target_dir;
        let scratch = target.join("torture");
        Ok(Self { path: target.join("release/examples/torture_child"), scratch })
    }

    /// Where one step's directory is, or will be.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// A new directory for one step. The log itself is made by the child in it.
    pub(super) fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        let dir = self.place(name);
        let made = match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir_all(&dir),
        };
        made.map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        Ok(dir)
    }

    /// The words of a child that writes.
    pub(super) fn writer(&self, dir: &Path, seed: u64, words: &[&str]) -> Vec<String> {
        self.words(dir, seed, "write", words)
    }

    fn words(&self, dir: &Path, seed: u64, mode: &str, words: &[&str]) -> Vec<String> {
        let fixed = [self.path.display().to_string(), dir.display().to_string()];
        let rest = [seed.to_string(), mode.to_string()];
        fixed.into_iter().chain(rest).chain(words.iter().map(|word| word.to_string())).collect()
    }

    /// Opens the log in a process of its own; `end` is killed after that time, if one is given.
    pub(super) fn verify(&self, dir: &Path, seed: u64, seal: bool) -> Result<Found, String> {
        let words = self.words(dir, seed, "verify", if seal { &["seal"] } else { &[] });
        let (text, status) = Running::start(&words)?.finish()?;
        let found = Found::parse(&text);
        let expected = if found.not_opened.is_some() { NOT_OPENED } else { 0 };
        if status.code() != Some(expected) {
            let last = last_lines(&text);
            return Err(format!("the verifying process ended with {status}, after: {last}"));
        }
        Ok(found)
    }

    /// Opens the log in a process that is killed while it does so.
    pub(super) fn verify_killed(
        &self,
        dir: &Path,
        seed: u64,
        after: Duration,
    ) -> Result<(), String> {
        let words = self.words(dir, seed, "verify", &[]);
        Running::start(&words)?.killed_after(after).map(drop)
    }
}

/// A started child whose lines are being collected.
pub(super) struct Running {
    child: Child,
    heard: Arc<Mutex<Vec<u8>>>,
    reader: Option<thread::JoinHandle<std::io::Result<()>>>,
}

impl Running {
    pub(super) fn start(words: &[String]) -> Result<Self, String> {
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| format!("cannot start {}: {error}", words[0]))?;
        let mut out = child.stdout.take().ok_or("no pipe")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let to = heard.clone();
        // Read all along: a full pipe would hold the child up.
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            loop {
                match out.read(&mut bytes)? {
                    0 => return Ok(()),
                    n => lock(&to).extend_from_slice(&bytes[..n]),
                }
            }
        });
        Ok(Self { child, heard, reader: Some(reader) })
    }

    /// What it has said so far.
    pub(super) fn heard(&self) -> String {
        String::from_utf8_lossy(&lock(&self.heard)).into_owned()
    }

    /// Waits until what it has said is `enough`.
    pub(super) fn until(
        &self,
        patience: Duration,
        enough: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        while !enough(&self.heard()) {
            if self.reader.as_ref().is_none_or(thread::JoinHandle::is_finished) {
                return Err(format!("the writer ended: {}", last_lines(&self.heard())));
            }
            if begin.elapsed() > patience {
                let heard = self.heard();
                return Err(format!("nothing in {patience:?}, after: {}", last_lines(&heard)));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits for its first line, without a pause that would hide what comes right after it.
    pub(super) fn until_line(&self, patience: Duration) -> Result<(), String> {
        let begin = Instant::now();
        while !lock(&self.heard).contains(&b'\n') {
            if self.reader.as_ref().is_none_or(thread::JoinHandle::is_finished) {
                return Err("the writer ended without a word".into());
            }
            if begin.elapsed() > patience {
                return Err(format!("not a word in {patience:?}"));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// SIGKILL after `time`; the pipe is read to its end first, then the child is reaped.
    pub(super) fn killed_after(mut self, time: Duration) -> Result<(String, ExitStatus), String> {
        thread::sleep(time);
        self.child.kill().map_err(|error| format!("cannot kill: {error}"))?;
        self.finish()
    }

    pub(super) fn finish(mut self) -> Result<(String, ExitStatus), String> {
        if let Some(reader) = self.reader.take() {
            let read = reader.join().map_err(|_| "the reader of the pipe panicked")?;
            read.map_err(|error| format!("cannot read the pipe: {error}"))?;
        }
        let status = self.child.wait().map_err(|error| format!("cannot wait: {error}"))?;
        let text = String::from_utf8_lossy(&lock(&self.heard)).into_owned();
        Ok((text, status))
    }
}

impl Drop for Running {
    /// A step that fails half way leaves no writer behind.
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_and_one_that_was_cut_off_tells_nothing() {
        let said = Said::parse(
            "O 1 4\nA 5 ngt:000002:01:00000001:00/01\nD 5\nR 3\nX\nF fdatasync 5 wal-1.seg\nD 9",
        );
        assert!(said.opened);
        assert_eq!((said.durable, said.retired, said.no_room), (5, 3, 1));
        let mark = Mark { run: 2, producer: 1, seq: 1, index: 0, count: 1 };
        assert_eq!(said.appended, BTreeMap::from([(5, mark)]));
        assert_eq!(said.failed.as_deref(), Some("fdatasync 5 wal-1.seg"));
        let twice = "A 5 ngt:000002:01:00000001:00/01\nA 5 ngt:000002:01:00000002:00/01\n";
        assert_eq!(Said::parse(twice).given_twice, Some(5));
    }

    #[test]
    fn a_log_without_records_begins_where_the_next_one_will_come() {
        let found = Found::parse("V 0 7 Sealed 0 0\nE closed\n");
        assert_eq!((found.first, found.last, found.whole), (8, 7, true));
        let found = Found::parse("V 7 7 Torn 64 2\nb 7 not what was appended\n");
        assert_eq!((found.torn_bytes, found.dropped_frames, found.whole), (64, 2, false));
        assert!(matches!(&found.records[..], [(7, Err(_))]));
    }
}
