//! Quotas lowered below what is alive, and raised again. Cleanup may evict what a restart would lose anyway, and nothing
//! else; what it evicts is told; a store with nothing to evict refuses.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use neurograph::{CreateError, Session, Store, TokenId};

use super::Told;
use crate::activity::page_value;
use crate::failure::Failure;
use crate::lab::{Checks, Lab};
use crate::subject;
use crate::workload::Workload;

const STORE: &str = "pressure";
/// Each so many tokens one is logged.
const LOGGED_EACH: u64 = 2;
/// Longest wait for a cleanup; it needs milliseconds for each million tokens.
const CLEANED_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Creates that are tried where there is no room.
const TRIED: u64 = 1_000;

/// Runs the load.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let tokens = lab.plan.tokens;
    let workload = Workload::new(lab.plan.seed, LOGGED_EACH);
    let evicted = Arc::new(Mutex::new(BTreeSet::new()));
    let observe = {
        let evicted = Arc::clone(&evicted);
        move |id: TokenId| {
            evicted.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        }
    };
    let store = subject::pressed_store(lab.plan, &lab.workdir.join(STORE), observe)?;
    let mut session = store.session();
    let bar = lab.progress.bar("pressure", "steps", 4);
    let mut ids = Vec::new();
    for token in workload.stream(0..tokens) {
        let id = session.create(&token).map_err(Failure::subject("pressure: a create"))?;
        ids.push(id);
    }
    let logged: Vec<TokenId> = ids.iter().copied().step_by(LOGGED_EACH as usize).collect();
    let is_alive = |session: &Session, ids: &[TokenId]| {
        ids.iter().filter(|id| session.get(**id).is_some()).count() as u64
    };
    bar.step();

    // Six tenths have room for all that is logged, and for a fifth of the rest.
    let limit = tokens / 10 * 6;
    let seconds = lowered(&store, limit, |live| live <= limit)?;
    told.figure("cleanup_to_60_percent_s", seconds);
    let alive = is_alive(&session, &logged);
    checks.equal("pressure: logged tokens alive above them", alive, logged.len() as u64);
    bar.step();

    // Four tenths have not: all that is not logged goes, nothing else, and the store refuses.
    let seconds = lowered(&store, tokens / 10 * 4, |live| live <= logged.len() as u64)?;
    told.figure("cleanup_to_40_percent_s", seconds);
    let alive = is_alive(&session, &logged);
    checks.equal("pressure: logged tokens alive below them", alive, logged.len() as u64);
    checks.equal("pressure: tokens alive", store.len(), logged.len() as u64);
    let refused = refused(&mut session, &workload, tokens)?;
    checks.equal("pressure: creates refused without room", refused, TRIED);
    bar.step();

    store.set_limits(Some(2 * tokens), None);
    let again = TRIED - self::refused(&mut session, &workload, tokens + TRIED)?;
    checks.equal("pressure: creates admitted once the quota is raised", again, TRIED);
    let seen = evicted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let gone = tokens - logged.len() as u64;
    told.figure("evicted_count", seen.len() as f64);
    checks.equal("pressure: evictions that the observer was told of", seen.len() as u64, gone);
    let of_logged = logged.iter().filter(|id| seen.contains(id)).count() as u64;
    checks.equal("pressure: logged tokens among them", of_logged, 0);
    checks.equal("pressure: evicted, says the store", store.stats().guardian.evicted_total, gone);
    let page = page_value(&store.metrics_text(), "neurograph_evictions_total");
    checks.that(
        "pressure: evicted, says the metrics page",
        page == Some(gone as f64),
        format!("found {}, expected {gone}", page.unwrap_or(0.0)),
    );
    bar.step();
    drop(session);
    store.close().map_err(Failure::subject("cannot close the store"))?;
    lab.workdir.remove(STORE)
}

/// Lowers the quota and waits until the store has as few tokens as `is_done` says.
fn lowered(store: &Store, limit: u64, is_done: impl Fn(u64) -> bool) -> Result<f64, Failure> {
    store.set_limits(Some(limit), None);
    let begin = Instant::now();
    while !is_done(store.len()) {
        if begin.elapsed() > CLEANED_WITHIN {
            let (live, seconds) = (store.len(), CLEANED_WITHIN.as_secs());
            return Err(Failure::Broken(format!(
                "pressure: {live} tokens are alive {seconds} s after the quota was lowered to {limit}"
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(begin.elapsed().as_secs_f64())
}

/// Of some creates, those that the quota refused.
fn refused(session: &mut Session, workload: &Workload, from: u64) -> Result<u64, Failure> {
    let mut refused = 0;
    // Odd numbers alone: none is logged.
    for number in (from | 1..).step_by(LOGGED_EACH as usize).take(TRIED as usize) {
        match session.create(&workload.token(number)) {
            Ok(_) => {}
            Err(CreateError::QuotaExceeded { .. }) => refused += 1,
            Err(error) => return Err(Failure::subject("pressure: a create at the quota")(error)),
        }
    }
    Ok(refused)
}
