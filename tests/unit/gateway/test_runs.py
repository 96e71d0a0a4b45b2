"""Runs of clients elsewhere: what is logged to them, by one gateway and by several, and who ends them."""

from __future__ import annotations

import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.gateway_calls import Calls
from tests.support.program_state import forget
from trackbridge.api import session
from trackbridge.api.recorder import RunRecorder
from trackbridge.domain.ids import mint_id
from trackbridge.domain.records import OpenMode, Record, RunOpened
from trackbridge.domain.runs import RunStatus
from trackbridge.errors import NotFound, Unavailable
from trackbridge.gateway import runs as runs_module
from trackbridge.gateway import runs_api
from trackbridge.gateway.entities import ModelInputBody
from trackbridge.gateway.gateway import Gateway, GatewayOptions
from trackbridge.gateway.runs import Runs
from trackbridge.gateway.runs_api import ROUTES, LogBatch, LoggedPoint, LogInputs, LogMetric, UpdateRun
from trackbridge.journal.folder import journals

INVALID, ABSENT = "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
Open = Callable[..., Calls]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens gateways over one store, with one home for all, as beside each other on a machine."""
    monkeypatch.setenv("BRIDGE_DELIVERY", "off")

    def open_one(**options: Any) -> Calls:
        gateway = Gateway(GatewayOptions(backend=f"file:{tmp_path}/store", **options))
        gateway.client.session.waits_for_others = False  # nothing delivers them here
        gateway.runs = Runs(gateway.client, runs_max=gateway.options.runs_max, coming_wait_s=0.0)
        return Calls(gateway)

    yield open_one
    forget()


@pytest.fixture
def call(opened: Open) -> Calls:
    return opened()


def another(opened: Open, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return a gateway that shares nothing of this process with the one before."""
    monkeypatch.setattr(session, "_sessions", {})
    return opened()


def run_of(call: Calls, **fields: Any) -> str:
    return str(call("POST", "runs/create", {"experiment_id": "0", **fields})["run"]["info"]["run_id"])


def data_of(call: Calls, run_id: str) -> dict[str, dict[str, Any]]:
    data = call("GET", f"runs/get?run_id={run_id}")["run"]["data"]
    return {
        name: {item["key"]: item["value"] for item in data.get(name, [])}
        for name in ("metrics", "params", "tags")
    }


# The life of a run.


def test_a_run_is_told_as_mlflow_tells_it(call: Calls) -> None:
    made = call(
        "POST", "runs/create", {"start_time": "5", "user_id": "ann", "tags": [{"key": "a", "value": "b"}]}
    )
    info = made["run"]["info"]
    name = info["run_name"]
    assert info == {
        "run_id": info["run_id"],
        "run_uuid": info["run_id"],
        "run_name": name,
        "experiment_id": "0",
        "user_id": "ann",
        "status": "RUNNING",
        "start_time": 5,
        "artifact_uri": f"mlflow-artifacts:/0/{info['run_id']}/artifacts",
        "lifecycle_stage": "active",
    }
    read = call("GET", f"runs/get?run_uuid={info['run_id']}")["run"]
    assert read["info"] == info
    assert (read["outputs"], "outputs" in made["run"]) == ({}, False)
    for told in (made["run"], read):
        tags = {tag["key"]: tag["value"] for tag in told["data"]["tags"]}
        assert tags == {"a": "b", "mlflow.runName": name}


def test_a_name_said_twice_must_be_the_same(call: Calls) -> None:
    tags = [{"key": "mlflow.runName", "value": "one"}]
    assert call("POST", "runs/create", {"run_name": "one", "tags": tags})["run"]["info"]["run_name"] == "one"
    assert call.code("POST", "runs/create", {"run_name": "two", "tags": tags}) == INVALID


def test_a_run_ends_and_is_taken_up_again(call: Calls) -> None:
    run_id = run_of(call)
    ended = call(
        "POST", "runs/update", {"run_id": run_id, "status": "FAILED", "end_time": 9, "run_name": "new"}
    )
    assert {key: ended["run_info"].get(key) for key in ("status", "end_time", "run_name")} == {
        "status": "FAILED",
        "end_time": 9,
        "run_name": "new",
    }
    assert call("GET", f"runs/get?run_id={run_id}")["run"]["info"] == ended["run_info"]
    call("POST", "runs/update", {"run_id": run_id, "status": 3, "end_time": 11})  # FINISHED, by its number
    read = call("GET", f"runs/get?run_id={run_id}")["run"]["info"]
    assert (read["status"], read["end_time"]) == ("FINISHED", 11)
    call("POST", "runs/update", {"run_id": run_id, "status": "RUNNING"})
    read = call("GET", f"runs/get?run_id={run_id}")["run"]["info"]
    assert (read["status"], read.get("end_time"), read["run_name"]) == ("RUNNING", None, "new")


def test_an_end_time_alone_is_refused_while_the_run_goes_on(call: Calls) -> None:
    run_id = run_of(call)
    assert call.code("POST", "runs/update", {"run_id": run_id, "end_time": 9}) == "NOT_IMPLEMENTED"
    for status in ("DONE", "1" * 5000):
        assert call.code("POST", "runs/update", {"run_id": run_id, "status": status}) == INVALID


def test_a_deleted_run_takes_nothing_until_it_is_restored(call: Calls) -> None:
    run_id = run_of(call)
    for _ in range(2):
        call("POST", "runs/delete", {"run_id": run_id})
    point = {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1}
    assert call.code("POST", "runs/log-metric", point) == INVALID
    assert call.code("POST", "runs/update", {"run_id": run_id, "status": "FINISHED"}) == INVALID
    call("POST", "runs/restore", {"run_id": run_id})
    call("POST", "runs/log-metric", point)
    assert data_of(call, run_id)["metrics"] == {"a": 1.0}


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("runs/log-metric", {"key": "a", "value": 1, "timestamp": 1}),
        ("runs/log-batch", {"tags": [{"key": "a", "value": "b"}]}),
        ("runs/set-tag", {"key": "a", "value": "b"}),
        ("runs/update", {"status": "FINISHED"}),
        ("runs/delete", {}),
        ("runs/restore", {}),
        ("runs/log-inputs", {}),
    ],
)
def test_a_run_that_is_not_is_404_and_nothing_is_journalled(
    call: Calls, path: str, more: dict[str, Any]
) -> None:
    writer = call.gateway.client.session.writer
    before = writer.last_sequence
    assert call.code("POST", path, {"run_id": mint_id(), **more}) == ABSENT
    assert writer.last_sequence == before
    assert call.code("GET", f"runs/get?run_id={mint_id()}") == ABSENT


@pytest.mark.parametrize("run_id", [".", "..", "../journal.json", __file__, "x" * 5_000, "a\0b"])
def test_an_id_that_is_a_path_is_no_run(call: Calls, run_id: str) -> None:
    """Neither is anything logged to it, nor does a client learn which files the machine has."""
    writer = call.gateway.client.session.writer
    before = writer.last_sequence
    assert call.code("POST", "runs/set-tag", {"run_id": run_id, "key": "a", "value": "b"}) == ABSENT
    assert writer.last_sequence == before


@pytest.mark.parametrize("time", [2**63, -(2**63) - 1, 2**80, str(2**63)])
def test_a_time_of_more_than_64_bits_is_refused(call: Calls, time: Any) -> None:
    assert call.code("POST", "runs/create", {"experiment_id": "0", "start_time": time}) == INVALID
    ended = {"run_id": run_of(call), "status": "FINISHED", "end_time": time}
    assert call.code("POST", "runs/update", ended) == INVALID


# What is logged.


def test_everything_that_is_logged_is_read_back(call: Calls) -> None:
    run_id = run_of(call)
    call(
        "POST",
        "runs/log-metric",
        {"run_id": run_id, "key": "loss", "value": "NaN", "timestamp": 1, "step": -3},
    )
    call("POST", "runs/log-parameter", {"run_id": run_id, "key": "lr", "value": "0.1"})
    call("POST", "runs/log-parameter", {"run_id": run_id, "key": "empty"})
    call("POST", "runs/set-tag", {"run_id": run_id, "key": "k", "value": "v" * 9000})
    call(
        "POST",
        "runs/log-batch",
        {
            "run_id": run_id,
            "metrics": [{"key": "acc", "value": step / 4, "timestamp": 7, "step": step} for step in range(3)],
            "params": [{"key": "depth", "value": "3"}],
            "tags": [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}],
        },
    )
    found = data_of(call, run_id)
    assert found["metrics"] == {"loss": "NaN", "acc": 0.5}
    told = call("GET", f"runs/get?run_id={run_id}")["run"]["data"]["metrics"]
    assert [(one["key"], one["timestamp"], one["step"]) for one in told] == [("acc", 7, 2), ("loss", 1, -3)]
    assert found["params"] == {"lr": "0.1", "empty": "", "depth": "3"}
    assert (found["tags"]["k"], found["tags"]["x"]) == ("v" * 9000, "2")
    history = call("GET", f"metrics/get-history?run_id={run_id}&metric_key=loss")["metrics"]
    assert history == [{"key": "loss", "value": "NaN", "timestamp": 1, "step": -3}]


BAD_BATCHES: dict[str, dict[str, list[dict[str, object]]]] = {
    "a point without a value": {"metrics": [{"key": "b", "timestamp": 1}]},
    "a point with an empty key": {"metrics": [{"key": "", "value": 1, "timestamp": 1}]},
    "a name that mlflow refuses": {"metrics": [{"key": "b?", "value": 1, "timestamp": 1}]},
    "a name that climbs": {"metrics": [{"key": "../b", "value": 1, "timestamp": 1}]},
    "a time before 1970": {"metrics": [{"key": "b", "value": 1, "timestamp": -1}]},
    "a step beyond 64 bits": {"metrics": [{"key": "b", "value": 1, "timestamp": 1, "step": 2**63}]},
    "a param without a key": {"params": [{"value": "1"}]},
    "a param twice": {"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "1"}]},
    "a param that has another value": {"params": [{"key": "old", "value": "other"}]},
    "a value with NUL": {"params": [{"key": "p", "value": "a\0"}]},
    "a tag of ours": {"tags": [{"key": "bridge.run_id", "value": "1"}]},
    "a key that is too long": {"tags": [{"key": "k" * 251, "value": "1"}]},
    "too many metrics": {"metrics": [{"key": "b", "value": 1, "timestamp": 1}] * 1001},
    "too many params": {"params": [{"key": f"p{n}", "value": "1"} for n in range(101)]},
    "too many of all": {
        "metrics": [{"key": "b", "value": 1, "timestamp": 1}] * 999,
        "tags": [{"key": "x", "value": "1"}] * 2,
    },
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_nothing_of_a_batch_is_logged_when_something_of_it_is_wrong(call: Calls, name: str) -> None:
    run_id = run_of(call)
    call("POST", "runs/log-parameter", {"run_id": run_id, "key": "old", "value": "first"})
    before = call.gateway.client.session.writer.last_sequence
    good: dict[str, list[dict[str, object]]] = {
        "metrics": [{"key": "a", "value": 1, "timestamp": 1}],
        "params": [{"key": "good", "value": "1"}],
        "tags": [{"key": "good", "value": "1"}],
    }
    body = {kind: [*good[kind], *BAD_BATCHES[name].get(kind, [])] for kind in good}
    assert call.code("POST", "runs/log-batch", {"run_id": run_id, **body}) == INVALID
    assert call.gateway.client.session.writer.last_sequence == before


def test_no_point_is_logged_beside_params_that_no_record_can_hold(call: Calls) -> None:
    run_id = run_of(call)
    params = [{"key": f"p{number}", "value": "v" * 7 * 2**20} for number in range(3)]
    metrics = [{"key": "a", "value": 1, "timestamp": 1}]
    batch = {"run_id": run_id, "metrics": metrics, "params": params}
    assert call.code("POST", "runs/log-batch", batch) == INVALID
    found = data_of(call, run_id)
    assert (found["metrics"], found["params"]) == ({}, {})


def test_a_param_is_written_once(call: Calls) -> None:
    run_id = run_of(call)
    for _ in range(2):
        call("POST", "runs/log-parameter", {"run_id": run_id, "key": "p", "value": "1"})
    assert call.code("POST", "runs/log-parameter", {"run_id": run_id, "key": "p", "value": "2"}) == INVALID


def test_a_tag_that_is_not_there_cannot_be_deleted(call: Calls) -> None:
    run_id = run_of(call)
    call("POST", "runs/set-tag", {"run_id": run_id, "key": "k", "value": "v"})
    call("POST", "runs/delete-tag", {"run_id": run_id, "key": "k"})
    assert "k" not in data_of(call, run_id)["tags"]
    assert call.code("POST", "runs/delete-tag", {"run_id": run_id, "key": "k"}) == ABSENT


def test_what_a_full_journal_refuses_is_not_acknowledged(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_JOURNAL_BYTES_MAX", "20000")
    call = opened()
    run_id = run_of(call)
    taken: dict[str, str] = {}
    for number in range(100):
        tag = {"key": f"tag{number}", "value": "v" * 2_000}
        status, answer = call.raw("POST", "runs/set-tag", {"run_id": run_id, **tag})
        if status != 200:
            break
        taken[tag["key"]] = tag["value"]
    assert (status, answer["error_code"]) == (429, "RESOURCE_EXHAUSTED")
    point = {"key": "a", "value": 1, "timestamp": 1, "step": 0}
    batch = {"run_id": run_id, "metrics": [{**point, "key": "k" * 200 + str(n)} for n in range(50)]}
    assert call.code("POST", "runs/log-batch", batch) == "RESOURCE_EXHAUSTED"
    found = data_of(call, run_id)
    assert found["tags"].items() >= taken.items()
    assert not found["metrics"]
    call("POST", "runs/log-batch", batch)  # it was delivered by the reading: there is room again
    assert len(data_of(call, run_id)["metrics"]) == 50


def test_models_of_a_run_are_added_one_after_the_other(call: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run_of(call)
    fields = {"artifact_path": "m", "flavors": {}, "utc_time_created": "x", "run_id": run_id}
    model = {"run_id": run_id, "model_json": json.dumps(fields)}
    get = Runs.get

    def guarded(runs: Runs, wanted: str) -> Any:
        assert runs_api._adding_models.locked()
        return get(runs, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(Runs, "get", guarded)
        call("POST", "runs/log-model", model)
    for text in ("oops", "{}"):
        call("POST", "runs/set-tag", {"run_id": run_id, "key": runs_api.TAG_HISTORY, "value": text})
        assert call.code("POST", "runs/log-model", model) == INVALID


def test_a_model_of_mlflow_2_is_noted_in_its_tag(call: Calls) -> None:
    run_id = run_of(call)
    model = {
        "artifact_path": "m",
        "utc_time_created": "t",
        "run_id": run_id,
        "flavors": {"x": {"config": {}, "a": 1}},
    }
    for _ in range(2):
        call("POST", "runs/log-model", {"run_id": run_id, "model_json": json.dumps(model)})
    noted = json.loads(data_of(call, run_id)["tags"]["mlflow.log-model.history"])
    assert noted == [{**model, "flavors": {"x": {"a": 1}}}] * 2
    assert call.code("POST", "runs/log-model", {"run_id": run_id, "model_json": "{"}) == INVALID
    assert call.code("POST", "runs/log-model", {"run_id": run_id, "model_json": '["run_id"]'}) == INVALID


def test_data_sets_are_told_with_their_tags(call: Calls) -> None:
    run_id = run_of(call)
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "profile": "p"}
    given = {"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": dataset}
    call("POST", "runs/log-inputs", {"run_id": run_id, "datasets": [given]})
    assert call("GET", f"runs/get?run_id={run_id}")["run"]["inputs"] == {"dataset_inputs": [given]}
    found = call("POST", "experiments/search-datasets", {"experiment_ids": ["0"]})["dataset_summaries"]
    assert found == [{"experiment_id": "0", "name": "d", "digest": "1", "context": "train"}]
    assert (
        call.code("POST", "runs/log-inputs", {"run_id": run_id, "datasets": [{"dataset": {"name": "d"}}]})
        == INVALID
    )


@pytest.mark.parametrize(
    ("field", "chars_max"), [("name", 500), ("digest", 36), ("source", 65_535), ("schema", 1_048_575)]
)
def test_a_data_set_is_as_long_as_mlflow_takes_it(call: Calls, field: str, chars_max: int) -> None:
    run_id = run_of(call)
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}

    def body(chars: int) -> dict[str, Any]:
        return {"run_id": run_id, "datasets": [{"dataset": {**dataset, field: "x" * chars}}]}

    assert call.code("POST", "runs/log-inputs", body(chars_max + 1)) == INVALID
    assert call("GET", f"runs/get?run_id={run_id}")["run"]["inputs"] == {}
    call("POST", "runs/log-inputs", body(chars_max))
    (found,) = call("GET", f"runs/get?run_id={run_id}")["run"]["inputs"]["dataset_inputs"]
    assert len(found["dataset"][field]) == chars_max


@pytest.mark.parametrize("tag", [{"key": "k" * 256, "value": "v"}, {"key": "k", "value": "v" * 501}])
def test_a_tag_of_a_data_set_is_as_long_as_mlflow_takes_it(call: Calls, tag: dict[str, str]) -> None:
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    body = {"run_id": run_of(call), "datasets": [{"dataset": dataset, "tags": [tag]}]}
    assert call.code("POST", "runs/log-inputs", body) == INVALID
    short = {"key": tag["key"][:255], "value": tag["value"][:500]}
    body["datasets"] = [{"dataset": dataset, "tags": [short]}]
    call("POST", "runs/log-inputs", body)


# Several gateways, and a death.


def test_another_gateway_goes_on_with_a_run(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened()
    run_id = run_of(first)
    first("POST", "runs/log-parameter", {"run_id": run_id, "key": "p", "value": "1"})
    second = another(opened, monkeypatch)
    second(
        "POST", "runs/log-metric", {"run_id": run_id, "key": "a", "value": 2, "timestamp": 1}
    )  # not delivered yet
    first("GET", f"runs/get?run_id={run_id}")
    assert data_of(second, run_id)["metrics"] == {"a": 2.0}
    second.gateway.runs.forget(run_id)
    assert second.code("POST", "runs/log-parameter", {"run_id": run_id, "key": "p", "value": "2"}) == INVALID


def test_the_death_of_a_gateway_ends_no_run_and_loses_nothing(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened()
    made, resumed = run_of(first), run_of(first)
    first("POST", "runs/update", {"run_id": resumed, "status": "FINISHED"})
    first("POST", "runs/update", {"run_id": resumed, "status": "RUNNING"})
    first("POST", "runs/log-metric", {"run_id": made, "key": "a", "value": 2, "timestamp": 1})
    writer = first.gateway.client.session.writer
    writer._writer_lock.release()  # as the kernel does when it dies; what marks a good end is not written
    second = another(opened, monkeypatch)
    assert data_of(second, made)["metrics"] == {"a": 2.0}
    for run_id in (made, resumed):
        assert second("GET", f"runs/get?run_id={run_id}")["run"]["info"]["status"] == "RUNNING"
    assert not list(
        journals(second.gateway.client.session.root)
    )  # the dead one's journal is delivered and gone
    second("POST", "runs/update", {"run_id": made, "status": "FINISHED"})
    assert second("GET", f"runs/get?run_id={made}")["run"]["info"]["status"] == "FINISHED"


def test_runs_that_were_forgotten_are_looked_up_again(opened: Open) -> None:
    call = opened(runs_max=2)
    made = [run_of(call) for _ in range(4)]
    assert [call.gateway.runs.knows(run_id) for run_id in made] == [False, False, True, True]
    for run_id in made:
        call("POST", "runs/log-metric", {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1})
    assert [data_of(call, run_id)["metrics"] for run_id in made] == [{"a": 1.0}] * 4


def test_a_journal_that_lives_long_keeps_no_note_of_each_run(call: Calls) -> None:
    run_id = run_of(call)
    folder = call.gateway.client.session.writer.folder
    assert folder.creates(run_id)
    call.gateway.client.reader.drain()
    assert not folder.creates(run_id)
    assert not folder.has_open(run_id)


def test_nobody_waits_for_a_run_whose_opening_was_refused(call: Calls) -> None:
    """Another gateway's delivery would stand still until this one ends."""
    made_id = call("POST", "experiments/create", {"name": "gone"})["experiment_id"]
    call.gateway.experiments.active(made_id)
    call.gateway.client.reader.drain()
    call.gateway.client.reader.tracking.delete_experiment(made_id)  # as another gateway does
    run_id = run_of(call, experiment_id=made_id)
    session_here = call.gateway.client.session
    assert session_here.writer.folder.creates(run_id)
    call.gateway.client.reader.drain()
    assert session_here.rejected() == 1
    assert not session_here.writer.folder.creates(run_id)


def test_a_run_that_the_event_loop_is_about_to_use_is_not_forgotten(opened: Open) -> None:
    call = opened(runs_max=2)
    first, second = run_of(call), run_of(call)
    assert call.gateway.runs.knows(first)
    run_of(call)
    assert call.gateway.runs.knows(first)
    assert not call.gateway.runs.knows(second)
    assert not call.gateway.runs.knows(None)


def test_a_run_that_is_deleted_meanwhile_is_not_known_again(call: Calls) -> None:
    run_id = run_of(call)

    class Known(OrderedDict[str, RunRecorder]):
        def get(self, key: str, default: Any = None) -> Any:
            return self.pop(key, default)  # another thread is faster

    call.gateway.runs._known = Known(call.gateway.runs._known)
    assert call.gateway.runs.recorder(run_id).run_id == run_id
    assert not call.gateway.runs.knows(run_id)


def test_a_run_that_another_gateway_is_about_to_deliver_is_waited_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = opened()
    spec = call.gateway.runs.create(
        call.gateway.experiments.active("0"), name="", user="", start_time=None, tags={}
    )
    call.gateway.client.reader.drain()
    stored = call.gateway.client.reader.tracking.get_run(spec.run_id)
    patient = Runs(call.gateway.client, runs_max=1, coming_wait_s=30)
    asked = threading.Event()
    answers = iter([None, None, stored])

    class Tracking:
        def get_run(self, run_id: str) -> Any:
            asked.set()
            found = next(answers)
            if found is None:
                raise NotFound("not yet")
            return found

    monkeypatch.setattr(type(call.gateway.client.reader), "tracking", property(lambda self: Tracking()))
    monkeypatch.setattr(patient, "_is_being_delivered", lambda run_id: False)
    assert patient.recorder(spec.run_id).run_id == spec.run_id
    assert asked.is_set()
    assert next(answers, None) is None


def test_a_backend_that_is_down_keeps_nobody_from_logging(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(call)
    call("POST", "runs/log-metric", {"run_id": run_id, "key": "a", "value": 1, "timestamp": 1})

    def down(*arguments: Any) -> Any:
        raise Unavailable("the backend is down")

    with monkeypatch.context() as patched:
        patched.setattr(type(call.gateway.client.reader), "drain", down)
        patched.setattr(type(call.gateway.client.reader), "tracking", property(down))
        assert data_of(call, run_id)["metrics"] == {"a": 1.0}  # remembered: it was opened here
        call.gateway.runs.forget(run_id)
        call("POST", "runs/log-metric", {"run_id": run_id, "key": "a", "value": 2, "timestamp": 2, "step": 1})
        assert call.code("GET", f"runs/get?run_id={run_id}") == "TEMPORARILY_UNAVAILABLE"
        foreign = {"run_id": "native-7", "key": "a", "value": 2, "timestamp": 2}
        assert call.code("POST", "runs/log-metric", foreign) == "TEMPORARILY_UNAVAILABLE"
    assert data_of(call, run_id)["metrics"] == {"a": 2.0}


def test_a_backend_that_did_not_answer_is_not_asked_for_each_run(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, asked = [run_of(call) for _ in range(3)], []

    def down(reader: Any) -> Any:
        asked.append(reader)
        raise Unavailable("the backend is down")

    call.gateway.runs.forget_all()
    monkeypatch.setattr(runs_module, "BLIND_S", 1_000.0)
    with monkeypatch.context() as patched:
        patched.setattr(type(call.gateway.client.reader), "tracking", property(down))
        for run_id in ids:
            call("POST", "runs/set-tag", {"run_id": run_id, "key": "a", "value": "b"})
    assert len(asked) == 1
    assert [data_of(call, run_id)["tags"]["a"] for run_id in ids] == ["b"] * 3
    call.gateway.runs._blind_until = 0.0
    assert call.code("POST", "runs/set-tag", {"run_id": mint_id(), "key": "a", "value": "b"}) == ABSENT


def test_a_record_of_a_client_says_so_and_older_ones_are_read() -> None:
    opened = RunOpened("r", "e", "n", "name", "u", 1, {}, OpenMode.CREATE, is_of_client=True)
    encoded = msgspec.msgpack.encode(opened)
    assert msgspec.msgpack.decode(encoded, type=Record) == opened
    older = msgspec.msgpack.decode(encoded)[:-1]
    assert not msgspec.convert(older, RunOpened).is_of_client


def test_requests_are_quick_only_where_nothing_is_asked_of_the_backend(
    call: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(call)
    quick = {route.path: route.is_quick for route in ROUTES}
    assert quick["runs/log-metric"](call.gateway, LogMetric(run_id=run_id))
    assert not quick["runs/log-metric"](call.gateway, LogMetric(run_id=run_id, model_id="m-1"))
    assert not quick["runs/log-metric"](call.gateway, LogMetric(run_id=mint_id()))
    assert quick["runs/log-batch"](call.gateway, LogBatch(run_id=run_id, metrics=[LoggedPoint()]))
    assert not quick["runs/log-batch"](
        call.gateway, LogBatch(run_id=run_id, metrics=[LoggedPoint(model_id="m")])
    )
    assert not quick["runs/get"](call.gateway, LogMetric(run_id=run_id))
    assert quick["runs/log-inputs"](call.gateway, LogInputs(run_id=run_id))
    assert not quick["runs/log-inputs"](call.gateway, LogInputs(run_id=run_id, models=[ModelInputBody()]))
    assert quick["runs/update"](call.gateway, UpdateRun(run_id=run_id))
    assert not quick["runs/update"](call.gateway, UpdateRun(run_id=mint_id()))
    monkeypatch.setattr(call.gateway.documents, "has_unwritten", lambda run_id: True)
    assert not quick["runs/update"](call.gateway, UpdateRun(run_id=run_id))


def test_status_and_points_of_a_batch_keep_their_bits(call: Calls) -> None:
    run_id = run_of(call)
    values = [math.inf, -math.inf, 5e-324, -0.0]
    points = [
        {"key": "a", "value": str(value) if math.isinf(value) else value, "timestamp": 1, "step": step}
        for step, value in enumerate(values)
    ]
    call("POST", "runs/log-batch", {"run_id": run_id, "metrics": points})
    columns = call.gateway.client.get_metric_columns(run_id, "a")
    assert [value.hex() for value in columns.values] == [value.hex() for value in values]
    assert call.gateway.runs.recorder(run_id).status is RunStatus.RUNNING
