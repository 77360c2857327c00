//! Loom model of the ring: every span offered comes out once, whole and in order, or is counted as dropped, and a drain that goes only where it was told finds all of them. Blocks have two slots, so chains grow.

use crate::{
    block::{Block, Held},
    ring::{
        Producer, SpanRing,
        harness::{Push, drain, held, push, ring},
    },
    span::SPAN_WORDS,
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

/// Blocks made beforehand: what they count is of no interest here, and would be more to walk through.
fn blocks(held: &Arc<Held>, count: usize) -> Vec<Box<Block>> {
    (0..count).map(|_| Held::block(&held).unwrap()).collect()
}

/// Takes what waits, whole spans only. The blocks outlive the model's threads.
fn drain_into(ring: &SpanRing, seen: &mut Vec<u64>, used: &mut Vec<Box<Block>>) -> bool {
    let drained = drain(ring, |words| {
        assert!(words.iter().all(|word| *word == words[0]), "torn: {words:?}");
        seen.push(words[0]);
    });
    let found = drained.is_some();
    used.extend(drained.into_iter().flatten());
    found
}

/// A drain that looks once while a producer pushes `1..=spans`, and then when it has gone.
fn one_look_meanwhile(spans: u64, capacity: usize) {
    loom::model(move || {
        let (ring, held) = (ring(capacity), held());
        let announced = Arc::new(AtomicU64::new(0));
        let mut fresh = blocks(&held, spans as usize);
        let mut producer = Producer::open(Arc::clone(&ring));
        let told = Arc::clone(&announced);
        let sender = thread::spawn(move || {
            let mut one = |number: u64| {
                let announce = || {
                    told.fetch_add(1, SeqCst);
                };
                push(&mut producer, &[number; SPAN_WORDS], || fresh.pop(), announce)
            };
            let stored = (1..=spans).filter(|number| one(*number) != Push::Full).count();
            (stored, fresh)
        });
        let (mut seen, mut used) = (Vec::new(), Vec::new());
        let mut looked = 0;
        if announced.load(SeqCst) > 0 && drain_into(&ring, &mut seen, &mut used) {
            looked = 1;
        }
        let (stored, unused) = sender.join().unwrap();
        assert!(!ring.is_open());
        // As often as it was told: a chain of which it was not told is lost.
        for _ in looked..announced.load(SeqCst) {
            drain_into(&ring, &mut seen, &mut used);
        }
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "order: {seen:?}");
        assert_eq!(seen.len(), stored);
        assert_eq!((ring.drained(), ring.written()), (stored as u64, stored as u64));
        assert_eq!(ring.dropped() as usize, spans as usize - stored);
        drop((used, unused));
    });
}

#[test]
fn loom_spans_are_whole_in_order_and_dropped_ones_counted() {
    one_look_meanwhile(4, 2);
}

#[test]
fn loom_a_chain_that_grows_while_it_is_drained_loses_and_doubles_nothing() {
    one_look_meanwhile(5, 8);
}

/// A flush asks for all that was recorded before it, also of a thread that goes on recording: a drain
/// that finds the chain in the producer's hands may not take the ring for an empty one.
#[test]
fn loom_a_span_recorded_before_the_look_is_found_though_its_thread_is_pushing() {
    loom::model(|| {
        let (ring, held) = (ring(8), held());
        let mut fresh = blocks(&held, 2);
        let mut producer = Producer::open(Arc::clone(&ring));
        let mut announced = false;
        push(&mut producer, &[1; SPAN_WORDS], || fresh.pop(), || announced = true);
        assert!(announced);
        let again = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&again);
        let sender = thread::spawn(move || {
            let announce = || {
                told.fetch_add(1, SeqCst);
            };
            push(&mut producer, &[2; SPAN_WORDS], || fresh.pop(), announce);
            (producer, fresh)
        });
        let (mut seen, mut used) = (Vec::new(), Vec::new());
        while !drain_into(&ring, &mut seen, &mut used) {
            thread::yield_now();
        }
        assert_eq!(seen.first(), Some(&1), "it was recorded before the look");
        let (producer, unused) = sender.join().unwrap();
        for _ in 0..again.load(SeqCst) {
            assert!(drain_into(&ring, &mut seen, &mut used));
        }
        assert_eq!(seen, [1, 2]);
        drop((producer, used, unused));
    });
}
