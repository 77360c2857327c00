//! The tokens that a load holds, and the ids that it gave up: what the store must answer for each.

use std::collections::VecDeque;

use neurograph::{Token, TokenId};

use crate::lab::Checks;
use crate::workload::{Checksum, Workload};

/// Ids given up that are remembered: the newest ones, whose slots are the first to be used again.
const GONE_MAX: usize = 100_000;

/// A model of what is alive.
#[derive(Debug, Default)]
pub struct Held {
    /// Each with the number of its token.
    live: Vec<(TokenId, u64)>,
    gone: VecDeque<TokenId>,
}

impl Held {
    /// Tokens alive.
    pub fn len(&self) -> u64 {
        self.live.len() as u64
    }

    /// Token `number` is alive under `id`.
    pub fn created(&mut self, id: TokenId, number: u64) {
        self.live.push((id, number));
    }

    /// One of those alive, to be deleted; the place says which, counted round.
    pub fn victim(&self, place: usize) -> Option<TokenId> {
        self.live.get(place % self.live.len().max(1)).map(|(id, _)| *id)
    }

    /// The one at this place is gone.
    pub fn deleted(&mut self, place: usize) {
        let place = place % self.live.len().max(1);
        let (id, _) = self.live.swap_remove(place);
        if self.gone.len() == GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(id);
    }

    /// Takes over what another one holds.
    pub fn append(&mut self, other: Self) {
        self.live.extend(other.live);
        self.gone.extend(other.gone);
    }

    /// Compares all of it with what a store answers.
    pub fn check(
        &self,
        when: &str,
        workload: &Workload,
        get: impl Fn(TokenId) -> Option<Token>,
        walk: impl Iterator<Item = (TokenId, Token)>,
        checks: &mut Checks,
    ) {
        let is_right = |(id, number): &&(TokenId, u64)| get(*id) == Some(workload.token(*number));
        let right = self.live.iter().filter(is_right).count() as u64;
        checks.equal(format!("{when}: tokens read back as they were written"), right, self.len());
        let back = self.gone.iter().filter(|id| get(**id).is_some()).count() as u64;
        checks.equal(format!("{when}: ids of deleted tokens that lead to one"), back, 0);
        let mut expected = Checksum::default();
        self.live.iter().for_each(|(_, number)| expected.add(&workload.token(*number)));
        let walked: Checksum = walk.map(|(_, token)| token).collect();
        checks.that(
            format!("{when}: iteration finds these tokens and no others"),
            walked == expected,
            format!("found {walked}, expected {expected}"),
        );
        let mut ids: Vec<TokenId> = self.live.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
        checks.equal(format!("{when}: ids given out twice"), twice, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> TokenId {
        TokenId::new(slot, 1).expect("odd")
    }

    #[test]
    fn a_token_that_is_lost_changed_doubled_or_back_again_fails_a_check() {
        let workload = Workload::new(1, 10);
        let mut held = Held::default();
        (0..3).for_each(|number| held.created(id(number as u32), number));
        assert_eq!(held.victim(4), Some(id(1)));
        held.deleted(1);
        let failed = |held: &Held, stored: &[(u32, u64)]| {
            let mut checks = Checks::default();
            let found = |slot: u32| stored.iter().find(|(at, _)| *at == slot);
            let get = |asked: TokenId| {
                let slot = (0..9).find(|slot| id(*slot) == asked)?;
                found(slot).map(|(_, number)| workload.token(*number))
            };
            let walk = stored.iter().map(|(slot, number)| (id(*slot), workload.token(*number)));
            held.check("t", &workload, get, walk, &mut checks);
            checks.into_vec().iter().filter(|check| !check.pass).count()
        };
        assert_eq!(failed(&held, &[(0, 0), (2, 2)]), 0);
        assert_eq!(failed(&held, &[(0, 0)]), 2, "lost: not read back, and the checksum differs");
        assert_eq!(failed(&held, &[(0, 0), (2, 7)]), 2, "changed");
        assert_eq!(failed(&held, &[(0, 0), (2, 2), (1, 1)]), 2, "back again");
        held.created(id(0), 0);
        assert!(failed(&held, &[(0, 0), (2, 2)]) >= 1, "an id given out twice");
    }
}
