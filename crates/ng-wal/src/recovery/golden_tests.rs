//! Makes the golden logs of `tests/golden`, one for each state of the recovery table, and sees that
//! none is absent. `NG_BLESS=1 cargo test -p ng-wal --lib golden` adds those that are missing; what
//! is there is never overwritten: it is what an older build wrote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::disk::segment;
use crate::format::{self, FIRST_FRAME_OFFSET, START_OFFSET};
use crate::recovery::recovery_tests::{Files, Log, name};
use crate::{Row, SegmentId};

struct Golden {
    name: &'static str,
    files: Files,
    /// Lines of `expected.txt`; the outcome is what `tests/golden.rs` compares.
    expected: &'static str,
    /// A link with a segment's name, and a directory.
    link: Option<&'static str>,
    directory: Option<&'static str>,
}

fn golden(name: &'static str, files: Files, expected: &'static str) -> Golden {
    Golden { name, files, expected, link: None, directory: None }
}

/// Three frames of two records: two promised, the last not.
fn three() -> Log {
    let mut log = Log::new();
    log.frame(2);
    log.synced();
    log.frame(2);
    log.frame(2);
    log
}

fn rotated(segments: u64) -> Log {
    let mut log = Log::new();
    for _ in 1..segments {
        log.frame(2);
        log.rotate();
    }
    log.frame(2);
    log
}

fn with(log: &Log, seq: u64, change: impl FnOnce(&mut Vec<u8>)) -> Files {
    let mut files = log.files();
    change(files.get_mut(&name(seq)).unwrap());
    files
}

/// Where frame `i` of the log begins and ends, in a log of one segment without pads before it.
fn frame(log: &Log, i: usize) -> std::ops::Range<usize> {
    let end = log.frames[i].1 as usize;
    let begin = if i == 0 { FIRST_FRAME_OFFSET as usize } else { log.frames[i - 1].1 as usize };
    begin..end
}

fn at_the_end() -> Vec<Golden> {
    let log = three();
    let (second, third) = (log.frames[1].1 as usize, log.frames[2].1 as usize);
    let mut old = three();
    old.frame(5);
    let stale = old.files()[&name(1)][third..].to_vec();
    let mut attested = three();
    attested.durable_end = 7;
    attested.frame(1);
    let mut wrong = three();
    wrong.next -= 1; // an LSN twice
    wrong.frame(1);
    let mut far = Log::new();
    far.active.header.max_ahead_bytes = 4096;
    let block = format::encode_segment_header(&far.active.header);
    for _ in 0..40 {
        far.frame(4);
    }
    let mut far = with(&far, 1, |bytes| bytes[8256..9000].fill(0));
    far.get_mut(&name(1)).unwrap()[..4096].copy_from_slice(&block);
    let mut seal = three();
    seal.seal();
    let sealed = seal.files();
    let damage = frame(&seal, 2).start + 70;
    vec![
        golden(
            "row03-zeroes",
            with(&log, 1, |bytes| bytes.resize(third + 9000, 0)),
            "outcome = open\nrow = 3\ntail = Zero\nrecords = 1 to 6\n",
        ),
        golden(
            "row03-file-end",
            log.files(),
            "outcome = open\nrow = 3\ntail = End\nrecords = 1 to 6\n",
        ),
        golden(
            "row04-older-file",
            with(&log, 1, |bytes| bytes.extend_from_slice(&stale)),
            "outcome = open\nrow = 4\ntail = Recycled\nrecords = 1 to 6\n",
        ),
        golden(
            "row05-zeroes-below-a-promise",
            with(&log, 1, |bytes| bytes[FIRST_FRAME_OFFSET as usize..12288].fill(0)),
            "outcome = corrupt\nrow = 5\nsays = wal-0000000001.seg at offset 8192 (LSN 1): zeroes\n\
             says = proven durable below LSN 3\n",
        ),
        golden(
            "row06-payload-torn",
            with(&log, 1, |bytes| bytes[second + 70] ^= 4),
            "outcome = open\nrow = 6\ntail = Torn\nrecords = 1 to 4\n",
        ),
        golden(
            "row07-header-torn",
            with(&log, 1, |bytes| bytes[second + 30] ^= 4),
            "outcome = open\nrow = 7\ntail = Torn\nrecords = 1 to 4\n",
        ),
        golden(
            "row08-hole-and-frames-behind",
            with(&log, 1, |bytes| bytes[12288..second].fill(0)),
            "outcome = open\nrow = 8\ntail = Torn\nrecords = 1 to 2\ndropped = 1\n",
        ),
        golden(
            "row09-frame-behind-attests",
            with(&attested, 1, |bytes| bytes[second + 70] ^= 4),
            "outcome = corrupt\nrow = 9\nsays = (LSN 5): payload checksum\n\
             says = attests LSN 6 durable\nsays = proven durable below LSN 7\n",
        ),
        golden(
            "row11-farther-than-one-crash",
            far,
            "outcome = corrupt\nrow = 11\nsays = damage larger than one crash can cause\n",
        ),
        golden(
            "row12-damage-before-a-seal",
            with(&seal, 1, |bytes| bytes[damage] ^= 1),
            "outcome = corrupt\nrow = 12\nsays = (LSN 5)\nsays = proven durable below LSN 7\n",
        ),
        golden(
            "row17-end-before-the-checkpoint",
            log.files(),
            "needs = 2 9\noutcome = corrupt\nrow = 17\nsays = (LSN 7)\n\
             says = records up to LSN 8, which its owner says it holds\n",
        ),
        golden(
            "row18-an-lsn-twice",
            wrong.files(),
            "outcome = open\nrow = 18\ntail = Torn\nrecords = 1 to 6\n",
        ),
        golden(
            "row23-cut-in-a-frame",
            with(&log, 1, |bytes| bytes.truncate(third - 100)),
            "outcome = open\nrow = 23\ntail = Torn\nrecords = 1 to 4\n",
        ),
        golden(
            "row23-cut-below-a-checkpoint",
            with(&log, 1, |bytes| bytes.truncate(third - 100)),
            "needs = 2 7\noutcome = corrupt\nrow = 23\nsays = the file ends inside a frame\n",
        ),
        golden(
            "row24-longer-than-its-segment",
            with(&log, 1, |bytes| {
                bytes.resize(64 << 10, 0);
                bytes.extend_from_slice(&[9; 5000]);
            }),
            "outcome = open\nrow = 3\nnotes = 24\ntail = Zero\nrecords = 1 to 6\n",
        ),
        golden(
            "row41-sealed",
            sealed,
            "outcome = open\nrow = 41\ntail = Sealed\nrecords = 1 to 6\n",
        ),
    ]
}

fn between_segments() -> Vec<Golden> {
    let log = rotated(3);
    let without = |seq| {
        let mut files = log.files();
        files.remove(&name(seq));
        files
    };
    let put = |mut files: Files, seq, bytes| {
        files.insert(name(seq), bytes);
        files
    };
    let cut = log.frames[0].1 as usize;
    let lone = three();
    let mut two = rotated(2);
    two.rotate();
    let named_only = {
        let mut files = two.files();
        files.remove(&name(3));
        files
    };
    let header = segment::new_header(SegmentId::new(2), 7, 64 << 10, 1 << 20);
    let mut prepared = format::encode_segment_header(&header);
    prepared.resize(FIRST_FRAME_OFFSET as usize, 0);
    let mut bad_header = prepared.clone();
    bad_header[50] ^= 1;
    let mut begun = prepared.clone();
    begun[START_OFFSET as usize..][..512].fill(0x5a);
    let mut behind = rotated(2);
    behind.synced();
    behind.frame(1); // attests what is in segment 2
    vec![
        golden(
            "row10-damage-in-the-middle",
            with(&log, 1, |bytes| bytes[FIRST_FRAME_OFFSET as usize + 70] ^= 1),
            "outcome = corrupt\nrow = 10\nsays = wal-0000000001.seg at offset 8192 (LSN 1)\n\
             says = records up to LSN 2, before segment 2\n",
        ),
        golden(
            "row13-middle-absent",
            without(2),
            "outcome = missing\nrow = 13\nsays = segment 2 is absent\n\
             says = segment 1 ends before LSN 3, segment 3 begins at LSN 5\n",
        ),
        golden(
            "row14-named-and-absent",
            named_only,
            "outcome = missing\nrow = 14\nsays = segment 3 is absent: segment 2 ends before LSN 5\n",
        ),
        golden(
            "row15-oldest-retired",
            without(1),
            "needs = 3 4\noutcome = open\nrow = 3\nnotes = 15\ntail = End\nrecords = 3 to 6\n",
        ),
        golden(
            "row16-begins-too-late",
            without(1),
            "needs = 2 4\noutcome = missing\nrow = 16\nsays = segment 1 is absent\n\
             says = needed from LSN 2 on and begins at LSN 3\n",
        ),
        golden(
            "row43-newest-absent",
            log.files(),
            "needs = 1 4 9\noutcome = missing\nrow = 43\nsays = segment 9 is absent\n\
             says = was in use when the log was last opened\n",
        ),
        golden(
            "row19-another-number",
            put(log.files(), 3, log.files()[&name(2)].clone()),
            "outcome = corrupt\nrow = 19\nsays = wal-0000000003.seg at offset 0\n\
             says = its header says segment 2\n",
        ),
        golden(
            "row20-half-prepared",
            put(lone.files(), 2, vec![0; 100]),
            "outcome = open\nrow = 3\nnotes = 20\ntail = End\nrecords = 1 to 6\n\
             aside = wal-0000000002.seg.unused-1\n",
        ),
        golden(
            "row21-half-prepared-and-named",
            put(two.files(), 3, vec![0; 100]),
            "outcome = corrupt\nrow = 21\nsays = wal-0000000003.seg at offset 0\n\
             says = the segment that a rotate frame names\n",
        ),
        golden(
            "row22-cut-at-a-frame",
            with(&log, 1, |bytes| bytes.truncate(cut)),
            "outcome = corrupt\nrow = 22\nsays = the file ends\n",
        ),
        golden(
            "row25-header-damaged-unused",
            put(lone.files(), 2, bad_header),
            "outcome = open\nrow = 3\nnotes = 25\ntail = End\nrecords = 1 to 6\n\
             aside = wal-0000000002.seg.unused-1\n",
        ),
        golden(
            "row26-header-damaged-in-use",
            with(&log, 3, |bytes| bytes[50] ^= 1),
            "outcome = corrupt\nrow = 26\nsays = wal-0000000003.seg at offset 0\n\
             says = segment header checksum\n",
        ),
        golden(
            "row26-header-zeroed-in-use",
            with(&log, 2, |bytes| bytes[..8192].fill(0)),
            "outcome = corrupt\nrow = 26\nsays = wal-0000000002.seg at offset 0\n",
        ),
        golden(
            "row09-start-frame-damaged",
            with(&behind, 2, |bytes| bytes[START_OFFSET as usize + 9] ^= 1),
            "outcome = corrupt\nrow = 9\nsays = wal-0000000002.seg at offset 4096 (LSN 3)\n\
             says = attests LSN 4 durable\n",
        ),
        golden(
            "row38-successor-prepared",
            put(lone.files(), 2, prepared),
            "outcome = open\nrow = 3\ntail = End\nrecords = 1 to 6\n",
        ),
        golden(
            "row38-successor-begun",
            put(lone.files(), 2, begun),
            "outcome = open\nrow = 3\nnotes = 38\ntail = End\nrecords = 1 to 6\n",
        ),
    ]
}

fn strangers() -> Vec<Golden> {
    let log = rotated(2);
    let header = |version: [u8; 4]| {
        with(&log, 2, |bytes| {
            bytes[8..12].copy_from_slice(&version);
            let crc = format::crc_of_header(bytes);
            bytes[124..128].copy_from_slice(&crc);
        })
    };
    let other = {
        let header = segment::new_header(SegmentId::new(2), 8, 64 << 10, 1 << 20);
        let block = format::encode_segment_header(&header);
        with(&log, 2, |bytes| bytes[..4096].copy_from_slice(&block))
    };
    let mut junk = log.files();
    for name in ["core", ".nfs0000000000000001", "wal-1.seg", "wal-0000000003.seg~"] {
        junk.insert(name.into(), b"not a segment".to_vec());
    }
    let mut linked = log.files();
    linked.remove(&name(2));
    let mut geometry = Log::new();
    geometry.frame(2);
    geometry.active.header.segment_bytes = 128 << 10;
    let block = format::encode_segment_header(&geometry.active.header);
    let geometry = with(&geometry, 1, |bytes| bytes[..4096].copy_from_slice(&block));
    vec![
        golden(
            "row01-nothing",
            Files::new(),
            "outcome = open\nrow = 1\ntail = New\nrecords = 1 to 0\n",
        ),
        golden(
            "row02-nothing-and-needed",
            Files::new(),
            "needs = 8 9\noutcome = missing\nrow = 2\n\
             says = needed from LSN 8 on, the directory holds no segment\n",
        ),
        golden(
            "row27-another-store",
            other,
            "outcome = foreign\nrow = 27\nsays = wal-0000000002.seg\nsays = a segment of store\n",
        ),
        Golden {
            directory: Some("lost+found"),
            ..golden(
                "row28-junk",
                junk,
                "outcome = open\nrow = 3\nnotes = 28\ntail = End\nrecords = 1 to 4\n\
                 unknown = 5\n",
            )
        },
        Golden {
            link: Some("wal-0000000002.seg"),
            ..golden(
                "row29-link",
                linked,
                "outcome = foreign\nrow = 29\nsays = not a regular file\n",
            )
        },
        golden(
            "row32-newer-format",
            header([3, 0, 2, 0]),
            "outcome = version\nrow = 32\nsays = format 3\n",
        ),
        golden(
            "row33-big-endian",
            with(&log, 2, |bytes| bytes[..8].reverse()),
            "outcome = version\nrow = 33\nsays = big-endian\n",
        ),
        golden(
            "row34-no-segment",
            with(&log, 2, |bytes| bytes[..8].copy_from_slice(b"SQLite f")),
            "outcome = foreign\nrow = 34\nsays = not an ng-wal segment\n",
        ),
        golden(
            "row35-another-geometry",
            geometry,
            "outcome = open\nrow = 3\nnotes = 35\ntail = End\nrecords = 1 to 2\n",
        ),
    ]
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn write(golden: &Golden) -> std::io::Result<()> {
    let dir = place().join(golden.name);
    if dir.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("expected.txt"), golden.expected)?;
    let log = dir.join("log");
    for (name, bytes) in &golden.files {
        std::fs::create_dir_all(&log)?;
        std::fs::write(log.join(name), bytes)?;
    }
    if let Some(name) = golden.directory {
        std::fs::create_dir_all(log.join(name))?;
        std::fs::write(log.join(name).join("file"), "kept by the directory\n")?;
    }
    #[cfg(unix)]
    if let Some(name) = golden.link {
        std::os::unix::fs::symlink("wal-0000000001.seg", log.join(name))?;
    }
    Ok(())
}

#[test]
fn each_row_of_the_table_has_a_golden_log() {
    if !place().parent().is_some_and(Path::exists) {
        return; // a package comes without `tests`
    }
    let all: Vec<_> =
        [at_the_end(), between_segments(), strangers()].into_iter().flatten().collect();
    if std::env::var("NG_BLESS").is_ok_and(|value| value == "1") {
        for golden in &all {
            write(golden).unwrap();
        }
    }
    let absent: Vec<_> =
        all.iter().filter(|g| !place().join(g.name).exists()).map(|g| g.name).collect();
    assert!(absent.is_empty(), "NG_BLESS=1 makes what is absent: {absent:?}");
    // Of every row that speaks of files there is a log.
    let named: BTreeSet<u8> = all.iter().map(|golden| golden.name[3..5].parse().unwrap()).collect();
    for row in Row::ALL.iter().filter(|row| **row != Row::R42) {
        assert!(named.contains(&row.number()), "{row}");
    }
}
