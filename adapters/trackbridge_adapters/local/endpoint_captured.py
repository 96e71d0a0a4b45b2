"""Reading what the servers of an endpoint have captured, as ``trackbridge.serving.capture`` writes it."""

from __future__ import annotations

import base64
import binascii
import mmap
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.domain.paging import Page
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.errors import Translating
from trackbridge_adapters.local.tokens import listing_of, page_size, place_of, token_of

OPERATION = "deployments.read_captured"
LINE_BYTES_MAX = 64 * 1024 * 1024
COUNTED_BYTES = 1024 * 1024
HEAD_BYTES = 4096

_TIME = re.compile(rb'"time":"([^"]{1,40})"')


class _Body(msgspec.Struct, frozen=True):
    """A body as a line holds it: as JSON, as text, or as bytes."""

    content_type: str = ""
    json: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    base64: str | None = None

    def content(self) -> bytes | None:
        """Return the bytes that were sent.

        Raises:
            ValueError: They are no Base64.
        """
        if content := bytes(self.json):
            return content
        if self.text is not None:
            return self.text.encode()
        return None if self.base64 is None else base64.b64decode(self.base64, validate=True)


class _Data(msgspec.Struct, frozen=True):
    """What was asked, and answered."""

    status: int
    request: _Body
    response: _Body


class _Line(msgspec.Struct, frozen=True):
    """One line of a file."""

    id: str
    time: str
    data: _Data


def read_captured(
    folder: EndpointFolder,
    *,
    deployment: str | None,
    since: int,
    until: int | None,
    max_results: int,
    token: str | None,
) -> Page[CapturedPayload]:
    """Return a page of what was captured; a place is a file and how many of its bytes were read.

    Files are rotated: one that is gone when the next page is asked for is passed over.
    """
    listing = listing_of("read_captured", folder.endpoint, deployment, since, until)
    size = page_size(max_results, operation=OPERATION)
    place = place_of(token, listing, operation=OPERATION, types=(str, int))
    begin: tuple[str, int] = (place[0], place[1]) if place else ("", 0)
    found: list[CapturedPayload] = []
    with Translating(OPERATION, f"endpoint {folder.endpoint}"):
        for name, path in _files(folder, deployment):
            if name < begin[0] or not _may_have(path, since):
                continue
            for payload, end in _payloads(path, name, begin[1] if name == begin[0] else 0):
                if payload.time < since or (until is not None and payload.time >= until):
                    continue
                found.append(payload)
                if len(found) == size:
                    return Page(items=tuple(found), token=token_of(listing, [name, end]))
    return Page(items=tuple(found), token=None)


def count_captured(folder: EndpointFolder, deployment: str, *, since: int) -> int:
    """Return how many payloads of a deployment were kept from a time on, in milliseconds since 1970.

    Lines are in the order of their time, so that only few are looked at.
    """
    total = 0
    with Translating("deployments.read_metrics", f"{folder.endpoint}/{deployment}"):
        for _, path in _files(folder, deployment):
            with suppress(FileNotFoundError):
                if _may_have(path, since):
                    total += _count_in(path, since)
    return total


def _may_have(path: Path, since: int) -> bool:
    """Tell whether a file was written to at a time or later; False for one that is gone, or empty."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return bool(status.st_size) and status.st_mtime * 1000 >= since
    return False


def _count_in(path: Path, since: int) -> int:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place, end = _first_since(data, since), len(data)
        return sum(
            data[start : min(start + COUNTED_BYTES, end)].count(b"\n")
            for start in range(place, end, COUNTED_BYTES)
        )


def _first_since(data: mmap.mmap, since: int) -> int:
    """Return where the first line begins that is not older."""
    low, high = 0, len(data)
    while low < high:
        begin = data.rfind(b"\n", low, (low + high) // 2) + 1 or low
        end = data.find(b"\n", begin, high)
        if end < 0 or _time_in(data[begin : min(end, begin + HEAD_BYTES)]) >= since:
            high = begin
        else:
            low = end + 1
    return low


def _time_in(head: bytes) -> int:
    """Return the time that the head of a line names, 0 for none."""
    match = _TIME.search(head)
    try:
        return _milliseconds(match[1].decode("ascii")) if match else 0
    except ValueError:
        return 0


def _milliseconds(text: str) -> int:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000)


def _files(folder: EndpointFolder, deployment: str | None) -> list[tuple[str, Path]]:
    root = folder.captures("x").parent
    found = root.glob("*/*.jsonl") if deployment is None else (root / deployment).glob("*.jsonl")
    return sorted((f"{path.parent.name}/{path.name}", path) for path in found)


def _payloads(path: Path, name: str, offset: int) -> Iterator[tuple[CapturedPayload, int]]:
    """Yield each payload with where its line ends; the last line may be only half there."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        file.seek(offset)
        while line := file.readline(LINE_BYTES_MAX):
            offset += len(line)
            if line.endswith(b"\n") and (payload := _payload(line, name.partition("/")[0])) is not None:
                yield payload, offset


def _payload(line: bytes, deployment: str) -> CapturedPayload | None:
    """Return what a line holds, None for one that a full disk has cut."""
    try:
        found = msgspec.json.decode(line, type=_Line)
        moment = _milliseconds(found.time)
        fields: dict[str, Any] = {
            "request": found.data.request.content(),
            "response": found.data.response.content(),
        }
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None
    return CapturedPayload(
        deployment=deployment,
        request_id=found.id,
        time=moment,
        content_type=found.data.request.content_type,
        response_content_type=found.data.response.content_type,
        status=found.data.status,
        **fields,
    )
