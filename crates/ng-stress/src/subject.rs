//! The two things under load, made alike: the arena's writer alone, and the whole store. This file
//! knows the store's settings; everything else speaks of parts that are on or off.

use std::path::Path;

use neurograph::core::{Arena, ArenaConfig, Writer};
use neurograph::guardian::PressureSources;
use neurograph::trace::{CountingSink, SamplerConfig, Sink};
use neurograph::{Config, Durability, Persist, Session, Store, Token, TokenId};

use crate::args::DurabilityArg;
use crate::failure::{Answer, Failure};
use crate::fill::Subject;
use crate::interrupt;
use crate::plan::{CLEANUP_SHARE, Plan, SPAN_RING_BYTES};

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

/// An arena for `threads` creators, as both sides have it.
pub fn arena(plan: &Plan, threads: usize) -> Result<Arena, Failure> {
    let mut config = ArenaConfig::default();
    config.max_slots = plan.max_slots(threads);
    Arena::new(config).map_err(Failure::subject("cannot make the arena"))
}

/// A store with `parts` on, for `threads` creators. It lives in `dir`, which must not exist yet, as far as a
/// part needs one.
///
/// Its quotas are those of a timed region: cleanup is on, and the tokens stay below where it begins.
pub fn store(plan: &Plan, parts: Parts, threads: usize, dir: &Path) -> Result<Store, Failure> {
    let builder =
        Store::builder(config(plan, parts, threads)).sink(Box::new(CountingSink::default()));
    // No interrupt between making the directory and the end of opening.
    let _owned = interrupt::owned();
    let store = if parts.wal || parts.blackbox { builder.open(dir) } else { builder.in_memory() };
    store.map_err(Failure::subject("cannot open the store"))
}

/// Lowers the quota of a store to exactly --tokens, and switches cleanup off: at its quota it would make room
/// for the creates that are to be refused, and lose tokens that are read back.
pub fn at_the_quota(plan: &Plan, store: &Store, threads: usize) {
    store.set_aggressive_cleanup(false);
    store.set_limits(Some(plan.tokens), Some(plan.max_memory_bytes(threads)));
}

/// A store in `dir` with a quota of twice the tokens, whose cleanup is on and tells `observe` of each token that it evicts.
/// Marked tokens are logged.
pub fn pressed_store(
    plan: &Plan,
    dir: &Path,
    observe: impl Fn(TokenId) + Send + Sync + 'static,
) -> Result<Store, Failure> {
    let mut config = Config::bare();
    config.persist = Persist::Flagged;
    config.arena.max_slots = Some(plan.max_slots(plan.threads));
    config.guardian.max_tokens = Some(2 * plan.tokens);
    config.guardian.memory_threshold = CLEANUP_SHARE;
    config.guardian.pressure_sources = PressureSources::default();
    config.guardian.enable_aggressive_cleanup = true;
    config.wal.enabled = true;
    config.wal.durability = durability(plan.durability);
    config.wal.log_bytes_max = config.wal.log_bytes_max.max(80 * plan.tokens);
    let builder = Store::builder(config).on_evicted(move |id, _, _| observe(id));
    let _owned = interrupt::owned();
    builder.open(dir).map_err(Failure::subject("cannot open the store"))
}

fn config(plan: &Plan, parts: Parts, threads: usize) -> Config {
    let mut config = Config::bare();
    config.persist = Persist::Flagged;
    config.arena.max_slots = Some(plan.max_slots(threads));
    if parts.guardian {
        config.guardian.max_tokens = Some(plan.timed_quota(threads));
        config.guardian.max_memory_bytes = Some(plan.max_memory_bytes(threads));
        config.guardian.memory_threshold = CLEANUP_SHARE;
        config.guardian.pressure_sources = PressureSources::default();
        config.guardian.enable_aggressive_cleanup = true;
    }
    if parts.wal {
        config.wal.enabled = true;
        config.wal.durability = durability(plan.durability);
        config.wal.log_bytes_max = config.wal.log_bytes_max.max(plan.log_bytes_max());
    }
    if parts.trace {
        config.trace.installed = true;
        config.trace.sampler = strict(plan.sample_rate);
        config.trace.collector.ring_bytes = SPAN_RING_BYTES as usize;
    }
    config.blackbox.enabled = parts.blackbox;
    config
}

/// Exactly `rate`, with the controller at work all the same: it has nowhere else to go. No ceiling: who asks for
/// a share of the creates gets it, however fast they come.
fn strict(rate: f64) -> SamplerConfig {
    let mut config = SamplerConfig::default();
    (config.base_rate, config.min_rate, config.max_rate) = (rate, rate, rate);
    config.spans_per_second = u32::MAX;
    config
}

/// Size of the largest file that a store makes: a segment of its log, which has its full length from the start.
pub fn largest_file_bytes() -> u64 {
    Config::bare().wal.segment_bytes
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
    fn create(&mut self, token: &Token) -> Result<TokenId, Answer> {
        Writer::create(self, token).map_err(answer)
    }

    #[inline(always)]
    fn delete(&mut self, id: TokenId) -> Result<(), Answer> {
        Writer::delete(self, id).map_err(answer)
    }
}

impl Subject for Session {
    #[inline(always)]
    fn create(&mut self, token: &Token) -> Result<TokenId, Answer> {
        Session::create(self, token).map_err(answer)
    }

    #[inline(always)]
    fn delete(&mut self, id: TokenId) -> Result<(), Answer> {
        Session::delete(self, id).map_err(answer)
    }
}

/// Apart from the timed loops, which never come here.
#[cold]
#[inline(never)]
fn answer<E: Into<Answer>>(error: E) -> Answer {
    error.into()
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

/// Slots of a store that logs every token: five times what is alive in one, and no address space beyond that.
const LOGGED_SLOTS: u64 = 32 * 32_768;

/// A store in `dir` that logs every token, and does nothing else.
pub fn logged_store(dir: &Path) -> Result<Store, Failure> {
    traced_logged_store(dir, None)
}

/// A store in `dir` that logs every token and samples as `sampler` says.
pub fn traced_logged_store(dir: &Path, sampler: Option<SamplerConfig>) -> Result<Store, Failure> {
    let mut config = traced(sampler);
    config.persist = Persist::All;
    config.wal.enabled = true;
    config.arena.max_slots = Some(LOGGED_SLOTS);
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
        config.trace.collector.ring_bytes = SPAN_RING_BYTES as usize;
    }
    config
}

/// Whether a record of the log is a token's: put or deleted. The others are the store's own.
fn is_token_record(kind: u8) -> bool {
    matches!(kind, 1 | 2)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use neurograph::trace::{ControlInput, Sampler};

    use super::*;

    /// At 60 million creates a second the ceiling of the defaults left a fortieth of what was asked for.
    #[test]
    fn the_sampled_share_holds_for_creates_as_fast_as_they_come() {
        let sampler = Arc::new(Sampler::new(strict(0.01)).unwrap());
        let mut local = sampler.local();
        let mut sampled = 0;
        for _step in 0..10 {
            sampled += (0..200_000).filter(|_| local.arrive().is_some()).count() as u64;
            let input = ControlInput::new(sampled, 2_000_000, Duration::from_millis(3));
            sampler.control_step(&input.with_sampled(sampled));
        }
        // Of 2,000,000 by chance: 20,000, and six deviations of 141.
        assert!((19_156..=20_844).contains(&sampled), "{sampled} of 2,000,000");
        assert_eq!(sampler.stats().samples_capped_total, 0);
    }
}
