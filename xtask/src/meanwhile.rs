//! What is told while something long goes on: where stderr is no terminal, a line each ten seconds with what is being
//! done and how far it is.

use std::{
    env,
    io::{self, BufRead, BufReader, IsTerminal},
    process::{Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

/// For tests, which do not wait ten seconds. Unit: milliseconds.
const LINE_EVERY: &str = "NG_LINE_EVERY_MS";

/// Does `work`; each line is what `how_far` says then.
pub(crate) fn meanwhile<T>(how_far: impl Fn() -> String + Sync, work: impl FnOnce() -> T) -> T {
    if io::stderr().is_terminal() {
        return work();
    }
    let every = env::var(LINE_EVERY).ok().and_then(|set| set.parse().ok()).unwrap_or(10_000);
    let begin = Instant::now();
    thread::scope(|scope| {
        let (done, waits) = channel::<()>();
        let how_far = &how_far;
        scope.spawn(move || {
            let every = Duration::from_millis(every);
            while waits.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                eprintln!("xtask: {} ({} s)", how_far(), begin.elapsed().as_secs());
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Runs a build of cargo's. On a terminal cargo's own bar says how far it is; elsewhere its diagnostics are passed on,
/// and its lines about crates are only counted.
pub(crate) fn build(what: &str, cargo: &mut Command) -> io::Result<ExitStatus> {
    if io::stderr().is_terminal() {
        return cargo.status();
    }
    let mut child = cargo.stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take();
    let compiled = AtomicUsize::new(0);
    let how_far =
        || format!("building {what}: {} crates compiled", compiled.load(Ordering::Relaxed));
    meanwhile(how_far, || {
        for line in said.into_iter().flat_map(|said| BufReader::new(said).lines()) {
            // A line that is no text is passed over: cargo writes none.
            let Ok(line) = line else { continue };
            match status_of(&line) {
                Some("Compiling" | "Checking") => {
                    compiled.fetch_add(1, Ordering::Relaxed);
                }
                Some(_) => {}
                None => eprintln!("{line}"),
            }
        }
        child.wait()
    })
}

/// The verb of one of cargo's own lines: it stands at the right end of twelve columns.
fn status_of(line: &str) -> Option<&str> {
    const VERBS: &[&str] = &[
        "Adding",
        "Blocking",
        "Checking",
        "Compiling",
        "Downloaded",
        "Downloading",
        "Finished",
        "Locking",
        "Updating",
    ];
    let verb = line.get(..12)?.trim_start();
    (VERBS.contains(&verb) && line[12..].starts_with(' ')).then_some(verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_own_lines_are_told_from_those_of_the_compiler() {
        assert_eq!(status_of("   Compiling ng-core v0.1.0"), Some("Compiling"));
        assert_eq!(status_of("    Finished `release` profile"), Some("Finished"));
        assert_eq!(status_of("warning: unused variable"), None);
        assert_eq!(status_of("error: could not compile `x`"), None);
        assert_eq!(status_of("   --> src/lib.rs:1:1"), None);
        assert_eq!(status_of(""), None);
    }
}
