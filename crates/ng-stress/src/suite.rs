//! The run as a whole: look, make room, run the phases, judge, report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bars::{Grounds, bars};
use crate::failure::Failure;
use crate::floors;
use crate::interrupt;
use crate::lab::{Checks, Lab};
use crate::machine::{Machine, MachineTime, git_hash};
use crate::page;
use crate::phases;
use crate::plan::{Plan, target_dir};
use crate::preflight;
use crate::progress::Progress;
use crate::report::{Check, PROVES, Phases, Report, RunConfig, SCHEMA, now_rfc3339, reference};
use crate::scenarios::{self, Scenario};
use crate::workdir::WorkDir;
use crate::workload::Workload;

/// A run that has found what it needs and has its two directories.
pub struct Prepared {
    started: String,
    workdir: WorkDir,
    out: OutDir,
}

/// Looks before the first allocation; makes the directories last, so that a refusal leaves nothing.
pub fn prepare(plan: &Plan) -> Result<Prepared, Failure> {
    preflight::check(plan)?;
    interrupt::install()?;
    let started = now_rfc3339();
    let workdir = WorkDir::create(&plan.dir)?;
    let out = OutDir::create(plan, &started)?;
    Ok(Prepared { started, workdir, out })
}

/// Runs everything that `plan` asks for. The directory is that of the report.
pub fn run(plan: &Plan, prepared: Prepared) -> Result<(Report, PathBuf), Failure> {
    let Prepared { started, workdir, out } = prepared;
    let begin = MachineTime::now();
    let machine = Machine::look(&plan.dir);
    let progress = Progress::new(plan.notices, plan.line_every);
    let workload = Workload::new(plan.seed, plan.persist);
    let lab = Lab { plan, workload, workdir: &workdir, progress: &progress, machine: &machine };

    let mut checks = Checks::default();
    let phases = Phases {
        baseline: if plan.phases.baseline {
            warm_up(&lab)?;
            Some(phases::baseline::run(&lab, &mut checks)?)
        } else {
            None
        },
        full: if plan.phases.full {
            if !plan.phases.baseline {
                warm_up(&lab)?;
            }
            Some(phases::full::run(&lab, &mut checks)?)
        } else {
            None
        },
        recovery: if plan.phases.recovery {
            Some(phases::recovery::run(&lab, &mut checks)?)
        } else {
            None
        },
        tracing: if plan.phases.tracing {
            Some(phases::tracing::run(&lab, &mut checks)?)
        } else {
            None
        },
    };
    let mut scenarios = BTreeMap::new();
    if let Some(scenario) = plan.scenario {
        warm_up(&lab)?;
        scenarios.insert(scenario.as_str(), scenarios::run(&lab, scenario)?);
    }
    let grounds = Grounds::of(plan, &machine);
    let bars = bars(&phases, &grounds);
    let report = Report {
        schema: SCHEMA,
        proves: PROVES,
        version: env!("CARGO_PKG_VERSION"),
        git: git_hash(),
        started,
        ended: now_rfc3339(),
        seed: plan.seed,
        config: RunConfig {
            tokens: plan.tokens,
            threads: plan.threads,
            persist: plan.persist,
            durability: plan.durability.as_str(),
            sample_rate: plan.sample_rate,
            runs: plan.runs,
            max_memory_bytes: plan.max_memory_bytes(plan.threads),
        },
        command: plan.command(),
        not_judged: match plan.scenario {
            Some(_) => Vec::new(),
            None => grounds.reasons(&bars, phases.full.as_ref()),
        },
        bars,
        phases,
        checks: all_checks(checks, &scenarios),
        scenarios,
        reference: reference(),
        machine,
        stolen_share: MachineTime::now().zip(begin).map(|(end, begin)| end.stolen_since(begin)),
    };
    report.write(out.path())?;
    page::write(&report, out.path())?;
    Ok((report, out.keep()))
}

/// Those of the phases and of a scenario: one list for whoever asks whether all hold.
fn all_checks(checks: Checks, scenarios: &BTreeMap<&'static str, Scenario>) -> Vec<Check> {
    let of_scenarios = scenarios.values().flat_map(|scenario| scenario.checks.clone());
    checks.into_vec().into_iter().chain(of_scenarios).collect()
}

fn warm_up(lab: &Lab<'_>) -> Result<(), Failure> {
    let _bar = lab.progress.bar("warm-up", "first touch of the memory, thrown away", 1);
    floors::back_memory(lab.plan.tokens)
}

/// The report's directory; goes again if there is no report in it at the end.
struct OutDir(PathBuf);

impl OutDir {
    fn create(plan: &Plan, started: &str) -> Result<Self, Failure> {
        let path = plan.out.clone().unwrap_or_else(|| default_out(&target_dir(), started));
        let refused =
            |e| Failure::Environment(format!("cannot write in --out {}: {e}", path.display()));
        let mut owned = interrupt::owned();
        let is_new = !path.exists();
        std::fs::create_dir_all(&path).map_err(refused)?;
        let path = path.canonicalize().map_err(refused)?;
        if is_new {
            owned.out = Some(path.clone());
        } else {
            // Not ours to remove, but it must be writable: better to learn that now than at the end.
            tempfile::NamedTempFile::new_in(&path).map_err(refused)?;
        }
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// There is a report in it.
    fn keep(self) -> PathBuf {
        interrupt::owned().out = None;
        self.0.clone()
    }
}

impl Drop for OutDir {
    fn drop(&mut self) {
        if let Some(out) = interrupt::owned().out.take() {
            // Refused unless it is empty, as it should be.
            let _ = std::fs::remove_dir(out);
        }
    }
}

/// `stress/<time>`, with a time that every file system takes for a name, in the target directory.
fn default_out(target: &Path, started: &str) -> PathBuf {
    let seconds = started.split('.').next().unwrap_or(started);
    target.join("stress").join(seconds.replace(':', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_report_directory_has_the_time_in_its_name() {
        let out = default_out(Path::new("target"), "2026-01-02T03:04:05.678Z");
        assert_eq!(out, Path::new("target/stress/2026-01-02T03-04-05"));
    }
}
