"""Scores files as a batch deployment does: in mini-batches, with retries, and a bound of errors.

``python -m …inference.batch INPUT MODEL OUTPUT SETTINGS``; SETTINGS is JSON: ``script`` (its path, "" for a
model in MLflow's format), ``model`` (the name of its folder), ``size``, ``errors_max`` (-1 for any number),
``retries``, ``timeout_s`` (of a mini-batch), ``appends`` (whether what ``run`` returns is written), ``file``.

A row of a table is written with spaces between its values and without a head, anything else as Python shows
it, a line each: what Microsoft's own examples read back.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from trackbridge.testing.emulators.azureml.inference import mlflow_model, script_api, server

FAILED_EXIT = 1


class TooSlow(Exception):
    """A mini-batch took longer than it may."""


def files_of(place: Path) -> list[Path]:
    """Return the files to score: the one, or all below a folder, in the order of their names."""
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())


def batches(files: list[Path], size: int) -> Iterator[list[Path]]:
    """Yield the files by mini-batches."""
    for start in range(0, len(files), size):
        yield files[start : start + size]


def lines_of(result: Any) -> list[str]:
    """Return what is written of what ``run`` returned."""
    if hasattr(result, "itertuples"):
        text = io.StringIO()
        csv.writer(text, delimiter=" ", lineterminator="\n").writerows(result.itertuples(index=False))
        return text.getvalue().splitlines()
    return [str(item) for item in result]


def count_of(result: Any) -> int:
    """Return how many items of a mini-batch ``run`` says that it has scored."""
    return len(result) if result is not None else 0


def within(seconds: float, function: Callable[[], Any]) -> Any:
    """Call a function, and break it off after a time.

    Raises:
        TooSlow: It took longer.
    """

    def expire(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"run() took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def score(run: Callable[[list[str]], Any], batch: list[Path], settings: dict[str, Any]) -> Any:
    """Score a mini-batch, again when it fails; returns what ``run`` does, None when it failed for good."""
    names = [str(path) for path in batch]
    for attempt in range(1 + int(settings["retries"])):
        try:
            return within(float(settings["timeout_s"]), lambda: run(names))
        except Exception:  # the user's code may raise anything; ``main`` counts the files, and ends the job
            server.log(f"Attempt {attempt + 1} at {names} failed: {traceback.format_exc()}")
    return None


def mlflow_rows(batch: Iterable[str]) -> list[list[Any]]:
    """Score tables with a model in MLflow's format: row, prediction and file, for each row.

    Raises:
        ValueError: A file is no table.
    """
    pandas: Any = import_module("pandas")
    readers = {".csv": pandas.read_csv, ".parquet": pandas.read_parquet, ".pqt": pandas.read_parquet}
    rows: list[list[Any]] = []
    for name in batch:
        path = Path(name)
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise ValueError(f"{path.name}: only {', '.join(readers)} can be scored without a script")
        told = mlflow_model.told(mlflow_model.predict(reader(path)))
        rows += [[number, value, path.name] for number, value in enumerate(told)]
    return rows


def model_folder(model: Path, name: str) -> Path:
    """Return the folder that has the model, a file or a folder of a name, in it."""
    if model.is_file():
        return model.parent
    above = Path(tempfile.mkdtemp(prefix="model-"))
    (above / name).symlink_to(model, target_is_directory=True)
    return above


def _functions(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[list[str]], Any], bool]:
    """Return ``init`` and ``run``, and whether each item that comes back stands for a file."""
    if not settings["script"]:
        return mlflow_model.init, mlflow_rows, False
    script_api.install()
    module = server.load(Path.cwd(), settings["script"])
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise server.BadScript(f"User script does not have a {name}() function defined.")
    return module.init, module.run, True


def main(arguments: list[str]) -> int:
    """Score all files; 1 when more failed than may."""
    files, target = files_of(Path(arguments[0])), Path(arguments[2])
    settings: dict[str, Any] = json.loads(arguments[3])
    os.environ["AZUREML_MODEL_DIR"] = str(model_folder(Path(arguments[1]), settings["model"]))
    os.environ["AZUREML_BI_OUTPUT_PATH"] = str(target)
    target.mkdir(parents=True, exist_ok=True)
    init, run, is_by_file = _functions(settings)
    init()
    failed = 0
    most = int(settings["errors_max"])
    output = target / settings["file"]
    for batch in batches(files, max(1, int(settings["size"]))):
        result = score(run, batch, settings)
        lost = len(batch) if result is None else max(0, len(batch) - count_of(result)) if is_by_file else 0
        failed += lost
        if result is not None and settings["appends"]:
            with output.open("a", encoding="utf-8") as written:
                written.writelines(f"{line}\n" for line in lines_of(result))
        if 0 <= most < failed:
            server.log(f"{failed} files have failed, and {most} may: the job ends")
            return FAILED_EXIT
    server.log(f"{len(files)} files, of which {failed} have failed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
