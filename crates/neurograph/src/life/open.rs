//! Opening a store: the order in which its rooms start, and what each is told of the others.
//!
//! Settings, the directory as it says of itself, quotas, the empty arena, log (which locks the directory), replay;
//! then, as nothing can refuse the directory any more, the flight recorder, tracing, metrics; last the pulse. Whatever fails on the way, what was started is stopped by its own drop.

use crate::config::{Config, ConfigError, Persist};
use crate::durable::log::Log;
use crate::durable::logged::Logged;
use crate::durable::place::Place;
use crate::durable::replay::Replay;
use crate::error::OpenError;
use crate::inner::{FixedBytes, Inner, Names, Progress, Status, Tracing};
use crate::life::pulse::{Pulse, unix_seconds};
use crate::observe::{KINDS, LogObserver, SYSTEM_STARTED, WAL_REPLAYED, note};
use crate::stats::RecoveryReport;
use crate::store::{Store, StoreBuilder};
use crate::watch::eviction::EvictionBook;
use crate::watch::export;
use ng_blackbox::{
    Kind, PanicDump, PanicHookGuard, Recorder, Severity, install_bus_guard, install_panic_hook,
    install_panic_hook_with_dump,
};
use ng_core::{Arena, MemoryGate};
use ng_guardian::{Guardian, Holder};
use ng_metrics::Registry;
use ng_trace::{Collector, CountingSink, MemoryBudget, Sampler, Sink, StartError};
use ng_wal::{Directory, Wal};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

/// The guardian's memory quota as the arena asks for it.
struct Gate(Guardian);

impl MemoryGate for Gate {
    fn commit(&self, bytes: u64) -> bool {
        self.0.commit(bytes).is_ok()
    }
    fn uncommit(&self, bytes: u64) {
        self.0.uncommit(bytes);
    }
}

/// The guardian's memory quota as the span collector asks for it: memory that no eviction frees.
#[derive(Debug)]
struct SpanMemory(Guardian);

impl MemoryBudget for SpanMemory {
    fn take(&self, bytes: u64) -> bool {
        self.0.hold_fixed(bytes).is_ok()
    }
    fn give_back(&self, bytes: u64) {
        self.0.release_fixed(bytes);
    }
}

/// Idle credits lie in the arena's leases.
struct Leases {
    arena: Arena,
    status: Arc<Status>,
}

impl Holder for Leases {
    fn recall_idle(&self) -> u64 {
        // Credits on their way into or out of a lease are in nobody's sight: wait until they are there.
        drop(self.status.leasing.write());
        self.arena.recall_idle()
    }
}

/// The arena and, if there is one, its log, as recovery left them.
struct Recovered {
    arena: Arena,
    log: Option<Log>,
    report: RecoveryReport,
}

pub(crate) fn open(builder: StoreBuilder, dir: Option<&Path>) -> Result<Store, OpenError> {
    let StoreBuilder { config, sink, on_evicted } = builder;
    config.validate()?;
    let place = dir.map(|dir| Place::judge(dir, &config)).transpose()?;
    let since = SystemTime::now();
    let status = Arc::new(Status::new());
    let registry = Registry::new("neurograph").map_err(|e| unregistered(&e))?;
    let metrics = export::Registered::new(&registry).map_err(|e| unregistered(&e))?;
    let guardian = Guardian::new(config.guardian.clone()).map_err(ConfigError::from)?;
    // Before any thread begins: to enter a process for memory barriers takes 15 ms where it has several.
    let gate: Arc<dyn MemoryGate> = Arc::new(Gate(guardian.clone()));
    let arena = config.arena(0, Arc::clone(&gate))?;
    let observer = Arc::new(LogObserver {
        blackbox: OnceLock::new(),
        status: Arc::clone(&status),
        arena: OnceLock::new(),
        sync_seconds: metrics.sync_seconds.clone(),
        batch_records: metrics.batch_records.clone(),
    });
    let make = |slots| config.arena(slots, Arc::clone(&gate));
    let recovered = recover(&config, place.as_ref(), arena, make, &guardian, &observer)?;
    let Recovered { arena, log, report } = recovered;
    // Only now: an open that the log refuses must leave the recording of a crash where it is.
    let Blackbox { recorder: blackbox, hook: panic_hook, error: blackbox_error } =
        open_blackbox(&config, place.as_ref());
    // The only setters; a second call could not happen.
    let _first = observer.arena.set(arena.clone());
    let _first = blackbox.as_ref().map(|recorder| observer.blackbox.set(Arc::clone(recorder)));
    let fixed_bytes = FixedBytes {
        wal: log.as_ref().map_or(0, |log| log.wal.stats().memory_bytes),
        blackbox: blackbox.as_ref().map_or(0, |recorder| recorder.bytes()),
    };
    guardian.adopt_fixed(fixed_bytes.wal + fixed_bytes.blackbox);
    let leases = Leases { arena: arena.clone(), status: Arc::clone(&status) };
    let holder: Arc<dyn Holder> = Arc::new(leases);
    guardian.set_holder(&holder);
    let tracing = start_tracing(&config, &guardian, sink)?;
    let logged = match (&log, config.persist) {
        (None, _) => Logged::NEVER,
        (Some(_), Persist::All) => Logged::ALL,
        (Some(_), Persist::Flagged) => Logged::FLAGGED,
    };
    note(&blackbox, SYSTEM_STARTED, Severity::INFO, [report.tokens, report.records, 0, 0]);
    if log.is_some() {
        let ns = report.elapsed.as_nanos() as u64;
        let numbers = [report.records, report.last_lsn.get(), report.torn_bytes, ns];
        note(&blackbox, WAL_REPLAYED, Severity::INFO, numbers);
    }
    let inner = Arc::new(Inner {
        arena,
        guardian,
        _holder: holder,
        log,
        logged,
        place: place.filter(|_| config.wal.enabled),
        tracing,
        blackbox,
        blackbox_error,
        create_every: config.blackbox.create_every,
        _panic_hook: panic_hook,
        registry: registry.clone(),
        create_seconds: metrics.create_seconds,
        rejected: metrics.rejected,
        quota_exceeded: metrics.quota_exceeded,
        seconds: AtomicU32::new(unix_seconds()),
        status,
        pulses: AtomicU64::new(0),
        panics_recovered: AtomicU64::new(0),
        created_shown: AtomicU64::new(0),
        recovery: report,
        fixed_bytes,
        evictor: Mutex::new(None),
        cleaning: Progress::default(),
        cleaner: Mutex::new(None),
        evictions: EvictionBook::new(on_evicted),
        asked_for_room: AtomicBool::new(false),
    });
    let store = Arc::downgrade(&inner);
    registry.source(Box::new(export::StoreSource { store, since }));
    let pulse = Pulse::start(&inner)?;
    Ok(Store { inner, pulse })
}

/// Our own metric names are fixed at build time, so this tells of a bug, not of the world.
fn unregistered(error: &ng_metrics::RegisterError) -> OpenError {
    OpenError::Metrics(error.to_string().into())
}

/// The flight recorder as far as it could be had.
struct Blackbox {
    recorder: Option<Arc<Recorder>>,
    hook: Option<PanicHookGuard>,
    /// What could not be had, and why.
    error: Option<String>,
}

/// A recorder in the directory, or in memory if that can't be had: the store works without it.
fn open_blackbox(config: &Config, place: Option<&Place>) -> Blackbox {
    let section = &config.blackbox;
    if !section.enabled {
        return Blackbox { recorder: None, hook: None, error: None };
    }
    let kinds = [KINDS, &section.kinds].concat();
    let mut errors = Vec::new();
    let mut recorder = place.and_then(|place| on_disk(&place.dir, config, &kinds, &mut errors));
    if recorder.is_none() {
        let made = Recorder::in_memory(section.recorder.clone(), &kinds);
        recorder = made.map_err(|error| errors.push(told(&error))).ok();
    }
    let recorder = recorder.map(Arc::new);
    let hook = match (&recorder, &section.dump_dir) {
        (Some(recorder), Some(dump_dir)) if section.panic_hook => {
            let dump = PanicDump::into_dir(dump_dir);
            let hook = install_panic_hook_with_dump(recorder, &dump);
            hook.map_err(|error| errors.push(format!("{}: {error}", dump_dir.display()))).ok()
        }
        _ => None,
    };
    let hook = match &recorder {
        Some(recorder) if section.panic_hook => {
            Some(hook.unwrap_or_else(|| install_panic_hook(recorder)))
        }
        _ => None,
    };
    let error = (!errors.is_empty()).then(|| errors.join("; "));
    Blackbox { recorder, hook, error }
}

fn on_disk(
    dir: &Directory,
    config: &Config,
    kinds: &[(Kind, &'static str)],
    errors: &mut Vec<String>,
) -> Option<Recorder> {
    let dir = match dir.subdirectory("blackbox") {
        Ok(dir) => dir,
        Err(error) => {
            errors.push(format!("{}: {error}", dir.path().join("blackbox").display()));
            return None;
        }
    };
    if config.blackbox.bus_guard
        && let Err(error) = install_bus_guard()
    {
        errors.push(format!("no bus guard: {error}"));
    }
    #[cfg(unix)]
    let opened = Recorder::create_in(&dir, dir.path(), config.blackbox.recorder.clone(), kinds);
    #[cfg(not(unix))]
    let opened = Recorder::open(dir.path(), config.blackbox.recorder.clone(), kinds);
    match opened {
        Ok(recorder) => Some(recorder),
        Err(error) => {
            errors.push(told(&error));
            None
        }
    }
}

/// With what is behind it.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Fills the empty arena with what the log has; `make` gives one with room for so many slots, should that be too small.
fn recover(
    config: &Config,
    place: Option<&Place>,
    arena: Arena,
    make: impl Fn(u64) -> Result<Arena, OpenError>,
    guardian: &Guardian,
    observer: &Arc<LogObserver>,
) -> Result<Recovered, OpenError> {
    let place = match place {
        Some(place) if config.wal.enabled => place,
        _ => return Ok(Recovered { arena, log: None, report: RecoveryReport::default() }),
    };
    let start = Instant::now();
    let mut settings = config.wal_config();
    (settings.store_uuid, settings.needs) = place.expects();
    settings.observer = Some(Arc::clone(observer) as Arc<dyn ng_wal::WalObserver>);
    let mut replay = Replay::new(arena);
    let visit = |records: ng_wal::Records<'_>| replay.apply_all(records);
    let (wal, recovery) = Wal::open_in_replaying(place.log_dir()?, settings, visit)?;
    place.opened(&recovery, config.persist)?;
    let replayed = replay.finish(&recovery, place.generation(), make)?;
    let arena = replayed.arena;
    let tokens = replayed.restored.tokens;
    guardian.adopt(tokens, replayed.restored.committed_bytes);
    let report = RecoveryReport {
        records: replayed.records,
        tokens,
        last_lsn: recovery.last_lsn,
        torn_bytes: recovery.torn_bytes,
        clean: replayed.clean,
        over_quota: config.guardian.max_tokens.is_some_and(|limit| tokens > limit),
        generation_floor: replayed.floor,
        elapsed: start.elapsed(),
        ..RecoveryReport::default()
    };
    arena.set_generation_limit(replayed.ceiling);
    let log = Log::new(wal, &config.wal, replayed.ceiling);
    if !log.covers(replayed.floor) {
        log.announce(replayed.ceiling.max(replayed.floor));
    }
    Ok(Recovered { arena, log: Some(log), report })
}

fn start_tracing(
    config: &Config,
    guardian: &Guardian,
    sink: Option<Box<dyn Sink>>,
) -> Result<Option<Tracing>, OpenError> {
    if !config.trace.installed {
        return Ok(None);
    }
    let sampler = Sampler::new(config.trace.sampler.clone()).map_err(ConfigError::from)?;
    let sink = sink.unwrap_or_else(|| Box::new(CountingSink::new()));
    let budget = Box::new(SpanMemory(guardian.clone()));
    let collector = match Collector::start_within(config.trace.collector.clone(), sink, budget) {
        Ok(collector) => collector,
        Err(StartError::Thread { name, source }) => return Err(OpenError::Thread { name, source }),
        Err(error) => return Err(OpenError::FirstRecords(Box::new(error))),
    };
    let names = Names {
        create: collector.name("token.create"),
        update: collector.name("token.update"),
        delete: collector.name("token.delete"),
        token: collector.name("ng.token.id"),
        lsn: collector.name("ng.log.lsn"),
    };
    Ok(Some(Tracing { sampler: Arc::new(sampler), collector, names }))
}
