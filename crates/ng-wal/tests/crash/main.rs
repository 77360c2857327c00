//! Every directory that a crash can leave, opened and compared with what the log had promised.
//!
//! `NG_SEED` repeats the random choices, `NG_IMAGES` bounds the images (`few` for a look),
//! `NG_OPS="append sync"` and `NG_IMAGE=<boundary>:<number>` try one sequence, or one image of it.
//! Threads run as they please, so a repeated run may cut the same story at other places.

mod damage;
mod faults;
mod oracle;
mod sequences;
mod tally;
mod world;

/// Seed of the random choices: from `NG_SEED`, else a new one; printed either way.
#[allow(clippy::print_stdout)] // shown when the test fails
fn seed() -> u64 {
    let seed = std::env::var("NG_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("NG_SEED={seed}");
    seed
}
