"""Requests and answers that an endpoint keeps in S3 (``DataCaptureConfig``)."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from trackbridge.testing.emulators.sagemaker.core import Cloud
from trackbridge.testing.emulators.sagemaker.storage import place_of, write


class Seen(NamedTuple):
    """One request with its answer."""

    content_type: str
    request: bytes
    answer_type: str
    answer: bytes
    inference_id: str | None
    custom_attributes: str | None


class Sampling:
    """Which requests are kept: the share that is asked for, evenly."""

    def __init__(self) -> None:
        self._owed = 0

    def is_due(self, percentage: int) -> bool:
        """Say whether this request is one of them."""
        self._owed += percentage
        if self._owed < 100:
            return False
        self._owed -= 100
        return True


def keep(cloud: Cloud, config: Mapping[str, Any], endpoint: str, variant: str, seen: Seen) -> None:
    """Write what was seen as one JSON line; SageMaker gathers several, a reader must not rely on it."""
    now = datetime.fromtimestamp(cloud.now_s(), timezone.utc)
    event = str(uuid.uuid4())
    modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
    types = config.get("CaptureContentTypeHeader", {})
    captured: dict[str, Any] = {}
    if modes & {"Input", "InputAndOutput"}:
        captured["endpointInput"] = _part("INPUT", seen.content_type, seen.request, types)
    if modes & {"Output", "InputAndOutput"}:
        captured["endpointOutput"] = _part("OUTPUT", seen.answer_type, seen.answer, types)
    metadata: dict[str, Any] = {"eventId": event, "inferenceTime": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    if seen.inference_id is not None:
        metadata["inferenceId"] = seen.inference_id
    if seen.custom_attributes is not None:
        metadata["customAttributes"] = [seen.custom_attributes]
    line = {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}
    name = f"{endpoint}/{variant}/{now:%Y/%m/%d/%H/%M-%S}-{now.microsecond // 1000:03d}-{event}.jsonl"
    write(cloud, place_of(config["DestinationS3Uri"]).below(name), json.dumps(line).encode() + b"\n")


def _part(mode: str, content_type: str, data: bytes, types: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return one side; what is not of a listed content type is Base64."""
    told = {"observedContentType": content_type, "mode": mode}
    plain = content_type.partition(";")[0].strip()
    for encoding, field in (("JSON", "JsonContentTypes"), ("CSV", "CsvContentTypes")):
        if plain in types.get(field, ()):
            return told | {"data": data.decode("utf-8", "replace"), "encoding": encoding}
    return told | {"data": base64.b64encode(data).decode(), "encoding": "BASE64"}
