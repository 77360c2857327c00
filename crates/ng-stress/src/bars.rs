//! The bars: what is measured beside what it should be. A bar is judged only where the figure means
//! what the bar means; everywhere else its `pass` is null and the table prints "not judged".

use crate::machine::Machine;
use crate::plan::{JUDGED_TOKENS, Plan};
use crate::report::{Bar, Full, Phases, Steady};

/// What was too noisy to judge by, each with its reason.
#[derive(Clone, Debug, Default)]
pub struct Noise {
    /// The full stack beside the arena.
    pub pairs: Option<String>,
    /// The same in steady state.
    pub steady: Option<String>,
}

/// Why figures are not judged, if they are not.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// For none of them: too few tokens.
    size: Option<String>,
    /// For no figure of time in the group: the machine was too noisy.
    noise: Noise,
    /// For no figure that includes the log: its file system has no disk.
    disk: Option<String>,
}

impl Grounds {
    /// What speaks against judging this run.
    pub fn of(plan: &Plan, machine: &Machine, noise: Noise) -> Self {
        let size = (plan.tokens < JUDGED_TOKENS)
            .then(|| format!("bars are judged from {JUDGED_TOKENS} tokens on"));
        let disk = (!machine.has_a_disk())
            .then(|| format!("--dir is on {}, where a sync reaches no disk", machine.filesystem));
        Self { size, noise, disk }
    }

    /// All reasons.
    pub fn reasons(&self) -> Vec<String> {
        let Noise { pairs, steady } = &self.noise;
        [&self.size, pairs, steady, &self.disk].into_iter().flatten().cloned().collect()
    }

    fn allow(&self, kind: Kind) -> bool {
        let quiet = self.noise.pairs.is_none();
        let disk = self.disk.is_none();
        self.size.is_none()
            && match kind {
                Kind::Memory => true,
                Kind::Time => quiet,
                Kind::TimeWithLog => quiet && disk,
                Kind::Steady => disk && self.noise.steady.is_none(),
            }
    }
}

/// What a figure depends on.
#[derive(Clone, Copy)]
enum Kind {
    Memory,
    Time,
    TimeWithLog,
    Steady,
}

/// All bars of the phases that ran.
pub fn bars(phases: &Phases, grounds: &Grounds) -> Vec<Bar> {
    let bar = |id, title, value: Option<f64>, limits: [Option<f64>; 2], kind| {
        let [bar, goal] = limits;
        let judged = value.zip(bar).filter(|_| grounds.allow(kind));
        Bar { id, title, value, bar, goal, pass: judged.map(|(value, bar)| value <= bar) }
    };
    let full = phases.full.as_ref();
    let of_full = |figure: fn(&Full) -> f64| full.map(figure);
    let log = Kind::TimeWithLog;
    let both = |bar, goal| [Some(bar), Some(goal)];
    let p8 = phases.baseline.as_ref().map(|baseline| baseline.bytes_per_token);
    let mut steady = bar(
        "P2s",
        "steady state, full ÷ baseline",
        of_full(|f| f.steady.overhead_ratio),
        both(1.08, 1.02),
        Kind::Steady,
    );
    if full.is_some_and(|full| !enough(&full.steady)) {
        steady.pass = None;
    }
    let component = 1.05;
    vec![
        bar("P2", "full ÷ baseline", of_full(|f| f.overhead_ratio), both(1.20, 1.10), log),
        steady,
        bar(
            "P2c",
            "processor time, full ÷ baseline",
            of_full(|f| f.cpu_ratio),
            both(1.30, 1.1),
            log,
        ),
        bar(
            "P2t",
            "creators on all cores, full ÷ baseline",
            full.and_then(|f| f.two_thread_ratio),
            both(1.20, 1.08),
            log,
        ),
        bar("P2d", "last create to all durable, ms", of_full(durable_ms), [None, Some(110.0)], log),
        bar("P8", "bytes of memory a token", p8, both(64.5, 64.02), Kind::Memory),
        bar(
            "component.guardian",
            "guardian alone ÷ facade off",
            of_full(|f| f.components.guardian),
            both(component, 1.0),
            Kind::Time,
        ),
        bar(
            "component.wal",
            "log alone ÷ facade off",
            of_full(|f| f.components.wal),
            both(component, 1.0),
            log,
        ),
        bar(
            "component.trace",
            "tracing alone ÷ facade off",
            of_full(|f| f.components.trace),
            both(1.15, 1.03),
            Kind::Time,
        ),
        bar(
            "component.metrics",
            "scraper alone ÷ facade off",
            of_full(|f| f.components.metrics),
            both(component, 1.0),
            Kind::Time,
        ),
        bar(
            "component.blackbox",
            "black box alone ÷ facade off",
            of_full(|f| f.components.blackbox),
            both(component, 1.0),
            Kind::Time,
        ),
    ]
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
        }
    }

    fn grounds(tokens: &str, filesystem: &str, noise: Noise) -> Grounds {
        use clap::Parser;
        let args = crate::args::Args::try_parse_from(["ng-stress", "--tokens", tokens]);
        let plan = Plan::new(&args.expect("parsed"));
        Grounds::of(&plan, &machine(filesystem), noise)
    }

    #[test]
    fn a_full_run_on_a_quiet_disk_is_judged_and_nothing_else_is() {
        let judged = |g: &Grounds| {
            [Kind::Memory, Kind::Time, Kind::TimeWithLog, Kind::Steady].map(|kind| g.allow(kind))
        };
        let noisy = || Some("noisy".to_owned());
        let [quiet, pairs, steady] = [
            Noise::default(),
            Noise { pairs: noisy(), ..Noise::default() },
            Noise { steady: noisy(), ..Noise::default() },
        ];
        let on = |filesystem, noise: &Noise| judged(&grounds("9500000", filesystem, noise.clone()));
        assert_eq!(on("ext4", &quiet), [true, true, true, true]);
        assert_eq!(on("tmpfs", &quiet), [true, true, false, false]);
        assert_eq!(on("overlay", &quiet), [true, true, false, false]);
        assert_eq!(on("ext4", &pairs), [true, false, false, true]);
        assert_eq!(on("ext4", &steady), [true, true, true, false]);
        assert_eq!(judged(&grounds("9499999", "ext4", quiet)), [false; 4]);
        assert_eq!(grounds("1000", "9p", pairs).reasons().len(), 3);
    }

    /// The project's bars and goals, in one place.
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
        let bars = bars(&Phases::default(), &grounds("9500000", "ext4", Noise::default()));
        let found: Vec<_> = bars.iter().map(|bar| (bar.id, bar.bar, bar.goal)).collect();
        assert_eq!(found, in_force);
    }

    #[test]
    fn figures_that_were_not_measured_are_null_and_not_judged() {
        let bars = bars(&Phases::default(), &grounds("9500000", "ext4", Noise::default()));
        assert!(bars.iter().all(|bar| bar.value.is_none() && bar.pass.is_none()));
        assert!(bars.iter().any(|bar| bar.id == "P8"));
    }
}
