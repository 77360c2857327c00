//! Reports for tests: a whole run, one with failures, and runs of one phase.

use std::collections::BTreeMap;

use crate::machine::Machine;
use crate::report::{
    Bar, Baseline, Check, Components, Full, Memory, PROVES, Phases, PublishedCase,
    PublishedTracing, Recovery, Report, RunConfig, SCHEMA, SpanCost, Steady, Tracing, reference,
};

const THEN: &str = "2026-01-02T03:04:05.678Z";

fn check(name: &str, pass: bool, detail: &str) -> Check {
    Check { name: name.into(), pass, detail: detail.into() }
}

fn bar(id: &'static str, value: Option<f64>, bar: Option<f64>, pass: Option<bool>) -> Bar {
    let interval = value.map(|value| [value - 0.01, value + 0.01]);
    Bar {
        id,
        title: "full & baseline",
        value,
        interval,
        pairs: Some(31),
        bar,
        goal: Some(1.0),
        pass,
    }
}

/// All four phases, good, judged but for one bar.
pub fn full() -> Report {
    Report {
        schema: SCHEMA,
        proves: PROVES,
        version: "0.0.0",
        git: Some("0123456789abcdef".into()),
        started: THEN.into(),
        ended: THEN.into(),
        seed: 1,
        machine: Machine {
            cpu: "Example processor & more".into(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "6.18".into(),
            filesystem: "ext4".into(),
            thp: "madvise".into(),
            clock_step_ns: 20,
        },
        config: RunConfig {
            tokens: 9_500_000,
            threads: 1,
            persist: 1000,
            durability: "balanced",
            sample_rate: 0.01,
            runs: 4,
            max_memory_bytes: 1_024_000_000,
        },
        command: "cargo xtask stress --tokens 9500000 --seed 1".into(),
        phases: Phases {
            baseline: Some(baseline()),
            full: Some(full_phase()),
            recovery: Some(recovery()),
            tracing: Some(tracing()),
        },
        scenarios: BTreeMap::new(),
        stolen_share: Some(0.004),
        checks: vec![
            check("baseline: tokens found by iteration", true, "found 9500000, expected 9500000"),
            check("full: cleanups in the timed regions", true, "found 0, expected 0"),
            check("steady: scrapes is not 0", true, "found 90, expected at least 1"),
            check("recovery: acknowledged operations lost", true, "found 0, expected 0"),
            check("recovery: tokens invented", true, "found 0, expected 0"),
            check("tracing: no span was dropped", true, "found 0 of the body and 0 of create"),
        ],
        reference: reference(),
        bars: vec![
            bar("P2", Some(1.12), Some(1.2), Some(true)),
            bar("component.wal", Some(1.01), Some(1.05), Some(true)),
            bar("P2s", Some(1.04), Some(1.08), None),
            bar("P2d", Some(0.4), None, None),
        ],
        not_judged: vec![
            "the machine is too noisy for P2s: the 95 % interval, 1.010 to 1.090, has the bar 1.08 in it".into(),
        ],
    }
}

/// The same with a check that failed and a bar that was missed.
pub fn failed() -> Report {
    let mut report = full();
    report.checks[3] =
        check("recovery: acknowledged operations lost", false, "found 3, expected 0");
    report.bars[0] = bar("P2", Some(1.3), Some(1.2), Some(false));
    report
}

/// A run of the tracing phase alone.
pub fn tracing_only() -> Report {
    let mut report = full();
    report.phases = Phases { tracing: report.phases.tracing, ..Phases::default() };
    report.checks.drain(..5);
    for bar in &mut report.bars {
        (bar.value, bar.pass) = (None, None);
    }
    report.not_judged.clear();
    report
}

/// A run of the baseline phase alone.
pub fn baseline_only() -> Report {
    let mut report = full();
    report.phases = Phases { baseline: report.phases.baseline, ..Phases::default() };
    report.checks.truncate(1);
    report
}

fn baseline() -> Baseline {
    Baseline {
        tokens: 9_500_000,
        elapsed_ns: 71_250_000,
        ns_per_token: 7.5,
        tokens_per_s: 133e6,
        rss_growth_bytes: 608_190_000,
        rss_peak_bytes: 700_000_000,
        bytes_per_token: 64.02,
        floor_ns_per_token: 6.0,
        times_floor: 1.25,
        generator_ns_per_token: 2.0,
        tenths_ns_per_token: vec![7.4, 7.5, 7.5, 7.6, 7.5, 7.5, 7.4, 7.5, 7.5, 7.6],
        runs_ns: vec![71_250_000],
        floor_runs_ns: vec![57_000_000],
        started: THEN.into(),
        ended: THEN.into(),
    }
}

fn full_phase() -> Full {
    Full {
        ratios: BTreeMap::new(),
        tokens: 9_500_000,
        elapsed_ns: 79_800_000,
        ns_per_token: 8.4,
        tokens_per_s: 119e6,
        overhead_ratio: 1.12,
        overhead_ratio_spread: [1.10, 1.14],
        wall_ratio: 1.13,
        wall_ratio_spread: [1.08, 1.19],
        pairs: vec![
            [71_000_000, 79_000_000],
            [71_000_000, 80_000_000],
            [72_000_000, 80_000_000],
            [70_000_000, 79_000_000],
        ],
        paces: vec![[10_000_000, 10_000_000]; 4],
        baseline_ns_per_token: 7.5,
        added_ns_per_token: 0.9,
        wal_records: 9_500,
        wal_bytes: 700_000,
        wal_syncs: 3,
        durable_after_ns: 400_000,
        quota_checks: 9_502_000,
        quota_exceeded: 1_999,
        quota_false_refusals: 0,
        quota_missed_refusals: 0,
        cleanups: 0,
        evicted: 0,
        spans_recorded: 94_601,
        spans_dropped: 0,
        blackbox_events: 9_500,
        metrics_scrapes: 2,
        memory_share: 0.61,
        cpu_ns_baseline: 71_000_000,
        cpu_ns_full: 85_000_000,
        cpu_ratio: 1.2,
        facade_off_ratio: 1.04,
        two_thread_ratio: Some(1.15),
        memory: Memory {
            arena: 608_190_000,
            wal: 9_000_000,
            trace: 4_000_000,
            metrics: 60_000,
            blackbox: 1_000_000,
            other: 2_000_000,
        },
        steady: Steady {
            seconds: 10.5,
            overhead_ratio: 1.04,
            overhead_ratio_spread: [1.02, 1.06],
            cpu_ratio: 1.06,
            operations: 80_000_000,
            wal_syncs: 100,
            metrics_scrapes: 90,
            controller_steps: 10,
            spans_dropped: 0,
        },
        components: Components {
            guardian: 1.01,
            wal: 1.01,
            trace: 1.07,
            metrics: 0.99,
            blackbox: 1.02,
        },
        started: THEN.into(),
        ended: THEN.into(),
    }
}

fn recovery() -> Recovery {
    Recovery {
        killed_by: "SIGKILL",
        records_acknowledged_durable: 2_000_000,
        records_recovered: 2_000_130,
        operations_recovered: 2_000_123,
        tokens_recovered: 1_000_000,
        lost_acknowledged: 0,
        invented: 0,
        duplicates: 0,
        crc_failures: 0,
        torn_bytes: 41,
        elapsed_ns: 60_000_000,
        records_per_s: 33e6,
        published_case: PublishedCase { records: 1_000, elapsed_ns: 1_500_000 },
        started: THEN.into(),
        ended: THEN.into(),
    }
}

fn tracing() -> Tracing {
    let cost = |base: f64| SpanCost {
        operations: 100_000,
        baseline_ns_per_op: base,
        all_sampled_ns_per_op: base + 51.0,
        one_percent_ns_per_op: base + 0.9,
        span_ns: 51.0,
        unsampled_ns: 0.2,
        ratio_all: 2.2,
        ratio_one_percent: 1.02,
    };
    Tracing {
        body: cost(41.0),
        create: cost(9.0),
        published_case: PublishedTracing {
            operations: 10_000,
            baseline_ns_per_op: 41.0,
            all_sampled_ns_per_op: 56.0,
            span_ns: 15.0,
            ratio_all: 1.37,
        },
        errors_kept: 50,
        errors_total: 50,
        slow_kept: 50,
        slow_total: 50,
        measured_overhead: Some(0.012),
        otel_spans: 12,
        started: THEN.into(),
        ended: THEN.into(),
    }
}
