//! One log for each row of the recovery table, as it lies on disk: what an open makes of it, that a
//! refused one changed nothing, and that a second open changes nothing more.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ng_wal::{
    Lsn, Needs, OpenError, Reader, Recovery, SegmentId, Wal, WalConfig, inspect, verify_for,
};
use support::{config, replay};

fn payload(lsn: u64) -> Vec<u8> {
    format!("record {lsn} {}", "x".repeat((lsn * 37 % 150) as usize)).into_bytes()
}

/// The lines of an `expected.txt`, by key.
struct Expected(Vec<(String, String)>);

impl Expected {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| {
            let (key, value) = line.split_once(" = ").unwrap();
            (key.to_owned(), value.to_owned())
        });
        Self(lines.collect())
    }

    fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    fn one<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).next()
    }

    fn numbers(&self, key: &str) -> Vec<u64> {
        let words = self.one(key).unwrap_or_default().split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    }

    fn needs(&self) -> Option<Needs> {
        let numbers = self.numbers("needs");
        let [from, upto, ref segment @ ..] = numbers[..] else { return None };
        let segment = SegmentId::new(segment.first().copied().unwrap_or(0));
        Some(Needs { from: Lsn::new(from), upto: Lsn::new(upto), segment })
    }

    fn config(&self) -> WalConfig {
        let mut config = config();
        config.needs = self.needs();
        config
    }
}

fn goldens() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut found: Vec<_> =
        std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// Copies files, links and directories; an absent source is an empty one.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else if kind.is_symlink() {
            #[cfg(unix)]
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Every name below `dir` but the lock, with what it holds.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(contents(&entry.path()));
        } else if entry.file_name() != "LOCK" {
            found.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

fn kind(error: &OpenError) -> &'static str {
    match error {
        OpenError::Corrupt { .. } => "corrupt",
        OpenError::Missing { .. } => "missing",
        OpenError::Foreign { .. } => "foreign",
        OpenError::Version { .. } => "version",
        _ => "another error",
    }
}

fn check_records(context: &str, expected: &Expected, recovery: &Recovery) {
    let range = expected.numbers("records");
    let records = replay(recovery);
    let lsns: Vec<_> = (range[0]..=range[1]).collect();
    assert_eq!(records.iter().map(|record| record.0).collect::<Vec<_>>(), lsns, "{context}");
    for (lsn, kind, bytes) in records {
        assert_eq!((kind, bytes), (lsn as u8, payload(lsn)), "{context}");
    }
}

fn check_opened(context: &str, expected: &Expected, recovery: &Recovery, dir: &Path) {
    assert_eq!(expected.one("outcome"), Some("open"), "{context}: it opened");
    assert_eq!(expected.numbers("row"), [u64::from(recovery.row.number())], "{context}");
    let notes: Vec<_> = recovery.notes.iter().map(|row| u64::from(row.number())).collect();
    assert_eq!(expected.numbers("notes"), notes, "{context}");
    assert_eq!(expected.one("tail"), Some(format!("{:?}", recovery.tail).as_str()), "{context}");
    let dropped = expected.numbers("dropped").first().copied().unwrap_or(0);
    assert_eq!(recovery.dropped_frames, dropped, "{context}");
    let unknown = expected.numbers("unknown").first().copied().unwrap_or(0);
    assert_eq!(recovery.unknown_files.len() as u64, unknown, "{context}");
    for name in expected.all("aside") {
        assert!(dir.join(name).is_file(), "{context}: {name}");
    }
    check_records(context, expected, recovery);
}

#[test]
fn each_golden_log_has_the_outcome_of_its_row() {
    let goldens = goldens();
    assert!(goldens.len() >= 36, "{}", goldens.len());
    for golden in goldens {
        let context = golden.file_name().unwrap().to_str().unwrap().to_owned();
        let expected = Expected::read(&golden.join("expected.txt"));
        let dir = tempfile::tempdir().unwrap();
        copy(&golden.join("log"), dir.path());
        let before = contents(dir.path());
        // What only looks, looks: the row is the same, and nothing changes.
        let needs = expected.needs().unwrap_or(Needs {
            from: Lsn::new(1 << 40),
            upto: Lsn::new(1),
            segment: SegmentId::default(),
        });
        let verified = verify_for(dir.path(), needs).unwrap();
        assert_eq!(expected.numbers("row"), [u64::from(verified.row.number())], "{context}");
        inspect(dir.path()).unwrap();
        let _ = Reader::open(dir.path()).map(|reader| reader.count());
        assert_eq!(contents(dir.path()), before, "{context}");
        let (wal, recovery) = match Wal::open(dir.path(), expected.config()) {
            Ok(opened) => opened,
            Err(error) => {
                assert_eq!(expected.one("outcome"), Some(kind(&error)), "{context}: {error}");
                let row = error.row().map(|row| u64::from(row.number()));
                assert_eq!(expected.numbers("row"), [row.unwrap()], "{context}: {error}");
                for part in expected.all("says") {
                    assert!(error.to_string().contains(part), "{context}: {error}, not {part:?}");
                }
                assert_eq!(contents(dir.path()), before, "{context}: a refusal changed something");
                continue;
            }
        };
        check_opened(&context, &expected, &recovery, dir.path());
        let next = recovery.last_lsn.next().get();
        assert_eq!(wal.append(next as u8, &payload(next)).unwrap().get(), next, "{context}");
        wal.close().unwrap();
        let (_, again) = Wal::open(dir.path(), expected.config()).unwrap();
        assert_eq!((again.last_lsn.get(), again.sealed), (next, true), "{context}");
    }
}
