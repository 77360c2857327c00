//! Machine, settings and method: what somebody needs who wants to doubt or repeat the figures.

use crate::figures::grouped;
use crate::html::{Cell, escape, number, table, text};
use crate::report::{PROVES, Report};

/// How the figures come about, each in a sentence.
const METHOD: [&str; 6] = [
    "Both sides of a pair are the same binary with the same settings and the same seeded tokens, created one by one. \
     The sides take turns in coming first.",
    "Before each timed region the memory that it will take is mapped, populated and unmapped, so that no side pays for \
     the host of a virtual machine. The first run of each kind is thrown away.",
    "Between the laps of each run the same thread fills one huge page; a ratio is that of the two times in units of \
     those fills, and so free of the machine's pace. The ratio with the pace left in stands beside it.",
    "A ratio is the median of the pairs' ratios. A part alone is held against the facade with every part off, in the \
     same round; the order is drawn by the seed.",
    "The timed region is from the first create to the last; reading everything back, the quota and the log's reader come \
     after it. Processor time counts all threads until everything is durable.",
    "Bars are judged from 9,500,000 tokens on, on a disk, and where the 95 % interval of the ratio, by the bootstrap over \
     its pairs, lies on one side of the bar; else up to twice the pairs are run. Checks always count.",
];

/// Its markup.
pub fn section(report: &Report) -> String {
    let (machine, config) = (&report.machine, &report.config);
    let row = |name: &str, value: String| -> Vec<Cell> { vec![text(name), text(value)] };
    let gib = machine.memory_bytes as f64 / (1_u64 << 30) as f64;
    let conditions = [
        row("processor", machine.cpu.clone()),
        row("cores that it may use", machine.cores.to_string()),
        row("memory", format!("{gib:.1} GiB")),
        row("kernel", machine.kernel.clone()),
        row("file system of the data", machine.filesystem.clone()),
        row("transparent huge pages", machine.thp.clone()),
        row("smallest step of the clock", format!("{} ns", machine.clock_step_ns)),
        row(
            "processor time given to other machines meanwhile",
            report
                .stolen_share
                .map_or("not known".into(), |share| format!("{:.1} %", share * 100.0)),
        ),
        row("version", report.version.to_owned()),
        row("commit", report.git.clone().unwrap_or_else(|| "not known".into())),
        row("begun", report.started.clone()),
        row("ended", report.ended.clone()),
    ];
    let logged = match config.persist {
        1 => "each".into(),
        n => format!("each {}th", grouped(n)),
    };
    let settings = [
        row("tokens a run", grouped(config.tokens)),
        row("creating threads", config.threads.to_string()),
        row("tokens logged", logged),
        row("durability", config.durability.to_owned()),
        row("share of creates recorded as spans", format!("{} %", config.sample_rate * 100.0)),
        row("interleaved pairs", config.runs.to_string()),
        row("memory quota", format!("{} bytes", grouped(config.max_memory_bytes))),
        row("seed", report.seed.to_string()),
    ];
    let mut out = table("Machine and build", &["what", "value"], &conditions);
    out.push_str(&table("Settings", &["what", "value"], &settings));
    out.push_str(&counts(report));
    out.push_str("<h3>Method</h3>\n<ul>\n");
    for sentence in METHOD {
        out.push_str(&format!("<li>{}</li>\n", escape(sentence)));
    }
    out + &format!("</ul>\n<p>The suite {}.</p>", escape(PROVES))
}

/// What each part did in the full phase: a part that slept through it would cost nothing.
fn counts(report: &Report) -> String {
    let Some(f) = &report.phases.full else {
        return String::new();
    };
    let s = &f.steady;
    let row = |name: &str, burst: u64, steady: Option<u64>| -> Vec<Cell> {
        let steady = steady.map_or("–".into(), grouped);
        vec![text(name), number(grouped(burst)), number(steady)]
    };
    let rows = [
        row("token records in the log", f.wal_records, None),
        row("bytes of log", f.wal_bytes, None),
        row("syncs of the log", f.wal_syncs, Some(s.wal_syncs)),
        row("admissions decided", f.quota_checks, None),
        row("creates refused at the quota", f.quota_exceeded, None),
        row("refused while there was room", f.quota_false_refusals, None),
        row("admitted while there was none", f.quota_missed_refusals, None),
        row("cleanups", f.cleanups, None),
        row("tokens evicted", f.evicted, None),
        row("spans recorded", f.spans_recorded, None),
        row("spans dropped", f.spans_dropped, Some(s.spans_dropped)),
        row("black-box events", f.blackbox_events, None),
        row("scrapes of the metrics page", f.metrics_scrapes, Some(s.metrics_scrapes)),
        row("nanoseconds from the last create to all durable", f.durable_after_ns, None),
    ];
    table("What each part did", &["count", "one burst", "steady churn"], &rows)
}
