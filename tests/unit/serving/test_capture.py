"""Captured payloads: events as lines, sampled, bounded, private, and never in the way."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.scoring_servers import wait_until
from trackbridge.domain.serving import Capture, ServingSettings
from trackbridge.serving.answers import Answer
from trackbridge.serving.capture import PayloadCapture
from trackbridge.serving.observers import Answered


class Counts:
    """Stands for the metrics."""

    def __init__(self) -> None:
        self.captured = 0
        self.dropped: dict[str, int] = {}

    def on_captured(self, count: int) -> None:
        self.captured += count

    def on_dropped(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count


def made(folder: Path, counts: Counts, **options: Any) -> PayloadCapture:
    capture = Capture(folder=str(folder), **{"percent": 100.0, **options})
    settings = ServingSettings(model_path=".", name="wine/v1", model="models:/wine/1")
    return PayloadCapture(capture, settings, place=3, metrics=counts)  # type: ignore[arg-type]


def answered(
    number: int = 0,
    body: bytes = b'{"inputs":[1]}',
    content_type: str = "application/json",
    status: int = 200,
) -> Answered:
    return Answered(f"id-{number}", content_type, body, Answer(status, b'{"predictions":[1]}'), 0.0123)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]


def test_one_event_for_each_request(tmp_path: Path) -> None:
    counts = Counts()
    capture = made(tmp_path / "payloads", counts)
    capture.on_answered(answered(body=b'{\n"inputs":\r\n[1]}'))
    capture.on_answered(answered(1, body=b"a,b\n1,2\n", content_type="text/csv"))
    capture.on_answered(answered(2, body=b"\xff\n", content_type="application/x", status=415))
    capture.on_answered(answered(3, body=b'{"inputs":[NaN]}'))
    capture.stop()
    first, second, third, fourth = lines(tmp_path / "payloads")
    assert first.pop("time").endswith("Z")
    assert first == {
        "specversion": "1.0",
        "type": "trackbridge.serving.scored",
        "id": "id-0",
        "source": "wine/v1",
        "subject": "models:/wine/1",
        "datacontenttype": "application/json",
        "data": {
            "status": 200,
            "duration_s": 0.0123,
            "request": {"content_type": "application/json", "json": {"inputs": [1]}},
            "response": {"content_type": "application/json", "json": {"predictions": [1]}},
        },
    }
    assert second["data"]["request"] == {"content_type": "text/csv", "text": "a,b\n1,2\n"}
    assert third["data"]["request"] == {"content_type": "application/x", "base64": "/wo="}
    assert fourth["data"]["request"]["text"] == '{"inputs":[NaN]}'
    assert counts.captured == 4
    (path,) = (tmp_path / "payloads").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_sample_is_about_as_large_as_asked_and_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        capture = made(tmp_path / name, Counts(), percent=20.0)
        for number in range(200):
            capture.on_answered(answered(number))
        capture.stop()
    ids = [event["id"] for event in lines(tmp_path / "a")]
    assert 15 < len(ids) < 70
    assert ids == [event["id"] for event in lines(tmp_path / "b")]


def test_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    counts = Counts()
    capture = made(tmp_path, counts, file_bytes_max=2000, files_max=3)
    for number in range(30):
        capture.on_answered(answered(number))
        wait_until(lambda expected=number + 1: counts.captured == expected)
    capture.on_answered(answered(31, body=b'{"inputs":"%s"}' % (b"x" * 2000)))
    capture.stop()
    assert counts.dropped == {"size": 1}
    files = list(tmp_path.iterdir())
    assert len(files) == 3
    assert all(path.stat().st_size <= 2000 for path in files)
    assert lines(tmp_path)[-1]["id"] == "id-29"


def test_a_disk_that_takes_nothing_is_counted_and_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    counts = Counts()
    capture = made(tmp_path / "file" / "payloads", counts)
    for number in range(3):
        capture.on_answered(answered(number))
        wait_until(lambda expected=number + 1: counts.dropped.get("write") == expected)
    capture.stop()
    assert capfd.readouterr().err.count("cannot be captured") == 1


def test_a_line_cut_off_by_a_full_disk_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()
    capture = made(tmp_path, counts)
    capture.on_answered(answered(0))
    wait_until(lambda: counts.captured == 1)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    capture.on_answered(answered(1))
    wait_until(lambda: counts.dropped.get("write") == 1)
    monkeypatch.undo()
    capture.on_answered(answered(2))
    capture.stop()
    assert [event["id"] for event in lines(tmp_path)] == ["id-0", "id-2"]


def test_a_slow_disk_makes_nobody_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, go = Counts(), threading.Event()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: go.wait(30) and write(descriptor, data))
    capture = made(tmp_path, counts)
    for number in range(5000):
        capture.on_answered(answered(number))
    assert counts.dropped["full"] >= 5000 - 1024 - 1
    go.set()
    capture.stop()
    assert counts.captured + counts.dropped["full"] == 5000
