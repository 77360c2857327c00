//! Tells what is being measured, on stderr: in place on a terminal, elsewhere by a line each ten seconds from a thread
//! that does nothing else.

use std::{
    io::{self, IsTerminal},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use crate::console;

const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where progress goes.
pub(crate) struct Progress {
    now: Arc<Mutex<String>>,
    on_terminal: bool,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start() -> Progress {
        let on_terminal = io::stderr().is_terminal();
        let now = Arc::new(Mutex::new(String::new()));
        let (stop, stopped) = channel::<()>();
        let (seen, begin) = (Arc::clone(&now), Instant::now());
        let lines = move || {
            while stopped.recv_timeout(LINE_EVERY) == Err(RecvTimeoutError::Timeout) {
                let words = lock(&seen).clone();
                let seconds = begin.elapsed().as_secs();
                console::tell(format_args!("bench-report: {words} ({seconds} s)\n"));
            }
        };
        // Without a thread to be had it is silent: better than no report.
        let thread = (!on_terminal).then(|| Builder::new().spawn(lines).ok()).flatten();
        Progress { now, on_terminal, stop: Some(stop), thread }
    }

    /// What is being measured now.
    pub(crate) fn tell(&self, words: String) {
        if self.on_terminal {
            console::tell(format_args!("\r\x1b[K{words}"));
        } else {
            *lock(&self.now) = words;
        }
    }

    /// Nothing is being measured.
    pub(crate) fn clear(&self) {
        if self.on_terminal {
            console::tell(format_args!("\r\x1b[K"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which was told then.
            let _ = thread.join();
        }
    }
}

fn lock(now: &Mutex<String>) -> MutexGuard<'_, String> {
    now.lock().unwrap_or_else(PoisonError::into_inner)
}
