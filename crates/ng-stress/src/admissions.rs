//! The quota's decisions beside those of a model: a counter that only adds and subtracts.

use neurograph::{CreateError, Session, Token, TokenId};

use crate::fill::Fill;
use crate::lab::{Checks, Lab};
use crate::plan::{Plan, REFUSED_CREATES};
use crate::workload::Workload;

/// What the quota decided, and where the model would have decided otherwise.
#[derive(Debug)]
pub struct Admissions {
    limit: u64,
    /// Tokens that the model has.
    live: u64,
    /// Creates tried.
    pub checks: u64,
    /// Creates refused by the quota.
    pub exceeded: u64,
    /// Refused although the model had room.
    pub false_refusals: u64,
    /// Admitted although it had none.
    pub missed_refusals: u64,
    /// Refused for any other reason.
    other_refusals: u64,
    /// Admitted of the creates that followed one delete.
    admitted_after_delete: u64,
}

impl Admissions {
    /// Goes on where the timed region ended, at the quota: each of 1,000 creates must be refused;
    /// then a token is deleted, and exactly one of 1,000 more may be admitted. Sessions take turns,
    /// so that none lives on what it alone holds.
    pub fn of(lab: &Lab<'_>, sessions: &mut [Session], filled: &Fill) -> Self {
        let limit = lab.plan.tokens;
        let mut seen = Self {
            limit,
            live: limit - filled.refused,
            checks: limit,
            // The timed region creates exactly as many as there is room for.
            exceeded: filled.refused,
            false_refusals: filled.refused,
            missed_refusals: 0,
            other_refusals: 0,
            admitted_after_delete: 0,
        };
        let mut tokens = unmarked(lab.plan, lab.workload);
        seen.try_creates(sessions, &mut tokens);
        // Token 1 is marked only where every token is.
        let victim = filled.ids.get(1).and_then(|&id| TokenId::from_u64(id).ok());
        if victim.is_some_and(|victim| sessions[0].delete(victim).is_ok()) {
            seen.live -= 1;
        }
        let before = seen.live;
        seen.try_creates(sessions, &mut tokens);
        seen.admitted_after_delete = seen.live - before;
        seen
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
                Err(_) => self.other_refusals += 1,
            }
        }
    }

    /// Records that the delete and the create after it add to the log.
    pub fn logged(plan: &Plan) -> u64 {
        if plan.persist == 1 { 2 } else { 0 }
    }

    /// Notes what must hold.
    pub fn check(&self, checks: &mut Checks) {
        checks.equal("full: refusals while the quota had room", self.false_refusals, 0);
        checks.equal("full: admissions beyond the quota", self.missed_refusals, 0);
        checks.equal("full: refusals for another reason", self.other_refusals, 0);
        let refused = 2 * REFUSED_CREATES - 1;
        checks.equal("full: creates refused at the quota", self.exceeded, refused);
        checks.equal("full: creates admitted by one delete", self.admitted_after_delete, 1);
    }
}

/// Tokens after those of the run that are not marked, unless every token is: what they would log
/// is then no question of where the marks fall.
fn unmarked(plan: &Plan, workload: Workload) -> impl Iterator<Item = Token> {
    let persist = plan.persist;
    (plan.tokens..)
        .filter(move |number| persist == 1 || !number.is_multiple_of(persist))
        .map(move |number| workload.token(number))
}
