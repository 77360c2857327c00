//! Appends a line to a log for each argument, and shows what earlier runs left:
//! `cargo run -p ng-wal --example log -- DIR first second`.
#![allow(clippy::print_stdout)] // it is a program

use ng_wal::{Durability, Wal, WalConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        // Without a directory: a look at the whole life of a log, in a temporary one.
        let dir = tempfile::tempdir()?;
        run(dir.path(), ["first".to_string(), "second".to_string()])?;
        return run(dir.path(), ["third".to_string()]);
    };
    run(std::path::Path::new(&dir), args)
}

fn run(
    dir: &std::path::Path,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let (wal, recovery) = Wal::open(dir, WalConfig::default())?;
    println!("{} records, end of the log: {:?}", recovery.records, recovery.tail);
    for record in recovery.replay() {
        let record = record?;
        println!("{:>6} {}", record.lsn, String::from_utf8_lossy(&record.payload));
    }
    for line in lines {
        let lsn = wal.append_durable(1, line.as_bytes(), Durability::Strict)?;
        println!("{lsn:>6} {line} (new, durable)");
    }
    wal.close()?;
    Ok(())
}
