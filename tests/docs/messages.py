"""The messages of the code: every text in it, with … for what is put in."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src/trackbridge", "adapters/trackbridge_adapters")
PART_CHARS_MIN = 8
"""Fewer fixed characters would be found anywhere."""


@cache
def messages() -> tuple[str, ...]:
    """Return the texts of the code that people may read, without those of the emulators."""
    found: set[str] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "testing" not in path.relative_to(ROOT / folder).parts:
                found |= texts_of(path.read_text(encoding="utf-8"))
    return tuple(sorted(found))


def texts_of(source: str) -> set[str]:
    """Return the texts of a module that have several words; those that are joined stand as one."""
    tree = ast.parse(source)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    found = set()
    for node in ast.walk(tree):
        if id(node) in said:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            found.add(node.value)
    return found


def can_be_raised(quoted: str, known: tuple[str, ...]) -> bool:
    """Tell whether the fixed parts of a quoted message stand, in their order, in one text of the code."""
    parts = [part.strip() for part in quoted.split("…")]
    if max(map(len, parts)) < PART_CHARS_MIN:
        return False
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    return any(pattern.search(text) for text in known if all(part in text for part in parts))
