//! Settings of a log, with units and ranges. Geometry of existing segments comes from their
//! headers; new segments use what stands here.

use std::time::Duration;

use crate::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX, record_bytes};
use crate::write::ring::INLINE_PAYLOAD_BYTES;
use crate::{ConfigError, Lsn, SegmentId, WalObserver, sync::Arc};

/// When an append counts as safe, and from what.
///
/// | level | returns | survives a killed process | survives power loss |
/// |---|---|---|---|
/// | `Relaxed` | when queued | up to the last write (5 ms, 20 ms after a long pause, two syncs at a segment's end) | up to the last sync (8 MiB, segment end, or a second) |
/// | `Balanced` | when queued | as above | all but the last 100 ms and what came during two syncs |
/// | `Strict` | when a covering fdatasync returned | everything | everything |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Queued; synced each 8 MiB, at a segment's end, or each second.
    Relaxed,
    /// Queued; synced each `sync_records` records or `sync_interval` after the oldest of them.
    #[default]
    Balanced,
    /// The append returns when a covering fdatasync has returned.
    Strict,
}

/// What the owner of a log knows of it from a durable place of its own, and needs of it at open. A log
/// that has less is refused as `Missing` or `Corrupt`, and nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// First record that will be replayed: where the owner's checkpoint began; 1 without one. Required.
    pub from: Lsn,
    /// The record after the last one that the owner knows to be durable: where its checkpoint ended, or
    /// what the last open or close told it. At least `from`. Required.
    pub upto: Lsn,
    /// The newest segment that the owner knows of, [`Recovery::active_segment`](crate::Recovery) of an
    /// earlier open: it or a later one must be there. Required; `SegmentId::default()` where none is known.
    pub segment: SegmentId,
}

/// Settings of a log. Build with `WalConfig::default()` and assign fields.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct WalConfig {
    /// Level of every append that does not ask for more. Default: `Balanced`.
    pub durability: Durability,
    /// Balanced: sync after this many records. Unit: records. Range: 1 to 1,000,000,000.
    /// Default: 10,000.
    pub sync_records: u64,
    /// Balanced: sync when the oldest unsynced record is this old. Range: 1 ms to 60 s.
    /// Default: 100 ms.
    pub sync_interval: Duration,
    /// Size of a segment file. Unit: bytes. Range: 64 KiB to 1 GiB, multiple of 4 KiB; room for
    /// one record of `payload_bytes_max`. Default: 64 MiB.
    pub segment_bytes: u64,
    /// Bytes the whole log may take on disk; at it, appends get `Full`. A prepared segment and
    /// zeroes written ahead of the active one are counted in. Unit: bytes. Range: at least four
    /// segments and `reserved_bytes` and a ring's worth of records (validate names the sum).
    /// Default: 4 GiB.
    pub log_bytes_max: u64,
    /// Retired segment files kept to serve again: a sync into one commits no metadata. They count
    /// in `log_bytes_max`, and go when room is scarce. Unit: files. Range: 0 to 1,024. Default: 2.
    pub spare_segments_max: u32,
    /// The last part of `log_bytes_max`, which only `try_append_reserved` may use, so that
    /// deletes, which make room, are possible in a full log. Unit: bytes. Range: 0 to
    /// `log_bytes_max`. Default: 2 MiB.
    pub reserved_bytes: u64,
    /// Largest payload of one record. Unit: bytes. Range: 80 to 1 MiB. Default: 1 MiB.
    pub payload_bytes_max: u32,
    /// Records the ring between appenders and writer thread holds, 128 bytes each. Unit: slots.
    /// Range: 8 to 1,048,576, power of two. Default: 16,384.
    pub ring_slots: u32,
    /// Bytes of payloads too large for a slot that may be on their way at once. Unit: bytes.
    /// Range: `payload_bytes_max` to 1 GiB. Default: 16 MiB.
    pub large_bytes_max: u64,
    /// How far writing may run ahead of the last finished sync. Recovery takes damage wider than
    /// twice this for corruption. Unit: bytes. Range: 1 MiB, and two of the largest records, to
    /// 1 GiB. Default: 32 MiB.
    pub max_ahead_bytes: u64,
    /// How long `append` waits for room before `Full`; 0 = never. Range: 0 to 1 h. Default: 1 s.
    pub full_timeout: Duration,
    /// How long `sync` and a Strict append wait for the disk. Range: 1 ms to 1 h. Default: 30 s.
    pub sync_timeout: Duration,
    /// Identity of the store this log belongs to, written into each segment; another store's
    /// segment is refused as `Foreign`. Default: none: the directory's own, random when it is new.
    pub store_uuid: Option<u128>,
    /// What the owner knows of the log. A log that begins later, ends earlier or lacks its newest
    /// segment is refused at open. Default: none: whatever is there is enough.
    pub needs: Option<Needs>,
    /// Told of syncs, rotations and failures. Default: none.
    pub observer: Option<Arc<dyn WalObserver>>,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            sync_records: 10_000,
            sync_interval: Duration::from_millis(100),
            segment_bytes: 64 << 20,
            log_bytes_max: 4 << 30,
            spare_segments_max: 2,
            reserved_bytes: 2 << 20,
            payload_bytes_max: 1 << 20,
            ring_slots: 16_384,
            large_bytes_max: 16 << 20,
            max_ahead_bytes: 32 << 20,
            full_timeout: Duration::from_secs(1),
            sync_timeout: Duration::from_secs(30),
            store_uuid: None,
            needs: None,
            observer: None,
        }
    }
}

/// Zeroes written ahead of the active segment's end, at most. A guess: larger than what a busy
/// writer adds between two of its idle moments, small beside a segment.
/// What a slot's record takes in the log at most, with its share of frame headers.
pub(crate) const SLOT_BYTES_MAX: u64 = record_bytes(INLINE_PAYLOAD_BYTES) as u64 + 8;
/// Padding, rotate and start frames that one look at the ring can lead to.
pub(crate) const BETWEEN_BYTES: u64 = 16 * BLOCK_BYTES;

pub(crate) const PREFILL_BYTES: u64 = 2 << 20;

/// Smaller with the simulated disk, so that its tests meet a segment's end after few records.
const SEGMENT_BYTES_MIN: u64 = if cfg!(feature = "sim") { 20 << 10 } else { 64 << 10 };

impl WalConfig {
    /// Checks every field. Errors: the first bad field, its value and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let ms = Duration::from_millis(1);
        range("sync_records", self.sync_records, 1, 1_000_000_000)?;
        times("sync_interval", self.sync_interval, ms, Duration::from_secs(60))?;
        range("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, 1 << 30)?;
        check(
            "segment_bytes",
            self.segment_bytes,
            self.segment_bytes.is_multiple_of(BLOCK_BYTES),
            || "a multiple of 4096".into(),
        )?;
        range(
            "payload_bytes_max",
            self.payload_bytes_max.into(),
            INLINE_PAYLOAD_BYTES as u64,
            1 << 20,
        )?;
        // Header block, start block, the frame, and a last block for pad and rotate frame.
        let least = 4 * BLOCK_BYTES + self.largest_frame_bytes();
        check("segment_bytes", self.segment_bytes, self.segment_bytes >= least, || {
            format!("at least {least} with this payload_bytes_max")
        })?;
        range("ring_slots", self.ring_slots.into(), 8, 1 << 20)?;
        check("ring_slots", self.ring_slots, self.ring_slots.is_power_of_two(), || {
            "a power of two".into()
        })?;
        range("large_bytes_max", self.large_bytes_max, self.payload_bytes_max.into(), 1 << 30)?;
        let ahead = (1 << 20).max(2 * self.largest_frame_bytes());
        range("max_ahead_bytes", self.max_ahead_bytes, ahead, 1 << 30)?;
        range("spare_segments_max", self.spare_segments_max.into(), 0, 1024)?;
        range("reserved_bytes", self.reserved_bytes, 0, self.log_bytes_max)?;
        let beside = self.reserved_bytes.saturating_add(self.slack_bytes());
        let least = (4 * self.segment_bytes).saturating_add(beside);
        range("log_bytes_max", self.log_bytes_max, least, u64::MAX)?;
        if let Some(Needs { from, upto, segment }) = self.needs {
            range("needs.from", from.get(), 1, 1 << 62)?;
            range("needs.upto", upto.get(), from.get(), 1 << 62)?;
            range("needs.segment", segment.get(), 0, 1 << 62)?;
        }
        times("full_timeout", self.full_timeout, Duration::ZERO, Duration::from_secs(3600))?;
        times("sync_timeout", self.sync_timeout, ms, Duration::from_secs(3600))
    }

    pub(crate) fn largest_frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES + record_bytes(self.payload_bytes_max as usize) as u64 + 64
    }

    /// Encoded bytes of a batch, which must fit one frame, and that an empty segment.
    pub(crate) fn batch_bytes_max(&self) -> u64 {
        let segment = self.segment_bytes - 4 * BLOCK_BYTES - FRAME_HEADER_BYTES;
        segment.min(FRAME_PAYLOAD_BYTES_MAX as u64)
    }

    /// What may still reach the disk after the limit is seen: a full ring of inline records, and
    /// what is between records.
    pub(crate) fn slack_bytes(&self) -> u64 {
        u64::from(self.ring_slots) * SLOT_BYTES_MAX + BETWEEN_BYTES
    }
}

fn check(
    field: &'static str,
    value: impl ToString,
    good: bool,
    allowed: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if good {
        return Ok(());
    }
    Err(ConfigError { field, value: value.to_string(), allowed: allowed() })
}

fn range(field: &'static str, value: u64, low: u64, high: u64) -> Result<(), ConfigError> {
    check(field, value, (low..=high).contains(&value), || format!("{low} to {high}"))
}

fn times(
    field: &'static str,
    value: Duration,
    low: Duration,
    high: Duration,
) -> Result<(), ConfigError> {
    check(field, format!("{value:?}"), (low..=high).contains(&value), || {
        format!("{low:?} to {high:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_a_bad_field_is_named_with_value_and_range() {
        assert_eq!(WalConfig::default().validate(), Ok(()));
        let bad = WalConfig { ring_slots: 1000, ..WalConfig::default() };
        let error = bad.validate().unwrap_err();
        assert_eq!((error.field, error.value.as_str()), ("ring_slots", "1000"));
        let bad = WalConfig { segment_bytes: 1 << 20, ..WalConfig::default() };
        assert_eq!(bad.validate().unwrap_err().field, "segment_bytes");
        let (reserved_bytes, log_bytes_max) = (u64::MAX, u64::MAX);
        let bad = WalConfig { reserved_bytes, log_bytes_max, ..WalConfig::default() };
        assert_eq!(bad.validate(), Ok(()), "no room for a create, but a log");
        let bad = WalConfig { log_bytes_max: u64::MAX - 1, ..bad };
        assert_eq!(bad.validate().unwrap_err().field, "reserved_bytes");
    }
}
