//! What is shown to whoever watches a store.

pub(crate) mod eviction;
pub(crate) mod export;
