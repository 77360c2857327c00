//! When the next request may go to a destination. It belongs to the destination and not to a batch: after a failure no request goes out before it ends, whoever's it is. Pure; the caller says what time it is.

use std::time::{Duration, Instant};

/// Longest wait that a collector can ask for: more is a mistake, and would silence us for good.
const ASKED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Waits that double with each failure in a row, up to a bound; or longer, if the collector asks.
#[derive(Debug)]
pub(super) struct Backoff {
    least: Duration,
    most: Duration,
    failures: u32,
    /// `None`: a request may go.
    until: Option<Instant>,
    rng: fastrand::Rng,
}

impl Backoff {
    /// `least` after the first failure, `most` after many.
    pub(super) fn new(least: Duration, most: Duration, rng: fastrand::Rng) -> Self {
        Self { least, most, failures: 0, until: None, rng }
    }

    /// How long no request may go out; `None`: one may go now.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// A request was answered well.
    pub(super) fn succeeded(&mut self) {
        (self.failures, self.until) = (0, None);
    }

    /// A request failed, and the answer may have asked for a wait.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        let doubled = self.least.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        // Between half of it and all: programs that failed together do not come back together.
        let own = doubled.mul_f64(0.5 + 0.5 * self.rng.f64());
        let asked = asked.unwrap_or_default().min(ASKED_MAX);
        self.until = now.checked_add(own.max(asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff() -> Backoff {
        Backoff::new(SECOND, 60 * SECOND, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn waits_double_from_the_least_to_the_most_and_begin_anew_after_a_success() {
        let (mut backoff, now) = (backoff(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            backoff.failed(now, None);
            let wait = backoff.wait(now).unwrap();
            assert!((seconds * SECOND / 2..=seconds * SECOND).contains(&wait), "{wait:?}");
        }
        backoff.succeeded();
        assert_eq!(backoff.wait(now), None);
        backoff.failed(now, None);
        assert!(backoff.wait(now).unwrap() <= SECOND);
    }

    #[test]
    fn no_request_goes_before_the_collector_is_ready_for_one_and_one_goes_then() {
        let (mut backoff, now) = (backoff(), Instant::now());
        backoff.failed(now, Some(3600 * SECOND));
        assert_eq!(backoff.wait(now), Some(3600 * SECOND));
        assert_eq!(backoff.wait(now + 3599 * SECOND), Some(SECOND));
        assert_eq!(backoff.wait(now + 3600 * SECOND), None);
        // Asked for less than the wait of its own.
        backoff.failed(now, Some(Duration::ZERO));
        assert!(backoff.wait(now).unwrap() >= SECOND);
        backoff.failed(now, Some(Duration::MAX));
        assert_eq!(backoff.wait(now), Some(ASKED_MAX));
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, fastrand::Rng::with_seed(1));
        let now = Instant::now();
        for _ in 0..1000 {
            backoff.failed(now, Some(Duration::MAX));
        }
    }
}
