//! The pulse: the store's one thread for all that is periodic. It never blocks on the disk.
//!
//! Each 50 ms the coarse clock; each 100 ms pressure, cleanup, empty chunks, the sampler's control and
//! the id ceiling; each second what tracing costs, and an anchor in the flight recorder.

use crate::inner::Inner;
use crate::observe::{
    OVERHEAD_EXCEEDED, PANIC_RECOVERED, PRESSURE_CHANGED, SAMPLING_CHANGED, note,
};
use ng_blackbox::Severity;
use ng_guardian::CleanupGoal;
use ng_trace::ControlInput;
use parking_lot::{Condvar, Mutex};
use std::io;
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
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Pulse {
    pub(crate) fn start(inner: &Arc<Inner>) -> io::Result<Pulse> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let (inner, stopped) = (Arc::downgrade(inner), Arc::clone(&stop));
        let thread = Builder::new()
            .name("neurograph-pulse".to_string())
            .spawn(move || beat(inner, stopped))?;
        Ok(Pulse { stop, thread: Some(thread) })
    }

    /// Ends the thread; a second call does nothing.
    pub(crate) fn stop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed by the hook; the store goes on to close.
            let _ended = thread.join();
        }
    }
}

/// Unix seconds; a clock before 1970 or after 2106 is cut to that.
pub(crate) fn unix_seconds() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn beat(inner: Weak<Inner>, stop: Arc<(Mutex<bool>, Condvar)>) {
    let mut care = Care::new();
    for tick in 0u64.. {
        let Some(inner) = inner.upgrade() else { return };
        inner.set_seconds(unix_seconds());
        if tick.is_multiple_of(CARE_TICKS) {
            let taken = catch_unwind(AssertUnwindSafe(|| care.take(&inner, &|| *stop.0.lock())));
            if taken.is_err() {
                // The clock must go on, whatever broke; each step of the care stands alone.
                inner.panics_recovered.fetch_add(1, Relaxed);
                note(&inner.blackbox, PANIC_RECOVERED, Severity::ERROR, [tick, 0, 0, 0]);
            }
        }
        if tick.is_multiple_of(ANCHOR_TICKS)
            && let Some(recorder) = &inner.blackbox
        {
            recorder.anchor();
        }
        drop(inner);
        let mut stopped = stop.0.lock();
        if !*stopped {
            stop.1.wait_for(&mut stopped, TICK);
        }
        if *stopped {
            return;
        }
    }
}

/// What has to be remembered from one care to the next.
struct Care {
    last: Instant,
    spans: u64,
    operations: u64,
    cares: u64,
}

impl Care {
    fn new() -> Care {
        Care { last: Instant::now(), spans: 0, operations: 0, cares: 0 }
    }

    fn take(&mut self, inner: &Arc<Inner>, stopped: &dyn Fn() -> bool) {
        inner.pulses.fetch_add(1, Relaxed);
        let pulse = inner.guardian.pulse();
        if let Some(change) = pulse.changed {
            let share = (change.share * 1e6) as u64;
            let numbers = [change.from as u64, change.to as u64, change.reason as u64, share];
            note(&inner.blackbox, PRESSURE_CHANGED, Severity::WARN, numbers);
        }
        if pulse.cleanup_due {
            inner.clean_up(CleanupGoal::LowWater, stopped);
        }
        inner.arena.give_back_empty();
        self.control_sampler(inner);
        if let Some(log) = &inner.log {
            log.keep_ceiling_ahead(&inner.arena);
        }
    }

    fn control_sampler(&mut self, inner: &Inner) {
        let Some(tracing) = &inner.tracing else { return };
        let (stats, spans) = (tracing.sampler.stats(), tracing.collector.stats());
        let recorded = spans.spans_recorded_total;
        let now = Instant::now();
        self.cares += 1;
        let mut overhead = None;
        if self.cares.is_multiple_of(OVERHEAD_CARES) {
            overhead = tracing.collector.measure_overhead(Duration::ZERO);
        }
        let input = ControlInput::new(
            recorded.saturating_sub(self.spans),
            stats.samples_total.saturating_sub(self.operations),
            now - self.last,
        )
        .with_overhead(overhead.map(|overhead| overhead.share));
        (self.last, self.spans, self.operations) = (now, recorded, stats.samples_total);
        let millionths = |share: f64| (share * 1e6) as u64;
        let budget = tracing.sampler.config().overhead_budget;
        if let Some(overhead) = overhead.filter(|overhead| overhead.low > budget) {
            let numbers = [overhead.share, overhead.low, overhead.high, budget].map(millionths);
            note(&inner.blackbox, OVERHEAD_EXCEEDED, Severity::WARN, numbers);
        }
        let after = tracing.sampler.control_step(&input);
        if after != stats.rate {
            let numbers = [millionths(stats.rate), millionths(after), 0, 0];
            note(&inner.blackbox, SAMPLING_CHANGED, Severity::INFO, numbers);
        }
    }
}
