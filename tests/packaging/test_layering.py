"""The layers hold, and each contract sees a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LAYERS = "The core imports downward only"
NO_CLOUD = "The core imports no adapter and no cloud SDK"
ADAPTERS_IMPORT = "Adapters import only ports, domain, errors and transport"
ADAPTERS_ALONE = "Adapters do not know each other"


@dataclass(frozen=True)
class Violation:
    """A module that should not exist, and the contract that says so."""

    path: str
    text: str
    contract: str


VIOLATIONS = {
    "upward": Violation("src/trackbridge/domain/bad.py", "import trackbridge.journal", LAYERS),
    "upward inside a function": Violation(
        "src/trackbridge/ports/bad.py", "def f():\n    import trackbridge.delivery", LAYERS
    ),
    "sideways": Violation("src/trackbridge/journal/bad.py", "import trackbridge.calls", LAYERS),
    "api imports the test kit": Violation("src/trackbridge/api/bad.py", "import trackbridge.testing", LAYERS),
    "package without a layer": Violation("src/trackbridge/helpers/bad.py", "", LAYERS),
    "module without a layer": Violation("src/trackbridge/helpers.py", "", LAYERS),
    "core imports an adapter": Violation(
        "src/trackbridge/resolve/bad.py", "import trackbridge_adapters.local", NO_CLOUD
    ),
    "core imports boto3": Violation("src/trackbridge/api/bad.py", "def f():\n    import boto3", NO_CLOUD),
    "core imports azure": Violation("src/trackbridge/cli/bad.py", "from azure.ai import ml", NO_CLOUD),
    "cli imports mlflow": Violation("src/trackbridge/cli/bad.py", "import mlflow.tracking", NO_CLOUD),
    "adapter imports the pipeline": Violation(
        "adapters/trackbridge_adapters/local/bad.py", "import trackbridge.calls", ADAPTERS_IMPORT
    ),
    "adapter imports the test kit": Violation(
        "adapters/trackbridge_adapters/local/bad.py", "import trackbridge.testing", ADAPTERS_IMPORT
    ),
    "new adapter imports a sibling": Violation(
        "adapters/trackbridge_adapters/another/bad.py",
        "import trackbridge_adapters.local.config",
        ADAPTERS_ALONE,
    ),
    "shared wire client imports an adapter": Violation(
        "adapters/trackbridge_adapters/_mlflow_rest/bad.py",
        "import trackbridge_adapters.local",
        ADAPTERS_ALONE,
    ),
}

PERMITTED = {
    "src/trackbridge/gateway/permitted.py": "import trackbridge.api",
    "src/trackbridge/mlflow_plugin/permitted.py": "import mlflow\nimport trackbridge.api",
    "src/trackbridge/operations/permitted.py": "import trackbridge.delivery",
    "src/trackbridge/serving/permitted.py": "import trackbridge.calls",
    "adapters/trackbridge_adapters/_mlflow_rest/permitted.py": "import trackbridge.transport",
    "adapters/trackbridge_adapters/another/permitted.py": "import trackbridge_adapters._mlflow_rest",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of both source roots and of the contracts."""
    copy = tmp_path_factory.mktemp("layering")
    only_sources = shutil.ignore_patterns("__pycache__", "static")
    for root in ("src", "adapters"):
        shutil.copytree(ROOT / root, copy / root, ignore=only_sources)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tree / "src"), str(tree / "adapters")]),
        "COLUMNS": "200",
    }
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    return subprocess.run(
        [*command, "--no-cache", "--config", str(tree / "pyproject.toml")],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_layers_hold(tree: Path) -> None:
    result = lint_imports(tree)
    assert result.returncode == 0, result.stdout + result.stderr
    for contract in (LAYERS, NO_CLOUD, ADAPTERS_IMPORT, ADAPTERS_ALONE):
        assert f"{contract} KEPT" in result.stdout


@pytest.mark.parametrize("name", VIOLATIONS)
def test_violation_is_seen(tree: Path, name: str) -> None:
    violation = VIOLATIONS[name]
    with modules_added(tree, {violation.path: violation.text}):
        result = lint_imports(tree)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{violation.contract} BROKEN" in result.stdout


def test_packages_of_later_work_have_their_place(tree: Path) -> None:
    with modules_added(tree, PERMITTED):
        result = lint_imports(tree)
    assert result.returncode == 0, result.stdout + result.stderr


@contextmanager
def modules_added(tree: Path, modules: dict[str, str]) -> Iterator[None]:
    """Write the modules, in packages of their own where those are missing; take them back afterwards."""
    created: list[Path] = []
    for path, text in modules.items():
        package = (tree / path).parent
        if not package.exists():
            package.mkdir()
            created.append(package)
            (package / "__init__.py").touch()
        (tree / path).write_text(text + "\n")
        created.append(tree / path)
    yield
    for path in reversed(created):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
