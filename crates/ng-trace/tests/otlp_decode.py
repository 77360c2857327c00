"""Decodes one OTLP trace request with PyPI's opentelemetry-proto and checks it against what tests/otlp.rs recorded."""

import gzip
import sys
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


def value(any_value):
    return getattr(any_value, any_value.WhichOneof("value"))


def attributes(pairs):
    return {pair.key: value(pair.value) for pair in pairs}


with open(sys.argv[1], "rb") as file:
    body = file.read()
if body.startswith(b"\x1f\x8b"):  # as a collector passes it on
    body = gzip.decompress(body)
request = ExportTraceServiceRequest.FromString(body)

[resource_spans] = request.resource_spans
assert attributes(resource_spans.resource.attributes)["service.name"] == "otlp test"
[scope_spans] = resource_spans.scope_spans
assert scope_spans.scope.name == "ng-trace"
first, second = scope_spans.spans

trace_id = "0af7651916cd43dd84ffeb211c80319c"
assert first.trace_id.hex() == second.trace_id.hex() == trace_id
assert (first.span_id.hex(), first.parent_span_id.hex()) == ("%016x" % 11, "%016x" % 10)
assert (second.span_id.hex(), second.parent_span_id.hex()) == ("%016x" % 12, "%016x" % 11)
assert (first.name, second.name) == ("first", "second")
assert (first.kind, second.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL)
# Sampled, random, and that it is known whether the parent is remote; only the first one's is.
assert first.flags == 0x303, hex(first.flags)
# Kept at its end: the flag that was sent on said "not sampled".
assert second.flags == 0x102, hex(second.flags)
assert (first.trace_state, second.trace_state) == ("ot=th:fd70a", "")
assert (first.status.code, second.status.code) == (Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR)
weight = 2**56 / (2**56 - 0xFD70A000000000)
assert attributes(first.attributes) == {
    "ng.sample.reason": "base",
    "ng.sample.weight": weight,
    "number": -64,
    "text": "slow",
}, first.attributes
assert attributes(second.attributes) == {
    "ng.sample.reason": "error",
    "ng.sample.weight": 1.0,
    "share": 0.5,
    "yes": True,
}, second.attributes
assert first.start_time_unix_nano <= first.end_time_unix_nano
assert second.start_time_unix_nano == second.end_time_unix_nano
assert abs(first.start_time_unix_nano - time.time_ns()) < 3_600_000_000_000
