"""Loads a model and scores its input example: a program, run in the environment of the model.

``python -I program.py FOLDER WORK`` writes ``WORK/result.json``: ``{"passed", "stage", "detail"}``.
It needs nothing but what the model's own requirements hold. The model's code gets none of the variables of
whoever started this, so that no credentials are within its reach by name, and a home of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

CLEAN = "BRIDGE_PREFLIGHT_CLEAN"
KEPT = frozenset(
    {"PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV", "BRIDGE_JOB_ID"}
)
"""Variables that the model's process has; the last one is how the job's runner knows its processes."""
RESULT = "result.json"
DETAIL_CHARS_MAX = 600


def checked(folder: str) -> dict[str, Any]:
    """Load and score; return what is to be told."""
    stage = "mlflow"
    try:
        pyfunc = importlib.import_module("mlflow.pyfunc")
        models = importlib.import_module("mlflow.models")
        stage = "load"
        model = pyfunc.load_model(folder)
        stage = "input example"
        description = models.Model.load(folder)
        example = description.load_input_example(folder)
        if example is None:
            return {"passed": True, "stage": "load", "detail": "it has no input example to be scored"}
        params = _params(description, folder)
        stage = "score"
        answer = model.predict(example, params=params) if params else model.predict(example)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        return {"passed": False, "stage": stage, "detail": said[:DETAIL_CHARS_MAX]}
    return {"passed": True, "stage": "score", "detail": f"its input example was scored: {_shape(answer)}"}


def _params(description: Any, folder: str) -> Any:
    """Return the parameters of inference that are kept with the example; mlflow 2.11 and later keep them."""
    read = getattr(description, "load_input_example_params", None)
    return read(folder) if read is not None else None


def _shape(answer: Any) -> str:
    try:
        return f"{len(answer):,} rows"
    except TypeError:
        return type(answer).__name__


def main(folder: str, work: str) -> int:
    """Begin anew without the variables of whoever started this; then check, and write down what was found."""
    if os.environ.get(CLEAN) != "1":
        kept = {name: value for name, value in os.environ.items() if name in KEPT}
        kept |= {CLEAN: "1", "HOME": work, "TMPDIR": work}
        program = os.path.abspath(__file__)
        os.execve(sys.executable, [sys.executable, "-I", "-B", program, folder, work], kept)
    os.chdir(work)
    found = checked(folder)
    draft = os.path.join(work, f"{RESULT}.draft")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(found, file)
    os.replace(draft, os.path.join(work, RESULT))
    return 0 if found["passed"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
