//! The timed region that both sides of every ratio share: create tokens one by one, on one thread or
//! several. Nothing else happens in it but the clock reads around each lap (`pace.rs`).

use std::ops::Range;
use std::sync::RwLock;
use std::thread::Builder;

use neurograph::{Token, TokenId};

use crate::failure::{Answer, Failure};
use crate::pace::{Laps, Paced, TENTHS, Yardstick, split};
use crate::workload::Workload;

/// What is put under load, as one thread sees it: the arena's writer, or a session of the store.
pub trait Subject: Send {
    /// Stores a token, or says why not.
    fn create(&mut self, token: &Token) -> Result<TokenId, Answer>;
    /// Deletes a token, or says why not.
    fn delete(&mut self, id: TokenId) -> Result<(), Answer>;
}

/// One timed region, in which every create was admitted.
#[derive(Debug)]
pub struct Fill {
    /// First create to last of the slowest thread, the yardsticks taken out; and the yardsticks,
    /// mean of the threads.
    pub time: Paced,
    /// Processor time that the yardsticks took on all threads.
    pub yardstick_cpu_ns: u64,
    /// Mean of the threads, for each tenth of their creates.
    pub tenths_ns: [u64; TENTHS],
    /// Ids in the order of the tokens' numbers; empty unless asked for.
    pub ids: Vec<TokenId>,
}

/// A create that was refused.
#[derive(Debug)]
struct Refusal {
    number: u64,
    answer: Answer,
}

/// Creates the tokens `numbers`, in equal shares by each of `subjects`. With `keep`, the ids are
/// kept for reading back, in memory touched beforehand. `go` is called just before the start.
///
/// The first create that is refused ends it, and the error has the answer: each run has room for its tokens.
pub fn fill<S: Subject>(
    run: &'static str,
    subjects: &mut [S],
    workload: &Workload,
    numbers: Range<u64>,
    keep: bool,
    go: impl FnOnce(),
) -> Result<Fill, Failure> {
    let mut shares: Vec<Share> = shares(numbers.clone(), subjects.len(), keep)?;
    let refused = if let ([subject], [share]) = (&mut *subjects, &mut *shares) {
        go();
        share.run(subject, workload)
    } else {
        together(subjects, &mut shares, workload, go)?
    };
    let (from, to) = (numbers.start, numbers.end.saturating_sub(1));
    refused.map_err(|Refusal { number, answer }| Failure::Refused {
        run,
        number,
        from,
        to,
        source: answer,
    })?;
    Ok(join(shares))
}

/// Each share by a thread of its own; all begin when the last of them has been started.
fn together<S: Subject>(
    subjects: &mut [S],
    shares: &mut [Share],
    workload: &Workload,
    go: impl FnOnce(),
) -> Result<Result<(), Refusal>, Failure> {
    // A barrier would hold those that were started for ever if one could not be.
    let gate = RwLock::new(());
    let count = shares.len();
    std::thread::scope(|scope| {
        let closed = gate.write();
        let mut running = Vec::with_capacity(count);
        for (subject, share) in subjects.iter_mut().zip(shares) {
            let gate = &gate;
            let run = move || {
                drop(gate.read());
                share.run(subject, workload)
            };
            let started = Builder::new().spawn_scoped(scope, run);
            running.push(started.map_err(|error| {
                let already = running.len();
                Failure::Environment(format!(
                    "cannot start {count} threads that create, only {already}: {error}"
                ))
            })?);
        }
        go();
        drop(closed);
        let ended: Vec<Result<(), Refusal>> = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
            .collect();
        Ok(ended.into_iter().collect())
    })
}

/// One thread's part.
#[derive(Debug)]
struct Share {
    numbers: Range<u64>,
    keep: bool,
    ids: Vec<TokenId>,
    yardstick: Yardstick,
    laps: Laps,
}

/// Stands where an id will be: it is written, so the memory is there before the clock runs. No run in which
/// it stays is told of.
const NOT_YET: TokenId = match TokenId::new(0, 1) {
    Some(id) => id,
    None => panic!("an odd generation makes an id"),
};

fn shares(numbers: Range<u64>, count: usize, keep: bool) -> Result<Vec<Share>, Failure> {
    split(numbers, count)
        .map(|numbers| {
            let kept = if keep { (numbers.end - numbers.start) as usize } else { 0 };
            Ok(Share {
                ids: vec![NOT_YET; kept],
                numbers,
                keep,
                yardstick: Yardstick::new()?,
                laps: Laps::default(),
            })
        })
        .collect()
}

impl Share {
    fn run<S: Subject>(&mut self, subject: &mut S, workload: &Workload) -> Result<(), Refusal> {
        let (first, ids, keep) = (self.numbers.start, &mut self.ids, self.keep);
        self.laps = Laps::run(self.numbers.clone(), &mut self.yardstick, workload, |numbers| {
            if keep {
                let part = (numbers.start - first) as usize..(numbers.end - first) as usize;
                create_keeping(subject, workload, numbers, &mut ids[part])
            } else {
                create_all(subject, workload, numbers)
            }
        })?;
        Ok(())
    }
}

/// Kept apart from its caller, so that the loop is compiled as a loop of its own.
#[inline(never)]
fn create_all<S: Subject>(
    subject: &mut S,
    workload: &Workload,
    numbers: Range<u64>,
) -> Result<(), Refusal> {
    let mut tokens = workload.stream(numbers);
    while let Some(token) = tokens.next() {
        if let Err(answer) = subject.create(&token) {
            return Err(Refusal { number: tokens.last_number(), answer });
        }
    }
    Ok(())
}

#[inline(never)]
fn create_keeping<S: Subject>(
    subject: &mut S,
    workload: &Workload,
    numbers: Range<u64>,
    ids: &mut [TokenId],
) -> Result<(), Refusal> {
    let mut tokens = workload.stream(numbers);
    for kept in ids {
        let Some(token) = tokens.next() else { break };
        match subject.create(&token) {
            Ok(id) => *kept = id,
            Err(answer) => return Err(Refusal { number: tokens.last_number(), answer }),
        }
    }
    Ok(())
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
        ids: shares.into_iter().map(|share| share.ids).reduce(append).unwrap_or_default(),
    }
}

/// Moves nothing where there is one thread.
fn append(mut ids: Vec<TokenId>, more: Vec<TokenId>) -> Vec<TokenId> {
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
        fn create(&mut self, _: &Token) -> Result<TokenId, Answer> {
            if self.next == self.room {
                return Err("no room".into());
            }
            self.next += 1;
            Ok(TokenId::new(self.next - 1, 1).expect("odd generation"))
        }

        fn delete(&mut self, _: TokenId) -> Result<(), Answer> {
            Err("never".into())
        }
    }

    fn filled(rooms: [u32; 2], keep: bool) -> Result<Fill, Failure> {
        let workload = Workload::new(1, 1000);
        let mut subjects = rooms.map(|room| Counted { room, next: 0 });
        fill("test", &mut subjects, &workload, 0..200, keep, || {})
    }

    #[test]
    fn ids_are_kept_in_the_order_of_the_tokens() {
        let fill = filled([1000, 1000], true).expect("room for all");
        assert_eq!(fill.ids.len(), 200);
        let slots: Vec<u32> = fill.ids.iter().map(|id| id.slot()).collect();
        assert_eq!((slots[0], slots[99], slots[100], slots[199]), (0, 99, 0, 99));
        assert!(fill.time.ns > 0 && fill.time.pace_ns > 0);
    }

    #[test]
    fn a_refused_create_is_no_id_but_the_end_of_the_run() {
        for keep in [true, false] {
            let refused =
                filled([1000, 90], keep).expect_err("the second has no room for its last");
            let line = refused.line().expect("a line");
            assert_eq!(line, "test: the create of token 190 was refused, of 0 to 199: no room");
            assert_eq!(refused.exit_code(), crate::failure::EXIT_FAILED);
        }
    }
}
