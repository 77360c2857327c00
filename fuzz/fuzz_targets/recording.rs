//! `cargo +nightly fuzz run recording`: see the body.
#![no_main]

#[path = "../../crates/ng-blackbox/tests/fuzz_bodies/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::recording(bytes));
