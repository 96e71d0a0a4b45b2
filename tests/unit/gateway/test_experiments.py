"""Experiments of mlflow's REST API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.domain.ids import experiment_id_of
from trackbridge.errors import Unavailable
from trackbridge.gateway import known_experiments
from trackbridge.gateway.gateway import Gateway, GatewayOptions

INVALID, ABSENT = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    yield Calls(Gateway(GatewayOptions(backend=f"file:{tmp_path}/store")))
    forget()


def made(call: Calls, name: str = "one", **fields: Any) -> str:
    return str(call("POST", "experiments/create", {"name": name, **fields})["experiment_id"])


def told(call: Calls, experiment_id: str) -> Any:
    return call("GET", f"experiments/get?experiment_id={experiment_id}")["experiment"]


def test_an_experiment_is_told_as_mlflow_tells_it(call: Calls) -> None:
    made_id = made(call, tags=[{"key": "a", "value": "b"}])
    found = told(call, made_id)
    assert found == {
        "experiment_id": experiment_id_of("one"),
        "name": "one",
        "artifact_location": f"mlflow-artifacts:/{made_id}",
        "lifecycle_stage": "active",
        "creation_time": found["creation_time"],
        "last_update_time": found["last_update_time"],
        "workspace": "default",
        "tags": [{"key": "a", "value": "b"}],
    }
    assert call("GET", "experiments/get-by-name?experiment_name=one")["experiment"] == found


def test_default_is_there_from_the_beginning_as_experiment_0(call: Calls) -> None:
    assert told(call, "0")["name"] == "Default"
    assert (
        call("GET", "experiments/get-by-name?experiment_name=Default")["experiment"]["experiment_id"] == "0"
    )
    listed = call("POST", "experiments/search", {"max_results": 10})["experiments"]
    assert [item["experiment_id"] for item in listed] == ["0"]
    call("POST", "runs/create", {"experiment_id": "0"})  # now the backend has it
    listed = call("POST", "experiments/search", {"max_results": 10})["experiments"]
    assert [item["experiment_id"] for item in listed] == ["0"]
    assert len(call("POST", "runs/search", {"experiment_ids": ["0"]})["runs"]) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "one"}, "RESOURCE_ALREADY_EXISTS"),
        ({"name": ""}, INVALID),
        ({"name": "n" * 501}, INVALID),
        ({"name": "two", "artifact_location": "s3://bucket"}, "NOT_IMPLEMENTED"),
        ({"name": "two", "tags": [{"key": "", "value": "1"}]}, INVALID),
        ({"name": "two", "tags": [{"key": "bridge.x", "value": "1"}]}, INVALID),
        ({"name": "two", "tags": [{"key": "a", "value": "v" * 20_001}]}, INVALID),
        ({"name": "two", "tags": [{"key": "a", "value": "\0"}]}, INVALID),
    ],
)
def test_what_cannot_be_made_is_refused(call: Calls, body: dict[str, Any], code: str) -> None:
    made(call)
    assert call.code("POST", "experiments/create", body) == code
    listed = call("POST", "experiments/search", {"max_results": 10})["experiments"]
    assert sorted(item["name"] for item in listed) == ["Default", "one"]


def test_deleted_it_takes_no_run_until_it_is_restored(call: Calls) -> None:
    made_id = made(call)
    run = call("POST", "runs/create", {"experiment_id": made_id})["run"]["info"]["run_id"]
    point = {"run_id": run, "key": "a", "value": 1, "timestamp": 1}
    call("POST", "experiments/delete", {"experiment_id": made_id})
    assert told(call, made_id)["lifecycle_stage"] == "deleted"
    assert call.code("POST", "experiments/delete", {"experiment_id": made_id}) == ABSENT
    assert call.code("POST", "experiments/create", {"name": "one"}) == "RESOURCE_ALREADY_EXISTS"
    assert call.code("POST", "runs/create", {"experiment_id": made_id}) == INVALID
    assert call.code("POST", "runs/log-metric", point) == INVALID
    set_tag = {"experiment_id": made_id, "key": "a", "value": "b"}
    assert call.code("POST", "experiments/set-experiment-tag", set_tag) == INVALID
    call("POST", "experiments/restore", {"experiment_id": made_id})
    assert call.code("POST", "experiments/restore", {"experiment_id": made_id}) == ABSENT
    call("POST", "runs/log-metric", point)
    call("POST", "experiments/set-experiment-tag", set_tag)
    assert told(call, made_id)["tags"] == [{"key": "a", "value": "b"}]


def test_one_that_is_not_is_404(call: Calls) -> None:
    for path in ("experiments/delete", "experiments/restore", "runs/create"):
        assert call.code("POST", path, {"experiment_id": "77"}) == ABSENT
    assert call.code("GET", "experiments/get?experiment_id=77") == ABSENT
    assert call.code("GET", "experiments/get-by-name?experiment_name=none") == ABSENT


def test_what_no_backend_can_is_said(call: Calls) -> None:
    made_id = made(call, tags=[{"key": "a", "value": "b"}])
    rename = {"experiment_id": made_id, "new_name": "two"}
    assert call.code("POST", "experiments/update", rename) == "NOT_IMPLEMENTED"
    call("POST", "experiments/update", {"experiment_id": made_id, "new_name": "one"})
    tag = {"experiment_id": made_id, "key": "a"}
    assert call.code("POST", "experiments/delete-experiment-tag", tag) == "NOT_IMPLEMENTED"
    assert call.code("POST", "experiments/delete-experiment-tag", {**tag, "key": "b"}) == ABSENT


def test_a_tag_leaves_those_alone_that_another_gateway_has_set(call: Calls) -> None:
    made_id = made(call)
    call("POST", "experiments/set-experiment-tag", {"experiment_id": made_id, "key": "a", "value": "1"})
    call.gateway.client.reader.drain()
    call.gateway.client.reader.tracking.ensure_experiment(
        "one", experiment_id=made_id, tags={"a": "2", "b": "3"}
    )
    call("POST", "experiments/set-experiment-tag", {"experiment_id": made_id, "key": "c", "value": "4"})
    tags = {tag["key"]: tag["value"] for tag in told(call, made_id)["tags"]}
    assert tags == {"a": "2", "b": "3", "c": "4"}


def test_an_outage_is_waited_for_once_not_for_each_run(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    made_id, asked = made(call), []

    def down(*arguments: Any) -> Any:
        asked.append(arguments)
        raise Unavailable("the backend is down")

    known = call.gateway.experiments
    known._by_id = {key: (-1_000.0, experiment) for key, (_, experiment) in known._by_id.items()}
    assert known.believed(made_id) is None
    with monkeypatch.context() as patched:
        patched.setattr(type(call.gateway.client.reader), "drain", down)
        monkeypatch.setattr(known_experiments, "BELIEVED_S", 1_000.0)
        for _ in range(3):
            call("POST", "runs/create", {"experiment_id": made_id})
    assert len(asked) == 1


def test_the_event_loop_takes_nothing_whose_time_runs_out_meanwhile(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_id = made(call)
    monkeypatch.setattr(known_experiments, "BELIEVED_S", 1_000.0)
    call.gateway.experiments.get(made_id)
    assert call.gateway.experiments.is_believed(made_id)
    monkeypatch.setattr(known_experiments, "BELIEF_MARGIN_S", 1_000.0)
    assert call.gateway.experiments.believed(made_id) is not None
    assert not call.gateway.experiments.is_believed(made_id)


def test_runs_are_opened_while_the_backend_is_down(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    made_id = made(call)
    monkeypatch.setattr(known_experiments, "BELIEVED_S", 0.0)

    def down(*arguments: Any) -> Any:
        raise Unavailable("the backend is down")

    with monkeypatch.context() as patched:
        patched.setattr(type(call.gateway.client.reader), "drain", down)
        call("POST", "runs/create", {"experiment_id": made_id})
        assert call.code("POST", "runs/create", {"experiment_id": "77"}) == "TEMPORARILY_UNAVAILABLE"
    assert len(call("POST", "runs/search", {"experiment_ids": [made_id]})["runs"]) == 1
