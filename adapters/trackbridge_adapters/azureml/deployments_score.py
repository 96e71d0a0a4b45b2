"""The scoring script of a deployment that names an environment and no script: Azure's server runs it there.

It needs mlflow and what the model requires, and takes the payloads of MLflow's servers, and ``input_data``.
Where the environment has trackbridge as well, what is scored is counted for its telemetry; nothing of that
touches a request.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

API = "azureml_inference_server_http.api"
JSON, CSV = "application/json", "text/csv"
_TABLE = {"columns", "index", "data"}
_held: dict[str, Any] = {}


def raw(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let Azure's server hand the request itself over; elsewhere it is a function as any other."""
    try:
        marked: Callable[..., Any] = import_module(f"{API}.aml_request").rawhttp(function)
    except ImportError:
        return function
    return marked


def init() -> None:
    """Load the model."""
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    found = sorted((file.parent for file in root.rglob("MLmodel")), key=lambda path: len(path.parts))
    if not found:
        raise FileNotFoundError(f"there is no MLmodel file below {root}")
    _held["server"] = import_module("mlflow.pyfunc.scoring_server")
    _held["model"] = import_module("mlflow.pyfunc").load_model(str(found[0].resolve()))
    try:
        serving: Any = import_module("trackbridge.serving")
    except ImportError:
        return  # the environment is somebody's own: without trackbridge nothing is counted
    _held["telemetry"] = serving.ScoringTelemetry(
        name=os.environ.get("BRIDGE_SERVING_NAME", ""), model=os.environ.get("BRIDGE_SERVING_MODEL", "")
    )


@raw
def run(request: Any) -> Any:
    """Answer one request."""
    began_s = time.perf_counter()
    kind = str(request.headers.get("Content-Type") or JSON).partition(";")[0].strip().lower()
    status, body = answer(kind, request.get_data())
    telemetry = _held.get("telemetry")
    if telemetry is not None:
        telemetry.count(status=status, duration_s=time.perf_counter() - began_s, rows=_rows(status, body))
    response: Any = import_module(f"{API}.aml_response")
    return response.AMLResponse(body, status, {"Content-Type": JSON})


def answer(kind: str, body: bytes) -> tuple[int, str]:
    """Return status and body of the answer to a payload."""
    model, server = _held["model"], _held["server"]
    schema = model.metadata.get_input_schema()
    if kind not in (JSON, CSV):
        return 415, _message(f"the content type {kind!r} is not taken: use {JSON} or {CSV}")
    try:
        if kind == CSV:
            data, params = server.parse_csv_input(StringIO(body.decode("utf-8")), schema), None
        else:
            asked = _in_mlflows_form(json.loads(body))
            params = asked.pop("params", None)
            data = server.infer_and_parse_data(asked, schema)
    except Exception as error:  # whatever the parsers raise, the payload is what is wrong
        return 400, _message(f"the payload is not taken: {error}")
    try:
        found = model.predict(data, params=params) if params else model.predict(data)
    except Exception as error:  # the model's own failure; Azure's server would tell no reason
        print(f"Error: the model failed: {type(error).__name__}: {error}", flush=True)  # noqa: T201
        return 500, _message(f"the model failed: {type(error).__name__}: {error}")
    written = StringIO()
    server.predictions_to_json(found, written)
    return 200, written.getvalue()


def _rows(status: int, body: str) -> int:
    """Return how many rows were scored: an answer that is no list, as a number is, is one."""
    found = json.loads(body)["predictions"] if status == 200 else []
    return len(found) if isinstance(found, list) else 1


def _in_mlflows_form(asked: Any) -> dict[str, Any]:
    if not isinstance(asked, dict):
        raise ValueError("a JSON object is expected")
    if "input_data" not in asked:
        return dict(asked)
    kept = {name: value for name, value in asked.items() if name != "input_data"}
    value = asked["input_data"]
    is_table = isinstance(value, dict) and "data" in value and value.keys() <= _TABLE
    return {**kept, "dataframe_split" if is_table else "inputs": value}


def _message(text: str) -> str:
    return json.dumps({"message": text})
