"""Each decision has its page: numbered, with three parts, listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs/decisions"
PAGES = sorted(FOLDER.glob("0*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_has_its_parts_and_is_short(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    assert len(text.split()) < 500


def test_numbers_leave_no_gap() -> None:
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_index_lists_every_page_by_its_title() -> None:
    titles = {
        page.name: page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for page in PAGES
    }
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {name: title for title, name in re.findall(r"^- \[(.*)\]\((.*)\)$", index, re.MULTILINE)} == titles
