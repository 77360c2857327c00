//! How a program of ours talks to its caller: what it prints never makes it panic, and a wrong command line
//! gets one line. Knows std and clap alone: benches and xtask, which may not import this crate, include the file.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};

use clap::Parser;

/// Why the program ends before it has begun.
#[derive(Debug)]
pub enum Early {
    /// `--help` or `--version`: the text that stdout gets, and exit code 0.
    Asked(String),
    /// One line for stderr, and exit code 2.
    Wrong(String),
}

/// Reads a command line; the first word is the program's name.
pub fn read<A: Parser>(words: impl IntoIterator<Item = OsString>) -> Result<A, Early> {
    A::try_parse_from(words).map_err(|error| {
        if error.use_stderr() {
            Early::Wrong(one_line(&error.to_string()))
        } else if io::stdout().is_terminal() {
            Early::Asked(error.render().ansi().to_string())
        } else {
            Early::Asked(error.to_string())
        }
    })
}

/// What is wrong, without the usage and the tips below it.
fn one_line(text: &str) -> String {
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        said.filter(|line| !line.is_empty() && !line.contains("--help")).collect();
    let line = said.join(" ");
    format!("{} (--help shows the flags)", line.strip_prefix("error: ").unwrap_or(&line))
}

/// Stdout did not take what was printed.
#[derive(Debug)]
pub enum Unwritten {
    /// Its reader has gone, as `head` does when it has enough: the program ends silently, with exit code 0.
    Closed,
    /// Any other reason, such as a full disk: one line on stderr, and exit code 1.
    Failed(io::Error),
}

/// Prints on stdout, and knows that it has arrived there.
pub fn print(text: fmt::Arguments<'_>) -> Result<(), Unwritten> {
    let mut stdout = io::stdout().lock();
    // Flushed each time: what the standard library writes when the process ends, it writes unheard.
    stdout.write_fmt(text).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Unwritten::Closed,
        _ => Unwritten::Failed(error),
    })
}

/// Prints on stderr. If that takes nothing, nobody is left to be told, and the exit code says what it says.
pub fn tell(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_told_in_one_line() {
        let clap_says = "error: invalid value '0' for '--n <N>': expected 1 to 5\n\n  tip: try 1\n\n\
                         Usage: x [OPTIONS]\n\nFor more information, try '--help'.\n";
        let line =
            "invalid value '0' for '--n <N>': expected 1 to 5 tip: try 1 (--help shows the flags)";
        assert_eq!(one_line(clap_says), line);
    }
}
