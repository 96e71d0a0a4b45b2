"""The oldest supported Python can read every source file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOOR = (3, 10)
SOURCES = sorted(
    path.relative_to(ROOT)
    for folder in ("src", "adapters", "tests", "benchmarks", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
LATER_MODULES = {"tomllib", "compression", "annotationlib", "concurrent.interpreters"}


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_syntax_and_imports(source: Path) -> None:
    # What modules offer by version is mypy's to check: it runs with python_version = 3.10.
    tree = ast.parse((ROOT / source).read_text(), str(source), feature_version=FLOOR)
    assert not LATER_MODULES.intersection(imported_modules(tree))


def test_floor_is_declared_once() -> None:
    settings = (ROOT / "pyproject.toml").read_text()
    assert f'requires-python = ">={FLOOR[0]}.{FLOOR[1]}"' in settings
    assert f'python_version = "{FLOOR[0]}.{FLOOR[1]}"' in settings
    assert f'target-version = "py{FLOOR[0]}{FLOOR[1]}"' in settings
    assert re.search(rf"version_info < \({FLOOR[0]}, {FLOOR[1]}\)", (ROOT / "Makefile").read_text())


def test_later_syntax_is_seen() -> None:
    with pytest.raises(SyntaxError):
        ast.parse("try:\n    pass\nexcept* ValueError:\n    pass", feature_version=FLOOR)


def imported_modules(tree: ast.Module) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
