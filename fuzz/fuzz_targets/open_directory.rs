//! `cargo +nightly fuzz run open_directory`: see the body.
#![no_main]

#[allow(dead_code)] // each target uses one of them
#[path = "../../crates/ng-wal/tests/fuzz_bodies/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::open_directory(bytes));
