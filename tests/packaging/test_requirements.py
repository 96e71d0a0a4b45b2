"""The pinned requirements hold what the project asks for, and agree with each other."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.test_repository import statements

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
EXTRAS_OF = {
    "dev": [extra for extra in EXTRAS if extra not in ("all", "sagemaker")],  # AWS's SDK has its own place
    "demo": ["demo", "images", "system", "mlflow", "serve"],
    "bench": ["system", "mlflow", "serve", "jobs", "sweeps", "aws", "emulators"],
    "azureml-floor": ["azure", "emulators", "mlflow", "serve", "testing"],
    "azureml-newest": ["azure", "emulators", "mlflow", "serve", "testing"],
}

OTHERWISE_NAMED = {
    "markdown_it": "markdown-it-py",
    "opentelemetry": "opentelemetry-api",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Modules whose distribution is not called as they are."""


def pins(name: str) -> list[Requirement]:
    return [Requirement(line) for line in (ROOT / f"requirements/{name}.txt").read_text().splitlines()]


def asked_for(name: str) -> list[Requirement]:
    extras = [line for extra in EXTRAS_OF[name] for line in EXTRAS[extra]]
    tools = [
        line
        for line in (ROOT / f"requirements/{name}.in").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    return [Requirement(line) for line in (*PROJECT["dependencies"], *extras, *tools)]


@pytest.mark.parametrize("name", EXTRAS_OF)
def test_every_requirement_is_pinned_to_a_version_that_fits(name: str) -> None:
    versions: dict[str, list[str]] = {}
    for pin in pins(name):
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        versions.setdefault(canonicalize_name(pin.name), []).append(specifier.version)
    unmet = [
        str(asked)
        for asked in asked_for(name)
        if not (found := versions.get(canonicalize_name(asked.name)))
        or not all(asked.specifier.contains(version) for version in found)
    ]
    assert unmet == [], "run: make lock"


def imported(folder: Path) -> set[str]:
    """Return what the modules below a folder import that is neither Python's own nor the project's."""
    nodes = [node for file in folder.rglob("*.py") for node in statements(ast.parse(file.read_text()))]
    named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    own = {*sys.stdlib_module_names, "benchmarks", "tests", "trackbridge", "trackbridge_adapters"}
    return {module for module in named if module.partition(".")[0] not in own}


@pytest.mark.parametrize(
    ("folder", "name", "known"),
    [("benchmarks", "bench", "azure.storage.blob"), ("src/trackbridge", "dev", "azure.identity")],
)
def test_what_is_imported_is_pinned(folder: str, name: str, known: str) -> None:
    """mypy and the tests need what is imported, also where only some of it is called."""
    pinned = {canonicalize_name(pin.name) for pin in pins(name)}
    found = imported(ROOT / folder)
    assert known in found
    missing = []
    for module in found:
        first, _, rest = module.partition(".")
        distribution = OTHERWISE_NAMED.get(module if first == "opentelemetry" else first, first)
        named = f"{distribution}.{rest}"
        parts = named.replace("_", "-").split(".")
        if not any("-".join(parts[:count]) in pinned for count in range(1, len(parts) + 1)):
            missing.append(module)
    assert missing == []


def test_demo_and_development_share_an_environment() -> None:
    versions = {(pin.name, str(pin.specifier)) for pin in pins("dev")}
    assert {(pin.name, str(pin.specifier)) for pin in pins("demo")} <= versions
