//! `MANIFEST`: the file that says what a directory is and what its log must hold.
//!
//! The log can't know that all of it was taken away. So the store writes down, in a place of its own, what it
//! knows to be durable there: after each open and at each close. Every such mark is a lower bound that stays
//! true: a manifest that is older than the log refuses nothing that it should not.

use crate::config::Persist;
use crate::error::OpenError;
use crate::mutants;
use ng_wal::{Access, Directory, Lsn, Needs, SegmentId};
use serde::Deserialize;
use std::io::{self, Read};
use std::path::PathBuf;

const NAME: &str = "MANIFEST";
/// Version of the directory's layout that this build writes. It reads 1 too, which has no marks.
const FORMAT: u32 = 2;
/// What precedes the checksum of all bytes before it.
const CHECKSUM: &str = "checksum = ";
/// No manifest is longer; of a longer file this is enough to see that it is none.
const BYTES_MAX: u64 = 64 << 10;

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// 32 hexadecimal digits: the identity in the log's segments.
    pub(crate) store: String,
    pub(crate) created_by: String,
    /// Which tokens its log holds. Format 1 does not say.
    #[serde(default, deserialize_with = "word")]
    pub(crate) persist: Option<Persist>,
    #[serde(default)]
    pub(crate) log: Marks,
}

/// What the log must hold at the next open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marks {
    /// Last record known to be durable.
    pub(crate) lsn: u64,
    /// Newest segment known to be there.
    pub(crate) segment: u64,
    /// Highest generation that a clean close found handed out.
    pub(crate) generation: u32,
}

impl Marks {
    /// What both say.
    pub(crate) fn and(self, other: Marks) -> Marks {
        Marks {
            lsn: self.lsn.max(other.lsn),
            segment: self.segment.max(other.segment),
            generation: self.generation.max(other.generation),
        }
    }

    pub(crate) fn needs(self) -> Needs {
        let (upto, segment) = (Lsn::new(self.lsn).next(), SegmentId::new(self.segment));
        Needs { from: Lsn::new(1), upto, segment }
    }
}

impl Manifest {
    pub(crate) fn new(store: u128, persist: Persist, log: Marks) -> Manifest {
        let created_by = env!("CARGO_PKG_VERSION").to_string();
        let store = format!("{store:032x}");
        Manifest { format: FORMAT, store, created_by, persist: Some(persist), log }
    }

    /// The manifest of a directory, if it has one.
    ///
    /// Errors: a file that is none, a damaged one, or one of a newer build; nothing is changed.
    pub(crate) fn read(dir: &Directory) -> Result<Option<Manifest>, OpenError> {
        let path = dir.path().join(NAME);
        let bytes = match read(dir) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::Io { operation: "read", path, source }),
        };
        Manifest::parse(&bytes, path).map(Some)
    }

    fn parse(bytes: &[u8], path: PathBuf) -> Result<Manifest, OpenError> {
        let wrong = |found: String, expected: &str| OpenError::Manifest {
            path: path.clone(),
            found,
            expected: expected.to_string(),
        };
        let text = std::str::from_utf8(bytes)
            .map_err(|e| wrong(format!("no text: {e}"), "a manifest in TOML"))?;
        let head: Head = toml::from_str(text)
            .map_err(|e| wrong(e.message().to_string(), "format, store and created_by"))?;
        if !(1..=FORMAT).contains(&head.format) {
            let by = head.created_by.as_deref().unwrap_or("an unknown build");
            let found = format!("format is {} (by {by})", head.format);
            return Err(wrong(found, "1 or 2, the formats that this build reads"));
        }
        let body = match head.format {
            1 => text,
            _ => checked(text).map_err(|found| wrong(found, "a whole manifest"))?,
        };
        let mut manifest: Manifest = toml::from_str(body).map_err(|e| {
            wrong(e.message().to_string(), "format, store, created_by, persist and [log]")
        })?;
        if manifest.format == 1 {
            manifest.log.segment = 1; // it was written when that was there
        } else if manifest.persist.is_none() {
            return Err(wrong("persist is missing".to_string(), "\"all\" or \"flagged\""));
        }
        if manifest.store.len() != 32 || u128::from_str_radix(&manifest.store, 16).is_err() {
            return Err(wrong(format!("store is {:?}", manifest.store), "32 hexadecimal digits"));
        }
        Ok(manifest)
    }

    /// The identity.
    pub(crate) fn store_id(&self) -> Option<u128> {
        u128::from_str_radix(&self.store, 16).ok()
    }

    /// Writes it, in this build's format; durable on return.
    pub(crate) fn write(&self, dir: &Directory) -> Result<(), OpenError> {
        let failed =
            |source| OpenError::Io { operation: "write", path: dir.path().join(NAME), source };
        let Marks { lsn, segment, generation } = self.log;
        let body = format!(
            "# neurograph store\nformat = {FORMAT}\nstore = \"{}\"\ncreated_by = \"{}\"\n\
             persist = \"{}\"\n\n[log]\nlsn = {lsn}\nsegment = {segment}\ngeneration = {generation}\n",
            self.store,
            self.created_by,
            self.persist.unwrap_or_default(),
        );
        let checksum = crc32c::crc32c(body.as_bytes());
        dir.replace(NAME, format!("{body}{CHECKSUM}\"{checksum:08x}\"\n").as_bytes())
            .map_err(failed)
    }
}

fn read(dir: &Directory) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    dir.open_file(NAME, Access::Read)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn word<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Persist>, D::Error> {
    let word = String::deserialize(from)?;
    word.parse().map(Some).map_err(serde::de::Error::custom)
}

/// As much as every format has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    created_by: Option<String>,
}

/// The text without its checksum. Errors: what is wrong with that.
fn checked(text: &str) -> Result<&str, String> {
    let at = text.rfind(CHECKSUM).ok_or("no checksum")?;
    let (body, stored) = text.split_at(at);
    let computed = format!("{CHECKSUM}\"{:08x}\"\n", crc32c::crc32c(body.as_bytes()));
    match stored == computed || mutants::on("store-checksum-not-asked") {
        true => Ok(body),
        false => Err(format!("{} where its bytes give {}", stored.trim_end(), computed.trim_end())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(dir: &tempfile::TempDir) -> Directory {
        Directory::open(dir.path()).unwrap()
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_a_newer_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = directory(&dir);
        assert_eq!(Manifest::read(&place).unwrap(), None);
        let marks = Marks { lsn: 7, segment: 3, generation: 9 };
        let manifest = Manifest::new(0xabc, Persist::Flagged, marks);
        manifest.write(&place).unwrap();
        assert_eq!(Manifest::read(&place).unwrap(), Some(manifest.clone()));
        assert_eq!(manifest.store_id(), Some(0xabc));
        let text = std::fs::read_to_string(dir.path().join(NAME)).unwrap();
        let newer = text.replace("format = 2", "format = 3");
        std::fs::write(dir.path().join(NAME), newer).unwrap();
        let error = Manifest::read(&place).unwrap_err().to_string();
        assert!(error.contains("format is 3") && error.contains("nothing was changed"), "{error}");
        std::fs::write(dir.path().join(NAME), "hello").unwrap();
        assert!(matches!(Manifest::read(&place), Err(OpenError::Manifest { .. })));
    }

    #[test]
    fn a_manifest_of_0_1_0_is_read_and_knows_of_the_first_segment_alone() {
        let text = "# neurograph store\nformat = 1\nstore = \"0000000000000000000000000000000a\"\n\
                    created_by = \"0.1.0\"\n";
        let manifest = Manifest::parse(text.as_bytes(), PathBuf::new()).unwrap();
        assert_eq!((manifest.store_id(), manifest.persist), (Some(10), None));
        assert_eq!(manifest.log, Marks { segment: 1, ..Marks::default() });
    }

    /// A mark that rots must neither refuse a good log nor pass a bad one.
    #[test]
    fn every_changed_byte_of_a_manifest_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let place = directory(&dir);
        let marks = Marks { lsn: 402, segment: 3, generation: 17 };
        Manifest::new(0xabc, Persist::All, marks).write(&place).unwrap();
        let good = std::fs::read(dir.path().join(NAME)).unwrap();
        for at in 0..good.len() {
            for flip in [1, 0x10, 0x20] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let read = Manifest::parse(&bad, PathBuf::new());
                assert!(read.is_err(), "byte {at} changed by {flip:#x}: {read:?}");
            }
        }
        for cut in 0..good.len() {
            assert!(Manifest::parse(&good[..cut], PathBuf::new()).is_err(), "cut to {cut} bytes");
        }
    }
}
