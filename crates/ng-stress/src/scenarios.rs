//! What the four phases leave out, one load at a time (`--scenario`): each is run by itself, checks what it did, and
//! reports its figures beside its checks. No bar judges them.

mod churn;
mod every;
mod held;
mod pressure;
mod slope;
mod soak;
mod storm;
mod two_threads;

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::args::ScenarioArg;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::report::Check;

pub use slope::Slope;

/// What one scenario did.
#[derive(Debug, Default, Serialize)]
pub struct Scenario {
    /// In a sentence.
    pub about: &'static str,
    /// All of it, setting up and reading back included.
    pub seconds: f64,
    /// By name; the unit is the name's last word.
    pub figures: BTreeMap<&'static str, f64>,
    /// How figures moved over the time of the load.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub slopes: BTreeMap<&'static str, Slope>,
    /// The same over time, some hundred points at most: seconds since the load began, and the value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub series: BTreeMap<&'static str, Vec<[f64; 2]>>,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// Figures and slopes of a load.
#[derive(Debug, Default)]
struct Told {
    figures: BTreeMap<&'static str, f64>,
    slopes: BTreeMap<&'static str, Slope>,
    series: BTreeMap<&'static str, Vec<[f64; 2]>>,
}

impl Told {
    fn figure(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }
}

/// Runs one.
pub fn run(lab: &Lab<'_>, scenario: ScenarioArg) -> Result<Scenario, Failure> {
    let name = scenario.as_str();
    lab.progress.notice(&format!("scenario {name}"));
    let (begin, mut checks, mut told) = (Instant::now(), Checks::default(), Told::default());
    let load = match scenario {
        ScenarioArg::TwoThreads => two_threads::run,
        ScenarioArg::Every => every::run,
        ScenarioArg::Churn => churn::run,
        ScenarioArg::Storm => storm::run,
        ScenarioArg::Pressure => pressure::run,
        ScenarioArg::Soak => soak::run,
    };
    load(lab, &mut checks, &mut told)?;
    Ok(Scenario {
        about: about(scenario),
        seconds: begin.elapsed().as_secs_f64(),
        figures: told.figures,
        slopes: told.slopes,
        series: told.series,
        checks: checks.into_vec(),
    })
}

fn about(scenario: ScenarioArg) -> &'static str {
    match scenario {
        ScenarioArg::TwoThreads => {
            "creators on several cores, beside the arena, every token read back"
        }
        ScenarioArg::Every => {
            "each token logged, beside the arena, then the store closed and opened again"
        }
        ScenarioArg::Churn => {
            "deletes and creates at 95 % of the quota, each logged, then the store opened again"
        }
        ScenarioArg::Storm => {
            "many threads at a small quota, sessions opened and dropped all the time"
        }
        ScenarioArg::Pressure => {
            "quotas lowered and raised while tokens are alive, half of them logged"
        }
        ScenarioArg::Soak => "a steady load for minutes: what grows, and how surely",
    }
}
