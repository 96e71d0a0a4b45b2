"""``bridge endpoints invoke|watch|telemetry|drift`` against a target in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trackbridge as tb
from tests.cli.conftest import Bridge
from tests.support.endpoint_scenes import Scene
from tests.unit.operations.test_telemetry import Collector
from trackbridge.api.baselines import baseline_of
from trackbridge.cli.endpoint_watch import BARS, _Screen, sparkline
from trackbridge.domain.baselines import BASELINE_FILE
from trackbridge.domain.events import ENDPOINT_DRIFT
from trackbridge.errors import BridgeError, NotFound
from trackbridge.operations.telemetry import look
from trackbridge.ports.capabilities import Feature


@pytest.fixture
def wine(scene: Scene) -> Scene:
    """The endpoint wine, whose one deployment keeps what it is asked."""
    scene.deploy(1, capture_percent=100)
    return scene


def kept(scene: Scene) -> list[Any]:
    return [json.loads(item.request or b"") for item in scene.state.deployments.captured["wine"]]


# Invoke.


def test_rows_are_sent_in_pieces_and_come_back_whole(bridge: Bridge, wine: Scene, project: Path) -> None:
    (project / "rows.json").write_text(json.dumps({"inputs": [[number] for number in range(5)]}))
    asking = ("endpoints", "invoke", "wine", "-i", "rows.json", "--batch", "2")
    assert json.loads(bridge(*asking).out) == {"predictions": ["models:/wine/1"] * 5}
    assert kept(wine) == [{"inputs": [[0], [1]]}, {"inputs": [[2], [3]]}, {"inputs": [[4]]}]
    written = bridge(*asking, "--out", "out.csv")
    assert "5 predictions in out.csv" in written.out
    assert (project / "out.csv").read_text() == "prediction\n" + "models:/wine/1\n" * 5
    summary = bridge(*asking, "--out", "out.json", "--json").summary
    assert (summary["rows"], summary["out"]) == (5, "out.json")
    assert json.loads((project / "out.json").read_text()) == {"predictions": ["models:/wine/1"] * 5}


def test_what_was_scored_before_a_failure_is_not_lost(
    bridge: Bridge, wine: Scene, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "rows.json").write_text('{"inputs": [[0], [1], [2]]}')
    from tests.support.memory_deployments import MemoryDeployments

    honest, calls = MemoryDeployments.invoke, []

    def failing(self: MemoryDeployments, endpoint: str, payload: bytes, **options: Any) -> bytes:
        calls.append(payload)
        if len(calls) == 3:
            raise BridgeError("the model failed (status 500)")
        return honest(self, endpoint, payload, **options)

    monkeypatch.setattr(MemoryDeployments, "invoke", failing)
    asking = ("endpoints", "invoke", "wine", "-i", "rows.json", "--batch", "1", "--out", "out.jsonl")
    told = bridge(*asking, code=1).err
    assert "the predictions of the first 2 rows are in out.jsonl.part" in told
    assert (project / "out.jsonl.part").read_text() == '"models:/wine/1"\n' * 2
    assert not (project / "out.jsonl").exists()
    assert len(calls) == 3, "a failure is not sent again"


def test_an_endpoint_by_its_address(bridge: Bridge, wine: Scene) -> None:
    body = '{"inputs": [[1]]}'
    assert "models:/wine/1" in bridge("endpoints", "invoke", "endpoints:/wine", "--data", body).out
    assert tb.endpoint("endpoints:/wine").predict([[1]]) == ["models:/wine/1"]
    bridge("remotes", "add", "prod", "file:./prod")
    assert "models:/wine/1" in bridge("endpoints", "invoke", "endpoints:/prod/wine", "--data", body).out
    assert repr(tb.endpoint("endpoints:/prod/wine")) == "Endpoint('wine', target='prod')"
    told = bridge("endpoints", "invoke", "endpoints:/prod/wine", "--target", "test", "--data", body, code=1)
    assert "two places" in told.err


@pytest.mark.parametrize(
    "options",
    [(), ("--data", "{}", "-i", "rows.json"), ("-i", "none.csv"), ("-i", "rows.json", "--out", "no/out.csv")],
)
def test_what_cannot_be_sent_or_written(
    bridge: Bridge, wine: Scene, project: Path, options: tuple[str, ...]
) -> None:
    (project / "rows.json").write_text('{"inputs": [[0]]}')
    bridge("endpoints", "invoke", "wine", *options, code=2)
    assert "wine" not in wine.state.deployments.captured


def test_a_file_that_is_not_there_is_told_in_one_line(bridge: Bridge, wine: Scene, project: Path) -> None:
    (project / "rows.json").write_text('{"inputs": [[0]]}')
    told = bridge("endpoints", "invoke", "wine", "-i", "row.json", code=2).err
    assert told == "error: there is no file row.json; did you mean 'rows.json'?\n"
    told = bridge("endpoints", "invoke", "wine", "-i", "no/rows.json", code=2).err
    assert told == "error: there is no file no/rows.json; there is no folder no that can be read\n"


@pytest.mark.parametrize(
    "command", [("invoke", "--data", "{}"), ("show",), ("delete", "--yes"), ("rollback", "--yes"), ("logs",)]
)
def test_an_endpoint_that_is_called_nearly_so(bridge: Bridge, wine: Scene, command: tuple[str, ...]) -> None:
    name, *options = command
    told = bridge("endpoints", name, "wien", *options, code=1).err
    assert "hint: did you mean 'wine'? see: bridge endpoints list\n" in told
    bridge("remotes", "add", "prod", "file:./prod")
    told = bridge("endpoints", name, "wien", *options, "--target", "prod", code=1).err
    assert "hint: did you mean 'wine'? see: bridge endpoints list --target prod\n" in told


def test_empty_files_send_nothing(bridge: Bridge, wine: Scene, project: Path) -> None:
    (project / "rows.csv").write_text("a,b\n")
    assert "no rows" in bridge("endpoints", "invoke", "wine", "-i", "rows.csv", code=2).err


# Watch and telemetry.


def test_sparklines() -> None:
    assert sparkline([0, 0, 0]) == BARS[0] * 3
    assert sparkline([0, 1, 2, 4, 8]) == "▁▂▃▅█"
    assert sparkline([]) == ""


def test_the_screen_shows_the_looks_so_far(
    wine: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    wine.state.deployments.clock_ms = lambda: 10**13  # what is recorded is within every window
    screen = _Screen()
    for requests in (0, 40, 20):
        wine.state.deployments.record("wine", "v1", requests=requests)
        state, points = look(wine.place(), "wine", window_s=60)
        screen.draw(state, {point.deployment: point.metrics for point in points}, 60)
    screen.close()
    shown = capsys.readouterr().out
    assert "wine READY, last 60 s" in shown
    assert sparkline([0, 40, 60]) in shown


def test_watching_tells_a_collector(bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    collector = Collector()
    times = iter([0, 59_999, 60_000, 60_001, *[100_000] * 2])
    monkeypatch.setattr("trackbridge.operations.telemetry.now_ms", lambda: 10**12 + next(times))
    watching = ("endpoints", "watch", "wine", "--every", "1ms")
    bridge(*watching, "--count", "4", "--otlp", collector.url)
    assert len(collector.requests) == 2, "no request is counted twice"
    collector.close()
    monkeypatch.setattr("trackbridge.operations.telemetry.EXPORT_S_MAX", 0.2)  # it is tried again so long
    result = bridge(*watching, "--count", "2", "--otlp", collector.url)
    assert result.err.count("took no metrics") == 1, "told once, and it goes on"
    assert len(result.out.splitlines()) == 2


def test_telemetry_is_shown(bridge: Bridge, wine: Scene) -> None:
    wine.state.deployments.clock_ms = lambda: 10**13  # what is recorded is within every window
    wine.state.deployments.record("wine", "v1", requests=100, errors=7, refused=3, latency_ms=12.5)
    heading, row = bridge("endpoints", "telemetry", "wine").out.splitlines()
    assert heading.split()[-4:] == ["REFUSED", "QUEUED", "INSTANCES", "CAPTURED"]
    assert row.split() == ["v1", "100", "%", "100", "7", "(7.0%)", *["12.5"] * 3, "3", "0", "1", "0"]
    looked = bridge("endpoints", "telemetry", "wine", "--json", "--every", "1ms", "--count", "2").objects
    assert [item["type"] for item in looked] == ["telemetry", "telemetry", "summary"]
    assert looked[0]["metrics"]["requests"] == 100
    assert looked[0]["error_rate"] == 0.07


def test_a_target_without_telemetry_says_so(bridge: Bridge, wine: Scene) -> None:
    wine.missing[Feature.DEPLOYMENTS_METRICS] = "it counts nothing"
    assert "it counts nothing" in bridge("endpoints", "telemetry", "wine", code=1).err


def test_a_version_without_a_run_says_so(bridge: Bridge, wine: Scene) -> None:
    told = bridge("endpoints", "telemetry", "wine", "--log-to", "auto", code=1).err
    assert "does not say from which run it came" in told
    assert "names no run" in bridge("endpoints", "telemetry", "wine", "--log-to", "wine", code=1).err


def test_a_version_without_a_run_loses_nothing_of_the_others(
    bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    wine.deploy(2, traffic_percent=10)
    logged: list[str] = []

    def run_of(log_to: str, found: Any, registry: Any) -> str:
        if found.deployment == "v1":
            raise NotFound("v1 does not say from which run it came")
        return "r2"

    monkeypatch.setattr("trackbridge.api.endpoint_records.run_of", run_of)
    monkeypatch.setattr(
        "trackbridge.api.endpoint_records.log_telemetry", lambda client, run_id, point: logged.append(run_id)
    )
    result = bridge("endpoints", "telemetry", "wine", "--log-to", "auto")
    assert logged == ["r2"]
    assert "v1 does not say" in result.err


# Drift.


def baseline(scene: Scene, columns: dict[str, Any] | None = None) -> None:
    summary = baseline_of(columns or {"x": [float(number % 50) for number in range(500)]})
    (scene.folder / "model-1" / BASELINE_FILE).write_text(json.dumps(summary))


def ask(scene: Scene, *values: float) -> None:
    body = json.dumps({"inputs": [[value] for value in values]}).encode()
    scene.place().target.invoke("wine", body, content_type="application/json")


def test_drift_is_an_exit_code(bridge: Bridge, wine: Scene, project: Path) -> None:
    baseline(wine)
    wanting = ("endpoints", "drift", "wine", "--since", "1970-01-01")
    ask(wine, *(float(number % 50) for number in range(200)))
    calm = bridge(*wanting)
    assert "0 of 1 columns moved by more than 0.2" in calm.out
    assert "200 rows of 1 request against 500 rows of the baseline" in calm.err
    ask(wine, *([99.0] * 300))
    moved = bridge(*wanting, "--html", "drift.html", code=4)
    assert "1 of 1 columns moved" in moved.out
    assert "1 of 1 columns moved" in (project / "drift.html").read_text("utf-8")
    summary = bridge(*wanting, "--json", code=4).summary
    assert (summary["moved"], summary["worst_column"], summary["rows"]) == (["x"], "input:x", 500)
    assert bridge(*wanting, "--threshold", "99").out
    bridge(*wanting, "--html", "no/drift.html", code=2)


def test_drift_is_an_event(bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("trackbridge.events.publish", lambda kind, **about: told.append((kind, about)))
    baseline(wine)
    ask(wine, *([99.0] * 300))
    bridge("endpoints", "drift", "wine", "--since", "1970-01-01", "--threshold", "99")
    assert told == []
    bridge("endpoints", "drift", "wine", "--since", "1970-01-01", code=4)
    ((kind, about),) = told
    assert (kind, about["subject"]) == (ENDPOINT_DRIFT, "wine")
    assert (about["data"]["deployment"], about["data"]["columns"]) == ("v1", ["x"])
    bridge("endpoints", "drift", "wine", "--since", "1970-01-01", "--log-to", "runs:/none", code=1)
    assert len(told) == 2, "also where it cannot be logged"


def test_no_baseline_no_capture_no_requests(bridge: Bridge, wine: Scene) -> None:
    told = bridge("endpoints", "drift", "wine", code=1).err
    assert "models:/wine/1) has no baseline" in told
    assert "training_data" in told
    baseline(wine)
    assert "captured 0 requests" in bridge("endpoints", "drift", "wine", code=1).err
    ask(wine, 1.0)
    assert "captured 0 requests" in bridge("endpoints", "drift", "wine", "--until", "1970-01-02", code=1).err
    baseline(wine, {"a": [1.0], "b": [2.0]})
    assert "no known form" in bridge("endpoints", "drift", "wine", "--since", "1970-01-01", code=1).err
    assert "has no deployment 'v9'" in bridge("endpoints", "drift", "wine", "v9", code=1).err
    wine.missing[Feature.DEPLOYMENTS_CAPTURE] = "it keeps nothing"
    assert "it keeps nothing" in bridge("endpoints", "drift", "wine", code=1).err


def test_drift_without_capture_says_how_to_keep_requests(bridge: Bridge, scene: Scene) -> None:
    scene.deploy(1)
    baseline(scene)
    assert "--capture 100" in bridge("endpoints", "drift", "wine", code=1).err
