//! The floor under a create: fresh memory in huge pages, filled with the same tokens by plain stores.
//! Nothing that stores a token in memory it has just got can be faster.

use std::hint::black_box;
use std::time::Instant;

use crate::failure::Failure;
use crate::fresh::Fresh;
use crate::pace::{Laps, Paced, Yardstick};
use crate::workload::Workload;

/// Time to fill fresh huge pages with `tokens` tokens (floor:fill_huge).
pub fn fill_huge(tokens: u64, workload: &Workload) -> Result<Paced, Failure> {
    back_memory(tokens)?;
    let (mut fresh, mut yardstick) = (Fresh::map(tokens)?, Yardstick::new()?);
    let fill = |numbers| {
        fresh.fill(numbers, workload);
        Ok::<(), Failure>(())
    };
    Ok(Laps::run(0..tokens, &mut yardstick, workload, fill)?.time)
}

/// Has the host of a virtual machine back the memory that a run is about to take, and gives it back
/// to the kernel at once. Called right before each timed region, on every side alike: a guest that
/// reports its free pages loses them to the host whenever it pauses, to sync a file for instance, and
/// a first touch then costs ten times what any other does. It would be charged to whoever paused.
pub fn back_memory(tokens: u64) -> Result<(), Failure> {
    Fresh::map(tokens).map(|mut fresh| fresh.populate())
}

/// Nanoseconds that the generator alone takes for `tokens` tokens.
pub fn generator_ns(tokens: u64, workload: &Workload) -> u64 {
    let start = Instant::now();
    for token in workload.stream(0..tokens) {
        black_box(&token);
    }
    start.elapsed().as_nanos() as u64
}
