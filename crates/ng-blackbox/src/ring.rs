//! One ring of slots in shared memory: written by its one owner, or by many who claim numbers first.
//!
//! A slot is written as eight relaxed words, its sequence number last. Nobody ever waits: a reader
//! believes a slot only if its checksum, made over the sequence number too, says that it is whole.

use crate::{
    format::{self, EVENT_WORDS, Geometry, Stamped},
    mutants,
    sync::{AtomicU64, Ordering},
};

/// Where a ring and its cursor lie. The cursor is the number of the newest event, 0 for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ring {
    number: u32,
    events: u32,
    first_word: usize,
    cursor_word: usize,
}

impl Ring {
    pub(crate) fn new(geometry: &Geometry, number: u32) -> Ring {
        assert!(number < geometry.rings(), "ring {number} of {}", geometry.rings());
        Ring {
            number,
            events: geometry.ring_events(number),
            first_word: geometry.ring_at(number) / 8,
            cursor_word: geometry.lane_header_at(number) / 8,
        }
    }

    /// A cursor and one slot behind it.
    #[cfg(all(test, loom))]
    pub(crate) fn model(number: u32) -> Ring {
        Ring { number, events: 1, first_word: 1, cursor_word: 0 }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn events(&self) -> u32 {
        self.events
    }

    /// The number of the newest event, as stale as a relaxed load.
    pub(crate) fn cursor(&self, words: &[AtomicU64]) -> u64 {
        words[self.cursor_word].load(Ordering::Relaxed)
    }

    /// Writes the next event of a ring that only the caller writes to.
    #[inline]
    pub(crate) fn write_owned(&self, words: &[AtomicU64], stamped: &Stamped) {
        let slot = self.slot(words, stamped.seq);
        self.fill(slot, stamped);
        words[self.cursor_word].store(stamped.seq, Ordering::Relaxed);
    }

    /// Takes `count` consecutive numbers of a ring with many writers and returns the first.
    pub(crate) fn claim(&self, words: &[AtomicU64], count: u64) -> u64 {
        words[self.cursor_word].fetch_add(count, Ordering::Relaxed).wrapping_add(1)
    }

    /// Writes an event under a claimed number. False, and nothing is written, if the slot is being
    /// written by someone a whole lap away, or already has a newer event.
    pub(crate) fn write_claimed(&self, words: &[AtomicU64], stamped: &Stamped) -> bool {
        let slot = self.slot(words, stamped.seq);
        let older = slot[0].load(Ordering::Relaxed);
        // One compare for both reasons: the mark of a slot in use is the greatest number.
        if mutants::on("blackbox-claim-without-mark") {
            self.fill(slot, stamped);
            return true;
        }
        let newer = older < stamped.seq
            || mutants::on("blackbox-lapped-overwrites") && older != format::SEQ_BUSY;
        let free = newer
            && slot[0]
                .compare_exchange(older, format::SEQ_BUSY, Ordering::Acquire, Ordering::Relaxed)
                .is_ok();
        if free {
            self.fill(slot, stamped);
        }
        free
    }

    /// What a writer leaves that dies between claiming its slot and filling it.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn leave_half_written(&self, words: &[AtomicU64]) {
        let seq = self.claim(words, 1);
        self.slot(words, seq)[0].store(format::SEQ_BUSY, Ordering::Relaxed);
    }

    #[inline]
    fn fill(&self, slot: &[AtomicU64; EVENT_WORDS], stamped: &Stamped) {
        let encoded = format::encode_event(self.number, stamped);
        if mutants::on("blackbox-sequence-first") {
            slot[0].store(encoded[0], Ordering::Release);
        }
        // By number: an iterator that skips the first is not unrolled.
        for word in 1..EVENT_WORDS {
            slot[word].store(encoded[word], Ordering::Relaxed);
        }
        slot[0].store(encoded[0], Ordering::Release);
    }

    #[inline]
    fn slot<'w>(&self, words: &'w [AtomicU64], seq: u64) -> &'w [AtomicU64; EVENT_WORDS] {
        let index = format::slot_of(seq, self.events) as usize;
        words[self.first_word + index * EVENT_WORDS..]
            .first_chunk()
            .expect("a ring ends within its mapping: both follow from one geometry")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::event::{Event, Kind, Severity};

    fn stamped(seq: u64) -> Stamped {
        let event = Event::numbers(Kind::CUSTOM, Severity::INFO, [seq; 4]);
        Stamped { seq, time_ns: seq, thread: 1, event }
    }

    #[test]
    fn a_claimed_slot_in_use_or_newer_is_left_alone() {
        let geometry = Geometry { lanes: 1, events_per_lane: 64 };
        let words: Vec<AtomicU64> =
            (0..geometry.file_bytes() / 8).map(|_| AtomicU64::new(0)).collect();
        let ring = Ring::new(&geometry, format::SHARED_RING);
        assert_eq!(ring.claim(&words, 3), 1);
        assert_eq!(ring.claim(&words, 1), 4);

        assert!(ring.write_claimed(&words, &stamped(65)));
        assert!(!ring.write_claimed(&words, &stamped(1)), "one lap older than what is there");
        let slot = ring.slot(&words, 1);
        assert_eq!(slot[3].load(Ordering::Relaxed), 65);

        slot[0].store(format::SEQ_BUSY, Ordering::Relaxed);
        assert!(!ring.write_claimed(&words, &stamped(129)), "somebody is writing there");
        assert_eq!(slot[3].load(Ordering::Relaxed), 65);
    }
}
