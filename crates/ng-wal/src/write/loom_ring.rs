//! Models of the ring: claim, publish, consume, wrap, close. Run with
//! `RUSTFLAGS="--cfg loom" cargo test -p ng-wal --release --lib loom_`.

use crate::write::ring::{Class, Refused, Ring};
use loom::thread;

/// Takes what is there; returns the payload bytes in LSN order.
fn drain(consumer: &mut crate::write::ring::Consumer, seen: &mut Vec<u8>) {
    while consumer.peek().is_some() {
        seen.push(consumer.take(|kind, payload| {
            assert_eq!(payload, [kind; 3]);
            kind
        }));
    }
    consumer.release(u64::MAX, u64::MAX);
}

#[test]
fn two_appenders_and_a_consumer_lose_nothing_and_leave_no_hole() {
    loom::model(|| {
        let (ring, mut consumer) = Ring::new(2, 1);
        let appenders: Vec<_> = [1u8, 2]
            .map(|kind| {
                let ring = ring.clone();
                thread::spawn(move || ring.push_inline(kind, &[kind; 3], Class::Ordinary))
            })
            .into_iter()
            .collect();
        let mut seen = Vec::new();
        drain(&mut consumer, &mut seen);
        for appender in appenders {
            appender.join().unwrap().unwrap();
        }
        drain(&mut consumer, &mut seen);
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
        assert_eq!(consumer.next_lsn(), ring.next_lsn());
    });
}

#[test]
fn a_slot_is_not_claimed_again_before_the_consumer_is_done_with_it() {
    loom::model(|| {
        let (ring, mut consumer) = Ring::new(1, 1);
        ring.push_inline(1, &[1; 3], Class::Ordinary).unwrap();
        let appender = {
            let ring = ring.clone();
            thread::spawn(move || ring.push_inline(2, &[2; 3], Class::Ordinary))
        };
        let mut seen = Vec::new();
        drain(&mut consumer, &mut seen);
        let pushed = appender.join().unwrap();
        drain(&mut consumer, &mut seen);
        match pushed {
            Ok(lsn) => assert_eq!((lsn, seen.as_slice()), (2, &[1, 2][..])),
            Err(refused) => assert_eq!((refused, seen.as_slice()), (Refused::Full, &[1][..])),
        }
    });
}

#[test]
fn after_a_close_exactly_what_was_claimed_before_it_can_be_drained() {
    loom::model(|| {
        let (ring, mut consumer) = Ring::new(2, 1);
        let appender = {
            let ring = ring.clone();
            thread::spawn(move || ring.push_inline(1, &[1; 3], Class::Ordinary))
        };
        let end = ring.close();
        let pushed = appender.join().unwrap();
        let mut seen = Vec::new();
        drain(&mut consumer, &mut seen);
        assert_eq!(consumer.next_lsn(), end);
        assert_eq!(pushed.is_ok(), end == 2);
        assert_eq!(seen.len() as u64, end - 1);
    });
}
