//! A thread that pulses a guardian, for those who use it alone; a store has its own pulse.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::alarm::{Alarm, Woken};
use crate::guardian::{Guardian, PulseReport};
use crate::sync::{Arc, thread};

/// Pulses a guardian until it is dropped; dropping it ends the thread and waits for that.
#[derive(Debug)]
pub struct PulseThread {
    alarm: Arc<Alarm>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Guardian {
    /// Starts a thread that calls [`pulse`](Self::pulse) each `interval`, the first time at once,
    /// and earlier when the kernel reports that tasks wait for memory.
    /// Changes of level are seen in [`level`](Self::level) and in the stats.
    ///
    /// Errors: the system's, if it has no thread or descriptor to give.
    pub fn start_pulse(&self, interval: Duration) -> io::Result<PulseThread> {
        self.start_pulse_with(interval, |_| ())
    }

    /// As [`start_pulse`](Self::start_pulse), and tells `observe` of each pulse, on that thread
    /// and with no lock held: the place to make events of changed levels, and to clean up. It is
    /// not called again once it has panicked; the pulses go on.
    pub fn start_pulse_with(
        &self,
        interval: Duration,
        observe: impl FnMut(&PulseReport) + Send + 'static,
    ) -> io::Result<PulseThread> {
        let guardian = self.clone();
        let alarm = Arc::new(self.alarm()?);
        let (bell, mut observer) = (Arc::clone(&alarm), Some(observe));
        let run = move || {
            loop {
                let report = guardian.pulse();
                let told = observer
                    .as_mut()
                    .map(|observe| catch_unwind(AssertUnwindSafe(|| observe(&report))).is_ok());
                if told == Some(false) {
                    observer = None;
                }
                if bell.wait(interval) == Woken::Stopped {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("ng-guard-pulse".to_owned()).spawn(run)?;
        Ok(PulseThread { alarm, thread: Some(thread) })
    }
}

impl Drop for PulseThread {
    fn drop(&mut self) {
        self.alarm.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a pulse has no way to panic that dropping should repeat
        }
    }
}
