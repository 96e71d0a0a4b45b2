"""Telemetry sinks beside a server: no request feels a bad one; good ones are told what was scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.scoring_servers import order, running, save_obedient_model, wait_until
from tests.unit.events.conftest import install, project
from trackbridge.events.subscribers import SINKS_GROUP
from trackbridge.serving import ScoringTelemetry

__all__ = ["install", "project"]

SINKS = """
import json, os, pathlib, signal, time

class Sink:
    def note(self):
        pathlib.Path(type(self).__name__ + ".called").touch()
    def on_request(self, request): pass

class hang(Sink):
    def on_window(self, window):
        self.note()
        time.sleep(3600)

class burn(Sink):
    def on_window(self, window):
        self.note()
        while True: pass

class crash(Sink):
    def on_window(self, window):
        self.note()
        os.kill(os.getpid(), signal.SIGSEGV)

class fail(Sink):
    def on_window(self, window):
        self.note()
        raise SystemExit(3)

class good(Sink):
    def write(self, kind, text):
        with open(kind + ".told", "a") as file:
            file.write(text + "\\n")
    def on_window(self, window):
        self.write("windows", json.dumps([window.requests, window.rows, window.errors]))
    def on_request(self, request):
        self.write("requests", request.request_id)
"""
BAD = ("hang", "burn", "crash", "fail")


def told(project: Path, kind: str) -> list[str]:
    path = project / f"{kind}.told"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def sums(project: Path) -> list[int]:
    """Return requests, rows and errors of all windows that are told."""
    windows = [json.loads(line) for line in told(project, "windows")]
    return [sum(column) for column in zip(*windows, strict=True)]


def test_no_request_feels_a_bad_sink(
    project: Path, install: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(SINKS, *BAD, "good", group=SINKS_GROUP)
    monkeypatch.setenv("BRIDGE_TELEMETRY_REQUESTS_PERCENT", "100")
    model = save_obedient_model(tmp_path / "model")
    with running(tmp_path / "server", model_path=str(model), window_s=0.2) as server:
        statuses = [server.invoke(order("echo"), x_request_id="first").status]
        wait_until(lambda: all((project / f"{name}.called").exists() for name in BAD))
        statuses += [server.invoke(order("echo"), x_request_id=f"r-{number}").status for number in range(49)]
        assert server.invoke(order("fail"), x_request_id="failed").status == 500
        assert statuses == [200] * 50
        wait_until(lambda: sums(project) == [51, 50, 1])
        wait_until(lambda: len(told(project, "requests")) == 51)
        assert set(told(project, "requests")) == {"first", "failed", *(f"r-{number}" for number in range(49))}
        server.process.terminate()
        assert server.process.wait(30) == 0


def test_scoring_code_of_others_tells_the_same(
    project: Path, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install(SINKS, "good", group=SINKS_GROUP)
    telemetry = ScoringTelemetry(name="wine/v2", model="models:/wine/2")
    telemetry.count(status=200, duration_s=0.01, rows=7)
    telemetry.count(status=500, duration_s=0.01)
    telemetry.stop()
    telemetry.stop()
    wait_until(lambda: sums(project) == [2, 7, 1])
