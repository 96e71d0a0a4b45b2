"""Tiny models in the MLmodel format, written by hand: nothing is fitted, and their code travels along.

Each has a ``python_function`` flavor whose loader lies in the model's own ``code`` folder. A request
``{"inputs": [[1.0], [2.0]]}`` is answered with one number a row.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    code: code
    env: {{virtualenv: python_env.yaml}}
    loader_module: {module}
model_uuid: 00000000000000000000000000000000
utc_time_created: '2026-01-01 00:00:00.000000'
"""

LOADER = '''\
"""A model of the contract suite."""

import os
import sys
import time

{preparation}


class Model:
    def predict(self, model_input, params=None):
{body}


def _load_pyfunc(path):
    return Model()
'''

ANSWERS = "        return [{answer}] * len(model_input)"
FAILS = "        raise RuntimeError('this model fails on purpose')"
SLEEPS = "        time.sleep({seconds})\n        return [{answer}] * len(model_input)"
DIES = "        os.abort()"
BROKEN = "raise RuntimeError('this model cannot be loaded')"


def write_model(folder: Path, name: str, *, body: str, preparation: str = "") -> Path:
    """Write a model whose ``predict`` has this body; ``preparation`` runs when it is loaded.

    Returns:
        The model's folder, ``folder / name``.
    """
    model = folder / name
    (model / "code").mkdir(parents=True)
    module = f"contract_model_{name.replace('-', '_')}"
    (model / "MLmodel").write_text(MLMODEL.format(module=module), "utf-8")
    (model / "requirements.txt").write_text("mlflow\n", "utf-8")
    loader = LOADER.format(body=body, preparation=preparation)
    (model / "code" / f"{module}.py").write_text(loader, "utf-8")
    return model


def answering(folder: Path, name: str, answer: float) -> Path:
    """Write a model that answers each row with one number."""
    return write_model(folder, name, body=ANSWERS.format(answer=answer))


def failing(folder: Path, name: str = "fails") -> Path:
    """Write a model that loads, and fails at each request."""
    return write_model(folder, name, body=FAILS)


def sleeping(folder: Path, name: str = "sleeps", *, seconds: float, answer: float = 0.0) -> Path:
    """Write a model that takes so many seconds to answer."""
    return write_model(folder, name, body=SLEEPS.format(seconds=seconds, answer=answer))


def broken(folder: Path, name: str = "broken") -> Path:
    """Write a model that cannot be loaded."""
    return write_model(folder, name, body="        return []", preparation=BROKEN)


def spec_for(payload: Path, endpoint: str, deployment: str, **fields: object) -> DeploymentSpec:
    """Return the spec of a deployment of a model that was written here."""
    digest = hashlib.sha256()
    for file in sorted(path for path in payload.rglob("*") if path.is_file()):
        digest.update(file.relative_to(payload).as_posix().encode() + b"\0" + file.read_bytes())
    return DeploymentSpec(
        endpoint=endpoint,
        deployment=deployment,
        model=f"models:/{payload.name}/1",
        model_source=payload.as_uri(),
        model_digest=f"sha256:{digest.hexdigest()}",
        **fields,  # type: ignore[arg-type]
    )
