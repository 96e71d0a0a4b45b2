"""Models in MLflow's format are served without a script, online and in batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azureml_calls import Rig
from tests.support.azureml_endpoints import BatchDesk, Desk
from trackbridge.testing.emulators.azureml.storage import CONTAINER

ROWS = {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2.5], [3, 4.5]]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a signature: the sum of ``a`` (a whole number) and ``b``."""
    import mlflow.pyfunc
    import pandas
    from mlflow.models import infer_signature

    class Sum(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input["a"] + model_input["b"] + (params or {}).get("more", 0.0)

    frame = pandas.DataFrame({"a": [1], "b": [2.5]})
    signature = infer_signature(frame, [3.5], params={"more": 0.0})
    folder = tmp_path_factory.mktemp("models") / "sum"
    mlflow.pyfunc.save_model(
        str(folder), python_model=Sum(), signature=signature, pip_requirements=["mlflow"]
    )
    return folder


@pytest.fixture
def registered(model: Path) -> Iterator[BatchDesk]:
    """A cloud in which the model is registered."""
    rig = Rig(pace=0.01)
    made = BatchDesk(rig)
    for path in model.rglob("*"):
        if path.is_file():
            place = f"LocalUpload/x/sum/{path.relative_to(model).as_posix()}"
            rig.storage.put(place, path.read_bytes(), container=CONTAINER)
    uri = "azureml://datastores/workspaceblobstore/paths/LocalUpload/x/sum"
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    assert rig.ask("PUT", "models/sum/versions/1", body).status == 201
    yield made
    rig.cloud.close()


@pytest.fixture
def desk(registered: BatchDesk) -> BatchDesk:
    """The model is deployed online, and gets all requests."""
    registered.endpoint()
    limits = {"requestSettings": {"requestTimeout": "PT60S"}}
    operation = registered.deploy({"model": f"{registered.rig.workspace}/models/sum/versions/1", **limits})
    assert operation["status"] == "Succeeded", _logs(registered)
    registered.endpoint(traffic={"blue": 100})
    return registered


def _logs(desk: Desk) -> str:
    return str(desk.rig.ask("POST", "onlineEndpoints/wine/deployments/blue/getLogs", {}).content["content"])


NOT_TAKEN: tuple[Any, ...] = (
    {"dataframe_split": ROWS},
    {"inputs": [[1, 2.5]]},
    [[1, 2.5]],
    {"input_data": [{"a": 1, "b": 2.5}]},
    {"input_data": {"columns": ["a"], "data": [[1]]}},
    {"input_data": {"columns": ["a", "b"], "data": [["text", 2.5]]}},
)


def test_a_payload_is_azures_and_not_mlflows_own_and_the_answer_is_the_predictions_alone(
    desk: BatchDesk,
) -> None:
    # In one test: to load a model takes seconds.
    answer = desk.score({"input_data": ROWS})
    assert (answer.status, answer.content) == (200, [3.5, 7.5])
    without_index = {"columns": ["b", "a"], "data": [[2.5, 1]]}
    assert desk.score({"input_data": without_index}).content == [3.5]
    assert desk.score({"input_data": [[1, 2.5]]}).content == [3.5]
    assert desk.score({"input_data": ROWS, "params": {"more": 1.0}}).content == [4.5, 8.5]
    for payload in NOT_TAKEN:
        refused = desk.score(payload)
        assert refused.status == 424, payload
        assert refused.headers["ms-azureml-model-error-statuscode"] == "500", payload


def test_tables_of_a_batch_are_scored_row_by_row(registered: BatchDesk) -> None:
    desk = registered
    reference = {"referenceType": "Id", "assetId": f"{desk.rig.workspace}/models/sum/versions/1"}
    desk.batch()
    desk.batch_deployment({"model": reference, "retrySettings": {"maxRetries": 0, "timeout": "PT60S"}})
    desk.rig.storage.put("in/rows.csv", b"a,b\n1,2.5\n3,4.5\n", container=CONTAINER)
    desk.rig.cloud.clock.go_on()
    uri = "azureml://datastores/workspaceblobstore/paths/in/rows.csv"
    inputs = {"UriFile": {"jobInputType": "UriFile", "uri": uri}}
    job = desk.ended(desk.invoke("", deployment="one", inputData=inputs))
    assert job.status == "Completed", job.error["error"]["message"][-1500:]
    assert desk.output(job) == "[0, 3.5, 'rows.csv']\n[1, 7.5, 'rows.csv']\n"
