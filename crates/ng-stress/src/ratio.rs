//! Ratios of pairs, and what they say of a bar: an interval on one side of it judges, one that holds it does not.
//! A ratio is the median of the ratios of its pairs, never a ratio of medians: what slows the machine for a second then
//! slows both sides of the same pair.

use serde::Serialize;

use crate::statistics::{interval, median, quartiles};

/// What the ratios of some pairs come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The one in the middle.
    pub median: f64,
    /// First and third quartile of the pairs.
    pub quartiles: [f64; 2],
    /// 95 % interval of the median.
    pub interval: [f64; 2],
    /// Pairs behind it.
    pub pairs: usize,
}

/// Fewer pairs have an interval that says nothing: that of one pair is the pair.
pub const PAIRS_MIN: usize = 5;

impl Ratio {
    /// `None` of no pairs.
    pub fn of(ratios: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(ratios)?,
            quartiles: quartiles(ratios)?,
            interval: interval(ratios)?,
            pairs: ratios.len(),
        })
    }

    /// Whether it is at most `bar`; `None`: these pairs cannot tell.
    pub fn judge(&self, bar: f64) -> Option<bool> {
        let [low, high] = self.interval;
        match () {
            () if self.pairs < PAIRS_MIN => None,
            () if high <= bar => Some(true),
            () if low > bar => Some(false),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_judged_where_the_interval_lies_on_one_side_of_it() {
        let ratio = Ratio { median: 1.1, quartiles: [1.0, 1.2], interval: [1.05, 1.15], pairs: 9 };
        let judged = [1.2, 1.15, 1.1, 1.05, 1.04].map(|bar| ratio.judge(bar));
        assert_eq!(judged, [Some(true), Some(true), None, None, Some(false)]);
        assert_eq!(Ratio::of(&[]), None);
        let of_one = Ratio::of(&[1.3]).expect("of one pair");
        assert_eq!((of_one.judge(1.2), of_one.pairs), (None, 1));
        assert_eq!(Ratio::of(&[1.3; 5]).and_then(|ratio| ratio.judge(1.2)), Some(false));
    }
}
