//! Many threads at a small quota, each with sessions that it opens and drops all the time, creating until it is refused and
//! then deleting. Afterwards one thread alone finds the quota where the model has it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Builder, scope};
use std::time::Instant;

use neurograph::{CreateError, Store};

use super::Told;
use super::held::Held;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::subject::{self, Parts};
use crate::workload::Workload;

const STORE: &str = "storm";
/// Creates of one session, and of one thread between two rounds of deletes.
const BY_SESSION: u64 = 256;
/// Most that the quota has for each thread. Threads that are never refused would come to hold half of a session's creates
/// each at least, so that some are refused for sure.
const QUOTA_EACH_MAX: u64 = BY_SESSION * 3 / 8;
/// Creates that are tried once the quota is reached.
const TRIED: u64 = 1_000;
/// Each thread's tokens have numbers of their own.
const NUMBERS: u64 = 1 << 40;

/// What one thread did.
#[derive(Debug, Default)]
struct Did {
    held: Held,
    created: u64,
    refused: u64,
    deleted: u64,
    sessions: u64,
    /// Any other answer than a refusal by the quota: the number, and the first.
    other: u64,
    first_other: Option<String>,
}

/// Runs the load.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let threads = lab.plan.threads;
    let each = lab.plan.tokens / threads as u64;
    let quota = threads as u64 * (each / 4).clamp(1, QUOTA_EACH_MAX);
    let store = subject::store(lab.plan, Parts::ALL, threads, &lab.workdir.join(STORE))?;
    store.set_aggressive_cleanup(false);
    store.set_limits(Some(quota), None);
    let bar = lab.progress.bar("storm", "threads done", threads as u64);
    let begin = Instant::now();
    let (did, most) = blow(&store, &lab.workload, threads, each, || bar.step())?;
    let seconds = begin.elapsed().as_secs_f64();

    let sum = |of: fn(&Did) -> u64| did.iter().map(of).sum::<u64>();
    let (created, deleted, sessions) =
        (sum(|did| did.created), sum(|did| did.deleted), sum(|did| did.sessions));
    told.figure("threads_count", threads as f64);
    told.figure("sessions_count", sessions as f64);
    told.figure("creates_per_s", created as f64 / seconds);
    told.figure("refused_count", sum(|did| did.refused) as f64);
    told.figure("most_alive_tokens", most as f64);
    checks.that(
        "storm: never more alive than the quota",
        most <= quota,
        format!("found {most}, expected at most {quota}"),
    );
    let refused = sum(|did| did.refused);
    checks.that(
        "storm: the quota refused some creates",
        refused > 0,
        format!("found {refused}, expected at least 1"),
    );
    let first = did.iter().find_map(|did| did.first_other.as_deref()).unwrap_or("none");
    let other = sum(|did| did.other);
    checks.that(
        "storm: no create or delete failed but by the quota",
        other == 0,
        format!("found {other}, expected 0; the first: {first}"),
    );
    let mut held = Held::default();
    did.into_iter().for_each(|did| held.append(did.held));
    checks.equal("storm: alive, says the store", store.len(), held.len());
    checks.equal("storm: created less deleted", created - deleted, held.len());

    let mut session = store.session();
    let mut numbers = NUMBERS * threads as u64..;
    let mut admitted = 0;
    for number in numbers.by_ref().take((quota - held.len() + TRIED) as usize) {
        match session.create(&lab.workload.token(number)) {
            Ok(id) => {
                admitted += 1;
                held.created(id, number);
            }
            Err(CreateError::QuotaExceeded { .. }) => {}
            Err(error) => return Err(Failure::subject("storm: a create at the quota")(error)),
        }
    }
    let room = quota - (held.len() - admitted);
    checks.equal("storm: afterwards one thread is admitted up to the quota", admitted, room);
    held.check("storm", &lab.workload, |id| session.get(id), store.iter(), checks);
    drop(session);
    store.close().map_err(Failure::subject("cannot close the store"))?;
    lab.workdir.remove(STORE)
}

/// All threads, and the most tokens that were seen alive meanwhile.
fn blow(
    store: &Store,
    workload: &Workload,
    threads: usize,
    each: u64,
    done: impl Fn() + Sync,
) -> Result<(Vec<Did>, u64), Failure> {
    let (stop, done) = (AtomicBool::new(false), &done);
    scope(|scope| {
        let watch = || {
            let mut most = 0;
            while !stop.load(Relaxed) {
                most = most.max(store.len());
                std::thread::yield_now();
            }
            most
        };
        let cannot =
            |error| Failure::Environment(format!("cannot start {threads} threads: {error}"));
        let watching = Builder::new().spawn_scoped(scope, watch).map_err(cannot)?;
        let mut running = Vec::new();
        for thread in 0..threads {
            let storm = move || {
                let did = one(store, workload, thread as u64, each);
                done();
                did
            };
            match Builder::new().spawn_scoped(scope, storm) {
                Ok(started) => running.push(started),
                Err(error) => {
                    stop.store(true, Relaxed);
                    return Err(cannot(error));
                }
            }
        }
        let did = running.into_iter().map(|thread| thread.join());
        let did = did.collect::<Result<Vec<Did>, _>>();
        stop.store(true, Relaxed);
        let most = watching.join();
        match (did, most) {
            (Ok(did), Ok(most)) => Ok((did, most.max(store.len()))),
            (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
        }
    })
}

fn one(store: &Store, workload: &Workload, thread: u64, creates: u64) -> Did {
    let mut did = Did::default();
    let mut rng = fastrand::Rng::with_seed(thread);
    let mut number = thread * NUMBERS;
    let end = number + creates;
    while number < end {
        let mut session = store.session();
        did.sessions += 1;
        for _ in 0..BY_SESSION.min(end - number) {
            match session.create(&workload.token(number)) {
                Ok(id) => {
                    did.created += 1;
                    did.held.created(id, number);
                }
                Err(CreateError::QuotaExceeded { .. }) => did.refused += 1,
                Err(error) => did.failed(&error.to_string()),
            }
            number += 1;
        }
        for _ in 0..did.held.len() / 2 {
            let place = rng.usize(..);
            let Some(victim) = did.held.victim(place) else { break };
            match session.delete(victim) {
                Ok(()) => {
                    did.deleted += 1;
                    did.held.deleted(place);
                }
                Err(error) => did.failed(&error.to_string()),
            }
        }
    }
    did
}

impl Did {
    fn failed(&mut self, error: &str) {
        self.other += 1;
        self.first_other.get_or_insert_with(|| error.to_owned());
    }
}
