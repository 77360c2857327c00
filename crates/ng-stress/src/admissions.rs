//! The quota's decisions beside those of a model: a counter that only adds and subtracts.

use neurograph::{CreateError, Session, Store, Token, TokenId};

use crate::failure::Failure;
use crate::fill::fill;
use crate::lab::{Checks, Lab};
use crate::plan::{Plan, REFUSED_CREATES};
use crate::subject;
use crate::workload::Workload;

/// Tokens of each creator that are deleted and created again at the very edge of the quota: more than its
/// lease, so that the last of them come out of the leases of others.
const EDGE_TOKENS: u64 = 2_048;

/// What the quota decided, and where the model would have decided otherwise.
#[derive(Debug)]
pub struct Admissions {
    limit: u64,
    /// Tokens that the model has.
    live: u64,
    /// Creates tried, in the timed region and at the quota.
    pub checks: u64,
    /// Creates refused by the quota.
    pub exceeded: u64,
    /// Refused although the model had room.
    pub false_refusals: u64,
    /// Admitted although it had none.
    pub missed_refusals: u64,
    /// Refused for any other reason, and the first of them.
    other_refusals: u64,
    first_other: Option<String>,
    /// Admitted of the creates that followed one delete.
    admitted_after_delete: u64,
}

impl Admissions {
    /// Goes on after [`meet_the_quota`], with every token alive: each of 1,000 creates must be refused; then a
    /// token is deleted, and exactly one of 1,000 more may be admitted. Sessions take turns, so that none lives
    /// on what it alone holds.
    pub fn of(lab: &Lab<'_>, sessions: &mut [Session], ids: &[TokenId]) -> Result<Self, Failure> {
        let limit = lab.plan.tokens;
        let mut seen = Self {
            limit,
            live: limit,
            checks: limit,
            exceeded: 0,
            false_refusals: 0,
            missed_refusals: 0,
            other_refusals: 0,
            first_other: None,
            admitted_after_delete: 0,
        };
        let mut tokens = unmarked(lab.plan, lab.workload);
        seen.try_creates(sessions, &mut tokens);
        // Token 1 is marked only where every token is.
        sessions[0].delete(ids[1]).map_err(Failure::subject("full: delete at the quota"))?;
        seen.live -= 1;
        let before = seen.live;
        seen.try_creates(sessions, &mut tokens);
        seen.admitted_after_delete = seen.live - before;
        Ok(seen)
    }

    fn try_creates(&mut self, sessions: &mut [Session], tokens: impl Iterator<Item = Token>) {
        let turns = sessions.len();
        for (turn, token) in tokens.take(REFUSED_CREATES as usize).enumerate() {
            let room = self.live < self.limit;
            self.checks += 1;
            match sessions[turn % turns].create(&token) {
                Ok(_) => {
                    self.live += 1;
                    self.missed_refusals += u64::from(!room);
                }
                Err(CreateError::QuotaExceeded { .. }) => {
                    self.exceeded += 1;
                    self.false_refusals += u64::from(room);
                }
                Err(other) => {
                    self.other_refusals += 1;
                    self.first_other.get_or_insert_with(|| other.to_string());
                }
            }
        }
    }

    /// Tokens created after the timed region; as many are deleted.
    pub fn created(plan: &Plan) -> u64 {
        edge(plan, plan.threads) + 1
    }

    /// Records that these deletes and creates add to the log.
    pub fn logged(plan: &Plan) -> u64 {
        let last = u64::from(plan.persist == 1);
        Self::logged_to_meet(plan) + 2 * last
    }

    /// Those of them that [`meet_the_quota`] adds.
    pub fn logged_to_meet(plan: &Plan) -> u64 {
        let before_edge = plan.tokens - edge(plan, plan.threads);
        2 * (plan.marked(plan.tokens) - plan.marked(before_edge))
    }

    /// Notes what must hold.
    pub fn check(&self, checks: &mut Checks) {
        let at_quota = 2 * REFUSED_CREATES;
        let of = |found: u64| format!("{found} of {at_quota} creates at the quota, expected 0");
        let mut none = |name: &str, found: u64, more: String| {
            checks.that(name, found == 0, of(found) + &more);
        };
        let first =
            self.first_other.as_ref().map_or(String::new(), |e| format!("; the first: {e}"));
        none(
            "full: no create is refused while the quota has room",
            self.false_refusals,
            String::new(),
        );
        none("full: no create is admitted beyond the quota", self.missed_refusals, String::new());
        none("full: no create is refused for another reason", self.other_refusals, first);
        checks.equal("full: creates refused at the quota", self.exceeded, at_quota - 1);
        checks.equal("full: creates admitted by one delete", self.admitted_after_delete, 1);
    }
}

/// Makes the number of tokens alive the quota, and switches cleanup off. Then the last of them are deleted and
/// created again by all threads at once: each must find room, and `ids` get their new ones.
pub fn meet_the_quota(
    lab: &Lab<'_>,
    store: &Store,
    sessions: &mut [Session],
    ids: &mut [TokenId],
) -> Result<(), Failure> {
    subject::at_the_quota(lab.plan, store, sessions.len());
    let limit = lab.plan.tokens;
    let numbers = limit - edge(lab.plan, sessions.len())..limit;
    let last = &mut ids[numbers.start as usize..];
    for id in &*last {
        sessions[0].delete(*id).map_err(Failure::subject("full: delete at the quota"))?;
    }
    let again = fill("full, at the quota", sessions, &lab.workload, numbers, true, || {})?;
    last.copy_from_slice(&again.ids);
    Ok(())
}

/// Tokens that are deleted and created again at the quota.
fn edge(plan: &Plan, threads: usize) -> u64 {
    EDGE_TOKENS.saturating_mul(threads as u64).min(plan.tokens / 2)
}

/// Tokens after those of the run that are not marked, unless every token is: what they would log
/// is then no question of where the marks fall.
fn unmarked(plan: &Plan, workload: Workload) -> impl Iterator<Item = Token> {
    let persist = plan.persist;
    (plan.tokens..)
        .filter(move |number| persist == 1 || !number.is_multiple_of(persist))
        .map(move |number| workload.token(number))
}
