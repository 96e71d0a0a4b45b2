"""The scoring script that Azure makes up for a model in MLflow's format: ``init`` and ``run``.

The body is ``{"input_data": …, "params": …}``: ``columns``, ``index`` and ``data`` of a table, a tensor as
nested lists, or named tensors. CSV, ``dataframe_split``, ``inputs`` and lists of records are not taken; the
model's signature is enforced (how-to-deploy-mlflow-models.md). The answer is the predictions alone.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

KEY = "input_data"
_TABLE = {"columns", "index", "data"}
_loaded: dict[str, Any] = {}


class BadInput(Exception):
    """A payload that the generated script does not take."""


def folder_of_model(root: Path) -> Path:
    """Return the folder with ``MLmodel``, at or below a folder.

    Raises:
        FileNotFoundError: There is none.
    """
    found = [Path(place) for place, _, names in os.walk(root, followlinks=True) if "MLmodel" in names]
    if not found:
        raise FileNotFoundError(f"no file MLmodel in {root}: the model is not in MLflow's format")
    # Resolved, since mlflow takes no model that is reached by a link.
    return min(found, key=lambda path: len(path.parts)).resolve()


def init() -> None:
    """Load the model."""
    pyfunc: Any = import_module("mlflow.pyfunc")
    _loaded["model"] = pyfunc.load_model(str(folder_of_model(Path(os.environ["AZUREML_MODEL_DIR"]))))


def run(raw_data: str) -> Any:
    """Score a payload.

    Raises:
        BadInput: It has not the form that is wanted.
    """
    payload = json.loads(raw_data)
    if not isinstance(payload, dict) or KEY not in payload:
        raise BadInput(f"Request must contain a top level key named '{KEY}'")
    data = parsed(payload[KEY], _loaded["model"].metadata.get_input_schema())
    return told(predict(data, payload.get("params")))


def predict(data: Any, params: dict[str, Any] | None = None) -> Any:
    """Return the model's predictions, as it gives them."""
    model = _loaded["model"]
    return model.predict(data, params=params) if params else model.predict(data)


def parsed(data: Any, schema: Any) -> Any:
    """Return what the model gets for the ``input_data`` of a payload."""
    utilities: Any = import_module("mlflow.utils.proto_json_utils")
    if isinstance(data, dict) and "data" in data and data.keys() <= _TABLE:
        table = {name: data[name] for name in ("columns", "index", "data") if name in data}
        return utilities.dataframe_from_parsed_json(table, "split", schema)
    if isinstance(data, list) and data and isinstance(data[0], dict):
        raise BadInput("Lists of records are not supported: give columns, index and data")
    is_table = schema is not None and not schema.is_tensor_spec() and schema.has_input_names()
    if isinstance(data, list) and is_table:
        names = schema.input_names()
        return utilities.dataframe_from_parsed_json({"columns": names, "data": data}, "split", schema)
    return utilities.parse_inputs_data(data, schema=schema)


def told(predictions: Any) -> Any:
    """Return predictions as JSON has them."""
    scoring: Any = import_module("mlflow.utils.proto_json_utils")
    frame: Any = getattr(predictions, "to_dict", None)
    if frame is not None and hasattr(predictions, "columns"):
        predictions = predictions.to_dict(orient="records")
    elif frame is not None:
        predictions = predictions.to_list()
    return json.loads(json.dumps(predictions, cls=scoring.NumpyEncoder))
