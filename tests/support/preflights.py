"""Models with input examples, and an index of packages that lends what is installed here."""

from __future__ import annotations

import os
import sysconfig
import zipfile
from pathlib import Path

import pytest

from trackbridge.domain.ids import mint_id
from trackbridge.domain.model_digest import digest_of_path, files_of
from trackbridge.domain.models import ModelVersionSpec
from trackbridge.domain.runs import RunStatus
from trackbridge.operations.migrate.files import file_digest
from trackbridge.operations.migrate.side import Side
from trackbridge.testing.contracts.samples import run_spec

EXAMPLE = """\
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  type: dataframe
"""


def with_example(model: Path) -> Path:
    """Give a model an input example of two rows; return its folder."""
    (model / "input_example.json").write_text('{"columns": ["a"], "data": [[1.0], [2.0]]}', "utf-8")
    with (model / "MLmodel").open("a", encoding="utf-8") as file:
        file.write(EXAMPLE)
    return model


SMALL = {
    "mlflow/__init__.py": "",
    "mlflow/pyfunc.py": """\
import importlib, re, sys
from pathlib import Path


def load_model(folder):
    module = re.search(r"loader_module: (\\S+)", Path(folder, "MLmodel").read_text("utf-8"))[1]
    sys.path.insert(0, str(Path(folder, "code")))
    return importlib.import_module(module)._load_pyfunc(folder)
""",
    "mlflow/models.py": """\
import json
from pathlib import Path


class Model:
    @classmethod
    def load(cls, folder):
        return cls()

    def load_input_example(self, folder):
        file = Path(folder, "input_example.json")
        return json.loads(file.read_text("utf-8"))["data"] if file.exists() else None
""",
}
"""What stands for mlflow where mlflow itself is not what is tested: its import takes seconds."""


def lend_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an index whose mlflow is the one that is installed here."""
    _lend(folder, monkeypatch, {"mlflow_lent.pth": f"{sysconfig.get_paths()['purelib']}\n"})


def lend_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make an index whose mlflow is a small one, which loads the models that tests write."""
    _lend(folder, monkeypatch, SMALL)


def _lend(folder: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, str]) -> None:
    """Make an index that has mlflow and nothing else, and let it be all that uv knows."""
    folder.mkdir()
    info = "mlflow-99.0.dist-info"
    files = {
        **content,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: mlflow\nVersion: 99.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "mlflow-99.0-py3-none-any.whl", "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD")))
    for variable in [variable for variable in os.environ if variable.startswith("UV_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_CACHE_DIR", str(folder / "cache"))


def register_folder(side: Side, model: Path, name: str) -> str:
    """Log a folder to a run of its own and register it; return the version's number."""
    spec = run_spec(mint_id(), experiment="models")
    assert side.artifacts is not None
    assert side.registry is not None
    side.tracking.open_run(spec)
    for path, file in files_of(model):
        side.artifacts.put(
            spec.run_id, f"model/{path}", file, digest=file_digest(file), size=file.stat().st_size
        )
    side.tracking.close_run(spec.run_id, status=RunStatus.FINISHED, end_time=spec.start_time + 1)
    side.registry.ensure_model(name)
    source = f"bridge-artifacts:/{spec.run_id}/model"
    wanted = ModelVersionSpec(name=name, source=source, digest=digest_of_path(model), run_id=spec.run_id)
    return side.registry.create_version(wanted, key=spec.run_id).version
