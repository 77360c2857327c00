//! Each token logged: the cost beside the arena, the bytes on the disk, and the opening of what was closed.

use std::time::Instant;

use super::{Told, two_threads};
use crate::failure::Failure;
use crate::fill::fill;
use crate::lab::{Checks, Lab};
use crate::readback::Readback;
use crate::subject::{self, Parts};

const STORE: &str = "every";

/// Runs the load.
pub fn run(lab: &Lab<'_>, checks: &mut Checks, told: &mut Told) -> Result<(), Failure> {
    let headline = two_threads::measure(lab, checks)?;
    two_threads::pairs(lab, &headline, told);
    told.figure("last_create_to_durable_ms", headline.durable_ms());

    let (dir, tokens) = (lab.workdir.join(STORE), lab.plan.tokens);
    let store = subject::store(lab.plan, Parts::ALL, 1, &dir)?;
    let mut sessions = [store.session()];
    let begin = Instant::now();
    let filled = fill("every", &mut sessions, &lab.workload, 0..tokens, true, || {})?;
    store.sync().map_err(Failure::subject("cannot sync the store"))?;
    told.figure("logged_and_durable_token_ns", begin.elapsed().as_nanos() as f64 / tokens as f64);
    let bytes = store.stats().wal.map_or(0, |wal| wal.written_bytes_total);
    told.figure("log_token_bytes", bytes as f64 / tokens as f64);
    drop(sessions);
    store.close().map_err(Failure::subject("cannot close the store"))?;

    let begin = Instant::now();
    let store = subject::store(lab.plan, Parts::ALL, 1, &dir)?;
    let seconds = begin.elapsed().as_secs_f64();
    told.figure("opening_ms", seconds * 1e3);
    told.figure("recovered_tokens_per_s", tokens as f64 / seconds);
    checks.equal("every: tokens recovered, says the store", store.recovery().tokens, tokens);
    let session = store.session();
    let get = |id| session.get(id);
    Readback::of(lab, "every", 0..tokens, &filled.ids, get, store.iter()).check("every", checks);
    drop(session);
    store.close().map_err(Failure::subject("cannot close the store"))?;
    lab.workdir.remove(STORE)
}
