//! A log's owner on a simulated disk: does operations one after the other, remembers what it was
//! told, and keeps the traces. It knows the log's public interface and nothing of its bytes.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ng_wal::sim::{CrashPlan, Image, LogIo, SimDisk, Trace, checkpoint_is_ahead, durable_watch};
use ng_wal::{Durability, Health, Lsn, Wal, WalConfig};

use crate::oracle::{Expect, check};

/// What an owner can do with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    Append,
    Batch,
    Sync,
    Rotate,
    /// Checkpoint, then retire what it covers.
    Checkpoint,
    Close,
    /// The process dies, another one opens.
    Reopen,
    /// The power fails; what is left of the disk is opened again.
    PowerCut,
}

impl Op {
    pub const ALL: [Op; 8] = [
        Op::Append,
        Op::Batch,
        Op::Sync,
        Op::Rotate,
        Op::Checkpoint,
        Op::Close,
        Op::Reopen,
        Op::PowerCut,
    ];

    pub fn parse(word: &str) -> Option<Op> {
        Op::ALL.into_iter().find(|op| format!("{op:?}").eq_ignore_ascii_case(word))
    }
}

/// Labels of marks.
pub const DURABLE: u64 = 1;
pub const OPENED: u64 = 2;
pub const CHECKPOINTED: u64 = 3;
pub const CLOSED: u64 = 4;
/// The next process begins to open the log; what it writes may stand in the place of a seal.
pub const OPENING: u64 = 5;

pub const LOG: &str = "log";
pub const OWNER: &str = "owner";
const CHECKPOINT: &str = "checkpoint";
/// Long beside anything that is waited for, short beside a test's patience.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Small, so that a segment's end comes after a hundred records; syncs only when asked for.
pub fn config() -> WalConfig {
    let mut config = WalConfig::default();
    config.segment_bytes = 24 << 10;
    config.payload_bytes_max = 400;
    config.ring_slots = 64;
    config.max_ahead_bytes = 1 << 20;
    config.sync_records = 1_000_000_000;
    config.sync_interval = Duration::from_secs(60);
    config.full_timeout = LIMIT;
    config.store_uuid = Some(7);
    config
}

/// One record as appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: u8,
    pub payload: Arc<[u8]>,
    /// First and last LSN of the batch it belongs to.
    pub batch: (u64, u64),
}

/// The log's records as one process knew them; index is LSN − 1.
pub type History = Vec<Entry>;

/// What the payload says: who wrote it and when, and a hash of all that.
pub fn payload(lsn: u64, producer: u64, seq: u64, nonce: u64, bytes: usize) -> Arc<[u8]> {
    let mut words = [lsn, producer, seq, nonce, 0];
    words[4] = hash(&words[..4]);
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    out.resize(bytes.max(out.len()), nonce as u8);
    out.into()
}

pub fn hash(words: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    words.iter().for_each(|word| hasher.write_u64(*word));
    hasher.finish()
}

/// LSN, producer and number of a payload; `None` if its hash is wrong.
pub fn parse(payload: &[u8]) -> Option<(u64, u64, u64)> {
    let word = |i: usize| Some(u64::from_be_bytes(payload.get(i * 8..i * 8 + 8)?.try_into().ok()?));
    let words = [word(0)?, word(1)?, word(2)?, word(3)?];
    (hash(&words) == word(4)?).then_some((words[0], words[1], words[2]))
}

/// Hash over the first `end` records: what a checkpoint's content stands for.
pub fn digest(history: &[Entry], end: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    history.iter().take(end as usize).for_each(|entry| hasher.write(&entry.payload));
    hasher.finish()
}

/// End and digest of the checkpoint in an image.
pub fn checkpoint_of(image: &Image) -> Option<(u64, u64)> {
    let bytes = image.read(OWNER, CHECKPOINT)?;
    let word = |i: usize| Some(u64::from_be_bytes(bytes.get(i * 8..i * 8 + 8)?.try_into().ok()?));
    Some((word(0)?, word(1)?))
}

/// A stretch of time between two losses of power.
pub struct Leg {
    pub trace: Trace,
    /// What had to hold at its beginning.
    pub expect: Expect,
    /// Boundaries before this one were looked at in a shorter story.
    pub from: usize,
}

pub struct World {
    pub disk: SimDisk,
    pub config: WalConfig,
    log: Option<Wal>,
    /// Histories, one for each process so far; the last one grows.
    pub lives: Vec<History>,
    /// What must hold now.
    now: Expect,
    pub legs: Vec<Leg>,
    began: Expect,
    from: usize,
    rng: fastrand::Rng,
    seqs: u64,
}

impl World {
    pub fn new(seed: u64, config: WalConfig) -> Self {
        Self {
            disk: SimDisk::new(),
            config,
            log: None,
            lives: vec![History::new()],
            now: Expect::default(),
            legs: Vec::new(),
            began: Expect::default(),
            from: 0,
            rng: fastrand::Rng::with_seed(seed),
            seqs: 0,
        }
    }

    /// What comes from here on is new.
    pub fn begin_looking(&mut self) {
        self.legs.clear();
        self.from = self.disk.operations();
    }

    pub fn history(&mut self) -> &mut History {
        self.lives.last_mut().unwrap()
    }

    pub fn io(&self) -> Arc<dyn LogIo> {
        self.disk.dir(LOG)
    }

    /// The log, opened if it is not.
    pub fn log(&mut self) -> Result<&Wal, String> {
        if self.log.is_none() {
            self.disk.mark(OPENING, 0);
            let opened = Wal::open_on(self.io(), self.config.clone());
            let (wal, recovery) = opened.map_err(|e| format!("O7: open refused: {e}"))?;
            let image = self.disk.image();
            let last = recovery.last_lsn.get();
            check(&image, &recovery, &self.now, &self.lives)?;
            let mut history = self.lives.last().unwrap().clone();
            history.truncate(last as usize);
            self.lives.push(history);
            self.now.life = self.lives.len() - 1;
            self.now.acked = last;
            (self.now.opened, self.now.closed) = (true, false);
            self.disk.mark(OPENED, self.now.life as u64);
            self.disk.probe(DURABLE, durable_watch(&wal));
            self.log = Some(wal);
        }
        Ok(self.log.as_ref().unwrap())
    }

    pub fn run(&mut self, ops: &[Op]) -> Result<(), String> {
        ops.iter().try_for_each(|op| self.apply(*op))
    }

    pub fn apply(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Append => self.append(1, true),
            Op::Batch => {
                let count = self.rng.usize(2..24);
                self.append(count, true)
            }
            Op::Sync => self.sync(),
            Op::Rotate => self.rotate(),
            Op::Checkpoint => self.checkpoint(),
            Op::Close => self.close(),
            Op::Reopen => {
                self.kill();
                self.log().map(drop)
            }
            Op::PowerCut => self.power_cut(),
        }
    }

    /// Appends one record, or a batch; waits until it is in the file.
    pub fn append(&mut self, count: usize, settle: bool) -> Result<(), String> {
        self.log()?;
        let first = self.history().len() as u64 + 1;
        let last = first + count as u64 - 1;
        for lsn in first..=last {
            self.add_entry(lsn, (first, last));
        }
        let entries = self.history()[first as usize - 1..].to_vec();
        let records: Vec<(u8, &[u8])> =
            entries.iter().map(|entry| (entry.kind, &*entry.payload)).collect();
        let wal = self.log()?;
        let got = match &records[..] {
            [(kind, payload)] => wal.append(*kind, payload),
            _ => wal.append_batch(&records),
        };
        let got = got.map_err(|e| format!("append: {e}"))?;
        if got.get() != last {
            return Err(format!("O12: LSN {got} was handed out where {last} was due"));
        }
        if settle { self.settle() } else { Ok(()) }
    }

    /// What is to be appended next, noted as if it were.
    pub fn add_entry(&mut self, lsn: u64, batch: (u64, u64)) -> Entry {
        self.seqs += 1;
        let entry = self.entry(lsn, 1, self.seqs, batch);
        self.history().push(entry.clone());
        entry
    }

    fn entry(&mut self, lsn: u64, producer: u64, seq: u64, batch: (u64, u64)) -> Entry {
        let bytes = match self.rng.u8(..8) {
            0 => self.rng.usize(80..400),
            _ => self.rng.usize(40..80),
        };
        let payload = payload(lsn, producer, seq, self.rng.u64(..), bytes);
        Entry { kind: self.rng.u8(..), payload, batch }
    }

    /// As many producers at once, each with `each` records, of which it waits for some to be durable.
    pub fn append_side_by_side(&mut self, producers: u64, each: u64) -> Result<(), String> {
        let first = self.log()?.last_lsn().get() + 1;
        let of_one = |world: &mut World, producer| {
            let seqs = world.seqs + 1..=world.seqs + each;
            seqs.map(|seq| world.entry(0, producer, seq, (0, 0))).collect::<Vec<_>>()
        };
        let entries: Vec<_> = (1..=producers).map(|producer| of_one(self, producer)).collect();
        self.seqs += each;
        let wal = self.log()?;
        let append = |entries: Vec<Entry>| {
            let appended = entries.into_iter().enumerate().map(|(i, entry)| {
                let level = if i % 8 == 7 { Durability::Strict } else { Durability::Balanced };
                let lsn = wal.append_durable(entry.kind, &entry.payload, level);
                let lsn = lsn.map_err(|e| format!("append: {e}"))?.get();
                Ok((lsn, Entry { batch: (lsn, lsn), ..entry }))
            });
            appended.collect::<Result<Vec<_>, String>>()
        };
        let appended = std::thread::scope(|scope| {
            let threads: Vec<_> =
                entries.into_iter().map(|entries| scope.spawn(|| append(entries))).collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect::<Result<Vec<_>, String>>()
        });
        let mut appended = appended?.concat();
        appended.sort_by_key(|(lsn, _)| *lsn);
        for (due, (lsn, entry)) in (first..).zip(appended) {
            if lsn != due {
                return Err(format!("O12: LSN {lsn} was handed out where {due} was due"));
            }
            self.history().push(entry);
        }
        self.settle()
    }

    /// Waits until everything appended is in the file.
    pub fn settle(&mut self) -> Result<(), String> {
        let disk = self.disk.clone();
        let wal = self.log()?;
        let begun = Instant::now();
        loop {
            let writes = disk.writes();
            let stats = wal.stats();
            if stats.written_records_total >= stats.appends_total {
                return Ok(());
            }
            if let Health::Failed(failure) = wal.health() {
                return Err(format!("the log failed: {failure:?}"));
            }
            if begun.elapsed() > LIMIT {
                return Err("a record was not written in time".into());
            }
            disk.until_writes(writes + 1, Duration::from_millis(2));
        }
    }

    pub fn sync(&mut self) -> Result<(), String> {
        let last = self.log()?.sync().map_err(|e| format!("sync: {e}"))?.get();
        self.acknowledged(last);
        Ok(())
    }

    fn acknowledged(&mut self, lsn: u64) {
        self.disk.mark(DURABLE, lsn);
        self.now.acked = self.now.acked.max(lsn);
    }

    fn rotate(&mut self) -> Result<(), String> {
        let before = self.log()?.stats().rotations_total;
        while self.log()?.stats().rotations_total == before {
            self.append(16, true)?;
        }
        Ok(())
    }

    /// The owner's checkpoint covers records up to `end` and is published only when they are
    /// durable; only then is the log retired before it.
    fn checkpoint(&mut self) -> Result<(), String> {
        let end = self.log()?.last_lsn();
        self.checkpoint_of(end)
    }

    /// The same, of records up to `end` while the log has gone on.
    pub fn checkpoint_of(&mut self, end: Lsn) -> Result<(), String> {
        if checkpoint_is_ahead() {
            self.publish(end).map_err(|e| format!("checkpoint: {e}"))?;
        }
        self.log()?.wait_durable(end, LIMIT).map_err(|e| format!("wait_durable: {e}"))?;
        self.acknowledged(end.get().max(self.now.acked));
        self.publish(end).map_err(|e| format!("checkpoint: {e}"))?;
        self.disk.mark(CHECKPOINTED, end.get());
        self.now.checkpoint = end.get();
        self.log()?.retire_before(end.next()).map_err(|e| format!("retire: {e}"))?;
        Ok(())
    }

    fn publish(&mut self, end: Lsn) -> std::io::Result<()> {
        let digest = digest(self.history(), end.get());
        let bytes: Vec<u8> =
            [end.get(), digest].iter().flat_map(|word| word.to_be_bytes()).collect();
        let owner = self.disk.dir(OWNER);
        let file = owner.create("checkpoint.tmp")?;
        file.set_len(0)?;
        file.write_at(&bytes, 0)?;
        file.sync_data()?;
        owner.rename("checkpoint.tmp", CHECKPOINT)?;
        owner.sync_dir()
    }

    pub fn close(&mut self) -> Result<(), String> {
        self.log()?;
        let last = self.history().len() as u64;
        let wal = self.log.take().unwrap();
        wal.close().map_err(|e| format!("close: {e}"))?;
        self.acknowledged(last);
        self.disk.mark(CLOSED, 0);
        self.now.closed = true;
        Ok(())
    }

    pub fn kill(&mut self) {
        self.disk.kill();
        self.log = None;
        self.now.opened = false;
    }

    /// Ends the leg; the disk is one of those that a loss of power can leave.
    pub fn power_cut(&mut self) -> Result<(), String> {
        self.kill();
        let trace = self.end_leg();
        let mut walk = trace.walk();
        while walk.step().is_some() {}
        let plan = CrashPlan { images_max: 64, seed: self.rng.u64(..) };
        let images: Vec<_> = walk.images(&plan).filter(|crash| crash.lost).collect();
        let image = match images.is_empty() {
            true => self.disk.image(),
            false => images[self.rng.usize(..images.len())].image.clone(),
        };
        self.disk = SimDisk::from_image(&image).traced();
        self.began = self.now.clone();
        self.from = 0;
        self.log().map(drop)
    }

    fn end_leg(&mut self) -> Trace {
        let trace = self.disk.trace();
        let leg = Leg { trace: trace.clone(), expect: self.began.clone(), from: self.from };
        self.legs.push(leg);
        trace
    }

    /// Ends the story; the log is dropped as the process dies.
    pub fn finish(&mut self) {
        self.kill();
        self.end_leg();
    }
}
