"""Our scoring server beside mlflow's: the same predictions, the same client, the same answers."""

from __future__ import annotations

import base64
import contextlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.scoring_servers import Server, running
from trackbridge.serving.answers import Answer, Refusal
from trackbridge.serving.model import ServedModel

ROWS = 1000
COLUMNS = ("a", "b", "c", "d")


def table(dtype: str = "float64") -> Any:
    """Return 1,000 rows of four columns; their numbers are short, so that CSV gives them back exactly."""
    import numpy
    import pandas

    numbers = numpy.random.default_rng(7).integers(-4000, 4000, size=(ROWS, len(COLUMNS))) / 16
    return pandas.DataFrame(numbers.astype(dtype), columns=list(COLUMNS))


def labels() -> Any:
    rows = table()
    return (rows["a"] + rows["b"] * rows["c"] > rows["d"]).astype("int64")


def save_sklearn(folder: Path) -> Any:
    import mlflow
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(n_estimators=5, random_state=1).fit(table(), labels())
    signature = mlflow.models.infer_signature(table(), model.predict(table()))
    mlflow.sklearn.save_model(
        model, folder, signature=signature, pip_requirements=[], serialization_format="cloudpickle"
    )
    return model.predict(table())


def save_xgboost(folder: Path) -> Any:
    import mlflow
    import xgboost

    model = xgboost.XGBRegressor(n_estimators=5, n_jobs=1).fit(table(), labels())
    signature = mlflow.models.infer_signature(table(), model.predict(table()))
    mlflow.xgboost.save_model(model, folder, signature=signature, pip_requirements=[])
    return model.predict(table())


def save_pytorch(folder: Path) -> Any:
    import mlflow
    import torch

    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    rows = table("float32")
    with torch.no_grad():
        expected = model(torch.from_numpy(rows.to_numpy())).numpy()
    signature = mlflow.models.infer_signature(rows, expected)
    mlflow.pytorch.save_model(
        model, folder, signature=signature, pip_requirements=[], serialization_format="pickle"
    )
    return expected


def save_pyfunc(folder: Path) -> Any:
    import mlflow

    class Sums(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input.sum(axis=1).to_numpy()

    signature = mlflow.models.infer_signature(table(), table().sum(axis=1).to_numpy())
    mlflow.pyfunc.save_model(folder, python_model=Sums(), signature=signature, pip_requirements=[])
    return table().sum(axis=1).to_numpy()


SAVERS = {"sklearn": save_sklearn, "xgboost": save_xgboost, "pytorch": save_pytorch, "pyfunc": save_pyfunc}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module", params=list(SAVERS))
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Any]]:
    """A server for each kind of model, with the model's own predictions."""
    folder = tmp_path_factory.mktemp(request.param)
    with quiet():
        expected = SAVERS[request.param](folder / "model")
    with running(folder / "server", model_path=str(folder / "model"), name=request.param) as server:
        yield server, expected


def bodies(rows: Any) -> dict[str, tuple[bytes, str]]:
    """Return a body and its content type for every form of the protocol."""
    split, records, columns = (rows.to_dict(orient) for orient in ("split", "records", "list"))
    forms = {
        "dataframe_split": {"dataframe_split": split},
        "dataframe_split without index": {
            "dataframe_split": {key: split[key] for key in ("columns", "data")}
        },
        "dataframe_split, other order": {"dataframe_split": rows[list(reversed(COLUMNS))].to_dict("split")},
        "dataframe_records": {"dataframe_records": records},
        "records with more columns": {"dataframe_records": [{"e": "extra", **record} for record in records]},
        "inputs, columns": {"inputs": columns},
        "instances, records": {"instances": records},
        "instances, columns": {"instances": columns},
        "input_data, split": {"input_data": split},
        "input_data, records": {"input_data": records},
        "input_data, columns": {"input_data": columns},
    }
    found = {name: (json.dumps(form).encode(), "application/json") for name, form in forms.items()}
    return {**found, "csv": (rows.to_csv(index=False).encode(), "text/csv")}


def test_every_form_gives_the_predictions_of_the_model_itself(served: tuple[Server, Any]) -> None:
    import numpy

    server, expected = served
    for name, (body, content_type) in bodies(table()).items():
        answer = server.invoke(body, content_type)
        assert answer.status == 200, (name, answer.body)
        numpy.testing.assert_allclose(
            values(answer.content["predictions"]), expected, rtol=1e-6, err_msg=name
        )
        if answer.content["predictions"] and isinstance(answer.content["predictions"][0], int):
            assert answer.content["predictions"] == expected.tolist()


def values(predictions: list[Any]) -> list[Any]:
    """Return predictions as numbers; those of a frame come as records."""
    return [list(row.values()) if isinstance(row, dict) else row for row in predictions]


def test_the_client_of_mlflow_scores(served: tuple[Server, Any]) -> None:
    import mlflow
    import numpy
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    server, expected = served
    client = ScoringServerClient("127.0.0.1", server.port)
    client.wait_server_ready()
    assert client.get_version() == mlflow.__version__
    predictions = client.invoke(table()).get_predictions()
    numpy.testing.assert_allclose(predictions.to_numpy().reshape(expected.shape), expected, rtol=1e-6)


# Answer by answer.


def save_mixed(folder: Path) -> None:
    """A model whose signature has every scalar type, an optional column, and params."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            if "boom" in model_input and "boom" in set(model_input["boom"]):
                raise ValueError("boom")
            frame = model_input.astype(object)
            return [[str(value) for value in row] + [str(params)] for row in frame.to_numpy().tolist()]

    kinds = ["boolean", "integer", "long", "float", "double", "string", "binary", "datetime"]
    inputs = Schema([ColSpec(kind, kind) for kind in kinds] + [ColSpec("string", "boom", required=False)])
    params = ParamSchema([ParamSpec("count", "long", 1), ParamSpec("names", "string", ["x"], (-1,))])
    mlflow.pyfunc.save_model(
        folder,
        python_model=Echo(),
        signature=ModelSignature(inputs=inputs, params=params),
        pip_requirements=[],
    )


def save_tensor(folder: Path) -> None:
    import mlflow
    import numpy
    from mlflow.models import infer_signature

    class Shape(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input * 2

    example = numpy.ones((2, 3), dtype="float32")
    mlflow.pyfunc.save_model(
        folder, python_model=Shape(), signature=infer_signature(example, example), pip_requirements=[]
    )


def save_nested(folder: Path) -> None:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Array, DataType, Map, Object, Property

    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input.to_dict("records")

    inputs = Schema([
        ColSpec(Array(DataType.long), "numbers"),
        ColSpec(Object([Property("x", DataType.string), Property("y", DataType.double, False)]), "thing"),
        ColSpec(Map(DataType.string), "texts", required=False),
        ColSpec(AnyType(), "whatever", required=False),
    ])  # fmt: skip
    mlflow.pyfunc.save_model(
        folder, python_model=Echo(), signature=ModelSignature(inputs=inputs), pip_requirements=[]
    )


def save_unsigned(folder: Path) -> None:
    import mlflow

    class Keys(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return {"type": type(model_input).__name__, "text": str(model_input), "params": params}

    mlflow.pyfunc.save_model(folder, python_model=Keys(), pip_requirements=[])


class Pair:
    """The same model behind mlflow's code and ours."""

    def __init__(self, folder: Path) -> None:
        import mlflow

        self.ours = ServedModel(str(folder))
        self.theirs = mlflow.pyfunc.load_model(str(folder))

    def by_us(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        try:
            answer: Answer = self.ours.score(content_type, body)
        except Refusal as refusal:
            answer = refusal.answer("id")
        return answer.status, answer.body

    def by_mlflow(self, body: bytes, content_type: str) -> tuple[int, bytes]:
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc.scoring_server import invocations

        try:
            answer = invocations(body, content_type, self.theirs, self.theirs.metadata.get_input_schema())
        except MlflowException as error:
            return error.get_http_status_code(), error.serialize_as_json().encode()
        except Exception as error:  # what its web framework answers with 500
            return 500, repr(error).encode()
        return answer.status, answer.response.encode()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("pairs")
    savers = {"mixed": save_mixed, "tensor": save_tensor, "nested": save_nested, "unsigned": save_unsigned}
    with quiet():
        for name, save in savers.items():
            save(folder / name)
        return {name: Pair(folder / name) for name in savers}


ROW = {
    "boolean": True,
    "integer": 3,
    "long": 2**40,
    "float": 0.5,
    "double": 2,
    "string": "text",
    "binary": base64.b64encode(b"bytes").decode(),
    "datetime": "2026-01-02T03:04:05",
}


def mixed(**changes: Any) -> dict[str, Any]:
    return {"dataframe_records": [ROW, {**ROW, **changes}]}


SPLIT_ROW = {"columns": list(ROW), "data": [list(ROW.values())]}
PAYLOADS: list[tuple[str, Any]] = [
    ("mixed", mixed()),
    ("mixed", {"dataframe_split": SPLIT_ROW}),
    ("mixed", {"dataframe_split": {**SPLIT_ROW, "index": [5]}}),
    ("mixed", {"dataframe_split": {**SPLIT_ROW, "index": [5, 6]}}),
    ("mixed", {"dataframe_split": {**SPLIT_ROW, "more": 1}}),
    ("mixed", {"dataframe_split": {"columns": list(ROW)}}),
    ("mixed", {"dataframe_split": {"data": SPLIT_ROW["data"]}}),
    ("mixed", {"dataframe_split": [1]}),
    ("mixed", {"dataframe_records": ROW}),
    ("mixed", {"dataframe_records": "text"}),
    ("mixed", {"dataframe_records": []}),
    ("mixed", {"dataframe_records": [{}]}),
    ("mixed", {"dataframe_records": [1]}),
    ("mixed", {"inputs": [ROW]}),
    ("mixed", {"inputs": ROW}),
    ("mixed", {"instances": [ROW, ROW]}),
    ("mixed", {"instances": {name: [value] for name, value in ROW.items()}}),
    ("mixed", {"inputs": {name: [value, value] for name, value in ROW.items()}}),
    ("mixed", {"inputs": {**{name: [value] for name, value in ROW.items()}, "long": [1, 2]}}),
    ("mixed", {"dataframe_records": [{name: ROW[name] for name in reversed(ROW)}]}),
    ("mixed", {"dataframe_records": [{**ROW, "extra": [1, {}]}]}),
    ("mixed", {"dataframe_records": [{**ROW, "boom": "quiet"}]}),
    ("mixed", {"dataframe_records": [{name: ROW[name] for name in ROW if name != "long"}]}),
    *(("mixed", mixed(boolean=value)) for value in (None, 1, 0, "true", 0.5)),
    *(("mixed", mixed(integer=value)) for value in (None, 2**31, -(2**31), 1.0, 1.5, "1", True, 2**70)),
    *(("mixed", mixed(long=value)) for value in (None, 2**63, 2**63 - 1, 1.0, 1.5, "1", "x", True)),
    *(("mixed", mixed(float=value)) for value in (None, 1, 1e300, "1", "x", True, [1])),
    *(("mixed", mixed(double=value)) for value in (None, 1.5, 10**400, "1", "x", True, [1], {})),
    *(("mixed", mixed(string=value)) for value in (None, 1, "", "\u00e9", [1])),
    *(("mixed", mixed(binary=value)) for value in (None, 1, "", "!", "abc")),
    *(
        ("mixed", mixed(datetime=value))
        for value in (None, 1, "", "soon", "2026-01-02", "2026-01-02T00:00:00Z")
    ),
    *(
        ("mixed", {**mixed(), "params": value})
        for value in (None, {}, {"count": 2}, {"count": "x"}, {"other": 1})
    ),
    *(
        ("mixed", {**mixed(), "params": value})
        for value in ({"names": ["a", "b"]}, {"names": "a"}, [1], 1, "x")
    ),
    ("mixed", {**mixed(), "unknown": 1}),
    ("mixed", {**mixed(), "inputs": [1]}),
    ("mixed", {}),
    ("mixed", {"columns": ["a"], "data": [[1]]}),
    ("mixed", {"dataframe_records": None}),
    ("mixed", {"dataframe_split": None}),
    ("tensor", {"inputs": [[1, 2, 3], [4, 5, 6]]}),
    ("tensor", {"instances": [[1, 2, 3]]}),
    ("tensor", {"inputs": [[1, 2], [3]]}),
    ("tensor", {"inputs": [1, 2, 3]}),
    ("tensor", {"inputs": [["a", "b", "c"]]}),
    ("tensor", {"inputs": []}),
    ("tensor", {"inputs": None}),
    ("tensor", {"inputs": {"x": [[1, 2, 3]]}}),
    ("tensor", {"dataframe_split": {"columns": [0, 1, 2], "data": [[1, 2, 3]]}}),
    ("nested", {"dataframe_records": [{"numbers": [1, 2], "thing": {"x": "a"}}]}),
    ("nested", {"dataframe_records": [{"numbers": [1], "thing": {"x": "a", "y": 1.5}, "texts": {"k": "v"}}]}),
    ("nested", {"dataframe_records": [{"numbers": [1], "thing": {"x": "a"}, "whatever": [1, {"a": None}]}]}),
    ("nested", {"dataframe_records": [{"numbers": ["a"], "thing": {"x": "a"}}]}),
    ("nested", {"dataframe_records": [{"numbers": [1], "thing": {"y": 1}}]}),
    ("nested", {"dataframe_records": [{"numbers": 1, "thing": []}]}),
    ("nested", {"inputs": [{"numbers": [1, 2], "thing": {"x": "a"}}]}),
    ("nested", {"inputs": {"numbers": [1, 2], "thing": {"x": "a"}}}),
    ("unsigned", {"inputs": [1, 2]}),
    ("unsigned", {"inputs": {"a": [1, 2]}}),
    ("unsigned", {"inputs": "text"}),
    ("unsigned", {"instances": [{"a": 1}, {"a": 2}]}),
    ("unsigned", {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": ["r"]}}),
    ("unsigned", {"dataframe_records": [{"a": 1, "b": None}, {"a": "x"}]}),
    ("unsigned", {"inputs": [1], "params": {"k": 1}}),
    ("unsigned", {"messages": [{"role": "user", "content": "hello"}]}),
    ("unsigned", {"prompt": "hello", "temperature": 1}),
    ("unsigned", {"inputs": [float("nan"), float("inf")]}),
]


@pytest.mark.parametrize("number", range(len(PAYLOADS)))
def test_json_is_answered_as_mlflow_answers_it(pairs: dict[str, Pair], number: int) -> None:
    name, payload = PAYLOADS[number]
    body = json.dumps(payload).encode()
    with quiet():
        ours = pairs[name].by_us(body, "application/json")
        theirs = pairs[name].by_mlflow(body, "application/json")
    compare(ours, theirs, body)


def compare(ours: tuple[int, bytes], theirs: tuple[int, bytes], body: bytes) -> None:
    assert b"Traceback" not in ours[1]
    assert ours[0] == theirs[0], (body, ours, theirs)
    if theirs[0] == 200:
        assert json.loads(ours[1]) == json.loads(theirs[1]), body
    elif theirs[0] == 400:
        assert json.loads(ours[1])["error_code"] == json.loads(theirs[1])["error_code"], (body, ours, theirs)


HEADER = ",".join(ROW)
LINE = ",".join(str(value) for value in ROW.values())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (f"{HEADER}\n{LINE}\n".encode(), "text/csv"),
        (f"{HEADER}\n{LINE}\n{LINE}".encode(), "text/csv; charset=utf-8"),
        (f"{HEADER}\n".encode(), "text/csv"),
        (b"", "text/csv"),
        (b"\xff\xfe", "text/csv"),
        (f"{HEADER}\n{LINE},1\n".encode(), "text/csv"),
        (b'a,b\n"1', "text/csv"),
        (b"{}", "text/csv; charset=latin-1"),
        (b"{}", "application/json; version=2"),
        (b"{}", "text/plain"),
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"1", "application/json"),
        (b'{"inputs": "\xff"}', "application/json"),
    ],
)
def test_other_bodies_are_answered_as_mlflow_answers_them(
    pairs: dict[str, Pair], body: bytes, content_type: str
) -> None:
    with quiet():
        compare(pairs["mixed"].by_us(body, content_type), pairs["mixed"].by_mlflow(body, content_type), body)


def test_the_differences_on_purpose(pairs: dict[str, Pair]) -> None:
    def statuses(name: str, body: bytes) -> tuple[int, int]:
        with quiet():
            ours, theirs = (
                by(body, "application/json")[0] for by in (pairs[name].by_us, pairs[name].by_mlflow)
            )
        return ours, theirs

    twice = b'{"inputs": [[1, 2, 3]], "inputs": [[1, 2, 3]]}'
    assert statuses("tensor", twice) == (400, 200)
    ragged = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}}).encode()
    assert statuses("unsigned", ragged) == (400, 200)
    failing = json.dumps({"dataframe_records": [{**ROW, "boom": "boom"}]}).encode()
    assert statuses("mixed", failing) == (500, 400)
    split = json.dumps({"input_data": {"columns": ["a"], "data": [[1]]}}).encode()
    assert statuses("unsigned", split) == (200, 400)
