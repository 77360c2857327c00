//! Memory that is given back leaves the process. Alone in its file: it reads the whole process's RSS.
#![cfg(target_os = "linux")]

use ng_core::{Arena, ArenaConfig, CHUNK_BYTES, CHUNK_SLOTS, Token};

fn token(n: u32) -> Token {
    Token::builder().timestamp(n).build().unwrap()
}

#[test]
fn memory_given_back_really_leaves_the_process() {
    fn resident() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
    for huge_pages in [true, false] {
        let mut config = ArenaConfig::default();
        config.max_slots = u64::from(32 * CHUNK_SLOTS);
        config.huge_pages = huge_pages;
        let arena = Arena::new(config).unwrap();
        let mut writer = arena.writer();
        let before = resident();
        let ids: Vec<_> =
            (0..32 * CHUNK_SLOTS).map(|n| writer.create(&token(n)).unwrap()).collect();
        let full = resident();
        let stats = arena.stats();
        assert_eq!(stats.reserved_bytes, 32 * CHUNK_BYTES);
        assert_eq!(stats.committed_bytes, stats.chunks * CHUNK_BYTES);
        assert_eq!(
            stats.live_bytes + stats.leased_slots * 64,
            stats.committed_bytes,
            "full to the brim"
        );
        // The ids of this test are memory too; a page more or less is the allocator's.
        let grown = full - before - ids.len() as u64 * 8;
        let told = stats.committed_bytes + stats.overhead_bytes;
        assert!(grown.abs_diff(told) <= 1 << 20, "the kernel says {grown}, the arena {told}");
        assert!(full - before >= 60 << 20, "1 M tokens take 64 MiB: {before} to {full}");
        ids.into_iter().for_each(|id| writer.delete(id).unwrap());
        drop(writer);
        assert_eq!(arena.give_back_empty(), 32 * CHUNK_BYTES);
        let after = resident();
        assert!(full - after >= 60 << 20, "it went back: {full} to {after}");
        let stats = arena.stats();
        assert_eq!((stats.committed_bytes, stats.live_bytes, stats.chunks), (0, 0, 0));
    }
}
