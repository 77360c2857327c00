//! Opens a store in a temporary directory, writes, closes, reopens, reads back.

use neurograph::{Config, Space, Store, Token};
use quietly::quietly;
use std::io::{self, Write};

#[path = "console/quietly.rs"]
mod quietly;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path(), Config::default())?;
    let mut session = store.session();
    let token =
        Token::builder().coordinates(Space::Physical, [1.0, 2.0, 3.0]).weight(0.5).build()?;
    let id = session.create(&token)?;
    for _ in 0..100_000 {
        session.create(&token)?;
    }
    store.sync()?;
    writeln!(io::stdout(), "{} tokens, durable up to record {}", store.len(), store.last_lsn())?;
    drop(session);
    store.close()?;

    let store = Store::open(dir.path(), Config::default())?;
    writeln!(io::stdout(), "{:?}", store.recovery())?;
    writeln!(io::stdout(), "token {id}: {}", store.session().get(id).ok_or("gone")?)?;
    writeln!(
        io::stdout(),
        "{}",
        store
            .metrics_text()
            .lines()
            .filter(|l| !l.starts_with('#'))
            .take(12)
            .collect::<Vec<_>>()
            .join("\n")
    )?;
    Ok(())
}
