//! Judges what a log holds after each death of its writer, from what the writers had said and what earlier looks had
//! shown. Knows nothing of the log's code or bytes: numbers, marks, promises.
//!
//! O1 an exact prefix; O2 all that was promised; O3 nothing invented, nothing twice; O4 each producer's order; O5 what an
//! open gave back stays; O6 a number given again carries the new record for ever; O7 no refusal after a crash; O10 a batch
//! is there or not; O12 numbers never restart. (O8, O9 and O11 need an inner view; the crate's own tests have them.)

use std::collections::{BTreeMap, HashMap};

use super::{
    Counts,
    child::{Found, Mark, Said},
};

/// All that is known of one directory.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Highest LSN that must be there.
    promised: u64,
    /// Records below this may be gone.
    retired: u64,
    /// What the last look showed.
    settled: BTreeMap<u64, Mark>,
    /// Highest LSN of the last look.
    settled_last: u64,
    pub(super) tally: Tally,
}

/// Sums over all looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) looks: u64,
    pub(super) appended: u64,
    pub(super) acked: u64,
    pub(super) recovered: u64,
    pub(super) lost: u64,
    pub(super) invented: u64,
    pub(super) duplicates: u64,
    pub(super) refusals: u64,
    pub(super) torn: u64,
    pub(super) dropped_frames: u64,
}

impl Tally {
    pub(super) fn counts(&self) -> Counts {
        Counts(vec![
            ("looks", self.looks),
            ("appended", self.appended),
            ("acked", self.acked),
            ("recovered", self.recovered),
            ("lost", self.lost),
            ("invented", self.invented),
            ("duplicates", self.duplicates),
            ("false refusals", self.refusals),
            ("torn tails", self.torn),
            ("dropped frames", self.dropped_frames),
        ])
    }
}

impl Oracle {
    /// An oracle for another directory that goes on counting.
    pub(super) fn renewed(&self) -> Self {
        Self { tally: self.tally, ..Self::default() }
    }

    /// Takes in what the writer of this run said, then judges what was found after it.
    pub(super) fn judge(&mut self, run: u64, said: &Said, found: &Found) -> Result<(), String> {
        self.tally.looks += 1;
        self.tally.appended += said.appended.len() as u64;
        self.tally.acked += said.durable.saturating_sub(self.promised);
        self.promised = self.promised.max(said.durable);
        self.retired = self.retired.max(said.retired);
        let mut wrong = Vec::new();
        if let Some(lsn) = said.given_twice {
            wrong.push(format!("O3: LSN {lsn} was given to two records"));
        }
        if let Some(reason) = &found.not_opened {
            self.tally.refusals += 1;
            return Err(format!("O7: refused after a crash: {reason}"));
        }
        if !found.whole {
            return Err("O7: the verifying process did not come to its end".into());
        }
        let records = self.shape(found, &mut wrong);
        self.promises(found, &mut wrong);
        self.identities(run, said, &records, &mut wrong);
        order_and_batches(run, self.settled_last, &records, &mut wrong);
        self.tally.recovered += found.last.saturating_sub(self.settled_last);
        self.tally.torn += u64::from(found.torn_bytes > 0);
        self.tally.dropped_frames += found.dropped_frames;
        // What an open gave back counts as promised from now on.
        self.promised = self.promised.max(found.last);
        (self.settled, self.settled_last) = (records, found.last);
        if wrong.is_empty() { Ok(()) } else { Err(first_of(&wrong)) }
    }

    /// O1, O3: numbers without a gap, each record what its mark says.
    fn shape(&mut self, found: &Found, wrong: &mut Vec<String>) -> BTreeMap<u64, Mark> {
        let mut records = BTreeMap::new();
        let mut next = found.first;
        for (lsn, mark) in &found.records {
            match mark {
                Ok(mark) => {
                    if *lsn != next {
                        wrong.push(format!("O1: LSN {lsn} where {next} should be"));
                    }
                    records.insert(*lsn, *mark);
                }
                Err(reason) => {
                    self.tally.invented += 1;
                    wrong.push(format!("O3: {reason}"));
                }
            }
            next = lsn + 1;
        }
        if next != found.last + 1 {
            wrong.push(format!("O1: the replay ends before LSN {next}, not at {}", found.last));
        }
        let mut places: HashMap<Mark, u64> = HashMap::new();
        for (lsn, mark) in &records {
            if let Some(other) = places.insert(*mark, *lsn) {
                self.tally.duplicates += 1;
                wrong.push(format!("O3: LSN {other} and {lsn} are one record"));
            }
        }
        records
    }

    /// O2, O5, O12: nothing promised is gone, at either end.
    fn promises(&mut self, found: &Found, wrong: &mut Vec<String>) {
        if found.last < self.promised {
            self.tally.lost += self.promised - found.last;
            let (last, promised) = (found.last, self.promised);
            wrong.push(format!("O2: LSN {promised} was promised, the log ends at {last}"));
        }
        let first = self.retired.max(1);
        if found.first > first {
            self.tally.lost += found.first - first;
            let begin = found.first;
            wrong.push(format!("O2: the log begins at LSN {begin}, retired is below {first}"));
        }
    }

    /// O3, O5, O6: each number carries the record that it was given to last.
    fn identities(
        &mut self,
        run: u64,
        said: &Said,
        records: &BTreeMap<u64, Mark>,
        wrong: &mut Vec<String>,
    ) {
        for (lsn, mark) in records {
            let (expected, oracle) = if *lsn <= self.settled_last {
                (self.settled.get(lsn), "O5")
            } else {
                (said.appended.get(lsn), "O6")
            };
            if expected.is_some_and(|expected| expected != mark) {
                self.tally.invented += 1;
                wrong.push(format!("{oracle}: LSN {lsn} holds {mark:?}, not {expected:?}"));
            } else if *lsn > self.settled_last && mark.run != run {
                self.tally.invented += 1;
                wrong.push(format!("O6: LSN {lsn} holds {mark:?} of an earlier run"));
            }
        }
    }
}

/// O4, O10: what this run added is each producer's prefix, in order, and whole batches.
fn order_and_batches(
    run: u64,
    settled_last: u64,
    records: &BTreeMap<u64, Mark>,
    wrong: &mut Vec<String>,
) {
    // Where retirement took the run's first records, a producer's first is not known.
    let whole = records.keys().next().is_some_and(|first| *first <= settled_last + 1);
    let mut last_of: HashMap<u64, u64> = HashMap::new();
    let mut open: Option<Mark> = None;
    for (lsn, mark) in records.iter().filter(|(lsn, mark)| **lsn > settled_last && mark.run == run)
    {
        let next = match last_of.insert(mark.producer, mark.seq) {
            Some(before) => before + 1,
            None if whole => 1,
            None => mark.seq,
        };
        if mark.seq != next {
            wrong.push(format!("O4: LSN {lsn} is number {} of its producer, not {next}", mark.seq));
        }
        let follows = match open {
            Some(before) => {
                mark.producer == before.producer
                    && mark.count == before.count
                    && mark.index == before.index + 1
            }
            None => mark.index == 0,
        };
        if !follows {
            wrong.push(format!("O10: LSN {lsn} breaks a batch: {mark:?} after {open:?}"));
        }
        open = (mark.index + 1 < mark.count).then_some(*mark);
    }
    if let Some(mark) = open {
        wrong.push(format!("O10: the log ends inside a batch: {mark:?}"));
    }
}

fn first_of(wrong: &[String]) -> String {
    let shown = wrong.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    if wrong.len() > 3 { format!("{shown}; and {} more", wrong.len() - 3) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(run: u64, seq: u64) -> String {
        format!("ngt:{run:06}:01:{seq:08}:00/01")
    }

    fn found(first: u64, marks: &[String]) -> Found {
        let last = first + marks.len() as u64 - 1;
        let mut text = format!("V {first} {last} End 0 0\n");
        for (i, mark) in marks.iter().enumerate() {
            text += &format!("r {} {mark}\n", first + i as u64);
        }
        Found::parse(&(text + "E left open\n"))
    }

    fn verdict(said: &str, found: &Found) -> String {
        let mut oracle = Oracle::default();
        oracle.judge(1, &Said::parse(said), found).err().unwrap_or_default()
    }

    #[test]
    fn an_exact_prefix_with_all_that_was_promised_passes() {
        let three = [single(1, 1), single(1, 2), single(1, 3)];
        let said = format!("O 0 0\nA 1 {}\nD 2\n", three[0]);
        assert_eq!(verdict(&said, &found(1, &three)), "");
        assert_eq!(verdict(&said, &found(1, &three[..2])), "");
    }

    #[test]
    fn each_oracle_finds_what_it_is_for() {
        let three = [single(1, 1), single(1, 2), single(1, 3)];
        let starts = |said: &str, found: &Found, oracle: &str| {
            let verdict = verdict(said, found);
            assert!(verdict.starts_with(oracle), "{oracle}: {verdict:?}");
        };
        starts("D 4\n", &found(1, &three), "O2");
        starts("D 3\n", &found(2, &[single(1, 2), single(1, 3)]), "O2");
        starts("D 1\n", &found(1, &[single(1, 1), single(1, 3)]), "O4");
        starts("D 1\n", &found(1, &[single(1, 1), single(1, 1)]), "O3");
        starts("D 1\n", &found(1, &[single(2, 1)]), "O6");
        starts(&format!("A 1 {}\n", single(1, 2)), &found(1, &[single(1, 1)]), "O6");
        starts("D 1\n", &found(1, &["ngt:000001:01:00000001:00/02".into()]), "O10");
        let gap = Found::parse(&format!(
            "V 1 3 End 0 0\nr 1 {}\nr 3 {}\nE left open\n",
            three[0], three[1]
        ));
        starts("D 1\n", &gap, "O1");
        starts("D 1\n", &Found::parse("V 1 1 End 0 0\nb 1 not ours\nE left open\n"), "O3");
        starts("", &Found::parse("N corrupt\n"), "O7");
        starts("", &Found::parse("V 0 0 New 0 0\n"), "O7");
    }

    #[test]
    fn what_one_open_gave_back_binds_the_next_one() {
        let mut oracle = Oracle::default();
        let two = [single(1, 1), single(1, 2)];
        oracle.judge(1, &Said::parse("O 0 0\nD 1\n"), &found(1, &two)).unwrap();
        // The second was never acknowledged, but an open has shown it.
        let cut = oracle.judge(2, &Said::default(), &found(1, &two[..1])).unwrap_err();
        assert!(cut.starts_with("O2"), "{cut}");
        let mut oracle = Oracle::default();
        oracle.judge(1, &Said::default(), &found(1, &two)).unwrap();
        let other = [single(1, 1), single(2, 1)];
        let changed = oracle.judge(2, &Said::default(), &found(1, &other)).unwrap_err();
        assert!(changed.starts_with("O5"), "{changed}");
    }

    #[test]
    fn records_below_a_retirement_may_be_gone_and_no_others() {
        let tail = [single(1, 3), single(1, 4)];
        assert_eq!(verdict("D 4\nR 3\n", &found(3, &tail)), "");
        assert!(verdict("D 4\nR 2\n", &found(3, &tail)).starts_with("O2"));
        assert_eq!(verdict("D 4\nR 5\n", &Found::parse("V 0 4 End 0 0\nE closed\n")), "");
    }
}
