//! The two things under load, made alike: the arena's writer alone, and the whole store. This file
//! knows the store's settings; everything else speaks of parts that are on or off.

use std::path::Path;

use neurograph::core::{Arena, ArenaConfig, Writer};
use neurograph::guardian::PressureSources;
use neurograph::trace::{CountingSink, SamplerConfig, Sink};
use neurograph::{Config, Durability, Persist, Session, Store, Token, TokenId};

use crate::args::DurabilityArg;
use crate::failure::Failure;
use crate::fill::Subject;
use crate::interrupt;
use crate::plan::Plan;

/// Most memory of one thread's span ring, as the project's bar allows.
const SPAN_RING_BYTES: usize = 4 << 20;

/// Slots reserved for each token of the quota, on both sides: address space, not memory.
const SLOTS_PER_TOKEN: u64 = 4;

/// Which parts of the store are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Quotas of tokens and memory.
    pub guardian: bool,
    /// The log.
    pub wal: bool,
    /// The sampler, at a fixed rate, and the span rings with their drain.
    pub trace: bool,
    /// A thread that scrapes the metrics page.
    pub metrics: bool,
    /// The flight recorder.
    pub blackbox: bool,
}

impl Parts {
    /// The facade alone.
    pub const NONE: Self =
        Self { guardian: false, wal: false, trace: false, metrics: false, blackbox: false };
    /// The full stack.
    pub const ALL: Self =
        Self { guardian: true, wal: true, trace: true, metrics: true, blackbox: true };
    /// Only quotas.
    pub const GUARDIAN: Self = Self { guardian: true, ..Self::NONE };
    /// Only the log.
    pub const WAL: Self = Self { wal: true, ..Self::NONE };
    /// Only tracing.
    pub const TRACE: Self = Self { trace: true, ..Self::NONE };
    /// Only the scraper.
    pub const METRICS: Self = Self { metrics: true, ..Self::NONE };
    /// Only the flight recorder.
    pub const BLACKBOX: Self = Self { blackbox: true, ..Self::NONE };
}

/// An arena as both sides have it.
pub fn arena(plan: &Plan) -> Result<Arena, Failure> {
    let mut config = ArenaConfig::default();
    config.max_slots = max_slots(plan);
    Arena::new(config).map_err(Failure::subject("cannot make the arena"))
}

/// A store with `parts` on. It lives in `dir`, which must not exist yet, as far as a part needs one.
pub fn store(plan: &Plan, parts: Parts, dir: &Path) -> Result<Store, Failure> {
    let builder = Store::builder(config(plan, parts)).sink(Box::new(CountingSink::default()));
    // No interrupt between making the directory and the end of opening.
    let _owned = interrupt::owned();
    let store = if parts.wal || parts.blackbox { builder.open(dir) } else { builder.in_memory() };
    store.map_err(Failure::subject("cannot open the store"))
}

fn config(plan: &Plan, parts: Parts) -> Config {
    let mut config = Config::bare();
    config.persist = Persist::Flagged;
    config.arena.max_slots = Some(max_slots(plan));
    if parts.guardian {
        config.guardian.max_tokens = Some(plan.tokens);
        config.guardian.max_memory_bytes = Some(plan.max_memory_bytes());
        config.guardian.memory_threshold = 0.95;
        config.guardian.pressure_sources = PressureSources::default();
        // The run fills the quota to the last token and then counts refusals; a cleanup would make
        // room instead, and lose tokens that are read back.
        config.guardian.enable_aggressive_cleanup = false;
    }
    if parts.wal {
        config.wal.enabled = true;
        config.wal.durability = durability(plan.durability);
        config.wal.log_bytes_max = config.wal.log_bytes_max.max(plan.log_bytes_max());
    }
    if parts.trace {
        config.trace.installed = true;
        config.trace.sampler = strict(plan.sample_rate);
        config.trace.collector.ring_bytes = SPAN_RING_BYTES;
    }
    config.blackbox.enabled = parts.blackbox;
    config
}

/// Exactly `rate`, with the controller at work all the same: it has nowhere else to go.
fn strict(rate: f64) -> SamplerConfig {
    let mut config = SamplerConfig::default();
    (config.base_rate, config.min_rate, config.max_rate) = (rate, rate, rate);
    config
}

fn max_slots(plan: &Plan) -> u64 {
    plan.tokens * SLOTS_PER_TOKEN
}

/// The store's word for a typed level.
pub fn durability(typed: DurabilityArg) -> Durability {
    match typed {
        DurabilityArg::Relaxed => Durability::Relaxed,
        DurabilityArg::Balanced => Durability::Balanced,
        DurabilityArg::Strict => Durability::Strict,
    }
}

impl Subject for Writer {
    #[inline(always)]
    fn create(&mut self, token: &Token) -> Option<TokenId> {
        Writer::create(self, token).ok()
    }

    #[inline(always)]
    fn delete(&mut self, id: TokenId) -> bool {
        Writer::delete(self, id).is_ok()
    }
}

impl Subject for Session {
    #[inline(always)]
    fn create(&mut self, token: &Token) -> Option<TokenId> {
        Session::create(self, token).ok()
    }

    #[inline(always)]
    fn delete(&mut self, id: TokenId) -> bool {
        Session::delete(self, id).is_ok()
    }
}

/// Token records in the log of a closed store, and errors that its reader met.
pub fn log_records(dir: &Path) -> Result<(u64, u64), Failure> {
    let reader = neurograph::wal::Reader::open(dir.join("wal"))
        .map_err(Failure::subject("cannot read the log"))?;
    let (mut records, mut errors) = (0, 0);
    for record in reader {
        match record {
            Ok(record) if is_token_record(record.kind) => records += 1,
            Ok(_) => {}
            Err(_) => errors += 1,
        }
    }
    Ok((records, errors))
}

/// A store in `dir` that logs every token, and does nothing else.
pub fn logged_store(dir: &Path) -> Result<Store, Failure> {
    traced_logged_store(dir, None)
}

/// A store in `dir` that logs every token and samples as `sampler` says.
pub fn traced_logged_store(dir: &Path, sampler: Option<SamplerConfig>) -> Result<Store, Failure> {
    let mut config = traced(sampler);
    config.persist = Persist::All;
    config.wal.enabled = true;
    let _owned = interrupt::owned();
    Store::open(dir, config).map_err(Failure::subject("cannot open the store"))
}

/// Slots of a warm store: four chunks of 32,768.
pub const WARM_SLOTS: u64 = 4 * 32_768;

/// A store in memory with no more than [`WARM_SLOTS`] slots, so that they are used again and again.
pub fn warm_store(sampler: Option<SamplerConfig>) -> Result<Store, Failure> {
    store_with_sink(sampler, Box::new(CountingSink::default()))
}

/// The same with a sink of the caller's.
pub fn store_with_sink(
    sampler: Option<SamplerConfig>,
    sink: Box<dyn Sink>,
) -> Result<Store, Failure> {
    let mut config = traced(sampler);
    config.arena.max_slots = Some(WARM_SLOTS);
    let store = Store::builder(config).sink(sink).in_memory();
    store.map_err(Failure::subject("cannot open the store"))
}

/// Nothing on but, where there is a sampler, tracing.
fn traced(sampler: Option<SamplerConfig>) -> Config {
    let mut config = Config::bare();
    if let Some(sampler) = sampler {
        config.trace.installed = true;
        config.trace.sampler = sampler;
        config.trace.collector.ring_bytes = SPAN_RING_BYTES;
    }
    config
}

/// Whether a record of the log is a token's: put or deleted. The others are the store's own.
fn is_token_record(kind: u8) -> bool {
    matches!(kind, 1 | 2)
}
