//! What can go wrong: one enum for each family of calls. Deciding and recording cannot fail, so they have none.

use std::{error::Error, io, time::Duration};

/// A setting that cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// One field is outside its range.
    #[error("`{field}` is {value}, allowed is {allowed}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// The value found.
        value: String,
        /// The range that would do.
        allowed: String,
    },
}

/// The collector could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error("the collector's settings are not usable")]
    Config(#[from] ConfigError),
    /// The operating system refused the drain's thread.
    #[error("cannot start the drain's thread `{name}`")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The collector could not confirm in time that its spans are with the sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The sink is still at work; the spans stay with the drain.
    #[error("the sink did not take all spans within {waited:?}")]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
    },
    /// The drain has ended; spans recorded since then reach no sink.
    #[error("the collector was shut down")]
    Stopped,
}

/// A sink did not take what it was given. The collector counts it and goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// A batch was refused, or a part of it.
    #[error("the sink refused {spans} spans")]
    Export {
        /// Spans of the batch that were refused, and so are lost; the others were taken.
        spans: usize,
        /// The sink's own reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// What lay with the sink could not be passed on.
    #[error("the sink could not be flushed")]
    Flush {
        /// The sink's own reason.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A text is not a trace or span id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Wrong number of digits.
    #[error("an id of {expected} digits has {found} bytes")]
    Length {
        /// Digits which the id must have.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Not a lower-case hexadecimal digit.
    #[error("byte {offset} is not a lower-case hexadecimal digit")]
    Digit {
        /// Bytes before the bad one.
        offset: usize,
    },
    /// All digits are zero, which means "no id".
    #[error("an id must not be zero")]
    Zero,
}

/// A text is not a sampling threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseThresholdError {
    /// Not 1 to 14 digits.
    #[error("a threshold of 1 to 14 digits has {found} bytes")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// Not a lower-case hexadecimal digit.
    #[error("byte {offset} is not a lower-case hexadecimal digit")]
    Digit {
        /// Bytes before the bad one.
        offset: usize,
    },
}

/// A text is not a `traceparent` that we can go on with: begin a new trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseTraceParentError {
    /// Fewer than 55 bytes; or more, in version 00.
    #[error("a traceparent of 55 bytes has {found}")]
    Length {
        /// Bytes found, without the spaces around them.
        found: usize,
    },
    /// Version `ff`, which W3C forbids.
    #[error("the version is ff")]
    Version,
    /// Not a lower-case hexadecimal digit.
    #[error("byte {offset} is not a lower-case hexadecimal digit")]
    Digit {
        /// Bytes before the bad one.
        offset: usize,
    },
    /// Not a dash between two fields.
    #[error("byte {offset} is not a dash")]
    Separator {
        /// Bytes before the bad one.
        offset: usize,
    },
    /// The trace id is zero, which means "no trace".
    #[error("the trace id must not be zero")]
    ZeroTraceId,
    /// The parent id is zero, which means "no span".
    #[error("the parent id must not be zero")]
    ZeroParentId,
}

/// A text is no member, or no list, of a `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceStateError {
    /// More than 32.
    #[error("the list has more than 32 members")]
    TooManyMembers,
    /// No key, or one with a character that it must not have.
    #[error("member {index} has no key that can be used")]
    Key {
        /// Members before the bad one, empty ones not counted.
        index: usize,
    },
    /// No value, or one with a character that it must not have.
    #[error("member {index} has no value that can be used")]
    Value {
        /// Members before the bad one, empty ones not counted.
        index: usize,
    },
}
