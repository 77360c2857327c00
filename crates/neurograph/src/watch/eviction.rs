//! What is told of an eviction: to the owner's observer, to the counts by reason. Knows not how victims are chosen.

use crate::inner::Inner;
use crate::mutants;
use crate::observe::{PANIC_RECOVERED, note};
use ng_blackbox::Severity;
use ng_core::{Token, TokenId};
use parking_lot::RwLock;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why cleanup evicted a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionReason {
    /// The quota of tokens, `guardian.max_tokens`, was near its end.
    TokenQuota,
    /// The memory quota, `guardian.max_memory_bytes`, was near its end.
    MemoryQuota,
    /// The process or its cgroup was short of memory.
    SystemMemory,
}

impl EvictionReason {
    /// Every reason, with its name on the metrics page.
    pub const ALL: [(EvictionReason, &'static str); 3] = [
        (EvictionReason::TokenQuota, "token_quota"),
        (EvictionReason::MemoryQuota, "memory_quota"),
        (EvictionReason::SystemMemory, "system_memory"),
    ];
}

/// Tokens evicted in this run, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evictions {
    /// Because of the quota of tokens.
    pub token_quota: u64,
    /// Because of the memory quota.
    pub memory_quota: u64,
    /// Because the process or its cgroup was short of memory.
    pub system_memory: u64,
}

/// Told of each evicted token; see [`StoreBuilder::on_evicted`](crate::StoreBuilder::on_evicted).
pub(crate) type Observer = Box<dyn Fn(TokenId, Token, EvictionReason) + Send + Sync>;

/// The observer, and the counts.
#[derive(Default)]
pub(crate) struct EvictionBook {
    /// Taken away after a panic of it.
    observer: RwLock<Option<Observer>>,
    counts: [AtomicU64; EvictionReason::ALL.len()],
}

impl EvictionBook {
    pub(crate) fn new(observer: Option<Observer>) -> EvictionBook {
        EvictionBook { observer: RwLock::new(observer), ..EvictionBook::default() }
    }

    pub(crate) fn evictions(&self) -> Evictions {
        let [token_quota, memory_quota, system_memory] =
            [0, 1, 2].map(|reason: usize| self.counts[reason].load(Relaxed));
        Evictions { token_quota, memory_quota, system_memory }
    }
}

impl Inner {
    /// The reason for a cleanup that begins now: the first figure that is above its low-water mark.
    pub(crate) fn eviction_reason(&self) -> EvictionReason {
        let (stats, config) = (self.guardian.stats(), self.guardian.config());
        let is_above = |used: u64, limit: Option<u64>| {
            limit.is_some_and(|limit| used as f64 > limit as f64 * config.low_water)
        };
        if is_above(stats.tokens_used, stats.max_tokens) {
            EvictionReason::TokenQuota
        } else if is_above(stats.committed_bytes, stats.max_memory_bytes) {
            EvictionReason::MemoryQuota
        } else {
            EvictionReason::SystemMemory
        }
    }

    /// Counts a token that is gone, and tells the observer. No bit of a token is held here.
    pub(crate) fn note_evicted(&self, id: TokenId, token: Token, reason: EvictionReason) {
        let book = &self.evictions;
        book.counts[reason as usize].fetch_add(1, Relaxed);
        let told = match &*book.observer.read() {
            Some(_) if mutants::on("store-eviction-untold") => return,
            Some(tell) => catch_unwind(AssertUnwindSafe(|| tell(id, token, reason))).is_ok(),
            None => return,
        };
        if !told {
            *book.observer.write() = None;
            self.panics_recovered.fetch_add(1, Relaxed);
            note(&self.blackbox, PANIC_RECOVERED, Severity::ERROR, [id.to_u64(), 0, 0, 0]);
        }
    }
}
