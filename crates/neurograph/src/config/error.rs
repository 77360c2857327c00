//! What is wrong with settings, all of it at once, and what is only to be told.

use super::settings::setting;
use std::fmt;

/// Settings that can't be used: all that is wrong with them, in the order of the file. Nothing was changed or opened.
///
/// It prints one line for each: `line 3, column 14: guardian.max_tokens is -5; it must be a whole number from 0 to
/// 18446744073709551615 or "unlimited"`.
#[derive(Clone, Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
    /// Problems beyond the [`PROBLEMS_MAX`] that are kept.
    more: usize,
}

/// Most problems that are kept. More than a person reads; a file of a million bad lines must not take its size in
/// messages.
pub(crate) const PROBLEMS_MAX: usize = 1000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What is wrong.
    pub kind: ProblemKind,
    /// Where it was written.
    pub origin: Origin,
    /// The setting; for an unknown key that key; empty where the text is no TOML.
    pub name: String,
    /// The value as it was written, shortened if it is long; empty where a key or the text itself is wrong.
    pub value: String,
    /// What would do: the end of "it must be …"; for an unknown key the nearest known one; for a text that is no TOML
    /// what the parser says.
    pub expected: String,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The text is no TOML at this place.
    Syntax,
    /// No setting has this name.
    UnknownKey,
    /// A value of another kind, out of range, or at odds with another setting.
    Value,
}

/// Where a setting was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// In a program, or nowhere.
    Code,
    /// In a settings file.
    Toml {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// In this variable of the environment.
    Environment(&'static str),
}

/// Something in a settings file that has no effect and is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Where it was written.
    pub origin: Origin,
    /// The key.
    pub name: String,
    /// What became of it, and what to write in its place.
    pub advice: String,
}

impl ConfigError {
    /// Without problems it is no error.
    pub(crate) fn check(mut problems: Vec<Problem>, more: usize) -> Result<(), ConfigError> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.origin.place());
        let more = more + problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Err(ConfigError { problems, more })
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// What is wrong: at least one, at most 1,000; the message tells how many more there are.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    pub(crate) fn one(name: &str, value: String, expected: String) -> ConfigError {
        let problem = Problem::value(Origin::Code, name, value, expected);
        ConfigError { problems: vec![problem], more: 0 }
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl Problem {
    pub(crate) fn value(origin: Origin, name: &str, value: String, expected: String) -> Problem {
        Problem { kind: ProblemKind::Value, origin, name: name.into(), value, expected }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { origin, name, value, expected, .. } = self;
        match self.kind {
            ProblemKind::Syntax => write!(f, "{origin}not TOML: {expected}"),
            ProblemKind::UnknownKey => {
                write!(f, "{origin}{name} is no setting; the nearest known key is {expected}")
            }
            ProblemKind::Value => write!(f, "{origin}{name} is {value}; it must be {expected}"),
        }
    }
}

impl Origin {
    /// For an order: a file's lines, then the environment, then code.
    fn place(&self) -> (usize, usize) {
        match self {
            Origin::Toml { line, column } => (*line, *column),
            Origin::Environment(_) => (usize::MAX, 0),
            Origin::Code => (usize::MAX, 1),
        }
    }
}

/// As the beginning of a message; nothing for code.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Code => Ok(()),
            Origin::Toml { line, column } => write!(f, "line {line}, column {column}: "),
            Origin::Environment(variable) => write!(f, "environment variable {variable}: "),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {}", self.origin, self.name, self.advice)
    }
}

/// A room's own refusal in the words of the settings. The table has the rooms' ranges, so this tells of a range that a
/// room has changed and the table has not.
fn refused(section: &str, field: &str, value: &dyn fmt::Display, allowed: &str) -> ConfigError {
    ConfigError::one(&format!("{section}.{field}"), value.to_string(), allowed.into())
}

impl From<ng_core::ConfigError> for ConfigError {
    fn from(error: ng_core::ConfigError) -> ConfigError {
        use ng_core::ConfigError::{CommitAhead, MaxSlots};
        match error {
            MaxSlots { value, most } => {
                refused("arena", "max_slots", &value, &format!("1 to {most}"))
            }
            CommitAhead { value, most } => {
                refused("arena", "commit_ahead_bytes", &value, &format!("0 to {most}"))
            }
            other => refused("arena", "*", &"refused", &other.to_string()),
        }
    }
}

impl From<ng_guardian::ConfigError> for ConfigError {
    fn from(error: ng_guardian::ConfigError) -> ConfigError {
        match error {
            ng_guardian::ConfigError::OutOfRange { field, value, allowed } => {
                refused("guardian", field, &value, allowed)
            }
            other => refused("guardian", "*", &"refused", &other.to_string()),
        }
    }
}

impl From<ng_wal::ConfigError> for ConfigError {
    fn from(error: ng_wal::ConfigError) -> ConfigError {
        refused("wal", error.field, &error.value, &error.allowed)
    }
}

impl From<ng_trace::ConfigError> for ConfigError {
    fn from(error: ng_trace::ConfigError) -> ConfigError {
        match error {
            ng_trace::ConfigError::OutOfRange { field, value, allowed } => {
                let of_collector = setting(&format!("trace.collector.{field}")).is_some();
                let section = if of_collector { "trace.collector" } else { "trace" };
                refused(section, field, &value, &allowed)
            }
            other => refused("trace", "*", &"refused", &other.to_string()),
        }
    }
}

impl From<ng_blackbox::ConfigError> for ConfigError {
    fn from(error: ng_blackbox::ConfigError) -> ConfigError {
        refused("blackbox.recorder", error.field, &error.value, error.allowed)
    }
}
