//! Loom model of the summons: a drain that parks whenever it may, beside one who records and asks for a flush. A call that got lost would leave it parked for ever, which loom reports.

use crate::{
    ring::{Producer, Push, SpanRing},
    span::SPAN_WORDS,
    summons::Summons,
};
use loom::{sync::Arc, thread};

#[test]
fn loom_a_flush_is_never_slept_through_and_covers_what_was_recorded_before_it() {
    loom::model(|| {
        let ring = Arc::new(SpanRing::new(2 * SPAN_WORDS * 8));
        let summons = Arc::new(Summons::new());
        let mut producer = Producer::open(Arc::clone(&ring));
        let asked_of = Arc::clone(&summons);
        let drain = thread::spawn(move || {
            let mut drained = 0;
            loop {
                let asked = asked_of.asked();
                drained += ring.drain(ring.written(), 2, |_| {}) as u64;
                assert!(drained >= asked.ticket, "{drained} spans for ticket {}", asked.ticket);
                if asked.ticket == 2 {
                    return;
                }
                if asked_of.may_park() {
                    thread::park();
                }
            }
        });
        for number in 1..=2 {
            assert_ne!(producer.push(&[number; SPAN_WORDS]), Push::Full);
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
