"""What every tracked file keeps to: no traces of a machine, nothing too long, nothing unfinished."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
CODE = ("src", "adapters", "tests", "benchmarks", "examples")

# Examples may name the home of nobody in particular.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/(?!(?:a|me|someone|user)\b)\w")
REGISTRY_HOST = re.compile(r"\b(?:py[p]i\.org|py[t]honhosted\.org|anaconda\.(?:org|com)|j[f]rog\.io)")
OF_OTHERS = (".min.js", ".tiny.js")
"""Ends of the names of files that others wrote, and that are kept as they are."""
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b")


def tracked_files() -> list[Path]:
    """Every file of the project: as git lists them, or all of an unpacked source archive."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode == 0:
        return [ROOT / line for line in listing.stdout.splitlines() if (ROOT / line).is_file()]
    folders = (ROOT / folder for folder in (*CODE, "docs", "requirements", "terraform", ".ci"))
    nested = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return [path for path in (*nested, *ROOT.iterdir()) if path.is_file()]


FILES = tracked_files()
SOURCES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in CODE]


def texts() -> Iterator[tuple[Path, str]]:
    for path in FILES:
        content = path.read_bytes()
        if b"\0" not in content and not path.name.endswith(OF_OTHERS):
            yield path.relative_to(ROOT), content.decode()


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_files_are_found() -> None:
    assert ROOT / "pyproject.toml" in FILES
    assert ROOT / "src/trackbridge/errors.py" in SOURCES


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST, UNFINISHED], ids=lambda p: p.pattern[:24])
def test_no_line_holds(pattern: re.Pattern[str]) -> None:
    assert lines_with(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (MACHINE_PATH, "open('/home/" + "maria/data.csv')"),
        (REGISTRY_HOST, "https://files.python" + "hosted.org/packages"),
        (UNFINISHED, "# TO" + "DO: later"),
    ],
)
def test_patterns_see_what_they_look_for(pattern: re.Pattern[str], text: str) -> None:
    assert pattern.search(text)


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in SOURCES
        if (count := len(path.read_text().splitlines())) >= FILE_LINES_MAX
    }
    assert long == {}


def test_functions_are_short() -> None:
    assert [name for name, lines in functions() if lines > FUNCTION_LINES_MAX] == []


def test_nothing_is_a_stub() -> None:
    stubs = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if "NotImplementedError" in (text := path.read_text())  # most need not be parsed
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node)
    ]
    assert stubs == []


def test_filters_of_warnings_are_left_alone() -> None:
    """They are the whole process's: changed in a thread of ours, they would swallow the user's."""
    changers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in ("src", "adapters") and "catch_warnings(" in path.read_text()
    }
    assert changers == {"src/trackbridge/api/flavors.py"}  # in the thread that logs a model, around mlflow


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY:(.*)$", makefile, re.MULTILINE)
    assert phony
    explained = re.findall(r"^([a-z-]+):.*  ## ", makefile, re.MULTILINE)
    assert sorted(explained) == sorted(phony[1].split())


def functions() -> Iterator[tuple[str, int]]:
    for path in SOURCES:
        for node in statements(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Iterate over what is in a module but for expressions, which hold no function and are most of it."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        inner = getattr(node, name, ())
        for child in inner if isinstance(inner, list) else ():  # the body of a lambda is none
            yield child
            yield from statements(child)
