//! The guardian itself: ties the ledger of credits, the memory quota, the levels and the cleanup
//! together. Starts no thread; its owner calls [`Guardian::pulse`].

use std::path::PathBuf;
use std::time::Instant;

use crossbeam_utils::CachePadded;

use crate::balance::Balance;
use crate::cleanup::{Amounts, Cleanup, CleanupGoal, CleanupReport, Population, Rules};
use crate::config::{GuardianConfig, Limits, PressureMode};
use crate::error::{ConfigError, Refusal};
use crate::ledger::{Granted, Holder, Ledger, ReleaseCell};
use crate::level::{Cause, Input, Ladders, Level, LevelChange};
use crate::mutants;
use crate::pressure::{Figure, KernelReader, Reading, STALL_FULL_CENTS, Source};
use crate::quota::Quota;
use crate::stats::GuardianStats;
use crate::sync::atomic::{
    AtomicBool, AtomicI64, AtomicU8, AtomicU64,
    Ordering::{AcqRel, Relaxed},
};
use crate::sync::{Arc, Mutex};
use crate::vain::{Until, Vain, VainMemory};

/// Decides who may use how much: exact quotas of credits and of bytes, a level that says how near
/// they are, and a cleanup that makes room.
///
/// A clone is another handle of the same guardian.
#[derive(Clone, Debug)]
pub struct Guardian {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ledger: Arc<Ledger>,
    memory: CachePadded<Quota>,
    /// Bytes committed and given back, the fixed ones included.
    memory_balance: Balance,
    /// Bytes that no eviction frees.
    fixed: Balance,
    /// See [`Inner::settled_bytes`].
    settled: AtomicU64,
    /// Bytes that may still be committed until the next reading; only in process mode.
    budget: AtomicI64,
    fragmented_bytes: AtomicU64,
    /// What a member occupies, as the population said last.
    member_bytes: AtomicU64,
    level: AtomicU8,
    /// A cleanup has ended since the last pulse: what it could not free, another would not either.
    cleaned: AtomicBool,
    vain: VainMemory,
    counts: Counts,
    /// Serializes changes of the settings; outermost of the locks.
    changing: Mutex<()>,
    config: Mutex<GuardianConfig>,
    /// Serializes pulses.
    kernel: Mutex<Kernel>,
    reading: Mutex<Reading>,
    /// Serializes cleanups.
    cleaning: Mutex<()>,
}

#[derive(Debug)]
struct Kernel {
    reader: KernelReader,
    ladders: Ladders,
}

#[derive(Debug, Default)]
struct Counts {
    refusals_memory: AtomicU64,
    refusals_pressure: AtomicU64,
    level_changes: AtomicU64,
    pulses: AtomicU64,
    cleanups: AtomicU64,
    cleanups_vain: AtomicU64,
    cleanups_skipped: AtomicU64,
    evicted: AtomicU64,
    cleanup_freed_bytes: AtomicU64,
    cleanup_ns: AtomicU64,
}

/// A budget of this much or more is none. Far from `i64::MAX`, so that giving back bytes across a
/// change of mode cannot overflow.
const NO_BUDGET: i64 = 1 << 60;

/// What one pulse found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PulseReport {
    /// The level from now on.
    pub level: Level,
    /// Set if this pulse changed it.
    pub changed: Option<LevelChange>,
    /// What the kernel's files said.
    pub reading: Reading,
    /// Cleanup is switched on, the level is soft or above, more is in use than the low-water mark, and
    /// eviction could change that: call [`Guardian::cleanup`] with [`CleanupGoal::LowWater`].
    pub cleanup_due: bool,
}

impl Guardian {
    /// A guardian with these settings, nothing in use, and a first reading of the kernel's files.
    ///
    /// Errors: the first bad field.
    pub fn new(config: GuardianConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let reader = KernelReader::find(&config.kernel_root);
        let reading = reader.read(config.pressure_sources);
        let inner = Inner {
            ledger: Arc::new(Ledger::new(config.max_tokens, config.lease_credits_max)),
            memory: CachePadded::new(Quota::new(config.max_memory_bytes)),
            memory_balance: Balance::default(),
            fixed: Balance::default(),
            settled: AtomicU64::new(0),
            budget: AtomicI64::new(NO_BUDGET),
            fragmented_bytes: AtomicU64::new(0),
            member_bytes: AtomicU64::new(0),
            level: AtomicU8::new(Level::Normal as u8),
            cleaned: AtomicBool::new(false),
            vain: VainMemory::default(),
            counts: Counts::default(),
            changing: Mutex::new(()),
            config: Mutex::new(config.clone()),
            kernel: Mutex::new(Kernel { reader, ladders: Ladders::default() }),
            reading: Mutex::new(reading),
            cleaning: Mutex::new(()),
        };
        inner.take_in(reading, &config);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reserves 1 to `want` credits, fewer near the limit so that nobody hoards the rest; 0 for 0.
    /// Each granted credit counts as used until it is released.
    ///
    /// Refuses only if at some instant during this call every credit was taken; credits idle in
    /// leases (see [`Holder`]) and in release cells are fetched first. Never above the limit.
    ///
    /// One compare-and-swap while credits are left; otherwise it waits for a lock and calls the
    /// holder. Never waits for credits.
    pub fn reserve(&self, want: u32) -> Result<Granted, Refusal> {
        self.inner.ledger.reserve(want)
    }

    /// As [`reserve`](Self::reserve), but only from the pool: never blocks, calls nobody, and may
    /// be called under a lock that [`Holder::recall_idle`] takes. `None` is no refusal: call
    /// `reserve(1)` next, outside that lock.
    pub fn try_reserve(&self, want: u32) -> Option<Granted> {
        self.inner.ledger.try_reserve(want)
    }

    /// Gives credits back to the pool at once, and wakes those who wait for some.
    ///
    /// More than are out are a bug of the caller: a debug build panics, any other gives back as
    /// many as are out and counts the rest in [`GuardianStats::over_released_total`]. So the limit
    /// holds whatever is released; but credits that somebody else still uses may be among them.
    pub fn release(&self, credits: u64) {
        self.inner.ledger.release(credits);
    }

    /// As [`release`](Self::release), for credits that were never used: no member was made with
    /// them. They are then no reason to look again for members that can be evicted.
    pub fn release_unused(&self, credits: u64) {
        self.inner.ledger.release_unused(credits);
    }

    /// A cell through which one holder session gives credits back at no cost to others.
    /// Registers a holder until it is dropped.
    pub fn cell(&self) -> ReleaseCell {
        self.inner.ledger.cell()
    }

    /// Sets who is asked for idle credits, in place of the one before. Held weakly: a holder that
    /// owns this guardian makes no cycle, and one that was dropped is asked no more.
    pub fn set_holder(&self, holder: &Arc<dyn Holder>) {
        self.inner.ledger.set_holder(holder);
    }

    /// Asks the holder once for all that lies idle in leases and puts it into the pool; returns how
    /// many credits that were. For who needs what the leases hold beside their credits: room in
    /// memory, say. [`reserve`](Self::reserve) does it by itself before it refuses.
    ///
    /// Waits for a slow reservation under way.
    pub fn recall_idle(&self) -> u64 {
        self.inner.ledger.recall_idle()
    }

    /// Changes both limits. When it returns, they bind: under a lowered limit of credits every
    /// idle credit has been recalled. A limit below the present use refuses until the use is
    /// under it; nothing is evicted by this call. Waits for a slow reservation under way.
    pub fn set_limits(&self, limits: Limits) {
        let _changing = self.inner.changing.lock();
        let mut config = self.inner.config();
        config.max_tokens = limits.max_tokens;
        config.max_memory_bytes = limits.max_memory_bytes;
        self.inner.apply(config);
    }

    /// Changes all settings but `kernel_root`, as [`set_limits`](Self::set_limits) does the
    /// limits.
    ///
    /// Errors: the first bad field; nothing has changed then.
    pub fn reconfigure(&self, config: GuardianConfig) -> Result<(), ConfigError> {
        config.validate()?;
        let _changing = self.inner.changing.lock();
        let kernel_root = self.inner.config().kernel_root;
        self.inner.apply(GuardianConfig { kernel_root, ..config });
        Ok(())
    }

    /// The settings in force.
    pub fn config(&self) -> GuardianConfig {
        self.inner.config()
    }

    /// Counts `bytes` of memory as in use, or refuses and changes nothing. Exact, and one
    /// compare-and-swap: made for chunks, not for single members.
    pub fn commit(&self, bytes: u64) -> Result<(), Refusal> {
        self.inner.commit(bytes)
    }

    /// Counts `bytes` as no longer in use. More than are in use are a bug of the caller, as for
    /// [`release`](Self::release); see [`GuardianStats::over_uncommitted_bytes_total`].
    pub fn uncommit(&self, bytes: u64) {
        self.inner.uncommit(bytes);
    }

    /// Counts what exists already, as after a recovery: `credits` and `bytes` in use whether or
    /// not they fit. Above a limit, everything is refused until the use is under it. For the time
    /// before the first reservation. The bytes are those that evicting members frees; for others
    /// see [`adopt_fixed`](Self::adopt_fixed).
    pub fn adopt(&self, credits: u64, bytes: u64) {
        self.inner.ledger.adopt(credits);
        self.inner.adopt_bytes(bytes);
    }

    /// As [`commit`](Self::commit), for memory that no eviction frees: a buffer, a log, a ring.
    ///
    /// It counts as memory in use like any other, and is refused where it does not fit beside the
    /// rest. It evicts nobody: members that had their memory keep it, however much is held here. But it
    /// takes its part of the limit first: when members want more, a cleanup for memory's sake goes down to
    /// the low-water mark's share of what is left, and is not begun where nothing is left.
    pub fn hold_fixed(&self, bytes: u64) -> Result<(), Refusal> {
        self.inner.take_bytes(bytes)?;
        self.inner.fixed.hand_out(bytes);
        Ok(())
    }

    /// Gives back what [`hold_fixed`](Self::hold_fixed) or [`adopt_fixed`](Self::adopt_fixed)
    /// counted. More than that is a bug of the caller, as for [`uncommit`](Self::uncommit).
    pub fn release_fixed(&self, bytes: u64) {
        self.inner.fixed.take_back(bytes, "fixed bytes", |bytes| self.inner.uncommit(bytes));
    }

    /// As [`hold_fixed`](Self::hold_fixed), for what exists already: in use whether or not it fits.
    pub fn adopt_fixed(&self, bytes: u64) {
        self.inner.fixed.hand_out(self.inner.adopt_bytes(bytes));
    }

    /// Says that a member which could not be evicted has become one that can, by an update. A
    /// cleanup that found nothing to evict is not tried again before that, a grant, or a change
    /// of the settings. One atomic addition.
    pub fn note_evictable(&self) {
        self.inner.vain.note_change();
    }

    /// The level as of the last pulse: one relaxed load.
    pub fn level(&self) -> Level {
        Level::from_u8(self.inner.level.load(Relaxed))
    }

    /// Reads the kernel's files, harvests the cells and sets the level. To be called by the owner
    /// about each 100 ms, from one thread; takes tens of microseconds.
    pub fn pulse(&self) -> PulseReport {
        self.inner.pulse()
    }

    /// Whether whoever is about to admit should call [`cleanup`](Self::cleanup) with
    /// [`CleanupGoal::LowWater`] first: cleanup is switched on, the level is hard or above, eviction
    /// could help, and no cleanup has ended since the last pulse. So near the limit a
    /// writer helps to make room, at most once a pulse. One relaxed load at lower levels.
    pub fn cleanup_before_admission(&self) -> bool {
        self.level() >= Level::Hard && self.inner.cleanup_may_help()
    }

    /// Evicts members until `goal` is met, none is left, or `stop` says so, which is asked before
    /// each batch and now and then in a scan. One cleanup runs at a time, others wait for it.
    /// Writers are not stopped.
    ///
    /// Members are evicted lowest key first: pinned ones never, durable ones only with
    /// [`Evict::All`](crate::Evict::All). The report's bytes are what the population says it gave
    /// back, never an estimate. Idle credits are recalled first, because they count as use.
    ///
    /// A cleanup that found nothing to evict is remembered, and another is skipped without a look
    /// at the population until a credit was granted, the settings changed, or
    /// [`note_evictable`](Self::note_evictable) was called; where credits were on their way while
    /// it looked, until the next pulse.
    pub fn cleanup(
        &self,
        population: &dyn Population,
        goal: CleanupGoal,
        stop: &dyn Fn() -> bool,
    ) -> CleanupReport {
        self.inner.cleanup(population, goal, stop)
    }

    /// The figures as they stand; harvests the cells first.
    pub fn stats(&self) -> GuardianStats {
        self.inner.stats()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Where stall time can be watched, if it is among the sources.
    pub(crate) fn stalls(&self) -> Vec<(Source, PathBuf)> {
        let wanted = self.inner.config().pressure_sources.stall;
        let kernel = self.inner.kernel.lock();
        if wanted { kernel.reader.stalls().to_vec() } else { Vec::new() }
    }
}

impl Inner {
    fn config(&self) -> GuardianConfig {
        self.config.lock().clone()
    }

    /// Callers hold `changing`.
    fn apply(&self, config: GuardianConfig) {
        *self.config.lock() = config.clone();
        self.ledger.set_lease_credits_max(config.lease_credits_max);
        self.memory.set_limit(config.max_memory_bytes);
        self.ledger.set_limit(config.max_tokens);
        self.vain.note_change();
        self.settled.store(0, Relaxed);
        let kernel = self.kernel.lock();
        self.take_in(kernel.reader.read(config.pressure_sources), &config);
    }

    fn commit(&self, bytes: u64) -> Result<(), Refusal> {
        let taken = self.take_bytes(bytes);
        if taken.is_err() {
            self.settled.store(0, Relaxed);
        }
        // Whoever asks for more has used up what cleanups left free, also where it is refused:
        // else a cleanup would go on counting on it, and never make room again.
        if self.fragmented_bytes.load(Relaxed) != 0
            && (taken.is_ok() || !mutants::on("guardian-refused-commit-keeps-fragments"))
        {
            self.fragmented_bytes.store(0, Relaxed);
        }
        taken
    }

    fn take_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        // The budget first: what it has handed out for a moment in vain makes pressure refuse too
        // early, which is no promise broken; the quota stays exact.
        let budgeted = self.take_budget(bytes).map_err(|left| self.pressure(left, bytes))?;
        if let Err(left) = self.memory.take_exact(bytes) {
            if budgeted && !mutants::on("guardian-budget-not-returned") {
                self.budget.fetch_add(bytes as i64, AcqRel);
            }
            self.counts.refusals_memory.fetch_add(1, Relaxed);
            let limit_bytes = self.memory.limit();
            return Err(Refusal::MemoryExceeded {
                limit_bytes,
                used_bytes: limit_bytes.saturating_add_signed(left.saturating_neg()),
                requested_bytes: bytes,
            });
        }
        self.memory_balance.hand_out(bytes);
        Ok(())
    }

    fn adopt_bytes(&self, bytes: u64) -> u64 {
        let counted = self.memory.adopt(bytes);
        self.memory_balance.hand_out(counted);
        counted
    }

    fn uncommit(&self, bytes: u64) {
        self.memory_balance.take_back(bytes, "bytes", |bytes| self.memory.give(bytes));
    }

    fn fixed_bytes(&self) -> u64 {
        let back = self.fixed.back_total(); // first: what went out meanwhile only adds to the rest
        self.fixed.out_total() - back
    }

    /// Of memory that evicting members frees, so much may stay however much the fixed share grows: what
    /// was in use when it last was within its mark. What somebody asks for in vain ends that.
    fn settled_bytes(&self, evictable: u64, over: u64) -> u64 {
        if over == 0 {
            self.settled.store(evictable, Relaxed);
        }
        self.settled.load(Relaxed)
    }

    /// Memory in use that evicting members frees.
    fn evictable_bytes(&self) -> u64 {
        self.memory.used().saturating_sub(self.fixed_bytes())
    }

    /// Whether the bytes were taken from a budget; what was left if they did not fit.
    fn take_budget(&self, bytes: u64) -> Result<bool, u64> {
        let mut left = self.budget.load(Relaxed);
        loop {
            if left >= NO_BUDGET {
                return Ok(false);
            }
            let room = left.max(0) as u64;
            if bytes > room {
                return Err(room);
            }
            match self.budget.compare_exchange_weak(left, left - bytes as i64, AcqRel, Relaxed) {
                Ok(_) => return Ok(true),
                Err(seen) => left = seen,
            }
        }
    }

    #[cold]
    fn pressure(&self, budget_bytes: u64, requested_bytes: u64) -> Refusal {
        self.counts.refusals_pressure.fetch_add(1, Relaxed);
        let reading = *self.reading.lock();
        let nearest =
            reading.figures().min_by_key(|figure| figure.room_bytes().unwrap_or(u64::MAX));
        let (reported_by, limit_bytes, used_bytes) = match nearest {
            Some(figure) => (figure.source, figure.limit_bytes.unwrap_or(0), figure.used_bytes),
            None => (Source::Process, 0, 0), // the figures went away a moment ago
        };
        Refusal::Pressure { reported_by, limit_bytes, used_bytes, budget_bytes, requested_bytes }
    }

    /// Keeps a reading and sets the budget from it; returns it with the limits it is held against.
    fn take_in(&self, mut reading: Reading, config: &GuardianConfig) -> Reading {
        let mut budget = NO_BUDGET;
        if config.pressure == PressureMode::Process {
            if let Some(Figure { limit_bytes, .. }) = &mut reading.process {
                *limit_bytes = [*limit_bytes, config.max_memory_bytes].into_iter().flatten().min();
            }
            let room = reading.figures().filter_map(|figure| figure.room_bytes()).min();
            budget = room.map_or(NO_BUDGET, |room| room.min(NO_BUDGET as u64) as i64);
        }
        *self.reading.lock() = reading;
        self.budget.store(budget, Relaxed);
        reading
    }

    fn pulse(&self) -> PulseReport {
        let mut kernel = self.kernel.lock();
        let config = self.config();
        let reading = self.take_in(kernel.reader.read(config.pressure_sources), &config);
        self.ledger.harvest();
        self.cleaned.store(false, Relaxed);

        let kernel_most = match config.pressure {
            PressureMode::Signal => Level::Hard,
            PressureMode::Process => Level::Refuse,
        };
        let input = |cause, used, limit, most| Input { cause, used, limit, most };
        let of_quota =
            |cause, quota: &Quota| input(cause, quota.used(), quota.limit_if_any(), Level::Refuse);
        let mut inputs = vec![
            of_quota(Cause::Tokens, self.ledger.pool()),
            of_quota(Cause::Memory, &self.memory),
        ];
        inputs.extend(reading.figures().map(|figure| {
            input(figure.source.cause(), figure.used_bytes, figure.limit_bytes, kernel_most)
        }));
        inputs.extend(
            reading.stall.map(|stall| {
                input(Cause::Stall, stall.cents(), Some(STALL_FULL_CENTS), Level::Hard)
            }),
        );
        let standing = kernel.ladders.step(&inputs, config.memory_threshold);

        let from = Level::from_u8(self.level.swap(standing.level as u8, Relaxed));
        let changed = (from != standing.level).then(|| {
            self.counts.level_changes.fetch_add(1, Relaxed);
            LevelChange {
                from,
                to: standing.level,
                reason: standing.cause,
                share: standing.share,
                used: standing.used,
                limit: standing.limit,
            }
        });
        self.counts.pulses.fetch_add(1, Relaxed);
        let cleanup_due = config.enable_aggressive_cleanup
            && standing.level >= Level::Soft
            && !self.would_be_vain()
            && !self.above_low_water(&config).is_zero();
        PulseReport { level: standing.level, changed, reading, cleanup_due }
    }

    fn cleanup_may_help(&self) -> bool {
        if self.cleaned.load(Relaxed) || self.would_be_vain() {
            return false;
        }
        let config = self.config();
        config.enable_aggressive_cleanup && !self.above_low_water(&config).is_zero()
    }

    fn cleanup(
        &self,
        population: &dyn Population,
        goal: CleanupGoal,
        stop: &dyn Fn() -> bool,
    ) -> CleanupReport {
        let started = Instant::now();
        let _cleaning = self.cleaning.lock();
        let begun = Instant::now();
        let changes = self.vain.changes(); // before anything that a change could make different
        let config = self.config();
        let amounts = match self.still_to_evict(population, goal, &config) {
            Ok(amounts) => amounts,
            Err(skipped) => {
                self.counts.cleanups_skipped.fetch_add(u64::from(skipped), Relaxed);
                let elapsed = started.elapsed();
                return CleanupReport { skipped, elapsed, ..CleanupReport::default() };
            }
        };
        let before = self.moves();
        let credits_over = || match goal {
            CleanupGoal::LowWater => self.credits_above_low_water(&config),
            CleanupGoal::Amount { .. } => u64::MAX,
        };
        let rules = Rules {
            policy: config.cleanup_policy,
            batch: config.cleanup_batch,
            evict: config.evict,
        };
        let run = Cleanup::new(population, rules, amounts, &credits_over, stop);
        let run = match goal {
            CleanupGoal::LowWater => run.down_to(config.low_water).run(),
            CleanupGoal::Amount { .. } => run.run(),
        };
        let mut report = run.report;
        self.vain.set(self.vain_of(&run, changes, before));

        self.member_bytes.store(population.member_bytes(), Relaxed);
        let occupied = report.evicted.saturating_mul(population.member_bytes());
        if report.evicted > 0 {
            // Leases keep the memory around their credits too.
            self.ledger.recall_idle();
            let given_back = population.give_back();
            report.bytes_freed = report.bytes_freed.saturating_add(given_back);
        }
        if mutants::on("guardian-cleanup-claims-what-it-did-not-free") {
            report.bytes_freed = occupied;
        }
        report.elapsed = started.elapsed();

        self.ledger.harvest(); // what was evicted occupies nothing any more
        let kept = occupied.saturating_sub(report.bytes_freed);
        let fragmented = self.fragmented_bytes.load(Relaxed).saturating_add(kept);
        self.fragmented_bytes.store(fragmented.min(self.unoccupied_bytes()), Relaxed);
        self.cleaned.store(!mutants::on("guardian-cleans-again-in-vain"), Relaxed);
        self.count(&report, begun);
        report
    }

    /// What `goal` comes to, once idle credits are back; or that there is nothing to do, and whether
    /// that is because it would be in vain.
    fn still_to_evict(
        &self,
        population: &dyn Population,
        goal: CleanupGoal,
        config: &GuardianConfig,
    ) -> Result<Amounts, bool> {
        let amounts = || match goal {
            CleanupGoal::LowWater => self.above_low_water(config),
            CleanupGoal::Amount { credits, bytes } => Amounts { credits, bytes },
        };
        if amounts().is_zero() {
            return Err(false);
        }
        if !population.has_evictable(config.evict) || self.would_be_vain() {
            return Err(true);
        }
        self.ledger.recall_idle();
        let amounts = amounts();
        if amounts.is_zero() {
            // Not again before the next pulse: it costs each lease its slots.
            self.cleaned.store(true, Relaxed);
            return Err(false);
        }
        if self.would_be_vain() { Err(true) } else { Ok(amounts) }
    }

    /// Would a cleanup find nothing to evict?
    fn would_be_vain(&self) -> bool {
        self.vain.holds(|| self.ledger.ever_used(), || self.counts.pulses.load(Relaxed))
    }

    /// Credits that moved so far, out and back.
    fn moves(&self) -> (u64, u64) {
        self.ledger.harvest();
        let balance = &self.ledger.counts().balance;
        (balance.out_total(), balance.back_total())
    }

    /// What is to be remembered of a cleanup; `before` is what [`Self::moves`] said when it began.
    fn vain_of(&self, run: &Cleanup<'_>, changes: u64, before: (u64, u64)) -> Option<Vain> {
        if !run.was_vain() {
            return None;
        }
        let ever_used = self.ledger.ever_used();
        let after = self.moves();
        let met_all = (before == after && run.met == after.0 - after.1)
            || mutants::on("guardian-vain-trusts-credits-on-their-way");
        let until = if (run.report.considered == 0 || run.all_may_stay) && met_all {
            Until::Grant { ever_used }
        } else {
            Until::Pulse { pulses: self.counts.pulses.load(Relaxed) }
        };
        Some(Vain { changes, until })
    }

    fn count(&self, report: &CleanupReport, begun: Instant) {
        let vain = report.evicted == 0;
        let cleanups = if vain { &self.counts.cleanups_vain } else { &self.counts.cleanups };
        cleanups.fetch_add(1, Relaxed);
        self.counts.evicted.fetch_add(report.evicted, Relaxed);
        self.counts.cleanup_freed_bytes.fetch_add(report.bytes_freed, Relaxed);
        let own_ns = begun.elapsed().as_nanos().try_into().unwrap_or(u64::MAX);
        self.counts.cleanup_ns.fetch_add(own_ns, Relaxed);
    }

    fn credits_above_low_water(&self, config: &GuardianConfig) -> u64 {
        self.ledger.harvest();
        let used = self.ledger.pool().used();
        to_evict(used, used, config.max_tokens, config.low_water)
    }

    /// What a cleanup down to the low-water mark has to evict. Memory that earlier cleanups left
    /// free inside chunks serves new members, so it is no reason to evict more of them.
    fn above_low_water(&self, config: &GuardianConfig) -> Amounts {
        let evictable = self.evictable_bytes();
        let over = |used, limit| to_evict(used, evictable, limit, config.low_water);
        let mut bytes = over(self.memory.used(), config.max_memory_bytes);
        if evictable <= self.settled_bytes(evictable, bytes)
            && !mutants::on("guardian-fixed-growth-evicts")
        {
            bytes = 0; // the fixed share grew, and that evicts nobody
        }
        if config.pressure == PressureMode::Process {
            let over = |figure: Figure| over(figure.used_bytes, figure.limit_bytes);
            bytes = self.reading.lock().figures().map(over).fold(bytes, u64::max);
        }
        Amounts {
            credits: self.credits_above_low_water(config),
            bytes: bytes.saturating_sub(self.fragmented_bytes.load(Relaxed)),
        }
    }

    /// Memory that evicting members frees and that none of them occupies, as far as is known.
    fn unoccupied_bytes(&self) -> u64 {
        let occupied = self.ledger.pool().used().saturating_mul(self.member_bytes.load(Relaxed));
        self.evictable_bytes().saturating_sub(occupied)
    }

    fn stats(&self) -> GuardianStats {
        self.ledger.harvest();
        let ledger = self.ledger.counts();
        let reading = *self.reading.lock();
        GuardianStats {
            max_tokens: self.ledger.pool().limit_if_any(),
            tokens_used: self.ledger.pool().used(),
            granted_total: ledger.balance.out_total(),
            released_total: ledger.balance.back_total(),
            over_released_total: ledger.balance.over_total(),
            refusals_tokens_total: ledger.refusals.load(Relaxed),
            refusals_memory_total: self.counts.refusals_memory.load(Relaxed),
            refusals_pressure_total: self.counts.refusals_pressure.load(Relaxed),
            recalls_total: ledger.recalls.load(Relaxed),
            recalled_credits_total: ledger.recalled_credits.load(Relaxed),
            holders: self.ledger.holders(),
            max_memory_bytes: self.memory.limit_if_any(),
            committed_bytes: self.memory.used(),
            fixed_bytes: self.fixed_bytes(),
            over_uncommitted_bytes_total: self.memory_balance.over_total()
                + self.fixed.over_total(),
            fragmented_bytes: self.fragmented_bytes.load(Relaxed).min(self.unoccupied_bytes()),
            level: Level::from_u8(self.level.load(Relaxed)),
            level_changes_total: self.counts.level_changes.load(Relaxed),
            reading: Some(reading),
            reading_age: reading.at.elapsed(),
            pulses_total: self.counts.pulses.load(Relaxed),
            cleanups_total: self.counts.cleanups.load(Relaxed),
            cleanups_vain_total: self.counts.cleanups_vain.load(Relaxed),
            cleanups_skipped_total: self.counts.cleanups_skipped.load(Relaxed),
            evicted_total: self.counts.evicted.load(Relaxed),
            cleanup_freed_bytes_total: self.counts.cleanup_freed_bytes.load(Relaxed),
            cleanup_ns_total: self.counts.cleanup_ns.load(Relaxed),
        }
    }
}

/// How much of `evictable`, a part of `used`, has to go. The rest is fixed and takes its part of `limit`
/// first; the mark is `share` of what that leaves, so whatever has to go can go. Nothing where nothing
/// is left of the limit: what can't help is not begun.
fn to_evict(used: u64, evictable: u64, limit: Option<u64>, share: f64) -> u64 {
    let Some(limit) = limit else { return 0 };
    let mut fixed = used.saturating_sub(evictable);
    if mutants::on("guardian-fixed-share-evicts") {
        fixed = 0;
    }
    if fixed > limit {
        return 0;
    }
    let mark = ((limit - fixed) as f64 * share) as u64;
    (used - fixed).saturating_sub(mark)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_a_share_of_what_the_fixed_part_leaves() {
        // (used, evictable, limit) at 0.5, and what has to go.
        let table = [
            (40, 40, Some(100), 0),
            (60, 60, Some(100), 10),
            (90, 30, Some(100), 10), // 60 are fixed, so 20 of 40 may stay
            (80, 20, Some(100), 0),
            (100, 1, Some(100), 1), // a mark of half a byte is none
            (100, 0, Some(100), 0),
            (200, 160, Some(100), 130),
            (200, 99, Some(100), 0), // 101 are fixed: nothing helps
            (60, 90, Some(100), 10), // a reading older than a commit
            (7, 7, Some(0), 7),
            (7, 6, Some(0), 0),
            (u64::MAX, u64::MAX, None, 0),
            (u64::MAX, u64::MAX, Some(u64::MAX), u64::MAX / 2),
        ];
        for (used, evictable, limit, goes) in table {
            assert_eq!(to_evict(used, evictable, limit, 0.5), goes, "{used} {evictable} {limit:?}");
        }
    }
}
