//! Life of one segment file: prepared, started, filled, left. Never interprets payloads.
//!
//! A file gets its name only when its header is on stable storage (temporary name, sync, rename,
//! sync of the directory), so a segment without a whole header is never a crash of ours.
//!
//! A retired file serves again: it loses its name first, gets a new header and salt under a name
//! that is never read as a segment, and then the way of every new file. What it held stays, the
//! salt rejects it, and its blocks are where they were: so a sync commits data and no metadata. A
//! full segment therefore keeps its length; only a close gives back what was written ahead.

use std::io;

use crate::disk::names::{file_name, is_spare_name, temporary_name};
use crate::disk::shortage::{is_before_sync, is_want_of_space};
use crate::disk::storage::{
    Access, LogFile, LogIo, read_full, write_full, write_rest, write_zeroes,
};
use crate::format::{
    self, BLOCK_BYTES, FIRST_FRAME_OFFSET, FRAME_HEADER_BYTES, FRAME_PAYLOAD_BYTES_MAX,
    FrameHeader, FrameKind, Place, START_OFFSET, SegmentHeader, Start,
};
use crate::{SegmentId, mutants, sync::Arc};

/// A step of a multi-step file operation, for the message when it fails.
pub(crate) type StepResult<T> = Result<T, (&'static str, io::Error)>;

fn step<T>(name: &'static str, result: io::Result<T>) -> StepResult<T> {
    result.map_err(|e| (name, e))
}

/// A header with a fresh salt.
pub(crate) fn new_header(
    seq: SegmentId,
    store_uuid: u128,
    segment_bytes: u64,
    max_ahead_bytes: u64,
) -> SegmentHeader {
    SegmentHeader { store_uuid, seq, salt: new_salt(), segment_bytes, max_ahead_bytes }
}

/// Random, not a counter: a recycled file must not be able to hold frames of this salt. Never zero,
/// which would look like a place never written.
pub(crate) fn new_salt() -> u64 {
    fastrand::u64(1..)
}

/// The start frame's block: the frame, and a pad to the block's end. Returns the chain after it.
fn start_block(header: &SegmentHeader, start: &Start) -> (Vec<u8>, u64) {
    let mut frames = Frames::new(header, START_OFFSET, start.prev_chain);
    let lsn = start.prev_end_lsn;
    frames.control(FrameKind::Start, lsn, lsn, &format::encode_start(start));
    frames.pad_to_block(lsn, lsn);
    (frames.buf, frames.chain)
}

/// Writes a segment file whole and durable under its name: header, and start frame or zeroes.
/// Replaces a file of that name. On a full disk a spare serves, if there is one.
///
/// Whatever fails, nothing is in doubt that was there before, but for the directory's sync: see
/// [`is_final`].
pub(crate) fn prepare(
    io: &dyn LogIo,
    header: &SegmentHeader,
    start: Option<&Start>,
) -> StepResult<Arc<dyn LogFile>> {
    match make(io, header, start) {
        Err((step @ ("create" | "write"), e)) if is_want_of_space(&e) => match spares(io).first() {
            Some(spare) => recycle(io, spare, header, start),
            None => Err((step, e)),
        },
        made => made,
    }
}

/// The same, always with a new file.
pub(crate) fn make(
    io: &dyn LogIo,
    header: &SegmentHeader,
    start: Option<&Start>,
) -> StepResult<Arc<dyn LogFile>> {
    let temporary = temporary_name(header.seq);
    let file = step("create", io.create(&temporary))?;
    install(io, file, &temporary, header, start)
}

/// The same with a file that served before, and was retired under the name `spare`.
pub(crate) fn recycle(
    io: &dyn LogIo,
    spare: &str,
    header: &SegmentHeader,
    start: Option<&Start>,
) -> StepResult<Arc<dyn LogFile>> {
    let file = step("open", io.open(spare, Access::ReadWrite))?;
    install(io, file, spare, header, start)
}

/// Whether preparing a file that failed like this must not be tried again. A file that holds nothing
/// yet can be thrown away, whatever befell it, its sync included; but which names the directory has is
/// unknown for good when its sync has failed, and the next one may say Ok.
pub(crate) fn is_final(step: &str, error: &io::Error) -> bool {
    if mutants::on("wal-refused-file-final") {
        return step != "write";
    }
    step == SYNC_OF_NAMES && !is_before_sync(error)
}

/// The step that may be final.
pub(crate) const SYNC_OF_NAMES: &str = "fsync of the directory";

/// The salt that a file was used with.
pub(crate) fn salt_of(io: &dyn LogIo, name: &str) -> Option<u64> {
    let mut block = [0; BLOCK_BYTES as usize];
    read_full(&*io.open(name, Access::Read).ok()?, &mut block, 0).ok()?;
    Some(format::decode_segment_header(&block).ok()?.salt)
}

/// Names of the files that wait to serve again, the oldest first.
pub(crate) fn spares(io: &dyn LogIo) -> Vec<String> {
    let entries = io.list().unwrap_or_default().into_iter();
    let mut names: Vec<_> = entries
        .filter(|entry| entry.regular && is_spare_name(&entry.name))
        .map(|entry| entry.name)
        .filter(|name| io.is_linked_elsewhere(name).is_ok_and(|linked| !linked))
        .collect();
    names.sort_unstable();
    names
}

/// Header and start block into `file`; durable; then the segment's name, durable too.
fn install(
    io: &dyn LogIo,
    file: Arc<dyn LogFile>,
    named: &str,
    header: &SegmentHeader,
    start: Option<&Start>,
) -> StepResult<Arc<dyn LogFile>> {
    let mut image = format::encode_segment_header(header);
    match start {
        Some(start) => image.extend(start_block(header, start).0),
        // Zeroes, so that the start frame finds its block there even on a full disk.
        None => image.resize(FIRST_FRAME_OFFSET as usize, 0),
    }
    let filled = step("write", write_full(&*file, &image, 0))
        .and_then(|()| match step("fdatasync", file.sync_data()) {
            Err(_) if mutants::on("wal-unsynced-file-kept") => Ok(()),
            synced => synced,
        })
        .and_then(|()| step("rename", io.rename(named, &file_name(header.seq))));
    if let Err(failed) = filled {
        let _ = io.unlink(named); // only gives space back, and what may not be trusted again
        return Err(failed);
    }
    let skipped = match is_spare_name(named) {
        true => mutants::on("wal-m02-no-dir-fsync-rename"),
        false => mutants::on("wal-m01-no-dir-fsync-new"),
    };
    if !skipped {
        step(SYNC_OF_NAMES, io.sync_dir())?;
    }
    Ok(file)
}

/// Frames in memory, at consecutive places of one segment.
struct Frames {
    place: Place,
    /// Bytes for the file from `place.offset` on.
    buf: Vec<u8>,
    chain: u64,
}

impl Frames {
    fn new(header: &SegmentHeader, offset: u64, chain: u64) -> Self {
        let place = Place { salt: header.salt, seq: header.seq, offset };
        Self { place, buf: Vec::new(), chain }
    }

    fn end(&self) -> u64 {
        self.place.offset + self.buf.len() as u64
    }

    /// Completes the frame whose header room is at `at` and whose payload follows it.
    fn finish(&mut self, at: usize, kind: FrameKind, base_lsn: u64, count: u32, durable_end: u64) {
        let payload_at = at + FRAME_HEADER_BYTES as usize;
        let payload_bytes = (self.buf.len() - payload_at) as u32;
        self.buf.resize(at + format::frame_bytes(payload_bytes.into()) as usize, 0);
        let header = FrameHeader {
            kind,
            base_lsn,
            count,
            durable_end,
            payload_bytes,
            payload_crc: format::payload_crc(&self.buf[payload_at..]),
            chain: self.chain,
        };
        let place = Place { offset: self.place.offset + at as u64, ..self.place };
        self.chain = format::encode_frame_header(&header, place, &mut self.buf[at..payload_at]);
    }

    fn control(&mut self, kind: FrameKind, next_lsn: u64, durable_end: u64, payload: &[u8]) {
        let at = self.buf.len();
        self.buf.resize(at + FRAME_HEADER_BYTES as usize, 0);
        self.buf.extend_from_slice(payload);
        self.finish(at, kind, next_lsn, 0, durable_end);
    }

    /// A pad up to the block's end; a whole block when the end is a block's end already.
    fn pad_to_block(&mut self, next_lsn: u64, durable_end: u64) {
        let end = (self.end() + 1).next_multiple_of(BLOCK_BYTES);
        let payload = (end - self.end() - FRAME_HEADER_BYTES) as usize;
        let at = self.buf.len();
        self.buf.resize(at + FRAME_HEADER_BYTES as usize + payload, 0);
        self.finish(at, FrameKind::Pad, next_lsn, 0, durable_end);
    }
}

/// The segment that takes the records now. Owned by the writer thread.
pub(crate) struct ActiveSegment {
    pub(crate) file: Arc<dyn LogFile>,
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    /// First LSN in this segment.
    pub(crate) first_lsn: u64,
    frames: Frames,
    /// The data frame being filled: where in the buffer, its first LSN, its records.
    open: Option<(usize, u64, u32)>,
    /// Bytes of the buffer that the file has already, after a write that failed half way.
    flushed: usize,
    /// Length of the file.
    file_bytes: u64,
    /// The promise that the last frame carries.
    promised: u64,
}

impl ActiveSegment {
    /// Goes on after the start frame's block, which is in the file already.
    pub(crate) fn started(
        file: Arc<dyn LogFile>,
        header: SegmentHeader,
        start: &Start,
        file_bytes: u64,
    ) -> Self {
        let (_, chain) = start_block(&header, start);
        Self {
            file,
            name: file_name(header.seq),
            header,
            first_lsn: start.prev_end_lsn,
            frames: Frames::new(&header, FIRST_FRAME_OFFSET, chain),
            open: None,
            flushed: 0,
            file_bytes,
            promised: start.prev_end_lsn,
        }
    }

    /// Goes on behind what is there already, which ends at `end` with this chain and promise.
    pub(crate) fn resumed(
        file: Arc<dyn LogFile>,
        header: SegmentHeader,
        start: &Start,
        (end, chain, promised): (u64, u64, u64),
    ) -> Self {
        let segment = Self::started(file, header, start, end);
        Self { frames: Frames::new(&header, end, chain), promised, ..segment }
    }

    /// Begins with the start frame's block, which is still to be written.
    pub(crate) fn fresh(file: Arc<dyn LogFile>, header: SegmentHeader, start: &Start) -> Self {
        let bytes = file.len().unwrap_or_default().max(FIRST_FRAME_OFFSET);
        let mut segment = Self::started(file, header, start, bytes);
        let (block, chain) = start_block(&header, start);
        segment.frames = Frames::new(&header, START_OFFSET, chain);
        segment.frames.buf = block;
        segment
    }

    /// Offset after everything that was put in, written or not.
    pub(crate) fn end(&self) -> u64 {
        self.frames.end()
    }

    /// Bytes the file takes: what was written, ahead of the end included.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes.max(self.end())
    }

    pub(crate) fn chain(&self) -> u64 {
        self.frames.chain
    }

    /// Where the file ends by what is written.
    pub(crate) fn written_end(&self) -> u64 {
        self.frames.place.offset + self.flushed as u64
    }

    /// Bytes that wait for `flush`.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.frames.buf.len()
    }

    pub(crate) fn promised(&self) -> u64 {
        self.promised
    }

    /// Where records end at the latest: the last two blocks are for pad, rotate and seal.
    fn records_end(&self) -> u64 {
        self.header.segment_bytes.saturating_sub(2 * BLOCK_BYTES)
    }

    /// Whether records of `bytes` go into the frame being filled.
    pub(crate) fn fits_frame(&self, bytes: usize) -> bool {
        self.open.is_some_and(|(at, ..)| {
            let payload = self.frames.buf.len() - at - FRAME_HEADER_BYTES as usize + bytes;
            payload <= FRAME_PAYLOAD_BYTES_MAX
                && self.frames.place.offset + at as u64 + format::frame_bytes(payload as u64)
                    <= self.records_end()
        })
    }

    /// Whether records of `bytes` go into this segment, in a frame of their own.
    pub(crate) fn fits_segment(&self, bytes: usize) -> bool {
        let end = self.end().next_multiple_of(format::FRAME_ALIGN_BYTES);
        end + format::frame_bytes(bytes as u64) <= self.records_end()
    }

    pub(crate) fn begin_frame(&mut self, base_lsn: u64) {
        debug_assert!(self.open.is_none());
        let at = self.frames.buf.len();
        self.frames.buf.resize(at + FRAME_HEADER_BYTES as usize, 0);
        self.open = Some((at, base_lsn, 0));
    }

    /// Adds a record to the frame being filled.
    pub(crate) fn push(&mut self, kind: u8, payload: &[u8]) {
        if let Some((_, _, count)) = &mut self.open {
            *count += 1;
            format::encode_record(kind, payload, &mut self.frames.buf);
        }
    }

    /// Completes the frame being filled; whether there was one.
    pub(crate) fn end_frame(&mut self, durable_end: u64) -> bool {
        let Some((at, base_lsn, count)) = self.open.take() else { return false };
        self.frames.finish(at, FrameKind::Data, base_lsn, count, durable_end);
        self.promised = durable_end;
        true
    }

    /// Fills up to the block's end, so that a sync may follow: what was synced is not written
    /// again. Each sync point ends in the newest promise. Returns the bytes added.
    pub(crate) fn pad(&mut self, next_lsn: u64, durable_end: u64) -> u64 {
        let before = self.end();
        if mutants::on("wal-m20-no-pad") {
            return 0;
        }
        if !before.is_multiple_of(BLOCK_BYTES) || self.promised < durable_end {
            self.frames.pad_to_block(next_lsn, durable_end);
            self.promised = durable_end;
        }
        self.end() - before
    }

    /// One promise frame, if there is room for it.
    pub(crate) fn promise(&mut self, next_lsn: u64, durable_end: u64) -> u64 {
        if !self.fits_segment(0) {
            return 0;
        }
        self.frames.control(FrameKind::Promise, next_lsn, durable_end, &[]);
        self.promised = durable_end;
        FRAME_HEADER_BYTES
    }

    /// The last frame of a full segment.
    pub(crate) fn rotate(&mut self, next_lsn: u64, durable_end: u64) -> u64 {
        let before = self.end();
        let next = format::encode_rotate(self.header.seq.next());
        self.frames.control(FrameKind::Rotate, next_lsn, durable_end, &next);
        self.frames.pad_to_block(next_lsn, durable_end);
        self.promised = durable_end;
        self.end() - before
    }

    /// The last frame of a closed log, in a block of its own. `next_lsn` is the durable end too.
    pub(crate) fn seal(&mut self, next_lsn: u64) -> u64 {
        let before = self.end();
        if !before.is_multiple_of(BLOCK_BYTES) {
            self.frames.pad_to_block(next_lsn, next_lsn);
        }
        self.frames.control(FrameKind::Seal, next_lsn, next_lsn, &[]);
        self.frames.pad_to_block(next_lsn, next_lsn);
        self.end() - before
    }

    /// Writes what is buffered. After an error, nothing is lost and it may be called again.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Frames { place, buf, .. } = &mut self.frames;
        write_rest(&*self.file, buf, place.offset, &mut self.flushed)?;
        place.offset += buf.len() as u64;
        buf.clear();
        self.flushed = 0;
        self.file_bytes = self.file_bytes.max(place.offset);
        Ok(())
    }

    /// Writes `step` bytes of zeroes after the file's end when less than `ahead` of them are left, so
    /// that the next syncs need not commit a new length. Only past 1 MiB: a small log pays nothing.
    pub(crate) fn prefill(&mut self, step: u64, ahead: u64) -> io::Result<()> {
        let from = self.file_bytes.max(self.end());
        let to = (from + step).min(self.header.segment_bytes);
        if self.end() >= 1 << 20 && from < self.end() + ahead && from < to {
            write_zeroes(&*self.file, from..to)?;
            self.file_bytes = to;
        }
        Ok(())
    }

    /// Cuts off what was written ahead. Losing this in a crash is harmless: a seal stands before.
    pub(crate) fn truncate_to_end(&mut self) -> io::Result<()> {
        if self.file_bytes > self.end() {
            self.file.set_len(self.end())?;
        }
        Ok(())
    }
}

/// Writes the start frame's block of a prepared segment and makes it durable (the open path; a
/// rotation lets the first sync do it).
pub(crate) fn write_start(
    file: &dyn LogFile,
    header: &SegmentHeader,
    start: &Start,
) -> StepResult<()> {
    // The header too: its bytes are the same, and pages a failed sync left behind get written.
    let mut image = format::encode_segment_header(header);
    image.extend(start_block(header, start).0);
    step("write", write_full(file, &image, 0))?;
    step("fdatasync", file.sync_data())
}

/// A segment that is complete; kept until it is retired.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) seq: SegmentId,
    pub(crate) first_lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) bytes: u64,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sync_point_ends_a_block_and_carries_the_newest_promise() {
        let dir = crate::disk::memory_disk::MemoryDir::new();
        let header = new_header(SegmentId::new(1), 7, 64 << 10, 1 << 20);
        let start = Start { prev_seq: SegmentId::default(), prev_end_lsn: 1, prev_chain: 0 };
        let file = prepare(&*dir, &header, Some(&start)).unwrap();
        let mut segment = ActiveSegment::started(file, header, &start, FIRST_FRAME_OFFSET);
        segment.begin_frame(1);
        segment.push(1, b"a record");
        segment.end_frame(1);
        assert!(segment.pad(2, 1) > 0);
        assert_eq!(segment.end(), FIRST_FRAME_OFFSET + BLOCK_BYTES);
        assert_eq!(segment.pad(2, 1), 0);
        assert_eq!(segment.pad(2, 2), BLOCK_BYTES);
        assert_eq!(segment.promised(), 2);
    }
}
