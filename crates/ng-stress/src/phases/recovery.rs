//! Phase 3: a child process writes to a store and is killed in mid-write. What it was told is durable
//! must be there; what is there must be an exact prefix of what it did.

use std::collections::HashSet;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use neurograph::{Store, TokenId};

use crate::child::OPERATIONS_MAX;
use crate::failure::{EXIT_ENVIRONMENT, Failure};
use crate::format::{GROUP_BYTES_MAX, MESSAGE_BYTES, Message};
use crate::interrupt;
use crate::lab::{Checks, Lab};
use crate::oracle::{Model, matching_prefixes, state_after};
use crate::plan::JUDGED_TOKENS;
use crate::report::{PublishedCase, Recovery, now_rfc3339};
use crate::statistics::median_u64;
use crate::subject;
use crate::workload::{Checksum, hash};

/// Records of the published case.
const PUBLISHED_RECORDS: u64 = 1_000;

/// Openings of the published case; the median counts.
const PUBLISHED_OPENINGS: usize = 5;

/// How long the child may take to have anything durable.
const FIRST_DURABLE_WITHIN: Duration = Duration::from_secs(60);

/// Operations after which the kill comes at the latest: half of what the child does at most.
const ENOUGH: usize = OPERATIONS_MAX as usize / 2;

/// Tokens created after recovery, whose ids must all be new.
const NEW_TOKENS: u64 = 1_000;

/// Runs the phase.
pub fn run(lab: &Lab<'_>, checks: &mut Checks) -> Result<Recovery, Failure> {
    lab.progress.notice("phase recovery");
    let started = now_rfc3339();
    let bar = lab.progress.bar("recovery", "writing child, kill, recovery, published case", 4);
    let told = killed_child(lab, &bar, checks)?;
    let dir = lab.workdir.join("killed");

    let opening = Instant::now();
    let store = subject::logged_store(&dir)?;
    let elapsed_ns = opening.elapsed().as_nanos() as u64;
    bar.step();
    let records = store.recovery().records;
    let torn_bytes = store.recovery().torn_bytes;
    let verdict = Verdict::of(lab.plan.seed, &told, &store);
    let reused = ids_given_again(&store, &told, &verdict.recovered_ids)?;
    store.close().map_err(Failure::subject("cannot close the recovered store"))?;
    let (logged, crc_failures) = subject::log_records(&dir)?;
    lab.workdir.remove("killed")?;

    // Of two prefixes with the same result, the one that the log has.
    let logged = logged.saturating_sub(NEW_TOKENS);
    let longest = verdict.prefixes.last().copied();
    let operations = verdict.prefixes.iter().copied().find(|&count| count == logged).or(longest);
    let acknowledged = told.durable;
    let lost_acknowledged = acknowledged.saturating_sub(operations.unwrap_or(0));
    checks.that(
        "recovery: the store is an exact prefix of what the child did",
        operations.is_some(),
        format!(
            "found {} tokens, the result of the first {:?} operations; expected that of one number of them, at most {}",
            verdict.recovered.count,
            verdict.prefixes,
            told.begun_at_most()
        ),
    );
    checks.equal("recovery: acknowledged operations lost", lost_acknowledged, 0);
    checks.equal("recovery: tokens invented", verdict.invented, 0);
    checks.equal("recovery: tokens or ids found twice", verdict.duplicates, 0);
    checks.equal("recovery: ids that do not lead to their token", verdict.wrong_ids, 0);
    checks.equal("recovery: ids given out again", reused, 0);
    checks.equal("recovery: records that the log's reader refused", crc_failures, 0);
    checks.equal(
        "recovery: token records in the log, of the operations recovered",
        logged,
        operations.unwrap_or(0),
    );
    checks.active("recovery", "acknowledged operations", acknowledged);
    let published_case = published_case(lab, checks)?;
    bar.step();
    Ok(Recovery {
        killed_by: "SIGKILL",
        records_acknowledged_durable: acknowledged,
        records_recovered: records,
        operations_recovered: operations.unwrap_or(0),
        tokens_recovered: verdict.recovered.count,
        lost_acknowledged,
        invented: verdict.invented,
        duplicates: verdict.duplicates,
        crc_failures,
        torn_bytes,
        elapsed_ns,
        records_per_s: records as f64 * 1e9 / elapsed_ns as f64,
        published_case,
        started,
        ended: now_rfc3339(),
    })
}

/// What the child told before it died.
#[derive(Debug, Default)]
struct Told {
    /// By operation: the id it concerned.
    ids: Vec<u64>,
    /// Operations said to be durable: all below this number.
    durable: u64,
    /// Messages out of order, or with an LSN that does not rise: a fault of the child's or ours.
    garbled: u64,
    last_lsn: u64,
}

impl Told {
    fn hear(&mut self, message: Message) {
        match message {
            Message::Done { sequence, lsn, id } => {
                let in_order = sequence == self.ids.len() as u64 && lsn > self.last_lsn;
                self.garbled += u64::from(!in_order);
                self.last_lsn = lsn;
                self.ids.push(id);
            }
            Message::Durable { sequence, lsn } => {
                let told = sequence < self.ids.len() as u64 && lsn <= self.last_lsn;
                let rises = sequence >= self.durable;
                self.garbled += u64::from(!(told && rises));
                self.durable = sequence + 1;
            }
        }
    }

    /// Operations that the child may have begun: those told, a group that was not written yet, and
    /// the one in progress.
    fn begun_at_most(&self) -> u64 {
        (self.ids.len() + GROUP_BYTES_MAX / MESSAGE_BYTES + 1) as u64
    }
}

/// Starts the child, lets it write for a random while after its first durable operation, kills it.
fn killed_child(
    lab: &Lab<'_>,
    bar: &crate::progress::Bar,
    checks: &mut Checks,
) -> Result<Told, Failure> {
    let stdout = spawn(lab)?;
    bar.step();
    let (tell, heard) = channel();
    let listener = Builder::new().name("listener".into()).spawn(move || listen(stdout, &tell));
    let listener = listener.map_err(|error| {
        Failure::Environment(format!("cannot start the thread that hears the child: {error}"))
    })?;
    let alive = heard.recv_timeout(FIRST_DURABLE_WITHIN);
    if alive.is_ok() {
        lab.progress.notice("something is durable");
        // 0.5 to 2 s of writing; a fifth of that in a small run.
        let mut rng = fastrand::Rng::with_seed(lab.plan.seed);
        let scale = if lab.plan.tokens >= JUDGED_TOKENS { 1 } else { 5 };
        // Or until there is enough to recover: a fast child must not come to its end.
        let _ = heard.recv_timeout(Duration::from_millis(rng.u64(500..2000) / scale));
    }
    let status = kill()?;
    bar.step();
    let told = listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if alive.is_err() {
        if status.code() == Some(i32::from(EXIT_ENVIRONMENT)) {
            let why = "the child of the recovery phase lacks something, told above";
            return Err(Failure::Environment(why.into()));
        }
        let operations = told.ids.len();
        return Err(Failure::Broken(format!(
            "the child had nothing durable (operations: {operations}, ended by: {status})"
        )));
    }
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    let detail = format!("found {status}, expected SIGKILL");
    checks.that("recovery: the child was ended by SIGKILL", killed, detail);
    let writing = (told.ids.len() as u64) < OPERATIONS_MAX;
    let detail =
        format!("found {} operations, expected fewer than {OPERATIONS_MAX}", told.ids.len());
    checks.that("recovery: the child was writing when killed", writing, detail);
    checks.equal("recovery: messages out of order", told.garbled, 0);
    Ok(told)
}

fn spawn(lab: &Lab<'_>) -> Result<ChildStdout, Failure> {
    let program = std::env::current_exe().map_err(Failure::io("find", "this program"))?;
    let mut owned = interrupt::owned();
    let mut child = Command::new(&program)
        .arg("--recovery-child")
        .arg(lab.workdir.join("killed"))
        .args(["--seed", &lab.plan.seed.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::io("start", program))?;
    let stdout = child.stdout.take();
    lab.progress.notice(&format!("child {}", child.id()));
    owned.child = Some(child);
    stdout.ok_or_else(|| Failure::Broken("the child has no stdout".into()))
}

fn kill() -> Result<ExitStatus, Failure> {
    let mut owned = interrupt::owned();
    let child = owned.child.as_mut();
    let child = child.ok_or_else(|| Failure::Broken("the child is not registered".into()))?;
    child.kill().map_err(Failure::io("kill", "the child"))?;
    let status = child.wait().map_err(Failure::io("wait for", "the child"))?;
    owned.child = None;
    Ok(status)
}

/// Hears the child out to the end of its pipe; tells when the first operation is durable, and when
/// there have been [`ENOUGH`].
fn listen(mut stdout: ChildStdout, tell: &Sender<()>) -> Told {
    let mut told = Told::default();
    let mut bytes = [0; MESSAGE_BYTES];
    // A short read at the end cannot happen (see format.rs) and would end the loop like any end.
    while stdout.read_exact(&mut bytes).is_ok() {
        let before = (told.durable > 0, told.ids.len() >= ENOUGH);
        told.hear(Message::decode(&bytes));
        if before != (told.durable > 0, told.ids.len() >= ENOUGH) {
            // The receiver may have given up; the child dies then too, and the pipe ends.
            let _ = tell.send(());
        }
    }
    told
}

/// The recovered store beside the model.
struct Verdict {
    /// Numbers of operations of which the store is the result.
    prefixes: Vec<u64>,
    recovered: Checksum,
    recovered_ids: HashSet<u64>,
    invented: u64,
    duplicates: u64,
    wrong_ids: u64,
}

impl Verdict {
    fn of(seed: u64, told: &Told, store: &Store) -> Self {
        let mut recovered = Checksum::default();
        let (mut ids, mut hashes, mut duplicates) = (HashSet::new(), HashSet::new(), 0);
        for (id, token) in store.iter() {
            recovered.add(&token);
            let new = [ids.insert(id.to_u64()), hashes.insert(hash(&token))];
            duplicates += u64::from(new.contains(&false));
        }
        let prefixes = matching_prefixes(seed, told.begun_at_most(), recovered);
        // Without one, what was acknowledged is the yardstick for what is missing or too much.
        let yardstick = prefixes.last().copied().unwrap_or(told.durable);
        let model = state_after(seed, &told.ids, yardstick);
        let known: HashSet<u64> = model.live().iter().map(|(_, token)| hash(token)).collect();
        let invented = hashes.iter().filter(|hash| !known.contains(hash)).count() as u64;
        let wrong_ids = wrong_ids(&model, told, store);
        Self { prefixes, recovered, recovered_ids: ids, invented, duplicates, wrong_ids }
    }
}

/// Told ids that lead anywhere but to their token, and ids of deleted tokens that lead anywhere.
fn wrong_ids(model: &Model, told: &Told, store: &Store) -> u64 {
    let session = store.session();
    let get = |id: u64| TokenId::from_u64(id).ok().and_then(|id| session.get(id));
    let mut alive = HashSet::new();
    let mut wrong = 0;
    for (id, token) in model.live() {
        if let Some(id) = id {
            alive.insert(*id);
            wrong += u64::from(get(*id) != Some(*token));
        }
    }
    let stale: HashSet<u64> = told.ids.iter().copied().filter(|id| !alive.contains(id)).collect();
    // A token whose create was not told may live under an id that was: it cannot, ids are used once.
    wrong + stale.into_iter().filter(|id| get(*id).is_some()).count() as u64
}

/// Creates some more tokens and counts the ids that had been given out before, by either process.
fn ids_given_again(store: &Store, told: &Told, recovered: &HashSet<u64>) -> Result<u64, Failure> {
    let mut given: HashSet<u64> = told.ids.iter().copied().collect();
    given.extend(recovered);
    let mut session = store.session();
    let tokens = crate::workload::Workload::new(0, 1);
    let mut again = 0;
    for token in tokens.stream(0..NEW_TOKENS) {
        let id = session.create(&token).map_err(Failure::subject("create after recovery"))?;
        again += u64::from(!given.insert(id.to_u64()));
    }
    Ok(again)
}

/// A store with 1,000 records, closed and opened again.
fn published_case(lab: &Lab<'_>, checks: &mut Checks) -> Result<PublishedCase, Failure> {
    const STORE: &str = "published";
    let dir = lab.workdir.join(STORE);
    let store = subject::logged_store(&dir)?;
    let mut session = store.session();
    for token in lab.workload.stream(0..PUBLISHED_RECORDS) {
        session.create(&token).map_err(Failure::subject("create"))?;
    }
    drop(session);
    store.close().map_err(Failure::subject("close"))?;
    let mut openings = Vec::new();
    let mut tokens = 0;
    for _ in 0..PUBLISHED_OPENINGS {
        let opening = Instant::now();
        let store = subject::logged_store(&dir)?;
        openings.push(opening.elapsed().as_nanos() as u64);
        tokens = store.len();
        store.close().map_err(Failure::subject("close"))?;
    }
    lab.workdir.remove(STORE)?;
    checks.equal("recovery: tokens of the published case", tokens, PUBLISHED_RECORDS);
    let elapsed_ns = median_u64(openings).unwrap_or(0);
    Ok(PublishedCase { records: PUBLISHED_RECORDS, elapsed_ns })
}
