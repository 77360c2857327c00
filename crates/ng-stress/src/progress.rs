//! Tells what is going on: bars on stderr, and only on a terminal. Nothing ticks by itself, so that
//! no thread of ours runs beside a timed region.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress goes.
#[derive(Debug)]
pub struct Progress {
    /// All running bars; a bar within another one gets a line of its own.
    bars: MultiProgress,
    notices: bool,
}

impl Progress {
    /// Bars if stderr is a terminal; one line a phase if `notices` asks for them.
    pub fn new(notices: bool) -> Self {
        let target = if std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self { bars: MultiProgress::with_draw_target(target), notices }
    }

    /// A phase begins, or something in it that a test waits for.
    pub fn notice(&self, words: &str) {
        if self.notices {
            // Nobody reads along: not worth stopping for.
            let _ = writeln!(std::io::stderr(), "ng-stress: {words}");
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
        Bar(bar)
    }
}

const TEMPLATE: &str = "{prefix:>9} [{bar:30}] {pos}/{len} {msg} ({elapsed})";

/// One running bar.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// One step is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// `n` steps are done.
    pub fn steps(&self, n: u64) {
        self.0.inc(n);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A length of time for people: `1.23 s`, `45.6 ms`.
pub fn human(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
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
    fn times_are_printed_in_the_unit_that_fits() {
        assert_eq!(human(1.5e9), "1.50 s");
        assert_eq!(human(2.1e6), "2.1 ms");
        assert_eq!(human(7.0), "7.0 ns");
    }
}
