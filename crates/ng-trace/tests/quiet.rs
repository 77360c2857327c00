//! A process that does little, with real threads and its real account: tracing goes on. Alone in its program, for what it does is measured.
#![cfg(target_os = "linux")]

use ng_trace::{
    Collector, CollectorConfig, ControlInput, CountingSink, Sampler, SamplerConfig, SpanRecord,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

/// Steps a second of the owner, and steps between two readings of the account.
const STEP: Duration = Duration::from_millis(50);
const READING: u32 = 4;

/// An owner that steps as a store's does.
struct Owner {
    sampler: Arc<Sampler>,
    collector: Collector,
    last: Instant,
    offered: u64,
    sampled: u64,
    steps: u32,
    /// The rate after each reading of the account.
    rates: Vec<f64>,
}

impl Owner {
    fn step(&mut self) {
        self.steps += 1;
        let (stats, spans) = (self.sampler.stats(), self.collector.stats());
        let offered = spans.spans_offered_total + stats.samples_capped_total;
        let sampled = stats.samples_recorded_total + stats.samples_capped_total;
        let due = self.steps.is_multiple_of(READING);
        let overhead = due.then(|| self.collector.measure_overhead(Duration::ZERO)).flatten();
        let now = Instant::now();
        let input = ControlInput::new(offered - self.offered, 0, now - self.last)
            .with_sampled(sampled - self.sampled)
            .with_overhead(overhead.map(|overhead| overhead.budgeted_share()));
        (self.last, self.offered, self.sampled) = (now, offered, sampled);
        self.sampler.control_step(&input);
        if overhead.is_some() {
            self.rates.push(self.sampler.rate());
        }
    }
}

/// At 1,000 operations a second the rate fell from 0.1 to a millionth within a minute, at 100,000 within
/// twenty seconds: over its budget at any rate, it was halved each second. Here a second is a fifth of one.
#[test]
fn in_a_quiet_process_the_rate_stays_where_its_load_has_it() {
    for ops_per_second in [1_000u32, 100_000] {
        let config = SamplerConfig::default();
        let sampler = Arc::new(Sampler::new(config.clone()).unwrap());
        let sink = Box::new(CountingSink::new());
        let collector = Collector::start(CollectorConfig::default(), sink).unwrap();
        let (name, clock) = (collector.name("operation"), collector.clock());
        let (mut local, mut recorder) = (sampler.local(), collector.recorder());
        let stop = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let (_never, wait) = channel::<()>();
                let mut due = Instant::now();
                while !stop.load(Relaxed) {
                    // A hundredth of a second's operations at once, then nothing until the next is due.
                    for _ in 0..ops_per_second / 100 {
                        let Some(sampled) = local.arrive() else { continue };
                        let start = clock.now();
                        recorder.record(SpanRecord::lone(name, sampled, start, clock.now()));
                    }
                    due += Duration::from_millis(10);
                    let _ = wait.recv_timeout(due.saturating_duration_since(Instant::now()));
                }
            }
        });
        // What it does besides: enough to have the account speak.
        let mut owner = Owner {
            sampler: Arc::clone(&sampler),
            collector,
            last: Instant::now(),
            offered: 0,
            sampled: 0,
            steps: 0,
            rates: Vec::new(),
        };
        let (_never, wait) = channel::<()>();
        while owner.rates.len() < 15 {
            let until = Instant::now() + STEP;
            // Some hundredths of a core.
            while Instant::now() + STEP - Duration::from_millis(3) < until {
                std::hint::spin_loop();
            }
            let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
            owner.step();
        }
        stop.store(true, Relaxed);
        worker.join().unwrap();
        let last = owner.collector.overhead().unwrap();
        // 10 or 1,000 a second of the operations; a machine that is busy with others does fewer, and
        // then the rate is higher. It may give way for a while: a wake-up that cost much is a reading
        // too. What it must not do is fall and stay.
        let least = f64::from(config.spans_per_second) / f64::from(ops_per_second);
        let least = least.min(config.max_rate) / 4.0;
        owner.rates.sort_by(f64::total_cmp);
        let median = owner.rates[owner.rates.len() / 2];
        assert!(median > least, "{median} at {ops_per_second}, {:?}, {last:?}", owner.rates);
        assert!(last.fixed_share > 0.0, "{last:?}");
    }
}
