//! A store's life: it opens, a thread looks after it, it makes room, it closes.

pub(crate) mod cleanup;
pub(crate) mod close;
pub(crate) mod open;
pub(crate) mod pulse;
