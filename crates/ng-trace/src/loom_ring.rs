//! Loom model of the ring: every span offered comes out once, whole and in order, or is counted as dropped. Two slots and four spans, so the ring wraps and fills.

use crate::{
    ring::{Producer, Push, SpanRing},
    span::SPAN_WORDS,
};
use loom::{sync::Arc, thread};

#[test]
fn spans_are_whole_in_order_and_dropped_ones_counted() {
    loom::model(|| {
        let ring = Arc::new(SpanRing::new(2 * SPAN_WORDS * 8));
        let mut producer = Producer::open(Arc::clone(&ring));
        let sender = thread::spawn(move || {
            (1..=4).filter(|number| producer.push(&[*number; SPAN_WORDS]) != Push::Full).count()
        });
        let mut seen = Vec::new();
        let mut take = |words: &[u64; SPAN_WORDS]| {
            assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
            seen.push(words[0]);
        };
        ring.drain(ring.written(), 2, &mut take);
        let stored = sender.join().unwrap();
        // Closed means that everything is visible.
        assert!(!ring.is_open());
        ring.drain(ring.written(), 4, &mut take);
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "order: {seen:?}");
        assert_eq!(seen.len(), stored);
        assert_eq!(ring.dropped() as usize, 4 - stored);
    });
}

/// Takes all that is written, whole spans only.
fn drain_into(ring: &SpanRing, seen: &mut Vec<u64>) {
    ring.drain(ring.written(), 4, |words: &[u64; SPAN_WORDS]| {
        assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
        seen.push(words[0]);
    });
}

#[test]
fn loom_a_ring_handed_to_a_second_producer_loses_and_doubles_nothing() {
    loom::model(|| {
        let ring = Arc::new(SpanRing::new(2 * SPAN_WORDS * 8));
        let mut first = Producer::open(Arc::clone(&ring));
        let owner = thread::spawn(move || {
            first.push(&[1; SPAN_WORDS]);
        });
        let mut seen = Vec::new();
        drain_into(&ring, &mut seen);
        // As the collector does it: adopted only when closed and empty; else the next time.
        if !ring.is_open() && ring.drained() == ring.written() {
            let mut second = Producer::open(Arc::clone(&ring));
            assert_ne!(second.push(&[2; SPAN_WORDS]), Push::Full);
            assert_ne!(second.push(&[3; SPAN_WORDS]), Push::Full);
            drain_into(&ring, &mut seen);
            assert_eq!(seen, [1, 2, 3]);
        }
        owner.join().unwrap();
        drain_into(&ring, &mut seen);
        assert_eq!(seen.len() as u64, ring.written());
        assert_eq!(ring.dropped(), 0);
    });
}
