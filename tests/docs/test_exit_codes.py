"""docs/errors-and-exit-codes.md says what errors.py does."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest

from trackbridge import errors

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/errors-and-exit-codes.md").read_text(encoding="utf-8")
CODES = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
ROWS = {
    name: (set(re.findall(r"`(\w+)`", also)), int(code))
    for name, also, code in re.findall(r"^\| `(\w+)` \| ([^|]*)\| (\d+) \|", PAGE, re.MULTILINE)
}


def test_every_error_has_a_row() -> None:
    assert sorted(ROWS) == sorted(errors.__all__)


@pytest.mark.parametrize("name", errors.__all__)
def test_row_is_true(name: str) -> None:
    kind = getattr(errors, name)
    also, code = ROWS[name]
    assert kind.exit_code == code
    assert code in CODES
    assert also == {base.__name__ for base in closest_builtins(kind)}


def test_codes_of_the_page_are_those_of_the_code() -> None:
    """Every number that the code ends with by name has a row, and every row is such a number."""
    named = re.compile(r"(\w+_)?(EXIT|EXIT_CODE)(_\w+)?|exit_code")
    found = {0}
    for path in (ROOT / "src/trackbridge").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if not re.search("EXIT|exit_code", text):  # most need not be parsed
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Constant):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                if any(named.fullmatch(name) for name in names) and type(node.value.value) is int:
                    found.add(node.value.value)
    assert found == CODES


def closest_builtins(kind: type) -> list[type]:
    """The builtin errors named as bases by the class or by another of our errors above it."""
    ours = [base for base in kind.__mro__ if base.__module__ == errors.__name__]
    named = {base for own in ours for base in own.__bases__ if getattr(builtins, base.__name__, None) is base}
    return [base for base in named if base is not Exception]
