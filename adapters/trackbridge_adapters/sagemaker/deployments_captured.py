"""Requests and answers that SageMaker kept in S3: files of JSON lines, by endpoint, variant and hour.

::

    endpoints/wine/captured/<endpoint>/<variant>/2026/11/22/08/….jsonl

Files come some minutes late, each with the lines of some requests; their names are in order of time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import msgspec

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.deployments_names import FOLDER, deployment_of

OPERATION = "deployments.read_captured"
READ_AT_ONCE = 64
_HOUR_MS = 3_600_000


class _Part(msgspec.Struct, frozen=True):
    """One side of a request."""

    observedContentType: str = ""  # noqa: N815  SageMaker's names
    data: str = ""
    encoding: str = ""

    def content(self) -> bytes:
        """Return the bytes.

        Raises:
            ValueError: They are no Base64.
        """
        return base64.b64decode(self.data, validate=True) if self.encoding == "BASE64" else self.data.encode()


class _Data(msgspec.Struct, frozen=True):
    """Both sides."""

    endpointInput: _Part | None = None  # noqa: N815
    endpointOutput: _Part | None = None  # noqa: N815


class _Event(msgspec.Struct, frozen=True):
    """What is known besides."""

    eventId: str  # noqa: N815
    inferenceTime: str  # noqa: N815
    inferenceId: str | None = None  # noqa: N815


class _Line(msgspec.Struct, frozen=True):
    """One line of a file."""

    captureData: _Data  # noqa: N815
    eventMetadata: _Event  # noqa: N815


def read_captured(
    bucket: Bucket,
    endpoint: str,
    native: str,
    *,
    deployment: str | None,
    since: int,
    until: int | None,
    max_results: int,
    token: str | None,
) -> Page[CapturedPayload]:
    """Return a page of what was captured; a place is a file and how many of its lines were read."""
    listing = listing_of("read_captured", bucket.address(endpoint), deployment, since, until)
    size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=OPERATION)
    place = place_of(token, listing, adapter=ADAPTER, operation=OPERATION, types=(str, int))
    begin: tuple[str, int] = (place[0], place[1]) if place else ("", 0)
    folder = f"{FOLDER}/{endpoint}/captured/{native}"
    found: list[CapturedPayload] = []
    for key, content in _files(bucket, folder, deployment, since, until, begin[0]):
        variant = key.removeprefix(f"{folder}/").partition("/")[0]
        done = begin[1] if key == begin[0] else 0
        for number, line in enumerate(content.splitlines()[done:], done + 1):
            payload = _payload(line, deployment_of(variant))
            if payload is None or payload.time < since or (until is not None and payload.time >= until):
                continue
            found.append(payload)
            if len(found) == size:
                return Page(items=tuple(found), token=token_of(listing, [key, number]))
    return Page(items=tuple(found), token=None)


def _files(
    bucket: Bucket, folder: str, deployment: str | None, since: int, until: int | None, begin: str
) -> Iterator[tuple[str, bytes]]:
    """Yield each file that can have what is wanted, with its content."""
    wanted: list[str] = []
    for key in _keys(bucket, folder, begin):
        variant, _, rest = key.removeprefix(f"{folder}/").partition("/")
        hour = _hour_ms(rest)
        is_before = hour is not None and hour + _HOUR_MS <= since
        is_after = hour is not None and until is not None and hour >= until
        if is_before or is_after or deployment not in (None, deployment_of(variant)):
            continue
        wanted.append(key)
        if len(wanted) == READ_AT_ONCE:
            yield from _contents(bucket, wanted)
            wanted = []
    yield from _contents(bucket, wanted)


def _keys(bucket: Bucket, folder: str, begin: str) -> Iterator[str]:
    if begin:
        yield begin  # it was read in part, and listings begin behind a key
    yield from bucket.list(folder, after=begin or None)


def _contents(bucket: Bucket, keys: list[str]) -> Iterator[tuple[str, bytes]]:
    for key, held in bucket.get_many(keys):
        if held is not None:
            yield key, held[0]


def _hour_ms(path: str) -> int | None:
    """Return the hour that a file is of; None where its path tells none."""
    try:
        year, month, day, hour = (int(part) for part in path.split("/")[:4])
        moment = datetime(year, month, day, hour, tzinfo=timezone.utc)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000)


def _payload(line: bytes, deployment: str) -> CapturedPayload | None:
    """Return what a line holds; None for one that is no capture."""
    try:
        told = msgspec.json.decode(line, type=_Line)
        moment = datetime.fromisoformat(told.eventMetadata.inferenceTime.replace("Z", "+00:00"))
        asked, answered = told.captureData.endpointInput, told.captureData.endpointOutput
        fields: dict[str, Any] = {
            "request": asked.content() if asked is not None else None,
            "response": answered.content() if answered is not None else None,
        }
    except (msgspec.DecodeError, binascii.Error, ValueError):
        return None
    return CapturedPayload(
        deployment=deployment,
        request_id=told.eventMetadata.inferenceId or told.eventMetadata.eventId,
        time=round(moment.timestamp() * 1000),
        content_type=asked.observedContentType if asked is not None else "",
        response_content_type=answered.observedContentType if answered is not None else "",
        **fields,
    )
