//! Group `log_bytes`: what a record of 64 bytes takes in the log, synced each 10,000 records: record and frame
//! headers, checksums, padding, and the blocks that each segment begins with. The same in every round.

use ng_wal::Durability;

use crate::{
    files::{fresh_dir, segments},
    log::{self, BATCH},
    payload::Payload,
    row::{Bar, Failure, Group, Kind, Row, Sample, Side, Work},
};

/// One record of this many: a segment is filled and a second begun.
const PART: u64 = 3;
/// The header of a segment; the log's own count of what it wrote begins after it.
const SEGMENT_HEADER_BYTES: u64 = 4096;

pub(crate) fn group() -> Group {
    let rows = vec![
        Row::new("neurograph", Kind::Ours, env!("CARGO_PKG_VERSION"), ours),
        Row::new("floor:payload", Kind::Floor, "", |_| {
            Ok(Sample { elapsed_ns: 1000 * size_of::<Payload>() as u64, operations: 1000 })
        }),
    ];
    // 73.5 bytes and 73 bytes, as a ratio of the rows.
    let (over, under, side) = ("neurograph", "floor:payload", Side::AtMost);
    let bars =
        vec![Bar { id: "P10", over, under, side, bar: 73.5 / 64.0, goal: Some(73.0 / 64.0) }];
    let title = "Log bytes a record of 64 bytes";
    Group { unit: "bytes/op", ..Group::on_disk("log_bytes", title, rows, bars) }
}

fn ours(work: &Work) -> Result<Sample, Failure> {
    let dir = fresh_dir(work)?;
    let records = (work.records / PART).next_multiple_of(BATCH);
    let wal = log::open(dir.path(), Durability::Balanced)?;
    for first in (0..records).step_by(BATCH as usize) {
        log::append(&wal, work, first..first + BATCH)?;
        wal.sync().map_err(log::refused)?;
    }
    let stats = wal.stats();
    wal.close().map_err(log::refused)?;
    let bytes = stats.written_bytes_total + stats.segments * SEGMENT_HEADER_BYTES;
    // What was counted is there: nothing is on disk that was not written.
    let on_disk: u64 =
        segments(dir.path())?.iter().filter_map(|path| Some(path.metadata().ok()?.len())).sum();
    if on_disk < bytes {
        return Err(Failure::Check(format!("{bytes} bytes were written and {on_disk} are there")));
    }
    log::check(work, "neurograph", 0..records, |read| log::read_back(dir.path(), 0, read))?;
    Ok(Sample { elapsed_ns: bytes, operations: records })
}
