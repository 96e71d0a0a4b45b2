"""A browser for every file of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.pages.browsing import Watched, chromium, watched


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def at(browser: Browser, server_url: str) -> Iterator[Watched]:
    """A page of the file's server (its fixture ``server_url``), which is watched."""
    with watched(browser, server_url) as page:
        yield page
