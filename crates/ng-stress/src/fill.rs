//! The timed region that both sides of every ratio share: create tokens one by one, on one thread or
//! several. Nothing else happens in it but the clock reads around each lap (`pace.rs`).

use std::ops::Range;
use std::sync::Barrier;

use neurograph::{Token, TokenId};

use crate::failure::Failure;
use crate::pace::{Laps, Paced, TENTHS, Yardstick, split};
use crate::workload::Workload;

/// What is put under load, as one thread sees it: the arena's writer, or a session of the store.
pub trait Subject: Send {
    /// Stores a token; None if that was refused.
    fn create(&mut self, token: &Token) -> Option<TokenId>;
    /// Deletes a token; false if it was not there.
    fn delete(&mut self, id: TokenId) -> bool;
}

/// One timed region.
#[derive(Debug)]
pub struct Fill {
    /// First create to last of the slowest thread, the yardsticks taken out; and the yardsticks,
    /// mean of the threads.
    pub time: Paced,
    /// Processor time that the yardsticks took on all threads.
    pub yardstick_cpu_ns: u64,
    /// Mean of the threads, for each tenth of their creates.
    pub tenths_ns: [u64; TENTHS],
    /// Creates that were refused.
    pub refused: u64,
    /// Ids in the order of the tokens' numbers, as numbers (0: refused); empty unless asked for.
    pub ids: Vec<u64>,
}

/// Creates the tokens `numbers`, in equal shares by each of `subjects`. With `keep`, the ids are
/// kept for reading back, in memory touched beforehand. `go` is called just before the start.
pub fn fill<S: Subject>(
    subjects: &mut [S],
    workload: &Workload,
    numbers: Range<u64>,
    keep: bool,
    go: impl FnOnce(),
) -> Result<Fill, Failure> {
    let mut shares: Vec<Share> = shares(numbers, subjects.len(), keep)?;
    if let ([subject], [share]) = (&mut *subjects, &mut *shares) {
        go();
        share.run(subject, workload);
    } else {
        let start = Barrier::new(shares.len() + 1);
        std::thread::scope(|scope| {
            for (subject, share) in subjects.iter_mut().zip(&mut shares) {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    share.run(subject, workload);
                });
            }
            go();
            start.wait();
        });
    }
    Ok(join(shares))
}

/// One thread's part.
#[derive(Debug)]
struct Share {
    numbers: Range<u64>,
    keep: bool,
    ids: Vec<u64>,
    refused: u64,
    yardstick: Yardstick,
    laps: Laps,
}

fn shares(numbers: Range<u64>, count: usize, keep: bool) -> Result<Vec<Share>, Failure> {
    split(numbers, count)
        .map(|numbers| {
            Ok(Share {
                // Ones, not zeroes: they are written, so the memory is there before the clock runs.
                ids: vec![1; if keep { (numbers.end - numbers.start) as usize } else { 0 }],
                numbers,
                keep,
                refused: 0,
                yardstick: Yardstick::new()?,
                laps: Laps::default(),
            })
        })
        .collect()
}

impl Share {
    fn run<S: Subject>(&mut self, subject: &mut S, workload: &Workload) {
        let (first, ids, mut refused) = (self.numbers.start, &mut self.ids, 0);
        let keep = self.keep;
        self.laps = Laps::run(self.numbers.clone(), &mut self.yardstick, workload, |numbers| {
            refused += if keep {
                let part = (numbers.start - first) as usize..(numbers.end - first) as usize;
                create_keeping(subject, workload, numbers, &mut ids[part])
            } else {
                create_all(subject, workload, numbers)
            };
        });
        self.refused = refused;
    }
}

/// Kept apart from its caller, so that the loop is compiled as a loop of its own.
#[inline(never)]
fn create_all<S: Subject>(subject: &mut S, workload: &Workload, numbers: Range<u64>) -> u64 {
    let mut refused = 0;
    for token in workload.stream(numbers) {
        if subject.create(&token).is_none() {
            count_one(&mut refused);
        }
    }
    refused
}

/// Apart, or the compiler would add a number that is nearly always 0, on one side and not on the other.
#[cold]
#[inline(never)]
fn count_one(refused: &mut u64) {
    *refused += 1;
}

#[inline(never)]
fn create_keeping<S: Subject>(
    subject: &mut S,
    workload: &Workload,
    numbers: Range<u64>,
    ids: &mut [u64],
) -> u64 {
    let mut refused = 0;
    for (token, kept) in workload.stream(numbers).zip(ids) {
        match subject.create(&token) {
            Some(id) => *kept = id.to_u64(),
            None => (*kept, refused) = (0, refused + 1),
        }
    }
    refused
}

fn join(shares: Vec<Share>) -> Fill {
    let threads = shares.len().max(1) as u64;
    let mean =
        |of: &dyn Fn(&Laps) -> u64| shares.iter().map(|s| of(&s.laps)).sum::<u64>() / threads;
    Fill {
        time: Paced {
            ns: shares.iter().map(|s| s.laps.time.ns).max().unwrap_or(0),
            pace_ns: mean(&|laps| laps.time.pace_ns),
        },
        yardstick_cpu_ns: shares.iter().map(|s| s.laps.yardstick_cpu_ns).sum(),
        tenths_ns: std::array::from_fn(|tenth| mean(&|laps| laps.tenths_ns[tenth])),
        refused: shares.iter().map(|s| s.refused).sum(),
        ids: shares.into_iter().map(|share| share.ids).reduce(append).unwrap_or_default(),
    }
}

/// Moves nothing where there is one thread.
fn append(mut ids: Vec<u64>, more: Vec<u64>) -> Vec<u64> {
    ids.extend(more);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admits the first `room` tokens and numbers them from 0.
    struct Counted {
        room: u32,
        next: u32,
    }

    impl Subject for Counted {
        fn create(&mut self, _: &Token) -> Option<TokenId> {
            (self.next < self.room).then(|| {
                self.next += 1;
                TokenId::new(self.next - 1, 1).expect("odd generation")
            })
        }

        fn delete(&mut self, _: TokenId) -> bool {
            false
        }
    }

    #[test]
    fn ids_are_kept_in_order_and_refusals_are_counted() {
        let workload = Workload::new(1, 1000);
        let mut subjects = [Counted { room: 1000, next: 0 }, Counted { room: 90, next: 0 }];
        let fill = fill(&mut subjects, &workload, 0..200, true, || {}).expect("mapped");
        assert_eq!(fill.refused, 10);
        assert_eq!(fill.ids.len(), 200);
        assert_eq!(fill.ids[99] as u32, 99);
        assert_eq!(fill.ids[100] as u32, 0);
        assert!(fill.ids[190..].iter().all(|&id| id == 0));
        assert!(fill.time.ns > 0 && fill.time.pace_ns > 0);
    }
}
