//! Removing by what tokens are, and writing from many threads through one handle.

use ng_core::{Arena, ArenaConfig, CHUNK_SLOTS, CreateError, SharedWriter, Token, TokenId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n).build().unwrap()
}

fn small(chunks: u32) -> Arena {
    let mut config = ArenaConfig::default();
    config.max_slots = u64::from(chunks * CHUNK_SLOTS);
    Arena::new(config).unwrap()
}

#[test]
fn a_drain_removes_and_gives_exactly_what_was_chosen_and_retain_keeps_exactly_the_rest() {
    let arena = small(2);
    let mut writer = arena.writer();
    let all: HashMap<TokenId, Token> =
        (0..40_000).map(|n| (writer.create(&token(n)).unwrap(), token(n))).collect();
    let drained: HashMap<_, _> = writer.drain(|_, token| token.timestamp() % 3 == 0).collect();
    assert_eq!(drained.len(), 13_334);
    for (id, token) in &all {
        let gone = token.timestamp() % 3 == 0;
        assert_eq!(arena.get(*id).is_none(), gone);
        assert_eq!(drained.get(id), gone.then_some(token));
    }
    let removed = writer.retain(|id, token| all[&id] == *token && token.timestamp() < 100);
    assert_eq!((removed, arena.len()), (40_000 - 13_334 - 66, 66));
    assert_eq!(arena.stats().deleted_total, 40_000 - 66);
    assert_eq!(writer.retain(|_, _| true), 0);
    assert_eq!(writer.retain(|_, _| false), 66);
    assert!(arena.is_empty());
    assert_eq!(writer.drain(|_, _| panic!("nobody is there to ask for")).count(), 0);
}

#[test]
fn a_drain_that_is_dropped_early_leaves_the_rest() {
    let arena = small(1);
    let mut writer = arena.writer();
    (0..10).for_each(|n| _ = writer.create(&token(n)).unwrap());
    let first: Vec<_> = writer.drain(|_, _| true).take(3).map(|(_, token)| token).collect();
    assert_eq!(first, [token(0), token(1), token(2)]);
    assert_eq!(arena.len(), 7);
}

#[test]
fn a_token_that_changed_since_it_was_chosen_is_chosen_again_by_what_it_is_now() {
    let arena = small(1);
    let (mut writer, mut other) = (arena.writer(), arena.writer());
    let ids: Vec<_> = (0..3).map(|_| writer.create(&token(1)).unwrap()).collect();
    let mut asked = Vec::new();
    let removed = writer.retain(|id, token_seen| {
        asked.push(token_seen.timestamp());
        // Between the look and the removal, once each: one is spared, one stays chosen, one is gone.
        if token_seen.timestamp() == 1 {
            match ids.iter().position(|other| *other == id).unwrap() {
                0 => other.update(id, &token(7)).unwrap(),
                1 => other.update(id, &token(2)).unwrap(),
                _ => other.delete(id).unwrap(),
            }
        }
        token_seen.timestamp() == 7
    });
    assert_eq!((removed, asked), (1, vec![1, 7, 1, 2, 1]));
    assert_eq!((arena.get(ids[0]), arena.len()), (Some(token(7)), 1));
}

#[test]
fn threads_that_drain_beside_each_other_get_each_token_once() {
    let arena = small(1);
    let mut writer = arena.writer();
    (0..30_000).for_each(|n| _ = writer.create(&token(n)).unwrap());
    let mut drained: Vec<u32> = thread::scope(|scope| {
        let drains: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut writer = arena.writer();
                    writer
                        .drain(|_, _| true)
                        .map(|(_, token)| token.timestamp())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        drains.into_iter().flat_map(|drain| drain.join().unwrap()).collect()
    });
    drained.sort_unstable();
    assert_eq!(drained, (0..30_000).collect::<Vec<_>>());
}

/// To be called from any thread, which the compiler checks.
fn from_any_thread<T: Clone + Send + Sync + 'static>(_handle: &T) {}

#[test]
fn one_shared_writer_creates_updates_and_deletes_from_many_threads() {
    let arena = small(1);
    let shared = arena.shared_writer();
    from_any_thread::<SharedWriter>(&shared);
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8u32)
            .map(|thread| {
                let shared = shared.clone();
                let arena = &arena;
                scope.spawn(move || {
                    for n in 0..4_000 {
                        let id = shared.create(&token(thread)).unwrap();
                        shared.update(id, &token(n)).unwrap();
                        assert_eq!(arena.get(id), Some(token(n)));
                        if n % 2 == 0 {
                            shared.delete(id).unwrap();
                        }
                    }
                })
            })
            .collect();
        let recalls = scope.spawn(|| {
            while !ended.load(SeqCst) {
                arena.recall_idle();
                thread::yield_now();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        ended.store(true, SeqCst);
        recalls.join().unwrap();
    });
    let stats = arena.stats();
    assert_eq!((stats.writers, arena.len()), (1, 16_000), "clones share one lease");
    let filled = (0..).take_while(|_| shared.create(&token(1)).is_ok()).count();
    assert_eq!(filled, CHUNK_SLOTS as usize - 16_000);
    assert_eq!(shared.create(&token(1)), Err(CreateError::Full { slots: u64::from(CHUNK_SLOTS) }));
    assert_eq!(shared.with(|writer| writer.retain(|_, _| false)), u64::from(CHUNK_SLOTS));
    drop(shared);
    assert_eq!(arena.stats().writers, 0);
}
