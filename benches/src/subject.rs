//! The arena as the groups use it: made, filled, thinned out, and what two figures of one run share.

use std::{cell::Cell, rc::Rc, sync::Barrier, thread, time::Instant};

use ng_core::{Arena, ArenaConfig, CHUNK_SLOTS, TokenId, Writer};

use crate::{
    mapping::Mapping,
    row::{Failure, Measure, Sample, Work},
    tokens::{self, Checksum, Words},
};

/// An arena with room for the round's tokens, as `change` wants it.
pub(crate) fn arena(work: &Work, change: impl FnOnce(&mut ArenaConfig)) -> Result<Arena, Failure> {
    let mut config = ArenaConfig::default();
    config.max_slots = work.tokens + u64::from(CHUNK_SLOTS);
    change(&mut config);
    Arena::new(config).map_err(|error| Failure::Environment(error.to_string()))
}

/// Creates the tokens of `numbers`; their ids in order.
pub(crate) fn fill(
    writer: &mut Writer,
    work: &Work,
    numbers: std::ops::Range<u64>,
) -> Result<Vec<TokenId>, Failure> {
    tokens::stream(work.seed, numbers).map(|token| writer.create(&token).map_err(refused)).collect()
}

/// Deletes all but one token of each chunk, so that memory stays. Returns how many went.
pub(crate) fn thin_out(writer: &mut Writer, ids: &[TokenId]) -> Result<u64, Failure> {
    let mut gone = 0;
    for (number, id) in ids.iter().enumerate() {
        // An empty chunk's memory may go back to the kernel.
        if !number.is_multiple_of(CHUNK_SLOTS as usize) {
            writer.delete(*id).map_err(|error| Failure::Check(error.to_string()))?;
            gone += 1;
        }
    }
    Ok(gone)
}

pub(crate) fn refused(error: ng_core::CreateError) -> Failure {
    Failure::Check(format!("a create was refused: {error}"))
}

pub(crate) fn mapping(work: &Work) -> Result<Mapping, Failure> {
    Mapping::new(work.tokens)
        .map_err(|error| Failure::Environment(format!("cannot map memory: {error}")))
}

pub(crate) fn fill_plain(slots: &mut [Words], seed: u64, first: u64) {
    for (slot, token) in slots.iter_mut().zip(tokens::stream(seed, first..u64::MAX)) {
        *slot = token.to_words();
    }
}

pub(crate) fn sample(begin: Instant, operations: u64) -> Sample {
    Sample { elapsed_ns: begin.elapsed().as_nanos() as u64, operations }
}

/// Runs `body` for each of `parts` on a thread of its own, all at once. Nanoseconds from when the first of them began until
/// the last ended, and what they gave.
///
/// They look at the clock themselves: where there are as many cores as threads, who only waits for them may get a
/// turn when they are done.
pub(crate) fn at_once<T: Send, R: Send>(
    parts: impl IntoIterator<Item = T>,
    body: impl Fn(T) -> R + Sync,
) -> Result<(u64, Vec<R>), Failure> {
    let parts: Vec<T> = parts.into_iter().collect();
    let ready = Barrier::new(parts.len());
    let ran = thread::scope(|scope| {
        let run = |part| {
            let (ready, body) = (&ready, &body);
            scope.spawn(move || {
                ready.wait();
                let begin = Instant::now();
                let gave = body(part);
                (begin, Instant::now(), gave)
            })
        };
        let threads: Vec<_> = parts.into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Result<Vec<_>, _>>()
    });
    let ran = ran.map_err(|_| Failure::Check("a thread died".into()))?;
    let begin = ran.iter().map(|(begin, ..)| *begin).min();
    let end = ran.iter().map(|(_, end, _)| *end).max();
    let elapsed = begin.zip(end).map(|(begin, end)| end.duration_since(begin)).unwrap_or_default();
    Ok((elapsed.as_nanos() as u64, ran.into_iter().map(|(.., gave)| gave).collect()))
}

/// Compares what `read` gives with what was to be written, where this round verifies.
pub(crate) fn check(
    work: &Work,
    name: &str,
    read: impl FnOnce() -> Checksum,
) -> Result<(), Failure> {
    if !work.verify || read() == tokens::checksum(work.seed, 0..work.tokens) {
        return Ok(());
    }
    Err(Failure::Check(format!("{name} does not hold the tokens that were written")))
}

/// All words of a token, folded: what every row that reads does with what it reads.
#[inline(always)]
pub(crate) fn folded(words: &Words) -> u64 {
    words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// `items` in an order that is the same for every row of a round, and that no prefetcher guesses.
pub(crate) fn shuffled<T: Copy>(work: &Work, items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    fastrand::Rng::with_seed(work.seed).shuffle(&mut items);
    items
}

/// Two rows whose figures come from one run: whichever is measured first runs for both.
pub(crate) fn both(run: impl Fn(&Work) -> Result<[Sample; 2], Failure> + 'static) -> [Measure; 2] {
    let run = Rc::new(run);
    let kept: Rc<[Cell<Option<Sample>>; 2]> = Rc::default();
    [0, 1].map(|which| {
        let (run, kept) = (Rc::clone(&run), Rc::clone(&kept));
        let measure = move |work: &Work| match kept[which].take() {
            Some(sample) => Ok(sample),
            None => {
                let samples = run(work)?;
                kept[1 - which].set(Some(samples[1 - which]));
                Ok(samples[which])
            }
        };
        Box::new(measure) as Measure
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_figures_of_one_run_are_asked_for_in_any_order() {
        let runs = Rc::new(Cell::new(0));
        let counted = Rc::clone(&runs);
        let [mut first, mut last] = both(move |_| {
            counted.set(counted.get() + 1);
            let sample = |elapsed_ns| Sample { elapsed_ns, operations: 1 };
            Ok([sample(10 * counted.get()), sample(10 * counted.get() + 1)])
        });
        let work = Work::small();
        assert_eq!(first(&work).unwrap().elapsed_ns, 10);
        assert_eq!(last(&work).unwrap().elapsed_ns, 11);
        assert_eq!(last(&work).unwrap().elapsed_ns, 21);
        assert_eq!(first(&work).unwrap().elapsed_ns, 20);
        assert_eq!(runs.get(), 2);
    }

    #[test]
    fn a_row_that_lost_a_token_fails_its_check() {
        let work = Work::small();
        let lost = || tokens::checksum(work.seed, 0..999);
        assert_eq!(check(&work, "x", lost).unwrap_err().exit_code(), 1);
        assert!(check(&Work { verify: false, ..work }, "x", lost).is_ok());
    }
}
