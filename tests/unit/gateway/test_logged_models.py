"""Logged models of mlflow's REST API: what is told, what several gateways see, and searches."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.api import session
from trackbridge.domain.ids import mint_id
from trackbridge.domain.runs import Metric
from trackbridge.domain.traces import LoggedModel
from trackbridge.errors import JournalFull, NotFound, Unavailable
from trackbridge.gateway import model_documents
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.runs import Runs

INVALID, ABSENT = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
ROOT = "logged-models"

Open = Callable[[], Calls]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens gateways over one store, each with a home of its own, as on another machine."""
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")
    gateways: list[Gateway] = []

    def open_one() -> Calls:
        session._sessions.clear()  # each has one of its own, as each process has
        monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / f"home{len(gateways)}"))
        gateway = Gateway(GatewayOptions(backend=f"file:{tmp_path}/store"))
        gateway.start()
        gateways.append(gateway)
        return Calls(gateway)

    yield open_one
    for gateway in gateways:
        gateway.close()
        gateway.client.session.close(10)
    forget()


@pytest.fixture
def call(opened: Open) -> Calls:
    return opened()


def run_of(call: Calls) -> str:
    experiment = call.gateway.experiments.active("0")
    return call.gateway.runs.create(experiment, name="", user="", start_time=None, tags={}).run_id


def made(call: Calls, **fields: Any) -> dict[str, Any]:
    model: dict[str, Any] = call("POST", ROOT, {"experiment_id": "0", **fields})["model"]
    return model


def pairs(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_a_model_is_told_as_mlflow_tells_it(call: Calls) -> None:
    run_id = run_of(call)
    model = made(
        call, name="m", source_run_id=run_id, model_type="tree", params=pairs(a="1"), tags=pairs(t="u")
    )
    model_id = model["info"]["model_id"]
    assert model == {
        "info": {
            "model_id": model_id,
            "experiment_id": "0",
            "name": "m",
            "creation_timestamp_ms": model["info"]["creation_timestamp_ms"],
            "last_updated_timestamp_ms": model["info"]["creation_timestamp_ms"],
            "artifact_uri": f"mlflow-artifacts:/0/models/{model_id}/artifacts",
            "status": "LOGGED_MODEL_PENDING",
            "model_type": "tree",
            "source_run_id": run_id,
            "tags": pairs(t="u"),
        },
        "data": {"params": pairs(a="1")},
    }
    assert call("GET", f"{ROOT}/{model_id}")["model"] == model
    assert call.gateway.documents.place(model_id) == (run_id, "m")


def test_a_model_is_changed(call: Calls) -> None:
    run_id = run_of(call)
    model_id = made(call, name="m", source_run_id=run_id)["info"]["model_id"]
    one = f"{ROOT}/{model_id}"
    ready = call("PATCH", one, {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
    assert ready["model"]["info"]["status"] == "LOGGED_MODEL_READY"
    assert call("PATCH", f"{one}/tags", {"tags": pairs(a="b", c="d")}) == {}
    assert call("DELETE", f"{one}/tags/c") == {}
    assert call.code("DELETE", f"{one}/tags/c") == ABSENT
    assert call("POST", f"{one}/params", {"params": pairs(p="1")}) == {}
    assert call("POST", f"{one}/params", {"params": pairs(p="1", q="2")}) == {}
    assert call.code("POST", f"{one}/params", {"params": pairs(p="2")}) == "BAD_REQUEST"
    call("POST", "runs/outputs", {"run_id": run_id, "models": [{"model_id": model_id, "step": "4"}]})
    found = call("GET", one)["model"]
    assert (found["info"]["tags"], found["data"]["params"]) == (pairs(a="b"), pairs(p="1", q="2"))
    outputs = call("GET", f"runs/get?run_id={run_id}")["run"]["outputs"]["model_outputs"]
    assert outputs == [{"model_id": model_id, "step": 4}]
    assert call("DELETE", one) == {}
    assert call.code("GET", one) == ABSENT
    assert call("GET", f"{one}?allow_deleted=true")["model"]["info"]["model_id"] == model_id
    assert call("POST", f"{ROOT}/search", {"experiment_ids": ["0"]}) == {}


def test_versions_of_a_model_are_noted_with_it(call: Calls) -> None:
    run_id = run_of(call)
    model_id = made(call, name="m", source_run_id=run_id)["info"]["model_id"]
    call.gateway.runs.recorder(run_id).content(b"flavors: {}\n", "m/MLmodel")
    call("POST", "registered-models/create", {"name": "wine"})
    body = {"name": "wine", "source": f"models:/{model_id}", "model_id": model_id}
    for number in ("1", "2"):
        version = call("POST", "model-versions/create", body)["model_version"]
        assert (version["version"], version["source"]) == (number, f"models:/{model_id}")
    told = call("GET", f"model-versions/get-download-uri?name=wine&version={number}")["artifact_uri"]
    info = call("GET", f"{ROOT}/{model_id}")["model"]["info"]
    assert told == info["artifact_uri"]
    call("POST", "registered-models/create", {"name": "copy"})
    body = {"name": "copy", "source": "models:/wine/1"}
    assert call("POST", "model-versions/create", body)["model_version"]["source"] == "models:/wine/1"
    copied = call("GET", "model-versions/get-download-uri?name=copy&version=1")["artifact_uri"]
    assert copied == info["artifact_uri"]
    (tag,) = info["tags"]
    assert tag["key"] == "mlflow.modelVersions"
    assert json.loads(tag["value"]) == [{"name": "wine", "version": number} for number in ("1", "2")]


def test_models_of_one_name_in_one_run_lie_apart(call: Calls) -> None:
    run_id = run_of(call)
    ids = [made(call, name="m", source_run_id=run_id)["info"]["model_id"] for _ in range(3)]
    assert len({call.gateway.documents.place(model_id) for model_id in ids}) == 3


def test_a_model_without_a_run_gets_one_that_ends_with_it(call: Calls) -> None:
    model = made(call)  # and without a name
    model_id = model["info"]["model_id"]
    assert (model["info"]["source_run_id"], bool(model["info"]["name"])) == ("", True)
    run_id, _ = call.gateway.documents.place(model_id)
    for status, told in ((2, "FINISHED"), (3, "FAILED")):
        call("PATCH", f"{ROOT}/{model_id}", {"model_id": model_id, "status": status})
        assert call("GET", f"runs/get?run_id={run_id}")["run"]["info"]["status"] == told


def test_what_one_gateway_changes_the_other_sees_at_once(opened: Open) -> None:
    first, second = opened(), opened()
    run_of(second)
    second.gateway.client.reader.drain()  # else the first waits for a journal that nobody delivers here
    run_id = run_of(first)
    first.gateway.client.reader.drain()
    model_id = made(first, name="m", source_run_id=run_id)["info"]["model_id"]
    one = f"{ROOT}/{model_id}"
    for number in range(3):  # in turn, so that a stale copy would undo what the other did
        first("PATCH", f"{one}/tags", {"tags": pairs(**{f"first{number}": "x"})})
        second("PATCH", f"{one}/tags", {"tags": pairs(**{f"second{number}": "y"})})
    second("PATCH", one, {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
    info = first("GET", one)["model"]["info"]
    assert len(info["tags"]) == 6
    assert info["status"] == "LOGGED_MODEL_READY"
    assert second.gateway.documents.place(model_id) == (run_id, "m")
    # Points of both are kept, whoever is asked.
    for number, gateway in enumerate((first, second, first, second)):
        gateway.gateway.documents.note(model_id, [Metric("acc", float(number), 1, number)])
        gateway.gateway.client.reader.drain()
    for gateway in (first, second):
        metrics = gateway("GET", one)["model"]["data"]["metrics"]
        assert sorted((metric["value"], metric["step"]) for metric in metrics) == [
            (0.0, 0),
            (1.0, 1),
            (2.0, 2),
            (3.0, 3),
        ]


def test_another_process_goes_on_with_what_one_noted(opened: Open) -> None:
    first = opened()
    model_id = made(first, name="m")["info"]["model_id"]
    first.gateway.documents.note(model_id, [Metric("acc", math.nan, 7, -1)])
    first.gateway.client.reader.drain()  # as delivery does when the process was killed
    second = opened()
    (metric,) = second("GET", f"{ROOT}/{model_id}")["model"]["data"]["metrics"]
    run_id, _ = second.gateway.documents.place(model_id)
    assert metric == {
        "key": "acc",
        "value": "NaN",
        "timestamp": 7,
        "step": -1,
        "model_id": model_id,
        "run_id": run_id,
    }


def test_many_points_are_noted_at_intervals_and_none_is_lost(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_documents, "NOTED_AT_ONCE_MAX", 3)
    model_id = made(call, name="m")["info"]["model_id"]
    for step in range(10):
        call.gateway.documents.note(model_id, [Metric("acc", 0.5, 1, step)])
        call.gateway.documents.note(model_id, [Metric("acc", 0.5, 1, step)])  # the same is one
    metrics = call("GET", f"{ROOT}/{model_id}")["model"]["data"]["metrics"]
    assert [metric["step"] for metric in metrics] == list(range(10))


def test_models_that_were_forgotten_are_noted_on(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_documents, "MODELS_MAX", 1)
    ids = [made(call, name="m")["info"]["model_id"] for _ in range(3)]
    for step in range(2):
        for model_id in ids:
            call.gateway.documents.note(model_id, [Metric("acc", 0.5, 1, step)])
    for model_id in ids:
        metrics = call("GET", f"{ROOT}/{model_id}")["model"]["data"]["metrics"]
        assert [metric["step"] for metric in metrics] == [0, 1]


def test_what_could_not_be_noted_is_noted_by_the_next_try(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(call)
    model_id = made(call, name="m", source_run_id=run_id)["info"]["model_id"]
    documents = call.gateway.documents
    documents.note(model_id, [Metric("acc", 0.5, 1, 0)])

    def full(*_: object) -> None:
        raise JournalFull("the journal is full")

    with monkeypatch.context() as patch:
        patch.setattr(call.gateway.runs.recorder(run_id), "content", full, raising=False)
        with pytest.raises(JournalFull):
            documents.note(model_id, [Metric("acc", 0.5, 1, 1)])
    assert documents.has_unwritten(run_id)
    documents.note(model_id, [Metric("acc", 0.5, 1, 1)])  # the client says it again
    assert not documents.has_unwritten(run_id)
    metrics = call("GET", f"{ROOT}/{model_id}")["model"]["data"]["metrics"]
    assert [metric["step"] for metric in metrics] == [0, 1]


def test_notes_that_another_thread_is_at_are_not_forgotten(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = made(call, name="m")["info"]["model_id"]
    documents = call.gateway.documents
    documents.note(model_id, [Metric("acc", 0.5, 1, 0)])
    lock = documents._lock_of(model_id)
    with ThreadPoolExecutor(1) as other:
        with lock:
            other.submit(documents._forget_notes, model_id).result()
            assert model_id in documents._notes
        other.submit(documents._forget_notes, model_id).result()
    assert model_id not in documents._notes


def test_logging_goes_on_while_the_backend_is_down(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run_of(call)
    reader = call.gateway.client.reader

    def down(*_: object, **__: object) -> Any:
        raise Unavailable("the backend is down")

    with monkeypatch.context() as patch:
        patch.setattr(type(reader), "drain", down)
        patch.setattr(type(reader), "get_run", down)
        model_id = made(call, name="m", source_run_id=run_id)["info"]["model_id"]
        call("PATCH", f"{ROOT}/{model_id}/tags", {"tags": pairs(a="b")})
        call.gateway.documents.note(model_id, [Metric("acc", 0.5, 1, 0)])
        call("PATCH", f"{ROOT}/{model_id}", {"model_id": model_id, "status": "LOGGED_MODEL_READY"})
        assert call.code("GET", f"{ROOT}/m-{run_id}-12345678") == "TEMPORARILY_UNAVAILABLE"
    found = call("GET", f"{ROOT}/{model_id}")["model"]
    assert (found["info"]["status"], found["info"]["tags"]) == ("LOGGED_MODEL_READY", pairs(a="b"))
    assert [metric["value"] for metric in found["data"]["metrics"]] == [0.5]


def test_searches(call: Calls) -> None:
    names = ["first", "second", "third"]
    ids = []
    for number, name in enumerate(names):
        model = made(
            call, name=name, params=pairs(n=str(number)), tags=pairs(kind="odd" if number % 2 else "even")
        )
        ids.append(model["info"]["model_id"])
    points = [
        Point("acc", 0.1, 1, 0, "train", "d1"),
        Point("acc", 0.9, 2, 1, "test", "d2"),
    ]
    call.gateway.documents.note(ids[0], points)
    call.gateway.documents.note(ids[2], [Point("acc", 0.5, 1, 0, "test", "d3")])

    def search(filter_string: str = "", **fields: Any) -> list[str]:
        body = {"experiment_ids": ["0"], "filter": filter_string, **fields}
        found = call("POST", f"{ROOT}/search", body).get("models", [])
        return [model["info"]["name"] for model in found]

    by_name = [{"field_name": "name"}]
    assert sorted(search()) == names
    assert search(order_by=by_name) == names
    assert search("name = 'first' AND params.n = '0'") == ["first"]
    assert search("tags.kind = 'even'", order_by=by_name) == ["first", "third"]
    assert search("metrics.acc >= 0.5", order_by=by_name) == ["first", "third"]
    on_train = [{"dataset_name": "train"}]
    assert search("metrics.acc >= 0.5", datasets=on_train) == []
    assert search("metrics.acc < 0.5", datasets=on_train) == ["first"]
    assert search(datasets=[{"dataset_name": "test", "dataset_digest": "d3"}]) == ["third"]
    by_metric = {"field_name": "metrics.acc", "ascending": False}
    assert search(order_by=[by_metric]) == ["first", "third", "second"]
    assert search(order_by=[{"field_name": "metrics.acc"}]) == ["third", "first", "second"]
    assert search(f"source_run_id != 'x' AND model_id = '{ids[1]}'") == ["second"]
    assert (
        search("status = 'PENDING' AND creation_timestamp > 5", max_results=2, order_by=by_name) == names[:2]
    )
    wrong: dict[str, Any]
    for wrong in (
        {"filter": "nothing = 'x'"},
        {"filter": "metrics.acc = 'x'"},
        {"order_by": [{"field_name": "params.n"}]},
        {"order_by": [{"field_name": "nothing"}]},
        {"order_by": [{}]},
        {"datasets": [{}]},
        {"max_results": -1},
        {"page_token": "x"},
        {"experiment_ids": []},
    ):
        assert call.code("POST", f"{ROOT}/search", {"experiment_ids": ["0"], **wrong}) == INVALID


class Point:
    """A metric as mlflow's clients log it for a model."""

    def __init__(self, key: str, value: float, timestamp: int, step: int, name: str, digest: str) -> None:
        self.key, self.value, self.timestamp, self.step = key, value, timestamp, step
        self.dataset_name, self.dataset_digest = name, digest


def test_a_search_goes_page_by_page(call: Calls) -> None:
    for number in range(5):
        made(call, name=f"m{number}")
    body: dict[str, Any] = {"experiment_ids": ["0"], "max_results": 2, "order_by": [{"field_name": "name"}]}
    found: list[str] = []
    while True:
        page = call("POST", f"{ROOT}/search", body)
        found += [model["info"]["name"] for model in page["models"]]
        if "next_page_token" not in page:
            break
        body["page_token"] = page["next_page_token"]
    assert found == [f"m{number}" for number in range(5)]


def test_models_of_the_backends_own_are_told_too(call: Calls) -> None:
    run_id = run_of(call)
    call.gateway.client.reader.drain()
    experiment_id = call.gateway.runs.get(run_id).info.experiment_id
    native = f"m-{mint_id()}"
    call.gateway.client.reader.tracking.put_logged_model(
        LoggedModel(model_id=native, name="theirs", experiment_id=experiment_id, source_run_id=run_id)
    )
    made(call, name="ours")
    found = call("POST", f"{ROOT}/search", {"experiment_ids": ["0"], "order_by": [{"field_name": "name"}]})
    assert [model["info"]["name"] for model in found["models"]] == ["ours", "theirs"]
    one = f"{ROOT}/{native}"
    call("PATCH", f"{one}/tags", {"tags": pairs(a="b", c="d")})
    call("DELETE", f"{one}/tags/a")
    call("POST", f"{one}/params", {"params": pairs(p="1")})
    model = call("GET", one)["model"]
    assert (model["info"]["tags"], model["data"]["params"]) == (pairs(c="d"), pairs(p="1"))
    assert call.gateway.documents.place(native) == (native, "")
    assert call.code("DELETE", one) == "NOT_IMPLEMENTED"


@pytest.mark.parametrize("model_id", ["m-1", "x", f"m-{'0' * 32}", f"m-{'0' * 32}-12345678", "💥"])
def test_an_unknown_model_is_not_there(call: Calls, model_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runs, "recorder", lambda self, run_id: pytest.fail("nothing is journalled"))
    one = f"{ROOT}/{model_id}"
    assert call.code("GET", one) == ABSENT
    assert call.code("PATCH", one, {"model_id": model_id, "status": 2}) == ABSENT
    assert call.code("PATCH", f"{one}/tags", {"tags": pairs(a="b")}) == ABSENT
    assert call.code("POST", f"{one}/params", {"params": pairs(a="b")}) == ABSENT
    assert call.code("DELETE", f"{one}/tags/a") == ABSENT
    assert call.code("DELETE", one) == ABSENT
    with pytest.raises(NotFound):
        call.gateway.documents.note(model_id, [Metric("a", 1.0, 1, 1)])


@pytest.mark.parametrize(
    "fields",
    [
        *({"name": f"a{letter}b"} for letter in "/:.%\"'"),
        {"experiment_id": None},
        {"experiment_id": ""},
        {"params": [{"value": "x"}]},
        {"tags": "x"},
    ],
)
def test_wrong_models_are_refused(call: Calls, fields: dict[str, Any]) -> None:
    assert call.code("POST", ROOT, {"experiment_id": "0", **fields}) == INVALID


def test_a_model_of_no_run_or_experiment_is_refused(call: Calls) -> None:
    assert call.code("POST", ROOT, {"experiment_id": "17"}) == ABSENT
    assert call.code("POST", ROOT, {"experiment_id": "0", "source_run_id": "0" * 32}) == ABSENT
    model_id = made(call)["info"]["model_id"]
    for status in (7, "READY?", ""):
        assert call.code("PATCH", f"{ROOT}/{model_id}", {"model_id": model_id, "status": status}) == INVALID
