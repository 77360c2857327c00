//! Loom model of the summons: a drain that parks whenever it may, beside one who records and asks for a flush. A call that got lost would leave it parked for ever, which loom reports.

use crate::{
    block::{Block, Held},
    ring::{
        Producer, SpanRing,
        harness::{Push, drain, held, push, ring},
    },
    span::SPAN_WORDS,
    summons::Summons,
};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// Comes back as long as the producer has the chain in its hands.
fn drain_all(ring: &SpanRing, drained: &mut u64) -> Vec<Box<Block>> {
    loop {
        if let Some(blocks) = drain(ring, |_| *drained += 1) {
            return blocks;
        }
        thread::yield_now();
    }
}

#[test]
fn loom_a_flush_is_never_slept_through_and_covers_what_was_recorded_before_it() {
    loom::model(|| {
        let (ring, held) = (ring(2), held());
        let mut fresh: Vec<_> = (0..2).map(|_| Held::block(&held).unwrap()).collect();
        let announced = Arc::new(AtomicBool::new(false));
        let (told, to_drain) = (Arc::clone(&announced), Arc::clone(&ring));
        let summons = Arc::new(Summons::new());
        let mut producer = Producer::open(Arc::clone(&ring));
        let asked_of = Arc::clone(&summons);
        let drain = thread::spawn(move || {
            let (mut drained, mut used) = (0, Vec::new());
            loop {
                let asked = asked_of.asked();
                if announced.swap(false, SeqCst) {
                    used.extend(drain_all(&to_drain, &mut drained));
                }
                assert!(drained >= asked.ticket, "{drained} spans for ticket {}", asked.ticket);
                if asked.ticket == 2 {
                    return used;
                }
                if asked_of.may_park() {
                    thread::park();
                }
            }
        });
        for number in 1..=2 {
            // A swap: loom would let a plain store come before a swap that it follows.
            let announce = || assert!(!told.swap(true, SeqCst), "one chain at a time");
            let pushed = push(&mut producer, &[number; SPAN_WORDS], || fresh.pop(), announce);
            assert_ne!(pushed, Push::Full);
            assert_eq!(summons.ask(), number);
            summons.call(|| drain.thread().unpark());
        }
        drain.join().unwrap();
    });
}

#[test]
fn loom_a_stop_is_never_slept_through() {
    loom::model(|| {
        let summons = Arc::new(Summons::new());
        let asked_of = Arc::clone(&summons);
        let drain = thread::spawn(move || {
            while !asked_of.asked().stop {
                if asked_of.may_park() {
                    thread::park();
                }
            }
        });
        summons.order_stop();
        summons.call(|| drain.thread().unpark());
        drain.join().unwrap();
    });
}
