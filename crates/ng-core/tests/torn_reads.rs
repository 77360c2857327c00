//! Readers beside writers see whole tokens only.

use ng_core::{Arena, ArenaConfig, Space, Token};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

/// A token whose every field follows from `n`, so that a mixture of two is seen.
fn uniform(n: u32) -> Token {
    let step = f64::from(n % 3_000) / 10_000.0;
    let mut builder = Token::builder().timestamp(n).weight((n % 1_000) as f32 / 1_000.0);
    for space in Space::ALL {
        builder = builder.coordinates_saturating(space, [step; 3]);
    }
    builder.build().unwrap()
}

#[test]
fn readers_never_see_a_torn_token_while_two_writers_update_it() {
    let arena = Arena::new(ArenaConfig::default()).unwrap();
    let ids: Vec<_> = {
        let mut writer = arena.writer();
        (0..4).map(|n| writer.create(&uniform(n)).unwrap()).collect()
    };
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) || reads.load(Relaxed) == 0 {
                    for &id in &ids {
                        let token = arena.get(id).expect("it is never deleted");
                        assert_eq!(token, uniform(token.timestamp()), "a torn token");
                        reads.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        let writers: Vec<_> = (0..2u32)
            .map(|start| {
                let (arena, ids) = (&arena, &ids);
                scope.spawn(move || {
                    let mut writer = arena.writer();
                    for n in 0..200_000u32 {
                        writer.update(ids[n as usize % 4], &uniform(n * 2 + start)).unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Relaxed);
    });
    assert!(reads.load(Relaxed) > 0);
}

#[test]
fn readers_of_a_slot_that_is_deleted_and_reused_see_their_token_or_nothing() {
    // One free slot, so that every create reuses it.
    let mut config = ArenaConfig::default();
    config.max_slots = 1;
    let arena = Arena::new(config).unwrap();
    let mut writer = arena.writer();
    while writer.create(&uniform(0)).is_ok() {}
    let first = arena.iter().next().unwrap().0;
    writer.delete(first).unwrap();
    let shared = AtomicU64::new(writer.create(&uniform(1)).unwrap().to_u64());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                let id = ng_core::TokenId::from_u64(shared.load(Relaxed)).unwrap();
                if let Some(token) = arena.get(id) {
                    assert_eq!(token, uniform(token.timestamp()));
                    assert_eq!(
                        token.timestamp() * 2 + 1,
                        id.generation(),
                        "a token under another's id"
                    );
                }
            }
        });
        let mut id = ng_core::TokenId::from_u64(shared.load(Relaxed)).unwrap();
        for _ in 0..100_000 {
            writer.delete(id).unwrap();
            // The next generation is known: two more than the last.
            id = writer.create(&uniform(id.generation().div_ceil(2))).unwrap();
            shared.store(id.to_u64(), Relaxed);
        }
        done.store(true, Relaxed);
    });
}
