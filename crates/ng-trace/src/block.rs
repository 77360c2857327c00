//! The memory of rings: blocks of one page, each counted from its allocation until it is freed, and allowed by the owner of the collector.

use crate::{
    mutants,
    span::SPAN_WORDS,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use std::fmt::Debug;

pub(crate) type Words = [u64; SPAN_WORDS];

/// What a block counts for: its spans and its head. Unit: bytes. A page: small enough for 10,000
/// recorders with one span each, and with 51 spans it comes about as seldom as a timed span, so
/// that a busy recorder leaves its fast path no more often for it. The smallest ring is one.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// Spans that a block holds.
pub(crate) const BLOCK_SPANS: usize =
    if cfg!(all(test, loom)) { 2 } else { BLOCK_BYTES as usize / size_of::<Words>() };

/// Decides whether a [`Collector`](crate::Collector) may have more memory for spans, and is told
/// what it gave back: each byte that was taken, once. Given to
/// [`Collector::start_within`](crate::Collector::start_within); `()` allows everything.
pub trait MemoryBudget: Send + Sync + Debug {
    /// Whether `bytes` more may be allocated. On false the span that needed them is dropped and
    /// counted, and the next one asks again. Called on the threads that record, at most once in 51
    /// spans of a recorder while it answers true, and once for each span while it answers false:
    /// return quickly, do not block, and do not record spans.
    fn take(&self, bytes: u64) -> bool;

    /// `bytes` that were allowed are free again. Called on the drain's thread for the most part,
    /// and on whichever thread drops the last recorder.
    fn give_back(&self, bytes: u64);
}

impl MemoryBudget for () {
    fn take(&self, _bytes: u64) -> bool {
        true
    }

    fn give_back(&self, _bytes: u64) {}
}

/// Bytes of all blocks of one collector.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: AtomicU64,
    bytes_max: AtomicU64,
    budget: Box<dyn MemoryBudget>,
}

impl Held {
    pub(crate) fn new(budget: Box<dyn MemoryBudget>) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max: AtomicU64::new(0), budget }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Relaxed)
    }

    /// A new block; `None`: the budget refused it.
    pub(crate) fn block(held: &Arc<Self>) -> Option<Box<Block>> {
        if !held.budget.take(BLOCK_BYTES) && !mutants::on("trace-budget-ignored") {
            return None;
        }
        let bytes = held.bytes.fetch_add(BLOCK_BYTES, Relaxed) + BLOCK_BYTES;
        held.bytes_max.fetch_max(bytes, Relaxed);
        // The memory of spans is not written here: a page comes when the first span does.
        let spans = Vec::with_capacity(BLOCK_SPANS);
        Some(Box::new(Block { spans, next: None, held: Arc::clone(held) }))
    }
}

/// Room for some spans of one recorder, and the way to the next block.
#[derive(Debug)]
pub(crate) struct Block {
    spans: Vec<Words>,
    /// In a ring the block before this one; in a [`Chain`] the one after it.
    pub(crate) next: Option<Box<Block>>,
    held: Arc<Held>,
}

impl Block {
    #[inline(always)]
    pub(crate) fn has_room(&self) -> bool {
        // Not `BLOCK_SPANS`, which is the same: so the compiler sees that a push does not grow it.
        self.spans.len() < self.spans.capacity()
    }

    /// Only with [room](Self::has_room): it never allocates then.
    #[inline(always)]
    pub(crate) fn push(&mut self, words: &Words) {
        debug_assert!(self.has_room(), "a block must not grow");
        self.spans.push(*words);
    }

    pub(crate) fn spans(&self) -> &[Words] {
        &self.spans
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // One after the other: a chain of a thousand would need as many stack frames.
        let mut next = self.next.take();
        while let Some(mut block) = next {
            next = block.next.take();
        }
        if mutants::on("trace-block-kept-from-the-budget") {
            return;
        }
        self.held.bytes.fetch_sub(BLOCK_BYTES, Relaxed);
        self.held.budget.give_back(BLOCK_BYTES);
    }
}

/// What the drain took out of a ring: blocks, oldest first.
#[derive(Debug)]
pub(crate) struct Chain(Option<Box<Block>>);

impl Chain {
    /// From the newest block, which leads to the older ones.
    pub(crate) fn from_newest(newest: Box<Block>) -> Self {
        if mutants::on("trace-chain-not-turned") {
            return Self(Some(newest));
        }
        let (mut rest, mut turned) = (Some(newest), None);
        while let Some(mut block) = rest {
            rest = std::mem::replace(&mut block.next, turned);
            turned = Some(block);
        }
        Self(turned)
    }

    /// The oldest block that is left.
    pub(crate) fn next_block(&mut self) -> Option<Box<Block>> {
        let mut block = self.0.take()?;
        self.0 = block.next.take();
        Some(block)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_long_chain_is_dropped_without_a_long_stack_and_all_of_it_is_given_back() {
        let held = Arc::new(Held::new(Box::new(())));
        let mut newest: Option<Box<Block>> = None;
        for _ in 0..100_000 {
            let mut block = Held::block(&held).unwrap();
            block.next = newest;
            newest = Some(block);
        }
        assert_eq!(held.bytes(), 100_000 * BLOCK_BYTES);
        drop(newest);
        assert_eq!((held.bytes(), held.bytes_max()), (0, 100_000 * BLOCK_BYTES));
    }

    #[test]
    fn a_block_says_it_is_full_before_it_would_allocate() {
        let mut block = Held::block(&Arc::new(Held::new(Box::new(())))).unwrap();
        let capacity = block.spans.capacity();
        let pushed = std::iter::from_fn(|| block.has_room().then(|| block.push(&[1; SPAN_WORDS])));
        assert_eq!(pushed.count(), BLOCK_SPANS);
        assert_eq!(block.spans.capacity(), capacity);
        assert!(BLOCK_SPANS * size_of::<Words>() <= BLOCK_BYTES as usize);
    }
}
