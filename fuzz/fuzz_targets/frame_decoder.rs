//! `cargo +nightly fuzz run frame_decoder`: see the body.
#![no_main]

#[allow(dead_code)] // each target uses one of them
#[path = "../../crates/ng-wal/tests/fuzz_bodies/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::frame_decoder(bytes));
