//! Why the suite stopped before its end, and the exit code that says so.

use std::path::PathBuf;

/// Exit code when all is good.
pub const EXIT_GOOD: u8 = 0;
/// Exit code when a check or an enforced bar failed.
pub const EXIT_FAILED: u8 = 1;
/// Exit code of Ctrl-C, as shells count it: 128 + SIGINT.
pub const EXIT_INTERRUPTED: i32 = 130;

/// The one line that stderr gets.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The machine lacks something; says what is needed and what is there.
    #[error("{0}")]
    Environment(String),
    /// A file or directory of ours could not be used.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The store or a part of it answered with an error where it must not.
    #[error("{what}: {source}")]
    Subject {
        /// What was being done.
        what: &'static str,
        /// The answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that must hold for the suite to go on did not.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// Wraps an error of the store.
    pub fn subject<E>(what: &'static str) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        move |source| Self::Subject { what, source: Box::new(source) }
    }

    /// Wraps an error of the file system.
    pub fn io(op: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { op, path, source }
    }

    /// The exit code for this failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Environment(_) | Self::Io { .. } => 3,
            Self::Subject { .. } | Self::Broken(_) => EXIT_FAILED,
        }
    }
}
