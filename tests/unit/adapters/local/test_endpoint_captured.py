"""Captured payloads as files: rotated, cut, huge, hostile; counting them without reading them."""

from __future__ import annotations

import base64
import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackbridge.domain.deployments import CapturedPayload
from trackbridge.domain.telemetry import LATENCY_BOUNDS_MS
from trackbridge.serving.metrics import LATENCY_BUCKETS_S
from trackbridge_adapters.local import endpoint_captured
from trackbridge_adapters.local.endpoint_captured import count_captured, read_captured
from trackbridge_adapters.local.endpoint_folders import EndpointFolder
from trackbridge_adapters.local.endpoint_telemetry import read_queued

START_MS = 1_790_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> EndpointFolder:
    folder = EndpointFolder(tmp_path, "wine")
    folder.captures("v1").mkdir(parents=True)
    return folder


def line(number: int, *, request: object = None, time_ms: int | None = None) -> bytes:
    moment = datetime.fromtimestamp((START_MS + number if time_ms is None else time_ms) / 1000, timezone.utc)
    event = {
        "specversion": "1.0",
        "type": "trackbridge.serving.scored",
        "id": f"r{number}",
        "source": "wine/v1",
        "subject": "models:/wine/1",
        "time": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
        "datacontenttype": "application/json",
        "data": {
            "status": 200,
            "duration_s": 0.1,
            "request": request or {"content_type": "application/json", "json": {"inputs": [[number]]}},
            "response": {"content_type": "application/json", "json": {"predictions": [1.0]}},
        },
    }
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def write(folder: EndpointFolder, name: str, *lines: bytes, deployment: str = "v1") -> Path:
    path = folder.captures(deployment) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def read(folder: EndpointFolder, size: int = 1000, **only: object) -> list[CapturedPayload]:
    found: list[CapturedPayload] = []
    token: str | None = None
    chosen = {"deployment": None, "since": 0, "until": None, **only}
    while True:
        page = read_captured(folder, max_results=size, token=token, **chosen)  # type: ignore[arg-type]
        found += page.items
        token = page.token
        if token is None:
            return found


def ids(payloads: list[CapturedPayload]) -> list[str]:
    return [payload.request_id for payload in payloads]


def test_bodies_of_every_kind(folder: EndpointFolder) -> None:
    raw = b"\xff\x00\n"
    kinds = [
        ({"content_type": "text/csv", "text": "a,b\n1,2\n"}, b"a,b\n1,2\n"),
        ({"content_type": "x/y", "base64": base64.b64encode(raw).decode()}, raw),
        ({"content_type": "x/y"}, None),
        (None, b'{"inputs":[[3]]}'),
    ]
    write(folder, "payloads-0-1.jsonl", *(line(n, request=kind) for n, (kind, _) in enumerate(kinds)))
    found = read(folder)
    assert [payload.request for payload in found] == [body for _, body in kinds]
    assert [payload.time for payload in found] == [START_MS + number for number in range(4)]
    assert {(payload.deployment, payload.status) for payload in found} == {("v1", 200)}


def test_files_that_are_older_are_not_read(folder: EndpointFolder) -> None:
    old = write(folder, "payloads-0-1.jsonl", line(0))
    write(folder, "payloads-0-2.jsonl", line(1))
    os.utime(old, (1, 1))
    assert ids(read(folder, since=2000)) == ["r1"]


def test_a_line_that_is_still_being_written_comes_with_the_next_look(folder: EndpointFolder) -> None:
    whole = line(1)
    path = write(folder, "payloads-0-1.jsonl", line(0), whole[:-30])
    assert ids(read(folder)) == ["r0"]
    assert count_captured(folder, "v1", since=0) == 1
    with open(path, "ab") as file:
        file.write(whole[-30:])
    assert ids(read(folder)) == ["r0", "r1"]
    assert count_captured(folder, "v1", since=0) == 2


def test_lines_that_are_none_are_passed_over(folder: EndpointFolder) -> None:
    hostile = [
        b"\n",
        b"{}\n",
        b"\xff\xfe\xff\n",
        line(1)[:80] + b"\n",
        line(2).replace(b'"2026', b'"soon'),
        line(3, request={"content_type": "x", "base64": "no base64!"}),
        b"[" * 50_000 + b"\n",
        line(4).replace(b'"status":200', b'"status":"fine"'),
    ]
    write(folder, "payloads-0-1.jsonl", line(0), *hostile, line(9))
    assert ids(read(folder)) == ["r0", "r9"]
    assert count_captured(folder, "v1", since=START_MS + 9) == 1


def test_a_huge_line_is_passed_over_in_pieces(
    folder: EndpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_captured, "LINE_BYTES_MAX", 1000)
    huge = line(1, request={"content_type": "t", "text": "x" * 5000})
    write(folder, "payloads-0-1.jsonl", line(0), huge, line(2))
    assert ids(read(folder)) == ["r0", "r2"]


def test_a_file_that_is_rotated_away_between_two_pages(folder: EndpointFolder) -> None:
    gone = write(folder, "payloads-0-1.jsonl", line(0), line(1))
    write(folder, "payloads-0-2.jsonl", line(2), line(3))
    first = read_captured(folder, deployment=None, since=0, until=None, max_results=1, token=None)
    gone.unlink()
    rest = read_captured(folder, deployment=None, since=0, until=None, max_results=9, token=first.token)
    assert ids([*first.items, *rest.items]) == ["r0", "r2", "r3"]


def test_an_empty_file_and_one_of_somebody_else(folder: EndpointFolder) -> None:
    write(folder, "payloads-0-1.jsonl")
    write(folder, "notes.txt", b"hello\n")
    assert read(folder) == []
    assert count_captured(folder, "v1", since=0) == count_captured(folder, "v9", since=0) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(1, 7),
    st.integers(-1, 55),
    st.one_of(st.none(), st.integers(-1, 55)),
)
def test_pages_and_counts_agree_with_the_whole(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], size: int, since: int, until: int | None
) -> None:
    folder = EndpointFolder(tmp_path_factory.mktemp("captured"), "wine")
    ordered = sorted(times)
    for number in range(3):
        lines = [
            line(place, time_ms=START_MS + moment)
            for place, moment in enumerate(ordered)
            if place % 3 == number
        ]
        write(folder, f"payloads-{number}-1.jsonl", *lines)
    end = None if until is None else START_MS + until
    wanted = [time for time in ordered if since <= time and (until is None or time < until)]
    found = read(folder, size, since=START_MS + since, until=end)
    assert sorted(payload.time - START_MS for payload in found) == wanted
    assert count_captured(folder, "v1", since=START_MS + since) == sum(time >= since for time in times)


def test_histograms_have_the_bounds_of_the_server_s() -> None:
    assert tuple(round(bound_s * 1000, 6) for bound_s in LATENCY_BUCKETS_S) == LATENCY_BOUNDS_MS


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        assert read_queued(str(tmp_path / "s")) is None
    assert read_queued(str(tmp_path / "none")) is None
