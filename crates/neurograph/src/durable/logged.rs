//! Which tokens are logged, and what the log is told of a change.

use crate::durable::log::Log;
use crate::format;
use ng_core::{Flags, Token, TokenId};
use ng_wal::{AppendError, Lsn};

/// Which tokens are logged, as one test of a token's last word: {flags, radius, strength, seconds}.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logged(u64);

impl Logged {
    pub(crate) const NEVER: Logged = Logged(0);
    pub(crate) const FLAGGED: Logged = Logged(Flags::PERSISTENT.bits() as u64);
    pub(crate) const ALL: Logged = Logged(u64::MAX);

    /// A token with none of these is not logged. `None`: that says nothing, all are.
    #[inline(always)]
    pub(crate) fn flags(self) -> Option<Flags> {
        (self != Logged::ALL).then(|| Flags::from_bits(self.0 as u16))
    }

    #[inline(always)]
    pub(crate) fn is(self, token: &Token) -> bool {
        self.is_flagged(token.flags())
    }

    /// Whether a token with these flags is.
    #[inline(always)]
    pub(crate) fn is_flagged(self, flags: Flags) -> bool {
        self == Logged::ALL || self.0 & u64::from(flags.bits()) != 0
    }

    /// The same for a token that has a time, as all in the store have: one instruction, since their
    /// last word is never 0.
    #[inline(always)]
    pub(crate) fn is_stamped(self, token: &Token) -> bool {
        token.to_words()[7] & self.0 != 0
    }
}

/// What a write makes of the token it found.
pub(crate) enum Change {
    Put(Token),
    Delete,
}

/// What the log is told of a change.
pub(crate) enum Entry<'c> {
    Put(&'c Token),
    Delete,
}

impl Logged {
    /// By what the token is and will be. `None`: nothing.
    pub(crate) fn entry<'c>(self, current: &Token, change: &'c Change) -> Option<Entry<'c>> {
        match change {
            Change::Put(token) if self.is(token) => Some(Entry::Put(token)),
            // Gone, or no longer one that survives a restart: either way the log forgets it.
            _ if self.is(current) => Some(Entry::Delete),
            _ => None,
        }
    }
}

impl Entry<'_> {
    pub(crate) fn encode(self, id: TokenId) -> format::Encoded {
        match self {
            Entry::Put(token) => format::Encoded::Put(format::put(id, token)),
            Entry::Delete => format::Encoded::Delete(format::delete(id)),
        }
    }

    pub(crate) fn append_to(self, log: &Log, id: TokenId) -> Result<Lsn, AppendError> {
        match self {
            Entry::Put(token) => log.wal.attempt(format::PUT, &format::put(id, token), false),
            Entry::Delete => log.wal.attempt(format::DELETE, &format::delete(id), true),
        }
    }
}
