"""examples/README.md names every example, with extras that there are; every example is run by a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

from tests.examples.running import EXAMPLES

TABLE_ROW = re.compile(r"^\| (`.+?`) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
TEXT = (EXAMPLES / "README.md").read_text(encoding="utf-8")
ROWS = TABLE_ROW.findall(TEXT)
NAMED = [name for row in ROWS for name in re.findall(r"`(.+?)`", row[0])]


def files() -> Iterator[str]:
    """Every file of the examples, but what a run of one leaves behind."""
    for path in sorted(EXAMPLES.rglob("*")):
        parts = path.relative_to(EXAMPLES).parts
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts):
            yield "/".join(parts)


def covers(name: str, file: str) -> bool:
    """Tell whether a file is the one that is named, or lies in the folder that is."""
    return file.startswith(name) if name.endswith("/") else file == name


def texts_of_tests() -> str:
    """All texts in the code of the other tests of examples and of what they share, docstrings left out."""
    found: list[str] = []
    for folder in (Path(__file__).parent, Path(__file__).parents[1] / "support"):
        for path in folder.glob("*.py"):
            if path != Path(__file__):
                tree = ast.parse(path.read_text(encoding="utf-8"))
                statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
                found += [
                    node.value
                    for node in ast.walk(tree)
                    if isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and id(node) not in statements
                ]
    return "\n".join(found)


def test_every_file_is_named_once() -> None:
    found = {file: [name for name in NAMED if covers(name, file)] for file in files() if file != "README.md"}
    assert found
    assert {file: names for file, names in found.items() if len(names) != 1} == {}


def test_every_name_is_there() -> None:
    there = list(files())
    assert [name for name in NAMED if not any(covers(name, file) for file in there)] == []


def test_every_example_is_run_by_a_test() -> None:
    texts = texts_of_tests() + (EXAMPLES / "deploy_canary.sh").read_text(encoding="utf-8")  # reads its spec
    names = {name: re.escape(name.rstrip("/").rpartition("/")[2]) for name in NAMED}
    assert [name for name, last in names.items() if not re.search(rf"\b{last}(?![\w.])", texts)] == []


def test_extras_are_extras() -> None:
    known = set(metadata("trackbridge").get_all("Provides-Extra") or ())
    named = {extra for row in ROWS for extra in re.findall(r"`(.+?)`", row[2])}
    assert named
    assert named - known == set()


def test_examples_in_python_say_how_they_are_run() -> None:
    for file in files():
        if file.endswith(".py") and file in NAMED:
            told = ast.get_docstring(ast.parse((EXAMPLES / file).read_text(encoding="utf-8"))) or ""
            assert re.search(
                rf"^(python|spark-submit|bridge run) (?:\S*/)?{Path(file).name}", told, re.MULTILINE
            ), file
