//! Every created token, read back twice: by the id that its create returned, compared with what was
//! written, and by walking the store, compared by count and checksum. Never inside a timed region.

use std::ops::Range;

use neurograph::{Token, TokenId};

use crate::lab::{Checks, Lab};
use crate::workload::Checksum;

/// What reading back found.
#[derive(Debug)]
pub struct Readback {
    tokens: u64,
    /// Tokens that were not what was written under their id, and the first of them.
    wrong_by_id: u64,
    first_wrong: Option<String>,
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
        ids: &[TokenId],
        get: impl Fn(TokenId) -> Option<Token>,
        walk: impl Iterator<Item = (TokenId, Token)>,
    ) -> Self {
        let tokens = numbers.end - numbers.start;
        let bar = lab.progress.bar(phase, "reading every token back", tokens);
        let (mut wrong_by_id, mut first_wrong) = (0, None);
        let mut expected = Checksum::default();
        let mut written = lab.workload.stream(numbers);
        for batch in ids.chunks(usize::try_from(lab.plan.batch).unwrap_or(usize::MAX)) {
            for (&id, token) in batch.iter().zip(&mut written) {
                let found = get(id);
                if found != Some(token) {
                    wrong_by_id += 1;
                    first_wrong.get_or_insert_with(|| difference(id, found, &token));
                }
                expected.add(&token);
            }
            bar.steps(batch.len() as u64);
        }
        let walked = walk.map(|(_, token)| token).collect();
        Self { tokens, wrong_by_id, first_wrong, ids_twice: twice(ids), walked, expected }
    }

    /// Notes what must hold.
    pub fn check(&self, phase: &str, checks: &mut Checks) {
        let tokens = self.tokens;
        let first =
            self.first_wrong.as_ref().map_or(String::new(), |w| format!("; the first: {w}"));
        checks.that(
            format!("{phase}: each token read back by its id is what was written"),
            self.wrong_by_id == 0,
            format!("{} of {tokens} differ, expected 0{first}", self.wrong_by_id),
        );
        checks.that(
            format!("{phase}: no id is given out twice"),
            self.ids_twice == 0,
            format!("{} of {tokens} ids occur again, expected 0", self.ids_twice),
        );
        checks.equal(format!("{phase}: tokens found by iteration"), self.walked.count, tokens);
        checks.that(
            format!("{phase}: the checksum of all tokens is that of what was written"),
            self.walked == self.expected,
            format!("found {}, expected {}", self.walked, self.expected),
        );
    }
}

fn difference(id: TokenId, found: Option<Token>, written: &Token) -> String {
    match found {
        Some(found) => format!("{id} is {found}, written was {written}"),
        None => format!("{id} leads to no token, written was {written}"),
    }
}

/// How many ids occur again after their first time. Fresh slots are given out in rising order, so
/// those of one thread are nearly sorted.
fn twice(ids: &[TokenId]) -> u64 {
    if ids.windows(2).all(|pair| pair[0] < pair[1]) {
        return 0;
    }
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_given_twice_are_counted_in_any_order() {
        let ids = |slots: &[u32]| -> Vec<TokenId> {
            slots.iter().map(|slot| TokenId::new(*slot, 1).expect("odd")).collect()
        };
        assert_eq!(twice(&ids(&[1, 2, 3])), 0);
        assert_eq!(twice(&ids(&[3, 1, 2])), 0);
        assert_eq!(twice(&ids(&[3, 1, 3, 3])), 2);
    }
}
