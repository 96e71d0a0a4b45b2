"""docs/moving: every call and command of ours exists and takes what is given to it; so do mlflow's.

Those of azure-ai-ml and of AWS's SDK are not installed here; they were looked up by hand.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import trackbridge as tb
from tests.docs.shell_lines import shell_problems
from trackbridge.api.endpoints import Endpoint

FOLDER = Path(__file__).resolve().parents[2] / "docs/moving"
PAGES = sorted(path.name for path in FOLDER.glob("*.md"))
RETURNED: dict[Any, type] = {tb.endpoint: Endpoint, tb.search_runs: tb.Runs}
"""Of the calls whose result is called further."""
MARKED = re.compile(r"<!-- moving:begin -->\n(.*?)<!-- moving:end -->", re.DOTALL)


def cells(page: str, column: int) -> Iterator[str]:
    """Iterate over the code in a column of a page's tables."""
    for table in MARKED.findall((FOLDER / page).read_text(encoding="utf-8")):
        for row in table.splitlines()[2:]:
            found = re.findall(r"`([^`]+)`", row.split(" | ")[column])
            assert found, f"{page}: {row}"
            yield from found


def problem(code: str) -> str:
    """Return why a call or a name of ours is none."""
    try:
        value_of(ast.parse(code, mode="eval").body)
    except (AttributeError, TypeError, SyntaxError) as error:
        return f"{code}: {error}"
    return ""


def value_of(node: ast.expr) -> Any:
    """Return what a name is, or the class of what a call returns; the call's arguments have to fit."""
    if isinstance(node, ast.Name):
        assert node.id == "tb", node.id
        return tb
    if isinstance(node, ast.Attribute):
        owner = value_of(node.value)
        if owner is tb and node.attr not in tb.__all__:
            raise AttributeError(f"trackbridge has no {node.attr}")
        return getattr(owner, node.attr)
    assert isinstance(node, ast.Call), ast.dump(node)
    function = value_of(node.func)
    names = [keyword.arg for keyword in node.keywords if keyword.arg]
    is_method = isinstance(node.func, ast.Attribute) and inspect.isclass(value_of(node.func.value))
    itself = [None] if is_method else []
    inspect.signature(function).bind(*itself, *node.args, **dict.fromkeys(names))
    return RETURNED.get(function, function)


def test_every_page_has_a_table() -> None:
    assert PAGES == ["from-azureml-mlflow.md", "from-mlflow.md", "from-sagemaker-sdk.md"]
    assert all(MARKED.search((FOLDER / page).read_text(encoding="utf-8")) for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_our_calls_take_what_is_given_to_them(page: str) -> None:
    ours = list(cells(page, 1))
    calls = [code for code in ours if code.startswith("tb.")]
    assert [found for code in calls if (found := problem(code))] == []
    commands = [code for code in ours if not code.startswith("tb.")]
    assert [code for code in commands if not code.startswith("bridge ")] == []
    bare = {"bridge gateway", "bridge ui", "bridge run", "bridge models sync"}
    assert [found for code in commands if code not in bare for found in shell_problems(code)] == []


def test_mlflows_own_names_exist() -> None:
    for code in cells("from-mlflow.md", 0):
        if code.startswith("mlflow "):
            command: Any = importlib.import_module("mlflow.cli").cli
            for word in code.split()[1:]:
                command = command.get_command(click.Context(command), word)
                assert command is not None, code
            continue
        found: Any = importlib.import_module("mlflow")
        for name in code.split(".")[1:]:
            if inspect.ismodule(found) and not hasattr(found, name):
                importlib.import_module(f"{found.__name__}.{name}")
            found = getattr(found, name)


@pytest.mark.parametrize("code", ["tb.log_metrik", "tb.submit(onn='azureml:')", "tb.endpoint('wine').ask"])
def test_what_does_not_exist_is_seen(code: str) -> None:
    assert problem(code)
