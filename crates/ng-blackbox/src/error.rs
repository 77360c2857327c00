//! What can go wrong when opening and when reading; recording itself cannot fail.

use std::{io, path::PathBuf};

use crate::event::Kind;

/// A setting is outside its range.
#[derive(Debug, thiserror::Error)]
#[error("{field} is {value}, allowed is {allowed}")]
#[non_exhaustive]
pub struct ConfigError {
    /// Name of the field of [`RecorderConfig`](crate::RecorderConfig).
    pub field: &'static str,
    /// What it was.
    pub value: u64,
    /// What it may be.
    pub allowed: &'static str,
}

/// Why a recorder could not be opened. The files of earlier runs are unharmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is outside its range.
    #[error("bad recorder setting")]
    Config(#[from] ConfigError),
    /// A kind cannot be registered under that name.
    #[error("kind {kind} with the name {name:?} is refused: {problem}")]
    KindName {
        /// The number given.
        kind: Kind,
        /// The name given.
        name: String,
        /// What is wrong with the pair.
        problem: &'static str,
    },
    /// Another recorder, in this process or another, has this directory open.
    #[error("another recorder holds {path} (process {holder_pid:?})")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that wrote the current file, where it can be read.
        holder_pid: Option<u32>,
    },
    /// The operating system refused a step.
    #[error("cannot {step} {path}")]
    Io {
        /// What was tried, as a verb.
        step: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The system cannot tell this process's children that they are some, and they would record into the
    /// rings of their parent.
    #[error("cannot register for forks of this process")]
    Fork {
        /// The operating system's answer.
        source: io::Error,
    },
    /// Memory for the ring could not be mapped.
    #[error("cannot map {bytes} bytes for the ring")]
    Map {
        /// Size asked for.
        bytes: u64,
        /// The operating system's answer.
        source: io::Error,
    },
}

/// Why a file cannot be read as a recording.
///
/// Damage to events is no error: they are left out and counted in [`Summary`](crate::Summary).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// There is not even a whole header.
    #[error("recording has {found_bytes} bytes, its header alone takes {expected_bytes}")]
    TooShort {
        /// Bytes there.
        found_bytes: u64,
        /// Bytes needed.
        expected_bytes: u64,
    },
    /// The first eight bytes are those of something else.
    #[error("not a recording: bytes 0 to 8 are {found:02x?}, expected {expected:02x?}")]
    Magic {
        /// Bytes there.
        found: [u8; 8],
        /// Bytes of a recording.
        expected: [u8; 8],
    },
    /// The header is damaged.
    #[error(
        "header checksum at offset {offset} is {stored:#010x}, its bytes give {computed:#010x}"
    )]
    HeaderChecksum {
        /// Where the checksum stands.
        offset: u64,
        /// The checksum there.
        stored: u32,
        /// The checksum of the bytes before it.
        computed: u32,
    },
    /// Written in a major version of the format that this reader does not know.
    #[error("recording has format version {found}, this reader knows {supported}")]
    Version {
        /// Major version in the header.
        found: u16,
        /// Major version known here.
        supported: u16,
    },
    /// The header is whole but says something impossible.
    #[error("header field {field} at offset {offset} is {found}, expected {expected}")]
    Header {
        /// Name of the field.
        field: &'static str,
        /// Where it stands.
        offset: u64,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
}
