//! docs/FORMAT.md is enough to read a log: `docs/read_log.py`, written from it alone and in another
//! language, agrees with this crate on every golden log and on a fresh one.

mod support;

use std::path::Path;
use std::process::Command;

use ng_wal::{Durability, Wal, verify};
use support::{config, replay};

const PYTHON: &str = "python3";

/// Runs the script; its lines and whether it took the log.
fn read(dir: &Path) -> (Vec<String>, bool) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/read_log.py");
    let output = Command::new(PYTHON).arg("-B").arg(script).arg(dir).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {error}", dir.display());
    (text.lines().map(str::to_owned).collect(), output.status.success())
}

fn line(lsn: u64, kind: u8, payload: &[u8]) -> String {
    let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{lsn} {kind} {}", if hex.is_empty() { "-" } else { &hex })
}

/// Says so loudly where it cannot run; CI has it.
fn python_is_here() -> bool {
    let here = Command::new(PYTHON).arg("--version").output().is_ok_and(|o| o.status.success());
    if !here {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED: no {PYTHON}; the other reader was not tried");
    }
    here
}

#[test]
fn another_language_reads_the_golden_logs_as_this_crate_does() {
    if !python_is_here() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut taken, mut refused) = (0, 0);
    for entry in std::fs::read_dir(golden).unwrap() {
        let log = entry.unwrap().path().join("log");
        if !log.is_dir() {
            continue;
        }
        let (lines, took) = read(&log);
        let context = format!("{}: {lines:?}", log.display());
        let verified = verify(&log).unwrap();
        assert_eq!(took, verified.outcome.is_ok(), "{context}: {verified:?}");
        let Ok(readable) = verified.outcome else {
            refused += 1;
            continue;
        };
        taken += 1;
        let copy = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(&log).unwrap().map(|file| file.unwrap()) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        let (_, recovery) = Wal::open(copy.path(), config()).unwrap();
        let mut expected: Vec<_> =
            replay(&recovery).iter().map(|(lsn, kind, bytes)| line(*lsn, *kind, bytes)).collect();
        let tail = match format!("{:?}", readable.tail).as_str() {
            "End" => "file end".to_owned(),
            other => other.to_lowercase(),
        };
        expected.push(format!("end LSN {}: {tail}", recovery.last_lsn.next()));
        assert_eq!(lines, expected, "{context}");
    }
    assert!(taken >= 14 && refused >= 15, "{taken} taken, {refused} refused");
}

#[test]
fn another_language_reads_a_fresh_log_of_many_segments() {
    if !python_is_here() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(dir.path(), config()).unwrap();
    let mut expected = Vec::new();
    for i in 1..=300u64 {
        let payload = vec![i as u8; (i * 131 % 1200) as usize];
        let level = if i % 40 == 0 { Durability::Strict } else { Durability::Relaxed };
        wal.append_durable(i as u8, &payload, level).unwrap();
        expected.push(line(i, i as u8, &payload));
    }
    wal.close().unwrap();
    expected.push("end LSN 301: sealed".to_owned());
    let segments = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(segments > 3, "{segments}");
    assert_eq!(read(dir.path()), (expected, true));
}
