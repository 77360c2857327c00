//! Loom model of a claimed slot: two writers a lap apart and a reader, in a ring of one slot.

use loom::{sync::Arc, thread};

use crate::{
    event::{Event, Kind, Severity},
    format::{self, EVENT_BYTES, Slot, Stamped},
    ring::Ring,
    sync::{AtomicU64, Ordering},
};

fn stamped(seq: u64) -> Stamped {
    let event = Event::numbers(Kind::CUSTOM, Severity::INFO, [seq; 4]);
    Stamped { seq, time_ns: seq, thread: seq as u32, event }
}

fn read(words: &[AtomicU64]) -> Slot {
    let mut bytes = [0; EVENT_BYTES];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(&words[1..]) {
        chunk.copy_from_slice(&format::bytes_of(word.load(Ordering::Acquire)));
    }
    format::decode_slot(9, 1, 0, &bytes)
}

#[test]
fn writers_a_lap_apart_never_mix_in_a_slot_and_the_last_word_is_the_newer_ones() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let words: Arc<Vec<AtomicU64>> = Arc::new((0..9).map(|_| AtomicU64::new(0)).collect());
        let ring = Ring::model(9);
        let older = {
            let words = Arc::clone(&words);
            thread::spawn(move || ring.write_claimed(&words, &stamped(1)))
        };
        let seen = read(&words);
        if let Slot::Whole(event) = seen {
            assert_eq!(event, stamped(1));
        }
        let newer_wrote = ring.write_claimed(&words, &stamped(2));
        let older_wrote = older.join().unwrap();
        let expected = if newer_wrote { stamped(2) } else { stamped(1) };
        assert!(newer_wrote || older_wrote);
        assert_eq!(read(&words), Slot::Whole(expected));
    });
}
