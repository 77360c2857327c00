//! Random tests that say how to run them again.

#![allow(clippy::print_stderr)] // a random test says its seed

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A runner whose seed is printed, and taken from `NG_SEED` if that is set.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let seed: u64 = match std::env::var("NG_SEED") {
        Ok(text) => text.parse().expect("NG_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
    };
    eprintln!("NG_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
