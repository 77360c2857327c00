//! Removing many tokens by what they are, beside other writers. Runs no code of the user while a token
//! is held.

use crate::id::TokenId;
use crate::iter::Iter;
use crate::token::Token;
use crate::writer::Writer;

/// Removes the tokens that a predicate chose, one at each step; see [`Writer::drain`].
#[must_use = "an iterator removes nothing until it is advanced"]
pub struct Drain<'w, P> {
    pub(crate) writer: &'w mut Writer,
    pub(crate) live: Iter,
    pub(crate) chosen: P,
}

impl<P: FnMut(TokenId, &Token) -> bool> Iterator for Drain<'_, P> {
    type Item = (TokenId, Token);

    fn next(&mut self) -> Option<(TokenId, Token)> {
        loop {
            let (id, mut token) = self.live.next()?;
            while (self.chosen)(id, &token) {
                match self.writer.delete_if(id, &token) {
                    Deleted::Yes => return Some((id, token)),
                    Deleted::Gone => break,
                    // Somebody wrote meanwhile: chosen again by what it is now.
                    Deleted::Changed(now) => token = now,
                }
            }
        }
    }
}

/// What came of removing a token as it was seen.
pub(crate) enum Deleted {
    Yes,
    Gone,
    Changed(Token),
}
