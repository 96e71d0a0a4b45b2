"""Asking an endpoint from a program: what is sent, and what comes back."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np  # noqa: TID253
import pandas as pd  # noqa: TID253
import polars  # noqa: TID253
import pytest

import trackbridge as tb
from tests.support.endpoint_scenes import Scene, new_scene
from tests.support.memory_adapter import MemoryAdapter
from trackbridge.api.endpoints import payload_of
from trackbridge.errors import InvalidInput, NotFound, Rejected, Unavailable


@pytest.fixture
def scene(project: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = new_scene(project)
    monkeypatch.setattr(
        "trackbridge.operations.opening.open_uri",
        lambda uri, *, settings=None: MemoryAdapter(made.state, missing=made.missing),
    )
    return made


def sent(data: Any, params: dict[str, Any] | None = None) -> Any:
    return json.loads(payload_of(data, params))


# What is sent.


def test_a_pandas_frame() -> None:
    frame = pd.DataFrame(
        {
            "number": [1, 2],
            "share": [0.5, float("nan")],
            "flag": [True, False],
            "text": ["a", None],
            "day": pd.to_datetime(["2026-01-02", None]),
            "maybe": pd.array([1, None], dtype="Int64"),
            "kind": pd.Categorical(["x", "y"]),
        },
        index=[7, 9],
    )
    assert sent(frame) == {
        "dataframe_split": {
            "columns": ["number", "share", "flag", "text", "day", "maybe", "kind"],
            "data": [
                [1, 0.5, True, "a", "2026-01-02T00:00:00", 1, "x"],
                [2, None, False, None, None, None, "y"],
            ],
        }
    }


def test_other_frames() -> None:
    twice = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert sent(twice)["dataframe_split"] == {"columns": ["a", "a"], "data": [[1, 2]]}
    assert sent(pd.DataFrame({0: [1]}))["dataframe_split"]["columns"] == [0]
    assert sent(pd.DataFrame({"a": []}))["dataframe_split"] == {"columns": ["a"], "data": []}
    assert sent(pd.DataFrame(index=[1, 2]))["dataframe_split"] == {"columns": [], "data": [[], []]}
    frame = polars.DataFrame({"a": [1, None], "b": ["x", "y"]})
    assert sent(frame)["dataframe_split"] == {"columns": ["a", "b"], "data": [[1, "x"], [None, "y"]]}
    assert sent(frame.to_arrow())["dataframe_split"] == sent(frame)["dataframe_split"]


def test_arrays_lists_and_mappings() -> None:
    assert sent(np.array([[1, 2], [3, 4]])) == {"inputs": [[1, 2], [3, 4]]}
    assert sent(np.float32(0.5)) == {"inputs": 0.5}
    assert sent([[1.5, "a", None]]) == {"inputs": [[1.5, "a", None]]}
    assert sent({"x": np.zeros(2), "y": ["a"]}) == {"inputs": {"x": [0.0, 0.0], "y": ["a"]}}
    assert sent(pd.Series([1, 2])) == {"inputs": [1, 2]}
    assert sent([datetime.date(2026, 1, 2), decimal.Decimal("0.5")]) == {"inputs": ["2026-01-02", 0.5]}
    assert sent([b"ab"]) == {"inputs": ["YWI="]}
    assert sent([float("nan")]) == {"inputs": [None]}


def test_params_go_beside_the_data() -> None:
    assert sent([1], {"top_k": np.int64(3)}) == {"inputs": [1], "params": {"top_k": 3}}


@pytest.mark.parametrize("data", [[float("inf")], object(), [object()], {"x": 1j}])
def test_what_json_cannot_hold(data: object) -> None:
    with pytest.raises(InvalidInput, match="the data cannot be sent"):
        payload_of(data)


def test_what_holds_itself() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidInput):
        payload_of(endless)


# What comes back.


def test_predictions_and_how_it_is_doing(scene: Scene) -> None:
    scene.deploy(1)
    scene.deploy(2, traffic_percent=10)
    endpoint = tb.endpoint("wine")
    assert endpoint.predict([[1], [2]], deployment="v2") == ["models:/wine/2"] * 2
    answers = [endpoint.predict([[1]])[0] for _ in range(20)]
    assert answers.count("models:/wine/2") == 2
    assert endpoint.traffic == {"v1": 90, "v2": 10}
    assert endpoint.state().url == "memory://wine"
    assert endpoint.metrics(3600)["v1"].requests == 18
    assert repr(endpoint) == "Endpoint('wine', target='local')"


def test_refusals_are_the_models_words(scene: Scene) -> None:
    scene.deploy(1)
    endpoint = tb.endpoint("wine")
    with pytest.raises(Rejected, match="the payload is not JSON with 'inputs'"):
        endpoint.predict(pd.DataFrame({"a": [1]}))
    with pytest.raises(NotFound):
        endpoint.predict([1], deployment="v9")
    with pytest.raises(NotFound):
        tb.endpoint("beer").state()
    with pytest.raises(NotFound):
        tb.endpoint("beer").metrics()


def test_a_request_is_sent_once(scene: Scene) -> None:
    scene.deploy(1)
    scene.state.deployments.broken["wine", "v1"] = "crashed"
    endpoint = tb.endpoint("wine")
    with pytest.raises(Unavailable):
        endpoint.predict([1])
    assert endpoint.metrics(3600)["v1"].requests == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"predictions": {"a": 1}}', {"a": 1}),
        (b'{"choices": []}', {"choices": []}),
        (b"[1, 2]", [1, 2]),
    ],
)
def test_answers_of_other_shapes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, answer: bytes, expected: object
) -> None:
    monkeypatch.setattr("tests.support.memory_deployments.MemoryDeployments.invoke", lambda *_, **__: answer)
    assert tb.endpoint("wine").predict([1]) == expected


def test_an_answer_that_is_no_json(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.support.memory_deployments.MemoryDeployments.invoke", lambda *_, **__: b"<html>"
    )
    with pytest.raises(Rejected, match="6 bytes that are no JSON"):
        tb.endpoint("wine").predict([1])
