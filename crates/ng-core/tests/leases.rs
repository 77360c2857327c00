//! Leases: the one limit, recall, hand-back, and what a writer that ends leaves behind.

use ng_core::{
    Arena, ArenaConfig, CHUNK_BYTES, CHUNK_SLOTS, CreateError, Due, Flags, MemoryGate, NotFound,
    Token, Writer,
};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
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
fn a_writer_stops_exactly_where_it_was_asked_to_across_leases() {
    let arena = small(1);
    let mut writer = arena.writer();
    // Holes, so that positions and counts differ.
    let ids: Vec<_> = (0..3_000).map(|n| writer.create(&token(n)).unwrap()).collect();
    for id in ids.iter().step_by(3) {
        writer.delete(*id).unwrap();
    }
    let gaps = [0u64, 1, 0, 7, 200, 63, 64, 65, 1_500, 0, 340, 5_000];
    let mut created_before_stop = Vec::new();
    let mut stops = gaps.into_iter();
    writer.stop_after(stops.next().unwrap());
    let mut since = 0u64;
    loop {
        if writer.create_or_keep(&token(1), true).is_some() {
            since += 1;
            continue;
        }
        match writer.due() {
            Due::Lease => {
                writer.lease(700).unwrap();
            }
            Due::Stop => {
                created_before_stop.push(since);
                since = 0;
                writer.create_due(&token(2));
                match stops.next() {
                    Some(gap) => writer.stop_after(gap),
                    None => break,
                }
            }
            due => panic!("nobody rang, and due is {due:?}"),
        }
    }
    assert_eq!(created_before_stop, gaps);
}

#[test]
fn what_cannot_be_created_at_once_is_kept_whole_and_the_last_one_counts() {
    // Domain and weight share a word with the slot's state.
    let token = |n: u32| {
        let built = Token::builder().timestamp(n).domain((n % 16) as u8).weight(n as f32 / 1000.0);
        built.build().unwrap()
    };
    let arena = small(1);
    let mut writer = arena.writer();
    assert_eq!(writer.create_or_keep(&token(1), true), None, "no lease yet");
    assert_eq!(writer.kept(), token(1));
    writer.lease(700).unwrap();
    let mut created = Vec::new();
    for n in 2..600 {
        // Every third is held back, and looked at now and then only.
        match writer.create_or_keep(&token(n), n % 3 != 0) {
            Some(id) => created.push((id, n)),
            None => assert_eq!(n % 3, 0),
        }
        if n % 7 == 0 {
            assert_eq!(writer.kept(), token(n - n % 3), "kept last at {n}");
        }
    }
    assert_eq!(created.len(), 399);
    for (id, n) in created {
        assert_eq!(arena.get(id), Some(token(n)));
    }
    assert_eq!(arena.len(), 399);
}

#[test]
fn a_kept_token_is_stored_whole_at_the_stop() {
    let token = Token::builder().timestamp(7).domain(9).weight(0.25).build().unwrap();
    let arena = small(1);
    let mut writer = arena.writer();
    writer.lease(10).unwrap();
    writer.stop_after(0);
    assert_eq!(writer.create_or_keep(&token, true), None);
    assert_eq!(writer.due(), Due::Stop);
    let id = writer.create_kept_due();
    assert_eq!((arena.get(id), arena.len()), (Some(token), 1));
}

#[test]
fn a_bell_is_heard_also_by_a_writer_that_sets_a_stop_meanwhile() {
    let arena = small(1);
    let mut writer = arena.writer();
    writer.lease(1_024).unwrap();
    writer.stop_after(1);
    writer.create(&token(1)).unwrap();
    assert_eq!(writer.create_or_keep(&token(2), true), None);
    assert_eq!(writer.due(), Due::Stop);
    arena.alert_writers();
    writer.create_due(&token(2));
    writer.stop_after(100);
    assert_eq!(writer.create_or_keep(&token(3), true), None, "the bell comes first");
    assert_eq!(writer.due(), Due::Bell);
    writer.resume();
    for n in 0..100 {
        assert!(writer.create_or_keep(&token(n), true).is_some());
    }
    assert_eq!(writer.create_or_keep(&token(3), true), None);
    assert_eq!(writer.due(), Due::Stop);
}

#[test]
fn a_delete_spares_a_token_with_one_of_the_flags() {
    let arena = small(1);
    let mut writer = arena.writer();
    let marked = token(1).with_flags(Flags::ACTIVE.with(Flags::PERSISTENT));
    let id = writer.create(&marked).unwrap();
    let spared = Flags::LOCKED.with(Flags::PERSISTENT);
    assert_eq!(writer.delete_unless(id, spared), Ok(false));
    assert_eq!(arena.get(id), Some(marked), "as it was");
    writer.update(id, &token(2)).unwrap();
    assert_eq!(writer.delete_unless(id, spared), Ok(true));
    assert_eq!((arena.get(id), arena.len()), (None, 0));
    assert_eq!(writer.delete_unless(id, spared), Err(NotFound));
    assert_eq!(arena.stats().deleted_total, 1);
}

/// Creates until the first refusal; returns how many there were.
fn fill(writer: &mut Writer) -> u32 {
    (0..).take_while(|&n| writer.create(&token(n)).is_ok()).count() as u32
}

#[test]
fn a_create_finds_the_slots_that_lie_idle_with_others_and_their_owner_goes_on() {
    let arena = small(1);
    let mut idle = arena.writer();
    idle.create(&token(1)).unwrap();
    assert_eq!(arena.stats().leased_slots, 1_023);
    let mut busy = arena.writer();
    assert_eq!(fill(&mut busy), CHUNK_SLOTS - 1);
    let full = Err(CreateError::Full { slots: u64::from(CHUNK_SLOTS) });
    assert_eq!(idle.create(&token(3)), full);
    assert_eq!((arena.stats().leased_slots, arena.len()), (0, u64::from(CHUNK_SLOTS)));
    let (id, _) = arena.iter().next().unwrap();
    busy.delete(id).unwrap();
    idle.create(&token(3)).expect("what one writer freed another has");
}

#[test]
fn an_owner_of_leases_asks_for_idle_slots_itself() {
    let arena = small(1);
    let mut idle = arena.writer();
    idle.create(&token(1)).unwrap();
    let mut busy = arena.writer();
    let mut leased = 0;
    while let Ok(slots) = busy.lease(1_024) {
        (0..slots).for_each(|n| _ = busy.begin().unwrap().commit(&token(n)));
        leased += slots;
    }
    assert_eq!(leased, CHUNK_SLOTS - 1_024, "a lease takes nothing from others");
    assert_eq!(arena.recall_idle(), 1_023);
    assert_eq!((busy.lease(1_024), busy.lease(1_024)), (Ok(1_023), Ok(1_023)));
}

#[test]
fn a_create_refused_for_memory_finds_the_slots_that_lie_idle_with_others() {
    let gate = Arc::new(Budget { bytes: AtomicU64::new(0), limit: CHUNK_BYTES });
    let mut config = ArenaConfig::default();
    config.max_slots = u64::from(4 * CHUNK_SLOTS);
    config.gate = Some(gate);
    let arena = Arena::new(config).unwrap();
    let mut idle: Vec<_> = (0..31).map(|_| arena.writer()).collect();
    idle.iter_mut().for_each(|writer| _ = writer.create(&token(1)).unwrap());
    let mut busy = arena.writer();
    assert_eq!(fill(&mut busy), CHUNK_SLOTS - 31);
    assert!(matches!(idle[7].create(&token(1)), Err(CreateError::Memory { .. })));
}

/// `writers` writers on one chunk, on eight threads that begin together; each creates `rounds` times,
/// in turn with its thread's others. All must be admitted, and none beyond the last slot.
fn race(writers: usize, rounds: usize) {
    let arena = small(1);
    let (start, full) = (Barrier::new(8), writers * rounds == CHUNK_SLOTS as usize);
    let admitted: usize = thread::scope(|scope| {
        let racers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut mine: Vec<_> = (0..writers / 8).map(|_| arena.writer()).collect();
                    start.wait();
                    let mut admitted = 0;
                    for _ in 0..rounds {
                        for writer in &mut mine {
                            admitted += usize::from(writer.create(&token(1)).is_ok());
                        }
                    }
                    start.wait(); // nobody's lease goes back before all have tried
                    let one_more = full && mine[0].create(&token(1)).is_ok();
                    admitted + usize::from(one_more)
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    let expected = writers * rounds;
    assert_eq!((admitted, arena.len()), (expected, expected as u64));
}

#[test]
fn sixty_four_writers_with_one_create_each_are_all_admitted_to_thirty_two_thousand_slots() {
    (0..20).for_each(|_| race(64, 1));
}

#[test]
fn four_thousand_writers_fill_the_arena_to_its_last_slot_and_no_further() {
    race(4_096, 8);
}

struct Ended<'a>(&'a AtomicU64);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn recalls_beside_creates_lose_no_slot_and_double_none() {
    let arena = small(1);
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                // Also if it panics: the recaller below must not wait for ever.
                let _ended = Ended(&done);
                let mut writer = arena.writer();
                for _ in 0..200 {
                    let ids: Vec<_> =
                        (0..2_500).map(|n| writer.create(&token(n)).unwrap()).collect();
                    ids.into_iter().for_each(|id| writer.delete(id).unwrap());
                }
            });
        }
        scope.spawn(|| {
            while done.load(SeqCst) < 2 {
                arena.recall_idle();
                arena.alert_writers();
            }
        });
    });
    assert_eq!(arena.len(), 0);
    let mut writer = arena.writer();
    let mut left = 0;
    while writer.create(&token(1)).is_ok() {
        left += 1;
    }
    assert_eq!(left, CHUNK_SLOTS, "slots were lost");
}

#[test]
fn a_create_that_is_taken_back_leaves_no_token_and_its_slot_is_used_again() {
    let arena = small(1);
    let mut writer = arena.writer();
    writer.create(&token(1)).unwrap();
    let pending = writer.begin().unwrap();
    let id = pending.id();
    assert_eq!(arena.get(id), None, "not visible before it is committed");
    drop(pending);
    assert_eq!(arena.get(id), None);
    assert_eq!((arena.len(), arena.stats().aborted_total), (1, 1));
    let pending = writer.begin().unwrap();
    assert_ne!(pending.id().slot(), id.slot());
    let id = pending.commit(&token(2));
    assert_eq!(arena.get(id), Some(token(2)));
    let mut created = 2;
    while writer.create(&token(1)).is_ok() {
        created += 1;
    }
    assert_eq!(created, CHUNK_SLOTS);
}

#[test]
fn a_thread_that_dies_in_the_middle_of_a_write_leaves_no_half_token_and_no_slot_lost() {
    let arena = small(1);
    let id = arena.writer().create(&token(5)).unwrap();
    let doomed = arena.clone();
    let outcome = thread::spawn(move || {
        let mut writer = doomed.writer();
        writer.create(&token(6)).unwrap();
        let _pending = writer.begin().unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    let doomed = arena.clone();
    let outcome = thread::spawn(move || {
        let mut writer = doomed.writer();
        let _edit = writer.edit(id).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(outcome.is_err());
    assert_eq!(arena.get(id), Some(token(5)), "the edit changed nothing");
    arena.writer().update(id, &token(7)).unwrap();
    let mut writer = arena.writer();
    let mut created = arena.len();
    while writer.create(&token(1)).is_ok() {
        created += 1;
    }
    assert_eq!(created, u64::from(CHUNK_SLOTS));
}

#[test]
fn an_edit_shows_the_token_and_its_right_is_exclusive() {
    let arena = small(1);
    let mut writer = arena.writer();
    let id = writer.create(&token(1)).unwrap();
    let edit = writer.edit(id).unwrap();
    assert_eq!(edit.current(), token(1));
    edit.commit(&token(2));
    assert_eq!(arena.get(id), Some(token(2)));
    // 300 writes: the version wraps twice.
    for n in 3..303 {
        writer.update(id, &token(n)).unwrap();
        assert_eq!(arena.get(id), Some(token(n)));
    }
    writer.edit(id).unwrap().delete();
    assert_eq!(arena.get(id), None);
}

#[test]
fn a_chunk_with_a_lease_keeps_its_memory() {
    let arena = small(1);
    let mut writer = arena.writer();
    let id = writer.create(&token(1)).unwrap();
    writer.delete(id).unwrap();
    assert_eq!(arena.len(), 0);
    assert_eq!(arena.give_back_empty(), 0, "the writer holds 1,023 slots of it");
    assert_eq!(arena.recall_idle(), 1_023);
    assert_eq!(arena.give_back_empty(), CHUNK_BYTES);
    let id = writer.create(&token(2)).unwrap();
    assert_eq!(arena.get(id), Some(token(2)));
}

#[derive(Default)]
struct Budget {
    bytes: AtomicU64,
    limit: u64,
}

impl MemoryGate for Budget {
    fn commit(&self, bytes: u64) -> bool {
        let fits = self.bytes.load(SeqCst) + bytes <= self.limit;
        if fits {
            self.bytes.fetch_add(bytes, SeqCst);
        }
        fits
    }
    fn uncommit(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, SeqCst);
    }
}

#[test]
fn memory_is_asked_for_by_chunk_and_what_is_refused_can_be_had_later() {
    let gate = Arc::new(Budget { bytes: AtomicU64::new(0), limit: 2 * CHUNK_BYTES });
    let mut config = ArenaConfig::default();
    config.max_slots = u64::from(4 * CHUNK_SLOTS);
    config.gate = Some(gate.clone());
    let arena = Arena::new(config).unwrap();
    let mut writer = arena.writer();
    let ids: Vec<_> = (0..2 * CHUNK_SLOTS).map(|n| writer.create(&token(n)).unwrap()).collect();
    let refused = CreateError::Memory { bytes: CHUNK_BYTES, committed: 2 * CHUNK_BYTES };
    for _ in 0..100 {
        assert_eq!(writer.create(&token(1)), Err(refused.clone()));
    }
    writer.delete(ids[0]).unwrap();
    writer.create(&token(1)).expect("a free slot in memory that is there needs no more");
    for id in &ids[CHUNK_SLOTS as usize..] {
        writer.delete(*id).unwrap();
    }
    writer.hand_back();
    assert_eq!(arena.give_back_empty(), CHUNK_BYTES);
    assert_eq!(gate.bytes.load(SeqCst), CHUNK_BYTES);
    for n in 0..CHUNK_SLOTS {
        writer.create(&token(n)).unwrap();
    }
    assert_eq!(arena.stats().committed_bytes, 2 * CHUNK_BYTES);
}
