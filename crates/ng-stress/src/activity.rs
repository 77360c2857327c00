//! What the store says it did, in the words of the report. The only file that reads its `Stats`.

use neurograph::Stats;

use crate::report::Memory;

/// A snapshot of the store's counters.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Tokens created since it was opened.
    pub created: u64,
    /// Tokens alive.
    pub live: u64,
    /// Creates refused by the quota of tokens.
    pub exceeded: u64,
    /// Admissions decided.
    pub checks: u64,
    /// Bytes written to the log's files.
    pub wal_bytes: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Aggressive cleanups.
    pub cleanups: u64,
    /// Tokens evicted.
    pub evicted: u64,
    /// Operations that the sampler chose.
    pub sampled: u64,
    /// Spans that entered a ring.
    pub spans_recorded: u64,
    /// Spans that found their ring full.
    pub spans_dropped: u64,
    /// Operations that ended in an error, and those of them that became spans.
    pub errors: [u64; 2],
    /// Slow operations, and those of them that became spans.
    pub slow: [u64; 2],
    /// Steps of the sampling controller.
    pub controller_steps: u64,
    /// Events in the black box.
    pub blackbox_events: u64,
    /// What the store holds, as its memory quota counts it.
    pub quota_bytes: u64,
    /// Who holds how many bytes; `other` is for the suite to fill in, from the kernel's figure.
    pub memory: Memory,
}

impl Activity {
    /// What the store's parts hold together.
    pub fn held_bytes(&self) -> u64 {
        let m = &self.memory;
        m.arena + m.wal + m.trace + m.metrics + m.blackbox
    }
}

impl From<&Stats> for Activity {
    fn from(stats: &Stats) -> Self {
        let wal = stats.wal.clone().unwrap_or_default();
        let sampler = stats.sampler.clone().unwrap_or_default();
        let spans = stats.spans.clone().unwrap_or_default();
        let blackbox = stats.blackbox.as_ref();
        Self {
            created: stats.tokens_created_total,
            live: stats.tokens_live,
            exceeded: stats.quota_exceeded_total,
            checks: stats.quota_checks_total,
            wal_bytes: wal.written_bytes_total,
            wal_syncs: wal.syncs_total,
            cleanups: stats.guardian.cleanups_total,
            evicted: stats.guardian.evicted_total,
            sampled: sampler.samples_recorded_total,
            spans_recorded: spans.spans_recorded_total,
            spans_dropped: spans.spans_dropped_total,
            errors: [sampler.error_operations_total, sampler.error_kept_total],
            slow: [sampler.slow_operations_total, sampler.slow_kept_total],
            controller_steps: stats.controller_steps_total,
            blackbox_events: blackbox.map_or(0, |blackbox| blackbox.events_total),
            quota_bytes: stats.guardian.committed_bytes,
            memory: Memory {
                arena: stats.memory.arena,
                wal: stats.memory.wal,
                trace: stats.memory.trace,
                metrics: stats.memory.metrics,
                blackbox: stats.memory.blackbox,
                other: 0,
            },
        }
    }
}

/// One value of a metrics page, or the sum of a family's values.
pub fn page_value(page: &str, name: &str) -> Option<f64> {
    let values: Vec<f64> = page
        .lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labelled) => labelled.rsplit_once('}')?.1,
                None => rest,
            };
            value.strip_prefix(' ')?.split(' ').next()?.parse().ok()
        })
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_with_and_without_labels_and_prefixes_are_not_confused() {
        let page = "\
# TYPE a counter
a_total 3
a_total_other 9
b_bytes{state=\"live\"} 2
b_bytes{state=\"odd} \"} 5.5 1700000000
";
        assert_eq!(page_value(page, "a_total"), Some(3.0));
        assert_eq!(page_value(page, "b_bytes"), Some(7.5));
        assert_eq!(page_value(page, "a"), None);
        assert_eq!(page_value(page, "c"), None);
    }
}
