//! A thread that pulses a guardian, for those who use it alone; a store has its own pulse.

use std::io;
use std::time::Duration;

use crate::guardian::Guardian;
use crate::sync::{mpsc, thread};

/// Pulses a guardian until it is dropped; dropping it ends the thread and waits for that.
#[derive(Debug)]
pub struct PulseThread {
    /// Nothing is ever sent: dropping it wakes the thread and ends it.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Guardian {
    /// Starts a thread that calls [`pulse`](Self::pulse) each `interval`, the first time at once.
    /// Changes of level are seen in [`level`](Self::level) and in the stats.
    ///
    /// Errors: the system's, if it has no thread to give.
    pub fn start_pulse(&self, interval: Duration) -> io::Result<PulseThread> {
        let guardian = self.clone();
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            loop {
                guardian.pulse();
                match stopped.recv_timeout(interval) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
            }
        };
        let thread = thread::Builder::new().name("ng-guard-pulse".to_owned()).spawn(run)?;
        Ok(PulseThread { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for PulseThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a pulse has no way to panic that dropping should repeat
        }
    }
}
