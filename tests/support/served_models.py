"""Three registered models for comparing targets: scikit-learn, PyTorch, and plain Python; and 1,000 rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trackbridge.domain.model_digest import digest_of_path
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.ports.registry import ModelRegistry

ROWS = 1000
JSON = "application/json"
PLAIN = '''
import mlflow

class Plain(mlflow.pyfunc.PythonModel):
    """Arithmetic and words, so that an answer can hold more than numbers."""

    def predict(self, context, model_input, params=None):
        proof = model_input["alcohol"] / 3 + model_input["hue"] ** 2
        return [{"proof": value, "kind": "strong" if value > 6 else "light"} for value in proof]

mlflow.models.set_model(Plain())
'''


@dataclass(frozen=True)
class ServedModel:
    """A model, the request with the rows, and what the model itself predicts for them."""

    name: str
    folder: Path
    body: bytes
    predictions: list[Any]


def save_models(folder: Path) -> list[ServedModel]:
    """Fit and save the three models."""
    import mlflow
    import pandas
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True)
    rows = pandas.concat([wine.data] * (ROWS // len(wine.data) + 1))[:ROWS].reset_index(drop=True)
    rows = rows * (1 + rows.index.to_numpy()[:, None] / ROWS)  # no two alike
    for save in (_save_sklearn, _save_torch, _save_plain):
        save(folder, wine.data, wine.target)
    split = rows.to_dict("split")
    body = json.dumps({"dataframe_split": {"columns": split["columns"], "data": split["data"]}}).encode()
    found = []
    for name in ("ridge", "network", "plain"):
        own = rows.astype("float32") if name == "network" else rows  # as its signature says
        predictions = mlflow.pyfunc.load_model(folder / name).predict(own)
        found.append(ServedModel(name, folder / name, body, flat(predictions)))
    return found


def _save_sklearn(folder: Path, rows: Any, labels: Any) -> None:
    import mlflow
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), Ridge()).fit(rows, labels)
    signature = mlflow.models.infer_signature(rows, model.predict(rows))
    mlflow.sklearn.save_model(
        model, folder / "ridge", signature=signature, pip_requirements=["mlflow", "scikit-learn"]
    )


def _save_torch(folder: Path, rows: Any, labels: Any) -> None:
    import mlflow
    import torch

    torch.manual_seed(7)
    layers = (torch.nn.Linear(rows.shape[1], 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    signature = mlflow.models.infer_signature(rows.astype("float32"))
    mlflow.pytorch.save_model(
        torch.nn.Sequential(*layers),
        folder / "network",
        signature=signature,
        pip_requirements=["mlflow", "torch"],
        serialization_format="pickle",
    )


def _save_plain(folder: Path, rows: Any, labels: Any) -> None:
    import mlflow

    code = folder / "plain.py"
    code.write_text(PLAIN, encoding="utf-8")
    signature = mlflow.models.infer_signature(rows)
    mlflow.pyfunc.save_model(
        folder / "plain", python_model=str(code), signature=signature, pip_requirements=["mlflow"]
    )


def register(models: list[ServedModel], registry: ModelRegistry) -> None:
    """Register each model as the first version of its name."""
    for model in models:
        registry.ensure_model(model.name)
        spec = ModelVersionSpec(
            name=model.name, source=model.folder.as_uri(), digest=digest_of_path(model.folder)
        )
        registry.create_version(spec, key=model.name)


def answered(body: bytes) -> list[Any]:
    """Return the predictions of an answer, row by row."""
    return flat(json.loads(body)["predictions"])


def flat(predictions: Any) -> list[Any]:
    """Return predictions of any form as one list of numbers and words."""
    if hasattr(predictions, "to_dict"):
        predictions = predictions.to_dict("records")
    return list(_items(predictions))


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _items(item)
    elif isinstance(value, str):
        yield value
    elif hasattr(value, "__iter__"):
        for item in value:
            yield from _items(item)
    else:
        yield float(value)
