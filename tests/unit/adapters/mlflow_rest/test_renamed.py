"""An experiment that was renamed on the server keeps its identity: our id, in its tag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from tests.unit.adapters.mlflow_rest.rig import opened, refusal, route_of
from trackbridge.domain.ids import experiment_id_of
from trackbridge.domain.runs import LifecycleStage
from trackbridge_adapters._mlflow_rest.experiments import Experiments

OURS = experiment_id_of("wine")


class Names:
    """A server that has nothing but experiments."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, Any]] = []

    def add(self, name: str, *, is_ours: bool = True, stage: str = "active") -> str:
        native = str(len(self.experiments) + 1)
        tags = [{"key": "bridge.experiment_id", "value": OURS}] if is_ours else []
        self.experiments.append(
            {"experiment_id": native, "name": name, "lifecycle_stage": stage, "tags": tags}
        )
        return native

    def __call__(self, request: Request) -> Answer:
        route = route_of(request)
        if route == "experiments/search":
            wanted = {"ACTIVE_ONLY": {"active"}, "DELETED_ONLY": {"deleted"}}.get(request.json["view_type"])
            found = [item for item in self.experiments if not wanted or item["lifecycle_stage"] in wanted]
            return Answer(body={"experiments": found})
        if route == "experiments/create":
            return Answer(body={"experiment_id": self.add(request.json["name"])})
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        key = "name" if route == "experiments/get-by-name" else "experiment_id"
        value = query.get("experiment_name", query.get("experiment_id"))
        for item in self.experiments:
            if item[key] == value:
                return Answer(body={"experiment": item})
        return refusal(404, "RESOURCE_DOES_NOT_EXIST")


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def server(names: Names) -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        server.answer = names
        yield server


@pytest.fixture
def experiments(server: ScriptedServer, tmp_path: Path) -> Experiments:
    return opened(server, tmp_path).tracking.experiments


def test_it_is_found_by_its_id_where_nothing_has_its_name(names, experiments):
    names.add("other", is_ours=False)
    native = names.add("renamed")
    found = experiments.ensure("wine", OURS, {})
    assert (found.experiment_id, found.native_id, found.name) == (OURS, native, "renamed")
    assert len(names.experiments) == 2


def test_a_remembered_one_is_asked_for_alone(names, experiments, server):
    experiments.ensure("wine", OURS, {})
    names.experiments[0]["name"] = "renamed"
    server.requests.clear()
    assert experiments.ensure("wine", OURS, {}).name == "renamed"
    assert "experiments/search" not in [route_of(request) for request in server.requests]


def test_the_name_comes_first_and_runs_may_be_in_either(names, experiments, server):
    renamed, named = names.add("renamed"), names.add("wine", is_ours=False)
    found = experiments.ensure("wine", OURS, {})
    assert (found.experiment_id, found.native_id) == (named, None)
    assert experiments.all_native_ids(found, OURS) == [named, renamed]
    server.requests.clear()
    experiments.all_native_ids(found, OURS)
    assert server.requests == []


def test_one_that_was_renamed_and_deleted_gives_way_to_a_new_one(names, experiments):
    old = names.add("old", stage="deleted")
    new = experiments.ensure("wine", OURS, {})
    assert (new.experiment_id, new.name) == (OURS, "wine")
    assert new.native_id != old
    assert experiments.converted(names.experiments[0]).lifecycle_stage is LifecycleStage.DELETED
    assert experiments.our_id(old) == OURS
    assert experiments.native_id(OURS) == new.native_id


def test_another_machine_finds_the_active_one_of_two(names, experiments):
    names.add("old", stage="deleted")
    active = names.add("wine")
    assert experiments.native_id(OURS) == active


def test_one_that_is_gone_for_good_is_made_anew(names, experiments):
    experiments.ensure("wine", OURS, {})
    names.experiments[0] = {"experiment_id": "-", "name": "-", "lifecycle_stage": "active", "tags": []}
    found = experiments.ensure("wine", OURS, {})
    assert found.native_id == "2"
    assert experiments.native_id(OURS) == "2"
