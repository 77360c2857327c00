#!/usr/bin/env python3
"""Reads a log directory as docs/FORMAT.md describes it. Python 3, standard library alone.

    python3 read_log.py DIR

One line for each record: LSN, kind, payload in hex ("-" when empty). The last line says how the
log ends: "end LSN E: sealed | zero | file end | recycled | torn", or "refused: ..." (exit code 1).
Changes nothing and takes no lock.
"""

import os
import re
import struct
import sys

BLOCK = 4096
ALIGN = 64
HEADER = 64
DATA, START, PAD, PROMISE, ROTATE, SEAL = 1, 2, 3, 4, 5, 6


def crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = crc_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    table = TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class Refused(Exception):
    pass


class Frame:
    """A header of 64 bytes whose checksum is right for its place."""

    def __init__(self, segment, offset):
        raw = segment.bytes[offset : offset + HEADER]
        self.offset = offset
        (self.salt, self.base, self.durable, self.count, self.length, self.chain, self.payload_crc,
         self.kind) = struct.unpack_from("<QQQIIQII", raw)
        (self.header_crc,) = struct.unpack_from("<I", raw, 60)
        self.own_chain = self.header_crc << 32 | self.payload_crc
        self.end = self.base + self.count
        self.span = (HEADER + self.length + ALIGN - 1) // ALIGN * ALIGN


class Segment:
    def __init__(self, directory, name, seq):
        path = os.path.join(directory, name)
        if os.path.islink(path) or not os.path.isfile(path):
            raise Refused(f"{name} is not a regular file")
        with open(path, "rb") as file:
            self.bytes = file.read()
        self.name, self.seq = name, seq
        self.start = None
        self.whole = self.read_header()
        if self.whole:
            self.bytes = self.bytes[: self.size]
            self.start = self.read_start()

    def read_header(self):
        head = self.bytes[:128]
        if len(head) < 128 or head[:8] == bytes(8):
            return False
        if head[:8] == b"GESLAWGN":
            raise Refused(f"{self.name}: big-endian layout")
        if head[:8] != b"NGWALSEG":
            raise Refused(f"{self.name}: not a segment")
        if struct.unpack_from("<I", head, 124)[0] != crc32c(head[:124]):
            return False
        (_, minimum, block, self.store, seq, self.salt, self.size, self.ahead) = struct.unpack_from(
            "<HHI16sQQQQ", head, 8)
        if minimum > 1 or block != BLOCK:
            raise Refused(f"{self.name}: a newer format")
        if seq != self.seq:
            raise Refused(f"{self.name}: its header says segment {seq}")
        return True

    def header_at(self, offset):
        """The frame header at `offset`; or why there is none: "zero", "other", "torn", "end"."""
        raw = self.bytes[offset : offset + HEADER]
        if not raw:
            return "end"
        if len(raw) < HEADER:
            return "torn"
        if raw == bytes(HEADER):
            return "zero"
        if struct.unpack_from("<Q", raw)[0] != self.salt:
            return "other"
        seed = crc32c(struct.pack("<QQQ", self.salt, self.seq, offset))
        if struct.unpack_from("<I", raw, 60)[0] != crc32c(raw[:60], seed):
            return "torn"
        frame = Frame(self, offset)
        most = 4096
        if frame.kind == DATA:
            most = 1048584 if frame.count == 1 else 65536 - HEADER
        if not (DATA <= frame.kind <= SEAL and frame.base >= 1 and frame.durable <= frame.base
                and (frame.kind == DATA) == (frame.count > 0) and frame.length <= most):
            return "torn"
        return frame

    def read_start(self):
        frame = self.header_at(BLOCK)
        if isinstance(frame, str) or frame.kind != START or not self.payload_is_right(frame):
            return None
        at = BLOCK + HEADER
        prev_seq, prev_end, prev_chain = struct.unpack_from("<QQQ", self.bytes, at)
        if prev_end != frame.base or prev_chain != frame.chain:
            return None
        return prev_seq, prev_end, prev_chain

    def payload_is_right(self, frame):
        end = frame.offset + frame.span
        rest = self.bytes[frame.offset + HEADER : end]
        return end <= len(self.bytes) and crc32c(rest) == frame.payload_crc

    def records(self, frame):
        """The records of a data frame, or None if they do not fill it exactly."""
        at, end, found = frame.offset + HEADER, frame.offset + HEADER + frame.length, []
        for i in range(frame.count):
            if at + 4 > end:
                return None
            (word,) = struct.unpack_from("<I", self.bytes, at)
            length, kind = word & 0xFFFFFF, word >> 24
            found.append((frame.base + i, kind, self.bytes[at + 4 : at + 4 + length]))
            at += (4 + length + 7) // 8 * 8
        return found if at == end else None

    def walk(self, goal):
        """Follows the frames. Returns records, LSN due, chain, offset, why it ended, sealed."""
        _, lsn, chain = self.start
        offset, records, sealed = BLOCK, [], False
        while goal != (lsn, chain):
            frame = self.header_at(offset)
            if isinstance(frame, str):
                return records, lsn, chain, offset, frame, sealed
            if frame.base != lsn or frame.chain != chain or not self.payload_is_right(frame):
                return records, lsn, chain, offset, "torn", sealed
            found = self.records(frame) if frame.kind == DATA else []
            if found is None:
                return records, lsn, chain, offset, "torn", sealed
            records += found
            if frame.kind in (DATA, SEAL):
                sealed = frame.kind == SEAL
            lsn, chain, offset = frame.end, frame.own_chain, offset + frame.span
        return records, lsn, chain, offset, "goal", sealed

    def beyond(self, offset):
        """Valid frame headers at or behind `offset`, at each multiple of 64."""
        while offset < len(self.bytes):
            frame = self.header_at(offset)
            if not isinstance(frame, str):
                yield frame
            offset += ALIGN


def read(directory):
    names = {}
    for name in os.listdir(directory):
        match = re.fullmatch(r"wal-(\d{10,})\.seg", name)
        if match and int(match[1]) > 0 and name == f"wal-{int(match[1]):010}.seg":
            names[int(match[1])] = name
    segments = [Segment(directory, names[seq], seq) for seq in sorted(names)]
    if not segments:
        return [], 1, "no log"
    for before, after in zip(segments, segments[1:]):
        if after.seq != before.seq + 1:
            raise Refused(f"segment {before.seq + 1} is absent")
    if len({segment.store for segment in segments if segment.whole}) > 1:
        raise Refused("segments of two stores")
    started = [i for i, segment in enumerate(segments) if segment.start]
    if not started or started != list(range(started[-1] + 1)) or len(segments) > started[-1] + 2:
        raise Refused("a segment in use cannot be read")
    last, behind = segments[started[-1]], segments[started[-1] + 1 :]
    records = []
    for segment, after in zip(segments[: started[-1]], segments[1:]):
        prev_seq, goal_lsn, goal_chain = after.start
        found, lsn, _, offset, why, _ = segment.walk((goal_lsn, goal_chain))
        if why != "goal" or prev_seq != segment.seq:
            raise Refused(f"{segment.name} at offset {offset} (LSN {lsn}): {why}")
        records += found
    found, end, _, offset, why, sealed = last.walk(None)
    records += found
    islands = list(last.beyond(offset))
    rotated = any(frame.kind == ROTATE for frame in last.beyond(BLOCK) if frame.offset < offset)
    for segment in behind:
        if segment.whole:
            lost = list(segment.beyond(BLOCK))
            if lost and lost[-1].offset > BLOCK + 2 * segment.ahead:
                raise Refused("damage larger than one crash can cause")
            islands += [frame for frame in lost if frame.count or frame.durable > end]
        elif rotated:
            raise Refused(f"{segment.name} is named by a rotate frame and damaged")
    if rotated and not behind:
        raise Refused(f"segment {last.seq + 1} is absent, a rotate frame names it")
    proven = max([frame.durable for frame in islands], default=0)
    if end < proven:
        raise Refused(f"{last.name} at offset {offset} (LSN {end}): {why}; durable below {proven}")
    if any(f.salt == last.salt and f.offset > offset + 2 * last.ahead for f in islands):
        raise Refused("damage larger than one crash can cause")
    if sealed:
        tail = "sealed"
    elif islands:
        tail = "torn"
    elif why == "end":
        tail = "file end"
    elif why == "zero":
        tail = "torn" if any(last.bytes[offset:]) else "zero"
    else:
        tail = "recycled" if why == "other" else "torn"
    return records, end, tail


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        records, end, tail = read(sys.argv[1])
    except Refused as reason:
        print(f"refused: {reason}")
        return 1
    for lsn, kind, payload in records:
        print(lsn, kind, payload.hex() or "-")
    print(f"end LSN {end}: {tail}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
