"""Pairs of ids: what is remembered where, what losing it costs, and that no run is created twice."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import (
    EXPERIMENT,
    NATIVE,
    OURS,
    by_route,
    opened,
    refusal,
    route_of,
    run_json,
)
from trackbridge.errors import NotFound, TimedOut
from trackbridge.ports.adapter import AdapterContext
from trackbridge.testing.contracts.samples import batch_of, run_spec
from trackbridge_adapters._mlflow_rest.run_ids import FILE_NAME, RUN, NativeIds


def ids_of(home: Path, address: str = "http://one") -> NativeIds:
    return NativeIds(AdapterContext(home=home, options={}, clock_ms=lambda: 0), address)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


def test_a_pair_is_known_to_the_next_process_both_ways(tmp_path):
    ids_of(tmp_path).remember(RUN, OURS, NATIVE)
    assert (ids_of(tmp_path).native(RUN, OURS), ids_of(tmp_path).ours(RUN, NATIVE)) == (NATIVE, OURS)


def test_a_pair_belongs_to_one_address_and_one_kind(tmp_path):
    ids_of(tmp_path).remember(RUN, OURS, NATIVE)
    assert ids_of(tmp_path, "http://two").native(RUN, OURS) is None
    assert ids_of(tmp_path).native("experiment", OURS) is None


def test_a_forgotten_pair_is_gone_for_the_next_process_too(tmp_path):
    ids = ids_of(tmp_path)
    ids.remember(RUN, OURS, NATIVE)
    ids.forget(RUN, OURS)
    for known in (ids, ids_of(tmp_path)):
        assert (known.native(RUN, OURS), known.ours(RUN, NATIVE)) == (None, None)


def test_a_noted_pair_is_known_here_and_costs_no_file(tmp_path):
    ids = ids_of(tmp_path)
    ids.note(RUN, OURS, NATIVE)
    assert (ids.native(RUN, OURS), ids.ours(RUN, NATIVE)) == (NATIVE, OURS)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_costs_requests_and_nothing_else(content, tmp_path):
    (tmp_path / FILE_NAME).write_bytes(content)
    ids = ids_of(tmp_path)
    assert ids.native(RUN, OURS) is None
    ids.remember(RUN, OURS, NATIVE)
    assert ids.native(RUN, OURS) == NATIVE


def test_a_file_in_use_by_many_threads_keeps_every_pair(tmp_path):
    ids = ids_of(tmp_path)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: ids.remember(RUN, f"ours {number}", f"native {number}"), range(60)))
    with sqlite3.connect(tmp_path / FILE_NAME) as database:
        assert database.execute("SELECT count(*) FROM pair").fetchone() == (60,)


def test_creating_the_same_thing_waits_for_the_other_creator(tmp_path):
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with ids_of(tmp_path).creating(OURS):
            inside.set()
            leave.wait(30)
            order.append("first")

    def second() -> None:
        with ids_of(tmp_path).creating(OURS):
            order.append("second")

    one, other = threading.Thread(target=first), threading.Thread(target=second)
    one.start()
    assert inside.wait(30)
    other.start()
    leave.set()
    one.join(30)
    other.join(30)
    assert order == ["first", "second"]


class Runs:
    """A server that creates runs and finds them by their tag, whose first answer to a creation is lost."""

    def __init__(self) -> None:
        self.created: list[str] = []

    def __call__(self, request: Request) -> Answer:
        route = route_of(request)
        if route == "experiments/get-by-name" or route == "experiments/get":
            return EXPERIMENT
        if route == "experiments/search":
            return Answer(body={"experiments": [EXPERIMENT.body["experiment"]]})
        if route == "runs/log-batch":
            return Answer()
        if route == "runs/create":
            self.created.append(next(t["value"] for t in request.json["tags"] if t["key"] == "bridge.run_id"))
            return Answer(fault="reset") if len(self.created) == 1 else run_json()
        if route == "runs/search":
            return Answer(body={"runs": [{"info": {"run_id": NATIVE}}]} if self.created else {})
        if route == "runs/get" and f"run_id={NATIVE}" in request.path and self.created:
            return run_json()
        return refusal(404, "RESOURCE_DOES_NOT_EXIST")


def test_a_run_whose_creation_was_answered_by_nobody_is_found_by_its_tag(server, tmp_path):
    server.answer = runs = Runs()
    tracking = opened(server, tmp_path).tracking
    with pytest.raises(TimedOut):
        tracking.open_run(run_spec(run_id=OURS))
    run = tracking.open_run(run_spec(run_id=OURS))
    assert (run.info.run_id, run.info.native_id) == (OURS, NATIVE)
    assert runs.created == [OURS]


def test_a_run_that_was_opened_is_not_searched_for_again(server, tmp_path):
    server.answer = Runs()
    tracking = opened(server, tmp_path).tracking
    with pytest.raises(TimedOut):
        tracking.open_run(run_spec(run_id=OURS))
    tracking.open_run(run_spec(run_id=OURS))
    server.requests.clear()
    opened(server, tmp_path).tracking.write(batch_of(OURS, params=[("p", "1")]))
    assert [route_of(request) for request in server.requests] == ["runs/log-batch"]


def test_a_remembered_run_that_the_server_lost_is_not_found(server, tmp_path):
    server.answer = by_route(runs_get=refusal(404, "RESOURCE_DOES_NOT_EXIST"))
    tracking = opened(server, tmp_path).tracking
    tracking.ids.remember(RUN, OURS, NATIVE)
    with pytest.raises(NotFound):
        tracking.get_run(OURS)
    assert tracking.ids.native(RUN, OURS) is None
