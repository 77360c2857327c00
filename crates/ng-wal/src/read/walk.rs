//! The walk over one segment's frames.
//!
//! It accepts a frame only if everything agrees: salt, place, header checksum, the next LSN, the chain
//! from the frame before, payload checksum, record lengths. It stops at the first that does not; what
//! such a stop means is for `recovery` to say.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::disk::names::file_name;
use crate::disk::storage::{Access, LogFile, LogIo, read_full};
use crate::format::{
    self, FRAME_HEADER_BYTES, FrameHeader, FrameKind, HeaderFault, HeaderRead, Place, START_OFFSET,
    SegmentHeader, Start,
};
use crate::read::record::{Cursor, Found, Record, Records};
use crate::{SegmentId, mutants, sync::Arc};

/// Unit of reading. Large enough to make the system call cheap, small enough for a second-level
/// cache, where the checksum then finds it.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait to be used again, at most: what a reader ahead has in flight.
const CHUNKS_KEPT: usize = 8;

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The place where the successor says that this segment ends.
    Goal,
    /// The file ends here.
    FileEnd,
    /// Never written from here on, or zeroed.
    Zero,
    /// Another salt.
    Stale,
    TornHeader {
        stored: u32,
        computed: u32,
    },
    /// Header checksum right, fields or records impossible.
    Malformed,
    /// The file ends inside the frame.
    Cut {
        needs: u64,
    },
    TornPayload {
        stored: u32,
        computed: u32,
    },
    /// A valid frame with another LSN or chain than the one due.
    OutOfPlace {
        found_lsn: u64,
    },
}

impl Stop {
    pub(crate) fn describe(&self) -> String {
        match self {
            Stop::Goal => "the end its successor names".into(),
            Stop::FileEnd => "the file ends".into(),
            Stop::Zero => "zeroes".into(),
            Stop::Stale => "bytes that are not of this segment".into(),
            Stop::TornHeader { stored, computed } => {
                format!("frame header checksum {stored:#010x}, computed {computed:#010x}")
            }
            Stop::Malformed => "a frame with impossible fields".into(),
            Stop::Cut { needs } => format!("the file ends inside a frame that needs {needs} bytes"),
            Stop::TornPayload { stored, computed } => {
                format!("payload checksum {stored:#010x}, computed {computed:#010x}")
            }
            Stop::OutOfPlace { found_lsn } => {
                format!("a frame of LSN {found_lsn}, or of another chain")
            }
        }
    }
}

/// Header and start frame of a segment file, as far as they can be read.
pub(crate) struct Opened {
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) bytes: u64,
    pub(crate) header: Result<SegmentHeader, HeaderFault>,
    pub(crate) start: Option<Start>,
    /// Zeroes up to the end of the start frame's block (or of the file).
    pub(crate) start_is_blank: bool,
}

pub(crate) fn open_segment(
    io: &dyn LogIo,
    seq: SegmentId,
    access: Access,
) -> Result<Opened, (&'static str, io::Error)> {
    let file = io.open(&file_name(seq), access).map_err(|e| ("open", e))?;
    let mut blocks = vec![0; format::FIRST_FRAME_OFFSET as usize];
    let read = read_full(&*file, &mut blocks, 0).map_err(|e| ("read", e))?;
    let bytes = file.len().map_err(|e| ("stat", e))?;
    blocks.truncate(read);
    let header = format::decode_segment_header(&blocks);
    let start_bytes = blocks.get(START_OFFSET as usize..).unwrap_or_default();
    let start = header.as_ref().ok().and_then(|header| {
        decode_start_frame(start_bytes, Place { salt: header.salt, seq, offset: START_OFFSET })
    });
    let start_is_blank = start_bytes.iter().all(|byte| *byte == 0);
    Ok(Opened { file, bytes, start, start_is_blank, header })
}

/// The salt of the first frame of segment `seq` that stands in a file whose header is damaged: each
/// place is asked with the salt that stands there.
pub(crate) fn stray_frame(
    file: &dyn LogFile,
    seq: SegmentId,
    bytes: u64,
) -> io::Result<Option<u64>> {
    let mut found = None;
    each_unit(file, START_OFFSET, bytes, |offset, unit| {
        let salt = format::claimed_salt(unit);
        let place = Place { salt, seq, offset };
        let valid =
            salt != 0 && matches!(format::decode_frame_header(unit, place), HeaderRead::Valid(..));
        found = valid.then_some(salt);
        !valid
    })?;
    Ok(found)
}

/// The start frame of a file whose header is damaged, by the salt of its frames.
pub(crate) fn start_of(file: &dyn LogFile, seq: SegmentId, salt: u64) -> io::Result<Option<Start>> {
    let mut block = vec![0; format::BLOCK_BYTES as usize];
    let read = read_full(file, &mut block, START_OFFSET)?;
    Ok(decode_start_frame(&block[..read], Place { salt, seq, offset: START_OFFSET }))
}

/// Header-valid frames of the segment from `from` on, where a walk stopped.
pub(crate) fn islands(
    file: &dyn LogFile,
    segment: &SegmentHeader,
    from: u64,
    limit: u64,
) -> io::Result<Islands> {
    let mut islands = Islands::default();
    each_unit(file, from, limit, |offset, unit| {
        if unit.iter().any(|byte| *byte != 0) {
            islands.dirty_end = offset + unit.len() as u64;
        }
        let place = Place { salt: segment.salt, seq: segment.seq, offset };
        if format::has_salt(unit, segment.salt) {
            islands.salted = true;
            if let HeaderRead::Valid(header, _) = format::decode_frame_header(unit, place) {
                islands.add(offset, &header, offset > from);
            }
        }
        true
    })?;
    Ok(islands)
}

/// An unreadable sector is no torn write: its error goes up.
fn read_chunk(file: &dyn LogFile, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let read = read_full(file, out, offset);
    if mutants::on("wal-m30-eio-read-as-torn") { Ok(read.unwrap_or(0)) } else { read }
}

/// Shows each place where a frame could begin, until `see` says that it is enough.
fn each_unit(
    file: &dyn LogFile,
    from: u64,
    limit: u64,
    mut see: impl FnMut(u64, &[u8]) -> bool,
) -> io::Result<()> {
    let mut buf = vec![0; CHUNK_BYTES.min(limit.saturating_sub(from) as usize)];
    let mut offset = from;
    while offset < limit {
        let want = (limit - offset).min(CHUNK_BYTES as u64) as usize;
        let read = read_chunk(file, &mut buf[..want], offset)?;
        for (i, unit) in buf[..read].chunks(format::FRAME_ALIGN_BYTES as usize).enumerate() {
            if !see(offset + i as u64 * format::FRAME_ALIGN_BYTES, unit) {
                return Ok(());
            }
        }
        if read < want {
            break;
        }
        offset += read as u64;
    }
    Ok(())
}

fn decode_start_frame(bytes: &[u8], place: Place) -> Option<Start> {
    let HeaderRead::Valid(header, _) = format::decode_frame_header(bytes, place) else {
        return None;
    };
    let from = FRAME_HEADER_BYTES as usize;
    let rest = bytes.get(from..header.span_bytes() as usize)?;
    let whole = format::payload_crc(rest) == header.payload_crc;
    let payload = rest.get(..header.payload_bytes as usize)?;
    format::decode_start(&header, payload).filter(|_| whole)
}

/// A frame that agreed in everything.
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    pub(crate) offset: u64,
    pub(crate) payload: Bytes,
}

impl Frame {
    pub(super) fn cursor(&self) -> Cursor {
        Cursor { at: 0, lsn: self.header.base_lsn, left: self.header.count }
    }

    /// The records, lent.
    pub(crate) fn lent(&self) -> Records<'_> {
        Records { frame: &self.payload, cursor: self.cursor() }
    }

    /// Its records, and where in the payload each begins.
    pub(crate) fn records(&self) -> impl Iterator<Item = (usize, Record)> {
        let mut cursor = self.cursor();
        std::iter::from_fn(move || {
            let here = cursor.at;
            let Found { lsn, kind, payload } = cursor.next(&self.payload)?;
            Some((here, Record { lsn, kind, payload: self.payload.slice(payload) }))
        })
    }
}

/// Walks the frames of one segment, from its start frame on.
pub(crate) struct Walk {
    file: Arc<dyn LogFile>,
    pub(crate) header: SegmentHeader,
    chunk: Bytes,
    /// Chunks before, oldest first, to be used again.
    used: VecDeque<Bytes>,
    chunk_at: u64,
    /// Bytes of the file that count: none beyond the segment's size.
    limit: u64,
    /// Offset of the next frame.
    pub(crate) pos: u64,
    /// LSN the next frame must begin with.
    pub(crate) lsn: u64,
    /// Chain value it must carry.
    pub(crate) chain: u64,
    /// Highest promise met.
    pub(crate) promise: u64,
    /// A seal frame came, and no record after it.
    pub(crate) sealed: bool,
    /// The segment that a rotate frame named.
    pub(crate) rotate_to: Option<SegmentId>,
    /// Where to end: LSN and chain, from the successor's start frame.
    goal: Option<(u64, u64)>,
}

impl Walk {
    pub(crate) fn new(
        file: Arc<dyn LogFile>,
        file_bytes: u64,
        header: SegmentHeader,
        start: &Start,
        goal: Option<&Start>,
    ) -> Self {
        Self {
            file,
            header,
            chunk: Bytes::new(),
            used: VecDeque::new(),
            chunk_at: 0,
            limit: file_bytes.min(header.segment_bytes),
            pos: START_OFFSET,
            lsn: start.prev_end_lsn,
            chain: start.prev_chain,
            promise: start.prev_end_lsn,
            sealed: false,
            rotate_to: None,
            goal: goal.map(|next| (next.prev_end_lsn, next.prev_chain)),
        }
    }

    /// Forgets what was read ahead and looks at the file's length again: a live writer may have
    /// written meanwhile.
    pub(crate) fn refresh(&mut self) -> io::Result<()> {
        self.chunk = Bytes::new();
        self.limit = self.file.len()?.min(self.header.segment_bytes);
        Ok(())
    }

    /// Makes `need` bytes from `pos` on available in the chunk; returns how many there are.
    fn fill(&mut self, need: u64) -> io::Result<u64> {
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        let here = self.pos >= self.chunk_at && self.pos <= chunk_end;
        let have = if here { chunk_end - self.pos } else { 0 };
        let left = self.limit.saturating_sub(self.pos);
        if have >= need.min(left) {
            return Ok(have);
        }
        let bytes = left.min(need.max(CHUNK_BYTES as u64)) as usize;
        // The memory of a chunk of which no record is kept by anybody serves again.
        self.used.push_back(std::mem::take(&mut self.chunk));
        let oldest = self.used.pop_front().unwrap_or_default();
        let mut buf = oldest.try_into_mut().unwrap_or_else(|kept| {
            if self.used.len() < CHUNKS_KEPT {
                self.used.push_front(kept);
            }
            BytesMut::new()
        });
        buf.resize(bytes, 0);
        let read = read_chunk(&*self.file, &mut buf, self.pos)?;
        buf.truncate(read);
        self.chunk = buf.freeze();
        self.chunk_at = self.pos;
        Ok(read as u64)
    }

    fn place(&self) -> Place {
        Place { salt: self.header.salt, seq: self.header.seq, offset: self.pos }
    }

    /// The next frame, or why there is none. After a stop the walk stays where it is.
    pub(crate) fn next(&mut self) -> io::Result<Result<Frame, Stop>> {
        let loose = mutants::on("wal-m11-no-chain");
        if self.goal.is_some_and(|(lsn, chain)| lsn == self.lsn && (loose || chain == self.chain)) {
            return Ok(Err(Stop::Goal));
        }
        let have = self.fill(FRAME_HEADER_BYTES)?;
        if have == 0 {
            return Ok(Err(Stop::FileEnd));
        }
        if have < FRAME_HEADER_BYTES {
            return Ok(Err(Stop::Cut { needs: FRAME_HEADER_BYTES }));
        }
        let at = (self.pos - self.chunk_at) as usize;
        let (header, chain) = match format::decode_frame_header(&self.chunk[at..], self.place()) {
            HeaderRead::Valid(header, chain) => (header, chain),
            HeaderRead::Zero => return Ok(Err(Stop::Zero)),
            HeaderRead::Stale => return Ok(Err(Stop::Stale)),
            HeaderRead::Torn { stored, computed } => {
                return Ok(Err(Stop::TornHeader { stored, computed }));
            }
            HeaderRead::Malformed => return Ok(Err(Stop::Malformed)),
        };
        if header.base_lsn != self.lsn || header.chain != self.chain && !loose {
            return Ok(Err(Stop::OutOfPlace { found_lsn: header.base_lsn }));
        }
        let (payload_at, span) = (FRAME_HEADER_BYTES, header.span_bytes());
        if self.pos + span > self.header.segment_bytes {
            return Ok(Err(Stop::Malformed));
        }
        if self.fill(span)? < span {
            return Ok(Err(Stop::Cut { needs: span }));
        }
        let at = (self.pos - self.chunk_at + payload_at) as usize;
        let payload = self.chunk.slice(at..at + header.payload_bytes as usize);
        let computed = format::payload_crc(&self.chunk[at..at + (span - payload_at) as usize]);
        if computed != header.payload_crc && !mutants::on("wal-m10-no-payload-crc") {
            return Ok(Err(Stop::TornPayload { stored: header.payload_crc, computed }));
        }
        if header.kind == FrameKind::Data && !format::records_fit(&header, &payload) {
            return Ok(Err(Stop::Malformed));
        }
        let offset = self.pos;
        self.pos += span;
        self.lsn = header.end_lsn();
        self.chain = chain;
        self.promise = self.promise.max(header.durable_end);
        match header.kind {
            FrameKind::Seal => self.sealed = true,
            FrameKind::Data => self.sealed = false,
            FrameKind::Rotate => self.rotate_to = Some(format::decode_rotate(&payload)),
            FrameKind::Start | FrameKind::Pad | FrameKind::Promise => {}
        }
        Ok(Ok(Frame { header, offset, payload }))
    }

    /// Goes on at the next frame header of this segment behind the place where the walk stopped,
    /// whatever its LSN; `false` if there is none. Only for looking: recovery never does.
    pub(crate) fn skip_to_island(&mut self) -> io::Result<bool> {
        let from = self.pos + format::FRAME_ALIGN_BYTES;
        let segment = self.place();
        let mut found = None;
        each_unit(&*self.file, from, self.limit, |offset, unit| {
            if format::has_salt(unit, segment.salt)
                && let HeaderRead::Valid(header, _) =
                    format::decode_frame_header(unit, Place { offset, ..segment })
            {
                found = Some((offset, header));
            }
            found.is_none()
        })?;
        let Some((offset, header)) = found else { return Ok(false) };
        (self.pos, self.lsn, self.chain) = (offset, header.base_lsn, header.chain);
        self.goal = None;
        Ok(true)
    }

    /// What stands beyond the place where the walk stopped.
    pub(crate) fn islands(&self) -> io::Result<Islands> {
        islands(&*self.file, &self.header, self.pos, self.limit)
    }
}

/// Header-valid frames of this segment that the walk could not reach. They are never replayed,
/// but what they promise counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Islands {
    pub(crate) frames: u64,
    /// Those with records.
    pub(crate) data_frames: u64,
    pub(crate) last_offset: u64,
    /// Highest promise among them, and where it stands.
    pub(crate) promise: u64,
    pub(crate) promise_offset: u64,
    /// What the last seal promises; 0 without one.
    pub(crate) seal: u64,
    /// The segment's salt stands there, in a whole header or a torn one.
    pub(crate) salted: bool,
    /// End of the last 64 bytes that are not zero; 0 if all are.
    pub(crate) dirty_end: u64,
}

impl Islands {
    /// The frame that stopped the walk promises too, but is behind no hole.
    fn add(&mut self, offset: u64, header: &FrameHeader, behind: bool) {
        if behind {
            self.frames += 1;
            self.data_frames += u64::from(header.count > 0);
            self.last_offset = offset;
        }
        if header.kind == FrameKind::Seal {
            self.seal = header.durable_end;
        }
        if header.durable_end > self.promise {
            self.promise = header.durable_end;
            self.promise_offset = offset;
        }
    }
}
