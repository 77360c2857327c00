//! The exit codes that every command of the project shares. What went wrong is printed where it is found.

use std::{
    fmt,
    process::{self, ExitCode},
};

use crate::console::{self, Unwritten};

/// Exit code of Ctrl-C, as shells count it: 128 + SIGINT.
pub(crate) const INTERRUPTED: i32 = 130;

/// How a command ended; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything held.
    Good = 0,
    /// A check failed, or with `stress --enforce` a bar.
    Failed = 1,
    /// Wrong usage or bad input that clap could not see.
    Usage = 2,
    /// The environment lacks something; the message says what.
    Environment = 3,
}

/// Prints on stdout. Where it takes no more this ends the program: silently if its reader has gone, else with a word.
pub(crate) fn print(text: fmt::Arguments<'_>) {
    match console::print(text) {
        Ok(()) => {}
        Err(Unwritten::Closed) => process::exit(Exit::Good as i32),
        Err(Unwritten::Failed(error)) => {
            eprintln!("xtask: cannot write to stdout: {error}");
            process::exit(Exit::Failed as i32);
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
