//! The only file that knows the bytes of a log: magics, offsets, lengths, checksums. Pure
//! functions over slices; no files, no clocks. docs/FORMAT.md draws what stands here.
//!
//! The idea: a frame's header checksum is seeded with the segment's random salt, the segment's
//! number and the frame's own offset. So a frame is valid at home only: what a recycled file held,
//! a misdirected write, or a payload that imitates a header fails everywhere else.

use crate::{SegmentId, mutants};

/// Unit of a sync: a block that was synced is never written again. Also the size of block 0.
pub(crate) const BLOCK_BYTES: u64 = 4096;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN_BYTES: u64 = 64;
/// Size of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: u64 = 64;
/// Largest payload of a frame with more than one record: 64 KiB with the header.
pub(crate) const FRAME_PAYLOAD_BYTES_MAX: usize = 65_536 - 64;
/// Largest payload of a record.
pub(crate) const RECORD_PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes before a record's payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 4;
/// Where the start frame stands: the block after the header.
pub(crate) const START_OFFSET: u64 = BLOCK_BYTES;
/// Where the first frame after it stands: the start frame's block is padded and synced.
pub(crate) const FIRST_FRAME_OFFSET: u64 = 2 * BLOCK_BYTES;

pub(crate) const VERSION: u16 = 1;
pub(crate) const MIN_READER_VERSION: u16 = 1;

const MAGIC: u64 = u64::from_le_bytes(*b"NGWALSEG");
const HEADER_CRC_OFFSET: usize = 124;
const FRAME_CRC_OFFSET: usize = 60;
const START_PAYLOAD_BYTES: usize = 24;
const ROTATE_PAYLOAD_BYTES: usize = 8;

const _: () = {
    assert!(FRAME_HEADER_BYTES.is_multiple_of(FRAME_ALIGN_BYTES));
    assert!(BLOCK_BYTES.is_multiple_of(FRAME_ALIGN_BYTES)); // a pad always has room for its header
    assert!(START_PAYLOAD_BYTES as u64 + FRAME_HEADER_BYTES <= BLOCK_BYTES);
    assert!(FRAME_CRC_OFFSET + 4 == FRAME_HEADER_BYTES as usize);
    // 909 records of 64 bytes are the atomic batch that the documents promise.
    assert!(FRAME_PAYLOAD_BYTES_MAX / record_bytes(64) == 909);
};

/// Bytes a record takes in a frame: length, kind, payload, padded to 8.
pub(crate) const fn record_bytes(payload: usize) -> usize {
    (RECORD_HEADER_BYTES + payload + 7) & !7
}

/// Bytes a frame with this payload takes in the file.
pub(crate) const fn frame_bytes(payload: u64) -> u64 {
    (FRAME_HEADER_BYTES + payload).next_multiple_of(FRAME_ALIGN_BYTES)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// `N` bytes at `at`, zeroes beyond the end: callers check lengths, and no bytes can panic here.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// What block 0 of a segment says: identity and geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_uuid: u128,
    pub(crate) seq: SegmentId,
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) max_ahead_bytes: u64,
}

/// Why block 0 is not a header this build can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The file is shorter than a header.
    Short { bytes: u64 },
    /// Stored and computed checksum differ.
    Checksum { stored: u32, computed: u32 },
    /// Zeroes where the magic should be.
    Zero,
    /// Another file altogether.
    Magic { found: u64 },
    /// Our magic with its bytes swapped.
    Swapped,
    /// A format this build must not touch.
    Version { min_reader_version: u16, version: u16 },
}

/// The fault, for messages.
pub(crate) fn describe_header(fault: &HeaderFault) -> String {
    match fault {
        HeaderFault::Short { bytes } => format!("a file of {bytes} bytes, shorter than a header"),
        HeaderFault::Checksum { stored, computed } => {
            format!("segment header checksum {stored:#010x}, computed {computed:#010x}")
        }
        HeaderFault::Zero => "zeroes instead of a segment header".into(),
        HeaderFault::Magic { found } => format!("magic {found:#018x}, not an ng-wal segment"),
        HeaderFault::Swapped => "a header written with big-endian layout".into(),
        HeaderFault::Version { min_reader_version, version } => {
            format!("format {version}, which needs a reader of format {min_reader_version}")
        }
    }
}

/// The header as block 0.
pub(crate) fn encode_segment_header(header: &SegmentHeader) -> Vec<u8> {
    let mut block = vec![0; BLOCK_BYTES as usize];
    put(&mut block, 0, &MAGIC.to_le_bytes());
    put(&mut block, 8, &VERSION.to_le_bytes());
    put(&mut block, 10, &MIN_READER_VERSION.to_le_bytes());
    put(&mut block, 12, &(BLOCK_BYTES as u32).to_le_bytes());
    put(&mut block, 16, &header.store_uuid.to_le_bytes());
    put(&mut block, 32, &header.seq.get().to_le_bytes());
    put(&mut block, 40, &header.salt.to_le_bytes());
    put(&mut block, 48, &header.segment_bytes.to_le_bytes());
    put(&mut block, 56, &header.max_ahead_bytes.to_le_bytes());
    let crc = crc32c::crc32c(&block[..HEADER_CRC_OFFSET]);
    put(&mut block, HEADER_CRC_OFFSET, &crc.to_le_bytes());
    block
}

/// Reads block 0 (or what there is of it).
pub(crate) fn decode_segment_header(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
    if bytes.len() < HEADER_CRC_OFFSET + 4 {
        return Err(HeaderFault::Short { bytes: bytes.len() as u64 });
    }
    match u64_at(bytes, 0) {
        MAGIC => {}
        0 => return Err(HeaderFault::Zero),
        found if found.swap_bytes() == MAGIC => return Err(HeaderFault::Swapped),
        found => return Err(HeaderFault::Magic { found }),
    }
    let stored = u32_at(bytes, HEADER_CRC_OFFSET);
    let computed = crc32c::crc32c(&bytes[..HEADER_CRC_OFFSET]);
    if stored != computed {
        return Err(HeaderFault::Checksum { stored, computed });
    }
    let (version, min_reader_version) = (u16_at(bytes, 8), u16_at(bytes, 10));
    if min_reader_version > VERSION || u64::from(u32_at(bytes, 12)) != BLOCK_BYTES {
        return Err(HeaderFault::Version { min_reader_version, version });
    }
    Ok(SegmentHeader {
        store_uuid: u128::from_le_bytes(array(bytes, 16)),
        seq: SegmentId::new(u64_at(bytes, 32)),
        salt: u64_at(bytes, 40),
        segment_bytes: u64_at(bytes, 48),
        max_ahead_bytes: u64_at(bytes, 56),
    })
}

/// What a frame is for. All but `Data` are control frames: count 0, no LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data = 1,
    /// First frame of a segment: where the log stood before it.
    Start = 2,
    /// Fills up to a block's end at a sync point.
    Pad = 3,
    /// Says what became durable, while nothing else is to be written.
    Promise = 4,
    /// Last frame of a full segment: names the next one.
    Rotate = 5,
    /// Last frame of a closed log: everything before it is durable.
    Seal = 6,
}

/// The 64 bytes before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Number of the first record; of the next one, in a control frame.
    pub(crate) base_lsn: u64,
    /// Records in the frame.
    pub(crate) count: u32,
    /// Each record below this was durable when the frame was written.
    pub(crate) durable_end: u64,
    pub(crate) payload_bytes: u32,
    pub(crate) payload_crc: u32,
    /// Both checksums of the frame before; the start frame's is that of the segment before.
    pub(crate) chain: u64,
}

impl FrameHeader {
    /// Number after the last record.
    pub(crate) fn end_lsn(&self) -> u64 {
        self.base_lsn.saturating_add(u64::from(self.count))
    }

    pub(crate) fn span_bytes(&self) -> u64 {
        frame_bytes(u64::from(self.payload_bytes))
    }
}

/// Where a frame stands; part of its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) seq: SegmentId,
    pub(crate) offset: u64,
}

impl Place {
    fn seed(self) -> u32 {
        let mut bytes = [0; 24];
        if !mutants::on("wal-m08-salt-unbound") {
            put(&mut bytes, 0, &self.salt.to_le_bytes());
        }
        put(&mut bytes, 8, &self.seq.get().to_le_bytes());
        put(&mut bytes, 16, &self.offset.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// Writes the header into the first 64 bytes of `out`; returns the chain value of this frame.
pub(crate) fn encode_frame_header(header: &FrameHeader, place: Place, out: &mut [u8]) -> u64 {
    put(out, 0, &place.salt.to_le_bytes());
    put(out, 8, &header.base_lsn.to_le_bytes());
    put(out, 16, &header.durable_end.to_le_bytes());
    put(out, 24, &header.count.to_le_bytes());
    put(out, 28, &header.payload_bytes.to_le_bytes());
    put(out, 32, &header.chain.to_le_bytes());
    put(out, 40, &header.payload_crc.to_le_bytes());
    put(out, 44, &(header.kind as u32).to_le_bytes());
    put(out, 48, &[0; 12]);
    let crc = crc32c::crc32c_append(place.seed(), &out[..FRAME_CRC_OFFSET]);
    put(out, FRAME_CRC_OFFSET, &crc.to_le_bytes());
    chain_value(crc, header.payload_crc)
}

fn chain_value(header_crc: u32, payload_crc: u32) -> u64 {
    u64::from(header_crc) << 32 | u64::from(payload_crc)
}

/// What 64 bytes at a frame's place are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HeaderRead {
    /// A header of ours, and this frame's chain value.
    Valid(FrameHeader, u64),
    /// Never written.
    Zero,
    /// Not our salt: what a reused file held before, or garbage.
    Stale,
    /// Our salt, but the checksum is wrong.
    Torn { stored: u32, computed: u32 },
    /// Checksum right and fields wrong: written by something else than this format.
    Malformed,
}

/// Cheap first look for the island scan: does a header of this segment begin here, perhaps?
pub(crate) fn has_salt(bytes: &[u8], salt: u64) -> bool {
    u64_at(bytes, 0) == salt
}

/// The salt that the frame in `bytes` claims; only for a segment whose own header is damaged.
pub(crate) fn claimed_salt(bytes: &[u8]) -> u64 {
    u64_at(bytes, 0)
}

/// Reads the 64 bytes at `place`.
pub(crate) fn decode_frame_header(bytes: &[u8], place: Place) -> HeaderRead {
    let Some(bytes) = bytes.get(..FRAME_HEADER_BYTES as usize) else {
        return HeaderRead::Stale;
    };
    let is_ours =
        has_salt(bytes, place.salt) || mutants::on("wal-m08-salt-unbound") && u64_at(bytes, 0) != 0;
    if !is_ours {
        let zero = bytes.iter().all(|byte| *byte == 0);
        return if zero { HeaderRead::Zero } else { HeaderRead::Stale };
    }
    let stored = u32_at(bytes, FRAME_CRC_OFFSET);
    let computed = crc32c::crc32c_append(place.seed(), &bytes[..FRAME_CRC_OFFSET]);
    if stored != computed && !mutants::on("wal-m09-no-header-crc") {
        return HeaderRead::Torn { stored, computed };
    }
    let kind = match u32_at(bytes, 44) {
        1 => FrameKind::Data,
        2 => FrameKind::Start,
        3 => FrameKind::Pad,
        4 => FrameKind::Promise,
        5 => FrameKind::Rotate,
        6 => FrameKind::Seal,
        _ => return HeaderRead::Malformed,
    };
    let header = FrameHeader {
        kind,
        base_lsn: u64_at(bytes, 8),
        durable_end: u64_at(bytes, 16),
        count: u32_at(bytes, 24),
        payload_bytes: u32_at(bytes, 28),
        chain: u64_at(bytes, 32),
        payload_crc: u32_at(bytes, 40),
    };
    // A promise speaks of records before the frame only; a data frame has records, others none.
    let sound = header.base_lsn >= 1
        && header.durable_end <= header.base_lsn
        && (header.kind == FrameKind::Data) == (header.count > 0)
        && u64::from(header.count) * 8 <= u64::from(header.payload_bytes).max(8)
        && header.base_lsn < 1 << 62
        && u64::from(header.payload_bytes) <= payload_bytes_max(&header);
    if !sound {
        return HeaderRead::Malformed;
    }
    HeaderRead::Valid(header, chain_value(stored, header.payload_crc))
}

/// Most that a frame of this kind holds: nobody reserves memory for more.
fn payload_bytes_max(header: &FrameHeader) -> u64 {
    match (header.kind, header.count) {
        (FrameKind::Data, 1) => record_bytes(RECORD_PAYLOAD_BYTES_MAX) as u64,
        (FrameKind::Data, _) => FRAME_PAYLOAD_BYTES_MAX as u64,
        _ => BLOCK_BYTES,
    }
}

/// Checksum of what follows a frame's header: payload and padding, so that no byte of a frame is
/// without one.
pub(crate) fn payload_crc(rest: &[u8]) -> u32 {
    crc32c::crc32c(rest)
}

/// Appends a record to a frame's payload.
#[inline]
pub(crate) fn encode_record(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() < 1 << 24);
    let word = payload.len() as u32 | u32::from(kind) << 24;
    out.extend_from_slice(&word.to_le_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(8), 0);
}

/// Kind and payload length of the record at `at`; `None` when it does not fit in `frame`.
#[inline]
pub(crate) fn decode_record(frame: &[u8], at: usize) -> Option<(u8, usize)> {
    let word = u32::from_le_bytes(frame.get(at..at + RECORD_HEADER_BYTES)?.try_into().ok()?);
    let (kind, length) = ((word >> 24) as u8, (word & 0x00ff_ffff) as usize);
    (at + record_bytes(length) <= frame.len()).then_some((kind, length))
}

/// The records of a data frame fill its payload exactly, as many as the header says.
pub(crate) fn records_fit(header: &FrameHeader, payload: &[u8]) -> bool {
    if are_alike(header.count, payload) {
        return true;
    }
    let mut at = 0;
    for _ in 0..header.count {
        let Some((_, length)) = decode_record(payload, at) else { return false };
        at += record_bytes(length);
    }
    at == payload.len()
}

/// Records that are all as long as the first one, and fill the payload: the usual case, and quick to
/// see, since no place depends on the record before.
fn are_alike(count: u32, payload: &[u8]) -> bool {
    let Some((_, length)) = decode_record(payload, 0) else { return false };
    let stride = record_bytes(length);
    let lengths = payload
        .chunks_exact(stride)
        .map(|record| u32::from_le_bytes([record[0], record[1], record[2], 0]));
    payload.len() == count as usize * stride
        && lengths.fold(0, |unlike, other| unlike | (other ^ length as u32)) == 0
}

/// Lengths of the payloads in the data frame that `bytes` begin with, if it is whole.
#[cfg(feature = "sim")]
pub(crate) fn decode_frame(bytes: &[u8], place: Place) -> Option<Vec<usize>> {
    let HeaderRead::Valid(header, _) = decode_frame_header(bytes, place) else { return None };
    let rest =
        bytes.get(FRAME_HEADER_BYTES as usize..usize::try_from(header.span_bytes()).ok()?)?;
    let payload = rest.get(..header.payload_bytes as usize)?;
    if payload_crc(rest) != header.payload_crc || !records_fit(&header, payload) {
        return None;
    }
    let mut at = 0;
    let lengths = (0..header.count).map_while(|_| {
        let (_, length) = decode_record(payload, at)?;
        at += record_bytes(length);
        Some(length)
    });
    Some(lengths.collect())
}

/// Puts the right salt and checksums into a frame, whatever else it holds; for fuzzers.
#[cfg(feature = "sim")]
pub(crate) fn repair_frame(bytes: &mut [u8], place: Place) {
    if bytes.len() < FRAME_HEADER_BYTES as usize {
        return;
    }
    let span = frame_bytes(u64::from(u32_at(bytes, 28)));
    let span = usize::try_from(span).unwrap_or(usize::MAX).min(bytes.len());
    let crc = payload_crc(&bytes[FRAME_HEADER_BYTES as usize..span]);
    put(bytes, 0, &place.salt.to_le_bytes());
    put(bytes, 40, &crc.to_le_bytes());
    let crc = crc32c::crc32c_append(place.seed(), &bytes[..FRAME_CRC_OFFSET]);
    put(bytes, FRAME_CRC_OFFSET, &crc.to_le_bytes());
}

/// Payload of a start frame: where the log stood before this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The segment before; 0 for the first.
    pub(crate) prev_seq: SegmentId,
    /// First LSN of this segment; the one before is read up to here and no further.
    pub(crate) prev_end_lsn: u64,
    /// Chain value of the last frame before.
    pub(crate) prev_chain: u64,
}

pub(crate) fn encode_start(start: &Start) -> [u8; START_PAYLOAD_BYTES] {
    let mut out = [0; START_PAYLOAD_BYTES];
    put(&mut out, 0, &start.prev_seq.get().to_le_bytes());
    put(&mut out, 8, &start.prev_end_lsn.to_le_bytes());
    put(&mut out, 16, &start.prev_chain.to_le_bytes());
    out
}

pub(crate) fn decode_start(header: &FrameHeader, payload: &[u8]) -> Option<Start> {
    if header.kind != FrameKind::Start || payload.len() != START_PAYLOAD_BYTES {
        return None;
    }
    let start = Start {
        prev_seq: SegmentId::new(u64_at(payload, 0)),
        prev_end_lsn: u64_at(payload, 8),
        prev_chain: u64_at(payload, 16),
    };
    (start.prev_end_lsn == header.base_lsn && start.prev_chain == header.chain).then_some(start)
}

pub(crate) fn encode_rotate(next: SegmentId) -> [u8; ROTATE_PAYLOAD_BYTES] {
    next.get().to_le_bytes()
}

pub(crate) fn decode_rotate(payload: &[u8]) -> SegmentId {
    SegmentId::new(u64_at(payload, 0))
}

/// The bytes of a segment header's checksum, over a header that a test changed.
#[cfg(all(test, not(loom)))]
pub(crate) fn crc_of_header(block: &[u8]) -> [u8; 4] {
    crc32c::crc32c(&block[..HEADER_CRC_OFFSET]).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { salt: 7, seq: SegmentId::new(3), offset: 8192 };

    fn header() -> FrameHeader {
        FrameHeader {
            kind: FrameKind::Data,
            base_lsn: 100,
            count: 2,
            durable_end: 90,
            payload_bytes: 24,
            payload_crc: 5,
            chain: 9,
        }
    }

    #[test]
    fn a_frame_header_is_valid_at_its_own_place_and_nowhere_else() {
        let mut bytes = [0; 64];
        let chain = encode_frame_header(&header(), PLACE, &mut bytes);
        assert_eq!(decode_frame_header(&bytes, PLACE), HeaderRead::Valid(header(), chain));
        for place in [Place { offset: 8256, ..PLACE }, Place { seq: SegmentId::new(4), ..PLACE }] {
            assert!(matches!(decode_frame_header(&bytes, place), HeaderRead::Torn { .. }));
        }
        let elsewhere = Place { salt: 8, ..PLACE };
        assert_eq!(decode_frame_header(&bytes, elsewhere), HeaderRead::Stale);
    }

    #[test]
    fn records_fit_only_when_as_many_as_the_header_says_fill_the_payload() {
        let payload = |lengths: &[usize]| {
            let mut payload = Vec::new();
            for length in lengths {
                let at = payload.len();
                payload.extend_from_slice(&((*length as u32) | 9 << 24).to_le_bytes());
                payload.resize(at + record_bytes(*length), 0);
            }
            payload
        };
        let fits = |count, payload: &[u8]| records_fit(&FrameHeader { count, ..header() }, payload);
        for lengths in [&[64usize; 5][..], &[64, 64, 64, 60, 64], &[0, 0, 0, 0, 0]] {
            let whole = payload(lengths);
            for count in 0..8 {
                assert_eq!(fits(count, &whole), count == 5, "{count} records in {lengths:?}");
            }
            for cut in 1..whole.len() {
                assert!(!fits(5, &whole[..whole.len() - cut]), "{lengths:?} cut by {cut}");
            }
            assert!(!fits(5, &[&whole[..], &[0; 8]].concat()), "{lengths:?} and more");
        }
    }

    #[test]
    fn each_flipped_bit_of_a_frame_header_is_noticed() {
        let mut bytes = [0; 64];
        encode_frame_header(&header(), PLACE, &mut bytes);
        for bit in 0..512 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = decode_frame_header(&flipped, PLACE);
            assert!(!matches!(read, HeaderRead::Valid(..)), "bit {bit}: {read:?}");
        }
    }

    #[test]
    fn each_flipped_bit_of_a_segment_header_is_noticed() {
        let header = SegmentHeader {
            store_uuid: 1 << 100,
            seq: SegmentId::new(3),
            salt: 7,
            segment_bytes: 1 << 20,
            max_ahead_bytes: 1 << 21,
        };
        let block = encode_segment_header(&header);
        assert_eq!(decode_segment_header(&block), Ok(header));
        for bit in 0..128 * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_segment_header(&flipped).is_err(), "bit {bit}");
        }
        assert_eq!(decode_segment_header(&block[..50]), Err(HeaderFault::Short { bytes: 50 }));
        assert_eq!(decode_segment_header(&[0; 4096]), Err(HeaderFault::Zero));
        let mut swapped = block;
        swapped[..8].reverse();
        assert_eq!(decode_segment_header(&swapped), Err(HeaderFault::Swapped));
    }

    #[test]
    fn records_of_odd_lengths_come_back_and_a_length_beyond_the_frame_is_refused() {
        let mut frame = Vec::new();
        encode_record(1, b"", &mut frame);
        encode_record(200, b"hello", &mut frame);
        assert_eq!(frame.len(), record_bytes(0) + record_bytes(5));
        assert_eq!(decode_record(&frame, 0), Some((1, 0)));
        assert_eq!(decode_record(&frame, 8), Some((200, 5)));
        assert_eq!(decode_record(&frame[..16], 8), None);
        assert_eq!(decode_record(&frame, 4096), None);
    }
}
