"""The access log shows requests, and no secret."""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from trackbridge.gateway import access_log
from trackbridge.gateway.access_log import PATH_CHARS_MAX, AccessLine, AccessLog, shown_path, shown_query
from trackbridge.serving.logs import JsonHandler


def line(number: int) -> AccessLine:
    return AccessLine(
        time_ms=number, request_id="r", client="c", method="GET", path="/é\n", status=200, duration_ms=0.5,
        bytes_in=0, bytes_out=2,
    )  # fmt: skip


def drain(descriptor: int) -> None:
    with open(descriptor, "rb") as stream:
        stream.read()


def test_lines_are_json_in_order(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    log = AccessLog(descriptor)
    for number in range(1200):
        log.write(line(number))
    log.close()
    os.close(descriptor)
    lines = [json.loads(text) for text in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert [found["time_ms"] for found in lines] == list(range(1200))
    assert lines[0] == {
        "time_ms": 0, "request_id": "r", "client": "c", "method": "GET", "path": "/é\n", "status": 200,
        "duration_ms": 0.5, "bytes_in": 0, "bytes_out": 2,
    }  # fmt: skip


def test_a_pipe_that_nobody_reads_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "LINES_MAX", 50)
    monkeypatch.setattr(access_log, "CLOSE_S", 0.01)
    reading, writing = os.pipe()
    log = AccessLog(writing)
    for number in range(20_000):
        log.write(line(number))
    assert log.dropped > 0
    log.close()
    drained = threading.Thread(target=drain, args=(reading,))
    drained.start()
    log._thread.join(60)
    os.close(writing)
    drained.join(60)
    assert not drained.is_alive()


def test_a_log_that_cannot_be_written_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = AccessLog(writing)
    log.write(line(1))
    log.close()
    os.close(writing)
    assert log.dropped == 1
    assert "cannot be written" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (b"", ""),
        (b"run_id=abc&path=a/b", "run_id=abc&path=a%2Fb"),
        (b"token=hush&X-Amz-Signature=hush&password=&a=1", "token=***&X-Amz-Signature=***&password=***&a=1"),
        (b"q=Bearer%20abcdefghijklmnop", "q=***"),
        (b"\xff=%ff&=", "%C3%BF=%EF%BF%BD&="),
    ],
)
def test_a_query_without_its_secrets(query: bytes, shown: str) -> None:
    assert shown_query(query) == shown


def test_a_path_is_cut_and_without_secrets() -> None:
    assert shown_path("/a" * 2000) == "/a" * 500 + "…"
    assert shown_path("/files/password=hush") == "/files/password=***"
    assert shown_path("/\udcff") == "/?"


def test_long_paths_are_not_kept_whole() -> None:
    start = "/" + "p" * PATH_CHARS_MAX
    misses = access_log._shown.cache_info().misses
    assert shown_path(f"{start}one") == shown_path(f"{start}another{'x' * 60_000}")
    assert access_log._shown.cache_info().misses == misses + 1


def test_the_name_of_a_parameter_may_be_a_secret() -> None:
    token = "bridge_01234567_" + "s" * 43
    assert token not in shown_query(f"{token}=1&a={token}".encode())


def test_what_libraries_log_is_without_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    """Their warnings and errors tell addresses, which may be signed."""
    logger = logging.Logger("urllib3")
    logger.addHandler(JsonHandler())
    try:
        raise OSError("https://store.example/c/f?sv=1&sig=hush%2B1")
    except OSError:
        logger.exception("broken: %s", "/c/f?X-Amz-Signature=hush2")
    told = json.loads(capfd.readouterr().err)
    assert (told["logger"], "OSError" in told["error"]) == ("urllib3", True)
    assert "hush" not in json.dumps(told)
