//! A session: one thread's way to write. It runs towards one limit; all that is due is done there.
//!
//! A create that is not logged is the arena's hot path and one test of the token's flags. At the
//! writer's limit the session looks what is due: a new lease (quota, memory, ids), the next sampled
//! create, or a bell (the store closed or failed, settings changed).
//!
//! A logged operation takes the token's writing bit, decides under it, tries to claim a record, writes
//! the words, clears the bit. So the log's order is the token's order. If the log has no room, the bit
//! is given back first and the wait is outside.

mod batch;
mod create;
mod refill;
mod spans;
mod write;

use self::spans::SessionTracing;
use crate::durable::logged::Logged;
use crate::error::{CreateBatchError, CreateError, WriteBatchError, WriteError};
use crate::inner::Inner;
use crate::mutants;
use ng_blackbox::Lane;
use ng_core::{Token, TokenId, Writer};
use ng_guardian::ReleaseCell;
use ng_wal::{Durability, Lsn};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// One thread's way to write to a store, and to read its tokens.
///
/// Holds up to 1,024 slots and their credits ahead; dropping it gives them back, also when its thread
/// panics. It outlives its [`Store`](crate::Store): writes are then `Closed`, reads go on from memory.
pub struct Session {
    writer: Writer,
    cell: ReleaseCell,
    tracing: Option<SessionTracing>,
    lane: Option<Lane>,
    /// Creates between two that the flight recorder is told of, where no sampler chooses them.
    untraced_gap: u64,
    last_lsn: Lsn,
    logged: Logged,
    /// For the disk, or for room in the log.
    waits: bool,
    inner: Arc<Inner>,
}

/// A session's writes at a higher level of durability; see [`Session::with`].
pub struct Raised<'s> {
    session: &'s mut Session,
    level: Durability,
}

impl Session {
    /// Memory that a session takes when it is made, its share of its store's tables included; the ring of
    /// its spans comes with the first of them. Unit: bytes.
    pub const BYTES: u64 = 6144;

    /// The caller has taken [`Session::BYTES`] from the memory quota; the drop gives them back.
    pub(crate) fn new(inner: Arc<Inner>) -> Session {
        let mut writer = inner.arena.writer();
        let tracing = inner.tracing.as_ref().map(|tracing| {
            let creates = tracing.sampler.local();
            writer.stop_after(u64::from(creates.gap()));
            SessionTracing {
                gap: creates.gap(),
                creates,
                others: tracing.sampler.local(),
                recorder: tracing.collector.recorder(),
                sampler: Arc::clone(&tracing.sampler),
                clock: tracing.collector.clock(),
                names: tracing.names,
            }
        });
        let lane = inner.blackbox.as_ref().map(|recorder| recorder.lane());
        let untraced_gap = match (&tracing, &lane, inner.create_every.checked_sub(1)) {
            (None, Some(_), Some(gap)) => u64::from(gap),
            _ => u64::MAX,
        };
        if tracing.is_none() {
            writer.stop_after(untraced_gap);
        }
        let cell = inner.guardian.cell();
        let logged = inner.logged;
        Session {
            writer,
            cell,
            tracing,
            lane,
            untraced_gap,
            last_lsn: Lsn::NONE,
            logged,
            waits: true,
            inner,
        }
    }

    /// Waits for no disk from now on: cleanup's, on threads that others wait for.
    pub(crate) fn never_wait(&mut self) {
        self.waits = false;
    }

    /// Stores a token. A timestamp of 0 becomes the present second.
    ///
    /// Not logged: never blocks but for memory, once in 32,768 creates, and for a cleanup at the
    /// quota. Logged: waits at most `wal.full_timeout` for room, then `LogFull`; at Strict until it is
    /// durable, at most `wal.sync_timeout`, then `DurabilityUnknown`.
    // `always`: all but the arena's few instructions is in a function of its own, and a call that
    // carries 64 bytes through memory would cost more than what it calls; that function finds the
    // token with the writer, for the same reason.
    #[inline(always)]
    pub fn create(&mut self, token: &Token) -> Result<TokenId, CreateError> {
        let stamped = self.stamped(token);
        let quick = !self.logged.is_stamped(&stamped);
        if let Some(id) = self.writer.create_or_keep(&stamped, quick) {
            return Ok(id);
        }
        self.create_kept()
    }

    /// Stores all `tokens` and appends their ids to `ids`, in the same order. A timestamp of 0 becomes the
    /// present second.
    ///
    /// Logged tokens go in parts of up to [`Store::batch_max`](crate::Store::batch_max): of each part all
    /// are there after a crash or none, and it is refused as a whole; so near a quota or the log's limit a
    /// batch ends up to a part before it, where single creates still fit. Costs less than single creates:
    /// one claim of the log for a part, one look at what is due for as long as nothing is.
    ///
    /// Tokens that are not logged go one by one. Where cleanup is on, it may evict the first of them while
    /// the last are created, as it may with single creates.
    ///
    /// Blocks as that many [`Session::create`] would; at Strict once, for all of them. A create of it that
    /// is sampled has a span as long as its part. Errors: how many exist nevertheless, the first ones.
    pub fn create_batch(
        &mut self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
    ) -> Result<(), CreateBatchError> {
        self.create_batch_at(tokens, ids, Durability::Relaxed)
    }

    /// The token, or `None` if `id` names no live one. Waits only while one write of this very token
    /// is in progress.
    #[inline]
    pub fn get(&self, id: TokenId) -> Option<Token> {
        self.inner.arena.get(id)
    }

    /// Appends what [`Session::get`] gives for each id.
    pub fn get_many(&self, ids: &[TokenId], out: &mut Vec<Option<Token>>) {
        self.inner.arena.get_many(ids, out);
    }

    /// Replaces the token at `id`. A timestamp of 0 becomes the present second.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn update(&mut self, id: TokenId, token: &Token) -> Result<(), WriteError> {
        self.update_at(id, token, Durability::Relaxed)
    }

    /// Replaces the token at `id` if it is `expected`; else `Conflict` with what it is.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn update_if(
        &mut self,
        id: TokenId,
        expected: &Token,
        new: &Token,
    ) -> Result<(), WriteError> {
        self.update_if_at(id, expected, new, Durability::Relaxed)
    }

    /// Replaces the token at `id` by what `change` makes of it. Runs `change` on a copy, and again
    /// if somebody else wrote meanwhile. Returns the new token.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn modify(
        &mut self,
        id: TokenId,
        change: impl FnMut(Token) -> Token,
    ) -> Result<Token, WriteError> {
        self.modify_at(id, change, Durability::Relaxed)
    }

    /// Removes the token at `id`.
    ///
    /// Blocks as a logged [`Session::create`] does.
    pub fn delete(&mut self, id: TokenId) -> Result<(), WriteError> {
        self.delete_at(id, Durability::Relaxed)
    }

    /// Replaces each token by the one beside its id, in order. A timestamp of 0 becomes the present second.
    ///
    /// In parts, as [`Session::create_batch`]. An id named twice, or one that somebody else writes at this
    /// moment, ends a part: so each part is whole after a crash, and how the batch was parted is not known.
    /// Blocks as a logged [`Session::create`] does, and while a first token of a part is being written by
    /// somebody else. Errors: how many are written nevertheless, the first ones; a stale id ends the batch.
    pub fn update_batch(&mut self, updates: &[(TokenId, Token)]) -> Result<(), WriteBatchError> {
        self.update_batch_at(updates, Durability::Relaxed)
    }

    /// Removes the tokens, in order. As [`Session::update_batch`]: an id that is stale, or named twice,
    /// ends the batch there.
    pub fn delete_batch(&mut self, ids: &[TokenId]) -> Result<(), WriteBatchError> {
        self.delete_batch_at(ids, Durability::Relaxed)
    }

    /// The next write at `level`, or at the store's own if that is higher.
    pub fn with(&mut self, level: Durability) -> Raised<'_> {
        Raised { session: self, level }
    }

    /// Record of this session's last logged operation; [`Lsn::NONE`] without one.
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    #[inline(always)]
    fn stamped(&self, token: &Token) -> Token {
        let seconds = match token.timestamp() {
            0 => self.inner.seconds.load(Relaxed),
            set => set,
        };
        token.with_timestamp(seconds)
    }
}

impl Raised<'_> {
    /// As [`Session::create`].
    pub fn create(self, token: &Token) -> Result<TokenId, CreateError> {
        self.session.create_logged(token, self.level)
    }

    /// As [`Session::create_batch`].
    pub fn create_batch(
        self,
        tokens: &[Token],
        ids: &mut Vec<TokenId>,
    ) -> Result<(), CreateBatchError> {
        self.session.create_batch_at(tokens, ids, self.level)
    }

    /// As [`Session::update_batch`].
    pub fn update_batch(self, updates: &[(TokenId, Token)]) -> Result<(), WriteBatchError> {
        self.session.update_batch_at(updates, self.level)
    }

    /// As [`Session::delete_batch`].
    pub fn delete_batch(self, ids: &[TokenId]) -> Result<(), WriteBatchError> {
        self.session.delete_batch_at(ids, self.level)
    }

    /// As [`Session::update`].
    pub fn update(self, id: TokenId, token: &Token) -> Result<(), WriteError> {
        self.session.update_at(id, token, self.level)
    }

    /// As [`Session::update_if`].
    pub fn update_if(self, id: TokenId, expected: &Token, new: &Token) -> Result<(), WriteError> {
        self.session.update_if_at(id, expected, new, self.level)
    }

    /// As [`Session::modify`].
    pub fn modify(
        self,
        id: TokenId,
        change: impl FnMut(Token) -> Token,
    ) -> Result<Token, WriteError> {
        self.session.modify_at(id, change, self.level)
    }

    /// As [`Session::delete`].
    pub fn delete(self, id: TokenId) -> Result<(), WriteError> {
        self.session.delete_at(id, self.level)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.inner.status.is_home() {
            // The last handle of a store would close it, and all that the parent shares with this process.
            std::mem::forget(Arc::clone(&self.inner));
            // Locks that a thread of the parent held at the fork stay locked here.
            self.writer.abandon();
            self.cell.abandon();
            std::mem::forget((self.tracing.take(), self.lane.take()));
            return;
        }
        if !mutants::on("store-last-gap-not-told") {
            self.tell_gap();
        }
        let leasing = self.inner.status.leasing.read();
        let unused = self.writer.hand_back();
        self.inner.guardian.release_unused(u64::from(unused));
        drop(leasing);
        self.inner.guardian.release_fixed(Session::BYTES);
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("last_lsn", &self.last_lsn).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::trace::{MemorySink, SamplerConfig};
    use crate::{Config, Health, Store, Token};
    use ng_wal::{Lsn, WaitError};
    use std::time::Duration;

    /// It made the store read-only for good.
    #[test]
    fn a_wait_that_was_too_short_for_the_disk_leaves_the_store_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Config::default()).unwrap();
        let mut session = store.session();
        let (lsn, durable_lsn) = (Lsn::new(9), Lsn::new(8));
        let waited = Duration::from_secs(1);
        session.heed_wait(&WaitError::TimedOut { lsn, durable_lsn, waited, refused: None });
        assert_eq!(store.health(), Health::Healthy);
        session.create(&Token::builder().build().unwrap()).unwrap();
    }

    /// Cleanup's own session, kept for the next one, holds the store that it is part of.
    #[test]
    fn a_dropped_store_frees_its_memory_though_it_has_evicted() {
        let mut config = Config::default();
        config.guardian.max_tokens = Some(100);
        let store = Store::in_memory(config).unwrap();
        let mut session = store.session();
        let token = Token::builder().build().unwrap();
        (0..300).for_each(|_| _ = session.create(&token).unwrap());
        assert!(store.stats().tokens_evicted_total > 0);
        let inner = std::sync::Arc::downgrade(&store.inner);
        drop(session);
        drop(store);
        assert!(inner.upgrade().is_none());
    }

    /// As the pulse does it.
    fn sample_at(store: &Store, rate: f64) {
        let tracing = store.inner.tracing.as_ref().unwrap();
        tracing.sampler.reconfigure(SamplerConfig::fixed_rate(rate)).unwrap();
        store.inner.arena.alert_writers();
    }

    /// Of 20,000 sessions with one create each, 191 were counted.
    #[test]
    fn creates_of_a_session_that_ends_within_its_gap_are_decided_ones_too() {
        let mut config = Config::default();
        config.trace.sampler = SamplerConfig::fixed_rate(0.01);
        let store = Store::builder(config).sink(Box::new(MemorySink::new())).in_memory().unwrap();
        let token = Token::builder().build().unwrap();
        for _ in 0..2_000 {
            store.session().create(&token).unwrap();
        }
        assert_eq!(store.stats().sampler.unwrap().samples_total, 2_000);
    }

    /// Weights of the spans would add up to too little if a session heard of a change where its gap
    /// ends, and it would obey thousands of creates late.
    #[test]
    fn a_session_obeys_a_changed_rate_at_its_next_create_wherever_it_stands() {
        let mut config = Config::default();
        config.trace.sampler = SamplerConfig::fixed_rate(1e-6);
        let store = Store::builder(config).sink(Box::new(MemorySink::new())).in_memory().unwrap();
        let mut session = store.session();
        let token = Token::builder().build().unwrap();
        // Leases have 1,024 slots; a gap that finds nothing ends after 4,096.
        for creates in [0, 1, 1_022, 1_023, 1_024, 4_095, 4_096, 5_000] {
            sample_at(&store, 1e-6);
            (0..creates).for_each(|_| _ = session.create(&token).unwrap());
            let sampled = || store.stats().sampler.unwrap().samples_recorded_total;
            let before = sampled();
            sample_at(&store, 1.0);
            session.create(&token).unwrap();
            session.create(&token).unwrap();
            assert_eq!(sampled() - before, 2, "after {creates} creates");
            sample_at(&store, 0.0);
            session.create(&token).unwrap();
            assert_eq!(sampled() - before, 2, "and off again after {creates}");
        }
    }
}
