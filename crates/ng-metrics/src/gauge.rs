//! A level that may rise and fall: one shared cell, since "set" has no meaning over shards.
//!
//! Not for hot paths of many threads: `add` retries under contention.

use std::fmt;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A level, as `f64`. Clones share it. NaN says "not known"; infinities are allowed.
#[derive(Clone)]
pub struct Gauge {
    bits: Arc<AtomicU64>,
}

impl Gauge {
    /// A gauge at 0 that no registry knows.
    pub fn new() -> Self {
        Self { bits: Arc::new(AtomicU64::new(0f64.to_bits())) }
    }

    /// Replaces the level.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Raises the level, or lowers it by a negative `delta`. No update of another thread is lost.
    pub fn add(&self, delta: f64) {
        let mut bits = self.bits.load(Ordering::Relaxed);
        loop {
            let next = (f64::from_bits(bits) + delta).to_bits();
            match self.bits.compare_exchange_weak(bits, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(seen) => bits = seen,
            }
        }
    }

    /// The level last set.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

impl Default for Gauge {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.get()).finish()
    }
}
