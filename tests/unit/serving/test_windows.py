"""What a scoring server tells subscribers about its requests, and what a subscriber can do to it: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.receivers import Receiver, receiving
from tests.support.scoring_servers import order, running, save_obedient_model
from trackbridge.domain.serving import ServingSettings
from trackbridge.serving import windows
from trackbridge.serving.answers import Answer
from trackbridge.serving.observers import Answered
from trackbridge.serving.windows import WindowTelemetry

SETTINGS = ServingSettings(model_path="model", name="wine/v2", model="models:/wine/2")


def answered(status: int, duration_s: float) -> Answered:
    return Answered("id", "application/json", b"", Answer(status, b""), duration_s)


def telemetry_of(window_s: float) -> WindowTelemetry:
    return WindowTelemetry(msgspec.structs.replace(SETTINGS, window_s=window_s))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(windows, "publish", lambda kind, **fields: found.append({"kind": kind, **fields}))
    return found


def test_a_window_sums_up_its_requests(published: list[dict[str, Any]]) -> None:
    telemetry = telemetry_of(window_s=3600)
    for number in range(1, 101):
        telemetry.on_answered(answered(200, number / 1000))
    telemetry.on_answered(answered(400, 0.0001))
    telemetry.on_answered(answered(503, 2.0))
    telemetry.stop()
    (event,) = published
    assert (event["kind"], event["subject"]) == ("serving.requests_answered", "wine/v2")
    data = event["data"]
    assert (data["requests"], data["errors"], data["refused"]) == (102, 1, 1)
    assert data["model"] == "models:/wine/2"
    assert data["latency_p50_ms"] == pytest.approx(50, rel=0.02)
    assert data["latency_p95_ms"] == pytest.approx(96, rel=0.02)
    assert data["latency_p99_ms"] == pytest.approx(100, rel=0.02)


def test_nothing_is_told_of_a_window_without_requests(published: list[dict[str, Any]]) -> None:
    telemetry = telemetry_of(window_s=0.01)
    telemetry.on_answered(answered(200, 0.001))
    telemetry.stop()
    assert len(published) == 1


@pytest.mark.parametrize("duration_s", [0.0, 1e-9, 0.9999, 1.0, 1.0001, 3600.0])
def test_any_duration_is_counted(published: list[dict[str, Any]], duration_s: float) -> None:
    telemetry = telemetry_of(window_s=3600)
    telemetry.on_answered(answered(200, duration_s))
    telemetry.stop()
    expected = max(duration_s, windows.DURATION_S_MIN) * 1000
    assert published[0]["data"]["latency_p99_ms"] == pytest.approx(expected, rel=0.02, abs=0.001)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.mark.parametrize("behaviour", [204, "hang"])
def test_a_webhook_is_told_and_a_hanging_one_holds_nothing_up(
    warm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, receiver: Receiver, behaviour: Any
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(f'[webhooks.watch]\nurl = "{receiver.url}"\nevents = ["serving.*"]\n')
    monkeypatch.setenv("BRIDGE_HOME", str(home))
    receiver.default = behaviour
    with running(tmp_path, model_path=str(save_obedient_model(tmp_path / "model")), name="wine/v2") as server:
        for _ in range(20):
            assert server.invoke(order("echo")).status == 200
    receiver.wait_for(lambda: len(receiver.requests) >= 1)
    event = receiver.requests[0].event
    assert event["subject"] == "wine/v2"
    assert event["data"]["requests"] == 20
