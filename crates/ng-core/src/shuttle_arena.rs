//! Whole arenas under a scheduler that tries many interleavings: two chunks of 128 slots, writers, readers, a recaller
//! and a thread that gives memory back. NG_SHUTTLE_SCHEDULES sets how many schedules each model runs.
#![allow(clippy::print_stdout, reason = "a random test tells how much it ran")]

use crate::config::{ArenaConfig, CHUNK_SLOTS};
use crate::{Arena, Token, TokenId};
use shuttle::sync::atomic::{AtomicU64, Ordering::SeqCst};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use std::collections::HashSet;

/// Of each model; there are seven here, and one of the hints alone.
const SCHEDULES: usize = 21_000;

pub(crate) fn explore(name: &str, model: fn()) {
    let schedules = std::env::var("NG_SHUTTLE_SCHEDULES").ok();
    let schedules =
        schedules.map_or(SCHEDULES, |text| text.parse().expect("a number of schedules"));
    println!(
        "{name}: {schedules} schedules; one that fails is printed, and shuttle::replay runs it again"
    );
    shuttle::check_random(model, schedules / 2);
    shuttle::check_pct(model, schedules - schedules / 2, 3);
}

fn arena(chunks: u32) -> Arena {
    let config =
        ArenaConfig { max_slots: u64::from(chunks * CHUNK_SLOTS), ..ArenaConfig::default() };
    Arena::new(config).unwrap()
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n).domain((n % 16) as u8).build().unwrap()
}

/// Fills the arena to its end: exactly what is free must fit.
fn fill_up(arena: &Arena, live: usize) {
    let mut writer = arena.writer();
    let mut created = 0;
    while writer.create(&token(0)).is_ok() {
        created += 1;
    }
    let slots = arena.stats().reserved_bytes as usize / 64;
    assert_eq!(created + live, slots, "a slot was lost or doubled");
    assert_eq!(arena.len(), slots as u64);
}

#[test]
fn shuttle_writers_and_a_recaller_share_the_slots_without_loss() {
    explore("writers and a recaller", || {
        let arena = arena(1);
        let ids = Arc::new(Mutex::new(HashSet::new()));
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let (arena, ids) = (arena.clone(), Arc::clone(&ids));
                thread::spawn(move || {
                    let mut writer = arena.writer();
                    let mut mine = Vec::new();
                    for step in 0..3 {
                        let id = writer.create(&token(10 * n + step)).unwrap();
                        assert!(ids.lock().unwrap().insert(id), "id {id} was given out twice");
                        assert_eq!(arena.get(id), Some(token(10 * n + step)));
                        mine.push(id);
                    }
                    writer.delete(mine[1]).unwrap();
                    assert_eq!(arena.get(mine[1]), None);
                    // Dropped with an unused lease.
                    2
                })
            })
            .collect();
        arena.recall_idle();
        arena.alert_writers();
        arena.recall_idle();
        let live: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(arena.len_consistent(), live as u64);
        fill_up(&arena, live);
    });
}

#[test]
fn shuttle_a_recall_beside_a_first_lease_leaves_each_slot_to_one() {
    explore("a first lease", || {
        let arena = arena(1);
        let other = {
            let arena = arena.clone();
            thread::spawn(move || arena.writer().create(&token(1)).unwrap())
        };
        arena.recall_idle();
        let mut writer = arena.writer();
        let id = writer.create(&token(2)).unwrap();
        let others = other.join().unwrap();
        assert_eq!(arena.get(id), Some(token(2)), "its slot was written by another");
        assert_eq!(arena.get(others), Some(token(1)));
    });
}

#[test]
fn shuttle_a_reader_sees_whole_tokens_of_its_id_or_nothing() {
    explore("a reader", || {
        let arena = arena(1);
        let mut writer = arena.writer();
        let id = writer.create(&token(1)).unwrap();
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || {
                let mut gone = false;
                for _ in 0..3 {
                    match arena.get(id) {
                        Some(seen) => {
                            assert!(!gone, "a token came back");
                            assert!([token(1), token(2)].contains(&seen), "a torn token {seen}");
                        }
                        None => gone = true,
                    }
                }
            })
        };
        writer.update(id, &token(2)).unwrap();
        writer.delete(id).unwrap();
        // The slot is used again, by this or another token.
        writer.hand_back();
        let other = writer.create(&token(3)).unwrap();
        reader.join().unwrap();
        assert_eq!((arena.get(id), arena.get(other)), (None, Some(token(3))));
    });
}

#[test]
fn shuttle_memory_goes_back_beside_readers_and_a_writer() {
    explore("give-back", || {
        let arena = arena(1);
        let id = arena.writer().create(&token(1)).unwrap();
        let reader = {
            let arena = arena.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let seen = arena.get(id);
                    assert!(seen.is_none() || seen == Some(token(1)), "words of another token");
                }
            })
        };
        let giver = {
            let arena = arena.clone();
            thread::spawn(move || arena.give_back_empty())
        };
        let mut writer = arena.writer();
        writer.delete(id).unwrap();
        let next = writer.create(&token(2)).unwrap();
        assert_ne!(next, id);
        assert_eq!(arena.get(next), Some(token(2)), "memory of a live token went back");
        reader.join().unwrap();
        giver.join().unwrap();
        writer.delete(next).unwrap();
        drop(writer);
        arena.give_back_empty();
        assert_eq!(arena.stats().committed_bytes, 0);
        fill_up(&arena, 0);
        assert_eq!(arena.get(id), None);
        assert_eq!(arena.get(next), None);
    });
}

#[test]
fn shuttle_two_writers_of_one_token_take_turns_and_one_deletes_it() {
    explore("two writers of one token", || {
        let arena = arena(1);
        let id = arena.writer().create(&token(1)).unwrap();
        let deleted = Arc::new(AtomicU64::new(0));
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let (arena, deleted) = (arena.clone(), Arc::clone(&deleted));
                thread::spawn(move || {
                    let mut writer = arena.writer();
                    let updated = writer.update(id, &token(2 + n)).is_ok();
                    if let Some(seen) = arena.get(id) {
                        assert!(!updated || seen != token(1), "an update was lost");
                    }
                    deleted.fetch_add(u64::from(writer.delete(id).is_ok()), SeqCst);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(deleted.load(SeqCst), 1, "deleted by exactly one");
        assert_eq!(arena.len(), 0);
        fill_up(&arena, 0);
    });
}

#[test]
fn shuttle_a_walk_and_a_count_beside_writers_miss_nothing_that_stays() {
    explore("a walk", || {
        let arena = arena(2);
        let mut writer = arena.writer();
        let stays: Vec<TokenId> = (0..2).map(|n| writer.create(&token(n)).unwrap()).collect();
        let other = {
            let arena = arena.clone();
            thread::spawn(move || {
                let mut writer = arena.writer();
                let id = writer.create(&token(7)).unwrap();
                drop(writer.begin());
                writer.delete(id).unwrap();
            })
        };
        let seen: Vec<_> = arena.iter().map(|(id, _)| id).collect();
        assert!(stays.iter().all(|id| seen.contains(id)), "a token that stays was not seen");
        let count = arena.len_consistent();
        assert!((2..=4).contains(&count), "{count} tokens");
        other.join().unwrap();
        assert_eq!(arena.len_consistent(), 2);
    });
}

#[test]
fn shuttle_a_create_is_refused_only_where_each_slot_has_a_token() {
    explore("the last slots", || {
        let arena = arena(1);
        let mut first = arena.writer();
        (0..CHUNK_SLOTS - 2).for_each(|n| _ = first.create(&token(n)).unwrap());
        // Two slots are free, idle with this writer, and two threads want one each.
        let threads: Vec<_> = (0..2)
            .map(|n| {
                let arena = arena.clone();
                thread::spawn(move || {
                    let mut writer = arena.writer();
                    writer.create(&token(n)).expect("a slot for each");
                    writer
                })
            })
            .collect();
        let mut writers: Vec<_> = threads.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(first.create(&token(1)).is_err() && writers[0].create(&token(1)).is_err());
    });
}
