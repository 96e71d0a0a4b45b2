"""Pages do what they say; test_snippets.py sees to it that every block is run or declared."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docs import snippets
from tests.docs.snippets import read_page

ALONE = ("docs/start.md", "docs/how-to/deploy.md")
"""The longest: test_run_pages_alone.py runs them, beside the others."""
PAGE_S = 900
RUN = [
    name
    for name in snippets.page_names()
    if any(block.kind in ("runs", "prints") for block in read_page(name).blocks)
]


@pytest.mark.timeout(PAGE_S)
@pytest.mark.parametrize("name", [name for name in RUN if name not in ALONE])
def test_page_does_what_it_says(name: str, run: Callable[[str], int]) -> None:
    assert run(name)


def test_the_longest_are_run_beside() -> None:
    assert set(ALONE) < set(RUN)
