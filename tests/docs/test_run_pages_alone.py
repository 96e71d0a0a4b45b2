"""The longest pages do what they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.docs.test_run_pages import ALONE, PAGE_S


@pytest.mark.timeout(PAGE_S)
@pytest.mark.parametrize("name", ALONE)
def test_page_does_what_it_says(name: str, run: Callable[[str], int]) -> None:
    assert run(name)
