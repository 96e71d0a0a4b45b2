"""The pages of endpoints: over all places, one with its telemetry and rollouts, and the way back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoint_scenes import Scene
from tests.support.memory_adapter import MemoryAdapter
from tests.support.page_sites import Site, fields_of, refused
from trackbridge.domain.deployments import EndpointMetrics
from trackbridge.domain.rollouts import rollout_spec
from trackbridge.errors import Unavailable
from trackbridge.gateway.pages import charts, endpoint_changes
from trackbridge.gateway.pages.endpoints import telemetry_of
from trackbridge.operations.deploy import plan_rollback
from trackbridge.operations.opening import open_place
from trackbridge.operations.rollout import open_ledger, plan_rollout, run_plan
from trackbridge.operations.waiting import Pace
from trackbridge.ports.capabilities import Feature
from trackbridge.resolve.config import Settings
from trackbridge.resolve.remotes import add_remote

WINE: dict[str, Any] = {"target": "local", "name": "wine"}


@pytest.fixture
def wine(site: Site, scene: Scene) -> Scene:
    """The endpoint wine: v1 with 90 %, v2 with 10 %."""
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    return scene


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_nothing_serves(site: Site, scene: Scene) -> None:
    assert "Nothing serves" in site.get("/endpoints")
    assert "there is no endpoint" in site.get("/endpoints/show", status=404, **WINE)


def test_list(site: Site, wine: Scene) -> None:
    wine.state.deployments.broken["wine", "v2"] = "out of memory <b>"
    text = site.get("/endpoints")
    digest = wine.place().registry.get_version("wine", "2").digest or ""
    for told in ("models:/wine/1", "90 %", "10 %", "by anna", digest.removeprefix("sha256:")[:12], "FAILED"):
        assert told in text
    assert "out of memory &lt;b&gt;" in text


@pytest.mark.usefixtures("one_hangs")
def test_places_that_do_not_answer_are_told_and_delay_nobody(
    site: Site, wine: Scene, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    add_remote("down", "https://tracking.example.org")
    add_remote("hangs", "https://other.example.org")

    def open_some(uri: Any, **options: Any) -> Any:
        if "tracking.example" in uri.text:
            raise Unavailable("nobody answers", hint="look whether it runs")
        if "other.example" in uri.text:
            gate.wait(60.0)
        return MemoryAdapter(wine.state, missing=wine.missing)

    monkeypatch.setattr("trackbridge.operations.opening.open_uri", open_some)
    text = site.get("/endpoints")
    assert "<strong>down</strong> cannot be asked: nobody answers" in text
    assert "<strong>hangs</strong> cannot be asked: it did not answer within 5 s" in text
    assert "models:/wine/1" in text


def test_only_known_places_are_asked(site: Site, wine: Scene) -> None:
    for path in ("/endpoints/show", "/endpoints/figures", "/endpoints/rollback"):
        text = site.get(path, status=404, target="https://evil.example.org", name="wine")
        assert "is no place that is known here" in text


def test_one_endpoint_with_its_figures(site: Site, wine: Scene) -> None:
    world = wine.state.deployments
    world.clock_ms = lambda: 10**13
    world.record("wine", "v1", requests=100, errors=7, latency_ms=12.5)
    text = site.get("/endpoints/show", window="1h", **WINE)
    assert "100<svg" in text.replace("\n", "")
    assert "7 (7.00%)" in text
    assert "p95 12.5 ms" in text
    assert 'aria-label="Latencies of v1, up to 15 ms: 100"' in text
    assert "plan the way to 1" in text
    assert "there is no window" in site.get("/endpoints/show", window="2h", status=404, **WINE)
    assert "100 requests, 7.00% errors" in site.get("/endpoints/figures", fragment=True, **WINE)


def test_a_target_without_telemetry_or_revisions_says_so(site: Site, wine: Scene) -> None:
    wine.missing[Feature.DEPLOYMENTS_METRICS] = "no"
    wine.missing[Feature.DEPLOYMENTS_REVISIONS] = "no"
    text = site.get("/endpoints/show", **WINE)
    assert "memory has no telemetry" in text
    assert "memory keeps no revisions" in text
    assert "/endpoints/rollback" not in text


def metrics(requests: int, errors: int) -> tuple[EndpointMetrics, ...]:
    counts = ((10.0, requests - errors), (None, errors))
    return (EndpointMetrics(deployment="v1", requests=requests, errors=errors, latency_counts=counts),)


def test_windows_become_parts() -> None:
    found = telemetry_of([(), metrics(5, 0), metrics(5, 0), metrics(25, 5)])["v1"]
    assert found.requests.text == "oldest to newest: 20, 0, 5, 0"
    assert found.errors.text == "oldest to newest: 5, 0, 0, 0"
    assert found.error_rate == 0.2
    assert [bar.height for bar in found.requests.bars] == [28.0, 0.0, 7.0, 0.0]
    assert found.latencies is not None
    assert found.latencies.text == "up to 10 ms: 20; longer: 5"
    assert charts.bars([3, 2, 9]).text == "oldest to newest: 7, 0, 3", "a window that has less shows nothing"
    assert charts.histogram([(1.0, 0)]).bars == ()


# The way back.


def test_a_rollback_is_planned_confirmed_and_done(site: Site, wine: Scene) -> None:
    text = site.get("/endpoints/rollback", why="errors", **WINE)
    assert "back to revision 2" in text
    assert "deployment wine/v2" in text
    assert wine.shape == {"v1": ("models:/wine/1", 90, 0), "v2": ("models:/wine/2", 10, 0)}
    site.confirm("/endpoints/rollback", why="errors", **WINE)
    text = site.finished()
    assert ">done<" in text
    assert "wine is READY: v1 100 %" in text
    assert "delete deployment wine/v2: done" in text
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}
    revision = wine.place().target.list_revisions("wine").items[0]
    assert (revision.operation, revision.user, revision.why) == ("rollback", "anna", "to revision 2: errors")


def test_a_rollback_to_a_revision(site: Site, wine: Scene) -> None:
    wine.deploy(3)
    site.confirm("/endpoints/rollback", to="2", **WINE)
    site.finished()
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}
    assert "has no revision 77" in site.get("/endpoints/rollback", to="77", status=404, **WINE)
    assert "is no number" in site.get("/endpoints/rollback", to="-1", status=400, **WINE)


def test_a_stale_rollback_is_refused(site: Site, wine: Scene) -> None:
    text = site.confirm("/endpoints/rollback", status=409, meanwhile=lambda: wine.deploy(3), **WINE)
    assert "has changed since it was shown" in text
    assert wine.shape is not None
    assert "v3" in wine.shape


def test_two_at_once_are_refused_and_who_may_only_read_rolls_nothing_back(
    site: Site, wine: Scene, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    began, real = threading.Event(), endpoint_changes._roll_back

    def waits(*arguments: Any) -> Any:
        began.set()
        gate.wait(60.0)
        return real(*arguments)

    monkeypatch.setattr(endpoint_changes, "_roll_back", waits)
    site.confirm("/endpoints/rollback", **WINE)
    first = site.address
    assert began.wait(60.0)
    assert ">running<" in site.get(first)
    assert "is being changed here already" in site.confirm("/endpoints/rollback", status=409, **WINE)
    gate.set()
    assert ">done<" in site.finished(first)
    fields = fields_of(site.get("/endpoints/rollback", **WINE))
    site.may_only_read()
    assert refused(lambda: site.send("/endpoints/rollback", fields)).status == 403
    assert "read only" in site.get("/endpoints/rollback", **WINE)


def test_what_does_not_work_is_told(site: Site, wine: Scene) -> None:
    wine.deploy(3, traffic_percent=10)
    wine.state.deployments.fail_next = "no quota"
    site.confirm("/endpoints/rollback", **WINE)
    text = site.finished()
    assert "no quota" in text
    assert ">failed<" in text or ">partly done<" in text


def test_a_rollout_shows_its_steps_and_guards_and_is_ended_by_a_rollback(
    site: Site, wine: Scene, project: Path
) -> None:
    ledger = open_ledger(Settings())
    place, world = open_place("local", settings=Settings()), wine.state.deployments
    wine.apply(plan_rollback(wine.place(), "wine"))
    world.served.clear()
    plan = plan_rollout(
        place,
        wine.spec(3),
        rollout_spec("5,100", bake="10ms", guards=["error_rate<1%", "p95_ms<200", "requests>=50"]),
        models=wine.models,
    )
    run_plan(
        plan, place, ledger=ledger, models=wine.models, user="anna", pace=Pace(pause=lambda seconds: None)
    )
    text = site.get("/endpoints/show", **WINE)
    assert 'aria-label="Rollout wine.1"' in text
    assert ">waiting<" in text
    assert "5 % (baking)" in text
    assert "<code>error_rate&lt;1%</code>: not judged yet: 0 of 50 requests" in text
    assert 'hx-trigger="every 5s"' in text
    assert "wine.1: waiting at 5 %" in site.get("/endpoints")
    assert "this ends the rollout wine.1, which is waiting at 5 %" in site.get("/endpoints/rollback", **WINE)
    site.confirm("/endpoints/rollback", **WINE)
    assert ">done<" in site.finished()
    assert wine.shape == {"v1": ("models:/wine/1", 100, 0)}
    assert ledger.get("wine.1").state.value == "ended"
    text = site.get("/endpoints/show", **WINE)
    assert ">ended<" in text
    assert 'hx-trigger="every 5s"' not in text
