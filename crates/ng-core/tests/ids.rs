//! A stale id never resolves to another token: by model, by wraps of the stamp, across give-back and restore.
#![allow(clippy::print_stdout, reason = "a random test tells its seed")]

use ng_core::{Arena, ArenaConfig, CHUNK_SLOTS, CreateError, NotFound, Token, TokenId};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::thread;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n).weight(0.5).build().unwrap()
}

fn small(chunks: u32) -> Arena {
    let mut config = ArenaConfig::default();
    config.max_slots = u64::from(chunks * CHUNK_SLOTS);
    Arena::new(config).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Create(u32),
    Update(usize, u32),
    Delete(usize),
    GetStale(usize),
    Recall,
    GiveBack,
    NewWriter,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..u32::MAX).prop_map(Op::Create),
        3 => (any::<usize>(), 1..u32::MAX).prop_map(|(i, n)| Op::Update(i, n)),
        5 => any::<usize>().prop_map(Op::Delete),
        3 => any::<usize>().prop_map(Op::GetStale),
        1 => Just(Op::Recall),
        1 => Just(Op::GiveBack),
        1 => Just(Op::NewWriter),
    ]
}

proptest! {
    #[test]
    fn an_arena_behaves_as_a_map_from_ids_to_tokens(ops in proptest::collection::vec(op(), 1..400)) {
        let arena = small(1);
        let mut writer = arena.writer();
        let mut model: HashMap<TokenId, Token> = HashMap::new();
        let (mut alive, mut gone): (Vec<TokenId>, Vec<TokenId>) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                Op::Create(n) => {
                    let id = writer.create(&token(n)).unwrap();
                    prop_assert!(model.insert(id, token(n)).is_none(), "id {id} was given out twice");
                    prop_assert!(!gone.contains(&id), "id {id} came back");
                    alive.push(id);
                }
                Op::Update(i, n) if !alive.is_empty() => {
                    let id = alive[i % alive.len()];
                    writer.update(id, &token(n)).unwrap();
                    model.insert(id, token(n));
                }
                Op::Delete(i) if !alive.is_empty() => {
                    let id = alive.swap_remove(i % alive.len());
                    writer.delete(id).unwrap();
                    model.remove(&id);
                    gone.push(id);
                }
                Op::GetStale(i) if !gone.is_empty() => {
                    let id = gone[i % gone.len()];
                    prop_assert_eq!(arena.get(id), None);
                    prop_assert_eq!(writer.update(id, &token(1)), Err(NotFound));
                    prop_assert_eq!(writer.delete(id), Err(NotFound));
                }
                Op::Recall => { arena.recall_idle(); }
                Op::GiveBack => { arena.give_back_empty(); }
                Op::NewWriter => writer = arena.writer(),
                _ => {}
            }
        }
        prop_assert_eq!(arena.len(), model.len() as u64);
        let seen: HashMap<_, _> = arena.iter().collect();
        prop_assert_eq!(seen, model);
    }
}

#[test]
fn four_threads_of_creates_updates_and_deletes_agree_with_their_models() {
    let seed = std::env::var("NG_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    let arena = small(2);
    let outcomes: Vec<(HashMap<TokenId, Token>, HashSet<TokenId>)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4u64)
            .map(|thread| {
                let arena = &arena;
                scope.spawn(move || {
                    let mut rng = fastrand::Rng::with_seed(seed ^ thread);
                    let mut writer = arena.writer();
                    let (mut model, mut alive, mut used) =
                        (HashMap::new(), Vec::new(), HashSet::new());
                    for step in 0..60_000u32 {
                        match rng.u32(..100) {
                            0..45 => {
                                if let Ok(id) = writer.create(&token(step + 1)) {
                                    assert!(used.insert(id), "id {id} was given out twice");
                                    model.insert(id, token(step + 1));
                                    alive.push(id);
                                }
                            }
                            45..85 if !alive.is_empty() => {
                                let id = alive.swap_remove(rng.usize(..alive.len()));
                                writer.delete(id).unwrap();
                                model.remove(&id);
                                assert_eq!(arena.get(id), None);
                            }
                            85..98 if !alive.is_empty() => {
                                let id = alive[rng.usize(..alive.len())];
                                writer.update(id, &token(step + 7)).unwrap();
                                model.insert(id, token(step + 7));
                                assert_eq!(arena.get(id), Some(token(step + 7)));
                            }
                            98 => {
                                arena.recall_idle();
                            }
                            _ => {
                                arena.give_back_empty();
                            }
                        }
                    }
                    (model, used)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = HashMap::new();
    let mut ever = HashSet::new();
    for (model, used) in outcomes {
        for id in used {
            assert!(ever.insert(id), "id {id} went to two threads");
        }
        all.extend(model);
    }
    assert_eq!(arena.iter().collect::<HashMap<_, _>>(), all);
    assert_eq!(arena.len(), all.len() as u64);
    assert_eq!(arena.stats().leased_slots, 0, "writers that ended gave their slots back");
}

#[test]
fn a_full_arena_refuses_and_one_delete_admits_exactly_one() {
    let arena = small(1);
    let mut writer = arena.writer();
    let ids: Vec<_> = (0..CHUNK_SLOTS).map(|n| writer.create(&token(n + 1)).unwrap()).collect();
    for _ in 0..100 {
        assert_eq!(
            writer.create(&token(1)),
            Err(CreateError::Full { slots: u64::from(CHUNK_SLOTS) })
        );
    }
    writer.delete(ids[77]).unwrap();
    writer.create(&token(5)).unwrap();
    assert!(matches!(writer.create(&token(1)), Err(CreateError::Full { .. })));
    assert_eq!(arena.len(), u64::from(CHUNK_SLOTS));
}

#[test]
fn ids_stay_apart_when_a_slot_is_reused_past_the_wrap_of_its_stamp() {
    let arena = small(1);
    let mut writer = arena.writer();
    let ids: Vec<_> = (0..CHUNK_SLOTS).map(|n| writer.create(&token(n + 1)).unwrap()).collect();
    let mut begun_before = arena.iter();
    assert_eq!(begun_before.next(), Some((ids[0], token(1))));
    let first = ids[500];
    let mut id = first;
    // The stamp has 20 bits of generation; each reuse takes two.
    for reuse in 1..(1u32 << 19) + 4 {
        writer.delete(id).unwrap();
        id = writer.create(&token(reuse)).unwrap();
        assert_eq!(id.generation(), first.generation() + 2 * reuse, "reuse {reuse}");
    }
    assert!(arena.stats().side_table_bytes > 0, "the wrap needed a side table");
    assert_eq!(arena.get(id), Some(token((1 << 19) + 3)));
    // Same stamp bits, one wrap earlier.
    let same_bits = TokenId::new(id.slot(), id.generation() - (1 << 20)).unwrap();
    assert_eq!(arena.get(same_bits), None);
    assert_eq!(writer.update(same_bits, &token(1)), Err(NotFound));
    assert_eq!(arena.get(ids[501]), Some(token(502)), "neighbours without a wrap are as before");
    let mut all: Vec<_> = ids.iter().zip(1..).map(|(&id, n)| (id, token(n))).collect();
    all[500] = (id, token((1 << 19) + 3));
    assert!(begun_before.eq(all[1..].iter().copied()), "the wrap came below an iteration");
    assert!(arena.iter().eq(all));
}

#[test]
fn an_iteration_sees_the_ids_that_a_chunk_has_after_it_was_given_back_below_it() {
    let arena = small(1);
    let fill = |from: u32| -> Vec<_> {
        let mut writer = arena.writer();
        let tokens = (from..from + CHUNK_SLOTS).map(token);
        tokens.map(|token| (writer.create(&token).unwrap(), token)).collect()
    };
    let before = fill(1);
    let mut iter = arena.iter();
    assert_eq!(iter.next(), Some(before[0]));
    let mut writer = arena.writer();
    before.iter().for_each(|(id, _)| writer.delete(*id).unwrap());
    drop(writer);
    assert!(arena.give_back_empty() > 0);
    let mut after = fill(100_000);
    after.sort_by_key(|(id, _)| id.slot());
    assert!(iter.eq(after[1..].iter().copied()));
}

#[test]
fn ids_of_a_chunk_that_was_given_back_never_come_again() {
    let arena = small(2);
    let mut used = HashSet::new();
    for round in 0..3 {
        let mut writer = arena.writer();
        let ids: Vec<_> = (0..CHUNK_SLOTS).map(|n| writer.create(&token(n + 1)).unwrap()).collect();
        assert!(ids.iter().all(|id| used.insert(*id)), "round {round}: an id came twice");
        for &id in &ids {
            writer.delete(id).unwrap();
        }
        drop(writer);
        assert!(arena.give_back_empty() > 0, "round {round}");
        assert_eq!(arena.stats().committed_bytes, 0);
        assert!(ids.iter().all(|&id| arena.get(id).is_none()));
    }
}

#[test]
fn ids_of_another_store_or_beyond_the_end_are_refused() {
    let arena = small(1);
    let mut writer = arena.writer();
    writer.create(&token(1)).unwrap();
    for raw in [u64::MAX, 1 << 32 | 0xffff_ffff, 5 << 32, 1 << 32 | u64::from(CHUNK_SLOTS)] {
        let id = TokenId::from_u64(raw).unwrap();
        assert_eq!(arena.get(id), None);
        assert_eq!(writer.delete(id), Err(NotFound));
    }
}

#[test]
fn no_id_reaches_the_generation_limit() {
    let arena = small(1);
    arena.set_generation_limit(8);
    let mut writer = arena.writer();
    let ids: Vec<_> = (0..CHUNK_SLOTS).map(|n| writer.create(&token(n + 1)).unwrap()).collect();
    let mut id = ids[0];
    for _ in 0..3 {
        writer.delete(id).unwrap();
        id = writer.create(&token(1)).unwrap();
    }
    assert_eq!(id.generation(), 7);
    writer.delete(id).unwrap();
    assert_eq!(writer.create(&token(1)), Err(CreateError::Generation { needed: 9, limit: 8 }));
    arena.set_generation_limit(10);
    assert_eq!(writer.create(&token(1)).unwrap().generation(), 9);
}

#[test]
fn restored_tokens_keep_their_ids_and_new_ones_start_at_the_floor() {
    let far = 5_000_000; // beyond the 20 bits of a stamp, above the oldest
    // Whichever token of a chunk comes first, and whatever becomes of it.
    for (floor, first) in [10, 100_000, far].into_iter().flat_map(|f| [(f, 0), (f, 1), (f, 3)]) {
        let arena = small(4);
        let mut restorer = arena.restorer();
        let old = TokenId::new(3, 1).unwrap();
        let young = TokenId::new(9, 7).unwrap();
        let lone = TokenId::new(2 * CHUNK_SLOTS + 4, 9).unwrap();
        let dead = TokenId::new(5, 3).unwrap();
        let mut puts = [(1, old), (2, young), (3, lone), (4, dead)];
        puts.rotate_left(first);
        for (n, id) in puts {
            restorer.put(id, &token(n)).unwrap();
        }
        restorer.put(young, &token(20)).unwrap();
        assert!(restorer.delete(dead) && !restorer.delete(dead));
        let restored = restorer.finish(floor);
        assert_eq!(restored.tokens, 3);
        assert_eq!(arena.len(), 3);
        assert_eq!(arena.get(old), Some(token(1)));
        assert_eq!(arena.get(young), Some(token(20)));
        assert_eq!(arena.get(lone), Some(token(3)));
        assert_eq!(arena.get(dead), None);
        let mut writer = arena.writer();
        for _ in 0..3 * CHUNK_SLOTS {
            let id = writer.create(&token(9)).unwrap();
            assert!(id.generation() >= floor, "{id:?} lies below the floor {floor}");
        }
        assert_eq!(arena.get(old), Some(token(1)), "a restored token keeps its slot");
        // A restored token that is deleted gives its slot on at the floor, too.
        let (count, highest) = (arena.len(), arena.stats().generation_high);
        writer.delete(old).unwrap();
        while let Ok(id) = writer.create(&token(9)) {
            assert!(id.generation() >= floor && id != old);
        }
        assert!(arena.len() > count && arena.stats().generation_high >= highest);
        assert_eq!(arena.get(old), None);
    }
}

#[test]
fn a_restore_beyond_the_arena_is_refused_by_name() {
    let arena = small(1);
    let id = TokenId::new(CHUNK_SLOTS, 1).unwrap();
    let error = arena.restorer().put(id, &token(1)).unwrap_err();
    assert!(error.to_string().contains("names slot 32768, and the arena has 32768"), "{error}");
}
