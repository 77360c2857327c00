//! What the killed child does, and what must be there afterwards. Both sides make the same endless
//! sequence of operations from a seed; the child applies it to a store, the parent to this model.
//!
//! The idea: the model needs no knowledge of which record is which. A recovered store is right if it
//! equals the model after the first r operations for some r, and no acknowledged operation lies
//! beyond r. Every token of the sequence is different, so a checksum tells one state from another.

use neurograph::Token;

use crate::workload::{Checksum, Workload};

/// Most tokens alive at once: enough to fill several chunks, few enough for any machine.
const LIVE_MAX: usize = 200_000;

/// The next thing to do. A victim is an index into the list of live tokens, in which a delete moves
/// the last one into the gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// Store a token.
    Create(Token),
    /// Overwrite a live one.
    Update(usize, Token),
    /// Delete a live one.
    Delete(usize),
}

/// The seeded sequence.
#[derive(Clone, Debug)]
pub struct Operations {
    workload: Workload,
    rng: fastrand::Rng,
    sequence: u64,
    live: usize,
}

impl Operations {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        // Each third token is marked PERSISTENT: a store that logs all must not care.
        let workload = Workload::new(!seed, 3);
        Self { workload, rng: fastrand::Rng::with_seed(seed), sequence: 0, live: 0 }
    }
}

impl Iterator for Operations {
    type Item = Operation;

    fn next(&mut self) -> Option<Operation> {
        let token = self.workload.token(self.sequence);
        self.sequence += 1;
        // 60 % creates, 20 % updates, 20 % deletes; all creates while empty, none while full.
        let choice = match self.live {
            0 => 0,
            LIVE_MAX => 60 + self.rng.u32(..40),
            _ => self.rng.u32(..100),
        };
        Some(match choice {
            0..60 => {
                self.live += 1;
                Operation::Create(token)
            }
            60..80 => Operation::Update(self.rng.usize(..self.live), token),
            _ => {
                self.live -= 1;
                Operation::Delete(self.rng.usize(..=self.live))
            }
        })
    }
}

/// The state after some operations.
#[derive(Clone, Debug, Default)]
pub struct Model {
    live: Vec<(Option<u64>, Token)>,
    checksum: Checksum,
}

impl Model {
    /// Applies an operation; `id` is the one that the child told for it, if it got that far.
    pub fn apply(&mut self, operation: Operation, id: Option<u64>) {
        match operation {
            Operation::Create(token) => {
                self.checksum.add(&token);
                self.live.push((id, token));
            }
            Operation::Update(victim, token) => {
                self.checksum.remove(&self.live[victim].1);
                self.checksum.add(&token);
                self.live[victim].1 = token;
            }
            Operation::Delete(victim) => {
                let (_, token) = self.live.swap_remove(victim);
                self.checksum.remove(&token);
            }
        }
    }

    /// Live tokens, with the ids that were told.
    pub fn live(&self) -> &[(Option<u64>, Token)] {
        &self.live
    }

    /// What the live tokens add up to.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }
}

/// Every r up to `longest` for which the first r operations of `seed` lead to a state that adds up to
/// `found`, in rising order. Nearly always there is one at most; a create that the next operation
/// deletes again makes two.
pub fn matching_prefixes(seed: u64, longest: u64, found: Checksum) -> Vec<u64> {
    let mut model = Model::default();
    let mut matching = Vec::new();
    let mut note = |count, checksum| {
        if checksum == found {
            matching.push(count);
        }
    };
    note(0, model.checksum());
    for (count, operation) in (1..=longest).zip(Operations::new(seed)) {
        model.apply(operation, None);
        note(count, model.checksum());
    }
    matching
}

/// The state after the first `count` operations.
pub fn state_after(seed: u64, ids: &[u64], count: u64) -> Model {
    let mut model = Model::default();
    for (sequence, operation) in (0..count).zip(Operations::new(seed)) {
        model.apply(operation, ids.get(sequence as usize).copied());
    }
    model
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_recognised_by_its_checksum_alone() {
        for count in [57, 300, 500, 600] {
            let model = state_after(5, &[], count);
            assert_eq!(matching_prefixes(5, 600, model.checksum()), [count]);
        }
        assert_eq!(matching_prefixes(5, 600, Checksum::default())[0], 0);
    }

    #[test]
    fn a_state_that_is_no_prefix_is_not_taken_for_one() {
        let mut model = state_after(5, &[], 300);
        model.apply(Operation::Delete(0), None);
        assert!(matching_prefixes(5, 600, model.checksum()).is_empty());
        let mut model = state_after(5, &[], 300);
        model.apply(Operation::Create(Workload::new(99, 1).token(1)), None);
        assert!(matching_prefixes(5, 600, model.checksum()).is_empty());
    }

    #[test]
    fn the_number_of_live_tokens_is_bounded_and_all_kinds_occur() {
        let mut model = Model::default();
        let (mut creates, mut updates, mut deletes) = (0, 0, 0);
        for operation in Operations::new(1).take(1_000_000) {
            match operation {
                Operation::Create(_) => creates += 1,
                Operation::Update(..) => updates += 1,
                Operation::Delete(_) => deletes += 1,
            }
            model.apply(operation, None);
            assert!(model.live().len() <= LIVE_MAX);
        }
        assert_eq!(model.checksum().count, model.live().len() as u64);
        assert!(creates > 300_000 && updates > 100_000 && deletes > 100_000);
    }
}
