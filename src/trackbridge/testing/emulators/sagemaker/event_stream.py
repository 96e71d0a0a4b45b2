"""Frames of ``application/vnd.amazon.eventstream``, as a streamed answer of a model is sent."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping

_STRING = 7


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one frame: lengths, their checksum, headers, payload, the checksum of all."""
    head = b"".join(_header(name, value) for name, value in headers.items())
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    body = prelude + head + payload
    return body + struct.pack(">I", zlib.crc32(body))


def part(payload: bytes) -> bytes:
    """Return the frame of a piece of a model's answer."""
    kinds = {":message-type": "event", ":event-type": "PayloadPart"}
    return frame(kinds | {":content-type": "application/octet-stream"}, payload)


def failure(kind: str, message: str, code: str) -> bytes:
    """Return the frame of an error in mid-stream (``ModelStreamError``)."""
    kinds = {":message-type": "exception", ":exception-type": kind}
    told = json.dumps({"Message": message, "ErrorCode": code}).encode()
    return frame(kinds | {":content-type": "application/json"}, told)


def _header(name: str, value: str) -> bytes:
    encoded, text = name.encode(), value.encode()
    return struct.pack(">B", len(encoded)) + encoded + struct.pack(">BH", _STRING, len(text)) + text
