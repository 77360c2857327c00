//! Why the suite stopped before its end, and the exit code that says so.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::console::Unwritten;

/// Exit code when all is good.
pub const EXIT_GOOD: u8 = 0;
/// Exit code when a check or an enforced bar failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of wrong usage.
pub const EXIT_USAGE: u8 = 2;
/// Exit code when the machine lacks something.
pub const EXIT_ENVIRONMENT: u8 = 3;
/// Exit code of Ctrl-C, as shells count it: 128 + SIGINT.
pub const EXIT_INTERRUPTED: i32 = 130;

/// The answer of a part that is under load: any of its errors.
pub type Answer = Box<dyn Error + Send + Sync>;

/// Why there is no report. Its causes are told by [`Failure::line`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks something; says what is needed and what is there.
    #[error("{0}")]
    Environment(String),
    /// A file or directory of ours could not be used.
    #[error("cannot {op} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The store or a part of it answered with an error where it must not.
    #[error("{what}")]
    Subject {
        /// What was being done.
        what: &'static str,
        /// The answer.
        source: Answer,
    },
    /// A create was refused although there was room for it. The run ends: what was not created has no id, and a
    /// run without all of its tokens is none.
    #[error("{run}: the create of token {number} was refused, of {from} to {to}")]
    Refused {
        /// Which run.
        run: &'static str,
        /// Number of the token.
        number: u64,
        /// Number of the run's first token.
        from: u64,
        /// Number of its last.
        to: u64,
        /// The answer.
        source: Answer,
    },
    /// Something that must hold for the suite to go on did not.
    #[error("{0}")]
    Broken(String),
    /// Stdout takes no more.
    #[error("cannot write to stdout")]
    Stdout(Unwritten),
}

impl Failure {
    /// Wraps an error of the store.
    pub fn subject<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Answer>,
    {
        move |source| Self::Subject { what, source: source.into() }
    }

    /// Wraps an error of the file system.
    pub fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source }
    }

    /// The one line that stderr gets, with every cause; none where the reader of stdout has had enough.
    pub fn line(&self) -> Option<String> {
        if let Self::Stdout(Unwritten::Closed) = self {
            return None;
        }
        let mut line = self.to_string();
        for cause in self.causes() {
            let cause = cause.to_string();
            // Some errors tell their cause themselves.
            if !line.contains(&cause) {
                line = format!("{line}: {cause}");
            }
        }
        Some(line.replace('\n', " "))
    }

    /// The exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Environment(_) | Self::Io { .. } => EXIT_ENVIRONMENT,
            Self::Stdout(Unwritten::Closed) => EXIT_GOOD,
            Self::Stdout(Unwritten::Failed(_)) => EXIT_FAILED,
            _ if self.causes().any(lacks_something) => EXIT_ENVIRONMENT,
            Self::Subject { .. } | Self::Refused { .. } | Self::Broken(_) => EXIT_FAILED,
        }
    }

    fn causes(&self) -> impl Iterator<Item = &(dyn Error + 'static)> {
        let first = match self {
            Self::Stdout(Unwritten::Failed(error)) => Some(error as &(dyn Error + 'static)),
            _ => self.source(),
        };
        std::iter::successors(first, |&error| error.source())
    }
}

impl From<Unwritten> for Failure {
    fn from(unwritten: Unwritten) -> Self {
        Self::Stdout(unwritten)
    }
}

/// Whether the system refused for want of something: memory, descriptors, threads, space on a disk.
fn lacks_something(error: &(dyn Error + 'static)) -> bool {
    const WANTS: [Errno; 7] = [
        Errno::NOMEM,
        Errno::AGAIN,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::FBIG,
    ];
    let said = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    said.is_some_and(|code| WANTS.iter().any(|want| want.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't open the store")]
    struct Outer(#[source] io::Error);

    fn system(errno: Errno) -> Failure {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        Failure::subject("full")(Outer(error))
    }

    #[test]
    fn every_cause_is_told_once_and_a_want_of_the_system_is_the_environments() {
        let failure = system(Errno::MFILE);
        let line = failure.line().expect("a line");
        assert!(line.starts_with("full: can't open the store: Too many open files"), "{line}");
        assert_eq!(failure.exit_code(), EXIT_ENVIRONMENT);
        assert_eq!(system(Errno::INVAL).exit_code(), EXIT_FAILED);
    }

    #[test]
    fn a_closed_stdout_is_silent_and_good_and_a_full_one_is_neither() {
        let closed = Failure::Stdout(Unwritten::Closed);
        assert_eq!((closed.line(), closed.exit_code()), (None, EXIT_GOOD));
        let full = Failure::Stdout(Unwritten::Failed(Errno::NOSPC.into()));
        let line = full.line().expect("a line");
        assert!(line.starts_with("cannot write to stdout: No space"), "{line}");
        assert_eq!(full.exit_code(), EXIT_FAILED);
    }
}
