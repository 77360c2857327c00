//! Somebody else's program on ng-wal alone: appends at Strict, closes, opens again and looks.

use ng_wal::{Durability, Wal, WalConfig};

const RECORDS: u8 = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("which directory?")?;
    let mut config = WalConfig::default();
    config.durability = Durability::Strict;
    let (wal, _) = Wal::open(&dir, config.clone())?;
    std::thread::scope(|scope| {
        let appends: Vec<_> = (0..2)
            .map(|half| {
                let wal = &wal;
                scope.spawn(move || {
                    (0..RECORDS / 2).try_for_each(|n| wal.append(half, &[n; 64]).map(drop))
                })
            })
            .collect();
        appends.into_iter().try_for_each(|thread| thread.join().expect("a thread panicked"))
    })?;
    // Larger than what goes around the cache, and than what lies in the ring.
    wal.append(9, &vec![9; 100_000])?;
    wal.close()?;
    let (wal, recovery) = Wal::open(&dir, config)?;
    let mut next = [0; 2];
    let mut large = 0;
    for record in recovery.replay() {
        let record = record?;
        match next.get_mut(usize::from(record.kind)) {
            Some(next) => {
                assert_eq!(record.payload[..], [*next; 64]);
                *next += 1;
            }
            None => large += record.payload.len(),
        }
    }
    assert_eq!((next, large), ([RECORDS / 2; 2], 100_000));
    assert!(recovery.sealed, "closed, and not sealed");
    wal.close()?;
    Ok(())
}
