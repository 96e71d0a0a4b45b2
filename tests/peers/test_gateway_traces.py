"""mlflow's own code writes the file of a trace, and reads what the gateway tells of it."""

from __future__ import annotations

import base64
import json

from trackbridge.gateway.trace_forms import spans_of_file


def encoded(number: int, size: int) -> str:
    return base64.b64encode(number.to_bytes(size, "big")).decode()


def test_spans_of_the_file_that_clients_send_are_those_that_they_read() -> None:
    from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
    from mlflow.entities import Span, Trace, TraceData
    from mlflow.protos.service_pb2 import Trace as ProtoTrace

    inputs = {"text": "ü🚀", "numbers": [1, 2.5, None, True, 2**53 + 1], "deep": {"a": {"b": "c"}}}
    given = Span.from_dict(
        {
            "trace_id": encoded(17, 16),
            "span_id": encoded(18, 8),
            "parent_span_id": encoded(19, 8),
            "name": "root",
            "start_time_unix_nano": 1_700_000_000_000_000_001,
            "end_time_unix_nano": 1_700_000_001_000_000_007,
            "events": [{"name": "happened", "time_unix_nano": 17, "attributes": {"why": "so"}}],
            "status": {"code": "STATUS_CODE_ERROR", "message": "no"},
            "attributes": {
                "mlflow.traceRequestId": json.dumps(f"tr-{17:032x}"),
                "mlflow.spanType": json.dumps("TOOL"),
                "mlflow.spanInputs": json.dumps(inputs),
            },
            "links": [],
        }
    )
    file = json.dumps(TraceData(spans=[given]).to_dict()).encode()
    (read,) = Trace.from_proto(ParseDict({"spans": spans_of_file(file)}, ProtoTrace())).data.spans
    assert read.inputs == given.inputs == inputs
    assert (read.name, read.span_id, read.parent_id) == (given.name, given.span_id, given.parent_id)
    assert (read.start_time_ns, read.end_time_ns) == (given.start_time_ns, given.end_time_ns)
    assert (read.span_type, read.status) == (given.span_type, given.status)
    assert [(event.name, event.timestamp, event.attributes) for event in read.events] == [
        ("happened", 17, {"why": "so"})
    ]
