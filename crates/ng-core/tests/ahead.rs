//! Memory committed ahead: never beyond the gate's limit, never a reason for a refusal, gone with the arena.

use ng_core::{
    Arena, ArenaConfig, CHUNK_BYTES, CHUNK_SLOTS, ConfigError, CreateError, MemoryGate, Token,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

struct Budget {
    held: AtomicU64,
    limit: u64,
}

impl MemoryGate for Budget {
    fn commit(&self, bytes: u64) -> bool {
        let grant = |held| (held + bytes <= self.limit).then_some(held + bytes);
        self.held.fetch_update(SeqCst, SeqCst, grant).is_ok()
    }
    fn uncommit(&self, bytes: u64) {
        assert!(self.held.fetch_sub(bytes, SeqCst) >= bytes, "given back twice");
    }
}

fn arena(chunks: u32, ahead_chunks: u64, limit_chunks: u64) -> (Arena, Arc<Budget>) {
    let gate = Arc::new(Budget { held: AtomicU64::new(0), limit: limit_chunks * CHUNK_BYTES });
    let mut config = ArenaConfig::default();
    config.max_slots = u64::from(chunks * CHUNK_SLOTS);
    config.commit_ahead_bytes = ahead_chunks * CHUNK_BYTES;
    config.gate = Some(gate.clone());
    (Arena::new(config).unwrap(), gate)
}

fn token(n: u32) -> Token {
    Token::builder().timestamp(n).build().unwrap()
}

#[test]
fn every_token_that_the_limit_allows_is_created_by_each_number_of_writers() {
    for (writers, ahead) in [(1, 1), (1, 8), (2, 4), (4, 8)] {
        let (arena, gate) = arena(32, ahead, 6);
        let created: u32 = thread::scope(|scope| {
            let fill = || {
                let mut writer = arena.writer();
                let mut created = 0;
                loop {
                    match writer.create(&token(created)) {
                        Ok(_) => created += 1,
                        Err(CreateError::Memory { .. }) => return created,
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            let threads: Vec<_> = (0..writers).map(|_| scope.spawn(fill)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        let stats = arena.stats();
        assert_eq!(created, 6 * CHUNK_SLOTS, "{writers} writers, {ahead} chunks ahead");
        assert_eq!(stats.committed_bytes + stats.ahead_bytes, gate.held.load(SeqCst));
        assert_eq!(stats.committed_bytes, 6 * CHUNK_BYTES);
        drop(arena);
        assert!(gate.held.load(SeqCst) <= 6 * CHUNK_BYTES);
    }
}

#[test]
fn what_is_charged_is_what_is_committed_and_ahead_also_beside_give_backs() {
    let (arena, gate) = arena(32, 4, 32);
    let mut writer = arena.writer();
    for round in 0..8 {
        let ids: Vec<_> = (0..3 * CHUNK_SLOTS).map(|n| writer.create(&token(n)).unwrap()).collect();
        assert_eq!(arena.len(), u64::from(3 * CHUNK_SLOTS), "round {round}");
        ids.into_iter().for_each(|id| writer.delete(id).unwrap());
        writer.hand_back();
        arena.give_back_empty();
        assert_eq!(arena.stats().committed_bytes, 0, "round {round}");
    }
    drop(writer);
    drop(arena);
    assert_eq!(gate.held.load(SeqCst), 0, "the thread returned what was ahead");
}

#[test]
fn the_thread_is_there_only_where_it_was_asked_for_and_goes_with_the_arena() {
    #[cfg(target_os = "linux")]
    fn threads() -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks
            .flatten()
            .filter_map(|task| name(task).ok())
            .filter(|name| name == "ng-core-ahead\n")
            .count()
    }
    #[cfg(target_os = "linux")]
    {
        // Other tests of this file have such threads too: run in a process of its own if this is not it.
        if std::env::var_os("NG_AHEAD_ALONE").is_none() {
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "the_thread_is_there_only_where_it_was_asked_for_and_goes_with_the_arena",
                ])
                .env("NG_AHEAD_ALONE", "1")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let (off, _) = arena(4, 0, 4);
        off.writer().create(&token(1)).unwrap();
        assert_eq!(threads(), 0);
        let (on, _) = arena(4, 2, 4);
        let mut writer = on.writer();
        writer.create(&token(1)).unwrap();
        // A thread names itself, and leaves the list a moment after it was joined.
        let wait_for = |count| {
            let begin = std::time::Instant::now();
            while threads() != count {
                assert!(begin.elapsed().as_secs() < 60, "{} threads, not {count}", threads());
                thread::yield_now();
            }
        };
        let expected = usize::from(thread::available_parallelism().map_or(1, usize::from) > 1);
        wait_for(expected);
        drop(on);
        assert_eq!(threads(), expected, "a writer keeps the arena");
        drop(writer);
        wait_for(0);
    }
}

#[test]
fn more_ahead_than_a_little_is_refused_with_its_range() {
    let mut config = ArenaConfig::default();
    config.commit_ahead_bytes = (16 << 20) + 1;
    let error = config.validate().unwrap_err();
    assert!(matches!(error, ConfigError::CommitAhead { .. }));
    assert_eq!(error.to_string(), "arena.commit_ahead_bytes is 16777217, expected 0 to 16777216");
}
