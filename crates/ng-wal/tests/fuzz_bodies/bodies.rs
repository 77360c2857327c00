//! What the fuzzers do with their bytes; an ordinary test does the same with a bounded number.

use std::sync::OnceLock;

use ng_wal::sim::{Image, SimDisk, decode_frame, recover};
use ng_wal::{Wal, WalConfig};

const LOG: &str = "log";

/// No bytes make the frame decoder panic, or believe in more than there is.
pub fn frame_decoder(bytes: &[u8]) {
    for repaired in [false, true] {
        if let Some(payloads) = decode_frame(bytes, repaired) {
            let total: usize = payloads.iter().sum();
            assert!(total <= bytes.len(), "{total} bytes of payload in {}", bytes.len());
        }
    }
}

fn config() -> WalConfig {
    let mut config = WalConfig::default();
    config.segment_bytes = 24 << 10;
    config.payload_bytes_max = 400;
    config.ring_slots = 64;
    config.max_ahead_bytes = 1 << 20;
    config.store_uuid = Some(7);
    config
}

/// A log of a few segments, and its records.
fn template() -> &'static (Image, Vec<Vec<u8>>) {
    static TEMPLATE: OnceLock<(Image, Vec<Vec<u8>>)> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let disk = SimDisk::new();
        let (wal, _) = Wal::open_on(disk.dir(LOG), config()).unwrap();
        let records: Vec<Vec<u8>> = (0..160u32).map(|i| vec![i as u8; 70]).collect();
        for (i, record) in records.iter().enumerate() {
            wal.append(i as u8, record).unwrap();
            if i % 40 == 39 {
                wal.sync().unwrap();
            }
        }
        drop(wal);
        (disk.image(), records)
    })
}

/// Bytes become changes of a log's files, or files of their own: each directory is refused and
/// left as it is, or opened with records that were appended, at their places.
pub fn open_directory(bytes: &[u8]) {
    let (image, records) = template();
    let mut image = image.clone();
    let mut rest = bytes;
    while let [what, file, high, low, length, tail @ ..] = rest {
        let names = image.names(LOG);
        let name = match names.get(usize::from(*file) % (names.len() + 1)) {
            Some(name) => name.clone(),
            None => format!("wal-{:010}.seg", u32::from(*high) % 8 + 1),
        };
        let mut content = image.read(LOG, &name).unwrap_or_default();
        let at = (usize::from(*high) << 8 | usize::from(*low)).min(content.len());
        let used = usize::from(*length).min(tail.len());
        let end = (at + used).min(content.len());
        match what % 6 {
            0 => content[at..end].copy_from_slice(&tail[..end - at]),
            1 => content[at..].fill(0),
            2 => content.truncate(at),
            3 => content.extend_from_slice(&tail[..used]),
            4 => {
                // A frame moved to another place.
                let from = at.min(content.len()) & !63;
                let to = (usize::from(*length) * 64).min(content.len());
                let moved = 64.min(content.len() - from).min(content.len() - to);
                content.copy_within(from..from + moved, to);
            }
            _ => {
                image.remove(LOG, &name);
                rest = &tail[used..];
                continue;
            }
        }
        image.put(LOG, &name, &content);
        rest = &tail[used..];
    }
    let before = image.digest();
    let disk = SimDisk::from_image(&image);
    match recover(disk.dir(LOG), &config()) {
        Err(_) => assert_eq!(disk.image().digest(), before, "refused and changed"),
        Ok(recovery) => {
            let mut next = recovery.first_lsn.get();
            for record in recovery.replay() {
                let record = record.expect("opened, and replay failed");
                let lsn = record.lsn.get();
                assert_eq!(lsn, next, "a hole");
                assert_eq!(record.payload[..], records[lsn as usize - 1][..], "record {lsn}");
                next += 1;
            }
            assert!(recovery.records == 0 || next == recovery.last_lsn.get() + 1, "cut short");
        }
    }
}
