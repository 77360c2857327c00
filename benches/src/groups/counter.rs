//! Groups `counter` and `counter_2t`: one increment, and one while another thread counts on the same counter.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use ng_metrics::Counter;

use crate::{
    machine,
    row::{Bar, Failure, Group, Kind, On, Row, Sample, Side, Work},
    subject::{at_once, sample},
};

const THREADS: u64 = 2;

pub(crate) fn one_thread() -> Group {
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, env!("CARGO_PKG_VERSION"), |work: &Work| {
            alone(work, OURS)
        }),
        Row::new("floor:load_store", Kind::Floor, "", |work: &Work| alone(work, FLOOR)),
    ];
    rows.extend(peers().into_iter().map(|(name, version, peer)| {
        Row::new(name, Kind::Peer, version, move |work: &Work| alone(work, peer))
    }));
    let (over, under) = ("neurograph", "floor:load_store");
    let bars = vec![Bar { id: "P7", over, under, side: Side::AtMost, bar: 2.0, goal: Some(1.2) }];
    let title = "Count, one thread";
    Group { on: On::Cells, ..Group::in_memory("counter", title, rows, bars) }
}

/// Nanoseconds an increment on each thread: where threads do not hinder each other, those of one thread alone.
pub(crate) fn two_threads() -> Group {
    let ours = env!("CARGO_PKG_VERSION");
    let mut rows = vec![
        Row::new("neurograph", Kind::Ours, ours, |work: &Work| together(work, OURS)),
        Row::new("neurograph:1t", Kind::Ours, ours, |work: &Work| alone(work, OURS)),
        Row::new("floor:load_store", Kind::Floor, "", |work: &Work| together(work, FLOOR)),
    ];
    rows.extend(peers().into_iter().map(|(name, version, peer)| {
        Row::new(name, Kind::Peer, version, move |work: &Work| together(work, peer))
    }));
    let (over, under) = ("neurograph", "neurograph:1t");
    let bars = vec![Bar { id: "P7x", over, under, side: Side::AtMost, bar: 1.2, goal: Some(1.0) }];
    let title = "Count, two threads on one counter";
    Group { on: On::Cells, ..Group::in_memory("counter_2t", title, rows, bars) }
}

/// What counts: made anew each round.
type Make = fn() -> Box<dyn Subject>;

trait Subject: Send + Sync {
    /// Counts `n` times, as thread `thread`.
    fn count(&self, thread: usize, n: u64);
    fn total(&self) -> u64;
}

const OURS: Make = || Box::new(Counter::new());
const FLOOR: Make = || Box::new(Own::default());

// Out of line, like the floor's loop below: the same registers for all. What counts is hidden in each turn, as where
// increments lie apart: so ours looks up the thread's slot each time, and the floor is a load and a store by an address,
// where a processor would keep one fixed address in a register.
macro_rules! counts_by_inc {
    ($counter:ty) => {
        impl Subject for $counter {
            #[inline(never)]
            fn count(&self, _thread: usize, n: u64) {
                for _ in 0..n {
                    black_box(self).inc();
                }
            }
            fn total(&self) -> u64 {
                self.get()
            }
        }
    };
}

counts_by_inc!(Counter);
counts_by_inc!(PrometheusClient);
#[cfg(feature = "peers")]
counts_by_inc!(prometheus::IntCounter);

/// A cell for each thread, far apart: nothing is looked up.
#[derive(Default)]
struct Own {
    cells: [Cell; THREADS as usize],
}

#[derive(Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

impl Subject for Own {
    #[inline(never)]
    fn count(&self, thread: usize, n: u64) {
        let Cell(cell) = &self.cells[thread];
        for _ in 0..n {
            let cell = black_box(cell);
            cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }
    fn total(&self) -> u64 {
        self.cells.iter().map(|Cell(cell)| cell.load(Ordering::Relaxed)).sum()
    }
}

type PrometheusClient = prometheus_client::metrics::counter::Counter;

fn peers() -> Vec<(&'static str, &'static str, Make)> {
    let version = machine::version_in_lock;
    let client: Make = || Box::new(PrometheusClient::default());
    #[allow(unused_mut, reason = "without the feature there is one")]
    let mut peers = vec![("prometheus-client", version("prometheus-client"), client)];
    #[cfg(feature = "peers")]
    peers.push(("prometheus", version("prometheus"), || {
        Box::new(prometheus::IntCounter::new("a", "A.").expect("a name and a help"))
    }));
    peers
}

fn alone(work: &Work, make: Make) -> Result<Sample, Failure> {
    let subject = make();
    subject.count(0, 1); // a thread's first count is another matter
    let begin = Instant::now();
    subject.count(0, work.tokens);
    let sample = sample(begin, work.tokens);
    counted(&*subject, work.tokens + 1)?;
    Ok(sample)
}

fn together(work: &Work, make: Make) -> Result<Sample, Failure> {
    let subject = make();
    let (elapsed_ns, _) =
        at_once(0..THREADS as usize, |thread| subject.count(thread, work.tokens))?;
    counted(&*subject, THREADS * work.tokens)?;
    Ok(Sample { elapsed_ns, operations: work.tokens })
}

fn counted(subject: &dyn Subject, expected: u64) -> Result<(), Failure> {
    match subject.total() {
        total if total == expected => Ok(()),
        total => Err(Failure::Check(format!("{expected} were counted and {total} are there"))),
    }
}
