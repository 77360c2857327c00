//! The hard bound above the controller's soft one: so many spans a second, all recorders together. Asked once for many spans, so the hot path never sees it.

use crate::{
    bucket::{Take, TokenBucket},
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Grants a second at most. A hundredth of the ceiling a grant: what an idle recorder holds is
/// little, and a busy one asks seldom.
const GRANTS: u32 = 100;

/// Hands out permits to record. Changed while running.
#[derive(Debug)]
pub(crate) struct Ceiling {
    bucket: TokenBucket,
    /// Spans that one grant is worth; 0: there is no ceiling.
    grant: AtomicU64,
    /// Rises with each change: permits of an older one are void.
    version: AtomicU64,
}

impl Ceiling {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        let ceiling = Self {
            bucket: TokenBucket::new(0),
            grant: AtomicU64::new(0),
            version: AtomicU64::new(0),
        };
        ceiling.set(per_second);
        ceiling
    }

    pub(crate) fn set(&self, per_second: Option<u32>) {
        let grant = per_second.map_or(0, |spans| spans.div_ceil(GRANTS).max(1));
        self.bucket.set_per_second(per_second.map_or(0, |spans| spans / grant.max(1)));
        self.grant.store(u64::from(grant), Relaxed);
        // Release: whoever sees the new version also sees what it says.
        self.version.fetch_add(1, Release);
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// How many spans may be recorded now; `wanted` if there is no ceiling.
    pub(crate) fn permit(&self, wanted: u64, now_ns: impl FnOnce() -> u64) -> u64 {
        match self.grant.load(Relaxed) {
            0 => wanted,
            grant if self.bucket.take(now_ns()) != Take::Refused => grant,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(ceiling: &Ceiling, now_ns: u64) -> u64 {
        std::iter::repeat_with(|| ceiling.permit(7, || now_ns)).take_while(|spans| *spans > 0).sum()
    }

    #[test]
    fn a_second_gets_what_the_ceiling_says_and_never_more() {
        for per_second in [1u32, 7, 99, 100, 101, 1000, 54_321, 2_000_000] {
            let ceiling = Ceiling::new(Some(per_second));
            let spans = granted(&ceiling, 5_000_000_000);
            assert!(spans <= u64::from(per_second), "{spans} of {per_second}");
            assert!(spans as f64 >= 0.98 * f64::from(per_second), "{spans} of {per_second}");
            assert_eq!(granted(&ceiling, 5_000_000_001), 0);
        }
        assert_eq!(granted(&Ceiling::new(Some(0)), 5_000_000_000), 0);
    }

    #[test]
    fn without_a_ceiling_all_is_granted_and_a_change_voids_what_was() {
        let ceiling = Ceiling::new(None);
        assert_eq!(ceiling.permit(7, || 0), 7);
        let version = ceiling.version();
        ceiling.set(Some(50));
        assert_ne!(ceiling.version(), version);
        assert_eq!(granted(&ceiling, 5_000_000_000), 50);
    }
}
