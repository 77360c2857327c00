//! One run of each side: the arena alone, and the store with some of its parts on. The timed region
//! is the same for both; what is done before and after it is not in any figure of time.

use std::sync::Arc;
use std::time::Instant;

use neurograph::{Session, Store, TokenId};

use crate::activity::Activity;
use crate::admissions::{Admissions, meet_the_quota};
use crate::failure::Failure;
use crate::fill::{Fill, fill};
use crate::floors;
use crate::lab::Lab;
use crate::pace::Paced;
use crate::readback::Readback;
use crate::scraper::{Scraped, Scraper};
use crate::subject::{self, Parts, log_records};
use crate::usage;

/// Name of a run's store in the working directory.
const STORE: &str = "store";

/// What every run measures.
#[derive(Debug)]
pub struct Timing {
    /// First create to last.
    pub elapsed: Paced,
    /// Processor time of all threads, from the first create to everything being durable.
    pub cpu: Paced,
    /// By tenths of the creates.
    pub tenths_ns: Vec<u64>,
    /// Resident memory.
    pub rss: Rss,
}

/// Resident memory around a run, without the ids that the suite itself keeps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rss {
    /// Before anything was made.
    pub start_bytes: u64,
    /// After the last create.
    pub peak_bytes: u64,
    /// After everything was dropped.
    pub end_bytes: u64,
    /// Creators of the run.
    pub threads: usize,
}

impl Rss {
    /// What the tokens took.
    pub fn growth_bytes(&self) -> u64 {
        self.peak_bytes.saturating_sub(self.start_bytes)
    }

    /// What was not given back.
    pub fn left_bytes(&self) -> u64 {
        self.end_bytes.saturating_sub(self.start_bytes)
    }

    /// What may stay: 1 % of the growth. In small runs it is 1 MiB, for pages of the program's own code, and 32 KiB
    /// a thread, for stacks and heaps that the C library keeps for the next ones.
    pub fn may_stay_bytes(&self) -> u64 {
        let fixed = (1 << 20) + ((self.threads as u64) << 15);
        (self.growth_bytes() / 100).max(fixed)
    }
}

/// Creates --tokens tokens in an arena of its own; reads them back if `prove`.
pub fn baseline(
    lab: &Lab<'_>,
    threads: usize,
    prove: bool,
) -> Result<(Timing, Option<Readback>), Failure> {
    let start_bytes = usage::rss_bytes();
    let arena = subject::arena(lab.plan, threads)?;
    let mut writers: Vec<_> = (0..threads).map(|_| arena.writer()).collect();
    let numbers = 0..lab.plan.tokens;
    floors::back_memory(lab.plan.tokens)?;
    let cpu = usage::cpu_ns();
    let filled = fill("baseline", &mut writers, &lab.workload, numbers.clone(), prove, || {})?;
    let cpu_ns = usage::cpu_ns() - cpu;
    let peak_bytes = rss_without(&filled.ids);
    let readback = prove.then(|| {
        Readback::of(lab, "baseline", numbers, &filled.ids, |id| arena.get(id), arena.iter())
    });
    let mut timing = timing(filled, cpu_ns, Rss { start_bytes, peak_bytes, end_bytes: 0, threads });
    drop(writers);
    drop(arena);
    timing.rss.end_bytes = usage::rss_bytes();
    Ok((timing, readback))
}

/// A run of the store.
#[derive(Debug)]
pub struct FullRun {
    /// As for the baseline.
    pub timing: Timing,
    /// From the last create to all of the log being durable; 0 without a log.
    pub durable_after_ns: u64,
    /// What the store said right after that.
    pub activity: Activity,
    /// What the scraper saw.
    pub scraped: Scraped,
    /// What was proved afterwards.
    pub proof: Option<Proof>,
}

/// What is looked at after the timed region of a proving run.
#[derive(Debug)]
pub struct Proof {
    /// Every token, read back.
    pub readback: Readback,
    /// The quota, compared with a model.
    pub admissions: Admissions,
    /// What the store said after all of it.
    pub activity: Activity,
    /// The metrics page after all of it.
    pub page: String,
    /// Token records that the log's reader found after the close.
    pub wal_records: u64,
    /// Records with a bad checksum among them, or other errors of the reader.
    pub wal_errors: u64,
}

/// Creates --tokens tokens in a store with `parts` on; proves the result if `prove`.
pub fn full(lab: &Lab<'_>, parts: Parts, threads: usize, prove: bool) -> Result<FullRun, Failure> {
    let start_bytes = usage::rss_bytes();
    let dir = lab.workdir.join(STORE);
    let store = Arc::new(subject::store(lab.plan, parts, threads, &dir)?);
    let mut sessions: Vec<Session> = (0..threads).map(|_| store.session()).collect();
    let scraper = parts.metrics.then(|| Scraper::start(&store)).transpose()?;
    let go = || {
        if let Some(scraper) = &scraper {
            scraper.go();
        }
    };
    let numbers = 0..lab.plan.tokens;
    floors::back_memory(lab.plan.tokens)?;
    let cpu = usage::cpu_ns();
    let mut filled = fill("full", &mut sessions, &lab.workload, numbers.clone(), prove, go)?;
    let last = Instant::now();
    if parts.wal {
        store.sync().map_err(Failure::subject("cannot sync the store"))?;
    }
    let durable_after_ns = last.elapsed().as_nanos() as u64;
    let cpu_ns = usage::cpu_ns() - cpu;
    let peak_bytes = rss_without(&filled.ids);
    let activity = Activity::from(&store.stats());
    let afterwards = if prove {
        meet_the_quota(lab, &store, &mut sessions, &mut filled.ids)?;
        let reader = store.session();
        let get = |id: TokenId| reader.get(id);
        let readback = Readback::of(lab, "full", numbers, &filled.ids, get, store.iter());
        let admissions = Admissions::of(lab, &mut sessions, &filled.ids)?;
        Some((readback, admissions, Activity::from(&store.stats()), store.metrics_text()))
    } else {
        None
    };
    let mut timing = timing(filled, cpu_ns, Rss { start_bytes, peak_bytes, end_bytes: 0, threads });
    let scraped = scraper.map(Scraper::stop).unwrap_or_default();
    drop(sessions);
    close(store)?;
    let proof = match afterwards {
        Some((readback, admissions, activity, page)) => {
            let (wal_records, wal_errors) = if parts.wal { log_records(&dir)? } else { (0, 0) };
            Some(Proof { readback, admissions, activity, page, wal_records, wal_errors })
        }
        None => None,
    };
    lab.workdir.remove(STORE)?;
    timing.rss.end_bytes = usage::rss_bytes();
    Ok(FullRun { timing, durable_after_ns, activity, scraped, proof })
}

/// Closes a store that nobody else holds any more.
pub fn close(store: Arc<Store>) -> Result<(), Failure> {
    let store = Arc::into_inner(store)
        .ok_or_else(|| Failure::Broken("the store is still in use when it is closed".into()))?;
    store.close().map_err(Failure::subject("cannot close the store"))
}

fn timing(filled: Fill, cpu_ns: u64, rss: Rss) -> Timing {
    Timing {
        elapsed: filled.time,
        cpu: Paced {
            ns: cpu_ns.saturating_sub(filled.yardstick_cpu_ns),
            pace_ns: filled.time.pace_ns,
        },
        tenths_ns: filled.tenths_ns.to_vec(),
        rss,
    }
}

fn rss_without(ids: &[TokenId]) -> u64 {
    usage::rss_bytes().saturating_sub(size_of_val(ids) as u64)
}
