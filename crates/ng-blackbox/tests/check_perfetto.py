"""Decodes a Perfetto trace with the classes of PyPI's `perfetto` and compares it with the JSON lines of the same file.

usage: check_perfetto.py TRACE JSONL

Checks: one track a thread, under the process's; each event there once, on its thread's track, under its name; times rise
on a track; begins and ends nest and are all closed; each anchor ties the two clocks.
"""

import json
import sys
from collections import Counter, defaultdict

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

BOOTTIME, REALTIME = 6, 1

trace = Trace()
with open(sys.argv[1], "rb") as file:
    read = trace.ParseFromString(file.read())
with open(sys.argv[2]) as file:
    lines = [json.loads(line) for line in file]

threads, processes, snapshots = {}, {}, []
found, depth, latest = Counter(), defaultdict(list), defaultdict(int)
for packet in trace.packet:
    assert packet.trusted_packet_sequence_id == 1
    kind = packet.WhichOneof("data")
    if kind == "track_descriptor":
        track = packet.track_descriptor
        assert track.uuid not in threads and track.uuid not in processes, "a track twice"
        if track.HasField("process"):
            processes[track.uuid] = track.process.pid
        else:
            assert track.parent_uuid in processes
            assert track.thread.pid == processes[track.parent_uuid]
            threads[track.uuid] = track.thread.tid
    elif kind == "clock_snapshot":
        clocks = {clock.clock_id: clock.timestamp for clock in packet.clock_snapshot.clocks}
        assert set(clocks) == {BOOTTIME, REALTIME}, clocks
        snapshots.append(clocks)
    else:
        assert kind == "track_event", kind
        event = packet.track_event
        track = event.track_uuid
        assert packet.timestamp >= latest[track], "time steps back on a track"
        latest[track] = packet.timestamp
        notes = {note.name: note for note in event.debug_annotations}
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            depth[track].append(event.name)
        elif event.type == TrackEvent.TYPE_SLICE_END:
            assert depth[track], "an end without its begin"
            depth[track].pop()
        else:
            assert event.type == TrackEvent.TYPE_INSTANT, event.type
        if "seq" in notes:
            fields = tuple(notes[n].uint_value for n in ("n1", "n2", "n3", "n4") if n in notes)
            words = notes["text"].string_value if "text" in notes else None
            name = None if event.type == TrackEvent.TYPE_SLICE_END else event.name
            where = (notes["lane"].uint_value, notes["seq"].uint_value)
            found[where, threads[track], tuple(event.categories), name, fields, words] += 1

assert len(processes) == 1 and len(set(threads.values())) == len(threads)
assert not any(depth.values()), f"never ended: {dict(depth)}"

expected, open_kinds = Counter(), defaultdict(list)
for line in lines:
    # An end is named by its begin, if that is there.
    name, opened = line["name"] or f"kind {line['kind']}", open_kinds[line["thread"]]
    if line.get("phase") == "begin":
        opened.append(name)
    elif line.get("phase") == "end" and name in opened:
        while opened.pop() != name:
            pass
        name = None
    where = (line["lane"], line["seq"])
    fields = tuple(line.get("numbers", ()))
    expected[where, line["thread"], (line["severity"],), name, fields, line.get("text")] += 1
assert found == expected, f"only in one of the two: {(found - expected) + (expected - found)}"
assert {line["thread"] for line in lines} == set(threads.values())

anchors = [line for line in lines if line["name"] == "Anchor"]
assert [s[REALTIME] for s in snapshots[1:]] == [a["numbers"][0] for a in anchors]
begin = snapshots[0][BOOTTIME]
assert [s[BOOTTIME] - begin for s in snapshots[1:]] == [a["time_ns"] for a in anchors]

print(f"{sum(found.values())} events on {len(threads)} tracks, {len(snapshots)} clock snapshots")
