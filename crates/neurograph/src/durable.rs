//! What survives a restart: the directory and what must be in it, the log as the store uses it, and its replay.

pub(crate) mod log;
pub(crate) mod logged;
pub(crate) mod manifest;
pub(crate) mod place;
pub(crate) mod replay;
