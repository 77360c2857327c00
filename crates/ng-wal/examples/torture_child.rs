//! The program that `cargo xtask torture` kills, starves and traces; and the one that looks at
//! what it left. Without arguments it does a little of both in a temporary directory.
//!
//! `torture_child DIR SEED write [run=N] [ops=N] [producers=N] [keep=N] [segment=BYTES]
//! [patience=N] [close]` opens the log and appends, for ever or `ops` times for each producer.
//! `torture_child DIR SEED verify [seal]` opens it and prints what is there.
//!
//! It speaks in lines on stdout, each written at once and shorter than a pipe's atomic unit:
//! `O first last` opened; `A lsn mark` appended; `D lsn` durable up to here, said after the log had
//! said so; `R lsn` about to retire before it; `X` no room; `U lsn` durability unknown;
//! `F operation errno file` failed; `S ok` the failure is sticky; `N text` not opened; `E how` the
//! end. From verify: `V first last tail torn_bytes dropped_frames`, `r lsn mark`, `b lsn what`.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ng_wal::{AppendError, Durability, Failure, Health, Lsn, OpenError, WaitError, Wal, WalConfig};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A line of this and the next together still is below 4,096 bytes, what a pipe takes whole.
const SAY_AT_BYTES: usize = 3_500;
const BATCH_RECORDS_MAX: u64 = 20;
const BATCH_BYTES_MAX: usize = 40_000;
const PAYLOAD_BYTES_MAX: u64 = 10_000;

/// Exit codes beyond 0, so that a caller need not read the lines to know how it ended.
const NOT_OPENED: u8 = 3;
const LOG_FAILED: u8 = 4;
const GAVE_UP: u8 = 5;

struct Plan {
    run: u64,
    /// For each producer; 0 = until killed.
    ops: u64,
    producers: u64,
    /// Records behind the durable end that are not retired.
    keep: u64,
    segment_bytes: u64,
    /// Refusals for want of room, one after the other, that end a producer; 0 = none.
    patience: u64,
    /// Close at the end, with a seal; else just end.
    close: bool,
}

impl Plan {
    fn of(words: &[String]) -> Result<Self, Failed> {
        let mut plan = Self {
            run: 1,
            ops: 0,
            producers: 3,
            keep: 3_000,
            segment_bytes: 64 << 10,
            patience: 0,
            close: false,
        };
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, "1"));
            let value: u64 = value.parse()?;
            match name {
                "run" => plan.run = value,
                "ops" => plan.ops = value,
                "producers" => plan.producers = value,
                "keep" => plan.keep = value,
                "segment" => plan.segment_bytes = value,
                "patience" => plan.patience = value,
                "close" => plan.close = true,
                _ => return Err(format!("what is {word}?").into()),
            }
        }
        Ok(plan)
    }

    fn config(&self) -> WalConfig {
        let mut config = WalConfig::default();
        config.durability = Durability::Relaxed;
        config.segment_bytes = self.segment_bytes;
        config.payload_bytes_max = PAYLOAD_BYTES_MAX as u32;
        config.ring_slots = 256;
        config.max_ahead_bytes = 1 << 20;
        config.full_timeout = Duration::from_millis(200);
        // Where patience has an end, each wait for a disk that will not answer is short.
        let wait = if self.patience > 0 { 400 } else { 5_000 };
        config.sync_timeout = Duration::from_millis(wait);
        config.store_uuid = Some(7);
        config
    }
}

/// Which record this is; it stands in the payload as text, so that a trace of writes can be
/// searched for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    run: u64,
    producer: u64,
    seq: u64,
    /// Place in its batch, and how many the batch has.
    index: u64,
    count: u64,
}

/// Bytes of a mark with its length field.
const MARK_BYTES: u64 = 35;

impl Mark {
    fn text(&self) -> String {
        let Self { run, producer, seq, index, count } = self;
        format!("ngt:{run:06}:{producer:02}:{seq:08}:{index:02}/{count:02}")
    }

    /// The only payload that a record with this mark may have.
    fn payload(&self, seed: u64) -> Vec<u8> {
        let own = [self.run, self.producer, self.seq].into_iter().fold(seed, |mixed, part| {
            (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31)
        });
        let mut random = fastrand::Rng::with_seed(own);
        // Most as small as a token, so that they lie in the ring; a few of several blocks.
        let bytes = match random.u8(..) {
            0..200 => random.u64(MARK_BYTES..80),
            200..250 => random.u64(80..600),
            _ => random.u64(600..PAYLOAD_BYTES_MAX),
        };
        let mut payload = format!("{}:{bytes:05};", self.text()).into_bytes();
        payload.extend((MARK_BYTES..bytes).map(|_| random.u8(..)));
        payload
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload.get(..MARK_BYTES as usize)?).ok()?;
        let mut parts = text.strip_suffix(';')?.strip_prefix("ngt:")?.split([':', '/']);
        let mut next = || parts.next()?.parse().ok();
        let mark =
            Self { run: next()?, producer: next()?, seq: next()?, index: next()?, count: next()? };
        Some(mark)
    }

    fn is_of(&self, payload: &[u8], seed: u64) -> bool {
        self.payload(seed) == payload
    }
}

/// Producers gather lines and hand them over in one write.
fn say(lines: &str) {
    let mut out = std::io::stdout().lock();
    // Whole lines and an empty buffer: one write. Nobody listens any more: then nobody minds.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
}

struct Producer {
    wal: Arc<Wal>,
    plan: Arc<Plan>,
    seed: u64,
    number: u64,
    seq: u64,
    random: fastrand::Rng,
    lines: String,
    refusals: u64,
    said_durable: Lsn,
    ended: Arc<AtomicBool>,
}

/// Why a producer stopped before its time.
enum Stopped {
    Failed(Failure),
    Full,
    Closed,
}

impl Producer {
    fn work(mut self) -> Result<(), Stopped> {
        let result = self.operations();
        if let Err(Stopped::Failed(failure)) = &result {
            let Failure { operation, file, errno, .. } = failure;
            let operation = operation.replace(' ', "-");
            self.add(&format!("F {operation} {} {file}\n", errno.unwrap_or(0)));
        }
        self.flush();
        if result.is_err() {
            self.ended.store(true, Ordering::Relaxed);
        }
        result
    }

    fn operations(&mut self) -> Result<(), Stopped> {
        let mut done = 0;
        while self.plan.ops == 0 || done < self.plan.ops {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(()); // another one met the end and has told it
            }
            match self.random.u8(..100) {
                0..60 => drop(self.append(Durability::Relaxed)?),
                60..70 => drop(self.append(Durability::Balanced)?),
                70..80 => {
                    if let Some(lsn) = self.append(Durability::Strict)? {
                        self.durable(lsn);
                    }
                }
                80..90 => self.batch()?,
                90..95 => {
                    let lsn = self.wal.durable_lsn();
                    self.durable(lsn);
                }
                95..98 => match self.wal.sync() {
                    Ok(lsn) => self.durable(lsn),
                    Err(WaitError::Failed(failure)) => return Err(Stopped::Failed(failure)),
                    Err(_) => {}
                },
                _ => self.retire(),
            }
            done += 1;
        }
        Ok(())
    }

    fn mark(&self, seq: u64, index: u64, count: u64) -> Mark {
        Mark { run: self.plan.run, producer: self.number, seq, index, count }
    }

    /// `None`: appended, but its durability was not learnt in time.
    fn append(&mut self, level: Durability) -> Result<Option<Lsn>, Stopped> {
        let mark = self.mark(self.seq + 1, 0, 1);
        let payload = mark.payload(self.seed);
        let kind = (mark.seq % 256) as u8;
        let result = self.until_room(|wal| wal.append_durable(kind, &payload, level))?;
        self.seq += 1;
        let (lsn, stopped) = match result {
            Ok(lsn) => (lsn, Ok(Some(lsn))),
            Err((lsn, WaitError::Failed(failure))) => (lsn, Err(Stopped::Failed(failure))),
            Err((lsn, _)) => {
                self.add(&format!("U {lsn}\n"));
                (lsn, Ok(None))
            }
        };
        self.add(&format!("A {lsn} {}\n", mark.text()));
        stopped
    }

    fn batch(&mut self) -> Result<(), Stopped> {
        let count = self.random.u64(2..=BATCH_RECORDS_MAX);
        let marks: Vec<_> =
            (0..count).map(|index| self.mark(self.seq + 1 + index, index, count)).collect();
        let payloads: Vec<_> = marks.iter().map(|mark| mark.payload(self.seed)).collect();
        if payloads.iter().map(Vec::len).sum::<usize>() > BATCH_BYTES_MAX {
            return Ok(()); // more than a small segment takes at once
        }
        let records: Vec<_> = marks
            .iter()
            .zip(&payloads)
            .map(|(mark, payload)| ((mark.seq % 256) as u8, payload.as_slice()))
            .collect();
        let (Ok(last) | Err((last, _))) = self.until_room(|wal| wal.append_batch(&records))?;
        self.seq += count;
        for mark in &marks {
            let lsn = last.get() - (count - 1 - mark.index);
            self.add(&format!("A {lsn} {}\n", mark.text()));
        }
        Ok(())
    }

    /// Appends, waiting for room as long as the plan's patience goes. The inner error: appended,
    /// durability unknown.
    fn until_room(
        &mut self,
        append: impl Fn(&Wal) -> Result<Lsn, AppendError>,
    ) -> Result<Result<Lsn, (Lsn, WaitError)>, Stopped> {
        self.refusals = 0;
        loop {
            match append(&self.wal) {
                Ok(lsn) => return Ok(Ok(lsn)),
                Err(AppendError::DurabilityUnknown { lsn, cause }) => return Ok(Err((lsn, cause))),
                Err(AppendError::Full { .. }) => {
                    self.refusals += 1;
                    self.add("X\n");
                    self.flush();
                    if self.refusals == self.plan.patience {
                        return Err(Stopped::Full);
                    }
                    self.retire(); // as the message of `Full` asks
                }
                Err(AppendError::Failed(failure)) => return Err(Stopped::Failed(failure)),
                // Too large cannot be: both sizes are below the limits.
                Err(_) => return Err(Stopped::Closed),
            }
        }
    }

    /// What an owner does after a checkpoint: here the checkpoint is that the record is durable.
    fn retire(&mut self) {
        let durable = self.wal.durable_lsn();
        let upto = Lsn::new(durable.get().saturating_sub(self.plan.keep));
        if upto > self.wal.oldest_lsn() {
            self.durable(durable);
            self.add(&format!("R {upto}\n"));
            self.flush();
            if let Err(error) = self.wal.retire_before(upto) {
                self.add(&format!("U retire: {error}\n"));
            }
        }
    }

    fn durable(&mut self, lsn: Lsn) {
        if lsn > self.said_durable {
            self.said_durable = lsn;
            self.add(&format!("D {lsn}\n"));
            self.flush();
        }
    }

    fn add(&mut self, line: &str) {
        if self.lines.len() + line.len() > SAY_AT_BYTES {
            self.flush();
        }
        self.lines.push_str(line);
    }

    fn flush(&mut self) {
        say(&self.lines);
        self.lines.clear();
    }
}

fn write(dir: &Path, seed: u64, plan: Plan) -> Result<u8, Failed> {
    let (wal, recovery) = match Wal::open(dir, plan.config()) {
        Ok(opened) => opened,
        Err(error) => return Ok(not_opened(&error)),
    };
    say(&format!("O {} {}\n", recovery.first_lsn, recovery.last_lsn));
    let (wal, plan) = (Arc::new(wal), Arc::new(plan));
    let ended = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (1..=plan.producers)
        .map(|number| {
            let producer = Producer {
                wal: wal.clone(),
                plan: plan.clone(),
                seed,
                number,
                seq: 0,
                random: fastrand::Rng::with_seed(seed ^ (plan.run << 8) ^ number),
                lines: String::new(),
                refusals: 0,
                said_durable: Lsn::NONE,
                ended: ended.clone(),
            };
            thread::spawn(move || producer.work())
        })
        .collect();
    let mut full = false;
    for thread in threads {
        match thread.join() {
            Ok(Ok(()) | Err(Stopped::Failed(_))) => {}
            Ok(Err(Stopped::Full)) => full = true,
            Ok(Err(Stopped::Closed)) => return Err("an append was refused for no reason".into()),
            Err(_) => return Err("a producer panicked".into()),
        }
    }
    if let Health::Failed(_) = wal.health() {
        let broken = stickiness(&wal);
        say(&format!("S {}\n", broken.unwrap_or("ok")));
    } else if !full && let Ok(lsn) = wal.sync() {
        say(&format!("D {lsn}\n"));
    }
    if !plan.close {
        say("E left open\n");
        std::process::exit(i32::from(code(&wal, full))); // no close, no seal
    }
    let how = match wal.shut() {
        Ok(()) => "closed".to_string(),
        Err(error) => format!("{error}: {}", cause(&error)),
    };
    say(&format!("E {how}\n"));
    Ok(code(&wal, full))
}

fn code(wal: &Wal, full: bool) -> u8 {
    match wal.health() {
        Health::Failed(_) => LOG_FAILED,
        _ if full => GAVE_UP,
        _ => 0,
    }
}

/// A failed log takes nothing, confirms nothing and forgets nothing; else what it did.
fn stickiness(wal: &Wal) -> Option<&'static str> {
    let durable = wal.durable_lsn();
    if !matches!(wal.append(0, b"after the failure"), Err(AppendError::Failed(_))) {
        return Some("it took a record");
    }
    if !matches!(wal.try_append(0, b"after the failure"), Err(AppendError::Failed(_))) {
        return Some("it took a record without waiting");
    }
    let last = wal.last_lsn();
    let waited = wal.wait_durable(last, Duration::from_secs(60));
    if last > durable && !matches!(waited, Err(WaitError::Failed(_))) {
        return Some("it confirmed a record");
    }
    if wal.durable_lsn() != durable {
        return Some("its durable end moved");
    }
    None
}

fn not_opened(error: &OpenError) -> u8 {
    say(&format!("N {error}: {}\n", cause(error)));
    NOT_OPENED
}

fn cause(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// Opens as an owner would, and prints every record that is the one its mark says.
fn verify(dir: &Path, seed: u64, words: &[String]) -> Result<u8, Failed> {
    let plan = Plan::of(&[])?;
    let (wal, recovery) = match Wal::open(dir, plan.config()) {
        Ok(opened) => opened,
        Err(error) => return Ok(not_opened(&error)),
    };
    let mut lines = format!(
        "V {} {} {:?} {} {}\n",
        recovery.first_lsn,
        recovery.last_lsn,
        recovery.tail,
        recovery.torn_bytes,
        recovery.dropped_frames
    );
    for record in recovery.replay() {
        let line = match record {
            Err(error) => format!("b 0 {error}\n"),
            Ok(record) => match Mark::parse(&record.payload) {
                Some(mark) if mark.is_of(&record.payload, seed) => {
                    let kind = u64::from(record.kind) == mark.seq % 256;
                    let what = if kind { mark.text() } else { "another kind".into() };
                    format!("{} {} {what}\n", if kind { "r" } else { "b" }, record.lsn)
                }
                _ => format!("b {} not what was appended\n", record.lsn),
            },
        };
        lines.push_str(&line);
        if lines.len() > 60_000 {
            say(&lines);
            lines.clear();
        }
    }
    say(&lines);
    if words.iter().any(|word| word == "seal") {
        wal.close()?;
        say("E closed\n");
        return Ok(0);
    }
    say("E left open\n");
    std::process::exit(0); // no close, no seal
}

/// Writes in one process and verifies in this one: what the torture does, once and unharmed.
fn show() -> Result<u8, Failed> {
    let dir = tempfile::tempdir()?;
    let mut child = std::process::Command::new(std::env::current_exe()?)
        .arg(dir.path())
        .args(["7", "write", "ops=200"])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    let appended = said.lines().filter(|line| line.starts_with("A ")).count();
    writeln!(std::io::stdout(), "{appended} records appended, {status}; what is there now:")?;
    verify(dir.path(), 7, &["seal".into()])
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.as_slice() {
        [] => show(),
        [dir, seed, mode, rest @ ..] => match (mode.as_str(), seed.parse()) {
            ("write", Ok(seed)) => {
                Plan::of(rest).and_then(|plan| write(Path::new(dir), seed, plan))
            }
            ("verify", Ok(seed)) => verify(Path::new(dir), seed, rest),
            _ => Err("torture_child DIR SEED write|verify …".into()),
        },
        _ => Err("torture_child DIR SEED write|verify …".into()),
    };
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    match result {
        Ok(code) => ExitCode::from(code),
        // Nobody reads any more.
        Err(error) if error.downcast_ref().is_some_and(gone) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stdout(), "E {error}");
            ExitCode::from(2)
        }
    }
}
