//! A token bucket in one word: so many a second, at most one second's worth at once. Knows no clock; the caller says what time it is.
//!
//! The word is the time at which the bucket would be empty of debt. A take moves it one interval
//! on, and is refused if that would be more than a second ahead of now. A refusal writes nothing
//! but a count, so a storm of them stays cheap.

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SECOND_NS: u64 = 1_000_000_000;

/// What a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Granted, and nobody was refused within the last second.
    Certain,
    /// Granted, but others were refused within the last second: it no longer stands for itself alone.
    Lucky,
    /// Refused and counted.
    Refused,
}

/// Lock-free; shared by all threads. Only rare paths come here.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Between two tokens. `u64::MAX`: none at all.
    interval_ns: AtomicU64,
    paid_until_ns: AtomicU64,
    /// 0: never.
    refused_at_ns: AtomicU64,
    refused: AtomicU64,
}

impl TokenBucket {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            interval_ns: AtomicU64::new(interval_ns(per_second)),
            paid_until_ns: AtomicU64::new(0),
            refused_at_ns: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_per_second(&self, per_second: u32) {
        self.interval_ns.store(interval_ns(per_second), Relaxed);
    }

    /// Takes one token at `now_ns`, which may be any clock that does not run backwards.
    pub(crate) fn take(&self, now_ns: u64) -> Take {
        let interval_ns = self.interval_ns.load(Relaxed);
        let granted = self.paid_until_ns.fetch_update(Relaxed, Relaxed, |paid_until_ns| {
            let next_ns = paid_until_ns.max(now_ns).saturating_add(interval_ns);
            (next_ns - now_ns <= SECOND_NS).then_some(next_ns)
        });
        if granted.is_ok() {
            return if self.refuses(now_ns) { Take::Lucky } else { Take::Certain };
        }
        self.refused.fetch_add(1, Relaxed);
        self.refused_at_ns.store(now_ns.max(1), Relaxed);
        Take::Refused
    }

    /// Whether it gives more than one each nanosecond, and so refuses nobody.
    pub(crate) fn is_bottomless(&self) -> bool {
        self.interval_ns.load(Relaxed) == 0
    }

    /// Whether somebody was refused within the last second.
    pub(crate) fn refuses(&self, now_ns: u64) -> bool {
        let refused_at_ns = self.refused_at_ns.load(Relaxed);
        refused_at_ns != 0 && now_ns.saturating_sub(refused_at_ns) < SECOND_NS
    }

    /// Whether more than an eighth of what it may give at once is taken.
    pub(crate) fn is_eighth_used(&self, now_ns: u64) -> bool {
        self.paid_until_ns.load(Relaxed).saturating_sub(now_ns) > SECOND_NS / 8
    }

    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

fn interval_ns(per_second: u32) -> u64 {
    SECOND_NS.checked_div(u64::from(per_second)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_NS: u64 = 7 * SECOND_NS;

    #[test]
    fn more_than_one_each_nanosecond_is_no_limit() {
        for (per_second, bottomless) in [(0, false), (1, false), (1_000_000_000, false)] {
            assert_eq!(TokenBucket::new(per_second).is_bottomless(), bottomless, "{per_second}");
        }
        let bucket = TokenBucket::new(1_000_000_001);
        assert!(bucket.is_bottomless());
        assert!((0..1000).all(|_| bucket.take(START_NS) == Take::Certain));
    }

    #[test]
    fn a_burst_gets_one_seconds_worth_and_the_rest_is_counted() {
        let bucket = TokenBucket::new(10);
        let granted = (0..1000).filter(|_| bucket.take(START_NS) != Take::Refused).count();
        assert_eq!((granted, bucket.refused_total()), (10, 990));
    }

    #[test]
    fn tokens_come_back_at_the_rate_and_never_above_one_second() {
        let bucket = TokenBucket::new(10);
        for _ in 0..10 {
            assert_eq!(bucket.take(START_NS), Take::Certain);
        }
        assert_eq!(bucket.take(START_NS + SECOND_NS / 20), Take::Refused);
        assert_eq!(bucket.take(START_NS + SECOND_NS / 10), Take::Lucky);
        let later_ns = START_NS + 60 * SECOND_NS;
        let granted = (0..1000).filter(|_| bucket.take(later_ns) == Take::Certain).count();
        assert_eq!(granted, 10);
    }

    #[test]
    fn an_eighth_of_it_is_used_until_that_has_come_back() {
        let bucket = TokenBucket::new(16);
        let used = (0..3).map(|_| (bucket.take(START_NS), bucket.is_eighth_used(START_NS)).1);
        assert_eq!(used.collect::<Vec<_>>(), [false, false, true]);
        assert!(!bucket.is_eighth_used(START_NS + SECOND_NS / 16));
    }

    #[test]
    fn a_bucket_of_zero_grants_nothing() {
        let bucket = TokenBucket::new(0);
        assert_eq!(bucket.take(START_NS), Take::Refused);
        bucket.set_per_second(1);
        assert_ne!(bucket.take(START_NS), Take::Refused);
    }

    #[test]
    fn threads_together_get_no_more_than_the_bucket_holds() {
        let bucket = TokenBucket::new(500);
        let granted: usize = std::thread::scope(|scope| {
            let take = || (0..5000).filter(|_| bucket.take(START_NS) != Take::Refused).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((granted, bucket.refused_total()), (500, 19_500));
    }
}
