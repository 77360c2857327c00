//! What else could hold the records, behind one face: durable in batches, durable one by one, read back.
//!
//! What a peer acknowledges here is on stable storage, as it is with ours; where its own call does not go that far, the
//! sync that is missing is added and the impl says so. Each is set up as its documents advise for this
//! work, with prepared files where it has them.
//!
//! A file for each of them.

pub(crate) mod commitlog;
pub(crate) mod fjall;
pub(crate) mod okaywal;
pub(crate) mod raft_engine;
pub(crate) mod redb;
pub(crate) mod walrus;

use std::{error::Error, ops::Range, path::Path};

use crate::{
    log::BATCH,
    payload::{Payload, ReadBack},
    row::{Failure, Kind, Row, Sample, Work},
};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One of the others.
pub(crate) trait LogPeer: Sized + Sync + 'static {
    /// Of the crate, and of the row.
    const NAME: &'static str;
    /// Part of the records of a round that it takes, so that it does not fill the run.
    const PART: u64;
    /// The same where each record is durable alone.
    const PART_ALONE: u64;
    /// An empty log with room for `records`.
    fn create(dir: &Path, records: u64) -> Outcome<Self>;
    /// Durable on return. `lane` tells appenders apart, `first` is the number of the first payload.
    fn append(
        &self,
        lane: u64,
        first: u64,
        payloads: impl ExactSizeIterator<Item = Payload>,
    ) -> Outcome<()>;
    /// Closes it, where that is needed before `replay`.
    fn close(self) -> Outcome<()>;
    /// Reads all payloads, of each lane in order.
    fn replay(dir: &Path, read: ReadBack) -> Outcome<ReadBack>;
}

/// The row of a peer.
pub(crate) fn row<P: LogPeer>(
    round: impl FnMut(&Work) -> Result<Sample, Failure> + 'static,
) -> Row {
    Row::new(P::NAME, Kind::Peer, crate::machine::version_in_lock(P::NAME), round)
}

pub(crate) fn trouble<P: LogPeer>(error: Box<dyn Error + Send + Sync>) -> Failure {
    Failure::Check(format!("{}: {error}", P::NAME))
}

/// Whole batches only.
pub(crate) fn records_of<P: LogPeer>(work: &Work) -> u64 {
    (work.records / P::PART).next_multiple_of(BATCH)
}

/// Appends all payloads of `numbers` in batches.
pub(crate) fn fill<P: LogPeer>(peer: &P, work: &Work, numbers: Range<u64>) -> Result<(), Failure> {
    for first in numbers.clone().step_by(BATCH as usize) {
        let batch = payloads(work, first..(first + BATCH).min(numbers.end));
        peer.append(0, first, batch).map_err(trouble::<P>)?;
    }
    Ok(())
}

/// With a known length, as batches want it.
pub(crate) fn payloads(work: &Work, numbers: Range<u64>) -> impl ExactSizeIterator<Item = Payload> {
    struct Counted<I>(I, usize);
    impl<I: Iterator> Iterator for Counted<I> {
        type Item = I::Item;
        #[inline(always)]
        fn next(&mut self) -> Option<I::Item> {
            self.1 = self.1.saturating_sub(1);
            self.0.next()
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (self.1, Some(self.1))
        }
    }
    impl<I: Iterator> ExactSizeIterator for Counted<I> {}
    let count = (numbers.end - numbers.start) as usize;
    Counted(crate::payload::stream(work.seed, numbers), count)
}
