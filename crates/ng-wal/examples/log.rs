//! Appends a line to a log for each argument, and shows what earlier runs left:
//! `cargo run -p ng-wal --example log -- DIR first second`.

use ng_wal::{Durability, Wal, WalConfig};
use quietly::quietly;
use std::io::{self, Write};

#[path = "console/quietly.rs"]
mod quietly;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        // Without a directory: a look at the whole life of a log, in a temporary one.
        let dir = tempfile::tempdir()?;
        open(dir.path(), ["first".to_string(), "second".to_string()])?;
        return open(dir.path(), ["third".to_string()]);
    };
    open(std::path::Path::new(&dir), args)
}

fn open(
    dir: &std::path::Path,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (wal, recovery) = Wal::open(dir, WalConfig::default())?;
    writeln!(io::stdout(), "{} records, end of the log: {:?}", recovery.records, recovery.tail)?;
    for record in recovery.replay() {
        let record = record?;
        writeln!(io::stdout(), "{:>6} {}", record.lsn, String::from_utf8_lossy(&record.payload))?;
    }
    for line in lines {
        let lsn = wal.append_durable(1, line.as_bytes(), Durability::Strict)?;
        writeln!(io::stdout(), "{lsn:>6} {line} (new, durable)")?;
    }
    wal.close()?;
    Ok(())
}
