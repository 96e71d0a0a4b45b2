"""Payloads that Azure's data collector has kept: lines of CloudEvents in the workspace's storage.

::

    modelDataCollector/ENDPOINT/DEPLOYMENT/request/2026/11/22/08/INSTANCE.jsonl
                                          /response/…

A request and its answer are lines of two files with one correlation id, of the same hour, or of the next one
for the answer; Azure samples the two apart, so that one may be without the other. Requests that came close
together may be one line. Bodies of Azure's own server for MLflow's models are told in MLflow's form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing, suppress
from datetime import datetime, timezone
from typing import Any, NamedTuple

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import NotFound
from trackbridge_adapters.azureml.assets import milliseconds_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.datastores import DEFAULT, DatastoreFiles, Datastores
from trackbridge_adapters.azureml.deployments_assets import FOLDER
from trackbridge_adapters.azureml.deployments_names import native_deployment, own_deployment
from trackbridge_adapters.azureml.deployments_payloads import INPUT, from_azure, request_from_azure

OPERATION = "deployments.read_captured"
PAGE_MAX = 1000
REQUEST, RESPONSE = "request", "response"
HOUR_MS = 3_600_000
END = ".jsonl"


class Event(NamedTuple):
    """A payload that was kept; ``id`` is the line's, with its number among the line's payloads."""

    id: str
    time: int
    content_type: str
    body: bytes
    correlation: str


class CapturedFiles:
    """Reads what was kept of endpoints of one workspace. Any thread may use it."""

    def __init__(self, datastores: Datastores) -> None:
        self._datastores = datastores

    def read(
        self,
        endpoint: str,
        *,
        deployment: str | None,
        since: int,
        until: int | None,
        max_results: int,
        token: str | None,
    ) -> Page[CapturedPayload]:
        """Return a page; see the port. A place is a file and how many of its payloads were read."""
        listing = listing_of("azureml.read_captured", endpoint, deployment, since, until)
        size = page_size(max_results, most=PAGE_MAX, adapter=ADAPTER, operation=OPERATION)
        place = place_of(token, listing, adapter=ADAPTER, operation=OPERATION, types=(str, int))
        begin: tuple[str, int] = (str(place[0]), int(place[1])) if place else ("", 0)
        files = self._datastores.files(DEFAULT, f"{FOLDER}/{endpoint}")
        found: list[CapturedPayload] = []
        for path in self._paths(files, deployment, since, until):
            if path < begin[0]:
                continue
            events = list(_events(files, path))
            # Afterwards: an answer is written later than its request.
            answers = _answers(files, path, {event.correlation for event in events})
            for number, event in enumerate(events, 1):
                if (path == begin[0] and number <= begin[1]) or not _is_within(event.time, since, until):
                    continue
                found.append(_payload(path.partition("/")[0], event, answers.get(event.correlation)))
                if len(found) == size:
                    return Page(items=tuple(found), token=token_of(listing, [path, number]))
        return Page(items=tuple(found))

    def _paths(
        self, files: DatastoreFiles, deployment: str | None, since: int, until: int | None
    ) -> Iterator[str]:
        """Yield the files of requests, in order of deployment and hour; only of hours that are asked for."""
        named = None if deployment is None else native_deployment(deployment)
        found = (entry.name for entry in files.children("") if entry.is_dir)
        names = sorted(found, key=lambda name: f"{name}/")  # as the paths sort, which places compare
        for name in names if named is None else [named]:
            for path in sorted(_below(files, f"{name}/{REQUEST}", depth=5)):
                hour = _hour_of(path)
                if hour is None or (hour + HOUR_MS > since and (until is None or hour < until)):
                    yield path


def _below(files: DatastoreFiles, folder: str, depth: int) -> Iterator[str]:
    for entry in files.children(folder):
        path = f"{folder}/{entry.name}"
        if entry.is_dir and depth:
            yield from _below(files, path, depth - 1)
        elif not entry.is_dir and entry.name.endswith(END):
            yield path


def _hour_of(path: str) -> int | None:
    """Return when the hour began that a file is of; None where its path does not say."""
    parts = path.split("/")[2:6]
    if len(parts) < 4 or not all(part.isdecimal() for part in parts):
        return None
    year, month, day, hour = parts
    return milliseconds_of(f"{year}-{month}-{day}T{hour}:00:00Z")


def _answers(files: DatastoreFiles, path: str, wanted: AbstractSet[str]) -> Mapping[str, Event]:
    """Return an instance's answers by their correlation: of the hour, and if need be of the next one."""
    name, _, rest = path.partition(f"/{REQUEST}/")
    found: dict[str, Event] = {}
    for place in (rest, *_an_hour_later(path)):
        if wanted <= found.keys():
            break
        with suppress(NotFound):
            found |= {event.correlation: event for event in _events(files, f"{name}/{RESPONSE}/{place}")}
    return found


def _an_hour_later(path: str) -> Iterator[str]:
    hour = _hour_of(path)
    if hour is not None:
        later = datetime.fromtimestamp((hour + HOUR_MS) / 1000, tz=timezone.utc)
        yield f"{later:%Y/%m/%d/%H}/{path.split('/', 6)[6]}"


def _events(files: DatastoreFiles, path: str) -> Iterator[Event]:
    with closing(files.open(path)) as file:
        for line in file.read().splitlines():
            try:
                told = json.loads(line)
            except ValueError:  # written while we read
                continue
            if isinstance(told, dict):
                yield from _payloads_of(told, files)


def _payloads_of(told: Mapping[str, Any], files: DatastoreFiles) -> Iterator[Event]:
    correlations = str(told.get("correlationid") or told.get("xrequestid") or told.get("id") or "").split(",")
    time = milliseconds_of(told.get("time")) or 0
    content_type = str(told.get("datacontenttype") or "application/json")
    data = told.get("data")
    # Azure's own batches: a list with one payload for each of several correlation ids.
    is_batch = isinstance(data, list) and len(correlations) == len(data) > 1
    for number, item in enumerate(data if is_batch and data is not None else [data]):
        body = _body(item, told, files)
        correlation = correlations[number if is_batch else 0].strip()
        yield Event(f"{told.get('id')}-{number}", time, content_type, body, correlation)


def _body(data: Any, told: Mapping[str, Any], files: DatastoreFiles) -> bytes:
    if data is None and told.get("dataref"):  # larger than 4 MB: a blob of its own
        inside = str(told["dataref"]).partition(f"{FOLDER}/")[2].partition("/")[2]
        with closing(files.open(inside)) as file:
            return file.read()
    return data.encode() if isinstance(data, str) else json.dumps(data).encode()


def _payload(native: str, event: Event, answer: Event | None) -> CapturedPayload:
    is_azures = f'"{INPUT}"'.encode() in event.body
    response = None if answer is None else answer.body
    return CapturedPayload(
        deployment=own_deployment(native),
        request_id=event.correlation or event.id,
        time=event.time,
        content_type=event.content_type,
        request=request_from_azure(event.body) if is_azures else event.body,
        response_content_type="" if answer is None else answer.content_type,
        response=from_azure(response) if response is not None and is_azures else response,
    )


def _is_within(time: int, since: int, until: int | None) -> bool:
    return time >= since and (until is None or time < until)
