//! Every created token, read back twice: by the id that its create returned, compared with what was
//! written, and by walking the store, compared by count and checksum. Never inside a timed region.

use std::collections::HashSet;
use std::ops::Range;

use neurograph::{Token, TokenId};

use crate::lab::{Checks, Lab};
use crate::workload::Checksum;

/// What reading back found.
#[derive(Debug)]
pub struct Readback {
    tokens: u64,
    /// Tokens that were not what was written under their id.
    wrong_by_id: u64,
    /// Ids that were given out twice.
    ids_twice: u64,
    walked: Checksum,
    expected: Checksum,
}

impl Readback {
    /// Reads the tokens `numbers`, whose `ids` are in the same order, in steps of --batch.
    pub fn of(
        lab: &Lab<'_>,
        phase: &'static str,
        numbers: Range<u64>,
        ids: &[u64],
        get: impl Fn(TokenId) -> Option<Token>,
        walk: impl Iterator<Item = (TokenId, Token)>,
    ) -> Self {
        let tokens = numbers.end - numbers.start;
        let bar = lab.progress.bar(phase, "reading every token back", tokens);
        let mut wrong_by_id = 0;
        let mut expected = Checksum::default();
        let mut written = lab.workload.stream(numbers);
        for batch in ids.chunks(usize::try_from(lab.plan.batch).unwrap_or(usize::MAX)) {
            for (&id, token) in batch.iter().zip(&mut written) {
                let found = TokenId::from_u64(id).ok().and_then(&get);
                wrong_by_id += u64::from(found != Some(token));
                expected.add(&token);
            }
            bar.steps(batch.len() as u64);
        }
        let walked = walk.map(|(_, token)| token).collect();
        Self { tokens, wrong_by_id, ids_twice: twice(ids), walked, expected }
    }

    /// Notes what must hold.
    pub fn check(&self, phase: &str, checks: &mut Checks) {
        let tokens = self.tokens;
        checks.equal(format!("{phase}: tokens read back by id differ"), self.wrong_by_id, 0);
        checks.equal(format!("{phase}: ids given out twice"), self.ids_twice, 0);
        checks.equal(format!("{phase}: tokens found by iteration"), self.walked.count, tokens);
        checks.that(
            format!("{phase}: the checksum of all tokens is that of what was written"),
            self.walked == self.expected,
            format!("{tokens} tokens of 64 bytes"),
        );
    }
}

/// How many ids occur again after their first time. Fresh slots are given out in rising order, so
/// the whole is nearly sorted and a set is only needed for what is not.
fn twice(ids: &[u64]) -> u64 {
    let rising = ids.windows(2).all(|pair| pair[0] < pair[1]);
    if rising {
        return 0;
    }
    let mut seen = HashSet::with_capacity(ids.len());
    ids.iter().filter(|id| !seen.insert(**id)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_given_twice_are_counted_in_any_order() {
        assert_eq!(twice(&[1, 2, 3]), 0);
        assert_eq!(twice(&[3, 1, 2]), 0);
        assert_eq!(twice(&[3, 1, 3, 3]), 2);
    }
}
