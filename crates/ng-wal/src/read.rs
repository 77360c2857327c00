//! From bytes to records: the walk over a segment, the replay of a log. Never writes, never locks, never
//! repairs.

pub(crate) mod ahead;
pub(crate) mod reader;
