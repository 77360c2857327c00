//! Stats to metric names and base units: the only file that knows the names. docs/OBSERVABILITY.md lists the same.

use crate::inner::Inner;
use crate::stats::Stats;
use crate::watch::eviction::{EvictionReason, Evictions};
use ng_blackbox::Backing;
use ng_metrics::{Collect, Counter, Histogram, RegisterError, Registry, Source};
use std::sync::Weak;
use std::time::SystemTime;

/// One exported family. Names lack the prefix `neurograph_`.
pub(crate) struct Metric {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    /// Read from the stats at each scrape; never falls.
    Counter(fn(&Stats) -> u64),
    /// Read from the stats at each scrape.
    Gauge(fn(&Stats) -> f64),
    /// Told apart by a label of this name.
    Gauges(&'static str, fn(&Stats) -> Vec<(&'static str, f64)>),
    /// Counters told apart by a label of this name.
    Counters(&'static str, fn(&Stats) -> Vec<(&'static str, u64)>),
    /// Kept by the registry: see [`Registered`].
    Registered,
    /// Constant labels.
    Info,
}

use Value::{Counter as C, Gauge as G};

fn wal(stats: &Stats, read: fn(&ng_wal::WalStats) -> u64) -> u64 {
    stats.wal.as_ref().map_or(0, read)
}

fn sampler(stats: &Stats, read: fn(&ng_trace::SamplerStats) -> u64) -> u64 {
    stats.sampler.as_ref().map_or(0, read)
}

fn spans(stats: &Stats, read: fn(&ng_trace::CollectorStats) -> u64) -> u64 {
    stats.spans.as_ref().map_or(0, read)
}

/// NaN: not measured.
fn overhead(stats: &Stats, read: fn(&ng_trace::Overhead) -> f64) -> f64 {
    stats.overhead.as_ref().map_or(f64::NAN, read)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Every metric of a store.
pub(crate) const METRICS: &[Metric] = &[
    Metric {
        name: "tokens_created_total",
        help: "Tokens created.",
        value: C(|s| s.tokens_created_total),
    },
    Metric {
        name: "tokens_deleted_total",
        help: "Tokens deleted, evicted ones included.",
        value: C(|s| s.tokens_deleted_total),
    },
    Metric {
        name: "tokens_evicted_total",
        help: "Tokens evicted by cleanup.",
        value: C(|s| s.tokens_evicted_total),
    },
    Metric {
        name: "evictions_total",
        help: "Tokens evicted by cleanup, by the quota that was near its end.",
        value: Value::Counters("reason", |s| {
            let Evictions { token_quota, memory_quota, system_memory } = s.evictions;
            EvictionReason::ALL
                .into_iter()
                .zip([token_quota, memory_quota, system_memory])
                .map(|((_, name), count)| (name, count))
                .collect()
        }),
    },
    Metric { name: "tokens_rejected_total", help: "Creates refused.", value: Value::Registered },
    Metric { name: "tokens_active", help: "Tokens alive.", value: G(|s| s.tokens_live as f64) },
    Metric {
        name: "quota_exceeded_total",
        help: "Creates refused because the quota of tokens was used up.",
        value: Value::Registered,
    },
    Metric {
        name: "aggressive_cleanups_total",
        help: "Cleanups that evicted something.",
        value: C(|s| s.guardian.cleanups_total),
    },
    Metric {
        name: "panics_recovered_total",
        help: "Panics of observers, sinks and the store's own care that were caught.",
        value: C(|s| s.panics_recovered_total),
    },
    Metric {
        name: "memory_used_bytes",
        help: "Memory that the store holds.",
        value: G(|s| s.guardian.committed_bytes as f64),
    },
    Metric {
        name: "memory_usage_percent",
        help: "Memory held, in percent of its quota, 0 to 100; 0 without a quota.",
        value: G(|s| s.guardian.memory_usage_percent()),
    },
    Metric {
        name: "token_creation_duration_seconds",
        help: "Time of sampled creates.",
        value: Value::Registered,
    },
    Metric {
        name: "arena_bytes",
        help: "Address space reserved, memory committed, bytes of live tokens.",
        value: Value::Gauges("state", |s| {
            vec![
                ("reserved", s.arena.reserved_bytes as f64),
                ("committed", s.arena.committed_bytes as f64),
                ("live", s.arena.live_bytes as f64),
            ]
        }),
    },
    Metric {
        name: "arena_chunks",
        help: "Chunks of the arena that have memory.",
        value: G(|s| s.arena.chunks as f64),
    },
    Metric {
        name: "guardian_level",
        help: "0 normal, 1 soft, 2 hard, 3 refuse.",
        value: G(|s| f64::from(s.guardian.level as u8)),
    },
    Metric {
        name: "guardian_recalls_total",
        help: "Times idle credits were asked back from leases.",
        value: C(|s| s.guardian.recalls_total),
    },
    Metric {
        name: "wal_entries_written_total",
        help: "Log records written.",
        value: C(|s| wal(s, |w| w.written_records_total)),
    },
    Metric {
        name: "wal_entries_replayed_total",
        help: "Log records replayed when the store was opened.",
        value: C(|s| s.records_replayed),
    },
    Metric {
        name: "wal_bytes_total",
        help: "Bytes written to the log.",
        value: C(|s| wal(s, |w| w.written_bytes_total)),
    },
    Metric {
        name: "wal_syncs_total",
        help: "Syncs of the log.",
        value: C(|s| wal(s, |w| w.syncs_total)),
    },
    Metric {
        name: "wal_sync_duration_seconds",
        help: "Time of the log's syncs.",
        value: Value::Registered,
    },
    Metric {
        name: "wal_batch_records",
        help: "Records that one sync made durable.",
        value: Value::Registered,
    },
    Metric {
        name: "wal_queue_bytes",
        help: "Memory of the records waiting to be written.",
        value: G(|s| wal(s, |w| w.queue_bytes) as f64),
    },
    Metric {
        name: "wal_queue_records",
        help: "Records waiting to be written.",
        value: G(|s| wal(s, |w| w.queue_records) as f64),
    },
    Metric {
        name: "wal_durable_lag_records",
        help: "Records appended and not yet durable.",
        value: G(|s| wal(s, |w| w.last_lsn.get().saturating_sub(w.durable_lsn.get())) as f64),
    },
    Metric {
        name: "wal_durable_lag_seconds",
        help: "Age of the oldest record written and not yet durable.",
        value: G(|s| seconds(wal(s, |w| w.oldest_unsynced_ns))),
    },
    Metric {
        name: "wal_segments",
        help: "Segment files of the log.",
        value: G(|s| wal(s, |w| w.segments) as f64),
    },
    Metric {
        name: "wal_full_total",
        help: "Operations refused because there was no room for their records.",
        value: C(|s| wal(s, |w| w.full_total)),
    },
    Metric {
        name: "wal_failed",
        help: "1 if the log failed for good, else 0.",
        value: G(|s| wal(s, |w| w.failed) as f64),
    },
    Metric {
        name: "tracing_samples_total",
        help: "Operations on which sampling was decided.",
        value: C(|s| sampler(s, |t| t.samples_total)),
    },
    Metric {
        name: "tracing_samples_recorded_total",
        help: "Operations sampled at their head.",
        value: C(|s| sampler(s, |t| t.samples_recorded_total)),
    },
    Metric {
        name: "tracing_samples_skipped_total",
        help: "Operations not sampled at their head.",
        value: C(|s| sampler(s, |t| t.samples_skipped_total)),
    },
    Metric {
        name: "tracing_error_operations_total",
        help: "Operations that failed.",
        value: C(|s| sampler(s, |t| t.error_operations_total)),
    },
    Metric {
        name: "tracing_slow_operations_total",
        help: "Operations slower than the threshold.",
        value: C(|s| sampler(s, |t| t.slow_operations_total)),
    },
    Metric {
        name: "tracing_sample_rate",
        help: "Share of operations sampled.",
        value: G(|s| s.sampler.as_ref().map_or(0.0, |t| t.rate)),
    },
    Metric {
        name: "tracing_overhead_ratio",
        help: "Share of the process's CPU time that tracing took, by its own account; NaN before the first.",
        value: G(|s| overhead(s, |o| o.share)),
    },
    Metric {
        name: "tracing_overhead_interval_ratio",
        help: "Ends of the 95 % interval of the share that tracing took; NaN before the first.",
        value: Value::Gauges("end", |s| {
            vec![("low", overhead(s, |o| o.low)), ("high", overhead(s, |o| o.high))]
        }),
    },
    Metric {
        name: "tracing_overhead_part_ratio",
        help: "Parts of the share that tracing took: what spans caused, and what is there at any rate; NaN before the first.",
        value: Value::Gauges("part", |s| {
            vec![
                ("spans", overhead(s, |o| o.span_share)),
                ("fixed", overhead(s, |o| o.fixed_share)),
            ]
        }),
    },
    Metric {
        name: "tracing_samples_capped_total",
        help: "Operations that a rule would have sampled and its ceiling refused.",
        value: C(|s| {
            sampler(s, |t| {
                t.samples_capped_total
                    + t.force_capped_total
                    + t.parent_capped_total
                    + t.error_capped_total
                    + t.slow_capped_total
            })
        }),
    },
    Metric {
        name: "tracing_spans_offered_total",
        help: "Spans that were recorded, whatever became of them.",
        value: C(|s| spans(s, |t| t.spans_offered_total)),
    },
    Metric {
        name: "tracing_spans_dropped_total",
        help: "Spans dropped because a ring was full or had no memory.",
        value: C(|s| spans(s, |t| t.spans_dropped_total)),
    },
    Metric {
        name: "tracing_spans_capped_total",
        help: "Spans refused because the ceiling of spans a second was reached.",
        value: C(|s| spans(s, |t| t.spans_capped_total)),
    },
    Metric {
        name: "tracing_spans_exported_total",
        help: "Spans that reached the sink.",
        value: C(|s| spans(s, |t| t.spans_exported_total)),
    },
    Metric {
        name: "tracing_spans_lost_total",
        help: "Spans lost because the sink refused them, failed or panicked.",
        value: C(|s| spans(s, |t| t.spans_lost_total)),
    },
    Metric {
        name: "tracing_spans_in_flight",
        help: "Spans in the rings and at the sink.",
        value: G(|s| spans(s, |t| t.spans_in_flight) as f64),
    },
    Metric {
        name: "tracing_sink_errors_total",
        help: "Calls of the sink that failed or panicked.",
        value: C(|s| spans(s, |t| t.sink_errors_total + t.sink_panics_total)),
    },
    Metric {
        name: "recovery_tokens",
        help: "Tokens alive after recovery.",
        value: G(|s| s.tokens_recovered as f64),
    },
    Metric {
        name: "recovery_duration_seconds",
        help: "Time that recovery took.",
        value: G(|s| s.recovery_elapsed.as_secs_f64()),
    },
    Metric {
        name: "blackbox_events_total",
        help: "Events recorded by the flight recorder.",
        value: C(|s| s.blackbox.as_ref().map_or(0, |b| b.events_total)),
    },
    Metric {
        name: "blackbox_dropped_total",
        help: "Events that the flight recorder lost.",
        value: C(|s| s.blackbox.as_ref().map_or(0, |b| b.dropped_total)),
    },
    Metric {
        name: "blackbox_lost_pages",
        help: "Pages that the flight recorder's file lost while it was mapped.",
        value: G(|s| s.blackbox.as_ref().map_or(0.0, |b| b.lost_pages as f64)),
    },
    Metric {
        name: "blackbox_on_disk",
        help: "1 if the flight recorder has its file, 0 if it records into memory or not at all.",
        value: G(|s| {
            let backing = s.blackbox.as_ref().map(|blackbox| blackbox.backing);
            f64::from(u8::from(backing == Some(Backing::File)))
        }),
    },
    Metric {
        name: "metrics_scrape_errors_total",
        help: "Families and samples left out of pages, and sources that panicked.",
        value: C(|s| s.metrics.scrape_errors_total),
    },
    Metric { name: "build_info", help: "Version of neurograph.", value: Value::Info },
];

/// What the registry keeps, because it is counted as it happens.
pub(crate) struct Registered {
    pub(crate) create_seconds: Histogram,
    pub(crate) sync_seconds: Histogram,
    pub(crate) batch_records: Histogram,
    pub(crate) rejected: Counter,
    pub(crate) quota_exceeded: Counter,
}

impl Registered {
    pub(crate) fn new(registry: &Registry) -> Result<Registered, RegisterError> {
        let help = |name: &str| METRICS.iter().find(|m| m.name == name).map_or("", |m| m.help);
        let counter = |total: &str| registry.counter(base(total), help(total));
        let seconds = |name: &str| registry.histogram_seconds(name, help(name));
        Ok(Registered {
            create_seconds: seconds("token_creation_duration_seconds")?,
            sync_seconds: seconds("wal_sync_duration_seconds")?,
            batch_records: registry.histogram("wal_batch_records", help("wal_batch_records"))?,
            rejected: counter("tokens_rejected_total")?,
            quota_exceeded: counter("quota_exceeded_total")?,
        })
    }
}

/// A counter is registered without the `_total` that its text form gets.
fn base(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

/// Reads the store at each scrape, so that no operation has metric code.
pub(crate) struct StoreSource {
    pub(crate) store: Weak<Inner>,
    /// When the store began to open: all its counts began at 0 after that.
    pub(crate) since: SystemTime,
}

impl Source for StoreSource {
    fn collect(&self, out: &mut Collect<'_>) {
        let Some(inner) = self.store.upgrade() else { return };
        out.counted_since(self.since);
        let stats = inner.stats();
        for metric in METRICS {
            match metric.value {
                Value::Counter(read) => out.counter(base(metric.name), metric.help, read(&stats)),
                Value::Gauge(read) => out.gauge(metric.name, metric.help, read(&stats)),
                Value::Gauges(label, read) => {
                    out.gauge_labeled(metric.name, metric.help, label, &read(&stats));
                }
                Value::Counters(label, read) => {
                    let values = read(&stats);
                    out.counter_labeled(base(metric.name), metric.help, label, &values);
                }
                Value::Info => {
                    let version = [("version", env!("CARGO_PKG_VERSION"))];
                    out.info("build", metric.help, &version);
                }
                Value::Registered => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::{MemorySink, SamplerConfig};
    use crate::{Config, Store, Token};
    use std::time::Duration;

    fn sample(page: &str, name: &str) -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("neurograph_{name} ")));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}:\n{page}"))
    }

    #[test]
    fn the_share_that_tracing_takes_is_told_once_it_is_measured() {
        let mut config = Config::default();
        config.trace.sampler = SamplerConfig::fixed_rate(1.0);
        let store = Store::builder(config).sink(Box::new(MemorySink::new())).in_memory().unwrap();
        let interval = |end: &str| format!("tracing_overhead_interval_ratio{{end=\"{end}\"}}");
        if store.stats().overhead.is_none() {
            let page = store.metrics_text();
            assert!(sample(&page, "tracing_overhead_ratio").is_nan());
            assert!(sample(&page, &interval("low")).is_nan());
        }
        let mut session = store.session();
        let token = Token::builder().build().unwrap();
        // As the pulse asks, but more often; its own looks do no harm.
        let collector = &store.inner.tracing.as_ref().unwrap().collector;
        while collector.measure_overhead(Duration::ZERO).is_none() {
            (0..10_000).for_each(|_| _ = session.create(&token).unwrap());
        }
        let page = store.metrics_text();
        let share = sample(&page, "tracing_overhead_ratio");
        let (low, high) = (sample(&page, &interval("low")), sample(&page, &interval("high")));
        assert!(
            0.0 < share && share < 1.0 && low <= share && share <= high,
            "{low} {share} {high}"
        );
    }

    #[test]
    fn every_metric_of_the_table_is_on_the_page_from_the_first_scrape() {
        let store = Store::in_memory(Config::default()).unwrap();
        let page = store.metrics_text();
        for metric in super::METRICS {
            let sample = format!("neurograph_{}", metric.name);
            let found = page.lines().any(|line| {
                let rest = line.strip_prefix(&sample);
                rest.is_some_and(|r| r.starts_with([' ', '{', '_']))
            });
            assert!(found, "{sample} is not on the page:\n{page}");
        }
        assert_eq!(store.stats().metrics.scrape_errors_total, 0, "{:?}", store.stats().metrics);
        let counts = page.lines().filter(|line| line.contains("_total ")).count();
        let histograms = page.matches(" histogram\n").count();
        let since = page.lines().filter(|line| line.contains("_created 1")).count();
        assert_eq!(since, counts + histograms, "each count says since when:\n{page}");
    }
}
