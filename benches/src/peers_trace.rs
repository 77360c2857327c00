//! Rows of other tracers, where the feature `peers` builds them: a span that is not sampled, and one that is.

#[cfg(not(feature = "peers"))]
use crate::row::Row;

/// What every sampler here keeps where nothing is to be kept: one in a million. A rate of 0 is a case of its own in some.
pub(crate) const RARE: f64 = 1e-6;

#[cfg(feature = "peers")]
mod outside;
#[cfg(feature = "peers")]
pub(crate) use outside::{sampled_rows, unsampled_rows};

/// None is built.
#[cfg(not(feature = "peers"))]
pub(crate) fn unsampled_rows() -> Vec<Row> {
    Vec::new()
}

/// None is built.
#[cfg(not(feature = "peers"))]
pub(crate) fn sampled_rows() -> Vec<Row> {
    Vec::new()
}
