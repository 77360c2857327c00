//! The four exit codes that every command of the project shares. What went wrong is printed where it is found.

use std::process::ExitCode;

/// How a command ended; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything held.
    Good = 0,
    /// A check or a bar failed.
    Failed = 1,
    /// Wrong usage or bad input that clap could not see.
    Usage = 2,
    /// The environment lacks something; the message says what.
    Environment = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
