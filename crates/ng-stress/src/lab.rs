//! What every phase gets: the plan, the tokens, a place for files, and where progress goes.

use crate::machine::Machine;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::Check;
use crate::workdir::WorkDir;
use crate::workload::Workload;

/// Handed to each phase.
#[derive(Debug)]
pub struct Lab<'a> {
    /// What was asked for.
    pub plan: &'a Plan,
    /// The tokens.
    pub workload: Workload,
    /// For stores.
    pub workdir: &'a WorkDir,
    /// For bars and notices.
    pub progress: &'a Progress,
    /// Where this runs.
    pub machine: &'a Machine,
}

/// Up to this rate no span may be lost: a tenth of 25 million creates a second is what the drain is
/// built to keep up with. Above, what is lost is counted and shown.
const LOSSLESS_RATE_MAX: f64 = 0.1;

impl Lab<'_> {
    /// Notes that no span was dropped, where that is promised.
    pub fn none_dropped(&self, phase: &str, dropped: u64, checks: &mut Checks) {
        if self.plan.sample_rate <= LOSSLESS_RATE_MAX {
            checks.equal(format!("{phase}: spans dropped"), dropped, 0);
        }
    }
}

/// The checks of a phase, in the order in which they were made.
#[derive(Debug, Default)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Notes that `name` holds or not; `detail` has the figures.
    pub fn that(&mut self, name: impl Into<String>, pass: bool, detail: impl Into<String>) {
        self.0.push(Check { name: name.into(), pass, detail: detail.into() });
    }

    /// An activity counter that is 0 means that a part slept through its own measurement.
    pub fn active(&mut self, phase: &str, what: &str, count: u64) {
        let detail = format!("found {count}, expected at least 1");
        self.that(format!("{phase}: {what} is not 0"), count > 0, detail);
    }

    /// Two figures that must be the same.
    pub fn equal(&mut self, name: impl Into<String>, found: u64, expected: u64) {
        self.that(name, found == expected, format!("found {found}, expected {expected}"));
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Check> {
        self.0
    }
}
