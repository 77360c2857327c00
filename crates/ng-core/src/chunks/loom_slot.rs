//! Models of one slot: a reader accepts only words of one write, whatever is interleaved.

use crate::chunks::chunk::Chunk;
use crate::chunks::slot::{GENERATION_MASK, Head, Slot};
use crate::chunks::view::Look;
use crate::token::words::HEAD;
use loom::sync::Arc;
use loom::thread;

fn words(value: u64) -> [u64; 8] {
    [value; 8].map(|word| word << 28)
}

/// One try of a seqlock read, without the retry loop that loom can't bound.
fn try_read(slot: &Slot) -> Option<(Head, [u64; 8])> {
    let head = slot.head();
    if !head.is_live() || head.is_writing() {
        return None;
    }
    slot.copy(head).map(|words| (head, words))
}

#[test]
fn loom_a_reader_beside_an_update_sees_the_old_words_or_the_new_and_no_mixture() {
    loom::model(|| {
        let slot = Arc::new(Slot::default());
        slot.fill(Head::dead(0), &words(1));
        let writer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let head = slot.head();
                assert!(slot.begin(head));
                slot.finish(head, &words(2));
            })
        };
        if let Some((_, seen)) = try_read(&slot) {
            assert_eq!(seen[0], seen[1], "words of two writes");
        }
        writer.join().unwrap();
        assert_eq!(try_read(&slot).map(|(_, seen)| seen[0]), Some(2 << 28));
    });
}

#[test]
fn loom_a_reader_of_a_deleted_and_reused_slot_never_mixes_the_two_tokens() {
    loom::model(|| {
        let slot = Arc::new(Slot::default());
        slot.fill(Head::dead(0), &words(1));
        let writer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let head = slot.head();
                assert!(slot.begin(head));
                slot.kill(2);
                slot.fill(Head::dead(2), &words(2));
            })
        };
        if let Some((head, seen)) = try_read(&slot) {
            assert_eq!(seen[0], seen[1], "words of two tokens");
            let generation = head.generation_bits();
            assert_eq!(
                generation,
                if seen[0] == 1 << 28 { 1 } else { 3 },
                "words of another token"
            );
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_two_writers_of_one_token_take_turns() {
    loom::model(|| {
        let slot = Arc::new(Slot::default());
        slot.fill(Head::dead(0), &words(1));
        let one = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let head = slot.head();
                !head.is_writing() && slot.begin(head) && {
                    slot.finish(head, &words(2));
                    true
                }
            })
        };
        let head = slot.head();
        let mine = !head.is_writing() && slot.begin(head) && {
            slot.finish(head, &words(3));
            true
        };
        let theirs = one.join().unwrap();
        let (_, seen) = try_read(&slot).unwrap();
        assert_eq!(seen[0], seen[1]);
        assert!(mine || theirs, "one of them always gets the bit");
    });
}

/// Of one domain and weight: so that all tokens of a generation have the same head.
fn without_weight(value: u64) -> [u64; 8] {
    let mut words = words(value);
    words[HEAD] = 0;
    words
}

/// A slot with a token of generation 1, its chunk, and a thread that does `work` on both.
fn beside(work: fn(&Slot, &Chunk)) -> (Arc<Slot>, Arc<Chunk>, thread::JoinHandle<()>) {
    let (slot, chunk) = (Arc::new(Slot::default()), Arc::new(Chunk::new(0)));
    slot.fill(Head::dead(0), &without_weight(1));
    let of_thread = (Arc::clone(&slot), Arc::clone(&chunk));
    let thread = thread::spawn(move || work(&of_thread.0, &of_thread.1));
    (slot, chunk, thread)
}

/// The token deleted, its chunk empty, the memory back with the kernel, and the slot used again: by
/// generation 5.
fn give_back_and_use_again(slot: &Slot, chunk: &Chunk) {
    let head = slot.head();
    assert!(slot.begin(head));
    slot.kill(2);
    chunk.rebase(4);
    slot.forget();
    slot.fill(slot.head_relaxed(), &without_weight(2));
}

/// The token deleted at the last generation that the stamp has room for, and the slot used again.
fn overrun(slot: &Slot, chunk: &Chunk) {
    let head = slot.head();
    assert!(slot.begin(head));
    chunk.widen();
    slot.kill(chunk.place(0, GENERATION_MASK + 1));
    slot.fill(slot.head_relaxed(), &without_weight(2));
}

/// What a walk reads at its next slot, if not the slow way.
fn step(slot: &Slot, chunk: &Chunk) -> Option<(u32, [u64; 8])> {
    let (epoch, base) = chunk.epoch_and_base();
    let look = Look::since(epoch, slot);
    if !look.head.is_live_and_still() {
        return None;
    }
    look.finish(slot, chunk).map(|words| (base + look.head.generation_bits(), words))
}

#[test]
fn loom_a_reader_beside_a_give_back_sees_the_token_of_its_generation_or_none() {
    loom::model(|| {
        let (slot, chunk, giver) = beside(give_back_and_use_again);
        // As `Shared::read` does it, once: the first token had generation 1.
        let look = Look::at(&slot, &chunk);
        if look.head.has(chunk.stamp_of(1))
            && let Some(seen) = look.finish(&slot, &chunk)
        {
            assert_eq!([seen[0], seen[1]], [1 << 28; 2], "words of the token after it");
        }
        giver.join().unwrap();
        // Under the base it has now the second token has generation 5, and no other.
        let head = slot.head();
        assert!(head.has(chunk.stamp_of(5)) && !head.has(chunk.stamp_of(1)));
    });
}

#[test]
fn loom_a_walk_beside_a_give_back_sees_each_token_under_its_own_generation() {
    loom::model(|| {
        let (slot, chunk, giver) = beside(give_back_and_use_again);
        if let Some((generation, seen)) = step(&slot, &chunk) {
            let value = if generation == 1 { 1 } else { 2 };
            assert!(generation == 1 || generation == 5, "generation {generation}");
            assert_eq!([seen[0], seen[1]], [value << 28; 2], "words of another token");
        }
        giver.join().unwrap();
    });
}

#[test]
fn loom_a_walk_beside_the_first_overrun_does_not_take_the_stamp_for_the_generation() {
    loom::model(|| {
        let (slot, chunk, writer) = beside(overrun);
        if let Some((generation, seen)) = step(&slot, &chunk) {
            assert_eq!((generation, seen[0]), (1, 1 << 28), "a token of generation 2^20 + 1");
        }
        writer.join().unwrap();
        assert_eq!(step(&slot, &chunk), None, "with a side table it is never asked so");
    });
}
