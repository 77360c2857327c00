//! Deletes and creates at 95 % of the quota, each of them logged. A model says what must be alive, then and after the store
//! is opened again.

use std::time::Instant;

use super::Told;
use super::held::Held;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::subject::{self, Parts, log_records};
use crate::usage;

const STORE: &str = "churn";
/// Pairs between two looks at memory.
const LOOK_EACH: u64 = 4096;

/// Runs the load: as many deletes and creates as half the tokens.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let dir = lab.workdir.join(STORE);
    let (alive, pairs) = (lab.plan.tokens / 100 * 95, lab.plan.tokens / 2);
    let bar = lab.progress.bar("churn", "created, then deleted and created", alive + pairs);
    let store = subject::store(lab.plan, Parts::ALL, 1, &dir)?;
    let mut session = store.session();
    let mut held = Held::default();
    let refused = || Failure::subject("churn: a create below the quota");
    for number in 0..alive {
        held.created(session.create(&lab.workload.token(number)).map_err(refused())?, number);
        if number.is_multiple_of(LOOK_EACH) {
            bar.steps(LOOK_EACH.min(alive - number));
        }
    }
    let mut rng = fastrand::Rng::with_seed(lab.plan.seed);
    let (full_bytes, mut most_bytes) = (usage::rss_bytes(), 0);
    let begin = Instant::now();
    for pair in 0..pairs {
        let place = rng.usize(..);
        let Some(victim) = held.victim(place) else { break };
        session.delete(victim).map_err(Failure::subject("churn: a delete of a live token"))?;
        held.deleted(place);
        let number = alive + pair;
        held.created(session.create(&lab.workload.token(number)).map_err(refused())?, number);
        if pair.is_multiple_of(LOOK_EACH) {
            bar.steps(LOOK_EACH.min(pairs - pair));
            if pair.is_multiple_of(64 * LOOK_EACH) {
                most_bytes = most_bytes.max(usage::rss_bytes());
            }
        }
    }
    store.sync().map_err(Failure::subject("cannot sync the store"))?;
    let ns = begin.elapsed().as_nanos() as f64;
    told.figure("delete_and_create_ns", ns / pairs.max(1) as f64);
    told.figure("pairs_count", pairs as f64);
    let grown = most_bytes.max(usage::rss_bytes()).saturating_sub(full_bytes);
    // The log's buffers, the recorder's file and spans that wait are no part of the tokens.
    let may = full_bytes / 20 + (32 << 20);
    checks.that(
        "churn: memory grows by no more than a twentieth and 32 MiB",
        grown <= may,
        format!("found {grown} bytes, expected at most {may}"),
    );
    checks.equal("churn: evicted", store.stats().guardian.evicted_total, 0);
    held.check("churn", &lab.workload, |id| session.get(id), store.iter(), checks);
    drop(session);
    store.close().map_err(Failure::subject("cannot close the store"))?;
    let (records, errors) = log_records(&dir)?;
    checks.equal("churn: token records in the log", records, alive + 2 * pairs);
    checks.equal("churn: records that the log's reader refused", errors, 0);

    let store = subject::store(lab.plan, Parts::ALL, 1, &dir)?;
    let session = store.session();
    held.check("churn, opened again", &lab.workload, |id| session.get(id), store.iter(), checks);
    drop(session);
    store.close().map_err(Failure::subject("cannot close the store"))?;
    lab.workdir.remove(STORE)
}
