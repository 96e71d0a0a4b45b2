"""README.md: short, and its figures are those of docs/benchmarks.md; tests/cli/test_demo.py has the demo."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
LINES_MAX = 140
"""What a busy reader gets through in two minutes."""


def figures(text: str) -> list[str]:
    """Return the rows of the table of figures, without the numbers of footnotes."""
    block = text.partition("<!-- figures:begin -->")[2].partition("<!-- figures:end -->")[0]
    rows = [line for line in block.splitlines() if line.startswith("| ")][1:]
    return [re.sub(r" \(\d\)", "", row) for row in rows]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= LINES_MAX


def test_its_figures_are_measured_ones() -> None:
    assert len(figures(README)) >= 3
    assert set(figures(README)) <= set(figures(BENCHMARKS))


def test_it_names_every_extra() -> None:
    install = README.split("\n## Install\n")[1].split("\n## ")[0]
    named = {name for text in re.findall(r"`([^`\n]+)`", install) for name in re.findall(r"\w+", text)}
    named |= {name for found in re.findall(r"\[([\w,]+)\]", install) for name in found.split(",")}
    assert set(metadata("trackbridge").get_all("Provides-Extra") or ()) - named == set()


def test_every_footnote_of_a_figure_is_there() -> None:
    block = BENCHMARKS.partition("<!-- figures:begin -->")[2].partition("<!-- figures:end -->")[0]
    table = "\n".join(line for line in block.splitlines() if line.startswith("|"))
    used = set(re.findall(r"\((\d)\)", table))
    assert used == set(re.findall(r"^\((\d)\) ", block, re.MULTILINE))
