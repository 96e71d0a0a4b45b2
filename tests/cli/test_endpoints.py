"""``bridge endpoints``: see, ask, share the traffic, roll back, take away."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Bridge
from tests.support.endpoint_scenes import Scene
from tests.support.memory_adapter import MemoryAdapter
from tests.support.memory_deployments import MemoryDeployments
from trackbridge.cli import endpoint_listing
from trackbridge.errors import Rejected, Unavailable
from trackbridge.operations.endpoint_listing import Since, list_endpoints
from trackbridge.resolve.config import Settings

GUID = "11111111-2222-3333-4444-555555555555"
HOSTILE = "evil\x1b[31m\x07name"


@pytest.fixture
def wine(scene: Scene) -> Scene:
    """The endpoint wine: v1 with 90 %, v2 with 10 %."""
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    return scene


def test_nothing_there_yet(bridge: Bridge, scene: Scene) -> None:
    assert "there are no endpoints" in bridge("endpoints", "list").err
    assert bridge("endpoints", "list", "--json").summary["endpoints"] == 0
    for verb in ("show", "watch", "delete", "logs"):
        assert "there is no endpoint 'wine'" in bridge("endpoints", verb, "wine", code=1).err
    assert "nothing was done" in bridge("endpoints", "rollback", "wine", code=1).err
    assert "nothing was done" in bridge("endpoints", "history", "wine").err


def test_list(bridge: Bridge, wine: Scene) -> None:
    lines = bridge("endpoints", "list").out.splitlines()
    assert lines[0].split() == [
        *("ENDPOINT", "TARGET", "DEPLOYMENT", "MODEL", "DIGEST", "TRAFFIC", "HEALTH"),
        *("SINCE", "(UTC)", "BY"),
    ]
    first, second = (line.split() for line in lines[1:])
    assert first[:4] == ["wine", "local", "v1", "models:/wine/1"]
    assert second[:4] == ["wine", "local", "v2", "models:/wine/2"]
    digest = wine.place().registry.get_version("wine", "2").digest or ""
    assert second[4:8] == [digest.removeprefix("sha256:")[:12], "10", "%", "READY"]
    assert second[-1] == "anna"
    listed = bridge("endpoints", "list", "--json").objects
    assert listed[0]["target"] == "local"
    v1, v2 = listed[0]["deployments"]
    assert (v2["model"], v2["digest"], v2["user"]) == ("models:/wine/2", digest, "anna")
    assert v1["time"] <= v2["time"]


@pytest.mark.parametrize(("chars_max", "shown"), [(20, "11111111-2222-3333-…"), (36, GUID)])
def test_a_terminal_shows_of_a_clouds_long_id_of_a_user_the_beginning(
    wine: Scene, chars_max: int, shown: str
) -> None:
    (listed,) = list_endpoints(None, settings=Settings()).endpoints
    since = {name: Since(time=0, user=GUID) for name in listed.since}
    rows = endpoint_listing._rows(replace(listed, since=since), user_chars_max=chars_max)
    assert [row[-1] for row in rows] == [shown, shown]


def test_list_tells_what_is_not_well(bridge: Bridge, wine: Scene) -> None:
    wine.state.deployments.broken["wine", "v2"] = f"out of memory {HOSTILE}"
    shown = bridge("endpoints", "list").out
    assert "FAILED: out of memory" in shown
    assert "\x1b" not in shown


def test_list_asks_every_place_and_tells_which_cannot_be_asked(
    bridge: Bridge, wine: Scene, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge("remotes", "add", "lab", "./lab")
    bridge("remotes", "add", "same", "./lab/../lab")
    bridge("remotes", "add", "down", "https://tracking.example.org")
    asked: list[str] = []

    def open_some(uri: Any, **options: Any) -> Any:
        asked.append(uri.text)
        if uri.text.startswith("https:"):
            raise Unavailable("nobody answers", hint="look whether it runs")
        return MemoryAdapter(wine.state, missing=wine.missing)

    monkeypatch.setattr("trackbridge.operations.opening.open_uri", open_some)
    result = bridge("endpoints", "list", code=3)
    assert "down cannot be asked: nobody answers (look whether it runs)" in result.err
    targets = [line.split()[1] for line in result.out.splitlines()[1:]]
    assert targets == ["local", "local", "lab", "lab"]
    assert len(asked) == len(set(asked)) == 3, "each place is asked once"
    summary = bridge("endpoints", "list", "--json", code=3).summary
    assert (summary["endpoints"], [item["target"] for item in summary["troubles"]]) == (2, ["down"])
    assert len(bridge("endpoints", "list", "--target", "lab", "--json").objects) == 2
    assert "nobody answers" in bridge("endpoints", "list", "--target", "down", code=5).err
    wine.state.deployments.endpoints.clear()
    assert "no endpoints at the places that could be asked" in bridge("endpoints", "list", code=3).err


def test_show_has_the_figures_of_each_deployment(bridge: Bridge, wine: Scene) -> None:
    wine.state.deployments.clock_ms = lambda: 10**13  # what is recorded is within every window
    wine.state.deployments.record("wine", "v1", requests=100, errors=7, latency_ms=12.5)
    lines = bridge("endpoints", "show", "wine", "--window", "1h").out.splitlines()
    v1 = next(line for line in lines if line.startswith("v1"))
    assert v1.split() == [
        "v1",
        "models:/wine/1",
        "90",
        "%",
        "READY",
        "100",
        "7",
        "(7.0%)",
        "12.5",
        "12.5",
        "12.5",
    ]
    summary = bridge("endpoints", "show", "wine", "--window", "1h", "--json").summary
    assert summary["window_s"] == 3600
    assert summary["metrics"]["v1"]["errors"] == 7
    assert summary["metrics"]["v2"]["requests"] == 0


def test_show_says_why_something_failed(bridge: Bridge, wine: Scene) -> None:
    wine.state.deployments.broken["wine", "v2"] = f"out of memory {HOSTILE}"
    shown = bridge("endpoints", "show", "wine").out
    assert "FAILED" in shown
    assert "v2: out of memory" in shown
    assert "\x1b" not in shown


def test_invoke(bridge: Bridge, wine: Scene, project: Path) -> None:
    rows = '{"inputs": [[1], [2]]}'
    answer = json.loads(bridge("endpoints", "invoke", "wine", "--data", rows, "--deployment", "v2").out)
    assert answer == {"predictions": ["models:/wine/2"] * 2}
    (project / "rows.json").write_text(rows)
    assert bridge("endpoints", "invoke", "wine", "--data", "@rows.json").out.startswith('{"predictions"')
    assert bridge("endpoints", "invoke", "wine", "--data", "-", stdin=rows).out.startswith('{"predictions"')
    summary = bridge("endpoints", "invoke", "wine", "--data", rows, "--deployment", "v1", "--json").summary
    assert summary["answer"] == {"predictions": ["models:/wine/1"] * 2}


def test_what_the_model_refuses_is_told_in_its_words(bridge: Bridge, wine: Scene, project: Path) -> None:
    error = bridge("endpoints", "invoke", "wine", "--data", "{}", code=1).err
    assert "the payload is not JSON with 'inputs'" in error
    (project / "rows.csv").write_text("a,b\n1,2\n")
    bridge("endpoints", "invoke", "wine", "--data", "@rows.csv", code=1)  # text/csv: memory takes JSON alone
    assert "no file none.json" in bridge("endpoints", "invoke", "wine", "--data", "@none.json", code=2).err
    bridge("endpoints", "invoke", "wine", "--data", "{}", "--deployment", "v9", code=1)
    wine.state.deployments.broken["wine", "v1"] = "crashed"
    rows = '{"inputs": [[1]]}'
    bridge("endpoints", "invoke", "wine", "--data", rows, "--deployment", "v1", code=5)


@pytest.mark.parametrize(("status", "is_told"), [(500, True), (400, False)])
def test_a_model_that_fails_is_told_with_the_last_it_logged(
    bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch, status: int, is_told: bool
) -> None:
    def invoke(*_: Any, **__: Any) -> bytes:
        hint = "look at the payload, and at the logs of the deployment: bridge endpoints logs"
        raise Rejected(f"the model answered {status}: it is broken", hint=hint)

    log = "ready\nValueError: 13 features are expected, password=hunter2\n10.0.0.1 POST /score 500\n"
    wine.state.deployments.endpoints["wine"].deployments["v1"].logs = log
    monkeypatch.setattr(MemoryDeployments, "invoke", invoke)
    bridge("remotes", "add", "prod", "file:./prod")
    told = bridge(
        "endpoints", "invoke", "wine", "--target", "prod", "--data", '{"inputs": [[1]]}', code=1
    ).err
    assert ("the last that it logged: ValueError: 13 features are expected" in told) is is_told
    assert "hint: look at the payload, and at the logs: bridge endpoints logs wine --target prod\n" in told
    assert "hunter2" not in told


def test_traffic(bridge: Bridge, wine: Scene) -> None:
    result = bridge("endpoints", "traffic", "wine", "v1=50", "v2=50%", "--yes")
    assert "      traffic.v1: 90 -> 50" in result.out
    assert "wine is READY: v1 50 %, v2 50 %" in result.out
    bridge("endpoints", "traffic", "wine", "v1=100", "--mirror", "v2=25", "--yes")
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0), "v2": ("models:/wine/2", 0, 25)}
    bridge("endpoints", "rollback", "wine", "--yes")
    assert wine.shape == {"v1": ("models:/wine/1", 50, 0), "v2": ("models:/wine/2", 50, 0)}


@pytest.mark.parametrize(
    ("shares", "code"),
    [(("v1=50",), 1), (("v1=60", "v9=40"), 1), (("v1",), 2), (("v1=x",), 2), (("v1=-1", "v2=101"), 2)],
)
def test_wrong_traffic_changes_nothing(
    bridge: Bridge, wine: Scene, shares: tuple[str, ...], code: int
) -> None:
    bridge("endpoints", "traffic", "wine", *shares, "--yes", code=code)
    assert wine.endpoint is not None
    assert wine.endpoint.traffic == {"v1": 90, "v2": 10}


def test_remove(bridge: Bridge, wine: Scene) -> None:
    assert "10 % of the traffic" in bridge("endpoints", "remove", "wine", "v2", "--yes", code=1).err
    bridge("endpoints", "traffic", "wine", "v1=100", "--yes")
    bridge("endpoints", "remove", "wine", "v2", "--yes")
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}


def test_delete_asks_and_comes_back(bridge: Bridge, wine: Scene) -> None:
    before = wine.shape
    assert "add --yes" in bridge("endpoints", "delete", "wine", code=2).err
    assert wine.shape == before
    result = bridge("endpoints", "delete", "wine", "--yes", "--why", "season is over")
    assert "wine is gone" in result.out
    assert wine.shape is None
    bridge("endpoints", "rollback", "wine", "--yes")
    assert wine.shape == before


def test_history_and_rollback_to_a_number(bridge: Bridge, wine: Scene) -> None:
    bridge("endpoints", "rollback", "wine", "--yes", "--why", "v2 is slow")
    told = bridge("endpoints", "history", "wine")
    lines = told.out.splitlines()
    assert "bridge endpoints rollback wine --to NUMBER" in told.err
    assert lines[0].split()[0] == "REVISION"
    assert "v1 90 % (models:/wine/1), v2 10 % (models:/wine/2)" in lines[1]
    assert lines[1].endswith("to revision 2: v2 is slow")
    assert "(no endpoint)" in lines[3]
    revisions = bridge("endpoints", "history", "wine", "--json").objects[:-1]
    assert [item["number"] for item in revisions] == [3, 2, 1]
    bridge("endpoints", "rollback", "wine", "--to", "1", "--yes")
    assert wine.shape is None
    assert "no revision 77" in bridge("endpoints", "rollback", "wine", "--to", "77", code=1).err


def test_logs(bridge: Bridge, wine: Scene) -> None:
    assert "loading models:/wine/1" in bridge("endpoints", "logs", "wine").out
    objects = bridge("endpoints", "logs", "wine", "v2", "--json").objects
    assert objects[0] == {"type": "log", "text": "loading models:/wine/2"}
    assert objects[-1]["deployment"] == "v2"
    bridge("endpoints", "logs", "wine", "v9", code=1)


def test_watch_prints_a_line_each_time(bridge: Bridge, wine: Scene) -> None:
    result = bridge("endpoints", "watch", "wine", "--count", "2", "--every", "1ms")
    assert len(result.out.splitlines()) == 2
    assert "v1 90 % READY: 0 requests, 0 errors | v2 10 % READY" in result.out
    objects = bridge("endpoints", "watch", "wine", "--count", "3", "--every", "1ms", "--json").objects
    assert [item["type"] for item in objects] == ["look"] * 3 + ["summary"]


def test_watch_ends_with_ctrl_c(bridge: Bridge, wine: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("trackbridge.cli.endpoint_watch.threading.Event.wait", press)
    result = bridge("endpoints", "watch", "wine", "--json", code=130)
    assert result.objects[-1] == {"type": "summary", "endpoint": "wine", "looks": 1}
