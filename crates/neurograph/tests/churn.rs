//! A full store that churns: every create is admitted, the quota holds, and memory really comes back. Alone in its
//! program, because it reads the memory of the whole process.
#![allow(clippy::print_stdout, reason = "tells what it measured")]

use neurograph::{Config, Store, Token};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const TOKENS: u32 = 1_000_000;
const MEMORY_MAX: u64 = 90 << 20;

fn token(n: u32) -> Token {
    Token::builder().timestamp(n + 1).build().unwrap()
}

/// Resident bytes of this process, as the kernel's rolled-up maps say: exact, unlike its running counts.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn a_full_store_admits_a_million_creates_and_after_deletes_its_memory_falls_below_the_mark() {
    let mut config = Config::default();
    config.guardian.max_tokens = None; // until it is full, or it would be cleaned up while it fills
    config.guardian.max_memory_bytes = Some(MEMORY_MAX);
    config.arena.max_slots = Some(4 * u64::from(TOKENS));
    config.blackbox.panic_hook = false;
    let low_water = (MEMORY_MAX as f64 * config.guardian.low_water) as u64;
    let at_start = resident();
    let store = Store::in_memory(config).unwrap();
    let mut session = store.session();
    for n in 0..TOKENS {
        session.create(&token(n)).unwrap();
    }
    store.set_limits(Some(u64::from(TOKENS)), Some(MEMORY_MAX));

    let begun = Instant::now();
    for n in TOKENS..2 * TOKENS {
        session.create(&token(n)).unwrap();
        if n % 1_000 == 0 {
            let used = store.stats().guardian.tokens_used;
            assert!(used <= u64::from(TOKENS), "{used} credits are out");
        }
    }
    let elapsed = begun.elapsed();
    let stats = store.stats();
    let cleaning = Duration::from_nanos(stats.guardian.cleanup_ns_total);
    println!(
        "churn {elapsed:?}; {} cleanups evicted {} in {cleaning:?}, {:.0} % of that time",
        stats.guardian.cleanups_total,
        stats.tokens_evicted_total,
        100.0 * cleaning.as_secs_f64() / elapsed.as_secs_f64(),
    );
    assert_eq!(stats.tokens_rejected_total, 0);
    // Nothing else deletes here. A cleanup that is still at it counts its evictions when it ends.
    assert!(stats.tokens_deleted_total >= u64::from(TOKENS), "live {}", stats.tokens_live);
    assert!(stats.tokens_evicted_total > 0);
    let Some(at_start) = at_start else { return }; // no Linux: nothing to read

    // Full again, without a cleanup, so that only the deletes make room.
    store.set_limits(None, Some(MEMORY_MAX));
    let (_never, wait) = mpsc::channel::<()>();
    // A cleanup that is still at it may evict what is chosen below: full, and still so two pulses later.
    while store.len() < u64::from(TOKENS) {
        while store.len() < u64::from(TOKENS) {
            session.create(&token(0)).unwrap();
        }
        let pulses = store.stats().pulses_total;
        while store.stats().pulses_total < pulses + 2 {
            let _timeout = wait.recv_timeout(Duration::from_millis(1));
        }
    }
    let growth = || resident().unwrap_or(0).saturating_sub(at_start);
    let full = growth();
    assert!(full > low_water, "a store of {full} bytes says nothing of a mark at {low_water}");
    let victims: Vec<_> = store.iter().map(|(id, _)| id).take(TOKENS as usize / 2).collect();
    let pulses = store.stats().pulses_total;
    victims.into_iter().for_each(|id| session.delete(id).unwrap());
    let deleted = Instant::now();
    while growth() > low_water {
        let passed = store.stats().pulses_total - pulses;
        // Two seconds of pulses.
        assert!(passed <= 20, "after {passed} pulses {} of {full} bytes are held", growth());
        let _timeout = wait.recv_timeout(Duration::from_millis(1));
    }
    println!("memory {full} to {} in {:?}, mark {low_water}", growth(), deleted.elapsed());
}
