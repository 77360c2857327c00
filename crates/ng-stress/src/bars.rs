//! The bars: what is measured beside what it should be. A bar is judged only where the figure means
//! what the bar means; everywhere else its `pass` is null and the table prints "not judged".

use crate::machine::Machine;
use crate::plan::{JUDGED_TOKENS, Plan};
use crate::ratio::{PAIRS_MIN, Ratio};
use crate::report::{Bar, Full, Phases, Steady};

/// Why figures are not judged, if they are not.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// For none of them: too few tokens.
    size: Option<String>,
    /// For no figure that includes the log: its file system has no disk.
    disk: Option<String>,
}

impl Grounds {
    /// What speaks against judging this run.
    pub fn of(plan: &Plan, machine: &Machine) -> Self {
        let size =
            (!plan.is_judged()).then(|| format!("bars are judged from {JUDGED_TOKENS} tokens on"));
        let disk = (!machine.has_a_disk())
            .then(|| format!("--dir is on {}, where a sync reaches no disk", machine.filesystem));
        Self { size, disk }
    }

    /// All reasons: those for the whole run, and of what was allowed those of single bars.
    pub fn reasons(&self, bars: &[Bar], full: Option<&Full>) -> Vec<String> {
        let of_bars = bars.iter().filter_map(|bar| self.too_noisy(bar));
        let steady = full.map(|full| &full.steady);
        let asleep = steady.filter(|steady| self.allow(On::Disk) && !enough(steady)).map(|steady| {
            format!(
                "too little happened in steady churn for P2s: {:.1} s, {} scrapes, {} syncs, {} controller steps and {} \
                 spans dropped; at least 10 s, 80, 80, 10 and none",
                steady.seconds,
                steady.metrics_scrapes,
                steady.wal_syncs,
                steady.controller_steps,
                steady.spans_dropped
            )
        });
        let whole = [&self.size, &self.disk].into_iter().flatten().cloned();
        whole.chain(asleep).chain(of_bars).collect()
    }

    fn too_noisy(&self, bar: &Bar) -> Option<String> {
        let limit = LIMITS.iter().find(|limit| limit.id == bar.id)?;
        let ([low, high], at_most) = bar.interval.zip(bar.bar).filter(|_| self.allow(limit.on))?;
        let pairs = bar.pairs.unwrap_or(0);
        if pairs < PAIRS_MIN {
            return Some(format!("too few pairs for {}: {pairs}, at least {PAIRS_MIN}", bar.id));
        }
        let holds_it = low <= at_most && high > at_most;
        holds_it.then(|| {
            format!(
                "the machine is too noisy for {}: the 95 % interval, {low:.3} to {high:.3}, has the bar {at_most} in it",
                bar.id
            )
        })
    }

    fn allow(&self, on: On) -> bool {
        self.size.is_none() && (on == On::Memory || self.disk.is_none())
    }
}

/// What a figure depends on.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Memory,
    /// The log, and so the disk.
    Disk,
}

/// What a figure must not exceed.
struct Limit {
    id: &'static str,
    title: &'static str,
    /// `None`: it is only reported.
    bar: Option<f64>,
    goal: f64,
    on: On,
}

const fn limit(
    id: &'static str,
    title: &'static str,
    bar: Option<f64>,
    goal: f64,
    on: On,
) -> Limit {
    Limit { id, title, bar, goal, on }
}

/// The project's bars and goals, in one place.
const LIMITS: [Limit; 11] = [
    limit("P2", "full ÷ baseline", Some(1.20), 1.10, On::Disk),
    limit("P2s", "steady state, full ÷ baseline", Some(1.08), 1.02, On::Disk),
    limit("P2c", "processor time, full ÷ baseline", Some(1.30), 1.1, On::Disk),
    limit("P2t", "creators on all cores, full ÷ baseline", Some(1.20), 1.08, On::Disk),
    limit("P2d", "last create to all durable, ms", None, 110.0, On::Disk),
    limit("P8", "bytes of memory a token", Some(64.5), 64.02, On::Memory),
    limit("component.guardian", "guardian alone ÷ facade off", Some(1.05), 1.0, On::Memory),
    limit("component.wal", "log alone ÷ facade off", Some(1.05), 1.0, On::Disk),
    limit("component.trace", "tracing alone ÷ facade off", Some(1.15), 1.03, On::Memory),
    limit("component.metrics", "scraper alone ÷ facade off", Some(1.05), 1.0, On::Memory),
    limit("component.blackbox", "black box alone ÷ facade off", Some(1.05), 1.0, On::Memory),
];

/// Whether these pairs tell if the bar holds; what has no bar is told by any.
pub fn is_told(id: &str, ratios: &[f64]) -> bool {
    let bar = LIMITS.iter().find(|limit| limit.id == id).and_then(|limit| limit.bar);
    bar.is_none_or(|bar| Ratio::of(ratios).is_some_and(|ratio| ratio.judge(bar).is_some()))
}

/// All bars of the phases that ran.
pub fn bars(phases: &Phases, grounds: &Grounds) -> Vec<Bar> {
    LIMITS.iter().map(|limit| measured(limit, phases, grounds)).collect()
}

fn measured(limit: &Limit, phases: &Phases, grounds: &Grounds) -> Bar {
    let full = phases.full.as_ref();
    let ratio = full.and_then(|full| full.ratios.get(limit.id));
    let value = match limit.id {
        "P2d" => full.map(durable_ms),
        "P8" => phases.baseline.as_ref().map(|baseline| baseline.bytes_per_token),
        _ => ratio.map(|ratio| ratio.median),
    };
    let asleep = limit.id == "P2s" && full.is_some_and(|full| !enough(&full.steady));
    let judged =
        limit.bar.filter(|_| grounds.allow(limit.on) && !asleep).and_then(|bar| match ratio {
            Some(ratio) => ratio.judge(bar),
            None => value.map(|value| value <= bar),
        });
    Bar {
        id: limit.id,
        title: limit.title,
        value,
        interval: ratio.map(|ratio| ratio.interval),
        pairs: ratio.map(|ratio| ratio.pairs),
        bar: limit.bar,
        goal: Some(limit.goal),
        pass: judged,
    }
}

fn durable_ms(full: &Full) -> f64 {
    full.durable_after_ns as f64 / 1e6
}

/// Whether every background part had enough to do in the steady state for its ratio to count.
fn enough(steady: &Steady) -> bool {
    steady.seconds >= 10.0
        && steady.metrics_scrapes >= 80
        && steady.wal_syncs >= 80
        && steady.controller_steps >= 10
        && steady.spans_dropped == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(filesystem: &str) -> Machine {
        Machine {
            cpu: String::new(),
            cores: 2,
            memory_bytes: 0,
            kernel: String::new(),
            filesystem: filesystem.into(),
            thp: String::new(),
            clock_step_ns: 0,
        }
    }

    fn grounds(tokens: &str, filesystem: &str) -> Grounds {
        use clap::Parser;
        let args = crate::args::Args::try_parse_from(["ng-stress", "--tokens", tokens]);
        let plan = Plan::new(&args.expect("parsed"));
        Grounds::of(&plan, &machine(filesystem))
    }

    #[test]
    fn a_full_run_on_a_disk_is_judged_and_nothing_else_is() {
        let judged = |tokens, filesystem| {
            [On::Memory, On::Disk].map(|on| grounds(tokens, filesystem).allow(on))
        };
        assert_eq!(judged("9500000", "ext4"), [true, true]);
        assert_eq!(judged("9500000", "tmpfs"), [true, false]);
        assert_eq!(judged("9500000", "overlay"), [true, false]);
        assert_eq!(judged("9499999", "ext4"), [false, false]);
        assert_eq!(grounds("1000", "9p").reasons(&[], None).len(), 2);
    }

    #[test]
    fn pairs_that_cannot_tell_are_not_judged_and_the_reason_has_their_interval() {
        let wide = [1.0, 1.1, 1.15, 1.25, 1.4];
        assert!(!is_told("P2", &wide) && is_told("P2", &[1.1; 5]) && is_told("P2", &[1.3; 5]));
        assert!(is_told("facade_off", &wide), "it has no bar");
        let bar = Bar {
            id: "P2",
            title: "",
            value: Some(1.15),
            interval: Some([1.05, 1.25]),
            pairs: Some(31),
            bar: Some(1.2),
            goal: None,
            pass: None,
        };
        let reasons =
            |filesystem| grounds("9500000", filesystem).reasons(std::slice::from_ref(&bar), None);
        assert!(reasons("ext4")[0].contains("P2: the 95 % interval, 1.050 to 1.250"));
        assert_eq!(reasons("tmpfs").len(), 1, "the disk alone");
        let few = Bar { pairs: Some(1), interval: Some([1.15; 2]), ..bar.clone() };
        let said = grounds("9500000", "ext4").reasons(&[few], None);
        assert_eq!(said, ["too few pairs for P2: 1, at least 5"]);
    }

    /// Said a second time: a slip in the table shows.
    #[test]
    fn the_bars_are_those_in_force() {
        let in_force = [
            ("P2", Some(1.20), Some(1.10)),
            ("P2s", Some(1.08), Some(1.02)),
            ("P2c", Some(1.30), Some(1.1)),
            ("P2t", Some(1.20), Some(1.08)),
            ("P2d", None, Some(110.0)),
            ("P8", Some(64.5), Some(64.02)),
            ("component.guardian", Some(1.05), Some(1.0)),
            ("component.wal", Some(1.05), Some(1.0)),
            ("component.trace", Some(1.15), Some(1.03)),
            ("component.metrics", Some(1.05), Some(1.0)),
            ("component.blackbox", Some(1.05), Some(1.0)),
        ];
        let bars = bars(&Phases::default(), &grounds("9500000", "ext4"));
        let found: Vec<_> = bars.iter().map(|bar| (bar.id, bar.bar, bar.goal)).collect();
        assert_eq!(found, in_force);
    }

    #[test]
    fn figures_that_were_not_measured_are_null_and_not_judged() {
        let bars = bars(&Phases::default(), &grounds("9500000", "ext4"));
        assert!(bars.iter().all(|bar| bar.value.is_none() && bar.pass.is_none()));
        assert!(bars.iter().any(|bar| bar.id == "P8"));
    }
}
