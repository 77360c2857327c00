//! The one who watches: a thread that scrapes the metrics page as a Prometheus server would, only
//! more often: at once when told to go, then each 100 ms.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use neurograph::Store;

use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_millis(100);

/// A running scraper.
#[derive(Debug)]
pub struct Scraper {
    go: Sender<()>,
    thread: JoinHandle<Scraped>,
}

/// What it saw.
#[derive(Debug, Default)]
pub struct Scraped {
    /// Pages read.
    pub scrapes: u64,
    /// Bytes of the last of them.
    pub page_bytes: usize,
}

impl Scraper {
    /// Starts the thread; it waits for [`Self::go`].
    pub fn start(store: &Arc<Store>) -> Result<Self, Failure> {
        let store = Arc::clone(store);
        let (go, ticks) = channel();
        let thread = Builder::new().name("scraper".into()).spawn(move || scrape(&store, &ticks));
        let thread = thread.map_err(|error| {
            Failure::Environment(format!("cannot start the thread that scrapes: {error}"))
        })?;
        Ok(Self { go, thread })
    }

    /// The timed region begins.
    pub fn go(&self) {
        // The thread ends only after `stop` or by a panic, which `stop` passes on.
        let _ = self.go.send(());
    }

    /// Ends the thread and returns what it saw.
    pub fn stop(self) -> Scraped {
        drop(self.go);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn scrape(store: &Store, go: &Receiver<()>) -> Scraped {
    let mut seen = Scraped::default();
    let mut told = go.recv().map_err(|_| RecvTimeoutError::Disconnected);
    while told != Err(RecvTimeoutError::Disconnected) {
        seen.page_bytes = store.metrics_text().len();
        seen.scrapes += 1;
        told = go.recv_timeout(INTERVAL);
    }
    seen
}
