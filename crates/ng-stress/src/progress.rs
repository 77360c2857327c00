//! Tells what is going on, on stderr: bars on a terminal, and elsewhere a line each ten seconds. On a terminal
//! nothing ticks by itself; elsewhere a thread wakes once a line, which is nothing beside a timed region.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console;

/// Where progress goes.
#[derive(Debug)]
pub struct Progress {
    /// All running bars; a bar within another one gets a line of its own.
    bars: MultiProgress,
    notices: bool,
    lines: Option<Lines>,
}

/// The running bars, outermost first.
type Running = Arc<Mutex<Vec<ProgressBar>>>;

/// The thread that prints a line now and then.
#[derive(Debug)]
struct Lines {
    running: Running,
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Bars if stderr is a terminal, else a line each `line_every`; one line a phase if `notices` asks for them.
    pub fn new(notices: bool, line_every: Duration) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let lines = if is_terminal { None } else { Lines::start(line_every) };
        Self { bars: MultiProgress::with_draw_target(target), notices, lines }
    }

    /// A phase begins, or something in it that a test waits for.
    pub fn notice(&self, words: &str) {
        if self.notices {
            console::tell(format_args!("ng-stress: {words}\n"));
        }
    }

    /// A bar of `steps` steps, which vanishes with the returned value.
    pub fn bar(&self, phase: &'static str, words: &str, steps: u64) -> Bar {
        // The template is a constant; a test reads it.
        let style = ProgressStyle::with_template(TEMPLATE);
        let bar = ProgressBar::hidden()
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(phase)
            .with_message(words.to_owned());
        bar.set_length(steps);
        let bar = self.bars.add(bar);
        bar.tick();
        let running = self.lines.as_ref().map(|lines| Arc::clone(&lines.running));
        if let Some(running) = &running {
            lock(running).push(bar.clone());
        }
        Bar { bar, running }
    }
}

impl Lines {
    /// None without a thread to be had: a run without lines is better than none.
    fn start(every: Duration) -> Option<Self> {
        let running = Running::default();
        let (stop, stopped) = channel::<()>();
        let seen = Arc::clone(&running);
        let print = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                let line = lock(&seen).last().map(line);
                if let Some(line) = line {
                    console::tell(format_args!("ng-stress: {line}\n"));
                }
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(print).ok()?;
        Some(Self { running, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which was told then.
            let _ = thread.join();
        }
    }
}

/// `full: baseline and full stack, pairs: 3 of 31 (12 s, 112 s left)`
fn line(bar: &ProgressBar) -> String {
    let (done, of) = (bar.position(), bar.length().unwrap_or(0));
    let left = left(bar.elapsed(), done, of);
    let left = left.map_or(String::new(), |left| format!(", {} s left", left.as_secs()));
    let seconds = bar.elapsed().as_secs();
    format!("{}: {}: {done} of {of} ({seconds} s{left})", bar.prefix(), bar.message())
}

/// What is left at the pace so far; a bar that goes on beyond its length is nearly done, and nobody knows when.
fn left(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    let left = of.checked_sub(done)?;
    (done > 0).then(|| elapsed.mul_f64(left as f64 / done as f64))
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, Vec<ProgressBar>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

const TEMPLATE: &str = "{prefix:>9} [{bar:30}] {pos}/{len} {msg} ({elapsed}, {eta} left)";

/// One running bar.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    running: Option<Running>,
}

impl Bar {
    /// One step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// So many steps are done in all.
    pub fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// `n` steps are done.
    pub fn steps(&self, n: u64) {
        self.bar.inc(n);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            // Bars end in the opposite order of their beginnings.
            lock(running).pop();
        }
        self.bar.finish_and_clear();
    }
}

/// A length of time for people: `1.23 s`, `45.6 ms`.
pub fn human(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        // What rounds to nothing has no sign.
        ns if ns.abs() < 0.05 => "0.0 ns".into(),
        ns => format!("{ns:.1} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_one_that_indicatif_accepts() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }

    #[test]
    fn a_line_tells_what_runs_how_far_it_is_and_for_how_long() {
        let bar = ProgressBar::hidden().with_prefix("full").with_message("pairs".to_owned());
        bar.set_length(31);
        assert_eq!(line(&bar), "full: pairs: 0 of 31 (0 s)");
        bar.inc(3);
        assert_eq!(line(&bar), "full: pairs: 3 of 31 (0 s, 0 s left)");
        let minute = Duration::from_secs(60);
        assert_eq!(left(minute, 3, 31), Some(Duration::from_secs(560)));
        assert_eq!((left(minute, 0, 31), left(minute, 32, 31)), (None, None));
    }

    #[test]
    fn times_are_printed_in_the_unit_that_fits() {
        assert_eq!(human(1.5e9), "1.50 s");
        assert_eq!(human(2.1e6), "2.1 ms");
        assert_eq!(human(7.0), "7.0 ns");
        assert_eq!((human(-0.04), human(-0.06)), ("0.0 ns".into(), "-0.1 ns".into()));
    }
}
