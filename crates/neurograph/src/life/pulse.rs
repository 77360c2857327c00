//! The pulse: the store's one thread for all that is periodic. It never blocks on the disk.
//!
//! Each 50 ms the coarse clock; each 100 ms pressure, cleanup, empty chunks, the sampler's control and
//! the id ceiling; each second what tracing costs, and an anchor in the flight recorder. Pressure and
//! cleanup also when the kernel says that tasks wait for memory.

use crate::error::OpenError;
use crate::inner::Inner;
use crate::mutants;
use crate::observe::{
    OVERHEAD_EXCEEDED, PANIC_RECOVERED, PRESSURE_CHANGED, SAMPLING_CHANGED, note,
};
use ng_blackbox::Severity;
use ng_guardian::{Alarm, Woken};
use ng_trace::{ControlInput, Overhead};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

const TICK: Duration = Duration::from_millis(50);
const CARE_TICKS: u64 = 2;
const ANCHOR_TICKS: u64 = 20;
/// Cares between two readings of what tracing costs.
const OVERHEAD_CARES: u64 = 10;

/// The running thread.
pub(crate) struct Pulse {
    alarm: Arc<Alarm>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(crate) fn start(inner: &Arc<Inner>) -> Result<Pulse, OpenError> {
        let alarm = inner.guardian.alarm().map_err(|source| OpenError::Alarm { source })?;
        let alarm = Arc::new(alarm);
        let (inner, bell) = (Arc::downgrade(inner), Arc::clone(&alarm));
        let name = "neurograph-pulse";
        let thread = Builder::new()
            .name(name.to_string())
            .spawn(move || beat(inner, &bell))
            .map_err(|source| OpenError::Thread { name, source })?;
        Ok(Pulse { alarm, thread: Some(thread) })
    }

    /// Ends the thread; a second call does nothing.
    pub(crate) fn stop(&mut self) {
        self.alarm.stop();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed by the hook; the store goes on to close.
            let _ended = thread.join();
        }
    }
}

impl Pulse {
    /// Forgets the thread: in a forked child there is none.
    pub(crate) fn abandon(&mut self) {
        std::mem::forget(self.thread.take());
        std::mem::forget(Arc::clone(&self.alarm));
    }
}

/// Unix seconds; a clock before 1970 or after 2106 is cut to that.
pub(crate) fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn beat(inner: Weak<Inner>, alarm: &Alarm) {
    let mut care = Care::new();
    let stopped = || alarm.is_stopped();
    for tick in 0u64.. {
        let end = Instant::now() + TICK;
        let Some(this) = inner.upgrade() else { return };
        this.set_seconds(unix_seconds());
        if tick.is_multiple_of(CARE_TICKS) {
            guarded(&this, tick, || care.take(&this, &stopped));
        }
        if tick.is_multiple_of(ANCHOR_TICKS)
            && let Some(recorder) = &this.blackbox
        {
            recorder.anchor();
        }
        drop(this);
        loop {
            match alarm.wait(end.saturating_duration_since(Instant::now())) {
                Woken::Stopped => return,
                Woken::Stall => {
                    let Some(this) = inner.upgrade() else { return };
                    guarded(&this, tick, || relieve(&this, &stopped));
                }
                _ => break, // the time is over; whatever else may wake, a pulse too early does no harm
            }
        }
    }
}

/// The clock must go on, whatever breaks in `step`; each of them stands alone.
fn guarded(inner: &Inner, tick: u64, step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        inner.panics_recovered.fetch_add(1, Relaxed);
        note(&inner.blackbox, PANIC_RECOVERED, Severity::ERROR, [tick, 0, 0, 0]);
    }
}

/// Looks at use and pressure, and cleans up if that is due.
fn relieve(inner: &Arc<Inner>, stopped: &dyn Fn() -> bool) {
    let pulse = inner.guardian.pulse();
    if let Some(change) = pulse.changed {
        // A byte each for the level before, the level now, and the reason.
        let what = (change.from as u64) << 16 | (change.to as u64) << 8 | change.reason as u64;
        let millionths = (change.share * 1e6) as u64;
        let numbers = [what, millionths, change.used, change.limit];
        note(&inner.blackbox, PRESSURE_CHANGED, Severity::WARN, numbers);
    }
    // Opening evicts nothing, however many tokens it found.
    let asked = inner.asked_for_room.load(Relaxed) || mutants::on("store-open-evicts");
    if pulse.cleanup_due && asked {
        inner.clean_up(stopped); // if a session is at it already, so much the better
    }
    inner.arena.give_back_empty();
}

/// What has to be remembered from one care to the next.
struct Care {
    last: Instant,
    spans: u64,
    operations: u64,
    sampled: u64,
    cares: u64,
}

impl Care {
    fn new() -> Care {
        Care { last: Instant::now(), spans: 0, operations: 0, sampled: 0, cares: 0 }
    }

    fn take(&mut self, inner: &Arc<Inner>, stopped: &dyn Fn() -> bool) {
        inner.pulses.fetch_add(1, Relaxed);
        relieve(inner, stopped);
        self.control_sampler(inner);
        if let Some(log) = &inner.log {
            log.keep_ceiling_ahead(&inner.arena);
        }
    }

    fn control_sampler(&mut self, inner: &Inner) {
        let Some(tracing) = &inner.tracing else { return };
        let (stats, spans) = (tracing.sampler.stats(), tracing.collector.stats());
        // What a ceiling refused was offered too: the load is what there would have been without it.
        let offered = spans.spans_offered_total + stats.samples_capped_total;
        let sampled = stats.samples_recorded_total + stats.samples_capped_total;
        let now = Instant::now();
        self.cares += 1;
        let mut overhead = None;
        if self.cares.is_multiple_of(OVERHEAD_CARES) {
            overhead = tracing.collector.measure_overhead(Duration::ZERO);
        }
        let input = ControlInput::new(
            offered.saturating_sub(self.spans),
            stats.samples_total.saturating_sub(self.operations),
            now - self.last,
        )
        .with_sampled(sampled.saturating_sub(self.sampled))
        .with_overhead(overhead.map(|overhead| overhead.budgeted_share()));
        (self.last, self.spans, self.operations) = (now, offered, stats.samples_total);
        self.sampled = sampled;
        let millionths = |share: f64| (share * 1e6) as u64;
        let budget = tracing.sampler.config().overhead_budget;
        // What is there at any rate exceeds no budget of the rate's.
        let exceeds = |overhead: &Overhead| overhead.low - overhead.fixed_share > budget;
        if let Some(overhead) = overhead.filter(exceeds) {
            let numbers = [overhead.share, overhead.low, overhead.high, budget].map(millionths);
            note(&inner.blackbox, OVERHEAD_EXCEEDED, Severity::WARN, numbers);
        }
        let after = tracing.sampler.control_step(&input);
        if after != stats.rate {
            inner.arena.alert_writers();
            let numbers = [millionths(stats.rate), millionths(after), 0, 0];
            note(&inner.blackbox, SAMPLING_CHANGED, Severity::INFO, numbers);
        }
    }
}
