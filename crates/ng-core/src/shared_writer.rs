//! A writer for many threads: one lease behind one lock. Knows nothing of who calls.

use crate::error::{CreateError, NotFound};
use crate::id::TokenId;
use crate::sync::{Arc, Mutex, lock};
use crate::token::Token;
use crate::writer::Writer;

/// Writes to an arena from any thread, through a handle that can be cloned; clones share one lease.
///
/// Costs a lock for each call, and threads take turns: for callers that create now and then, or that
/// have no place to keep a writer of their own. A [`Writer`] for each thread is several times faster,
/// and does not wait for others.
#[derive(Clone)]
pub struct SharedWriter {
    writer: Arc<Mutex<Writer>>,
}

impl SharedWriter {
    pub(crate) fn new(writer: Writer) -> SharedWriter {
        SharedWriter { writer: Arc::new(Mutex::new(writer)) }
    }

    /// As [`Writer::create`]; waits also for other threads' calls.
    pub fn create(&self, token: &Token) -> Result<TokenId, CreateError> {
        lock(&self.writer).create(token)
    }

    /// As [`Writer::update`]; waits also for other threads' calls.
    pub fn update(&self, id: TokenId, token: &Token) -> Result<(), NotFound> {
        lock(&self.writer).update(id, token)
    }

    /// As [`Writer::delete`]; waits also for other threads' calls.
    pub fn delete(&self, id: TokenId) -> Result<(), NotFound> {
        lock(&self.writer).delete(id)
    }

    /// Calls `work` with the writer that the clones share, to do several things under one lock. It must
    /// not call into another clone.
    pub fn with<R>(&self, work: impl FnOnce(&mut Writer) -> R) -> R {
        work(&mut lock(&self.writer))
    }
}
