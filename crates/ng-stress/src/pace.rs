//! How fast the machine is from one millisecond to the next, and times freed from that.
//!
//! A fill of fresh memory runs at the speed of the memory, and on a shared machine that speed changes
//! from one tenth of a second to the next by more than anything measured here. So each run is cut
//! into laps, and between two laps the same thread fills one huge page by plain stores: the
//! yardstick. It feels what the laps feel. A ratio of two runs is that of their times *in
//! yardsticks*; where the machine keeps its pace, that is the ratio of their times. Two runs of the
//! same work, 9.5 million tokens each, differed by 10 to 20 % and by 2 %.

use std::ops::Range;
use std::time::Instant;

use crate::failure::Failure;
use crate::fresh::{Fresh, HUGE_PAGE_BYTES};
use crate::plan::TOKEN_BYTES;
use crate::usage;
use crate::workload::Workload;

/// A run is told by parts of this number.
pub const TENTHS: usize = 10;
/// Tokens of a lap, at least; fewer laps than tenths there are not.
const LAP_TOKENS_MIN: u64 = 100_000;
/// Most laps of a run: the yardstick then takes a fifth of the time that the laps take.
const LAPS_MAX: u64 = 50;

/// A time, and that of the yardsticks among it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Paced {
    /// What was measured. Unit: ns.
    pub ns: u64,
    /// The yardsticks' own time. Unit: ns.
    pub pace_ns: u64,
}

impl Paced {
    /// This ÷ `base`, both in yardsticks.
    pub fn over(self, base: Self) -> f64 {
        let pace = |time: Self| time.pace_ns.max(1) as f64;
        self.ns as f64 / base.ns as f64 * (pace(base) / pace(self))
    }
}

/// One thread's laps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Laps {
    /// All of them, and the yardsticks around them.
    pub time: Paced,
    /// Time of each tenth of the work. Unit: ns.
    pub tenths_ns: [u64; TENTHS],
    /// Processor time that the yardsticks took. Unit: ns.
    pub yardstick_cpu_ns: u64,
}

impl Laps {
    /// Has `work` done with `numbers`, a lap at a time, until all is done or a lap fails.
    pub fn run<E>(
        numbers: Range<u64>,
        yardstick: &mut Yardstick,
        workload: &Workload,
        mut work: impl FnMut(Range<u64>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut laps = Self::default();
        let count = laps_of(numbers.end - numbers.start);
        laps.measure(yardstick, workload);
        for (lap, numbers) in split(numbers, count).enumerate() {
            let begin = Instant::now();
            work(numbers)?;
            let ns = begin.elapsed().as_nanos() as u64;
            laps.time.ns += ns;
            laps.tenths_ns[lap * TENTHS / count] += ns;
            laps.measure(yardstick, workload);
        }
        Ok(laps)
    }

    fn measure(&mut self, yardstick: &mut Yardstick, workload: &Workload) {
        let cpu = usage::thread_cpu_ns();
        self.time.pace_ns += yardstick.fill_ns(workload);
        self.yardstick_cpu_ns += usage::thread_cpu_ns() - cpu;
    }
}

/// Cuts a range into `count` parts that differ by one at most.
pub fn split(numbers: Range<u64>, count: usize) -> impl Iterator<Item = Range<u64>> {
    let (len, count) = (numbers.end - numbers.start, count as u64);
    let cut = move |part: u64| {
        numbers.start + (u128::from(len) * u128::from(part) / u128::from(count)) as u64
    };
    (0..count).map(move |part| cut(part)..cut(part + 1))
}

/// A multiple of [`TENTHS`].
fn laps_of(tokens: u64) -> usize {
    let laps = (tokens / LAP_TOKENS_MIN).min(LAPS_MAX) as usize;
    (laps / TENTHS).max(1) * TENTHS
}

/// One huge page of memory that is fresh each time.
#[derive(Debug)]
pub struct Yardstick(Fresh);

impl Yardstick {
    /// Maps the page; it takes no memory yet.
    pub fn new() -> Result<Self, Failure> {
        Fresh::map(Self::TOKENS).map(Self)
    }

    const TOKENS: u64 = HUGE_PAGE_BYTES as u64 / TOKEN_BYTES;

    /// Fills the page and gives it back. Unit: ns of the filling.
    fn fill_ns(&mut self, workload: &Workload) -> u64 {
        let begin = Instant::now();
        self.0.fill(0..Self::TOKENS, workload);
        let ns = begin.elapsed().as_nanos() as u64;
        self.0.give_back();
        ns
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_ratio_is_freed_from_the_pace_and_is_the_plain_one_where_that_stays() {
        let time = |ns, pace_ns| Paced { ns, pace_ns };
        assert_eq!(time(220, 50).over(time(200, 50)), 1.1);
        assert_eq!(time(440, 100).over(time(200, 50)), 1.1);
        assert_eq!(time(30, 0).over(time(20, 0)), 1.5);
    }

    #[test]
    fn shares_cover_every_number_once() {
        let parts: Vec<_> = split(3..10, 3).collect();
        assert_eq!(parts, [3..5, 5..7, 7..10]);
        assert_eq!(split(0..2, 4).map(|r| r.end - r.start).sum::<u64>(), 2);
    }

    #[test]
    fn laps_cover_the_numbers_and_add_up_to_the_tenths() {
        let mut yardstick = Yardstick::new().expect("mapped");
        let mut seen = Vec::new();
        let workload = Workload::new(1, 1000);
        let laps = Laps::run(5..3_000_005, &mut yardstick, &workload, |lap| {
            seen.push(lap);
            Ok::<(), Infallible>(())
        });
        let laps = laps.expect("nothing fails");
        assert_eq!((seen.len(), seen[0].start, seen[29].end), (30, 5, 3_000_005));
        assert!(seen.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert_eq!(laps.tenths_ns.iter().sum::<u64>(), laps.time.ns);
        assert!(laps.time.pace_ns > 0 && laps.yardstick_cpu_ns > 0);
        assert_eq!([1_000, 999_999, 9_500_000, u64::MAX].map(laps_of), [10, 10, 50, 50]);
    }
}
