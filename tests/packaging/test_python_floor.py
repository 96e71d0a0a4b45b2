"""The oldest supported Python can read every source file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.packaging.test_repository import statements

ROOT = Path(__file__).resolve().parents[2]
FLOOR = (3, 10)
FOLDERS = ("src", "adapters", "tests", "benchmarks", "examples")
LATER_MODULES = {"tomllib", "compression", "annotationlib", "concurrent.interpreters"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_syntax_and_imports(folder: str) -> None:
    # What modules offer by version is mypy's to check: it runs with python_version = 3.10.
    sources = sorted((ROOT / folder).rglob("*.py"))
    assert sources
    assert {str(source): found for source in sources if (found := later_in(source))} == {}


def later_in(source: Path) -> str:
    """Say what the oldest Python does not know of a file."""
    try:
        tree = ast.parse(source.read_text(), str(source), feature_version=FLOOR)
    except SyntaxError as error:
        return str(error)
    return ", ".join(LATER_MODULES.intersection(imported_modules(tree)))


def test_floor_is_declared_once() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={FLOOR[0]}.{FLOOR[1]}"' in settings
    assert f'python_version = "{FLOOR[0]}.{FLOOR[1]}"' in settings
    assert f'target-version = "py{FLOOR[0]}{FLOOR[1]}"' in settings
    assert re.search(rf"version_info < \({FLOOR[0]}, {FLOOR[1]}\)", (ROOT / "Makefile").read_text())


def test_later_syntax_is_seen() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("try:\n    pass\nexcept* ValueError:\n    pass", feature_version=FLOOR)


def test_what_came_later_is_seen(tmp_path: Path) -> None:
    sources = {"import tomllib\n": "tomllib", "def f[T](): pass\n": "", "def f(): import json\n": None}
    for number, (text, told) in enumerate(sources.items()):
        source = tmp_path / f"{number}.py"
        source.write_text(text)
        found = later_in(source)
        assert bool(found) == (told is not None), text
        assert (told or "") in found


def imported_modules(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
