//! Creates a million tokens, reads them back, and gives the memory back.

use ng_core::{Arena, ArenaConfig, Token};
use quietly::quietly;
use std::io::{self, Write};
use std::time::Instant;

#[path = "console/quietly.rs"]
mod quietly;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    quietly(run())
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arena = Arena::new(ArenaConfig::default())?;
    let mut writer = arena.writer();
    let start = Instant::now();
    let mut ids = Vec::with_capacity(1_000_000);
    for n in 0..1_000_000u32 {
        ids.push(writer.create(&Token::builder().timestamp(n + 1).build()?)?);
    }
    writeln!(io::stdout(), "1,000,000 creates in {:?}; the first is {}", start.elapsed(), ids[0])?;
    writeln!(io::stdout(), "token {}: {}", ids[7], arena.get(ids[7]).ok_or("gone")?)?;
    writeln!(io::stdout(), "{:?}", arena.stats())?;
    for id in ids {
        writer.delete(id)?;
    }
    drop(writer);
    writeln!(io::stdout(), "{} bytes went back to the kernel", arena.give_back_empty())?;
    Ok(())
}
