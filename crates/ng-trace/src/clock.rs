//! The clock of the spans: a raw counter on the operation's thread, wall time only in the drain. Ticks mean nothing outside of this process.
//!
//! A raw reading costs a few nanoseconds where the processor has an invariant counter; elsewhere
//! the operating system's monotonic clock stands in. Wall time is found later from one anchor, so
//! an operation never asks for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A raw reading of [`Clock`]. Compare or subtract it only through the clock that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(u64);

impl Ticks {
    /// The raw number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A reading from its raw number, as [`Ticks::get`] gave it.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// The process-wide monotonic clock. A clone costs nothing and counts the same ticks.
///
/// The first one made in a process calibrates the counter, which may take up to 200 ms.
#[derive(Clone, Debug)]
pub struct Clock(quanta::Clock);

impl Clock {
    /// The process's clock.
    pub fn new() -> Self {
        Self(quanta::Clock::new())
    }

    /// Now, as a raw reading.
    #[inline]
    pub fn now(&self) -> Ticks {
        Ticks(self.0.raw())
    }

    /// Time from `start` to `end`; zero if `end` is not later.
    #[inline]
    pub fn elapsed(&self, start: Ticks, end: Ticks) -> Duration {
        Duration::from_nanos(self.elapsed_ns(start, end))
    }

    /// Nanoseconds from `start` to `end`; zero if `end` is not later.
    #[inline]
    pub fn elapsed_ns(&self, start: Ticks, end: Ticks) -> u64 {
        self.0.delta_as_nanos(start.0, end.0)
    }

    /// So many ticks as nanoseconds.
    pub(crate) fn ticks_as_ns(&self, ticks: u64) -> f64 {
        // Over a long stretch, since one tick may be less than a nanosecond.
        const MANY: u64 = 1 << 40;
        ticks as f64 * (self.0.delta_as_nanos(0, MANY) as f64 / MANY as f64)
    }

    /// Nanoseconds since the counter's own beginning, for intervals within this process.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        self.0.delta_as_nanos(0, self.0.raw())
    }

    /// Ties this moment's ticks to wall time.
    pub(crate) fn anchor(&self) -> WallAnchor {
        // The closest of a few pairs: this thread may be stopped between two readings.
        let pairs = std::array::from_fn::<_, 3, _>(|_| {
            let before = self.now().get();
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let apart = self.now().get().saturating_sub(before);
            let unix_ns = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
            (apart, WallAnchor { ticks: Ticks::from_raw(before + apart / 2), unix_ns })
        });
        let [first, rest @ ..] = pairs;
        rest.into_iter().fold(first, |best, pair| if pair.0 < best.0 { pair } else { best }).1
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// One moment on both clocks. Good for readings near it: the drain takes a new one each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallAnchor {
    ticks: Ticks,
    unix_ns: u64,
}

impl WallAnchor {
    /// Nanoseconds since 1970 of a reading before or after the anchor.
    pub(crate) fn unix_ns(&self, clock: &Clock, reading: Ticks) -> u64 {
        let before = clock.elapsed_ns(reading, self.ticks);
        let after = clock.elapsed_ns(self.ticks, reading);
        self.unix_ns.saturating_sub(before).saturating_add(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_before_and_after_the_anchor_keep_their_order_on_the_wall() {
        let clock = Clock::new();
        let before = clock.now();
        let anchor = clock.anchor();
        let after = clock.now();
        assert!(anchor.unix_ns(&clock, before) <= anchor.unix_ns);
        assert!(anchor.unix_ns(&clock, after) >= anchor.unix_ns);
        let day = 86_400_000_000_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(now.abs_diff(anchor.unix_ns) < day);
    }
}
