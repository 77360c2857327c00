//! A child that appends is killed with SIGKILL in mid-write. What it had been told is durable is
//! there; nothing is invented, nothing twice; the order is one exact prefix.
//!
//! It proves the survival of a process kill, not of a power loss: the page cache lives on.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use ng_wal::{Durability, Wal};
use support::{config, replay};

const CHILD_DIR: &str = "NG_WAL_KILL_TEST_DIR";

fn payload(lsn: u64) -> Vec<u8> {
    let length = (lsn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
    let mut bytes = lsn.to_string().into_bytes();
    bytes.resize(bytes.len() + length, lsn as u8);
    bytes
}

/// The child: not a test of its own; without the variable it has nothing to do.
#[test]
fn child_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let (wal, _) = Wal::open(dir, config()).unwrap();
    let mut out = std::io::stdout();
    loop {
        let next = wal.last_lsn().get() + 1;
        let level = if next % 5 == 0 { Durability::Strict } else { Durability::Relaxed };
        let lsn = wal.append_durable(1, &payload(next), level).unwrap();
        assert_eq!(lsn.get(), next);
        if level == Durability::Strict {
            // Shorter than a pipe's atomic unit, so a line is whole or not there.
            out.write_all(format!("durable {lsn}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        }
    }
}

#[test]
fn every_acknowledged_record_of_a_killed_process_is_there() {
    let seed = support::seed();
    let dir = tempfile::tempdir().unwrap();
    let mut durable = 0u64;
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = |line: String| {
            line.rsplit_once("durable ").and_then(|(_, lsn)| lsn.trim().parse::<u64>().ok())
        };
        // Killed after some acknowledgements, wherever it is by then.
        let enough = durable + 5 + (seed.wrapping_mul(round + 1) >> 7) % 400;
        for line in lines.by_ref().map_while(Result::ok) {
            if let Some(lsn) = acknowledged(line) {
                durable = durable.max(lsn);
                if lsn >= enough {
                    break;
                }
            }
        }
        child.kill().unwrap();
        // What it still had said before it died counts too.
        let rest = lines.map_while(Result::ok).filter_map(acknowledged).max();
        durable = durable.max(rest.unwrap_or(0));
        child.wait().unwrap();

        let (wal, recovery) = Wal::open(dir.path(), config()).unwrap();
        assert!(!recovery.sealed);
        let records = replay(&recovery);
        assert!(records.len() as u64 >= durable, "lost: {} of {durable}", records.len());
        assert!(durable >= enough, "the child ended by itself, round {round}");
        for (i, (lsn, _, bytes)) in records.iter().enumerate() {
            assert_eq!(*lsn, i as u64 + 1, "round {round}");
            assert_eq!(*bytes, payload(*lsn), "round {round}");
        }
        // What an open returned counts as acknowledged from now on.
        durable = records.len() as u64;
        if round % 2 == 0 {
            wal.close().unwrap();
            let (_, recovery) = Wal::open(dir.path(), config()).unwrap();
            assert!(recovery.sealed);
        }
    }
}
