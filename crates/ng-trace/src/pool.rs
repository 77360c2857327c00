//! Empty blocks between two rings that need them. What a whole stretch of rounds did not need goes back.

use crate::{
    block::{Block, Held},
    mutants,
    sync::{Arc, Mutex},
};

/// Rounds of the drain in a stretch: after two of them without a span no block is left. Idle rounds
/// are 100 ms apart unless configured otherwise, so that is 3.2 s.
pub(crate) const STRETCH_ROUNDS: u32 = 16;

#[derive(Debug)]
pub(crate) struct Pool {
    held: Arc<Held>,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    // Boxed: a block goes from ring to ring as a pointer.
    #[allow(clippy::vec_box)]
    blocks: Vec<Box<Block>>,
    /// Fewest blocks that were here during this stretch: so many were not needed.
    fewest: usize,
    rounds: u32,
}

impl Pool {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { held, free: Mutex::default() }
    }

    /// An empty block, the one that was used last: a cache may still have it. `None`: the budget
    /// refuses a new one. Never waits: while the pool is locked a new block does as well.
    pub(crate) fn take(&self) -> Option<Box<Block>> {
        self.take_free().or_else(|| Held::block(&self.held)).or_else(|| self.take_free())
    }

    fn take_free(&self) -> Option<Box<Block>> {
        let mut free = self.free.try_lock()?;
        let block = free.blocks.pop();
        free.fewest = free.fewest.min(free.blocks.len());
        block
    }

    /// Keeps an emptied block for the next ring.
    pub(crate) fn keep(&self, mut block: Box<Block>) {
        block.clear();
        self.free.lock().blocks.push(block);
    }

    /// One round of the drain has ended.
    pub(crate) fn round(&self) {
        let mut free = self.free.lock();
        free.rounds += 1;
        if free.rounds < STRETCH_ROUNDS || mutants::on("trace-idle-memory-kept") {
            return;
        }
        let spare = free.fewest;
        // Those at the front were used longest ago.
        let freed: Vec<_> = free.blocks.drain(..spare).collect();
        if free.blocks.is_empty() {
            free.blocks = Vec::new();
        }
        (free.rounds, free.fewest) = (0, free.blocks.len());
        // Freed and given back without the lock: the budget is somebody else's code.
        drop(free);
        drop(freed);
    }

    /// Frees all that is here, when nobody will come to give it to rings any more.
    pub(crate) fn close(&self) {
        let free = std::mem::take(&mut *self.free.lock());
        drop(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::BLOCK_BYTES;

    fn pool_of(blocks: usize) -> Pool {
        let pool = Pool::new(Arc::new(Held::new(Box::new(()))));
        let taken: Vec<_> = (0..blocks).map(|_| pool.take().unwrap()).collect();
        taken.into_iter().for_each(|block| pool.keep(block));
        pool
    }

    fn stretch(pool: &Pool, mut each_round: impl FnMut()) -> u64 {
        for _ in 0..STRETCH_ROUNDS {
            each_round();
            pool.round();
        }
        pool.held.bytes() / BLOCK_BYTES
    }

    #[test]
    fn blocks_that_nobody_needs_for_a_whole_stretch_are_freed() {
        let pool = pool_of(10);
        assert_eq!(stretch(&pool, || {}), 10, "they were needed in it");
        assert_eq!(stretch(&pool, || {}), 0);
    }

    #[test]
    fn blocks_that_are_needed_now_and_then_stay() {
        let pool = pool_of(10);
        let mut round = 0;
        let three_at_once = || {
            round += 1;
            if round % STRETCH_ROUNDS == 5 {
                let taken: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
                taken.into_iter().for_each(|block| pool.keep(block));
            }
        };
        let mut three_at_once = three_at_once;
        let left: Vec<u64> = (0..4).map(|_| stretch(&pool, &mut three_at_once)).collect();
        assert_eq!(left, [10, 3, 3, 3]);
        assert_eq!(pool.held.bytes_max(), 10 * BLOCK_BYTES);
    }

    #[test]
    fn a_pool_that_is_locked_makes_nobody_wait() {
        let pool = pool_of(1);
        let locked = pool.free.lock();
        let fresh = pool.take().unwrap();
        assert_eq!(pool.held.bytes(), 2 * BLOCK_BYTES);
        drop(locked);
        pool.keep(fresh);
        pool.close();
        assert_eq!(pool.held.bytes(), 0);
    }
}
