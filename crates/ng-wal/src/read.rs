//! From bytes to records: one segment's frames, a log's frames, its records. Never writes, never locks,
//! never repairs.

pub(crate) mod ahead;
pub(crate) mod frames;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod walk;
