//! What a registry says about itself; plain numbers, read field by field.

/// Figures of one [`Registry`](crate::Registry). `_total` only grows; the rest are levels.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct RegistryStats {
    /// Metric families registered (sources' families are not known before a scrape).
    pub families: u64,
    /// Sources registered.
    pub sources: u64,
    /// Pages written.
    pub scrapes_total: u64,
    /// Families or samples left out of a page because a source gave a bad or doubled name, and
    /// sources that panicked.
    pub scrape_errors_total: u64,
    /// What the newest of those errors was.
    pub last_scrape_error: Option<String>,
    /// Time that writing the last page took, sources included. Unit: nanoseconds.
    pub last_scrape_duration_ns: u64,
    /// Length of the last page. Unit: bytes.
    pub last_scrape_bytes: u64,
    /// Calls of `CounterFamily::with` that were answered with the overflow series.
    pub label_overflows_total: u64,
    /// Threads of this process, over all registries, that found no free slot and so count in a
    /// shared cell with an atomic add. Above 0 means: exact, but slower than it could be.
    pub shared_slot_threads_total: u64,
}
