//! What settings demand of each other. A broken rule is told of the setting that was written, in its words.

use super::Config;
use super::error::{Origin, Problem};
use super::layers::Source;
use super::settings::setting;
use super::value::quoted;
use crate::observe::{KINDS, OWN_KIND_LEAST};
use ng_blackbox::{OpenError, Recorder};

/// One setting may be at most another.
struct Order {
    low: &'static str,
    high: &'static str,
    /// Equal is too much.
    strictly: bool,
    /// When the rule holds, and how a message says so.
    holds: fn(&Config) -> bool,
    while_true: &'static str,
    /// Is it kept?
    kept: fn(&Config) -> bool,
}

const ORDERS: &[Order] = &[
    Order {
        low: "guardian.max_tokens",
        high: "arena.max_slots",
        strictly: false,
        holds: |_| true,
        while_true: "",
        kept: |c| match (c.token_quota(), c.arena.max_slots) {
            (Some(quota), Some(slots)) => quota <= slots,
            _ => true,
        },
    },
    Order {
        low: "guardian.low_water",
        high: "guardian.memory_threshold",
        strictly: true,
        holds: |_| true,
        while_true: "",
        kept: |c| c.guardian.low_water < c.guardian.memory_threshold,
    },
    Order {
        low: "trace.min_rate",
        high: "trace.max_rate",
        strictly: false,
        holds: |_| true,
        while_true: "",
        kept: |c| c.trace.sampler.min_rate <= c.trace.sampler.max_rate,
    },
    Order {
        low: "trace.min_rate",
        high: "trace.base_rate",
        strictly: false,
        holds: |c| c.trace.sampler.adaptive,
        while_true: ", while trace.adaptive is true",
        kept: |c| c.trace.sampler.min_rate <= c.trace.sampler.base_rate,
    },
    Order {
        low: "trace.base_rate",
        high: "trace.max_rate",
        strictly: false,
        holds: |c| c.trace.sampler.adaptive,
        while_true: ", while trace.adaptive is true",
        kept: |c| c.trace.sampler.base_rate <= c.trace.sampler.max_rate,
    },
    Order {
        low: "trace.collector.drain_interval",
        high: "trace.collector.idle_interval",
        strictly: false,
        holds: |_| true,
        while_true: "",
        kept: |c| c.trace.collector.drain_interval <= c.trace.collector.idle_interval,
    },
];

/// The broken rules. One whose settings are `bad` by themselves is left out: its message would tell of a value that
/// nobody wrote.
pub(super) fn broken(config: &Config, bad: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for order in ORDERS {
        if !bad(order.low) && !bad(order.high) && (order.holds)(config) && !(order.kept)(config) {
            problems.push(out_of_order(config, order));
        }
    }
    let log = ["wal.log_bytes_max", "wal.segment_bytes", "wal.reserved_bytes", "wal.ring_slots"];
    if !log.iter().any(|name| bad(name)) {
        problems.extend(log_too_small(config, log));
    }
    let recorder = ["blackbox.recorder.events_per_lane", "blackbox.recorder.lanes"];
    if !recorder.iter().any(|name| bad(name)) {
        problems.extend(recorder_too_large(config, recorder));
    }
    let dump = ["blackbox.dump_dir", "blackbox.panic_hook"];
    if !dump.iter().any(|name| bad(name)) {
        problems.extend(dump_without_hook(config, dump));
    }
    problems.extend(bad_kind(config));
    problems
}

fn out_of_order(config: &Config, order: &Order) -> Problem {
    let subject = written(config, &[order.low, order.high]);
    let (bound, other) = match (subject == order.low, order.strictly) {
        (true, false) => ("at most", order.high),
        (true, true) => ("below", order.high),
        (false, false) => ("at least", order.low),
        (false, true) => ("above", order.low),
    };
    let by_default = match config.source(other) {
        Some(Source::Default) => " by default",
        _ => "",
    };
    let (is, condition) = (text(config, other), order.while_true);
    let expected = format!("{bound} {other}, which is {is}{by_default}{condition}");
    problem(config, subject, expected)
}

/// Least and most come from the log's own check, so that its formula stands in one place.
fn log_too_small(config: &Config, log: [&'static str; 4]) -> Option<Problem> {
    let takes = |log_bytes_max: u64| {
        let mut wal = config.wal_config();
        // Taken as it is by the reserve's own check, whose bound is the limit itself.
        wal.log_bytes_max = log_bytes_max;
        wal.validate().is_ok()
    };
    // Else it is another field that the log refuses.
    if takes(config.wal.log_bytes_max) || !takes(u64::MAX) {
        return None;
    }
    let (mut refused, mut least) = (config.wal.log_bytes_max, u64::MAX);
    while least - refused > 1 {
        let middle = refused + (least - refused) / 2;
        if takes(middle) { least = middle } else { refused = middle }
    }
    let [limit, segment, reserved, ring] = log;
    let subject = written(config, &log);
    let parts = format!(
        "four times {segment} ({}), {reserved} ({}) and the records of {ring} ({})",
        text(config, segment),
        text(config, reserved),
        text(config, ring)
    );
    let expected = if subject == limit {
        format!("at least {least}: {parts}")
    } else {
        format!("less, or {limit}, which is {}, at least {least}: {parts}", text(config, limit))
    };
    Some(problem(config, subject, expected))
}

fn recorder_too_large(config: &Config, [events, lanes]: [&'static str; 2]) -> Option<Problem> {
    config.blackbox.recorder.validate().err()?;
    let subject = written(config, &[events, lanes]);
    let other = if subject == events { lanes } else { events };
    let expected = format!(
        "less: with {other}, which is {}, the recording would be larger than 1 GiB",
        text(config, other)
    );
    Some(problem(config, subject, expected))
}

/// The hook is what makes the copy: without it a directory for copies would stay empty, and nobody would know why.
fn dump_without_hook(config: &Config, [dir, hook]: [&'static str; 2]) -> Option<Problem> {
    if config.blackbox.panic_hook || config.blackbox.dump_dir.is_none() {
        return None;
    }
    let subject = written(config, &[dir, hook]);
    let expected = if subject == dir {
        format!("absent while {hook} is false")
    } else {
        format!("true while {dir} is {}: the hook is what copies the recording", text(config, dir))
    };
    Some(problem(config, subject, expected))
}

/// The kinds are no row of the table, as no file can hold them.
fn bad_kind(config: &Config) -> Option<Problem> {
    let own = &config.blackbox.kinds;
    let of_store = own.iter().find(|(kind, _)| kind.number() < OWN_KIND_LEAST);
    let (kind, name, reason) = match of_store {
        Some((kind, name)) => (*kind, (*name).to_string(), "numbers below 64 belong to the store"),
        None => match Recorder::check_kinds(&[KINDS, own].concat()) {
            Err(OpenError::KindName { kind, name, problem }) => (kind, name, problem),
            _ => return None,
        },
    };
    let value = format!("a list with ({kind}, {})", quoted(&name));
    let expected = format!("a list of kinds that the flight recorder takes: {reason}");
    Some(Problem::value(Origin::Code, "blackbox.kinds", value, expected))
}

/// Of these settings the one that was written last: by code, else by the environment, else furthest down in a file.
fn written(config: &Config, names: &[&'static str]) -> &'static str {
    // Of several by code, the first.
    let last = names.iter().rev().max_by_key(|name| config.layers().rank(config, name));
    last.unwrap_or(&names[0])
}

fn text(config: &Config, name: &str) -> String {
    let written = setting(name).and_then(|setting| setting.get(config));
    written.unwrap_or_else(|| quoted("?"))
}

fn problem(config: &Config, subject: &'static str, expected: String) -> Problem {
    let origin = config.layers().origin(config, subject);
    Problem::value(origin, subject, text(config, subject), expected)
}
