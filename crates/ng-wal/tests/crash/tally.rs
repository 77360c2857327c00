//! How many images were looked at, of which kinds, and how many of them were not seen before.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Mutex;

use ng_wal::sim::{Crash, CrashKind};

#[derive(Default)]
struct Counts {
    seen: HashSet<u64>,
    kinds: BTreeMap<(&'static str, CrashKind), [u64; 2]>,
    lossy: u64,
    visited: u64,
}

/// Shared by the threads of one test.
#[derive(Default)]
pub struct Tally(Mutex<Counts>);

impl Tally {
    /// Counts an image of a schedule.
    pub fn add(&self, schedule: &'static str, crash: &Crash, digest: u64) {
        let mut counts = self.0.lock().unwrap();
        let new = counts.seen.insert(digest);
        let kind = counts.kinds.entry((schedule, crash.kind)).or_default();
        kind[0] += 1;
        kind[1] += u64::from(new);
        counts.visited += 1;
        counts.lossy += u64::from(new && crash.lost);
    }

    pub fn distinct(&self) -> u64 {
        self.0.lock().unwrap().seen.len() as u64
    }

    pub fn lossy(&self) -> u64 {
        self.0.lock().unwrap().lossy
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().unwrap();
        writeln!(f, "{:24} {:10} {:>10} {:>10}", "schedule", "crash", "visited", "distinct")?;
        for ((schedule, kind), [visited, distinct]) in &counts.kinds {
            let kind = format!("{kind:?}");
            writeln!(f, "{schedule:24} {kind:10} {visited:10} {distinct:10}")?;
        }
        let (distinct, lossy) = (counts.seen.len(), counts.lossy);
        write!(f, "{} visited, {distinct} distinct, {lossy} of them lossy", counts.visited)
    }
}
