//! The free slots' hints under a scheduler that tries many interleavings: who frees a slot finds one.

use crate::chunks::chunk::Chunks;
use crate::mutants;
use crate::shuttle_arena::explore;
use shuttle::sync::Arc;
use shuttle::thread;

#[test]
fn shuttle_who_frees_a_slot_finds_a_free_one() {
    explore("hints", || {
        const THREADS: u32 = 2;
        let chunks = Arc::new(Chunks::new(1, 0));
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let chunks = Arc::clone(&chunks);
                thread::spawn(move || {
                    // Two slots of one word, and each thread holds one at most: so one is free from each
                    // free to the take behind it.
                    let mut slot = n;
                    for _ in 0..2 {
                        chunks.free(slot);
                        let found = chunks.take(1, 1, false).or_else(|| {
                            let unsettled = mutants::on("core-full-beside-a-cleared-hint");
                            if unsettled { None } else { chunks.settle().take(1, false) }
                        });
                        let (first, mask) = found.expect("a slot is free");
                        assert_eq!(mask.count(), 1);
                        slot = first + mask.nth(0, 0).unwrap();
                    }
                    slot
                })
            })
            .collect();
        let mut held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        held.sort_unstable();
        assert_eq!(held, [0, 1], "a slot was lost or doubled");
    });
}
