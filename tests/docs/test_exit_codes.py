"""docs/errors-and-exit-codes.md says what errors.py does."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest

from trackbridge import errors

PAGE = (Path(__file__).resolve().parents[2] / "docs/errors-and-exit-codes.md").read_text(encoding="utf-8")
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


def closest_builtins(kind: type) -> list[type]:
    """The builtin errors named as bases by the class or by another of our errors above it."""
    ours = [base for base in kind.__mro__ if base.__module__ == errors.__name__]
    named = {base for own in ours for base in own.__bases__ if getattr(builtins, base.__name__, None) is base}
    return [base for base in named if base is not Exception]
