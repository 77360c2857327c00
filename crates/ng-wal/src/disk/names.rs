//! What the files are called: a segment, a retired file that waits to serve again, one that is being
//! made.

use crate::SegmentId;

/// Name of a segment's file.
pub(crate) fn file_name(seq: SegmentId) -> String {
    format!("wal-{:010}.seg", seq.get())
}

/// The segment whose file has this name. Only the one spelling that `file_name` makes.
pub(crate) fn parse_file_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".seg")?;
    let seq = SegmentId::new(digits.parse().ok()?);
    // No number so high that the next one would not exist.
    ((1..1 << 62).contains(&seq.get()) && file_name(seq) == name).then_some(seq)
}

/// Name of a retired file that waits to serve again. Never read as a segment.
pub(crate) fn spare_name(seq: SegmentId) -> String {
    format!("spare-{:010}{TEMPORARY}", seq.get())
}

/// Whether this is the name of such a file.
pub(crate) fn is_spare_name(name: &str) -> bool {
    name.starts_with("spare-") && name.ends_with(TEMPORARY)
}

pub(crate) fn temporary_name(seq: SegmentId) -> String {
    format!("{}.tmp", file_name(seq))
}

/// How names of files end that hold nothing of the log, or not yet.
pub(crate) const TEMPORARY: &str = ".seg.tmp";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_name_and_nothing_else_parses_as_it() {
        let seq = SegmentId::new(12);
        assert_eq!(file_name(seq), "wal-0000000012.seg");
        assert_eq!(parse_file_name("wal-0000000012.seg"), Some(seq));
        for junk in [
            "wal-12.seg",
            "wal-0000000012.seg.tmp",
            &spare_name(seq),
            "wal-0000000000.seg",
            "LOCK",
            "core",
            "wal-18446744073709551615.seg",
        ] {
            assert_eq!(parse_file_name(junk), None, "{junk}");
        }
    }
}
