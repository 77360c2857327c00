//! What must hold after a crash, by the names of the list that the design gives them (O1 to O12).
//! A breach is an `Err` that begins with its name.

use std::collections::{HashMap, HashSet};

use ng_wal::sim::{Crash, CrashPlan, Image, SimDisk, recover, recover_replaying};
use ng_wal::{Records, Recovery, WalConfig};

use crate::tally::Tally;
use crate::world::{
    CHECKPOINTED, CLOSED, DURABLE, Entry, History, LOG, Leg, OPENED, OPENING, checkpoint_of,
    digest, parse,
};

/// What had been promised at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// Which history is the truth.
    pub life: usize,
    /// Highest record acknowledged as durable, or given back by an open.
    pub acked: u64,
    /// The durable mark as last seen in this life.
    pub mark: u64,
    /// The newest checkpoint whose publication had returned.
    pub checkpoint: u64,
    pub opened: bool,
    /// A close has returned, and nobody has begun to open the log since.
    pub closed: bool,
}

impl Expect {
    /// O9: a durable mark never falls, and is never beyond what was handed out.
    fn learn(&mut self, (label, value): (u64, u64), lives: &[History]) -> Result<(), String> {
        match label {
            OPENED => {
                self.life = value as usize;
                self.mark = 0;
                self.opened = true;
            }
            DURABLE => {
                if value < self.mark {
                    return Err(format!("O9: the durable mark fell from {} to {value}", self.mark));
                }
                if value > lives[self.life].len() as u64 {
                    return Err(format!("O9: record {value} is durable and was never appended"));
                }
                self.mark = value;
                self.acked = self.acked.max(value);
            }
            CHECKPOINTED => self.checkpoint = value,
            CLOSED => self.closed = true,
            OPENING => self.closed = false,
            _ => {}
        }
        Ok(())
    }
}

/// Compares what an open gave back with what was promised.
pub fn check(
    image: &Image,
    recovery: &Recovery,
    expect: &Expect,
    lives: &[History],
) -> Result<(), String> {
    let history = &lives[expect.life];
    let last = recovery.last_lsn.get();
    if last < expect.acked && recovery.records == 0 && expect.checkpoint >= expect.acked {
        return Err(format!(
            "O12: everything up to {} is in the checkpoint, and numbers go on after {last}",
            expect.acked
        ));
    }
    if last < expect.acked {
        return Err(format!(
            "O2: record {} was acknowledged, the log ends at {last}",
            expect.acked
        ));
    }
    if expect.closed && !recovery.sealed {
        return Err("O2: the log was closed, and says that it was not".into());
    }
    if last > history.len() as u64 {
        return Err(format!("O3: the log ends at {last}, {} were appended", history.len()));
    }
    let mut next = recovery.first_lsn.get();
    let mut numbers = HashMap::new();
    for record in recovery.replay() {
        let record = record.map_err(|e| format!("O1: replay failed: {e}"))?;
        let lsn = record.lsn.get();
        if lsn != next {
            return Err(format!("O3: record {lsn} came where {next} was due"));
        }
        next += 1;
        let entry = &history[lsn as usize - 1];
        if record.kind != entry.kind || record.payload[..] != entry.payload[..] {
            return Err(explain(lsn, &record.payload, lives));
        }
        let Some((_, producer, number)) = parse(&record.payload) else {
            return Err(format!("O1: record {lsn} has another hash than it says"));
        };
        let before = numbers.insert(producer, number);
        if let Some(before) = before.filter(|before| number <= *before) {
            return Err(format!(
                "O4: record {lsn} is number {number} of producer {producer}, after {before}"
            ));
        }
    }
    if recovery.records > 0 && next != last + 1 {
        return Err(format!("O1: replay ends before {next}, the log at {last}"));
    }
    if let Some(Entry { batch, .. }) = history.get((last as usize).wrapping_sub(1))
        && batch.1 != last
    {
        return Err(format!("O10: of the batch {} to {} only a part is there", batch.0, batch.1));
    }
    check_owner(image, recovery, expect, history)
}

/// Why a record is not what it should be: an older history's, or nobody's.
fn explain(lsn: u64, payload: &[u8], lives: &[History]) -> String {
    let older = lives
        .iter()
        .any(|life| life.get(lsn as usize - 1).is_some_and(|entry| entry.payload[..] == *payload));
    match older {
        true => format!("O6: record {lsn} is what a process before had under this number"),
        false => format!("O1: record {lsn} is not what was appended"),
    }
}

/// Checkpoint and log together are everything.
fn check_owner(
    image: &Image,
    recovery: &Recovery,
    expect: &Expect,
    history: &History,
) -> Result<(), String> {
    let (end, stored) = checkpoint_of(image).unwrap_or((0, digest(history, 0)));
    let last = recovery.last_lsn.get();
    if end < expect.checkpoint {
        return Err(format!("O5: checkpoint {} was published, found {end}", expect.checkpoint));
    }
    if end > last {
        return Err(format!("O6: the checkpoint covers {end}, the log ends at {last}"));
    }
    if stored != digest(history, end) {
        return Err(format!("O6: the checkpoint of {end} holds records of a lost history"));
    }
    let first = if recovery.records > 0 { recovery.first_lsn.get() } else { last + 1 };
    if first > end + 1 {
        return Err(format!(
            "O2: records {} to {} are in neither checkpoint nor log",
            end + 1,
            first - 1
        ));
    }
    Ok(())
}

/// How much is looked at.
#[derive(Clone)]
pub struct Looking<'a> {
    pub schedule: &'static str,
    pub tally: &'a Tally,
    pub plan: CrashPlan,
    /// Each n-th image is opened twice (O11), and crashed again inside its open.
    pub again_each: u64,
    pub second_each: u64,
    /// Only this one.
    pub only: Option<(usize, usize)>,
    pub config: WalConfig,
}

impl Looking<'_> {
    /// Goes through a leg and opens what a crash at each boundary leaves.
    pub fn look(&self, leg: &Leg, lives: &[History]) -> Result<(), String> {
        let mut walk = leg.trace.walk();
        let mut expect = leg.expect.clone();
        let mut known = HashSet::new();
        let mut ordinal = self.plan.seed;
        // What had been promised where it was looked last: a new promise is judged on an old disk too.
        let mut promised = None;
        loop {
            let wanted =
                walk.boundary() >= leg.from && self.only.is_none_or(|(b, _)| b == walk.boundary());
            let promise = (expect.acked, expect.checkpoint, expect.life, expect.closed);
            if wanted && (walk.is_new() || promised != Some(promise)) {
                promised = Some(promise);
                for crash in walk.images(&self.plan) {
                    if self.only.is_some_and(|(_, index)| index != crash.index) {
                        continue;
                    }
                    let digest = crash.image.digest();
                    // The same directory under the same promises was judged already.
                    if !known.insert((digest, expect.acked, expect.checkpoint, expect.life)) {
                        continue;
                    }
                    self.tally.add(self.schedule, &crash, digest);
                    ordinal += 1;
                    self.judge(&crash, ordinal, &expect, lives).map_err(|reason| {
                        format!(
                            "{reason}\n  {}, after {}; promised {expect:?}",
                            crash.name(),
                            walk.after()
                        )
                    })?;
                }
            }
            match walk.step() {
                Some(step) => {
                    if let Some(mark) = step.mark {
                        expect.learn(mark, lives)?;
                    }
                    expect.opened &= !step.killed;
                }
                None => return Ok(()),
            }
        }
    }

    /// O7: every image here is legal, so it opens.
    fn open(&self, disk: &SimDisk) -> Result<Recovery, String> {
        recover(disk.dir(LOG), &self.config)
            .map_err(|e| format!("O7: a legal crash was refused: {e}"))
    }

    /// The same, and what is shown meanwhile is what a replay gives.
    fn open_replaying(&self, disk: &SimDisk) -> Result<Recovery, String> {
        let mut shown = Vec::new();
        let visit = |records: Records<'_>| {
            shown.extend(records.map(|record| (record.lsn, record.kind, record.payload.to_vec())));
        };
        let recovery = recover_replaying(disk.dir(LOG), &self.config, visit)
            .map_err(|e| format!("O7: a legal crash was refused: {e}"))?;
        let mut replayed = Vec::new();
        for record in recovery.replay() {
            let record = record.map_err(|e| format!("O3: the replay fails: {e}"))?;
            replayed.push((record.lsn, record.kind, record.payload.to_vec()));
        }
        if recovery.replayed && shown != replayed {
            return Err(format!("O3: shown {} records, replayed {}", shown.len(), replayed.len()));
        }
        Ok(recovery)
    }

    fn judge(
        &self,
        crash: &Crash,
        ordinal: u64,
        expect: &Expect,
        lives: &[History],
    ) -> Result<(), String> {
        let disk = SimDisk::from_image(&crash.image);
        let second = self.second_each > 0 && ordinal.is_multiple_of(self.second_each);
        let disk = if second { disk.traced() } else { disk };
        let recovery = self.open(&disk)?;
        check(&crash.image, &recovery, expect, lives)?;
        if ordinal.is_multiple_of(self.again_each) {
            let before = disk.image().digest();
            let again = SimDisk::from_image(&disk.image());
            let twice = self.open_replaying(&again)?;
            if twice.last_lsn != recovery.last_lsn || again.image().digest() != before {
                return Err("O11: the second open changed something".into());
            }
        }
        if second { self.crash_again(&disk, &recovery, expect, lives) } else { Ok(()) }
    }

    /// A crash at each boundary inside the open, and right after it.
    fn crash_again(
        &self,
        disk: &SimDisk,
        first: &Recovery,
        expect: &Expect,
        lives: &[History],
    ) -> Result<(), String> {
        let mut walk = disk.trace().walk();
        let plan = CrashPlan { images_max: 12, seed: self.plan.seed };
        let mut known = HashSet::new();
        loop {
            let boundary = walk.boundary();
            let returned = boundary == disk.trace().len();
            let mut expect = Expect { closed: false, ..expect.clone() };
            if returned {
                expect.acked = first.last_lsn.get(); // O5: what an open gave back counts
            }
            for crash in walk.images(&plan) {
                let digest = crash.image.digest();
                if !known.insert((digest, returned)) {
                    continue;
                }
                self.tally.add("crash inside open", &crash, digest);
                let place =
                    || format!("\n  second crash, {}, after {}", crash.name(), walk.after());
                let recovery =
                    self.open(&SimDisk::from_image(&crash.image)).map_err(|e| e + &place())?;
                check(&crash.image, &recovery, &expect, lives).map_err(|e| {
                    // Named for what it is: promised by an open.
                    let name = if returned { e.replace("O2:", "O5:") } else { e };
                    name + &place()
                })?;
                if returned && recovery.last_lsn != first.last_lsn {
                    return Err(format!(
                        "O6: the open gave back records up to {}, the next one up to {}{}",
                        first.last_lsn,
                        recovery.last_lsn,
                        place()
                    ));
                }
            }
            if walk.step().is_none() {
                return Ok(());
            }
        }
    }
}
